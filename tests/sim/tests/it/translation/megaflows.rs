//! Any packet that agrees with `p` in the bits that were read is translated as `p` is; and what `p` is
//! translated to is what the policy means.

use std::collections::BTreeMap;

use nic_flow::{Action, Field, FlowKey, FlowMask, PortId, Shape};
use nic_pipeline::testing::{STAGES, StageFn, translate_with};
use nic_pipeline::{Effect, Snapshot, State, Translation, trace, translate};
use nic_policy::stats::StageStats;
use nic_policy::{DropReason, Network, Stage, Verdict};
use sim::oracle::{Memory, Policy};
use sim::random::Random;
use sim::scenario;

use super::{outcome, policies, seeds, snapshot, state};

/// Packets tried on each policy, and their relatives within and across the megaflow.
const PACKETS: u64 = 9;
const WITHIN: u64 = 5;

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

/// A policy and what packets taught, as the oracle and as the pipeline have it.
struct World {
    policy: Policy,
    memory: Memory,
    snapshot: Snapshot,
    state: State,
}

/// One packet in one world.
pub(super) struct Case<'a> {
    world: &'a World,
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
    let policy = scenario::policy(&mut random);
    let memory = scenario::memory(&mut random, &policy);
    let world = &World { snapshot: snapshot(&policy), state: state(&memory), policy, memory };
    let translate = |packet: &FlowKey| translate_with(stages, packet, &world.snapshot, &world.state);
    let mut packet = scenario::packet(&mut random);
    for _ in 0..PACKETS {
        packet = match random.below(4) {
            0 => scenario::near(&mut random, &packet),
            _ => scenario::packet_for(&mut random, &world.policy),
        };
        let translation = &translate(&packet);
        seen(Case { world, packet, translation, relation: Relation::None });
        let read = translation.read;
        for _ in 0..WITHIN {
            let relative = scenario::within(&mut random, &packet, &read);
            let other = &translate(&relative);
            if outcome(other) != outcome(translation) {
                return Some(Counterexample { seed, packet, relative, read });
            }
            seen(Case { world, packet: relative, translation: other, relation: Relation::Within });
        }
        let across = scenario::flipped(&mut random, &packet, &read);
        let other = &translate(&across);
        let relation = Relation::Across(outcome(other) != outcome(translation));
        seen(Case { world, packet: across, translation: other, relation });
    }
    None
}

#[derive(Default)]
struct Reached {
    policies: u64,
    cases: u64,
    passed: [u64; Stage::COUNT],
    dropped: [u64; Stage::COUNT],
    held: [u64; Stage::COUNT],
    reasons: BTreeMap<DropReason, u64>,
    shapes: [u64; Shape::ALL.len()],
    kinds: BTreeMap<&'static str, u64>,
    across: u64,
    across_otherwise: u64,
}

/// What the pipeline drops no packet for: these reasons belong to whoever moves packets.
const NOT_THE_PIPELINES: [DropReason; 12] = [
    DropReason::ManagementFull,
    DropReason::NeighborQueueFull,
    DropReason::FloodBudget,
    DropReason::TransmitFull,
    DropReason::TransmitError,
    DropReason::NoBuffer,
    DropReason::NoHeadroom,
    DropReason::Undersized,
    DropReason::ReceiveMissed,
    DropReason::ReceiveNoBuffer,
    DropReason::ReceiveError,
    DropReason::ReceiveMultiSegment,
];

/// What a translation is an example of, beside its drop reason and its shape.
fn kinds(translation: &Translation) -> impl Iterator<Item = &'static str> {
    let has = |wanted: fn(&Action) -> bool| translation.actions.iter().any(wanted);
    let learns = |effect: &Effect| matches!(effect, Effect::Learn { .. });
    let inspected = |tunnelled| {
        let mut all = translation.inspect.iter();
        all.any(|i| i.tunnelled == tunnelled && matches!(i.network, Network::Bridge(_)))
    };
    let told = translation.inspect.iter().any(|i| matches!(i.network, Network::Underlay(_)));
    [
        ("rewrite", translation.actions.len() > 1),
        ("flood", has(|action| matches!(action, Action::Flood(flood) if !flood.from_tunnel))),
        ("flood from a tunnel", has(|action| matches!(action, Action::Flood(flood) if flood.from_tunnel))),
        ("encapsulation, IPv4", has(|a| matches!(a, Action::EncapVxlan(encap) if encap.dst.is_ipv4()))),
        ("encapsulation, IPv6", has(|a| matches!(a, Action::EncapVxlan(encap) if encap.dst.is_ipv6()))),
        ("decapsulation", has(|action| matches!(action, Action::DecapVxlan))),
        ("congestion told", has(|a| *a == Action::DecapVxlan) && has(|a| matches!(a, Action::SetIpEcn(_)))),
        ("local", translation.verdict == Verdict::Local),
        ("wait", translation.verdict == Verdict::Wait),
        ("learned", translation.effects.iter().any(learns)),
        ("kept alive", translation.source.is_some()),
        ("looked into", inspected(false) && translation.verdict == Verdict::Pass),
        ("looked into in a tunnel", inspected(true)),
        ("looked into and dropped", (inspected(false) || inspected(true)) && translation.dropped().is_some()),
        ("underlay's news", told && translation.verdict == Verdict::Pass),
        ("underlay's news, dropped", told && translation.dropped().is_some()),
        ("underlay's news in a bridge that is looked into", told && inspected(false)),
        ("the management's", has(|action| *action == Action::Output(PortId::MANAGEMENT))),
        ("the management's, too", translation.management && translation.verdict == Verdict::Pass),
        ("the management's, and dropped", translation.management && translation.dropped().is_some()),
        ("cacheable", translation.is_cacheable()),
    ]
    .into_iter()
    .filter_map(|(name, is)| is.then_some(name))
}

impl Reached {
    fn add(&mut self, case: &Case<'_>) {
        self.cases += 1;
        self.shapes[Shape::cover(&case.translation.read).index()] += 1;
        if let Some(reason) = case.translation.dropped() {
            *self.reasons.entry(reason).or_default() += 1;
        }
        for kind in kinds(case.translation) {
            *self.kinds.entry(kind).or_default() += 1;
        }
        if let Relation::Across(otherwise) = case.relation {
            self.across += 1;
            self.across_otherwise += u64::from(otherwise);
        }
    }

    fn dropped_for(&self, reason: DropReason) -> u64 {
        self.reasons.get(&reason).copied().unwrap_or_default()
    }

    fn count(&mut self, counters: &[StageStats; Stage::COUNT]) {
        for (stage, counters) in counters.iter().enumerate() {
            self.passed[stage] += counters.passed;
            self.dropped[stage] += counters.dropped;
            self.held[stage] += counters.held;
        }
    }

    /// A generator that never gets somewhere proves nothing about it.
    fn assert_everywhere(&self) {
        println!("{} policies, {} cases", self.policies, self.cases);
        println!("{} of {} across a border differ", self.across_otherwise, self.across);
        println!("passed {:?}, dropped {:?}, held {:?}", self.passed, self.dropped, self.held);
        println!("{:#?}", self.kinds);
        for reason in DropReason::ALL {
            println!("{reason}: {}", self.dropped_for(*reason));
        }
        for shape in Shape::ALL {
            println!("{shape}: {}", self.shapes[shape.index()]);
        }
        let enough = 100 * self.policies.min(10_000) / 10_000;
        for stage in Stage::ALL {
            let (passed, dropped) = (self.passed[stage.index()], self.dropped[stage.index()]);
            assert!(passed >= enough && dropped >= enough, "{}", stage.name());
            let (held, holds) = (self.held[stage.index()], matches!(stage, Stage::Tunnel | Stage::Bridge));
            // Counted are the packets that were translated twice, one in eight.
            assert!(if holds { held * 8 >= enough } else { held == 0 }, "{}", stage.name());
        }
        for reason in DropReason::ALL {
            let reached = self.dropped_for(*reason);
            if NOT_THE_PIPELINES.contains(reason) {
                assert_eq!(reached, 0, "{reason} is not the pipeline's");
            } else {
                assert!(reached >= enough, "{reason}: {reached}");
            }
        }
        for shape in Shape::ALL {
            assert!(self.shapes[shape.index()] >= enough, "{shape}");
        }
        assert_eq!(self.kinds.len(), 21, "{:?}", self.kinds);
        for (kind, &reached) in &self.kinds {
            assert!(reached >= enough, "{kind}: {reached}");
        }
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
            let Case { world: World { policy, memory, snapshot, state }, packet, translation, .. } = &case;
            let meant = policy.translate(packet, memory);
            assert_eq!(outcome(translation), meant, "seed {seed}: {packet:?}\nby {policy:#?}\n{memory:#?}");
            check_form(seed, packet, translation);
            if reached.cases % 8 == 0 {
                let again = translate(packet, snapshot, state, &mut counters);
                assert_eq!(&again, *translation, "seed {seed}");
                check_trace(seed, &case);
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
    let sends_last = translation.actions.last().is_some_and(|last| last.destination().is_some());
    assert_eq!(sends_last, translation.verdict == Verdict::Pass, "seed {seed}: {packet:?}");
    assert_eq!(sends_last, !translation.actions.is_empty(), "seed {seed}: {packet:?}");
}

fn check_trace(seed: u64, case: &Case<'_>) {
    let Case { world: World { snapshot, state, .. }, packet, translation, .. } = case;
    let trace = trace(packet, snapshot, state);
    assert_eq!((&trace.actions, trace.verdict), (&translation.actions, translation.verdict), "seed {seed}");
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
    assert_eq!(last.verdict, translation.verdict, "seed {seed}");
}
