//! Any packet that agrees with `p` in the bits that were read is translated as `p` is; and what `p` is
//! translated to is what the policy means.

use nic_flow::{Action, Field, FlowKey, FlowMask, Shape};
use nic_pipeline::testing::{STAGES, StageFn, translate_with};
use nic_pipeline::{Snapshot, Translation, trace, translate};
use nic_policy::stats::StageStats;
use nic_policy::{DropReason, Stage, Verdict};
use sim::oracle::Policy;
use sim::random::Random;
use sim::scenario;

use super::{policies, seeds, snapshot};

/// Packets tried on each policy, and their relatives within and across the megaflow.
const PACKETS: u64 = 9;
const WITHIN: u64 = 5;

/// What is done to a packet.
pub(super) fn outcome(translation: &Translation) -> Result<Vec<Action>, DropReason> {
    match translation.dropped {
        Some(reason) => Err(reason),
        None => Ok(translation.actions.to_vec()),
    }
}

/// How a packet came to be tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// By itself.
    None,
    /// It agrees with another in all bits that were read.
    Within,
    /// It differs from another in one bit that was read; true if something else is done to it.
    Across(bool),
}

/// One packet on one policy.
pub(super) struct Case<'a> {
    policy: &'a Policy,
    snapshot: &'a Snapshot,
    packet: FlowKey,
    translation: &'a Translation,
    relation: Relation,
}

/// A packet that was translated otherwise than one that agrees with it in all bits that were read.
pub(super) struct Counterexample {
    pub(super) seed: u64,
    pub(super) packet: FlowKey,
    pub(super) relative: FlowKey,
    pub(super) read: FlowMask,
}

/// Looks for a counterexample on the policy of one seed, in the way that stages of any kind are tried.
pub(super) fn counterexample(
    stages: &[(Stage, StageFn)],
    seed: u64,
    mut seen: impl FnMut(Case<'_>),
) -> Option<Counterexample> {
    let mut random = Random::new(seed);
    let policy = &scenario::policy(&mut random);
    let snapshot = &snapshot(policy);
    let mut packet = scenario::packet(&mut random);
    for _ in 0..PACKETS {
        packet = match random.below(4) {
            0 => scenario::near(&mut random, &packet),
            _ => scenario::packet_for(&mut random, policy),
        };
        let translation = &translate_with(stages, &packet, snapshot);
        seen(Case { policy, snapshot, packet, translation, relation: Relation::None });
        let read = translation.read;
        for _ in 0..WITHIN {
            let relative = scenario::within(&mut random, &packet, &read);
            let other = &translate_with(stages, &relative, snapshot);
            if outcome(other) != outcome(translation) {
                return Some(Counterexample { seed, packet, relative, read });
            }
            seen(Case { policy, snapshot, packet: relative, translation: other, relation: Relation::Within });
        }
        let across = scenario::flipped(&mut random, &packet, &read);
        let other = &translate_with(stages, &across, snapshot);
        let relation = Relation::Across(outcome(other) != outcome(translation));
        seen(Case { policy, snapshot, packet: across, translation: other, relation });
    }
    None
}

#[derive(Default)]
struct Reached {
    policies: u64,
    cases: u64,
    passed: [u64; Stage::COUNT],
    dropped: [u64; Stage::COUNT],
    reasons: [u64; DropReason::COUNT],
    shapes: [u64; 16],
    rewrites: u64,
    across: u64,
    across_otherwise: u64,
}

/// What the pipeline can drop a packet for; the others belong to whoever moves packets.
const REASONS: [DropReason; 14] = [
    DropReason::PortUnconfigured,
    DropReason::PortDisabled,
    DropReason::SourceMac,
    DropReason::ArpSender,
    DropReason::NoRule,
    DropReason::RuleDrop,
    DropReason::MalformedVlan,
    DropReason::MalformedL3,
    DropReason::MalformedL4,
    DropReason::TtlExpired,
    DropReason::OutputUnconfigured,
    DropReason::OutputDisabled,
    DropReason::OutputAbsent,
    DropReason::OutputIngress,
];

impl Reached {
    fn add(&mut self, case: &Case<'_>) {
        self.cases += 1;
        self.shapes[Shape::cover(&case.translation.read).index()] += 1;
        match case.translation.dropped {
            Some(reason) => self.reasons[reason.index()] += 1,
            None => self.rewrites += u64::from(case.translation.actions.len() > 1),
        }
        if let Relation::Across(otherwise) = case.relation {
            self.across += 1;
            self.across_otherwise += u64::from(otherwise);
        }
    }

    fn count(&mut self, counters: &[StageStats; Stage::COUNT]) {
        for (stage, counters) in counters.iter().enumerate() {
            self.passed[stage] += counters.passed;
            self.dropped[stage] += counters.dropped;
        }
    }

    /// A generator that never gets somewhere proves nothing about it.
    fn assert_everywhere(&self) {
        println!("{} policies, {} cases, {} with rewrites", self.policies, self.cases, self.rewrites);
        println!("{} of {} across a border differ", self.across_otherwise, self.across);
        println!("passed {:?}, dropped {:?}", self.passed, self.dropped);
        for reason in REASONS {
            println!("{reason}: {}", self.reasons[reason.index()]);
        }
        for shape in Shape::ALL {
            println!("{shape}: {}", self.shapes[shape.index()]);
        }
        let enough = 100 * self.policies.min(20_000) / 20_000;
        for stage in Stage::ALL {
            let (passed, dropped) = (self.passed[stage.index()], self.dropped[stage.index()]);
            assert!(passed >= enough && dropped >= enough, "{}", stage.name());
        }
        for reason in DropReason::ALL {
            let reached = self.reasons[reason.index()];
            assert!(reached >= enough || !REASONS.contains(reason), "{reason}: {reached}");
            assert!(reached == 0 || REASONS.contains(reason), "{reason} is not the pipeline's");
        }
        for shape in Shape::ALL {
            assert!(self.shapes[shape.index()] >= enough, "{shape}");
        }
        assert!(self.rewrites >= enough, "rewrites");
        assert!(self.across_otherwise > self.across / 20, "what is read does not matter");
    }
}

#[test]
fn any_packet_that_matches_the_megaflow_is_translated_alike_and_as_the_policy_means() {
    let mut reached = Reached::default();
    let mut counters = [StageStats::default(); Stage::COUNT];
    for seed in seeds(policies()) {
        reached.policies += 1;
        let found = counterexample(&STAGES, seed, |case| {
            let Case { policy, packet, translation, .. } = &case;
            let meant = policy.translate(packet);
            assert_eq!(outcome(translation), meant, "seed {seed}: {packet:?}\nby {policy:#?}");
            check_form(seed, packet, translation);
            if reached.cases % 8 == 0 {
                assert_eq!(&translate(packet, case.snapshot, &mut counters), *translation, "seed {seed}");
                check_trace(seed, packet, case.snapshot, translation);
            }
            reached.add(&case);
        });
        if let Some(Counterexample { packet, relative, read, .. }) = found {
            panic!("seed {seed}: {packet:?} and {relative:?} agree in {read:?}");
        }
    }
    reached.count(&counters);
    reached.assert_everywhere();
}

fn check_form(seed: u64, packet: &FlowKey, translation: &Translation) {
    let read = &translation.read;
    assert_eq!(read.with_prerequisites(), *read, "seed {seed}: {packet:?} lacks a prerequisite");
    assert!(read.covers(&FlowMask::exact(Field::InPort)), "seed {seed}: {packet:?}");
    assert!(Shape::cover(read).mask().covers(read), "seed {seed}: {packet:?}");
    let ends_in_output = matches!(translation.actions.last(), Some(Action::Output(_)));
    assert_eq!(ends_in_output, translation.dropped.is_none(), "seed {seed}: {packet:?}");
    assert_eq!(ends_in_output, !translation.actions.is_empty(), "seed {seed}: {packet:?}");
}

fn check_trace(seed: u64, packet: &FlowKey, snapshot: &Snapshot, translation: &Translation) {
    let trace = trace(packet, snapshot);
    assert_eq!((&trace.actions, trace.dropped), (&translation.actions, translation.dropped), "seed {seed}");
    let mut read = FlowMask::EMPTY;
    for step in &trace.steps {
        assert!((read & step.read).is_empty(), "seed {seed}: a bit is told twice");
        read |= step.read;
        for &id in &step.objects {
            assert!(snapshot.object(id).is_some(), "seed {seed}: {id:?}");
        }
    }
    assert_eq!((read, trace.read), (translation.read, translation.read), "seed {seed}: {packet:?}");
    assert_eq!(trace.shape, Shape::cover(&translation.read));
    let (last, before) = trace.steps.split_last().expect("there is a stage");
    assert!(before.iter().all(|step| step.verdict == Verdict::Pass), "seed {seed}");
    let verdict = translation.dropped.map_or(Verdict::Pass, Verdict::Drop);
    assert_eq!(last.verdict, verdict, "seed {seed}");
}
