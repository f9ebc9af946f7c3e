//! A device with all its ports open and running, found as nic-datapath finds them.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dpdk::ethdev::{Function, PortInfo, discover, representors};
use dpdk::{Burst, Eal, EalArgs, Mempool, MempoolConfig, Port, PortConfig, Queues};
use net_eswitch::Wire;
use nic_flow::PortId;
use nic_offload::{Ports, Sink};

/// One for each test. Together they have at most the 32 ports that DPDK takes.
const DEVICES: [&str; 6] = [
    "net_eswitch0,profile=portable,vfs=3,representor=vf[0-2],backing=*:inject",
    "net_eswitch1,profile=full,vfs=3,representor=vf[0-2],backing=*:inject",
    "net_eswitch2,profile=portable,vfs=1,representor=vf0,backing=*:inject",
    "net_eswitch3,profile=portable,vfs=1,representor=vf0,backing=*:inject",
    "net_eswitch4,profile=portable,vfs=2,representor=vf0,backing=*:inject,max_rules=4",
    "net_eswitch5,profile=full,vfs=1,representor=vf0,backing=*:inject",
];

/// How long a frame or a count may take that must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(50);
/// More than a lot of packets has.
const DESCRIPTORS: u16 = 1024;

/// Where a packet came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// At the far end of a port.
    Wire(PortId),
    /// In the receive queue of a port's ethdev.
    Representor(PortId),
}

/// A device.
pub(super) struct Rig {
    pub(super) sink: Sink,
    pub(super) ports: Vec<PortId>,
    wires: BTreeMap<PortId, Wire>,
    queues: BTreeMap<PortId, Queues>,
    pool: Mempool,
}

fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    let start = || {
        net_eswitch::register();
        let prefix = format!("conformance-{}", std::process::id());
        let args = EalArgs::without_hardware("it", &prefix).memory_mb(256).log_level("error");
        let args = DEVICES.iter().fold(args, |args, device| args.vdev(device));
        Eal::init(&args).expect("EAL starts without hugepages or privileges")
    };
    EAL.get_or_init(start).clone()
}

/// What a DPDK port stands for, from what the driver says of the switch and never from names.
fn identity(eal: &Eal, info: &PortInfo) -> PortId {
    let known = representors(eal, info.id).expect("ports describe themselves");
    let pf = known.as_ref().map_or(0, |known| known.pf);
    if !info.is_representor {
        return PortId::uplink(u8::try_from(pf).expect("few cards")).expect("an uplink");
    }
    let id = info.switch.as_ref().expect("a port of a switch").port;
    let known = known.expect("a representor says of what");
    let (range, function) = known.find(id.into()).expect("its id is in a range");
    assert_eq!(range.function, Function::Vf);
    let vf = u16::try_from(function).expect("a VF has no negative number");
    PortId::vf(u8::try_from(range.pf).expect("few cards"), vf).expect("a VF")
}

impl Rig {
    pub(super) fn new(device: &str) -> Rig {
        let eal = eal();
        let config = MempoolConfig { cache: 0, ..MempoolConfig::new(format!("{device}-pool"), 8191) };
        let pool = Mempool::create(&eal, &config).expect("a small pool fits");
        let (mut opened, mut queues, mut wires) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for info in discover(&eal).expect("ports describe themselves") {
            let switch = info.switch.as_ref().expect("every port here is in a switch");
            if switch.name.as_deref() != Some(device) {
                continue;
            }
            let id = identity(&eal, &info);
            let port = Port::open(&eal, info.id).expect("nobody else opens it");
            let mut config = PortConfig::single(&pool);
            config.rx_descriptors = DESCRIPTORS;
            queues.insert(id, port.start(&config).expect("it starts"));
            wires.insert(id, Wire::open(device, id).expect("its backing is inject"));
            opened.insert(id, port);
        }
        let ports: Vec<PortId> = opened.keys().copied().collect();
        let first = opened.values().next().expect("the device was probed");
        let proxy = first.transfer_proxy().expect("there is a proxy");
        let proxy = opened.values().find(|port| port.id() == proxy).unwrap_or(first).clone();
        let devices: Ports = opened.iter().map(|(&id, port)| (id, port.id())).collect();
        Rig { sink: Sink::new(proxy, devices), ports, wires, queues, pool }
    }

    /// Puts a frame in by a port.
    pub(super) fn send(&self, port: PortId, frame: &[u8]) {
        self.wires[&port].send(frame).expect("there is room for a lot");
    }

    /// What comes out there, until there are so many or patience ends.
    pub(super) fn receive(&mut self, exit: Exit, count: usize) -> Vec<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        let mut got = Vec::new();
        while got.len() < count && Instant::now() < end {
            match exit {
                Exit::Wire(port) => got.extend(self.wires[&port].receive(PATIENCE)),
                Exit::Representor(port) => {
                    let before = got.len();
                    self.poll(port, &mut got);
                    if got.len() == before {
                        std::thread::yield_now();
                    }
                }
            }
        }
        got
    }

    /// The one frame that comes out there.
    pub(super) fn one(&mut self, exit: Exit) -> Vec<u8> {
        self.receive(exit, 1).pop().expect("a frame comes out")
    }

    fn poll(&mut self, port: PortId, got: &mut Vec<Vec<u8>>) {
        let queue = self.queues.get_mut(&port).expect("a port of the rig");
        let mut burst = Burst::new();
        queue.rx[0].receive(&mut burst);
        got.extend(burst.drain().map(|mbuf| mbuf.data().expect("one segment").to_vec()));
    }

    /// What came out and was not asked for.
    pub(super) fn rest(&mut self) -> Vec<(Exit, Vec<u8>)> {
        std::thread::sleep(SILENCE);
        let mut rest = Vec::new();
        for port in self.ports.clone() {
            while let Some(frame) = self.wires[&port].receive(Duration::ZERO) {
                rest.push((Exit::Wire(port), frame));
            }
            let mut missed = Vec::new();
            self.poll(port, &mut missed);
            rest.extend(missed.into_iter().map(|frame| (Exit::Representor(port), frame)));
        }
        rest
    }

    /// Buffers of the application that nobody gave back.
    pub(super) fn buffers_in_use(&self) -> u32 {
        self.pool.in_use()
    }
}

/// A port by its name.
pub(super) fn port(name: &str) -> PortId {
    name.parse().expect("a name of a port")
}

/// Octets as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
