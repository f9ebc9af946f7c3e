//! A device: one switch, its ports, its thread, and the ethdevs that represent ports.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nic_flow::PortId;
use nic_flow::port::Device as Kind;
use soft_eswitch::{NoPort, Switch, SwitchConfig};

use crate::args::{ArgsError, DeviceArgs};
use crate::backing::{Backing, OpenError};
use crate::card::Card;
use crate::control::{Control, ControlError};
use crate::ethdev::Ethdev;
use crate::ffi::{self, log};
use crate::frame::Pool;
use crate::port::Port;
use crate::representors::{self, Asked, RepresentorError};
use crate::thread::{self, Stopper};

/// A device, from its probe to the close of its last port.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) card: Arc<Card>,
    pub(crate) domain: u16,
    pub(crate) ports: BTreeMap<PortId, Arc<Port>>,
    pub(crate) pool: Arc<Pool>,
    /// The bus's device, for ethdevs that are made later.
    vdev: Vdev,
    /// The open ethdevs: DPDK's number of the port that represents each, or that is the uplink.
    ethdevs: Mutex<BTreeMap<PortId, u16>>,
    stopper: Mutex<Option<Stopper>>,
}

/// Why a device was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("{0}")]
    Args(#[from] ArgsError),
    #[error("{0}")]
    Representor(#[from] RepresentorError),
    #[error("port {port}: {why}")]
    Backing { port: PortId, why: OpenError },
    #[error("faults: {0}")]
    Faults(#[from] NoPort),
    #[error("control: {0}")]
    Control(#[from] ControlError),
    #[error("no switch domain is free")]
    Domain,
    #[error("the switch's thread did not start: {0}")]
    Thread(#[from] io::Error),
    #[error(
        "port {port}: ethdev has no room for it (errno {errno}); a DPDK build has RTE_MAX_ETHPORTS ports"
    )]
    Ethdev { port: PortId, errno: i32 },
}

impl ProbeError {
    pub(crate) const fn errno(&self) -> i32 {
        match self {
            ProbeError::Args(_) | ProbeError::Representor(_) | ProbeError::Faults(_) => libc::EINVAL,
            ProbeError::Backing { .. } | ProbeError::Control(_) => libc::ENODEV,
            ProbeError::Domain => libc::ENOSPC,
            ProbeError::Thread(_) => libc::EAGAIN,
            ProbeError::Ethdev { errno, .. } => *errno,
        }
    }
}

/// The bus's own device. Only the C side looks into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vdev(pub(crate) *mut std::ffi::c_void);

// SAFETY: the pointer is only handed back to the C side, under the calls of the bus and of ethdev,
// which allow any thread.
unsafe impl Send for Vdev {}
// SAFETY: as above; nothing is read through it here.
unsafe impl Sync for Vdev {}

/// The devices by name.
static DEVICES: Mutex<BTreeMap<String, Arc<Device>>> = Mutex::new(BTreeMap::new());

fn devices() -> MutexGuard<'static, BTreeMap<String, Arc<Device>>> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device of that name.
pub(crate) fn find(name: &str) -> Option<Arc<Device>> {
    devices().get(name).cloned()
}

impl Device {
    /// Makes a device and its ethdevs: the uplinks, and the representors that were asked for.
    pub(crate) fn probe(vdev: Vdev, name: &str, text: &str) -> Result<(), ProbeError> {
        let args = DeviceArgs::parse(text)?;
        let asked = representors::asked(text, args.ports.keys().copied())?;
        let device = Arc::new(Device::new(vdev, name, args)?);
        // Without this, only a repeated probe with other representors goes unseen.
        // SAFETY: EAL runs, for it probes.
        if unsafe { ffi::nes_watch() } != 0 {
            log("repeated probes will not add representors");
        }
        devices().insert(name.into(), Arc::clone(&device));
        let made = device.make_ethdevs(asked);
        if made.is_err() {
            device.remove();
        }
        made
    }

    fn new(vdev: Vdev, name: &str, args: DeviceArgs) -> Result<Device, ProbeError> {
        let mut ports = BTreeMap::new();
        for (&port, spec) in &args.ports {
            let backing = Backing::open(port, spec).map_err(|why| ProbeError::Backing { port, why })?;
            ports.insert(port, Arc::new(Port::new(port, backing).map_err(io::Error::from)?));
        }
        let switch = Arc::new(Switch::new(SwitchConfig {
            profile: args.profile,
            ports: ports.keys().copied().collect(),
            max_rules: args.max_rules,
            seed: RandomState::new().build_hasher().finish(),
        }));
        let pool = Pool::new(args.buffers);
        let card = Card::new(switch, ports.values().cloned().collect()).map_err(io::Error::from)?;
        card.set_faults(args.faults)?;
        let card = Arc::new(card);
        let control = args.control.as_deref().map(Control::open).transpose()?;
        let stopper = thread::start(name, Arc::clone(&card), args.cache, control, Arc::clone(&pool))?;
        let mut domain = 0;
        // SAFETY: `domain` is where the answer goes.
        if unsafe { ffi::nes_switch_domain_alloc(&mut domain) } != 0 {
            return Err(ProbeError::Domain);
        }
        Ok(Device {
            name: name.into(),
            card,
            domain,
            ports,
            pool,
            vdev,
            ethdevs: Mutex::default(),
            stopper: Mutex::new(Some(stopper)),
        })
    }

    fn ethdevs(&self) -> MutexGuard<'_, BTreeMap<PortId, u16>> {
        self.ethdevs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_ethdevs(self: &Arc<Device>, asked: Asked) -> Result<(), ProbeError> {
        let uplinks = self.ports.keys().copied().filter(|port| port.is_uplink());
        for port in uplinks.chain(asked) {
            self.make_ethdev(port)?;
        }
        Ok(())
    }

    /// Makes the ethdev of a port, unless it is there.
    fn make_ethdev(self: &Arc<Device>, id: PortId) -> Result<(), ProbeError> {
        let mut ethdevs = self.ethdevs();
        if ethdevs.contains_key(&id) {
            return Ok(());
        }
        let port = Arc::clone(&self.ports[&id]);
        let first = PortId::uplink(0).is_some_and(|first| first == id);
        let name = match id.device() {
            _ if first => self.name.clone(),
            Some(Kind::Uplink(_)) => format!("{}_{id}", self.name),
            _ => format!("{}_representor_{id}", self.name),
        };
        let backer = uplink_of(id).and_then(|uplink| ethdevs.get(&uplink)).copied().unwrap_or(0);
        let name = CString::new(name).unwrap_or_default();
        let ethdev = Ethdev::new(Arc::clone(self), Arc::clone(&port));
        let request = ffi::nes_new_port {
            vdev: self.vdev.0,
            name: name.as_ptr(),
            private_data: Arc::into_raw(ethdev).cast_mut().cast(),
            rx_event_fd: port.representor.event_fd(),
            representor: u16::from(!id.is_uplink()),
            representor_id: id.bits(),
            backer_port: backer,
            mtu: port.mtu.load(Ordering::Relaxed),
            mac: mac(&self.name, id),
        };
        // SAFETY: the request's pointers are good for the call, the private data until the C side
        // gives it back by the close operation.
        let made = unsafe { ffi::nes_port_create(&request) };
        let Ok(number) = u16::try_from(made) else {
            // SAFETY: the pointer came from `into_raw`, and the C side did not keep it.
            drop(unsafe { Arc::from_raw(request.private_data.cast::<Ethdev>()) });
            return Err(ProbeError::Ethdev { port: id, errno: -made });
        };
        ethdevs.insert(id, number);
        drop(ethdevs);
        // Without our lock: the application is told of the port and may ask about it.
        // SAFETY: the port was just made.
        unsafe { ffi::nes_port_ready(number) };
        Ok(())
    }

    /// The ethdev of a port was closed. With the last one goes the device.
    pub(crate) fn ethdev_closed(&self, id: PortId) {
        let mut ethdevs = self.ethdevs();
        ethdevs.remove(&id);
        let last = ethdevs.is_empty();
        drop(ethdevs);
        if last {
            self.shut_down();
        }
    }

    /// Closes what the application left open.
    fn remove(self: &Arc<Device>) {
        let open: Vec<u16> = self.ethdevs().values().copied().collect();
        for number in open {
            // SAFETY: EAL runs; the C side checks that the port is one of this driver's.
            let private = unsafe { ffi::nes_port_private(number) };
            // SAFETY: as above; the port is closed only if it still has that data.
            unsafe { ffi::nes_port_destroy(number, private) };
        }
        self.shut_down();
    }

    fn shut_down(&self) {
        let stopper = self.stopper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut stopper) = stopper else { return };
        stopper.stop();
        // SAFETY: the domain was given to this device, and is given back once.
        unsafe { ffi::nes_switch_domain_free(self.domain) };
        let last = {
            let mut devices = devices();
            devices.remove(&self.name);
            devices.is_empty()
        };
        // Without our lock: a scan takes it under the bus's.
        if last {
            // SAFETY: EAL runs.
            unsafe { ffi::nes_unwatch() };
        }
    }

    /// The port that a DPDK port stands for, if it belongs to this device.
    pub(crate) fn port_of_ethdev(&self, number: u32) -> Option<PortId> {
        let ethdevs = self.ethdevs();
        ethdevs.iter().find(|(_, open)| u32::from(**open) == number).map(|(port, _)| *port)
    }
}

/// A device was probed again, with these arguments: new representors are made, all else stays.
pub(crate) fn rescan(name: &str, text: &str) {
    let Some(device) = find(name) else { return };
    let asked = match representors::asked(text, device.ports.keys().copied()) {
        Ok(asked) => asked,
        Err(why) => return log(&format!("{name}: {why}")),
    };
    if let Err(why) = device.make_ethdevs(asked) {
        log(&format!("{name}: {why}"));
    }
}

/// The bus lets go of a device.
pub(crate) fn remove(name: &str) {
    if let Some(device) = find(name) {
        device.remove();
    }
}

/// The uplink that a function is behind.
pub(crate) fn uplink_of(id: PortId) -> Option<PortId> {
    match id.device()? {
        Kind::Uplink(n) | Kind::HostPf(n) | Kind::Vf { pf: n, .. } => PortId::uplink(n),
    }
}

/// A locally administered address that is the same in every run.
fn mac(device: &str, port: PortId) -> [u8; 6] {
    let sum = device.bytes().fold(0x5eu16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let ([a, b], [c, d]) = (sum.to_be_bytes(), port.bits().to_be_bytes());
    [0x02, 0xe5, a, b, c, d]
}
