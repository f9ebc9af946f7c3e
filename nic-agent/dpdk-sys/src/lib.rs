//! Bindings to the installed DPDK, generated when this crate is built.
//!
//! It knows DPDK's headers and nothing else; it holds no policy and no safe
//! wrapper (the `dpdk` crate does). Bound are public functions, public flow
//! structs and enums, and the C shim in `shim/`, which carries what must not be
//! bound: inline functions, and every struct whose layout differs between DPDK
//! releases. `rte_mbuf`, `rte_mempool` and `rte_flow` are opaque here; the
//! `SHIM_MBUF_*` constants say where the fields of an mbuf are.
//!
//! Direct dependents find compiler flags and include folders in the
//! `DEP_DPDK_*` variables of their build scripts (see `build.rs`).
#![no_std]

#[expect(
    missing_docs,
    non_camel_case_types,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    clippy::all,
    reason = "generated from DPDK's headers, under DPDK's own names and documentation"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// An ARP item, with the same fields in every DPDK: from 23.11 on, DPDK's own
/// struct has them in an anonymous union.
pub use bindings::shim_flow_item_arp_eth_ipv4 as rte_flow_item_arp_eth_ipv4;
