//! Questions for stations' addresses, answered by the card.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nic_flow::field::Field;
use nic_flow::key::ip_to_bits;
use nic_flow::{FlowKey, MacAddr, PortId};
use nic_policy::{Bridge, BridgeId, Network, Object, Place, Port};
use nic_slowpath::Config;
use nic_wire::checksum::Pseudo;
use nic_wire::icmpv6::{AdvertFlags, Packet, Repr};
use nic_wire::{IpProto, ipv6};
use sim::frame;

use super::frames::*;
use super::neighbors::{acquainted, out, told};
use super::node::Node;

fn quiet(id: BridgeId) -> Object {
    Object::Bridge(Bridge { suppression: true, ..overlay(id, VNI) })
}

/// Station 1 at VF0, one on a trunk at VF1, station 2 behind the peer at 192.0.2.2.
fn world() -> Node {
    let mut node = acquainted(Config::default());
    node.change(vec![put(quiet(RED)), port(trunk(VF1, &[(40, RED)])), port(access(VF2, RED))]);
    node
}

fn question(from: (MacAddr, &str), target: &str) -> FlowKey {
    arp(1, from, (MacAddr::ZERO, target), MacAddr::BROADCAST)
}

/// Station n says where its address is, 10.0.0.n.
fn claim(node: &mut Node, place: PortId, n: u8) {
    let address = format!("10.0.0.{n}");
    let key = arp(1, (mac(n), &address), (MacAddr::ZERO, &address), MacAddr::BROADCAST);
    node.pass_on(place, &key);
    node.pass(Duration::from_secs(4));
    node.sent();
}

fn answers(out: &[(PortId, Vec<u8>)]) -> Vec<(PortId, MacAddr, IpAddr)> {
    let keys = out.iter().map(|(port, bytes)| (*port, frame::key(bytes, *port)));
    let replies = keys.filter(|(_, key)| key.eth_type() == 0x0806 && key.get(Field::IpProto) == 2);
    replies.map(|(port, key)| (port, key.mac(Field::ArpSha), key.ip(Field::IpSrc))).collect()
}

#[test]
fn a_question_is_flooded_until_its_answer_is_known_and_then_answered() {
    let mut node = world();
    let ask = question((mac(5), "10.0.0.5"), "10.0.0.1");
    let out = node.pass_on(VF2, &ask);
    assert_eq!(answers(&out), []);
    assert!(out.iter().any(|(port, _)| *port == VF0));
    claim(&mut node, VF0, 1);
    let out = node.pass_on(VF2, &ask);
    assert_eq!(answers(&out), [(VF2, mac(1), ip("10.0.0.1"))]);
    assert_eq!(out.len(), 1, "and nobody else hears of it");
    // With a tag, as it came.
    let out = node.pass_on(VF1, &tagged(question((mac(6), "10.0.0.6"), "10.0.0.1"), Some(40)));
    assert_eq!((out.len(), &out[0].1[12..16]), (1, &[0x81, 0, 0, 40][..]));
    assert_eq!(node.worker.stats().answered, 2);
    // Who asked told where it is.
    let known: Vec<_> = node.worker.neighbors(Some((Network::Bridge(RED), ip("0.0.0.0"))), 9);
    assert_eq!(known.len(), 3);
    // A probe of one's own address must not hear of itself, nor one of the same place.
    let probe = question((mac(1), "0.0.0.0"), "10.0.0.1");
    assert_eq!(answers(&node.pass_on(VF0, &probe)), []);
    // A question to one by name is for that one.
    node.pass_on(VF0, &udp(mac(1), mac(5), None));
    let direct = arp(1, (mac(5), "10.0.0.5"), (mac(1), "10.0.0.1"), mac(1));
    assert_eq!(node.ports_of(VF2, &direct), [VF0]);
    node.pass(Duration::from_secs(4));
    node.end();
}

#[test]
fn what_the_configuration_says_is_answered_first_and_nobody_overrules_it() {
    let mut node = world();
    node.change(vec![fixed(RED, mac(9), Place::Peer([192, 0, 2, 2].into()), &["10.0.0.9"])]);
    let lie = arp(1, (mac(1), "10.0.0.9"), (MacAddr::ZERO, "10.0.0.9"), MacAddr::BROADCAST);
    node.pass_on(VF0, &lie);
    let out = node.pass_on(VF2, &question((mac(5), "10.0.0.5"), "10.0.0.9"));
    assert_eq!(answers(&out), [(VF2, mac(9), ip("10.0.0.9"))]);
    node.pass(Duration::from_secs(4));
    node.end();
}

#[test]
fn a_question_out_of_a_tunnel_is_answered_into_it_by_who_has_the_station() {
    let mut node = world();
    claim(&mut node, VF0, 1);
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    node.sent();
    let ask = frame::build(&question((mac(2), "10.0.0.2"), "10.0.0.1"), 3);
    node.enter(UPLINK, &from_peer(&ask, 2, VNI));
    node.serve();
    // The peer's MAC address is asked for first.
    node.enter(UPLINK, &frame::build(&told(2, peer_mac(2)), 0));
    node.serve();
    let keys = out(&mut node);
    let answer = keys.iter().find(|key| key.get(Field::Tunnel) == 1).expect("an answer in the tunnel");
    assert_eq!((answer.get(Field::TunIpProto), answer.mac(Field::TunArpSha)), (2, mac(1)));
    assert_eq!(answer.mac(Field::TunEthDst), mac(2));
    // Station 2 told where it is: a question from another tunnel is not this card's to answer.
    let ask = frame::build(&question((mac(3), "10.0.0.3"), "10.0.0.2"), 3);
    node.enter(UPLINK, &from_peer(&ask, 3, VNI));
    node.serve();
    assert!(out(&mut node).iter().all(|key| key.get(Field::Tunnel) == 0));
    assert_eq!(node.worker.stats().answered, 1);
    node.pass(Duration::from_secs(4));
    node.end();
}

#[test]
fn what_stations_told_is_bounded_and_forgotten() {
    let mut node = acquainted(Config { stations_per_bridge: 3, ..Config::default() });
    node.change(vec![put(quiet(RED)), port(access(VF2, RED))]);
    for n in 10..20 {
        claim(&mut node, VF0, n);
    }
    let stations = |node: &Node| {
        let all = node.worker.neighbors(None, 100);
        all.into_iter().filter(|view| matches!(view.network, Network::Bridge(_))).count()
    };
    assert_eq!(stations(&node), 3);
    node.pass(Duration::from_secs(121));
    assert_eq!(stations(&node), 0);
    claim(&mut node, VF0, 10);
    assert_eq!(stations(&node), 1);
    // A station whose place is forgotten is asked for itself.
    node.worker.flush_fdb(None, None);
    assert_eq!(answers(&node.pass_on(VF2, &question((mac(5), "10.0.0.5"), "10.0.0.10"))), []);
    node.change(vec![put(Object::Bridge(overlay(RED, VNI)))]);
    assert_eq!(stations(&node), 0, "with suppression goes what it knew");
    node.pass(Duration::from_secs(4));
    node.end();
}

#[test]
fn a_port_restricted_to_its_own_addresses_cannot_speak_for_another() {
    let mut node = world();
    let own = [mac(1)].into_iter().collect();
    node.change(vec![port(Port { source_macs: Some(own), ..access(VF0, RED) })]);
    let lie = arp(2, (mac(8), "10.0.0.8"), (mac(5), "10.0.0.5"), MacAddr::BROADCAST);
    node.pass_on(VF0, &lie.with(Field::EthSrc, 0x0200_0000_0001));
    assert_eq!(answers(&node.pass_on(VF2, &question((mac(5), "10.0.0.5"), "10.0.0.8"))), []);
    node.pass(Duration::from_secs(4));
    node.end();
}

/// Neighbour discovery: an IPv6 packet around a message.
pub(crate) fn discovery(from: (MacAddr, Ipv6Addr), to: (MacAddr, Ipv6Addr), message: &Repr<'_>) -> Vec<u8> {
    let length = message.buffer_len();
    let mut bytes = vec![0; 14 + 40 + length];
    bytes[..6].copy_from_slice(&to.0.0);
    bytes[6..12].copy_from_slice(&from.0.0);
    bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
    let header = ipv6::Repr {
        src: from.1,
        dst: to.1,
        next_header: IpProto::ICMPV6,
        hop_limit: 255,
        traffic_class: 0,
        flow_label: 0,
        payload_len: length as u16,
    };
    header.emit(&mut ipv6::Packet::new_unchecked(&mut bytes[14..]));
    let pseudo = Pseudo::V6 { src: from.1, dst: to.1 };
    message.emit(&mut Packet::new_unchecked(&mut bytes[54..]), pseudo);
    bytes
}

#[test]
fn a_solicitation_is_answered_as_the_router_or_host_advertised_itself() {
    let mut node = world();
    let address = |n: u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n);
    let all = (MacAddr([0x33, 0x33, 0, 0, 0, 1]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let flags = AdvertFlags { router: true, solicited: false, replace: true };
    let claim = Repr::NeighborAdvert { flags, target: address(1), link: Some(mac(1)) };
    node.enter(VF0, &discovery((mac(1), address(1)), all, &claim));
    node.serve();
    node.pass(Duration::from_secs(4));
    node.sent();
    let group = (MacAddr([0x33, 0x33, 0xff, 0, 0, 1]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1));
    let ask = Repr::NeighborSolicit { target: address(1), link: Some(mac(5)) };
    node.enter(VF2, &discovery((mac(5), address(5)), group, &ask));
    node.serve();
    let sent = node.sent();
    assert_eq!(sent.iter().map(|sent| sent.port).collect::<Vec<_>>(), [VF2]);
    let packet = Packet::new_checked(&sent[0].bytes[54..]).expect("a message");
    let expected = Repr::NeighborAdvert {
        flags: AdvertFlags { router: true, solicited: true, replace: false },
        target: address(1),
        link: Some(mac(1)),
    };
    assert_eq!(Repr::parse(&packet), Ok(expected));
    // One that comes from beyond a router is nobody's neighbour.
    let mut far = discovery((mac(5), address(5)), group, &ask);
    far[14 + 7] = 254;
    node.enter(VF2, &far);
    node.serve();
    assert!(node.sent().iter().all(|sent| sent.port != VF2));
    // Only who advertised itself is known: a solicitation tells nothing of its sender.
    let known = node.worker.neighbors(Some((Network::Bridge(RED), ip("::"))), 9);
    assert_eq!(known.len(), 1);
    assert_eq!(ip_to_bits(known[0].address), address(1).to_bits());
    node.pass(Duration::from_secs(4));
    node.end();
}
