//! What a trace says: the way of one packet through the stages, as data.

use alloc::vec::Vec;

use nic_flow::{ActionList, FlowKey, FlowMask, PortId, Shape};

use crate::capability::Offload;
use crate::delta::Revision;
use crate::drop::DropReason;
use crate::object::ObjectId;

/// A stage of the pipeline, in the order in which packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// The policy of the ingress port.
    Ingress,
    /// The card's own tunnel endpoints: what is sent to them.
    Tunnel,
    /// Flow rules by priority.
    FlowRules,
    /// The bridge of the packet's port or tunnel.
    Bridge,
    /// The policy of the ports that the packet would leave by.
    Egress,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: &'static [Stage] =
        &[Stage::Ingress, Stage::Tunnel, Stage::FlowRules, Stage::Bridge, Stage::Egress];
    /// How many stages there are: the length of a table indexed by [`Stage::index`].
    pub const COUNT: usize = Stage::ALL.len();

    /// The name used in counters and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Ingress => "ingress",
            Stage::Tunnel => "tunnel",
            Stage::FlowRules => "flow_rules",
            Stage::Bridge => "bridge",
            Stage::Egress => "egress",
        }
    }

    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Stage> {
        Stage::ALL.iter().copied().find(|stage| stage.name() == name)
    }

    /// Index in [`Stage::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a stage said of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on to the next stage.
    Pass,
    /// The packet ends here.
    Drop(DropReason),
    /// The packet is for the agent itself: it asks or answers for an address of its own, or asks for one
    /// that the agent answers for.
    Local,
    /// The packet waits until the next hop's MAC address is known.
    Wait,
}

/// A stage that a traced packet passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The stage.
    pub stage: Stage,
    /// The objects that it found, in the order in which it looked; a miss is not in the list.
    pub objects: Vec<ObjectId>,
    /// The bits that this stage read and none before it.
    pub read: FlowMask,
    /// What it said.
    pub verdict: Verdict,
}

/// A packet to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TracePacket {
    /// A frame that enters by a port.
    Frame(PortId, Vec<u8>),
    /// A key, its ingress port included.
    Key(FlowKey),
}

/// A trace and the revision that it was made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceReport {
    /// The revision in force.
    pub revision: Revision,
    /// The way of the packet.
    pub trace: Trace,
}

/// The way of one packet through the pipeline, and what becomes of its flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The packet as the pipeline saw it.
    pub key: FlowKey,
    /// The stages it passed; the last one may have dropped it.
    pub steps: Vec<Step>,
    /// What is done to it; empty if it is dropped.
    pub actions: ActionList,
    /// All bits that were read.
    pub read: FlowMask,
    /// The shape that they are rounded up to.
    pub shape: Shape,
    /// Whether the E-Switch can take the flow.
    pub offload: Offload,
    /// What becomes of the packet at the end: what the last step said.
    pub verdict: Verdict,
}

impl Trace {
    /// Why the packet is dropped, if it is.
    pub const fn dropped(&self) -> Option<DropReason> {
        self.verdict.dropped()
    }
}

impl Verdict {
    /// Why the packet is dropped, if it is.
    pub const fn dropped(self) -> Option<DropReason> {
        match self {
            Verdict::Drop(reason) => Some(reason),
            Verdict::Pass | Verdict::Local | Verdict::Wait => None,
        }
    }
}
