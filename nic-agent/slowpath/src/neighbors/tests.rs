use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const V: VtepId = VtepId(1);
const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const SECOND: u64 = 1_000_000_000;

fn hop(n: u8) -> Hop {
    (V, [192, 0, 2, n].into())
}

fn answer(n: u8, mac: MacAddr, solicited: bool) -> Answer {
    Answer { address: hop(n).1, mac: Some(mac), solicited, replace: true, router: false }
}

fn config() -> Config {
    Config { neighbors_per_vtep: 2, waiting_per_neighbor: 2, waiting: 3, ..Config::default() }
}

struct World {
    neighbors: Neighbors<u32>,
    now: u64,
    depended: bool,
}

impl World {
    fn new() -> World {
        World { neighbors: Neighbors::new(&config()), now: SECOND, depended: true }
    }

    fn want(&mut self, n: u8) -> (bool, Vec<Event<u32>>) {
        let mut events = Vec::new();
        (self.neighbors.want(hop(n), self.now, &mut events), events)
    }

    /// A packet waits. Returns the one that does no longer because of it, if not that one.
    fn wait(&mut self, from: u16, n: u8, packet: u32) -> Result<Option<u32>, u32> {
        let mut events = Vec::new();
        self.neighbors.wait(hop(n), from, packet, &mut events)?;
        Ok(match events.as_slice() {
            [] => None,
            [Event::Displaced(packet)] => Some(*packet),
            other => panic!("{other:?}"),
        })
    }

    fn hear(&mut self, answer: Answer) -> Vec<Event<u32>> {
        let mut events = Vec::new();
        self.neighbors.heard(V, &answer, self.now, &mut events);
        events
    }

    fn pass(&mut self, seconds: u64) -> Vec<Event<u32>> {
        let mut events = Vec::new();
        for _ in 0..seconds {
            self.now += SECOND;
            self.neighbors.tick(self.now, |_| self.depended, &mut events);
        }
        events
    }

    fn state(&self) -> Option<NeighborState> {
        self.neighbors.views(self.now).next().map(|view| view.state)
    }
}

fn ask(n: u8, to: Option<MacAddr>) -> Event<u32> {
    Event::Ask { hop: hop(n), to }
}

fn known(n: u8, mac: MacAddr) -> Event<u32> {
    Event::Changed(hop(n), Some(Neighbor::Known(mac)))
}

#[test]
fn an_address_is_asked_for_three_times_and_given_up_and_asked_for_again_later() {
    let mut world = World::new();
    assert_eq!(world.want(1), (true, vec![ask(1, None)]));
    assert_eq!(world.want(1), (true, vec![]));
    assert_eq!(world.wait(0, 1, 7), Ok(None));
    assert_eq!(world.pass(2), [ask(1, None), ask(1, None)]);
    let failed = Event::Changed(hop(1), Some(Neighbor::Failed));
    assert_eq!(world.pass(1), [failed, Event::GivenUp(7)]);
    assert_eq!(world.wait(0, 1, 8), Err(8));
    assert_eq!(world.pass(5), [Event::Changed(hop(1), None)]);
    assert_eq!(world.state(), None);
    assert_eq!(world.want(1), (true, vec![ask(1, None)]));
}

#[test]
fn an_answer_releases_what_waits_and_is_confirmed_before_its_time_is_over() {
    let mut world = World::new();
    world.want(1);
    assert_eq!(world.wait(0, 1, 7), Ok(None));
    assert_eq!(world.wait(0, 1, 8), Ok(None));
    assert_eq!(world.hear(answer(1, A, true)), [known(1, A), Event::Released(7), Event::Released(8)]);
    assert_eq!((world.state(), world.neighbors.waiting()), (Some(NeighborState::Reachable), 0));
    assert_eq!(world.pass(26), []);
    assert_eq!(world.pass(1), [ask(1, Some(A))]);
    assert_eq!(world.state(), Some(NeighborState::Probe));
    assert_eq!(world.hear(answer(1, A, true)), [], "nothing changed");
    assert_eq!(world.state(), Some(NeighborState::Reachable));
}

#[test]
fn the_last_question_goes_to_everybody_and_a_moved_address_is_followed() {
    let mut world = World::new();
    world.want(1);
    world.hear(answer(1, A, true));
    assert_eq!(world.pass(29), [ask(1, Some(A)), ask(1, Some(A)), ask(1, None)]);
    assert_eq!(world.hear(answer(1, B, true)), [known(1, B)]);
    assert_eq!(world.state(), Some(NeighborState::Reachable));
    // And one that is gone is given up.
    let events = world.pass(30);
    assert_eq!(events.last(), Some(&Event::Changed(hop(1), Some(Neighbor::Failed))));
}

#[test]
fn a_next_hop_that_nobody_uses_is_forgotten() {
    let mut world = World::new();
    world.depended = false;
    world.want(1);
    world.now += 1;
    world.hear(answer(1, A, true));
    assert_eq!(world.pass(27), [Event::Changed(hop(1), None)]);
    // One that floods use is not.
    world.want(1);
    world.hear(answer(1, A, true));
    world.pass(10);
    world.neighbors.used(hop(1), world.now);
    assert_eq!(world.pass(17), [ask(1, Some(A))]);
}

#[test]
fn a_claim_makes_no_entry_and_changes_a_known_one_only_until_it_is_checked() {
    let mut world = World::new();
    assert_eq!(world.hear(answer(1, A, false)), []);
    assert_eq!(world.hear(answer(1, A, true)), []);
    assert_eq!(world.state(), None);
    world.want(1);
    assert_eq!(world.hear(answer(1, A, false)), [known(1, A), ask(1, Some(A))]);
    assert_eq!(world.state(), Some(NeighborState::Probe));
    world.hear(answer(1, A, true));
    assert_eq!(world.hear(answer(1, A, false)), [], "known");
    assert_eq!(world.hear(answer(1, B, false)), [known(1, B), ask(1, Some(B))]);
    world.hear(answer(1, B, true));
    // Without the flag that says so nothing is replaced, but somebody is asked.
    let claim = Answer { replace: false, ..answer(1, A, false) };
    assert_eq!(world.hear(claim), [ask(1, Some(B))]);
    assert_eq!(world.state(), Some(NeighborState::Probe));
}

#[test]
fn next_hops_and_packets_that_wait_are_bounded_each_and_in_all() {
    let mut world = World::new();
    assert!(world.want(1).0);
    assert!(world.want(2).0);
    assert_eq!(world.want(3), (false, vec![]));
    assert_eq!(world.wait(0, 3, 0), Err(0));
    assert_eq!(world.wait(0, 1, 1), Ok(None));
    assert_eq!(world.wait(0, 1, 2), Ok(None));
    assert_eq!(world.wait(0, 1, 3), Err(3));
    assert_eq!(world.wait(0, 2, 4), Ok(None));
    assert_eq!(world.wait(0, 2, 5), Err(5));
    let mut events = Vec::new();
    world.neighbors.forget(V, &mut events);
    let given_up = events.iter().filter(|event| matches!(event, Event::GivenUp(_))).count();
    assert_eq!((given_up, world.neighbors.waiting(), world.neighbors.due.len()), (3, 0, 0));
    assert!(world.want(3).0);
}

#[test]
fn who_waits_most_makes_room_for_who_waits_less_for_each_next_hop_and_in_all() {
    let config = Config { neighbors_per_vtep: 4, waiting_per_neighbor: 4, waiting: 6, ..Config::default() };
    let mut world = World { neighbors: Neighbors::new(&config), ..World::new() };
    for n in 1..4 {
        world.want(n);
    }
    for packet in 0..4 {
        assert_eq!(world.wait(0, 1, packet), Ok(None));
    }
    // The queue of one next hop is full.
    assert_eq!(world.wait(0, 1, 10), Err(10));
    assert_eq!(world.wait(1, 1, 11), Ok(Some(0)));
    assert_eq!(world.wait(1, 1, 12), Ok(Some(1)));
    assert_eq!(world.wait(1, 1, 13), Err(13), "half of it is all that one of two gets");
    assert_eq!(world.wait(0, 1, 14), Err(14));
    // There is no place left at all.
    assert_eq!(world.wait(0, 2, 15), Ok(None));
    assert_eq!(world.wait(0, 2, 16), Ok(None));
    assert_eq!(world.wait(0, 2, 17), Err(17));
    assert_eq!(world.wait(2, 3, 18), Ok(Some(2)), "the oldest of who has most, wherever it waits");
    assert_eq!(world.wait(2, 3, 19), Ok(Some(3)));
    assert_eq!(world.wait(2, 3, 20), Err(20));
    assert_eq!(world.neighbors.waiting(), 6);
    assert_eq!(world.hear(answer(1, A, true)), [known(1, A), Event::Released(11), Event::Released(12)]);
    assert_eq!(world.neighbors.waiting(), 4);
}

proptest! {
    #[test]
    fn what_translation_is_told_is_what_is_known_and_every_packet_comes_out_once(
        steps in prop::collection::vec((0u8..6, 1u8..4, any::<bool>()), 1..200),
    ) {
        let mut world = World::new();
        let mut told: BTreeMap<Hop, Neighbor> = BTreeMap::new();
        let (mut accepted, mut out, mut next) = (0, 0, 0);
        for (step, n, flag) in steps {
            let events = match step {
                0 => world.want(n).1,
                1 => {
                    next += 1;
                    let waits = world.wait(u16::from(flag), n, next);
                    accepted += usize::from(waits.is_ok());
                    out += usize::from(waits.is_ok_and(|displaced| displaced.is_some()));
                    Vec::new()
                }
                2 => world.hear(answer(n, if flag { A } else { B }, next % 2 == 0)),
                3 => world.hear(Answer { replace: false, mac: flag.then_some(A), ..answer(n, A, true) }),
                _ => {
                    world.depended = flag;
                    world.pass(n.into())
                }
            };
            for event in events {
                match event {
                    Event::Changed(hop, Some(neighbor)) => drop(told.insert(hop, neighbor)),
                    Event::Changed(hop, None) => drop(told.remove(&hop)),
                    Event::Released(_) | Event::GivenUp(_) => out += 1,
                    Event::Displaced(packet) => panic!("{packet} had to go for nobody"),
                    Event::Ask { .. } => {}
                }
            }
            prop_assert_eq!(accepted, out + world.neighbors.waiting());
            prop_assert!(world.neighbors.waiting() <= 3);
            prop_assert_eq!(world.neighbors.due.len(), world.neighbors.entries.len());
            for view in world.neighbors.views(world.now) {
                let expected = match view.state {
                    NeighborState::Incomplete => None,
                    NeighborState::Failed => Some(Neighbor::Failed),
                    _ => view.mac.map(Neighbor::Known),
                };
                prop_assert_eq!(told.remove(&(V, view.address)), expected);
                if let Some(neighbor) = expected {
                    told.insert((V, view.address), neighbor);
                }
            }
            let known: usize = world.neighbors.views(world.now).count();
            prop_assert!(told.len() <= known);
        }
    }
}
