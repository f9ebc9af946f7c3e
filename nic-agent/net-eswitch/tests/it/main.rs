//! The driver in one process with its application: DPDK without hugepages, ports whose far ends are
//! in the test's hands.

mod backings;
mod faults;
mod flows;
mod forwarding;
mod lifetime;
mod packets;
mod ports;
mod refusals;
mod synth;
mod threads;
mod tunnels;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dpdk::ethdev::discover;
use dpdk::flow::{Action, Attr, Item};
use dpdk::{
    Burst, DevId, Eal, EalArgs, EalError, FlowError, FlowRule, Mempool, MempoolConfig, Port, PortConfig,
    Queues,
};
use net_eswitch::Wire;
use nic_flow::PortId;

/// One device for each test that needs one, for the last close of its ports ends a device. All of
/// them together have at most the 32 ports that DPDK takes.
const DEVICES: [&str; 8] = [
    "net_eswitch0,vfs=2,representor=[0-1],backing=*:inject",
    "net_eswitch1,vfs=2,representor=[0-1],backing=*:inject",
    "net_eswitch2,vfs=1,representor=0,backing=*:inject,profile=portable",
    "net_eswitch3,vfs=1,representor=0,backing=*:inject,max_rules=4",
    "net_eswitch4,vfs=1,representor=0,backing=*:inject",
    "net_eswitch5,vfs=15,representor=[0-14],backing=*:inject",
    "net_eswitch6,vfs=1,representor=0,backing=*:inject",
    "net_eswitch7,vfs=1,backing=*:inject",
];

/// How long a frame may take that must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(50);

fn eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| start("nes-it", &DEVICES).expect("EAL starts without hugepages or privileges")).clone()
}

fn start(prefix: &str, devices: &[&str]) -> Result<Eal, EalError> {
    net_eswitch::register();
    // A second call does nothing.
    net_eswitch::register();
    let args = EalArgs::without_hardware("it", prefix).memory_mb(256).log_level("error");
    let args = devices.iter().fold(args, |args, device| args.vdev(device));
    Eal::init(&args)
}

fn id(name: &str) -> PortId {
    name.parse().expect("a name of a port")
}

/// A device with all its ports open and running.
struct Rig {
    device: String,
    eal: Eal,
    pool: Mempool,
    ports: BTreeMap<PortId, (Port, Queues)>,
}

impl Rig {
    fn new(device: &str) -> Rig {
        Rig::with(eal(), device, 1023, |config| config)
    }

    fn with(eal: Eal, device: &str, mbufs: u32, tune: impl Fn(PortConfig) -> PortConfig) -> Rig {
        let config = MempoolConfig { cache: 0, ..MempoolConfig::new(format!("{device}-pool"), mbufs) };
        let pool = Mempool::create(&eal, &config).expect("a small pool fits");
        let mut ports = BTreeMap::new();
        for info in discover(&eal).expect("every device describes itself") {
            let Some(switch) = info.switch else { continue };
            if switch.name.as_deref() == Some(device) {
                let port = Port::open(&eal, info.id).expect("nobody else opens it");
                let queues = port.start(&tune(PortConfig::single(&pool))).expect("it starts");
                ports.insert(PortId::from_bits(switch.port), (port, queues));
            }
        }
        assert!(!ports.is_empty(), "{device} was probed");
        Rig { device: device.into(), eal, pool, ports }
    }

    fn wire(&self, port: &str) -> Wire {
        Wire::open(&self.device, id(port)).expect("its backing is inject")
    }

    fn port(&self, port: &str) -> &Port {
        &self.ports[&id(port)].0
    }

    fn dev(&self, port: &str) -> DevId {
        self.port(port).id()
    }

    fn queues(&mut self, port: &str) -> &mut Queues {
        &mut self.ports.get_mut(&id(port)).expect("the port is there").1
    }

    /// What the application reads next on a representor.
    fn missed(&mut self, port: &str, patience: Duration) -> Option<Vec<u8>> {
        let queue = &mut self.queues(port).rx[0];
        let mut burst = Burst::new();
        let end = Instant::now() + patience;
        loop {
            if queue.receive(&mut burst) > 0 {
                let first = burst.pop().expect("one came");
                assert!(burst.is_empty(), "one at a time in these tests");
                return Some(first.data().expect("one segment").to_vec());
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Creates a rule from `source` on that source's port.
    fn rule(&self, source: &str, items: &[Item], actions: &[Action]) -> Result<FlowRule, FlowError> {
        let pattern = [&[Item::RepresentedPort(self.dev(source))], items].concat();
        self.port(source).create_flow(&Attr::TRANSFER, &pattern, actions)
    }
}
