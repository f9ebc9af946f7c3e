//! Fuzz targets for everything that reads bytes or text from outside.
//!
//! A target is a function over bytes that panics when a promise is broken. libFuzzer drives the targets by
//! the programs in `libfuzzer/` (`libfuzzer/run TARGET`); plain `cargo test` drives all of them for a bounded
//! time with mutations of the seeds.
//!
//! **May know:** every crate that reads what others wrote. Only the targets of the feature `dpdk` need DPDK, and
//! none needs root.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod flow;
pub mod image;
pub mod link;
pub mod resource;
pub mod slowpath;
pub mod store;
pub mod text;
pub mod wire;

#[cfg(feature = "dpdk")]
pub use net_eswitch::fuzzing as driver;

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which is also the folder of its seeds.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs of the short run: fewer where one takes long.
    pub inputs: u64,
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, inputs: 20_000 }
}

const fn slow(name: &'static str, run: fn(&[u8]), inputs: u64) -> Target {
    Target { name, run, inputs }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("ethernet", wire::ethernet),
    target("vlan", wire::vlan),
    target("arp", wire::arp),
    target("ipv4", wire::ipv4),
    target("ipv6", wire::ipv6),
    target("tcp", wire::tcp),
    target("udp", wire::udp),
    target("vxlan", wire::vxlan),
    target("icmpv4", wire::icmpv4),
    target("icmpv6", wire::icmpv6),
    target("extract", flow::extract),
    target("execute", flow::execute),
    target("flow_text", text::flow_text),
    target("openflow_text", text::openflow_text),
    slow("resource_file", resource::resource_file, 10_000),
    target("import", resource::import),
    target("datapath_message", link::datapath_message),
    slow("datapath_service", link::datapath_service, 5_000),
    target("update_bundle", bundle::update_bundle),
    slow("store_file", store::store_file, 500),
    slow("slow_path", slowpath::slow_path, 2_000),
    slow("bfb", image::bfb, 5_000),
    target("bfb_manifest", image::bfb_manifest),
    #[cfg(feature = "dpdk")]
    target("rte_flow", driver::rte_flow),
    #[cfg(feature = "dpdk")]
    target("device_arguments", driver::device_arguments),
    #[cfg(feature = "dpdk")]
    slow("memif", driver::memif, 5_000),
];
