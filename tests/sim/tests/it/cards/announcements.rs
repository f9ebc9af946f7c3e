//! A next hop tells everybody that it has another MAC address, and is followed at once.

use std::net::Ipv6Addr;
use std::time::Duration;

use nic_flow::MacAddr;
use nic_policy::{
    Bridge, BridgeId, Change, DropReason, NeighborState, Object, Overlay, Place, TunnelPeer, Vtep, VtepId,
};
use nic_slowpath::Config;
use nic_wire::icmpv6::{AdvertFlags, Repr};
use sim::frame;

use super::frames::*;
use super::neighbors::{out, questions, told, tunnelled};
use super::node::Node;
use super::suppression::discovery;

const OLD: MacAddr = peer_mac(2);
const NEW: MacAddr = mac(0x77);
const NONE: MacAddr = MacAddr::ZERO;

fn own(ipv6: bool) -> &'static str {
    if ipv6 { "2001:db8::1" } else { "192.0.2.1" }
}

fn hop(ipv6: bool) -> &'static str {
    if ipv6 { "2001:db8::2" } else { "192.0.2.2" }
}

fn v6(address: &str) -> Ipv6Addr {
    address.parse().expect("an IPv6 address")
}

/// An advertisement of the next hop; `to` is the last octet of a group, or the VTEP.
fn advertisement(from: MacAddr, group: Option<u8>) -> Vec<u8> {
    let to = match group {
        Some(n) => (MacAddr([0x33, 0x33, 0, 0, 0, n]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, n.into())),
        None => (vtep_mac(), v6(own(true))),
    };
    let flags = AdvertFlags { router: false, solicited: group.is_none(), replace: true };
    let target = v6(hop(true));
    discovery((from, target), to, &Repr::NeighborAdvert { flags, target, link: Some(from) })
}

/// The next hop's answer to the VTEP.
fn answer(ipv6: bool, from: MacAddr) -> Vec<u8> {
    if ipv6 { advertisement(from, None) } else { frame::build(&told(2, from), 0) }
}

/// Every way in which the next hop tells everybody where it is.
fn announcements(ipv6: bool, from: MacAddr) -> Vec<Vec<u8>> {
    if ipv6 {
        return [1, 2].map(|group| advertisement(from, Some(group))).to_vec();
    }
    let (sender, all) = ((from, hop(false)), MacAddr::BROADCAST);
    let told = [
        arp(1, sender, (NONE, hop(false)), all),
        arp(2, sender, (from, hop(false)), all),
        // By the way, when it asks or answers somebody else.
        arp(1, sender, (NONE, "192.0.2.77"), all),
        arp(2, sender, (mac(0x78), "192.0.2.77"), all),
    ];
    told.iter().map(|key| frame::build(key, 0)).collect()
}

/// Station 1 is at VF0, station 2 behind the peer, which is a next hop.
fn node(ipv6: bool, more: Vec<Change>) -> Node {
    let vtep = Vtep { address: ip(own(ipv6)), prefix_length: if ipv6 { 64 } else { 24 }, ..vtep() };
    let changes = vec![
        put(Object::Vtep(vtep)),
        put(Object::Bridge(overlay(RED, VNI))),
        put(Object::TunnelPeer(peer(ip(hop(ipv6)), &[RED]))),
        port(access(VF0, RED)),
        port(plain(UPLINK)),
        fixed(RED, mac(2), Place::Peer(ip(hop(ipv6))), &[]),
    ];
    let mut node = Node::new(&PORTS, Config::default(), 1, changes);
    node.change(more);
    node.sent();
    node
}

/// A packet for station 2 enters. Returns to whom it went in the tunnel.
fn send(node: &mut Node, serial: u64) -> Vec<MacAddr> {
    node.enter(VF0, &bytes(mac(1), mac(2), serial));
    node.serve();
    node.settle();
    tunnelled(&out(node)).into_iter().map(|(_, to)| to).collect()
}

/// The card forwards to the next hop.
fn in_use(ipv6: bool, more: Vec<Change>) -> Node {
    let mut node = node(ipv6, more);
    assert_eq!(send(&mut node, 0), []);
    node.enter(UPLINK, &answer(ipv6, OLD));
    node.serve();
    node.settle();
    assert_eq!(tunnelled(&out(&mut node)), [(hop(ipv6).to_owned(), OLD)]);
    send(&mut node, 1);
    assert!(node.enter(VF0, &bytes(mac(1), mac(2), 2)));
    out(&mut node);
    node
}

fn state(node: &Node) -> (NeighborState, Option<MacAddr>) {
    let known = node.worker.neighbors(None, 10)[0];
    (known.state, known.mac)
}

#[test]
fn a_next_hop_that_announces_another_mac_address_is_followed_at_once() {
    for ipv6 in [false, true] {
        for announcement in announcements(ipv6, NEW) {
            let mut node = in_use(ipv6, Vec::new());
            let taken = node.worker.counters().taken;
            for serial in 0..20 {
                assert_eq!(send(&mut node, serial), [OLD]);
            }
            node.enter(UPLINK, &announcement);
            node.serve();
            node.settle();
            let asked = node.sent();
            assert_eq!(asked.len(), 1, "the new one is asked whether it is true");
            assert_eq!(asked[0].bytes[..6], NEW.0);
            assert_eq!(state(&node), (NeighborState::Probe, Some(NEW)));
            for serial in 0..20 {
                assert_eq!(send(&mut node, serial), [NEW], "nothing is lost, nothing goes to the old one");
            }
            node.enter(UPLINK, &answer(ipv6, NEW));
            node.serve();
            assert_eq!(state(&node), (NeighborState::Reachable, Some(NEW)));
            assert!(node.enter(VF0, &bytes(mac(1), mac(2), 99)), "the card forwards again");
            assert_eq!(tunnelled(&out(&mut node)), [(hop(ipv6).to_owned(), NEW)]);
            // It was for everybody: only the answer was the agent's own.
            assert_eq!(node.worker.counters().taken, taken + 1);
            assert_eq!(node.drops(), [(DropReason::NoRule, 1)].into());
            node.check_at_rest();
            node.end();
        }
    }
}

#[test]
fn an_announcement_of_what_is_known_changes_and_confirms_nothing() {
    for ipv6 in [false, true] {
        for announcement in announcements(ipv6, OLD) {
            let mut node = in_use(ipv6, Vec::new());
            let revalidated = node.worker.counters().revalidated;
            node.enter(UPLINK, &announcement);
            node.serve();
            assert_eq!((node.sent(), state(&node)), (vec![], (NeighborState::Reachable, Some(OLD))));
            assert_eq!(node.worker.counters().revalidated, revalidated);
            assert!(node.enter(VF0, &bytes(mac(1), mac(2), 3)));
            // Nor does it spare the next hop the question whether it is still there.
            while state(&node).0 == NeighborState::Reachable {
                node.enter(VF0, &bytes(mac(1), mac(2), 4));
                node.pass(Duration::from_secs(1));
            }
            node.enter(UPLINK, &announcement);
            node.serve();
            assert_eq!(state(&node), (NeighborState::Probe, Some(OLD)));
            node.end();
        }
    }
}

#[test]
fn nobody_becomes_a_next_hop_under_the_cards_own_address() {
    for ipv6 in [false, true] {
        for announcement in announcements(ipv6, vtep_mac()) {
            let mut node = in_use(ipv6, Vec::new());
            node.enter(UPLINK, &announcement);
            node.serve();
            assert_eq!((node.sent(), state(&node)), (vec![], (NeighborState::Reachable, Some(OLD))));
            assert_eq!(send(&mut node, 3), [OLD]);
            node.end();
        }
    }
}

#[test]
fn an_announcement_makes_no_entry_and_lets_go_what_waits_for_it() {
    for ipv6 in [false, true] {
        for announcement in announcements(ipv6, NEW) {
            let mut node = node(ipv6, Vec::new());
            node.enter(UPLINK, &announcement);
            node.serve();
            assert_eq!((node.sent(), node.worker.neighbors(None, 10)), (vec![], vec![]));
            assert_eq!(send(&mut node, 0), []);
            assert_eq!(
                (node.worker.counters().waiting, state(&node)),
                (1, (NeighborState::Incomplete, None))
            );
            node.enter(UPLINK, &announcement);
            node.serve();
            assert_eq!(tunnelled(&out(&mut node)), [(hop(ipv6).to_owned(), NEW)]);
            assert_eq!((node.worker.counters().waiting, state(&node).0), (0, NeighborState::Probe));
            node.end();
        }
    }
}

#[test]
fn a_bridge_on_the_uplink_forwards_the_announcement_too() {
    for ipv6 in [false, true] {
        for (n, announcement) in announcements(ipv6, NEW).iter().enumerate() {
            let local = Bridge { suppression: n % 2 == 0, ..bridge(BridgeId(9)) };
            let attached = [access(UPLINK, local.id), access(VF2, local.id)].map(port);
            let more = attached.into_iter().chain([put(Object::Bridge(local))]).collect();
            let mut node = in_use(ipv6, more);
            let taken = node.worker.counters().taken;
            node.enter(UPLINK, announcement);
            node.serve();
            node.settle();
            let sent = node.sent();
            let copies: Vec<_> = sent.iter().filter(|sent| sent.port == VF2).collect();
            assert_eq!((copies.len(), &copies[0].bytes), (1, announcement));
            assert_eq!(node.worker.counters().taken, taken);
            assert_eq!(send(&mut node, 3), [NEW]);
            node.end();
        }
    }
}

#[test]
fn every_vtep_of_the_network_hears_it_and_no_other() {
    let at = |n: u8| Vtep {
        id: VtepId(n.into()),
        mac: MacAddr([2, 0x4e, 0, 0, 0, n]),
        address: [192, 0, 2, n].into(),
        ..vtep()
    };
    let (second, tagged_one) = (at(8), Vtep { vlan: Some(30), ..at(9) });
    let mut more = Vec::new();
    for (vtep, from) in [(&second, VF1), (&tagged_one, VF2)] {
        let id = BridgeId(vtep.id.0);
        let overlay = Some(Overlay { vtep: vtep.id, vni: VNI });
        more.extend([
            put(Object::Vtep(vtep.clone())),
            put(Object::Bridge(Bridge { overlay, ..bridge(id) })),
            put(Object::TunnelPeer(TunnelPeer { vtep: vtep.id, ..peer(ip(hop(false)), &[id]) })),
            port(access(from, id)),
            fixed(id, mac(2), Place::Peer(ip(hop(false))), &[]),
        ]);
    }
    let mut node = in_use(false, more);
    for (from, to, vid) in [(VF1, &second, None), (VF2, &tagged_one, Some(30))] {
        node.enter(from, &bytes(mac(1), mac(2), 1));
        node.serve();
        let told = arp(2, (OLD, hop(false)), (to.mac, &to.address.to_string()), to.mac);
        node.enter(UPLINK, &frame::build(&tagged(told, vid), 0));
        node.serve();
        assert_eq!(tunnelled(&out(&mut node)), [(hop(false).to_owned(), OLD)]);
    }
    node.enter(UPLINK, &announcements(false, NEW)[0]);
    node.serve();
    let asked = questions(&out(&mut node));
    assert_eq!(asked, vec![(NEW, hop(false).to_owned()); 2]);
    node.settle();
    for (from, to) in [(VF0, NEW), (VF1, NEW), (VF2, OLD)] {
        node.enter(from, &bytes(mac(1), mac(2), 2));
        node.serve();
        node.settle();
        assert_eq!(tunnelled(&out(&mut node)), [(hop(false).to_owned(), to)]);
    }
    node.end();
}
