//! The pipeline's promises, on generated policies and packets.
//!
//! `NIC_AGENT_CASES` sets how many policies are tried (10 000), `NIC_AGENT_SEED` from which seed on
//! (0); a failure prints its seed. Seeds that failed once stand in [`FAILED_ONCE`] and are tried first.

mod megaflows;
mod revalidation;
mod saboteurs;

use nic_flow::PortId;
use nic_pipeline::state::{Limits, Neighbor};
use nic_pipeline::{Effect, Inspection, Snapshot, State, Touched, Translation};
use nic_policy::Verdict;
use sim::oracle::{Fate, Memory, Outcome, Policy};
use sim::scenario::{self, Lesson};

/// Seeds that failed once.
const FAILED_ONCE: &[u64] = &[];

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// How many policies to try.
fn policies() -> u64 {
    number("NIC_AGENT_CASES", 10_000)
}

/// The seeds to try.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = number("NIC_AGENT_SEED", 0);
    FAILED_ONCE.iter().copied().chain((0..count).map(move |n| first.wrapping_add(n)))
}

fn snapshot(policy: &Policy) -> Snapshot {
    let devices: Vec<PortId> = policy.devices.iter().copied().collect();
    let (snapshot, _) = Snapshot::empty()
        .with_management(policy.management)
        .apply(&scenario::full(policy, 1))
        .expect("ids are unique");
    snapshot.with_devices(&devices).0
}

/// There is room for all that the tests learn.
const LIMITS: Limits = Limits { place: 1000, total: 1000 };

fn state(memory: &Memory) -> State {
    let mut state = State::default();
    for (&(bridge, mac), &place) in &memory.stations {
        let _ = learn(&mut state, &Lesson::Station(bridge, mac, Some(place)));
    }
    for (&(vtep, address), &known) in &memory.next_hops {
        let _ = learn(&mut state, &Lesson::NextHop(vtep, address, Some(known)));
    }
    state
}

/// Does one lesson to the pipeline's state, and says what that touched.
fn learn(state: &mut State, lesson: &Lesson) -> Option<Touched> {
    match *lesson {
        Lesson::Station(bridge, mac, Some(place)) => {
            state.fdb.learn(bridge, mac, place, 0, LIMITS).expect("there is room")
        }
        Lesson::Station(bridge, mac, None) => state.fdb.forget(bridge, mac),
        Lesson::NextHop(vtep, address, known) => {
            let neighbor = known.map(|mac| mac.map_or(Neighbor::Failed, Neighbor::Known));
            state.neighbors.set(vtep, address, neighbor)
        }
    }
}

/// What becomes of a packet, in the oracle's words.
fn outcome(translation: &Translation) -> Outcome {
    let mut outcome = Outcome {
        fate: match translation.verdict {
            Verdict::Pass => Fate::Forward(translation.actions.to_vec()),
            Verdict::Drop(reason) => Fate::Drop(reason),
            Verdict::Local => Fate::Local,
            Verdict::Wait => Fate::Wait,
        },
        source: translation.source,
        management: translation.management,
        ..Outcome::default()
    };
    for effect in &translation.effects {
        match *effect {
            Effect::Learn { bridge, mac, place } => {
                assert_eq!(outcome.learn.replace((bridge, mac, place)), None, "learned twice");
            }
            Effect::Resolve { vtep, address } => {
                assert_eq!(outcome.resolve.replace((vtep, address)), None, "asked for twice");
            }
        }
    }
    let asked = |&Inspection { network, place, tunnelled }: &Inspection| (network, place, tunnelled);
    outcome.inspect = translation.inspect.iter().map(asked).collect();
    outcome
}
