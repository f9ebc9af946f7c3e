//! Floods: who gets a copy, and what becomes of each.

use std::time::Duration;

use nic_flow::MacAddr;
use nic_flow::execute::execute;
use nic_flow::seam::PacketBuf;
use nic_policy::{Bridge, BridgeId, DropReason, Object, Place, Port};
use nic_slowpath::Config;
use sim::frame::{self, Frame};

use super::frames::*;
use super::neighbors::{acquainted, node, out, questions, told, tunnelled};
use super::node::Node;

fn broadcast() -> Vec<u8> {
    bytes(mac(1), MacAddr::BROADCAST, 1)
}

#[test]
fn every_member_gets_one_copy_and_none_goes_back() {
    let mut node = acquainted(Config::default());
    node.change(vec![port(trunk(VF1, &[(40, RED)])), port(access(VF2, RED))]);
    let before = node.worker.stats().flooded;
    node.enter(VF0, &broadcast());
    node.serve();
    let sent = node.sent();
    let ports: Vec<_> = sent.iter().map(|sent| sent.port).collect();
    // Two questions for the peers, and the copies that need no answer.
    assert_eq!(ports.iter().filter(|&&port| port == UPLINK).count(), 2);
    assert!(ports.contains(&VF2));
    let tagged = sent.iter().find(|sent| sent.port == VF1).expect("a copy for the trunk");
    assert_eq!(tagged.bytes[12..16], [0x81, 0, 0, 40]);
    assert_eq!(node.worker.counters().waiting, 2);
    node.enter(UPLINK, &frame::build(&told(3, peer_mac(3)), 0));
    node.serve();
    assert_eq!(tunnelled(&out(&mut node)), [("192.0.2.3".to_owned(), peer_mac(3))]);
    node.pass(Duration::from_secs(4));
    assert_eq!(node.dropped(DropReason::NeighborUnresolved), 1);
    assert_eq!((node.worker.stats().flooded - before, node.worker.counters().copies), (4, 3));

    // Out of a tunnel: to the ports, and into no tunnel.
    node.sent();
    node.enter(UPLINK, &from_peer(&bytes(mac(2), MacAddr::BROADCAST, 2), 2, VNI));
    node.serve();
    let mut ports: Vec<_> =
        node.sent().into_iter().map(|sent| (sent.port, frame::serial(&sent.bytes))).collect();
    ports.sort_unstable();
    assert_eq!(ports, [(VF0, Some(2)), (VF1, Some(2)), (VF2, Some(2))]);
    node.end();
}

#[test]
fn a_port_that_is_closed_or_absent_is_no_member() {
    let mut node = acquainted(Config::default());
    node.change(vec![port(Port { enabled: false, ..access(VF1, RED) }), port(access(VF2, RED))]);
    node.set_devices(&[UPLINK, VF0, VF1]);
    node.enter(UPLINK, &from_peer(&bytes(mac(2), MacAddr::BROADCAST, 2), 2, VNI));
    node.serve();
    assert_eq!(node.sent().iter().map(|sent| sent.port).collect::<Vec<_>>(), [VF0]);
    node.set_devices(&[UPLINK]);
    node.enter(UPLINK, &from_peer(&bytes(mac(2), MacAddr::BROADCAST, 2), 2, VNI));
    node.serve();
    assert_eq!(node.dropped(DropReason::BridgeNoMember), 1);
    node.end();
}

#[test]
fn a_storm_uses_up_its_own_ports_budget_only() {
    let mut node = node(Config::default(), vtep());
    node.change(vec![
        port(Port { flood_budget: 30, ..access(VF0, RED) }),
        port(access(VF1, RED)),
        port(access(VF2, RED)),
    ]);
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    for _ in 0..100 {
        node.enter(VF0, &broadcast());
    }
    node.serve();
    assert_eq!(node.worker.stats().flooded, 30);
    assert_eq!(node.dropped(DropReason::FloodBudget), 100 * 4 - 30);
    let before = node.worker.stats().flooded;
    node.enter(VF1, &bytes(mac(7), MacAddr::BROADCAST, 1));
    node.serve();
    assert_eq!(node.worker.stats().flooded, before + 4, "another port has its own");
    node.pass(Duration::from_millis(100));
    node.enter(VF0, &broadcast());
    node.serve();
    assert_eq!(node.dropped(DropReason::FloodBudget), 100 * 4 - 30 + 1, "three more by now");
    // Unicast does not pay.
    node.enter(VF0, &bytes(mac(1), mac(7), 1));
    node.serve();
    assert_eq!(node.dropped(DropReason::FloodBudget), 100 * 4 - 30 + 1);
    node.end();
}

#[test]
fn a_second_tag_is_carried_between_trunks_and_out_of_no_port_without_a_tag() {
    let local = bridge(BridgeId(9));
    let attached =
        [trunk(VF0, &[(40, local.id)]), access(VF1, local.id), trunk(VF2, &[(50, local.id)])].map(port);
    let changes = attached.into_iter().chain([put(Object::Bridge(local))]).collect();
    let mut node = Node::new(&PORTS, Config::default(), 1, changes);
    let tags = |vid| [0x81, 0, 0, vid, 0x81, 0, 0, 9];
    let (before, behind) = (broadcast()[..12].to_vec(), broadcast()[12..].to_vec());
    node.enter(VF0, &[&before[..], &tags(40), &behind].concat());
    node.serve();
    let sent: Vec<_> = node.sent().into_iter().map(|sent| (sent.port, sent.bytes[12..20].to_vec())).collect();
    assert_eq!(sent, [(VF2, tags(50).to_vec())]);
    assert_eq!(node.dropped(DropReason::BridgeVlan), 1);
    node.end();
}

#[test]
fn each_copy_that_is_lost_has_its_reason() {
    let config = Config { waiting: 1, ..Config::default() };
    let mut node = node(config, vtep());
    node.change(vec![port(access(VF1, RED)), port(access(VF2, RED))]);
    node.sent();
    // Of four members one gets the packet itself, one a copy, and two have no buffer; one peer may wait.
    node.card.set_room(VF1, 0);
    node.enter(VF0, &broadcast());
    node.serve();
    assert_eq!(node.dropped(DropReason::TransmitFull), 1);
    assert_eq!(node.dropped(DropReason::NeighborQueueFull), 1);
    assert_eq!(node.worker.counters().waiting, 1);
    node.card.set_buffers(0);
    node.enter(VF0, &broadcast());
    node.serve();
    assert_eq!(node.dropped(DropReason::NoBuffer), 3);
    assert_eq!(questions(&out(&mut node)).len(), 2);
    node.pass(Duration::from_secs(5));
    node.end();
}

#[test]
fn a_bridge_that_does_not_flood_the_unknown_drops_it_until_it_is_known() {
    let mut node = acquainted(Config::default());
    node.change(vec![
        put(Object::Bridge(Bridge { flood_unknown: false, ..overlay(RED, VNI) })),
        port(access(VF1, RED)),
    ]);
    assert_eq!(node.ports_of(VF0, &udp(mac(1), mac(9), None)), []);
    assert_eq!(node.dropped(DropReason::BridgeUnknown), 1);
    node.settle();
    assert!(node.enter(VF0, &bytes(mac(1), mac(9), 1)), "dropped by the card");
    node.ports_of(VF1, &udp(mac(9), mac(1), None));
    node.settle();
    assert_eq!(node.ports_of(VF0, &udp(mac(1), mac(9), None)), [VF1]);
    node.end();
}

#[test]
fn a_frame_from_a_tunnel_for_a_station_behind_a_tunnel_goes_no_further() {
    let mut node = acquainted(Config::default());
    node.change(vec![fixed(RED, mac(3), Place::Peer([192, 0, 2, 3].into()), &[])]);
    node.enter(UPLINK, &from_peer(&bytes(mac(2), mac(3), 2), 2, VNI));
    node.serve();
    assert_eq!((node.sent(), node.dropped(DropReason::BridgeSplitHorizon)), (vec![], 1));
    node.end();
}

#[test]
fn a_copy_that_waited_for_a_peer_that_left_is_dropped() {
    let mut node: Node = acquainted(Config::default());
    node.enter(VF0, &broadcast());
    node.serve();
    assert_eq!(node.worker.counters().waiting, 2);
    node.change(vec![put(Object::TunnelPeer(peer([192, 0, 2, 2].into(), &[])))]);
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.enter(UPLINK, &frame::build(&told(3, peer_mac(3)), 0));
    node.serve();
    assert_eq!(tunnelled(&out(&mut node)), [("192.0.2.3".to_owned(), peer_mac(3))]);
    assert_eq!(node.dropped(DropReason::BridgeNoMember), 1);
    // What is in the tunnel is the frame as it was sent.
    node.enter(VF0, &broadcast());
    node.serve();
    let sent = node.sent();
    let copy = sent.iter().find(|sent| sent.port == UPLINK).expect("a copy");
    let mut packet = Frame::new(&copy.bytes);
    let decap = [nic_flow::Action::DecapVxlan, nic_flow::Action::Output(VF0)];
    execute(&decap, &mut packet, |_, _| ()).expect("headroom");
    assert_eq!(packet.data(), broadcast());
    node.end();
}
