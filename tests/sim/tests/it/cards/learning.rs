//! Where stations are: learned, moved, limited, forgotten.

use std::time::Duration;

use nic_flow::MacAddr;
use nic_policy::capability::SoftwareReason;
use nic_policy::{Attachment, BridgeId, Change, DropReason, Object, ObjectId, Offload, Place, Port};
use nic_slowpath::Config;
use sim::frame;

use super::frames::*;
use super::node::Node;

const GREEN: BridgeId = BridgeId(2);

/// One bridge with three ports, and one with two VLANs of others.
fn policy() -> Vec<Change> {
    vec![
        put(Object::Bridge(bridge(RED))),
        put(Object::Bridge(bridge(GREEN))),
        port(access(VF0, RED)),
        port(access(VF1, RED)),
        port(trunk(VF2, &[(10, RED), (20, GREEN)])),
        port(access(VF3, GREEN)),
        port(plain(UPLINK)),
    ]
}

fn node() -> Node {
    Node::new(&PORTS, Config::default(), 1, policy())
}

fn learned(node: &Node) -> Vec<(BridgeId, MacAddr, Place)> {
    node.worker.fdb(None, 100).into_iter().map(|view| (view.bridge, view.mac, view.place)).collect()
}

#[test]
fn an_unknown_address_is_flooded_and_a_learned_one_is_not() {
    let mut node = node();
    let (there, back) = (udp(mac(1), mac(2), None), udp(mac(2), mac(1), None));
    assert_eq!(node.ports_of(VF0, &there), [VF1, VF2]);
    assert_eq!(node.ports_of(VF1, &back), [VF0]);
    assert_eq!(node.ports_of(VF0, &there), [VF1]);
    let place = |port| Place::Port(port);
    assert_eq!(learned(&node), [(RED, mac(1), place(VF0)), (RED, mac(2), place(VF1))]);
    let stats = node.worker.stats();
    assert_eq!((stats.fdb_learned, stats.fdb_entries, stats.flooded), (2, 2, 2));
    // Two known stations are the card's business.
    node.settle();
    node.enter(VF0, &bytes(mac(1), mac(2), 9));
    node.enter(VF1, &bytes(mac(2), mac(1), 9));
    assert_eq!(node.by_rules, 2);
    // A flood stays in software, and is not even offered.
    node.ports_of(VF0, &udp(mac(1), MacAddr::BROADCAST, None));
    node.settle();
    let flood =
        |flow: &nic_slowpath::FlowView| matches!(flow.offload, Offload::Software(SoftwareReason::Refused(_)));
    assert_eq!(node.worker.flows().filter(flood).count(), 1);
    assert_eq!(node.worker.stats().rules_refused, 0);
    node.end();
}

#[test]
fn a_vlan_of_a_trunk_is_another_place_for_the_tag_and_another_bridge() {
    let mut node = node();
    // The tag is taken off on the way in and put on on the way out.
    let out = node.pass_on(VF2, &udp(mac(5), mac(6), Some(10)));
    let tags: Vec<_> = out.iter().map(|(port, bytes)| (*port, bytes[12] == 0x81)).collect();
    assert_eq!(tags, [(VF0, false), (VF1, false)]);
    let out = node.pass_on(VF0, &udp(mac(1), mac(5), None));
    assert_eq!((out.len(), out[0].0, &out[0].1[12..16]), (1, VF2, &[0x81, 0, 0, 10][..]));
    let out = node.pass_on(VF0, &udp(mac(1), mac(9), None));
    assert!(out.iter().any(|(port, bytes)| *port == VF2 && bytes[12..16] == [0x81, 0, 0, 10]));
    // The same address in another bridge is another station.
    assert_eq!(node.ports_of(VF3, &udp(mac(1), mac(5), None)), [VF2]);
    assert_eq!(node.ports_of(VF2, &udp(mac(5), mac(1), Some(20))), [VF3]);
    assert_eq!(node.worker.fdb(None, 100).len(), 4);
    node.end();
}

#[test]
fn a_station_that_moves_under_offloaded_traffic_is_followed_at_once() {
    let mut node = node();
    let (there, back) = (udp(mac(1), mac(2), None), udp(mac(2), mac(1), None));
    for _ in 0..3 {
        node.pass_on(VF0, &there);
        node.pass_on(VF1, &back);
        node.settle();
    }
    let rules = node.card.rules().len();
    assert_eq!(rules, 2);
    // Another port, and not a word to whoever sends to it.
    assert_eq!(node.ports_of(VF2, &udp(mac(1), mac(2), Some(10))), [VF1]);
    assert_eq!(node.worker.stats().fdb_moved, 1);
    node.settle();
    assert_eq!(node.ports_of(VF1, &back), [VF2]);
    node.settle();
    let by_rules = node.by_rules;
    assert_eq!(node.ports_of(VF1, &back), [VF2]);
    assert_eq!(node.by_rules, by_rules + 1, "by the card again");
    // Nothing in the card believes in the old place.
    node.pass(Duration::from_secs(1));
    assert_eq!(node.ports_of(VF1, &back), [VF2]);
    // And back: what the old place sends is news again.
    assert_eq!(node.ports_of(VF0, &there), [VF1]);
    assert_eq!(node.worker.stats().fdb_moved, 2);
    node.settle();
    assert_eq!(node.ports_of(VF1, &back), [VF0]);
    node.end();
}

#[test]
fn a_revision_waits_for_the_rule_of_a_flow_that_a_move_touched_before_it() {
    let mut node = node();
    let (there, back) = (udp(mac(1), mac(2), None), udp(mac(2), mac(1), None));
    for _ in 0..2 {
        node.pass_on(VF0, &there);
        node.pass_on(VF1, &back);
        node.settle();
    }
    // One round learns the move; the flow back is translated again in the next.
    node.enter(VF2, &frame::build(&udp(mac(1), mac(2), Some(10)), 1));
    node.worker.poll(node.now);
    let before = node.worker.applied();
    node.change(vec![put(Object::Bridge(nic_policy::Bridge { flood_unknown: false, ..bridge(RED) }))]);
    assert_eq!(node.worker.applied(), before, "the rule to the old place is in the card");
    node.serve();
    node.settle();
    assert_ne!(node.worker.applied(), before);
    node.sent();
    assert_eq!(node.ports_of(VF1, &back), [VF2]);
    node.end();
}

#[test]
fn an_address_is_forgotten_when_nobody_sends_from_it_and_kept_while_the_card_forwards_for_it() {
    let mut node = node();
    let (there, back) = (udp(mac(1), mac(2), None), udp(mac(2), mac(1), None));
    node.pass_on(VF1, &back);
    node.pass_on(VF0, &there);
    node.settle();
    for _ in 0..350 {
        assert!(node.enter(VF0, &bytes(mac(1), mac(2), 1)) || node.now < Duration::from_secs(2));
        node.pass(Duration::from_secs(1));
        if node.worker.fdb(None, 10).len() == 1 {
            break;
        }
    }
    // The one that was silent for 300 seconds is gone, and frames to it are flooded again.
    assert_eq!(learned(&node), [(RED, mac(1), Place::Port(VF0))]);
    assert!(node.now >= Duration::from_secs(300), "{:?}", node.now);
    let stats = node.worker.stats();
    assert_eq!((stats.fdb_aged, stats.fdb_entries), (1, 1));
    assert!(node.worker.fdb(None, 1)[0].idle.is_some_and(|idle| idle < Duration::from_secs(5)));
    node.serve();
    node.settle();
    node.sent();
    assert_eq!(node.ports_of(VF0, &there), [VF1, VF2]);
    node.end();
}

#[test]
fn a_bridge_that_keeps_addresses_for_shorter_now_forgets_them_sooner() {
    let mut node = node();
    node.pass_on(VF0, &udp(mac(1), mac(2), None));
    node.pass(Duration::from_secs(60));
    assert_eq!(node.worker.stats().fdb_entries, 1);
    node.change(vec![put(Object::Bridge(nic_policy::Bridge { ageing_time: 20, ..bridge(RED) }))]);
    node.pass(Duration::from_secs(1));
    assert_eq!(node.worker.stats().fdb_entries, 0);
    node.end();
}

#[test]
fn a_port_and_the_table_have_a_limit_and_frames_beyond_it_are_forwarded() {
    let config = Config { fdb_entries: 3, ..Config::default() };
    let mut node = Node::new(&PORTS, config, 1, policy());
    node.change(vec![port(Port { mac_limit: 2, ..access(VF0, RED) })]);
    for n in 1..=3 {
        assert_eq!(node.ports_of(VF0, &udp(mac(n), mac(9), None)), [VF1, VF2]);
    }
    assert_eq!(node.worker.stats().fdb_refused, 1);
    node.pass_on(VF1, &udp(mac(8), mac(1), None));
    assert_eq!(node.ports_of(VF1, &udp(mac(7), mac(1), None)), [VF0]);
    let stats = node.worker.stats();
    assert_eq!((stats.fdb_entries, stats.fdb_learned, stats.fdb_refused), (3, 3, 2));
    // One that moves to a port that is full stays where it was.
    assert_eq!(node.ports_of(VF0, &udp(mac(8), mac(1), None)), []);
    assert_eq!(node.dropped(DropReason::BridgeSamePlace), 1);
    assert_eq!(node.ports_of(VF2, &udp(mac(5), mac(8), Some(10))), [VF1]);
    // What is not learned is not cached either: its next packet may find room.
    assert_eq!(node.worker.flush_fdb(None, Some(mac(2))), 1);
    node.pass_on(VF0, &udp(mac(3), mac(9), None));
    assert_eq!(node.worker.stats().fdb_learned, 4);
    node.end();
}

#[test]
fn what_was_learned_goes_with_the_ground_it_was_learned_on() {
    let learn = |node: &mut Node| {
        node.pass_on(VF0, &udp(mac(1), mac(9), None));
        node.pass_on(VF1, &udp(mac(2), mac(1), None));
        node.settle();
        assert_eq!(node.worker.fdb(None, 10).len(), 2);
    };
    let changes: [fn() -> Change; 5] = [
        || port(Port { enabled: false, ..access(VF0, RED) }),
        || port(Port { learning: false, ..access(VF0, RED) }),
        || port(Port { bridges: Attachment::default(), ..access(VF0, RED) }),
        || Change::Remove(ObjectId::Port(VF0)),
        || fixed(RED, mac(1), Place::Port(VF2), &[]),
    ];
    for change in changes {
        let mut node = node();
        learn(&mut node);
        node.change(vec![change()]);
        let left: Vec<_> = node
            .worker
            .fdb(None, 10)
            .into_iter()
            .filter(|view| view.idle.is_some())
            .map(|view| view.mac)
            .collect();
        assert_eq!(left, [mac(2)]);
        node.settle();
        node.end();
    }
    let mut node = node();
    learn(&mut node);
    node.set_devices(&[UPLINK, VF1, VF2, VF3]);
    assert_eq!(learned(&node), [(RED, mac(2), Place::Port(VF1))]);
    node.change(vec![Change::Remove(ObjectId::Bridge(RED))]);
    assert_eq!(learned(&node), []);
    node.end();
}

#[test]
fn a_fixed_address_is_where_the_configuration_says() {
    let mut node = node();
    node.change(vec![fixed(RED, mac(1), Place::Port(VF0), &[])]);
    assert_eq!(node.ports_of(VF1, &udp(mac(2), mac(1), None)), [VF0]);
    assert_eq!(node.ports_of(VF1, &udp(mac(1), mac(2), None)), []);
    assert_eq!(node.dropped(DropReason::BridgeStaticMoved), 1);
    assert_eq!(node.ports_of(VF0, &udp(mac(1), mac(2), None)), [VF1]);
    assert_eq!(node.worker.stats().fdb_learned, 1, "what is fixed is not learned");
    assert_eq!(node.worker.flush_fdb(Some(RED), Some(mac(1))), 0);
    node.end();
}

#[test]
fn the_table_is_read_in_pages_and_flushed_in_part() {
    let mut node = node();
    for n in 1..=20 {
        node.pass_on(VF0, &udp(mac(n), mac(99), None));
        node.pass_on(VF3, &udp(mac(n), mac(99), None));
    }
    node.change(vec![fixed(GREEN, mac(50), Place::Port(VF3), &[])]);
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = node.worker.fdb(after, 7);
        let Some(last) = page.last() else { break };
        after = Some((last.bridge, last.mac));
        all.extend(page.iter().map(|view| (view.bridge, view.mac)));
    }
    assert_eq!(all.len(), 41);
    assert!(all.is_sorted());
    assert_eq!(node.worker.flush_fdb(Some(GREEN), None), 20);
    assert_eq!(node.worker.fdb(None, 100).len(), 21);
    assert_eq!(node.worker.flush_fdb(None, None), 20);
    assert_eq!(node.ports_of(VF1, &udp(mac(2), mac(1), None)), [VF0, VF2], "flows follow");
    node.end();
}
