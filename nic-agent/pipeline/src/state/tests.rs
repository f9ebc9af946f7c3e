//! The tables of what was learned, against naive ones: what they hold, and what a change touches.

use std::collections::BTreeMap;

use nic_flow::{MacAddr, PortId};
use nic_policy::{BridgeId, Place, VtepId};
use proptest::prelude::*;

use super::*;
use crate::dependency::Touched;

#[derive(Debug, Clone)]
enum Step {
    Learn(BridgeId, MacAddr, Place),
    Refresh(BridgeId, MacAddr, Place),
    Forget(BridgeId, MacAddr),
    ForgetBridge(BridgeId),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bridge = || (1u64..3).prop_map(BridgeId);
    let mac = || (0u64..5).prop_map(MacAddr::from_u64);
    let place = || {
        let peer = (0u8..2).prop_map(|n| Place::Peer([192, 0, 2, n].into()));
        prop_oneof![(0u16..2).prop_map(|n| Place::Port(PortId::from_bits(n))), peer]
    };
    let step = prop_oneof![
        5 => (bridge(), mac(), place()).prop_map(|(bridge, mac, place)| Step::Learn(bridge, mac, place)),
        2 => (bridge(), mac(), place()).prop_map(|(bridge, mac, place)| Step::Refresh(bridge, mac, place)),
        2 => (bridge(), mac()).prop_map(|(bridge, mac)| Step::Forget(bridge, mac)),
        1 => bridge().prop_map(Step::ForgetBridge),
    ];
    prop::collection::vec(step, 1..40)
}

const LIMITS: Limits = Limits { place: 3, total: 6 };

const DAMPING: Damping = Damping { moves: 2, window: 12 };

/// An address and its whole history.
#[derive(Debug)]
struct Station {
    place: Place,
    used: u64,
    learned: u64,
    moves: Vec<u64>,
}

impl Station {
    fn may_move(&self, now: u64) -> bool {
        let mut begin = self.learned;
        for &at in self.moves.iter().chain([&now]) {
            if at >= begin + DAMPING.window {
                begin = at;
            }
        }
        self.moves.iter().filter(|&&at| at >= begin).count() < DAMPING.moves as usize
    }
}

type Naive = BTreeMap<(BridgeId, MacAddr), Station>;

fn naive_learn(
    naive: &mut Naive,
    id: (BridgeId, MacAddr),
    place: Place,
    now: u64,
) -> Result<bool, LearnError> {
    if let Some(known) = naive.get_mut(&id).filter(|known| known.place == place) {
        known.used = now;
        return Ok(false);
    }
    if naive.values().filter(|learned| learned.place == place).count() >= LIMITS.place as usize {
        return Err(LearnError::Place);
    }
    let full = naive.len() >= LIMITS.total as usize;
    if let Some(known) = naive.get_mut(&id) {
        if !known.may_move(now) {
            return Err(LearnError::Moves);
        }
        (known.place, known.used) = (place, now);
        known.moves.push(now);
    } else if full {
        return Err(LearnError::Total);
    } else {
        naive.insert(id, Station { place, used: now, learned: now, moves: Vec::new() });
    }
    Ok(true)
}

#[test]
fn an_address_moves_so_often_in_a_window_and_then_stays_until_it_is_over() {
    let mut fdb = Fdb::new(Seed::new(1));
    fdb.damp(Damping { moves: 2, window: 100 });
    let places = [0, 1].map(|n| Place::Port(PortId::from_bits(n)));
    let mut learn = |n: usize, now| fdb.learn(BridgeId(1), MacAddr::from_u64(1), places[n], now, LIMITS);
    let touched = Ok(Some(Touched::Fdb(BridgeId(1), MacAddr::from_u64(1))));
    assert_eq!(learn(0, 1000), touched);
    assert_eq!(learn(1, 1001), touched);
    assert_eq!(learn(0, 1050), touched);
    for now in 1051..1100 {
        assert_eq!(learn(1, now), Err(LearnError::Moves));
        assert_eq!(learn(0, now), Ok(None), "it is where it was");
    }
    assert_eq!(learn(1, 1100), touched);
    assert_eq!(learn(0, 1199), touched);
    assert_eq!(learn(1, 1199), Err(LearnError::Moves));
    assert_eq!(learn(1, 5000), touched);
    assert_eq!(learn(0, 5099), touched, "the window began with the move before");
    assert_eq!(learn(1, 5099), Err(LearnError::Moves));
}

#[test]
fn every_move_is_followed_without_damping_and_none_if_none_may_be() {
    let places = [0, 1].map(|n| Place::Port(PortId::from_bits(n)));
    let followed = |damping| {
        let mut fdb = Fdb::new(Seed::new(1));
        fdb.damp(damping);
        let mut learn = |n: usize| fdb.learn(BridgeId(1), MacAddr::from_u64(1), places[n % 2], 7, LIMITS);
        assert!(learn(0).is_ok());
        (1..=100).filter(|&n| matches!(learn(n), Ok(Some(_)))).count()
    };
    assert_eq!(followed(Damping::NONE), 100);
    assert_eq!(followed(Damping { moves: 1, window: 0 }), 100);
    assert_eq!(followed(Damping { moves: 0, window: 0 }), 0);
}

proptest! {
    #[test]
    fn stations_are_known_where_they_were_last_seen_within_the_limits(steps in steps()) {
        let (mut fdb, mut naive) = (Fdb::new(Seed::new(1)), Naive::new());
        fdb.damp(DAMPING);
        for (step, now) in steps.into_iter().zip(1..) {
            match step {
                Step::Learn(bridge, mac, place) => {
                    let expected = naive_learn(&mut naive, (bridge, mac), place, now);
                    let expected = expected.map(|changed| changed.then_some(Touched::Fdb(bridge, mac)));
                    prop_assert_eq!(fdb.learn(bridge, mac, place, now, LIMITS), expected);
                }
                Step::Refresh(bridge, mac, place) => {
                    fdb.refresh(bridge, mac, place, now);
                    if let Some(known) = naive.get_mut(&(bridge, mac)).filter(|known| known.place == place) {
                        known.used = now;
                    }
                }
                Step::Forget(bridge, mac) => {
                    let expected = naive.remove(&(bridge, mac)).map(|_| Touched::Fdb(bridge, mac));
                    prop_assert_eq!(fdb.forget(bridge, mac), expected);
                }
                Step::ForgetBridge(bridge) => {
                    let mut touched = Vec::new();
                    fdb.forget_where(|of, _, _| of == bridge, |change| touched.push(change));
                    let before = naive.len();
                    naive.retain(|(of, _), _| *of != bridge);
                    prop_assert_eq!(touched.len(), before - naive.len());
                }
            }
            let known: BTreeMap<_, _> =
                fdb.iter().map(|(bridge, mac, at)| ((bridge, mac), (at.place, at.used))).collect();
            let expected: BTreeMap<_, _> = naive.iter().map(|(&id, at)| (id, (at.place, at.used))).collect();
            prop_assert_eq!(known, expected);
            prop_assert_eq!((fdb.len(), fdb.is_empty()), (naive.len(), naive.is_empty()));
            for (&(bridge, mac), station) in &naive {
                prop_assert_eq!(fdb.get(bridge, mac).map(|known| known.place), Some(station.place));
            }
        }
    }
}

#[test]
fn a_next_hop_touches_flows_only_if_something_else_is_known_of_it() {
    let (vtep, address) = (VtepId(1), [192, 0, 2, 9].into());
    let known = |n| Some(Neighbor::Known(MacAddr::from_u64(n)));
    let mut neighbors = Neighbors::new(Seed::new(1));
    let mut touches = |to| neighbors.set(vtep, address, to) == Some(Touched::Neighbor(vtep, address));
    assert!(!touches(None));
    assert!(touches(known(1)));
    assert!(!touches(known(1)));
    assert!(touches(known(2)));
    assert!(touches(Some(Neighbor::Failed)));
    assert!(!touches(Some(Neighbor::Failed)));
    assert!(touches(None));
    assert_eq!(neighbors.get(vtep, address), None);
}
