//! The order of the stages, and a packet's way through them.

use nic_flow::{ActionList, FlowKey, FlowMask, MacAddr, Shape};
use nic_policy::stats::StageStats;
use nic_policy::{BridgeId, DropReason, Offload, Place, Stage, Step, Trace, Verdict};

use crate::dependency::Dependency;
use crate::effect::{Effect, Inspection};
use crate::plan::Plan;
use crate::probe::Probe;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::{bridge, egress, flow_rules, ingress, tunnel};

/// A stage: sees the packet, the policy and what was learned through the probe, adds to the plan of what
/// is done to the packet, and lets it pass or not.
pub type StageFn = for<'s> fn(&mut Probe<'s>, &mut Plan<'s>) -> Verdict;

/// Every stage, in the order in which packets pass.
pub(crate) const ORDER: [(Stage, StageFn); Stage::COUNT] = [
    (Stage::Ingress, ingress::run),
    (Stage::Tunnel, tunnel::run),
    (Stage::FlowRules, flow_rules::run),
    (Stage::Bridge, bridge::run),
    (Stage::Egress, egress::run),
];

/// What is done to the packets of one megaflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The actions, in order, up to the last that sends; empty unless the verdict is to pass.
    pub actions: ActionList,
    /// The bits of the arrived packet that this depends on, with all that gives them a meaning; the
    /// ingress port is always among them.
    pub read: FlowMask,
    /// The consultations that this depends on, each once.
    pub dependencies: Vec<Dependency>,
    /// What becomes of the packets.
    pub verdict: Verdict,
    /// What is to be changed first: the packet taught something, or something is missing.
    pub effects: Vec<Effect>,
    /// For whom the slow path has to look into the packet; none for nearly all packets.
    pub inspect: Vec<Inspection>,
    /// The learned address that these packets keep alive.
    pub source: Option<(BridgeId, MacAddr, Place)>,
    /// The card's own management gets a copy of each packet as it arrived, whatever else becomes of it.
    pub management: bool,
}

impl Translation {
    /// Why the packets are dropped, if they are.
    pub const fn dropped(&self) -> Option<DropReason> {
        self.verdict.dropped()
    }

    /// True if it holds for all packets of the megaflow until a dependency is touched: nothing is to be
    /// done for a single packet.
    pub const fn is_cacheable(&self) -> bool {
        let final_verdict = matches!(self.verdict, Verdict::Pass | Verdict::Drop(_));
        final_verdict && self.effects.is_empty() && self.inspect.is_empty() && !self.management
    }
}

/// A [`Trace`] but for what only the slow path knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceWithoutOffload {
    /// The packet.
    pub key: FlowKey,
    /// The stages it passed; the last one may have ended its way.
    pub steps: Vec<Step>,
    /// What is done to it; empty unless it passes.
    pub actions: ActionList,
    /// All bits that were read.
    pub read: FlowMask,
    /// The shape that they are rounded up to.
    pub shape: Shape,
    /// What becomes of the packet.
    pub verdict: Verdict,
}

impl TraceWithoutOffload {
    /// The whole trace.
    pub fn with_offload(self, offload: Offload) -> Trace {
        let TraceWithoutOffload { key, steps, actions, read, shape, verdict } = self;
        Trace { key, steps, actions, read, shape, offload, verdict }
    }
}

/// What is done to a packet, and on what that depends. Counts what each stage said.
pub fn translate(
    key: &FlowKey,
    snapshot: &Snapshot,
    state: &State,
    counters: &mut [StageStats; Stage::COUNT],
) -> Translation {
    translate_by(&ORDER, key, snapshot, state, |stage, verdict, _| {
        let counters = &mut counters[stage.index()];
        match verdict {
            Verdict::Pass => counters.passed += 1,
            Verdict::Drop(_) => counters.dropped += 1,
            Verdict::Local | Verdict::Wait => counters.held += 1,
        }
    })
}

/// The way of a packet, told stage by stage. It is the way that [`translate`] leads it, by the same
/// code; nothing is counted.
pub fn trace(key: &FlowKey, snapshot: &Snapshot, state: &State) -> TraceWithoutOffload {
    let mut steps = Vec::with_capacity(Stage::COUNT);
    let mut before = FlowMask::EMPTY;
    let translation = translate_by(&ORDER, key, snapshot, state, |stage, verdict, probe| {
        let read = probe.read_so_far();
        steps.push(Step { stage, objects: probe.take_objects(), read: read.without(&before), verdict });
        before = read;
    });
    let Translation { actions, read, verdict, .. } = translation;
    TraceWithoutOffload { key: *key, steps, actions, read, shape: Shape::cover(&read), verdict }
}

/// Leads a packet through the stages until one ends its way; `seen` hears what each said.
pub(crate) fn translate_by(
    stages: &[(Stage, StageFn)],
    key: &FlowKey,
    snapshot: &Snapshot,
    state: &State,
    mut seen: impl FnMut(Stage, Verdict, &mut Probe<'_>),
) -> Translation {
    let mut probe = Probe::new(key, snapshot, state);
    let mut plan = Plan::default();
    let mut verdict = Verdict::Pass;
    for (stage, run) in stages {
        verdict = run(&mut probe, &mut plan);
        seen(*stage, verdict, &mut probe);
        if verdict != Verdict::Pass {
            plan.actions.clear();
            break;
        }
        if plan.ended {
            break;
        }
    }
    let record = probe.finish();
    let Plan { actions, effects, inspect, source, management, .. } = plan;
    let (read, dependencies) = (record.read, record.dependencies);
    Translation { actions, read, dependencies, verdict, effects, inspect, source, management }
}
