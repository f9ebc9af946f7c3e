//! What both processes share: policy objects with stable ids and their deltas, the reasons for which
//! packets are dropped, what a trace says, what a card can do, what is wrong with it.
//!
//! nic-agent compiles resources into these objects; nic-datapath translates packets by them. Neither
//! protobuf nor resource names are here: an id is all that crosses, and nic-agent knows its name.
//!
//! **May know:** the flow IR (`nic-flow`). **May not know:** resources, stages' code, DPDK, the
//! socket between the processes. Layer 0: `no_std`, no `unsafe`; `alloc` for deltas and traces, which
//! no packet ever waits for.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod alarm;
pub mod audit;
pub mod call;
pub mod capability;
pub mod delta;
pub mod drop;
pub mod flow;
pub mod learned;
pub mod management;
pub mod object;
pub mod stats;
pub mod trace;

pub use alarm::{Alarm, AlarmReason, Alarms, Severity};
pub use audit::{AuditCount, AuditFinding, AuditReport, Discrepancy};
pub use call::{CallId, NotACallId};
pub use capability::{Capability, CapabilityTable, Device, Offload, SoftwareReason};
pub use delta::{Change, Delta, Revision};
pub use drop::DropReason;
pub use flow::FlowView;
pub use learned::{FdbView, NeighborState, NeighborView, Network};
pub use management::Management;
pub use object::{
    Attachment, Bridge, BridgeId, FdbEntry, FlowRule, FlowRuleId, Object, ObjectId, Overlay, Place, Port,
    Rank, Trunk, TunnelPeer, Vtep, VtepId,
};
pub use stats::{PortStats, RuleStats, StageStats, Stats};
pub use trace::{Stage, Step, Trace, TracePacket, TraceReport, Verdict};
