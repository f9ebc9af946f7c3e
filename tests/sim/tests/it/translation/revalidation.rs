//! After any change, flows whose dependencies are untouched stay as they are: translating only the
//! touched ones again gives what flushing all and translating all again would give.

use nic_flow::{FlowKey, PortId};
use nic_pipeline::testing::{STAGES, StageFn, translate_with};
use nic_pipeline::{Snapshot, Touched, Translation};
use nic_policy::{Revision, Stage};
use sim::oracle::Policy;
use sim::random::Random;
use sim::scenario;

use super::megaflows::outcome;
use super::{policies, seeds, snapshot};

const FLOWS: usize = 12;
const CHANGES: u64 = 5;

/// A flow that a change made wrong and that nothing touched.
pub(super) struct Stale {
    pub(super) seed: u64,
    pub(super) packet: FlowKey,
    pub(super) touched: Vec<Touched>,
}

/// What a change did to one flow.
pub(super) struct Fate {
    pub(super) touched: bool,
    pub(super) changed: bool,
}

/// One change of a policy, done to the oracle's copy and to the snapshot.
fn change(random: &mut Random, policy: &mut Policy, snapshot: &Snapshot, n: u64) -> (Snapshot, Vec<Touched>) {
    if random.chance(20) {
        let present: Vec<PortId> = scenario::devices(random);
        policy.devices = present.iter().copied().collect();
        return snapshot.with_devices(&present);
    }
    let delta = scenario::delta(random, policy, n);
    policy.apply(&delta);
    snapshot.apply(&delta).expect("ids are unique")
}

/// Looks for a stale flow in the history of one seed.
pub(super) fn stale(stages: &[(Stage, StageFn)], seed: u64, mut seen: impl FnMut(Fate)) -> Option<Stale> {
    let mut random = Random::new(!seed);
    let mut policy = scenario::policy(&mut random);
    let mut now = snapshot(&policy);
    let mut flows: Vec<(FlowKey, Translation)> = Vec::new();
    for n in 2..2 + CHANGES {
        while flows.len() < FLOWS {
            let packet = scenario::packet_for(&mut random, &policy);
            flows.push((packet, translate_with(stages, &packet, &now)));
        }
        let (next, touched) = change(&mut random, &mut policy, &now, n);
        for (packet, flow) in &mut flows {
            let depends = |touched: &Touched| flow.dependencies.iter().any(|d| d.is_touched_by(touched));
            let fate = touched.iter().any(depends);
            let mut again = translate_with(stages, packet, &next);
            let changed = outcome(&again) != outcome(flow);
            seen(Fate { touched: fate, changed });
            if fate {
                *flow = again;
                continue;
            }
            // The whole megaflow stays in force, so any packet of it must still fit.
            let mut packet = *packet;
            for _ in 0..2 {
                if outcome(&again) != outcome(flow) {
                    return Some(Stale { seed, packet, touched });
                }
                packet = scenario::within(&mut random, &packet, &flow.read);
                again = translate_with(stages, &packet, &next);
            }
        }
        flows.swap_remove(random.below(FLOWS as u64) as usize);
        now = next;
    }
    assert_same_as_from_scratch(seed, &mut random, &policy, &now);
    None
}

/// A snapshot that came by deltas answers as one that was made at once, and a full sync of the same
/// policy touches nothing.
fn assert_same_as_from_scratch(seed: u64, random: &mut Random, policy: &Policy, by_deltas: &Snapshot) {
    let at_once = snapshot(policy);
    assert_eq!(by_deltas.len(), policy.objects.len(), "seed {seed}");
    for (&id, object) in &policy.objects {
        assert_eq!(by_deltas.object(id).as_ref(), Some(object), "seed {seed}");
    }
    for _ in 0..4 {
        let packet = scenario::packet_for(random, policy);
        let (one, other) =
            (translate_with(&STAGES, &packet, by_deltas), translate_with(&STAGES, &packet, &at_once));
        assert_eq!(one, other, "seed {seed}: {packet:?}");
    }
    let (synced, touched) = by_deltas.apply(&scenario::full(policy, 99)).expect("ids are unique");
    assert_eq!((touched, synced.revision()), (Vec::new(), Revision(99)), "seed {seed}");
}

#[test]
fn translating_only_the_touched_flows_again_equals_flushing_all() {
    let (mut left, mut again, mut needed) = (0u64, 0u64, 0u64);
    let mut tried = 0;
    for seed in seeds(policies() / 2) {
        tried += 1;
        let found = stale(&STAGES, seed, |fate| {
            if fate.touched {
                again += 1;
                needed += u64::from(fate.changed);
            } else {
                left += 1;
            }
        });
        if let Some(stale) = found {
            let Stale { seed, packet, touched } = stale;
            panic!("seed {seed}: {packet:?} is no longer translated so, yet only {touched:?} was touched");
        }
    }
    println!("{tried} histories: {left} flows left alone, {again} translated again, {needed} otherwise");
    // Touching everything would be right and useless.
    assert!(left > again && needed > tried, "the generator or the dependencies have lost their edge");
}
