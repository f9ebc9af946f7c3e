//! The next hops of a VTEP, seen from the wire.

use std::time::Duration;

use nic_flow::execute::execute;
use nic_flow::field::Field;
use nic_flow::seam::PacketBuf;
use nic_flow::{Action, FlowKey, MacAddr, PortId};
use nic_policy::{Change, DropReason, NeighborState, Object, ObjectId, Vtep};
use nic_slowpath::Config;
use sim::frame::{self, Frame};

use super::frames::*;
use super::node::Node;

/// A card with one overlay bridge, one port and two peers.
pub(super) fn node(config: Config, vtep: Vtep) -> Node {
    let peers = [2u8, 3].map(|n| put(Object::TunnelPeer(peer([192, 0, 2, n].into(), &[RED]))));
    let mut changes = vec![
        put(Object::Vtep(vtep)),
        put(Object::Bridge(overlay(RED, VNI))),
        port(access(VF0, RED)),
        port(plain(UPLINK)),
    ];
    changes.extend(peers);
    Node::new(&PORTS, config, 1, changes)
}

/// What left by the uplink, as keys.
pub(super) fn out(node: &mut Node) -> Vec<FlowKey> {
    let sent = node.sent();
    sent.iter().filter(|sent| sent.port == UPLINK).map(|sent| frame::key(&sent.bytes, UPLINK)).collect()
}

/// The answer of the peer at 192.0.2.`n`.
pub(super) fn told(n: u8, mac: MacAddr) -> FlowKey {
    let address = format!("192.0.2.{n}");
    arp(2, (mac, &address), (vtep_mac(), "192.0.2.1"), vtep_mac())
}

/// The questions among them: whom they go to, and for what.
pub(super) fn questions(keys: &[FlowKey]) -> Vec<(MacAddr, String)> {
    let asks = |key: &&FlowKey| {
        key.eth_type() == 0x0806
            && key.get(Field::IpProto) == 1
            && key.ip(Field::IpSrc) != key.ip(Field::IpDst)
    };
    keys.iter().filter(asks).map(|key| (key.mac(Field::EthDst), key.ip(Field::IpDst).to_string())).collect()
}

/// The tunnelled ones: to which address and MAC address.
pub(super) fn tunnelled(keys: &[FlowKey]) -> Vec<(String, MacAddr)> {
    let vxlan = keys.iter().filter(|key| key.get(Field::Tunnel) == 1);
    vxlan.map(|key| (key.ip(Field::IpDst).to_string(), key.mac(Field::EthDst))).collect()
}

/// Station 1 is at VF0, station 2 behind the peer at 192.0.2.2, and the bridge knows it.
pub(super) fn acquainted(config: Config) -> Node {
    let mut node = node(config, vtep());
    node.sent();
    node.enter(UPLINK, &from_peer(&bytes(mac(2), mac(1), 1), 2, VNI));
    node.serve();
    node.sent();
    node
}

#[test]
fn the_first_packet_waits_for_the_answer_and_the_card_takes_the_others() {
    let mut node = acquainted(Config::default());
    node.enter(VF0, &bytes(mac(1), mac(2), 1));
    node.enter(VF0, &bytes(mac(1), mac(2), 2));
    node.serve();
    let asked = out(&mut node);
    assert_eq!(questions(&asked), [(MacAddr::BROADCAST, "192.0.2.2".to_owned())]);
    assert_eq!(tunnelled(&asked), []);
    assert_eq!(node.worker.counters().waiting, 2);
    assert_eq!(node.worker.neighbors(None, 10)[0].state, NeighborState::Incomplete);

    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    let sent = out(&mut node);
    assert_eq!(tunnelled(&sent), vec![("192.0.2.2".to_owned(), peer_mac(2)); 2]);
    assert_eq!((sent[0].get(Field::Vni), sent[0].mac(Field::EthSrc)), (VNI.into(), vtep_mac()));
    assert_eq!(sent[0].mac(Field::TunEthDst), mac(2));
    let counters = node.worker.counters();
    assert_eq!((counters.waiting, counters.taken, counters.solicited), (0, 1, 1));
    let known = node.worker.neighbors(None, 10)[0];
    assert_eq!((known.state, known.mac), (NeighborState::Reachable, Some(peer_mac(2))));

    node.settle();
    node.enter(VF0, &bytes(mac(1), mac(2), 3));
    node.enter(UPLINK, &from_peer(&bytes(mac(2), mac(1), 2), 2, VNI));
    assert_eq!(node.by_rules, 2, "both ways through the card");
    assert_eq!(tunnelled(&out(&mut node)), [("192.0.2.2".to_owned(), peer_mac(2))]);
    // The packet that waited was counted once.
    let stats = node.worker.stats();
    assert_eq!(stats.ports.iter().map(|port| port.upcalls).sum::<u64>(), 4);
    assert_eq!(stats.stages[0].passed, 4);
    node.end();
}

#[test]
fn a_next_hop_that_nobody_answers_for_is_given_up_and_asked_for_again() {
    let mut node = acquainted(Config::default());
    node.enter(VF0, &bytes(mac(1), mac(2), 1));
    node.serve();
    node.pass(Duration::from_secs(3));
    assert_eq!(questions(&out(&mut node)).len(), 3);
    assert_eq!(node.dropped(DropReason::NeighborUnresolved), 1);
    assert_eq!(node.worker.neighbors(None, 10)[0].state, NeighborState::Failed);
    // Meanwhile packets are dropped, by the card.
    node.enter(VF0, &bytes(mac(1), mac(2), 2));
    node.serve();
    node.settle();
    assert!(node.enter(VF0, &bytes(mac(1), mac(2), 3)));
    assert_eq!(questions(&out(&mut node)), []);
    node.pass(Duration::from_secs(6));
    assert!(!node.enter(VF0, &bytes(mac(1), mac(2), 4)));
    node.serve();
    assert_eq!(questions(&out(&mut node)).len(), 1);
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    assert_eq!(tunnelled(&out(&mut node)).len(), 1);
    node.end();
    assert_eq!(node.dropped(DropReason::NeighborUnresolved), 3);
}

#[test]
fn a_next_hop_in_use_by_the_card_is_confirmed_and_one_that_moved_is_followed() {
    let mut node = acquainted(Config::default());
    node.enter(VF0, &bytes(mac(1), mac(2), 1));
    node.serve();
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    node.settle();
    out(&mut node);
    let mut answering = peer_mac(2);
    let mut asked = Vec::new();
    for second in 0..80 {
        if second == 40 {
            answering = mac(0x77);
        }
        assert!(node.enter(VF0, &bytes(mac(1), mac(2), 1)) || second >= 40);
        node.pass(Duration::from_secs(1));
        for (to, address) in questions(&out(&mut node)) {
            asked.push(to);
            assert_eq!(address, "192.0.2.2");
            if to == answering || to == MacAddr::BROADCAST {
                node.enter(UPLINK, &frame::build(&told(2, answering), 0));
                node.serve();
            }
        }
    }
    // Twice the old one answered nothing, then everybody was asked.
    assert_eq!(asked, [peer_mac(2), peer_mac(2), peer_mac(2), MacAddr::BROADCAST]);
    assert_eq!(node.dropped(DropReason::NeighborUnresolved), 0);
    node.settle();
    out(&mut node);
    assert!(node.enter(VF0, &bytes(mac(1), mac(2), 1)));
    assert_eq!(tunnelled(&out(&mut node)), [("192.0.2.2".to_owned(), mac(0x77))]);
    node.end();
}

#[test]
fn what_may_wait_is_bounded_and_the_rest_is_dropped_and_counted() {
    let config = Config { waiting_per_neighbor: 3, waiting: 5, neighbors_per_vtep: 1, ..Config::default() };
    let mut node = acquainted(config);
    for n in 0..5 {
        node.enter(VF0, &bytes(mac(1), mac(2), n));
    }
    node.serve();
    assert_eq!((node.worker.counters().waiting, node.dropped(DropReason::NeighborQueueFull)), (3, 2));
    // There is no room to ask for the other peer.
    node.enter(UPLINK, &from_peer(&bytes(mac(3), mac(1), 1), 3, VNI));
    node.enter(VF0, &bytes(mac(1), mac(3), 6));
    node.serve();
    assert_eq!(node.dropped(DropReason::NeighborQueueFull), 3);
    assert_eq!(questions(&out(&mut node)).len(), 1);
    // What waits is dropped with its VTEP.
    node.change(vec![Change::Remove(ObjectId::Vtep(VTEP))]);
    assert_eq!((node.worker.counters().waiting, node.dropped(DropReason::NeighborUnresolved)), (0, 3));
    assert_eq!(node.worker.neighbors(None, 10), []);
    node.end();
}

#[test]
fn a_port_that_fills_the_places_to_wait_leaves_half_of_them_to_another() {
    let mut node = acquainted(Config { waiting_per_neighbor: 6, ..Config::default() });
    node.change(vec![port(access(VF1, RED))]);
    for n in 0..10 {
        node.enter(VF0, &bytes(mac(1), mac(2), n));
    }
    node.serve();
    for n in 10..15 {
        node.enter(VF1, &bytes(mac(4), mac(2), n));
    }
    node.serve();
    // Those that came first of the one, and those that came last of the other, were one too many.
    let full = |node: &Node, id| {
        let port = node.worker.stats().ports.into_iter().find(|port| port.port == id).expect("a port");
        port.drops[DropReason::NeighborQueueFull.index()]
    };
    assert_eq!((full(&node, VF0), full(&node, VF1)), (7, 2));
    assert_eq!(node.worker.counters().waiting, 6);
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    assert_eq!(tunnelled(&out(&mut node)).len(), 6);
    node.end();
}

#[test]
fn a_vtep_announces_itself_and_answers_with_its_tag() {
    let mut node = node(Config::default(), Vtep { vlan: Some(30), ..vtep() });
    let announced = out(&mut node);
    assert_eq!(announced.len(), 1);
    assert_eq!((announced[0].get(Field::VlanTci), announced[0].mac(Field::ArpSha)), (30, vtep_mac()));
    assert_eq!(announced[0].ip(Field::IpSrc), announced[0].ip(Field::IpDst));
    node.pass(Duration::from_secs(10));
    assert_eq!(out(&mut node).len(), 1, "once more");

    let question = arp(1, (peer_mac(2), "192.0.2.2"), (MacAddr::ZERO, "192.0.2.1"), MacAddr::BROADCAST);
    node.pass_on(UPLINK, &question);
    let answer = node.pass_on(UPLINK, &tagged(question, Some(30)));
    assert_eq!(answer.len(), 1);
    let key = frame::key(&answer[0].1, UPLINK);
    assert_eq!((key.get(Field::IpProto), key.get(Field::VlanTci)), (2, 30));
    assert_eq!((key.mac(Field::EthDst), key.mac(Field::ArpSha)), (peer_mac(2), vtep_mac()));
    assert_eq!(node.worker.stats().answered, 1, "the one without the tag was not for it");
    // Who asks makes no entry.
    assert_eq!(node.worker.neighbors(None, 10), []);
    // An uplink that comes back is announced on again.
    node.set_devices(&[VF0]);
    node.set_devices(&PORTS);
    assert_eq!(out(&mut node).len(), 1);
    node.end();
}

#[test]
fn a_vtep_of_ipv6_asks_and_answers_its_like() {
    let address = |n: u16| format!("2001:db8::{n}");
    let at = |n: u16| Vtep {
        address: ip(&address(n)),
        mac: MacAddr([2, 0, 0, 0, 6, n as u8]),
        prefix_length: 64,
        ..vtep()
    };
    let mut nodes = [(1, 2), (2, 1)].map(|(own, other)| {
        Node::new(
            &PORTS,
            Config::default(),
            1,
            vec![
                put(Object::Vtep(at(own))),
                put(Object::Bridge(overlay(RED, VNI))),
                put(Object::TunnelPeer(peer(ip(&address(other)), &[RED]))),
                port(access(VF0, RED)),
                port(plain(UPLINK)),
            ],
        )
    });
    nodes.iter_mut().for_each(|node| drop(node.sent()));
    nodes[0].enter(VF0, &bytes(mac(1), mac(2), 5));
    let mut arrived = Vec::new();
    for _ in 0..4 {
        for (from, to) in [(0, 1), (1, 0)] {
            nodes[from].serve();
            for sent in nodes[from].sent() {
                match sent.port {
                    UPLINK => drop(nodes[to].enter(UPLINK, &sent.bytes)),
                    port => arrived.push((to, port, frame::serial(&sent.bytes))),
                }
            }
        }
    }
    assert_eq!(arrived, [(0, VF0, Some(5))]);
    assert_eq!(nodes[0].worker.stats().solicited, 1);
    assert_eq!(nodes[1].worker.stats().answered, 1);
    assert_eq!(nodes[0].worker.neighbors(None, 10)[0].state, NeighborState::Reachable);
    nodes.iter_mut().for_each(Node::end);
}

#[test]
fn frames_of_strangers_and_of_other_networks_go_no_further() {
    let mut node = acquainted(Config::default());
    let inner = bytes(mac(5), mac(1), 1);
    for (from, vni, reason) in
        [(9, VNI, DropReason::TunnelPeerUnknown), (2, VNI + 1, DropReason::TunnelVniUnknown)]
    {
        let before = node.dropped(reason);
        node.enter(UPLINK, &from_peer(&inner, from, vni));
        node.serve();
        assert_eq!(node.sent(), []);
        assert_eq!(node.dropped(reason), before + 1);
    }
    // An inner tag is no way into a bridge.
    let mut tagged_inner = Frame::new(&inner);
    let push = [Action::PushVlan { tpid: 0x8100, tci: 5 }, Action::Output(PortId::from_bits(1))];
    execute(&push, &mut tagged_inner, |_, _| ()).expect("headroom");
    node.enter(UPLINK, &from_peer(tagged_inner.data(), 2, VNI));
    node.serve();
    assert_eq!((node.sent(), node.dropped(DropReason::BridgeVlan)), (vec![], 1));
    node.end();
}

/// What is not in any other test: the outer header is the peer's, whole.
#[test]
fn the_outer_header_is_as_the_vtep_says() {
    let mut node = node(Config::default(), Vtep { dscp: 10, ttl: 9, gateway: None, ..vtep() });
    node.enter(VF0, &frame::build(&udp(mac(1), MacAddr::BROADCAST, None).with(Field::IpTos, 0b11), 1));
    node.serve();
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    let keys = out(&mut node);
    let key = keys.iter().find(|key| key.get(Field::Tunnel) == 1).expect("one copy");
    assert_eq!(key.get(Field::IpTos), 10 << 2 | 0b11, "the inner codepoint outside too");
    assert_eq!((key.get(Field::IpTtl), key.ip(Field::IpSrc)), (9, ip("192.0.2.1")));
    assert!(key.get(Field::L4Src) >= 49152);
    node.end();
}
