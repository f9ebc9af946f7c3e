//! Encoder and decoder mean the same: rules of the flow IR go through `nic-offload`, DPDK's `rte_flow`
//! and `net_eswitch`, and what the switch then does to real frames is what the flow IR says.
//!
//! Neither side knows the other; here alone both are in one process. EAL starts once, with a device
//! for each test, for the ports of a device have one owner.

mod capability;
mod equivalence;
mod frames;
mod golden;
mod judge;
mod limits;
mod rig;
mod sums;
mod world;
