//! Stations that move to and fro: how often they are followed, and whom that concerns.

use std::time::Duration;

use nic_flow::MacAddr;
use nic_policy::{BridgeId, Object, Place};
use nic_slowpath::Config;
use sim::frame;

use super::frames::*;
use super::node::Node;

const GREEN: BridgeId = BridgeId(2);

const STEP: Duration = Duration::from_millis(5);

fn place_of(node: &Node, mac: MacAddr) -> Option<Place> {
    node.worker.fdb(None, 1000).into_iter().find(|view| view.mac == mac).map(|view| view.place)
}

/// Two ports send with the address of one station in turn, for that long. All of it arrives.
fn contend(node: &mut Node, time: Duration) {
    let end = node.now + time;
    let frame = udp(mac(1), mac(9), None);
    for port in [VF0, VF1].into_iter().cycle() {
        if node.now >= end {
            return;
        }
        assert_eq!(node.ports_of(port, &frame), [VF2], "{:?}", node.now);
        node.settle();
        node.check();
        node.pass(STEP.min(end - node.now));
    }
}

#[test]
fn an_address_that_two_places_use_in_turn_is_followed_so_often_and_then_stays_for_a_while() {
    let config = Config::default();
    let (moves, window) = (u64::from(config.fdb_moves), config.fdb_move_window);
    let policy = vec![
        put(Object::Bridge(bridge(RED))),
        port(access(VF0, RED)),
        port(access(VF1, RED)),
        port(access(VF2, RED)),
    ];
    let mut node = Node::new(&PORTS, config, 1, policy);
    node.pass_on(VF2, &udp(mac(9), mac(1), None));
    let turns = (window.as_millis() / STEP.as_millis()) as u64;
    contend(&mut node, window);
    // The first turn taught the address; an even number of moves later it is there again.
    let stats = node.worker.stats();
    assert_eq!((stats.fdb_learned, stats.fdb_moved), (2, moves));
    assert_eq!(stats.fdb_refused, (turns - 1 - moves) / 2 + (turns - 1 - moves) % 2);
    assert_eq!(place_of(&node, mac(1)), Some(Place::Port(VF0)));
    // Who is believed is the card's business, and gets what is sent to the address.
    assert!(node.by_rules > turns / 3, "{} of {turns}", node.by_rules);
    assert_eq!(node.ports_of(VF2, &udp(mac(9), mac(1), None)), [VF0]);
    // Every window is like that.
    contend(&mut node, window);
    contend(&mut node, window);
    assert_eq!(node.worker.stats().fdb_moved, 3 * moves);
    assert_eq!(place_of(&node, mac(1)), Some(Place::Port(VF0)));
    // Who was refused is followed at once when the window is over, and keeps the address.
    node.pass(window);
    let refused = node.worker.stats().fdb_refused;
    assert_eq!(node.ports_of(VF1, &udp(mac(1), mac(9), None)), [VF2]);
    node.settle();
    assert_eq!(place_of(&node, mac(1)), Some(Place::Port(VF1)));
    assert_eq!(node.ports_of(VF2, &udp(mac(9), mac(1), None)), [VF1]);
    let stats = node.worker.stats();
    assert_eq!((stats.fdb_moved, stats.fdb_refused), (3 * moves + 1, refused));
    node.settle();
    node.check_at_rest();
    node.end();
}

/// The address of the n-th station behind VF0.
const fn crowd(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr([2, 0, 0, 1, high, low])
}

/// One round of one millisecond, in which the address comes from the other port than before.
fn flap(node: &mut Node, turn: u64) {
    let from = if turn.is_multiple_of(2) { VF0 } else { VF1 };
    node.now += Duration::from_millis(1);
    // A flood has no rule: each of its frames is seen.
    node.enter(from, &bytes(mac(1), MacAddr::BROADCAST, turn));
    let polled = node.worker.poll(node.now);
    assert!(polled.more, "the flows to the address are never all translated again");
    node.settle();
}

#[test]
fn an_address_that_never_rests_does_not_keep_flows_of_other_ports_out_of_the_card() {
    // The address is followed without end, and each move touches far more flows than a round gets done.
    let config = Config { fdb_moves: u32::MAX, revalidations: 16, ..Config::default() };
    let policy = vec![
        put(Object::Bridge(bridge(RED))),
        put(Object::Bridge(bridge(GREEN))),
        port(access(VF0, RED)),
        port(access(VF1, RED)),
        port(access(VF2, GREEN)),
        port(access(VF3, GREEN)),
    ];
    let mut node = Node::new(&PORTS, config, 1, policy);
    node.pass_on(VF1, &udp(mac(1), MacAddr::BROADCAST, None));
    for n in 0..300 {
        node.pass_on(VF0, &udp(crowd(n), mac(1), None));
    }
    node.pass_on(VF2, &udp(mac(9), mac(2), None));
    node.pass(Duration::from_secs(1));
    assert_eq!(node.card.rules().len(), 300, "one for each that sends to the address");
    let mut turns = 0..;
    let mut flaps =
        |node: &mut Node, count: usize| turns.by_ref().take(count).for_each(|turn| flap(node, turn));
    flaps(&mut node, 100);
    for n in 10..110 {
        let frame = udp(mac(n), mac(9), None);
        assert!(!node.enter(VF3, &frame::build(&frame, 1)), "a flow that is new");
        flaps(&mut node, 5);
        assert!(node.enter(VF3, &frame::build(&frame, 2)), "the rule is in the card after 5 ms");
        node.check();
    }
    assert_eq!(node.worker.stats().fdb_moved, 600);
    // Nothing is left undone once the address rests.
    node.serve();
    for _ in 0..3 {
        node.settle();
        node.serve();
    }
    node.check_at_rest();
    node.end();
}
