//! The crate against real DPDK: one EAL for the whole binary, on `net_null` and
//! `net_ring` devices, without hugepages, cards or files.
//!
//! Every test takes devices of its own, for a port whose last handle goes is
//! closed for good.

mod eal;
mod flow;
mod mbuf;
mod port;

use std::sync::OnceLock;

use dpdk::ethdev::discover;
use dpdk::{DevId, Eal, EalArgs, Mempool, MempoolConfig};

/// EAL with four null devices, four rings, and one that nobody opens.
fn shared_eal() -> Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let mut args = EalArgs::without_hardware("it", "nic-dpdk-it").memory_mb(256).log_level("error");
        args = args.vdev("net_ring9");
        for number in 0..4 {
            args = args.vdev(&format!("net_null{number}")).vdev(&format!("net_ring{number}"));
        }
        Eal::init(&args).expect("EAL starts without hugepages or privileges")
    })
    .clone()
}

/// A pool without per-thread caches, so that counts are exact.
fn pool(name: &str, mbufs: u32) -> Mempool {
    let config = MempoolConfig { cache: 0, ..MempoolConfig::new(name, mbufs) };
    Mempool::create(&shared_eal(), &config).expect("a small pool fits")
}

/// A device by its name.
fn device(name: &str) -> DevId {
    let ports = discover(&shared_eal()).expect("every device describes itself");
    ports.iter().find(|port| port.name == name).expect("the device was asked for").id
}
