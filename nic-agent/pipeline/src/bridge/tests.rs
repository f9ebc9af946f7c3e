//! What bridges learn, where they send, and what they drop.

use nic_flow::Shape;
use nic_policy::{Attachment, Bridge, BridgeId, Network, Object, ObjectId, Port, Trunk, Vtep, VtepId};

use super::*;
use crate::dependency::Dependency;
use crate::effect::Inspection;
use crate::fixture::{
    access, at, behind, bridge, fate, fate_in, fields, fixed, ip, mac, overlay, overlay_network, packet,
    peer, policy, port, rule, state, translated, translated_in, trunk, vtep,
};
use crate::state::Neighbor;
use crate::{Snapshot, State, trace};

const A: &str = "02:00:00:00:00:0a";
const B: &str = "02:00:00:00:00:0b";
const NEXT_HOP: Neighbor = Neighbor::Known(MacAddr([0x02, 0, 0, 0, 0, 0x99]));

/// Bridge 5 with `pf0vf0` untagged and `pf0vf1` in VLAN 7.
fn local() -> Vec<Object> {
    let ports = [Object::Port(access("pf0vf0", 5)), Object::Port(trunk("pf0vf1", &[(7, 5)]))];
    ports.into_iter().chain([Object::Bridge(bridge(5))]).collect()
}

/// A at `pf0vf0`, B at `pf0vf1`.
fn learned() -> State {
    state(&[(A, at("pf0vf0")), (B, at("pf0vf1"))], &[])
}

fn from_a(to: &str) -> String {
    format!("in_port=pf0vf0,eth_src={A},eth_dst={to}")
}

fn from_b(to: &str) -> String {
    format!("in_port=pf0vf1,eth_src={B},eth_dst={to},vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x6007")
}

/// From the tunnel peer `192.0.2.9` into bridge 5.
fn from_tunnel(from: &str, to: &str) -> String {
    format!(
        "in_port=p0,eth_dst=02:4e:00:00:00:01,eth_type=0x0800,l3=1,ip_src=192.0.2.9,ip_dst=192.0.2.1,\
         ip_proto=17,l4=1,l4_dst=4789,tunnel=1,vni=100,tun_eth_src={from},tun_eth_dst={to}"
    )
}

fn with(objects: Vec<Object>, more: impl IntoIterator<Item = Object>) -> Snapshot {
    let mut objects = objects;
    for object in more {
        objects.retain(|other| other.id() != object.id());
        objects.push(object);
    }
    policy(&objects)
}

#[test]
fn frames_between_two_ports_need_layer_2_only_and_lose_and_gain_their_tags() {
    let local = policy(&local());
    assert_eq!(fate_in(&from_a(B), &local, &learned()), "push_vlan(0x8100/0x0007),output(pf0vf1)");
    assert_eq!(fate_in(&from_b(A), &local, &learned()), "pop_vlan,output(pf0vf0)");
    for frame in [from_a(B), from_b(A)] {
        let translation = translated_in(&frame, &local, &learned());
        assert_eq!(Shape::cover(&translation.read), Shape::L2Pair);
        assert!(translation.is_cacheable());
    }
    let untagged = translated_in(&from_a(B), &local, &learned());
    assert_eq!(fields(&untagged.read), ["in_port", "eth_src", "eth_dst", "vlan_count"]);
    assert_eq!(untagged.source, Some((BridgeId(5), mac(A), at("pf0vf0"))));
}

#[test]
fn a_source_that_is_unknown_or_elsewhere_is_learned() {
    let local = policy(&local());
    let learn = |place| vec![Effect::Learn { bridge: BridgeId(5), mac: mac(A), place }];
    let unknown = translated_in(&from_a(B), &local, &state(&[(B, at("pf0vf1"))], &[]));
    assert_eq!((unknown.effects.clone(), unknown.source), (learn(at("pf0vf0")), None));
    assert!(!unknown.is_cacheable());
    let moved = translated_in(&from_a(B), &local, &state(&[(A, at("pf0vf1"))], &[]));
    assert_eq!(moved.effects, learn(at("pf0vf0")));
    assert!(moved.dependencies.contains(&Dependency::Fdb(BridgeId(5), mac(A))));
    let deaf = with(self::local(), [Object::Port(Port { learning: false, ..access("pf0vf0", 5) })]);
    let heard = translated_in(&from_a(B), &deaf, &state(&[(B, at("pf0vf1"))], &[]));
    assert_eq!((heard.effects, heard.source), (vec![], None));
}

#[test]
fn a_fixed_address_comes_before_a_learned_one_and_may_not_move() {
    let local = with(local(), [fixed(5, A, at("pf0vf0")), fixed(5, B, at("pf0vf0"))]);
    assert_eq!(fate_in(&from_b(A), &local, &learned()), "bridge.static_moved");
    let fixed_source = translated_in(&from_a(B), &local, &learned());
    assert_eq!((fixed_source.effects, fixed_source.source), (vec![], None));
    assert_eq!(fixed_source.verdict, Verdict::Drop(DropReason::BridgeSamePlace));
    let step = trace(&packet(&from_a(B)), &local, &learned()).steps.pop().expect("a step");
    assert!(step.objects.contains(&ObjectId::FdbEntry(BridgeId(5), mac(B))), "{step:?}");
}

#[test]
fn frames_that_no_bridge_takes_are_dropped_with_the_reason() {
    let local = policy(&local());
    let tagged = |tag: &str| format!("in_port=pf0vf1,eth_src={B},eth_dst={A},{tag}");
    for (frame, reason) in [
        (tagged("vlan_count=0"), "bridge.vlan"),
        (tagged("vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0008"), "bridge.vlan"),
        (tagged("vlan_count=1,vlan_tpid=0x88a8,vlan_tci=0x0007"), "bridge.vlan"),
        (tagged("vlan_count=3,vlan_tpid=0x8100,vlan_tci=0x0007"), "malformed.vlan"),
        (format!("{},vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0007", from_a(B)), "bridge.vlan"),
        (format!("in_port=pf0vf0,eth_dst={B}"), "bridge.source_mac"),
        (format!("in_port=pf0vf0,eth_src=03:00:00:00:00:01,eth_dst={B}"), "bridge.source_mac"),
        (from_a("01:80:c2:00:00:00"), "bridge.reserved"),
        (from_a("01:80:c2:00:00:0f"), "bridge.reserved"),
        (from_a(A), "bridge.same_place"),
    ] {
        assert_eq!(fate_in(&frame, &local, &learned()), reason, "{frame}");
    }
    assert_eq!(fate(&from_a("01:80:c2:00:00:10"), &local), "flood(5)");
}

#[test]
fn a_bridge_that_is_not_there_forwards_nothing() {
    let gone = policy(&[Object::Port(access("pf0vf0", 6)), Object::Port(trunk("pf0vf1", &[(7, 6)]))]);
    assert_eq!(fate(&from_a(B), &gone), "bridge.vlan");
    assert_eq!(fate(&from_b(A), &gone), "bridge.vlan");
}

#[test]
fn what_is_not_known_is_flooded_if_the_bridge_does_and_has_another_member() {
    let local = local();
    assert_eq!(fate(&from_a(B), &policy(&local)), "flood(5)");
    assert_eq!(fate(&from_b("ff:ff:ff:ff:ff:ff"), &policy(&local)), "pop_vlan,flood(5)");
    let quiet = with(local, [Object::Bridge(Bridge { flood_unknown: false, ..bridge(5) })]);
    assert_eq!(fate(&from_a(B), &quiet), "bridge.unknown_unicast");
    assert_eq!(fate(&from_a("ff:ff:ff:ff:ff:ff"), &quiet), "flood(5)");
    let alone = policy(&[Object::Port(access("pf0vf0", 5)), Object::Bridge(bridge(5))]);
    let flood = translated(&from_a(B), &alone);
    assert_eq!(flood.verdict, Verdict::Drop(DropReason::BridgeNoMember));
    let (after, touched) = alone
        .apply(&nic_policy::Delta {
            changes: vec![nic_policy::Change::Put(Object::Port(access("pf0vf1", 5)))],
            ..Default::default()
        })
        .expect("each id once");
    assert!(touched.iter().any(|touched| flood.dependencies.contains(touched)));
    assert_eq!(fate(&from_a(B), &after), "flood(5)");
}

#[test]
fn an_address_behind_a_place_that_the_bridge_has_no_longer_is_unknown_or_if_fixed_unreachable() {
    let local = local();
    let stale = state(&[(B, at("pf0vf2"))], &[]);
    assert_eq!(fate_in(&from_a(B), &policy(&local), &stale), "flood(5)");
    let stale = state(&[(B, behind("192.0.2.9"))], &[]);
    assert_eq!(fate_in(&from_a(B), &policy(&local), &stale), "flood(5)");
    for place in [at("pf0vf2"), behind("192.0.2.9")] {
        let fixed = with(local.clone(), [fixed(5, B, place)]);
        assert_eq!(fate_in(&from_a(B), &fixed, &learned()), "bridge.unknown_unicast");
    }
}

#[test]
fn a_rule_that_decides_keeps_the_packet_from_the_bridge() {
    let local = with(local(), [rule(1, 1, "in_port=pf0vf0,eth_type=0x0806,l3=1", "drop")]);
    assert_eq!(
        fate_in(&format!("{},eth_type=0x0806,l3=1", from_a(B)), &local, &learned()),
        "flow_rules.drop"
    );
    let other = fate_in(&format!("{},eth_type=0x0800,l3=1", from_a(B)), &local, &learned());
    assert_eq!(other, "push_vlan(0x8100/0x0007),output(pf0vf1)");
    let forwarded = with(self::local(), [rule(1, 1, "in_port=pf0vf0", "output(pf0vf1)")]);
    assert_eq!(fate(&from_a(B), &forwarded), "output(pf0vf1)");
}

#[test]
fn a_frame_to_a_station_behind_a_peer_is_encapsulated() {
    let vtep = Vtep { dscp: 46, ttl: 9, vlan: Some(3), ..vtep(1, "p0", "192.0.2.1/24") };
    let network = with(overlay_network(), [Object::Vtep(vtep)]);
    let state = state(&[(A, at("pf0vf0")), (B, behind("192.0.2.9"))], &[("192.0.2.9", NEXT_HOP)]);
    let frame = format!("{},eth_type=0x0800,l3=1,ip_tos=0x2a", from_a(B));
    assert_eq!(
        fate_in(&frame, &network, &state),
        "encap_vxlan(100/192.0.2.1/192.0.2.9/02:4e:00:00:00:01/02:00:00:00:00:99/0xba/9/0x0003),output(p0)"
    );
    let translation = translated_in(&frame, &network, &state);
    assert_eq!(Shape::cover(&translation.read), Shape::L2Ecn);
    assert_eq!(translation.read.get(Field::IpTos), 3);
    assert!(translation.dependencies.contains(&Dependency::Neighbor(VtepId(1), ip("192.0.2.9"))));
    for (other, tos) in [("eth_type=0x0806,l3=1,ip_tos=0x03", "0xb8"), ("eth_type=0x0800,l3=2", "0xb8")] {
        let fate = fate_in(&format!("{},{other}", from_a(B)), &network, &state);
        assert!(fate.contains(tos), "{other}: {fate}");
    }
    let closed = with(overlay_network(), [crate::fixture::disabled("p0")]);
    assert_eq!(fate_in(&frame, &closed, &state), "output.disabled");
}

#[test]
fn the_next_hop_decides_whether_a_frame_can_go_into_a_tunnel() {
    let network = policy(&overlay_network());
    let there = |peer: &str, next_hops: &[(&str, Neighbor)]| {
        let state = state(&[(A, at("pf0vf0")), (B, behind(peer))], next_hops);
        (fate_in(&from_a(B), &network, &state), translated_in(&from_a(B), &network, &state).effects)
    };
    let resolve = |address| vec![Effect::Resolve { vtep: VtepId(1), address: ip(address) }];
    assert_eq!(there("192.0.2.9", &[]), ("wait".into(), resolve("192.0.2.9")));
    assert_eq!(there("198.51.100.9", &[]), ("wait".into(), resolve("192.0.2.254")));
    let failed = there("192.0.2.9", &[("192.0.2.9", Neighbor::Failed)]);
    assert_eq!(failed, ("neighbor.unresolved".into(), vec![]));
    let (far, _) = there("198.51.100.9", &[("192.0.2.254", NEXT_HOP)]);
    assert!(far.contains("/198.51.100.9/02:4e:00:00:00:01/02:00:00:00:00:99/"), "{far}");
    let enclosed = with(overlay_network(), [Object::Vtep(vtep(1, "p0", "192.0.2.1/24"))]);
    let state = state(&[(A, at("pf0vf0")), (B, behind("198.51.100.9"))], &[]);
    assert_eq!(fate_in(&from_a(B), &enclosed, &state), "tunnel.no_route");
}

#[test]
fn what_comes_out_of_a_tunnel_goes_to_ports_and_into_no_tunnel() {
    let network = policy(&overlay_network());
    let known = state(&[(A, at("pf0vf0")), (B, behind("192.0.2.9"))], &[("198.51.100.9", NEXT_HOP)]);
    let frame = from_tunnel(B, A);
    assert_eq!(fate_in(&frame, &network, &known), "decap_vxlan,output(pf0vf0)");
    let translation = translated_in(&frame, &network, &known);
    assert_eq!(Shape::cover(&translation.read), Shape::TunnelL2);
    assert_eq!(translation.source, Some((BridgeId(5), mac(B), behind("192.0.2.9"))));
    assert!(translation.is_cacheable());
    let trunk = state(&[(A, at("pf0vf1"))], &[]);
    assert_eq!(fate_in(&frame, &network, &trunk), "decap_vxlan,push_vlan(0x8100/0x0007),output(pf0vf1)");
    for peer in ["192.0.2.9", "198.51.100.9"] {
        let elsewhere = state(&[(A, behind(peer))], &[("192.0.2.254", NEXT_HOP)]);
        assert_eq!(fate_in(&frame, &network, &elsewhere), "bridge.split_horizon");
    }
    assert_eq!(fate_in(&from_tunnel("01:00:00:00:00:01", A), &network, &known), "bridge.source_mac");
    let moved = state(&[(B, at("pf0vf0"))], &[]);
    let learn = Effect::Learn { bridge: BridgeId(5), mac: mac(B), place: behind("192.0.2.9") };
    assert_eq!(translated_in(&frame, &network, &moved).effects, [learn]);
    let deaf = nic_policy::TunnelPeer { learning: false, ..peer(1, "192.0.2.9", &[5]) };
    let deaf = with(overlay_network(), [Object::TunnelPeer(deaf)]);
    assert_eq!(translated_in(&frame, &deaf, &moved).effects, []);
}

#[test]
fn frames_of_an_overlay_carry_no_tag() {
    let network = with(overlay_network(), [Object::Port(trunk("pf0vf0", &[(8, 5)]))]);
    let tagged = |count| {
        format!("in_port=pf0vf0,eth_src={A},eth_dst={B},vlan_count={count},vlan_tpid=0x8100,vlan_tci=0x0008")
    };
    assert_eq!(fate(&tagged(1), &network), "pop_vlan,flood(5)");
    assert_eq!(fate(&tagged(2), &network), "bridge.vlan");
    let local = with(local(), [Object::Port(trunk("pf0vf0", &[(8, 5)]))]);
    assert_eq!(fate(&tagged(2), &local), "pop_vlan,flood(5)");
}

#[test]
fn a_second_tag_does_not_become_the_first_of_a_port_without_one() {
    let tagged = |count| {
        format!("in_port=pf0vf1,eth_src={B},eth_dst={A},vlan_count={count},vlan_tpid=0x8100,vlan_tci=0x0007")
    };
    let untagged = policy(&local());
    assert_eq!(fate_in(&tagged(1), &untagged, &learned()), "pop_vlan,output(pf0vf0)");
    assert_eq!(fate_in(&tagged(2), &untagged, &learned()), "bridge.vlan");
    let trunks = with(local(), [Object::Port(trunk("pf0vf0", &[(8, 5)]))]);
    let carried = "pop_vlan,push_vlan(0x8100/0x0008),output(pf0vf0)";
    assert_eq!(fate_in(&tagged(2), &trunks, &learned()), carried);
}

#[test]
fn with_suppression_arp_and_neighbour_discovery_are_looked_into() {
    let suppressing = Bridge { suppression: true, ..overlay(5, 1, 100) };
    let network = with(overlay_network(), [Object::Bridge(suppressing)]);
    let inspection =
        |place, tunnelled| vec![Inspection { network: Network::Bridge(BridgeId(5)), place, tunnelled }];
    let looked_into = |frame: &str| translated_in(frame, &network, &learned()).inspect;
    let (here, group) = (inspection(at("pf0vf0"), false), "33:33:ff:00:00:01");
    let discovery = "eth_type=0x86dd,l3=1,ip_proto=58,l4=1";
    for (frame, expected) in [
        (format!("{},eth_type=0x0806,l3=1", from_a(B)), here.clone()),
        (format!("{},eth_type=0x0806,l3=2", from_a(B)), vec![]),
        (format!("{},{discovery},l4_src=135", from_a(group)), here.clone()),
        (format!("{},{discovery},l4_src=136", from_a(B)), here),
        (format!("{},{discovery},l4_src=128", from_a(B)), vec![]),
        (format!("{},eth_type=0x0800,l3=1,ip_proto=58,l4=1,l4_src=135", from_a(B)), vec![]),
    ] {
        assert_eq!(looked_into(&frame), expected, "{frame}");
    }
    let inner = "tun_eth_type=0x86dd,tun_l3=1,tun_ip_proto=58,tun_l4=1,tun_l4_src=135";
    let there = inspection(behind("192.0.2.9"), true);
    assert_eq!(looked_into(&format!("{},{inner}", from_tunnel(B, group))), there);
    let unicast = format!("{},{inner}", from_tunnel(B, A));
    assert_eq!(looked_into(&unicast), []);
    assert_eq!(Shape::cover(&translated_in(&unicast, &network, &learned()).read), Shape::TunnelL2);
    assert_eq!(looked_into(&format!("{},tun_eth_type=0x0806,tun_l3=1", from_tunnel(B, A))), there);
    assert_eq!(looked_into(&format!("{},eth_type=0x0800,l3=1", from_a(B))), []);
}

#[test]
fn a_port_with_several_vlans_of_a_bridge_is_reached_by_the_first() {
    let both = Attachment {
        access: None,
        trunk: vec![Trunk { vid: 7, bridge: BridgeId(5) }, Trunk { vid: 9, bridge: BridgeId(5) }],
    };
    let local = with(local(), [Object::Port(Port { bridges: both, ..trunk("pf0vf1", &[]) })]);
    assert_eq!(fate_in(&from_a(B), &local, &learned()), "push_vlan(0x8100/0x0007),output(pf0vf1)");
    let members: Vec<Member> = local.members(BridgeId(5)).collect();
    let expected = [
        Member::Port { port: port("pf0vf0"), vid: None },
        Member::Port { port: port("pf0vf1"), vid: Some(7) },
    ];
    assert_eq!(members, expected);
}
