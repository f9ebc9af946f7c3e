//! Fuzz targets for everything that reads bytes or text from outside.
//!
//! A target is a function over bytes that panics when a promise is broken. libFuzzer drives the targets by
//! the programs in `fuzz_targets/` (`./run TARGET`); plain `cargo test` drives all of them for a bounded
//! time with mutations of the seeds.
//!
//! **May know:** every crate that parses. **May not know:** anything that needs DPDK or root.

#![forbid(unsafe_code)]

pub mod flow;
pub mod text;
pub mod wire;

/// A target by its name, which is also the folder of its seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("ethernet", wire::ethernet),
    ("vlan", wire::vlan),
    ("arp", wire::arp),
    ("ipv4", wire::ipv4),
    ("ipv6", wire::ipv6),
    ("tcp", wire::tcp),
    ("udp", wire::udp),
    ("vxlan", wire::vxlan),
    ("icmpv4", wire::icmpv4),
    ("icmpv6", wire::icmpv6),
    ("extract", flow::extract),
    ("execute", flow::execute),
    ("flow_text", text::flow_text),
    ("openflow_text", text::openflow_text),
];
