//! After any change, flows whose dependencies are untouched stay as they are: translating only the
//! touched ones again gives what flushing all and translating all again would give.

use nic_flow::{FlowKey, PortId};
use nic_pipeline::testing::{STAGES, StageFn, translate_with};
use nic_pipeline::{Member, Snapshot, State, Touched, Translation};
use nic_policy::{Revision, Stage};
use sim::oracle::{Memory, Policy};
use sim::random::Random;
use sim::scenario;

use super::{learn, outcome, policies, seeds, snapshot, state};

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

/// A world and its history.
struct World {
    random: Random,
    policy: Policy,
    memory: Memory,
    snapshot: Snapshot,
    state: State,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(!seed);
        let policy = scenario::policy(&mut random);
        let memory = scenario::memory(&mut random, &policy);
        let (snapshot, state) = (snapshot(&policy), state(&memory));
        World { random, policy, memory, snapshot, state }
    }

    fn translate(&self, stages: &[(Stage, StageFn)], packet: &FlowKey) -> Translation {
        translate_with(stages, packet, &self.snapshot, &self.state)
    }

    /// One change, done to the oracle's copies and to the pipeline's, and what it touched.
    fn change(&mut self, n: u64) -> Vec<Touched> {
        if self.random.chance(40) {
            let lesson = scenario::lesson(&mut self.random, &self.policy);
            self.memory.learn(&lesson);
            return learn(&mut self.state, &lesson).into_iter().collect();
        }
        let (next, touched) = if self.random.chance(20) {
            let present: Vec<PortId> = scenario::devices(&mut self.random);
            self.policy.devices = present.iter().copied().collect();
            self.snapshot.with_devices(&present)
        } else {
            let delta = scenario::delta(&mut self.random, &self.policy, n);
            self.policy.apply(&delta);
            self.snapshot.apply(&delta).expect("ids are unique")
        };
        self.snapshot = next;
        touched
    }
}

/// Looks for a stale flow in the history of one seed.
pub(super) fn stale(stages: &[(Stage, StageFn)], seed: u64, mut seen: impl FnMut(Fate)) -> Option<Stale> {
    let mut world = World::new(seed);
    let mut flows: Vec<(FlowKey, Translation)> = Vec::new();
    for n in 2..2 + CHANGES {
        while flows.len() < FLOWS {
            let packet = scenario::packet_for(&mut world.random, &world.policy);
            flows.push((packet, world.translate(stages, &packet)));
        }
        let touched = world.change(n);
        for (packet, flow) in &mut flows {
            let depends = |touched: &Touched| flow.dependencies.iter().any(|d| d.is_touched_by(touched));
            let fate = touched.iter().any(depends);
            let mut again = world.translate(stages, packet);
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
                packet = scenario::within(&mut world.random, &packet, &flow.read);
                again = world.translate(stages, &packet);
            }
        }
        flows.swap_remove(world.random.below(FLOWS as u64) as usize);
    }
    assert_same_as_from_scratch(seed, &mut world);
    None
}

/// A world that came by changes answers as one that was made at once, and a full sync of the same policy
/// touches nothing.
fn assert_same_as_from_scratch(seed: u64, world: &mut World) {
    let (at_once, taught) = (snapshot(&world.policy), state(&world.memory));
    let World { random, policy, snapshot: by_deltas, .. } = world;
    assert_eq!(by_deltas.len(), policy.objects.len(), "seed {seed}");
    for (&id, object) in &policy.objects {
        assert_eq!(by_deltas.object(id).as_ref(), Some(object), "seed {seed}");
    }
    for bridge in policy.bridges() {
        let members: Vec<Member> = by_deltas.members(bridge.id).collect();
        assert!(members.iter().copied().eq(at_once.members(bridge.id)), "seed {seed}: {members:?}");
    }
    let packets: Vec<FlowKey> = (0..4).map(|_| scenario::packet_for(random, policy)).collect();
    for packet in packets {
        let now = world.translate(&STAGES, &packet);
        assert_eq!(now, translate_with(&STAGES, &packet, &at_once, &taught), "seed {seed}: {packet:?}");
    }
    let (synced, touched) = world.snapshot.apply(&scenario::full(&world.policy, 99)).expect("ids are unique");
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
