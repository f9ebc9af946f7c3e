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

type Naive = BTreeMap<(BridgeId, MacAddr), Learned>;

fn naive_learn(
    naive: &mut Naive,
    id: (BridgeId, MacAddr),
    place: Place,
    now: u64,
) -> Result<bool, LearnError> {
    if naive.get(&id).is_some_and(|known| known.place == place) {
        naive.insert(id, Learned { place, used: now });
        return Ok(false);
    }
    if naive.values().filter(|learned| learned.place == place).count() >= LIMITS.place as usize {
        return Err(LearnError::Place);
    }
    if !naive.contains_key(&id) && naive.len() >= LIMITS.total as usize {
        return Err(LearnError::Total);
    }
    naive.insert(id, Learned { place, used: now });
    Ok(true)
}

proptest! {
    #[test]
    fn stations_are_known_where_they_were_last_seen_within_the_limits(steps in steps()) {
        let (mut fdb, mut naive) = (Fdb::new(Seed::new(1)), Naive::new());
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
            let known: Naive = fdb.iter().map(|(bridge, mac, learned)| ((bridge, mac), *learned)).collect();
            prop_assert_eq!(&known, &naive);
            prop_assert_eq!((fdb.len(), fdb.is_empty()), (naive.len(), naive.is_empty()));
            for (&(bridge, mac), learned) in &naive {
                prop_assert_eq!(fdb.get(bridge, mac), Some(learned));
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
