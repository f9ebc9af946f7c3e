//! The order of the stages, and a packet's way through them.

use nic_flow::{ActionList, FlowKey, FlowMask, Shape};
use nic_policy::stats::StageStats;
use nic_policy::{DropReason, Offload, Stage, Step, Trace, Verdict};

use crate::dependency::Dependency;
use crate::probe::Probe;
use crate::snapshot::Snapshot;
use crate::{egress, flow_rules, ingress};

/// A stage: sees the packet and the policy through the probe, adds to the plan of what is done to the
/// packet, and lets it pass or not.
pub type StageFn = fn(&mut Probe<'_>, &mut ActionList) -> Verdict;

/// Every stage, in the order in which packets pass.
pub(crate) const ORDER: [(Stage, StageFn); Stage::COUNT] =
    [(Stage::Ingress, ingress::run), (Stage::FlowRules, flow_rules::run), (Stage::Egress, egress::run)];

/// What is done to the packets of one megaflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The actions, in order, up to the last output; empty for a drop.
    pub actions: ActionList,
    /// The bits of the arrived packet that this depends on, with all that gives them a meaning; the
    /// ingress port is always among them.
    pub read: FlowMask,
    /// The consultations that this depends on, each once.
    pub dependencies: Vec<Dependency>,
    /// Why the packets are dropped, if they are.
    pub dropped: Option<DropReason>,
}

/// A [`Trace`] but for what only the slow path knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceWithoutOffload {
    /// The packet.
    pub key: FlowKey,
    /// The stages it passed; the last one may have dropped it.
    pub steps: Vec<Step>,
    /// What is done to it; empty if it is dropped.
    pub actions: ActionList,
    /// All bits that were read.
    pub read: FlowMask,
    /// The shape that they are rounded up to.
    pub shape: Shape,
    /// Why the packet is dropped, if it is.
    pub dropped: Option<DropReason>,
}

impl TraceWithoutOffload {
    /// The whole trace.
    pub fn with_offload(self, offload: Offload) -> Trace {
        let TraceWithoutOffload { key, steps, actions, read, shape, dropped } = self;
        Trace { key, steps, actions, read, shape, offload, dropped }
    }
}

/// What is done to a packet, and on what that depends. Counts what each stage said.
pub fn translate(
    key: &FlowKey,
    snapshot: &Snapshot,
    counters: &mut [StageStats; Stage::COUNT],
) -> Translation {
    translate_by(&ORDER, key, snapshot, |stage, verdict, _| {
        let counters = &mut counters[stage.index()];
        match verdict {
            Verdict::Pass => counters.passed += 1,
            Verdict::Drop(_) => counters.dropped += 1,
        }
    })
}

/// The way of a packet, told stage by stage. It is the way that [`translate`] leads it, by the same
/// code; nothing is counted.
pub fn trace(key: &FlowKey, snapshot: &Snapshot) -> TraceWithoutOffload {
    let mut steps = Vec::with_capacity(Stage::COUNT);
    let mut before = FlowMask::EMPTY;
    let translation = translate_by(&ORDER, key, snapshot, |stage, verdict, probe| {
        let read = probe.read_so_far();
        steps.push(Step { stage, objects: probe.take_objects(), read: read.without(&before), verdict });
        before = read;
    });
    let Translation { actions, read, dropped, .. } = translation;
    TraceWithoutOffload { key: *key, steps, actions, read, shape: Shape::cover(&read), dropped }
}

/// Leads a packet through the stages until one drops it; `seen` hears what each said.
pub(crate) fn translate_by(
    stages: &[(Stage, StageFn)],
    key: &FlowKey,
    snapshot: &Snapshot,
    mut seen: impl FnMut(Stage, Verdict, &mut Probe<'_>),
) -> Translation {
    let mut probe = Probe::new(key, snapshot);
    let mut actions = ActionList::new();
    let mut dropped = None;
    for (stage, run) in stages {
        let verdict = run(&mut probe, &mut actions);
        seen(*stage, verdict, &mut probe);
        if let Verdict::Drop(reason) = verdict {
            actions.clear();
            dropped = Some(reason);
            break;
        }
    }
    let record = probe.finish();
    Translation { actions, read: record.read, dependencies: record.dependencies, dropped }
}
