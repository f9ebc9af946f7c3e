//! The ports of the E-Switch: which DPDK ports there are, what they stand for, and starting them.

use std::collections::BTreeMap;

use dpdk::ethdev::{Function, PortInfo, Representors, discover, representors};
use dpdk::{DevId, Eal, Mempool, MempoolConfig, Port, PortConfig, Queues};
use nic_flow::action::vxlan_overhead;
use nic_flow::{MacAddr, PortId};
use nic_policy::Device;

/// Room in a buffer for what stands around an MTU: Ethernet header and two VLAN tags, and the longest
/// headers that a tunnel puts in front. A frame that came by a port of the greatest MTU goes into a tunnel
/// and is copied there in one buffer.
const FRAME_OVERHEAD: u16 = 14 + 8 + vxlan_overhead(true, true) as u16;
/// The data room that DPDK's drivers expect at least.
const MIN_DATA_ROOM: u16 = 2048;

/// A port of the E-Switch, started.
pub(crate) struct Started {
    /// The port.
    pub(crate) id: PortId,
    /// The DPDK port.
    pub(crate) port: Port,
    /// Its queues.
    pub(crate) queues: Queues,
    /// Whether its receive queue can wake a sleeper.
    pub(crate) interrupts: bool,
}

/// The E-Switch.
pub(crate) struct ESwitch {
    /// Its ports, in the order of their ids.
    pub(crate) ports: Vec<Started>,
    /// Where transfer rules are made.
    pub(crate) proxy: Port,
    /// The driver's name.
    pub(crate) driver: String,
    /// The buffers of all ports.
    pub(crate) pool: Mempool,
}

/// Why there is no E-Switch to own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Info(#[from] dpdk::ethdev::InfoError),
    #[error("no DPDK port belongs to an E-Switch; name the device with --vdev or --pci")]
    NoSwitch,
    #[error("ports of more than one E-Switch: domains {0} and {1}; nic-datapath owns one")]
    TwoSwitches(u16, u16),
    #[error("DPDK ports {0} and {1} both stand for {2}")]
    SamePort(DevId, DevId, PortId),
    #[error("{0} ({1}) is a representor, but no port says of what")]
    Unknown(DevId, String),
    #[error(transparent)]
    Mempool(#[from] dpdk::MempoolError),
    #[error(transparent)]
    Open(#[from] dpdk::ethdev::OpenError),
    #[error("--mtu names {0}, and the E-Switch has no such port")]
    NoPort(PortId),
    #[error("--mbufs {mbufs} is too few for {ports} ports: at least {needed}")]
    TooFewMbufs { mbufs: u32, ports: usize, needed: u32 },
    #[error("{port}: {error}")]
    Start { port: PortId, error: dpdk::ethdev::StartError },
    #[error(transparent)]
    Control(#[from] dpdk::ethdev::ControlError),
    #[error(transparent)]
    Flow(#[from] dpdk::FlowError),
}

/// Packet buffers, and what may hold some of them besides the queues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffers {
    /// All there are.
    pub(crate) mbufs: u32,
    /// Of those, what packets may hold that wait for a next hop.
    pub(crate) waiting: u32,
}

impl Buffers {
    /// What the worker holds for a moment: its cache of free ones, a burst, and copies of it.
    const AT_WORK: u32 = 1024;
    /// The longest queue, which is what most drivers recommend at most.
    const LONGEST: u16 = 1024;
    /// A shorter queue would lose packets of ordinary bursts.
    const SHORTEST: u16 = 64;

    /// How long the two queues of each port may be, so that all may be full and still a buffer is left:
    /// whatever some ports receive or do not send, another port's packets find room.
    fn queue_length(self, ports: usize) -> Result<u16, OpenError> {
        let queues = u32::try_from(ports.max(1)).unwrap_or(u32::MAX).saturating_mul(2);
        let kept = self.waiting.saturating_add(Self::AT_WORK);
        let share = self.mbufs.saturating_sub(kept) / queues;
        let longest = u16::try_from(share).unwrap_or(u16::MAX).min(Self::LONGEST);
        // Drivers want powers of two.
        match longest.checked_ilog2().map(|bits| 1_u16 << bits) {
            Some(length) if length >= Self::SHORTEST => Ok(length),
            _ => Err(OpenError::TooFewMbufs {
                mbufs: self.mbufs,
                ports,
                needed: queues.saturating_mul(Self::SHORTEST.into()).saturating_add(kept),
            }),
        }
    }
}

/// Finds the E-Switch among DPDK's ports and starts all its ports.
///
/// `mtus` are those that ports are to have instead of their devices' own.
pub(crate) fn open(eal: &Eal, buffers: Buffers, mtus: &[(PortId, u16)]) -> Result<ESwitch, OpenError> {
    let found = identify(eal)?;
    if let Some(&(port, _)) = mtus.iter().find(|(port, _)| !found.contains_key(port)) {
        return Err(OpenError::NoPort(port));
    }
    let wanted = |id| mtus.iter().rev().find(|(port, _)| *port == id).map(|&(_, mtu)| mtu);
    let queue_length = buffers.queue_length(found.len())?;
    let mut opened = Vec::new();
    let mut mtu = 0;
    let mut driver = String::new();
    for (&id, info) in &found {
        let port = Port::open(eal, info.id)?;
        mtu = mtu.max(wanted(id).map_or_else(|| port.mtu(), Ok)?);
        driver.clone_from(&info.driver);
        opened.push((id, port));
    }
    let mut config = MempoolConfig::new("nic_datapath", buffers.mbufs);
    config.data_room = MIN_DATA_ROOM.max(mtu.saturating_add(FRAME_OVERHEAD));
    let pool = Mempool::create(eal, &config)?;
    let first = opened.first().ok_or(OpenError::NoSwitch)?;
    let proxy = first.1.transfer_proxy()?;
    let proxy = opened.iter().find(|(_, port)| port.id() == proxy).unwrap_or(first).1.clone();
    // Some drivers want the transfer proxy started first.
    opened.sort_by_key(|(id, port)| (port.id() != proxy.id(), *id));
    let mut ports = opened
        .into_iter()
        .map(|(id, port)| start(id, port, &pool, queue_length, wanted(id)))
        .collect::<Result<Vec<_>, _>>()?;
    ports.sort_by_key(|port| port.id);
    Ok(ESwitch { ports, proxy, driver, pool })
}

fn start(
    id: PortId,
    port: Port,
    pool: &Mempool,
    queue_length: u16,
    mtu: Option<u16>,
) -> Result<Started, OpenError> {
    let mut config = PortConfig::single(pool);
    config.rx_descriptors = queue_length;
    config.tx_descriptors = queue_length;
    config.mtu = mtu;
    config.rx_interrupts = true;
    let (queues, interrupts) = match port.start(&config) {
        Ok(queues) => {
            let interrupts = queues.rx.iter().all(|queue| queue.interrupt_fd().is_ok());
            (queues, interrupts)
        }
        Err(error) => {
            tracing::debug!(%id, %error, "no receive interrupts; the worker polls");
            config.rx_interrupts = false;
            (port.start(&config).map_err(|error| OpenError::Start { port: id, error })?, false)
        }
    };
    // A driver may take the MTU with the configuration, or by a call of its own, and then refuse the other.
    if let Some(mtu) = mtu
        && let Err(error) = port.set_mtu(mtu)
    {
        tracing::warn!(%id, mtu, %error, "the driver took the MTU with the configuration, or not at all");
    }
    // What enters by a port is for whoever the policy says, not only for the port's own address.
    if let Err(error) = port.set_promiscuous(true) {
        tracing::warn!(%id, %error, "the port does not become promiscuous");
    }
    tracing::info!(%id, device = %port.id(), interrupts, "port started");
    Ok(Started { id, port, queues, interrupts })
}

/// Which DPDK ports belong to the E-Switch, and what they stand for.
fn identify(eal: &Eal) -> Result<BTreeMap<PortId, PortInfo>, OpenError> {
    let mut found: BTreeMap<PortId, PortInfo> = BTreeMap::new();
    let mut domain = None;
    for info in discover(eal)? {
        let Some(switch) = &info.switch else {
            tracing::info!(device = info.name, "not a port of an E-Switch; left alone");
            continue;
        };
        match domain {
            Some(other) if other != switch.domain => {
                return Err(OpenError::TwoSwitches(other, switch.domain));
            }
            _ => domain = Some(switch.domain),
        }
        let known = representors(eal, info.id)?;
        let id = name(&info, known.as_ref()).ok_or_else(|| OpenError::Unknown(info.id, info.name.clone()))?;
        if let Some(other) = found.get(&id) {
            return Err(OpenError::SamePort(other.id, info.id, id));
        }
        found.insert(id, info);
    }
    if found.is_empty() { Err(OpenError::NoSwitch) } else { Ok(found) }
}

/// The stable name, from what the driver says of the switch: never from the device's name.
fn name(info: &PortInfo, known: Option<&Representors>) -> Option<PortId> {
    let own_pf = known.map_or(0, |known| known.pf);
    if !info.is_representor {
        return PortId::uplink(u8::try_from(own_pf).ok()?);
    }
    let id = u32::from(info.switch.as_ref()?.port);
    let range = known?.ranges.iter().find(|range| range.ids.contains(&id))?;
    let pf = u8::try_from(range.pf).or_else(|_| u8::try_from(own_pf)).ok()?;
    match range.function {
        // mlx5 counts the host's physical function as the VF before the first.
        Function::Vf => match range.function_of(id)? {
            -1 => PortId::host_pf(pf),
            vf => PortId::vf(pf, u16::try_from(vf).ok()?),
        },
        Function::Pf => PortId::host_pf(pf),
        Function::Sf | Function::None => None,
    }
}

/// What is told about a port.
pub(crate) fn device(id: PortId, port: &Port) -> Device {
    Device {
        port: id,
        link_up: port.link().is_ok_and(|link| link.up),
        mtu: port.mtu().map_or(0, u32::from),
        mac: port.mac().map_or(MacAddr::ZERO, MacAddr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpdk::ethdev::{RepresentorRange, SwitchPort};

    fn info(is_representor: bool, port: u16) -> PortInfo {
        PortInfo {
            id: DevId::from_raw(0),
            name: "0000:03:00.0".to_owned(),
            driver: "mlx5_pci".to_owned(),
            mac: [0; 6],
            switch: Some(SwitchPort { name: None, domain: 0, port }),
            is_representor,
            kernel_ifindex: None,
            socket: None,
            min_mtu: 68,
            max_mtu: 9000,
            max_rx_queues: 1,
            max_tx_queues: 1,
            rx_offloads: 0,
            tx_offloads: 0,
            rx_descriptors: None,
            tx_descriptors: None,
        }
    }

    fn known() -> Representors {
        let range = |function, first_function, ids, name: &str| RepresentorRange {
            function,
            controller: -1,
            pf: 1,
            first_function,
            ids,
            name: name.to_owned(),
        };
        Representors {
            controller: 0,
            pf: 1,
            ranges: vec![
                range(Function::Pf, 0, 0x7fff..=0x7fff, "pf1"),
                range(Function::Vf, 0, 0x100..=0x1ff, "pf1vf"),
                range(Function::Vf, -1, 0x200..=0x200, "hpf"),
                range(Function::Sf, 0, 0x300..=0x3ff, "pf1sf"),
            ],
        }
    }

    #[test]
    fn with_every_queue_full_a_buffer_is_left_however_many_ports_there_are() {
        for ports in 1..=32_usize {
            for mbufs in [1023, 2047, 4095, 16_383, 65_535, 1_048_575] {
                for waiting in [1, 512, 65_536] {
                    let held = |length: u16| 2 * ports * usize::from(length) + waiting as usize;
                    match (Buffers { mbufs, waiting }).queue_length(ports) {
                        Ok(length) => {
                            assert!(length.is_power_of_two() && (64..=1024).contains(&length));
                            assert!(
                                held(length) < mbufs as usize,
                                "{ports} ports, {mbufs} buffers: {length}"
                            );
                        }
                        Err(OpenError::TooFewMbufs { needed, .. }) => {
                            assert!(mbufs < needed);
                            let enough = Buffers { mbufs: needed, waiting };
                            assert_eq!(enough.queue_length(ports).expect("enough"), 64);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
        let default = Buffers { mbufs: 16_383, waiting: 512 };
        assert_eq!([1, 7, 8, 32].map(|n| default.queue_length(n).expect("enough")), [1024, 1024, 512, 128]);
    }

    #[test]
    fn ports_are_named_by_what_the_switch_says_of_them() {
        let name =
            |representor, port| name(&info(representor, port), Some(&known())).map(|id| id.to_string());
        assert_eq!(name(false, 0xffff).as_deref(), Some("p1"));
        assert_eq!(name(true, 0x103).as_deref(), Some("pf1vf3"));
        assert_eq!(name(true, 0x7fff).as_deref(), Some("pf1hpf"));
        assert_eq!(name(true, 0x200).as_deref(), Some("pf1hpf"));
        assert_eq!(name(true, 0x300), None, "sub-functions are not ports yet");
        assert_eq!(name(true, 0x900), None, "no range has it");
    }
}
