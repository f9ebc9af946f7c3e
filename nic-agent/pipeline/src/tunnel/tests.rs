//! What a VTEP takes, what it drops, and what passes it by.

use nic_flow::Shape;
use nic_policy::{Bridge, BridgeId, Object, VtepId};

use super::*;
use crate::dependency::{Dependency, Touched};
use crate::fixture::{
    access, fate, fields, ip, open, overlay, overlay_network, peer, policy, port, rule, translated, vtep,
};
use crate::{Effect, Snapshot};

/// From the known peer to the VTEP, VNI 100, with an untagged frame in it.
const VXLAN: &str = "in_port=p0,eth_dst=02:4e:00:00:00:01,eth_type=0x0800,l3=1,ip_src=192.0.2.9,\
    ip_dst=192.0.2.1,ip_proto=17,l4=1,l4_dst=4789,tunnel=1,vni=100,\
    tun_eth_src=02:00:00:00:00:aa,tun_eth_dst=ff:ff:ff:ff:ff:ff";
const ARP_TO_ALL: &str = "in_port=p0,eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x0806,l3=1,ip_proto=1";
const TO_VTEP: &str = "in_port=p0,eth_dst=02:4e:00:00:00:01";

fn heard_on_p0(vtep: u64) -> Inspection {
    let (network, place) = (Network::Underlay(VtepId(vtep)), Place::Port(port("p0")));
    Inspection { network, place, tunnelled: false }
}

fn network() -> Snapshot {
    policy(&overlay_network())
}

/// `VXLAN` with other values of some fields.
fn vxlan(other: &str) -> String {
    with(VXLAN, other)
}

fn with(packet: &str, other: &str) -> String {
    let names: Vec<&str> = other.split(',').filter_map(|field| field.split('=').next()).collect();
    let is_kept = |field: &&str| !names.iter().any(|name| field.starts_with(&format!("{name}=")));
    packet.split(',').filter(is_kept).chain(other.split(',')).collect::<Vec<_>>().join(",")
}

#[test]
fn a_vxlan_packet_of_a_known_peer_enters_the_bridge_of_its_vni() {
    let translation = translated(VXLAN, &network());
    assert_eq!(fate(VXLAN, &network()), "decap_vxlan,flood(5/from_tunnel)");
    let (mac, place) = ("02:00:00:00:00:aa".parse().expect("a MAC address"), Place::Peer(ip("192.0.2.9")));
    assert_eq!(translation.effects, [Effect::Learn { bridge: BridgeId(5), mac, place }]);
    for dependency in [
        Dependency::Vteps(port("p0")),
        Dependency::TunnelPeer(VtepId(1), ip("192.0.2.9")),
        Dependency::Vni(VtepId(1), 100),
        Dependency::Bridge(BridgeId(5)),
    ] {
        assert!(translation.dependencies.contains(&dependency), "{dependency:?}");
    }
    assert_eq!(Shape::cover(&translation.read), Shape::TunnelL2);
}

#[test]
fn a_vxlan_packet_that_is_not_wanted_is_dropped_with_the_reason() {
    let network = network();
    for (other, reason) in [
        ("ip_src=192.0.2.8", "tunnel.unknown_peer"),
        ("vni=101", "tunnel.unknown_vni"),
        ("tunnel=2", "tunnel.malformed"),
        ("tunnel=0,ip_frag=1", "tunnel.malformed"),
        ("l4_dst=4790,tunnel=0", "tunnel.not_tunnel"),
        ("ip_proto=6,tunnel=0", "tunnel.not_tunnel"),
        ("ip_dst=192.0.2.2", "tunnel.not_tunnel"),
        ("l4=3,ip_frag=2,tunnel=0", "tunnel.not_tunnel"),
        ("l4=2,tunnel=0", "malformed.l4"),
        ("l3=2,tunnel=0", "malformed.l3"),
        ("eth_type=0x86dd", "tunnel.not_tunnel"),
        ("tun_vlan_count=1", "bridge.vlan"),
    ] {
        assert_eq!(fate(&vxlan(other), &network), reason, "{other}");
    }
    // A member of another bridge only.
    let mut objects = overlay_network();
    objects.extend([Object::Bridge(overlay(6, 1, 101)), Object::TunnelPeer(peer(1, "192.0.2.8", &[6]))]);
    assert_eq!(fate(&vxlan("ip_src=192.0.2.8"), &policy(&objects)), "tunnel.unknown_vni");
    assert_eq!(fate(&vxlan("ip_src=192.0.2.8,vni=101"), &policy(&objects)), "bridge.no_member");
}

#[test]
fn what_is_not_to_the_vteps_address_passes_by_and_pays_no_more_than_the_destination() {
    let mut objects = overlay_network();
    objects.push(rule(1, 1, "in_port=p0", "output(pf0vf0)"));
    let network = policy(&objects);
    let elsewhere = vxlan("eth_dst=02:00:00:00:00:07");
    assert_eq!(fate(&elsewhere, &network), "output(pf0vf0)");
    assert_eq!(fields(&translated(&elsewhere, &network).read), ["in_port", "eth_dst"]);
    assert_eq!(fate(&vxlan("vlan_count=1,vlan_tpid=0x8100"), &network), "output(pf0vf0)");
    // What came out of a tunnel meets no flow rule.
    assert_eq!(fate(VXLAN, &network), "decap_vxlan,flood(5/from_tunnel)");
    let without = policy(&[open("p0"), open("pf0vf0"), rule(1, 1, "in_port=p0", "output(pf0vf0)")]);
    assert_eq!(fields(&translated(VXLAN, &without).read), ["in_port"]);
}

#[test]
fn a_vtep_with_a_vlan_takes_only_what_has_that_tag() {
    let tagged = Vtep { vlan: Some(7), ..vtep(1, "p0", "192.0.2.1/24") };
    let mut objects = overlay_network();
    objects.push(rule(1, 1, "in_port=p0", "drop"));
    objects.retain(|object| !matches!(object, Object::Vtep(_)));
    objects.push(Object::Vtep(tagged));
    let network = policy(&objects);
    let decapsulated = "decap_vxlan,flood(5/from_tunnel)";
    for (tag, outcome) in [
        ("vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0007", decapsulated),
        ("vlan_count=1,vlan_tpid=0x8100,vlan_tci=0xe007", decapsulated),
        ("vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0008", "flow_rules.drop"),
        ("vlan_count=1,vlan_tpid=0x88a8,vlan_tci=0x0007", "flow_rules.drop"),
        ("vlan_count=2,vlan_tpid=0x8100,vlan_tci=0x0007", "flow_rules.drop"),
        ("vlan_count=0", "flow_rules.drop"),
    ] {
        assert_eq!(fate(&vxlan(tag), &network), outcome, "{tag}");
    }
}

#[test]
fn arp_for_the_vtep_and_to_it_is_the_agents_own() {
    let network = network();
    let arp = "eth_type=0x0806,l3=1,ip_proto=1";
    let asked = format!("in_port=p0,eth_dst=ff:ff:ff:ff:ff:ff,{arp},ip_dst=192.0.2.1");
    for own in [&asked, &format!("{TO_VTEP},{arp},ip_dst=192.0.2.1"), &format!("{TO_VTEP},{arp}")] {
        let translation = translated(own, &network);
        assert_eq!(translation.verdict, Verdict::Local, "{own}");
        assert_eq!(translation.inspect, [heard_on_p0(1)]);
        assert!(!translation.is_cacheable());
    }
    assert_eq!(fate(&format!("{TO_VTEP},eth_type=0x0806,l3=2"), &network), "malformed.l3");
}

#[test]
fn broadcast_arp_for_others_is_heard_and_goes_its_way() {
    let gratuitous = format!("{ARP_TO_ALL},ip_src=192.0.2.9,ip_dst=192.0.2.9");
    let to_another = format!("{ARP_TO_ALL},ip_src=192.0.2.9,ip_dst=192.0.2.2");
    let mut objects = overlay_network();
    objects.push(rule(1, 1, "in_port=p0", "output(pf0vf0)"));
    let (ruled, bare) = (policy(&objects), network());
    for frame in [&gratuitous, &to_another] {
        assert_eq!(fate(frame, &bare), "flow_rules.no_match");
        assert_eq!(fate(frame, &ruled), "output(pf0vf0)");
        for network in [&bare, &ruled] {
            let translation = translated(frame, network);
            assert_eq!(
                (translation.inspect.as_slice(), translation.is_cacheable()),
                (&[heard_on_p0(1)][..], false)
            );
        }
    }
    for other in
        ["eth_type=0x0806,l3=2", "eth_type=0x0800,l3=1", "eth_type=0x86dd,l3=1,ip_proto=58,l4=1,l4_src=136"]
    {
        let frame = format!("in_port=p0,eth_dst=ff:ff:ff:ff:ff:ff,{other}");
        let translation = translated(&frame, &ruled);
        assert_eq!((translation.inspect.len(), translation.is_cacheable()), (0, true), "{other}");
    }
    for elsewhere in ["eth_dst=02:00:00:00:00:07", "vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0007"] {
        assert_eq!(translated(&with(&gratuitous, elsewhere), &ruled).inspect, [], "{elsewhere}");
    }
    let without = policy(&[open("p0"), open("pf0vf0"), rule(1, 1, "in_port=p0", "output(pf0vf0)")]);
    let translation = translated(&gratuitous, &without);
    assert_eq!((fields(&translation.read), translation.is_cacheable()), (vec!["in_port"], true));
}

#[test]
fn a_bridge_on_the_uplink_gets_the_news_too_and_looks_into_it_for_itself() {
    let mut objects = overlay_network();
    objects.retain(|object| object.id() != open("p0").id());
    objects.push(Object::Port(access("p0", 6)));
    objects.push(Object::Port(access("pf0vf2", 6)));
    for suppression in [false, true] {
        let local = Bridge { overlay: None, suppression, ..overlay(6, 1, 0) };
        objects.push(Object::Bridge(local));
        let frame = format!("{ARP_TO_ALL},eth_src=02:00:00:00:00:0a,ip_src=192.0.2.9,ip_dst=192.0.2.9");
        let network = policy(&objects);
        assert_eq!(fate(&frame, &network), "flood(6)");
        let for_bridge = Inspection { network: Network::Bridge(BridgeId(6)), ..heard_on_p0(1) };
        let both = [heard_on_p0(1), for_bridge];
        assert_eq!(translated(&frame, &network).inspect, both[..1 + usize::from(suppression)]);
        objects.pop();
    }
}

#[test]
fn what_is_told_to_the_vteps_of_one_network_is_looked_into_once() {
    let mut objects = overlay_network();
    objects.push(Object::Vtep(vtep(2, "p0", "192.0.2.2/24")));
    objects.push(Object::Vtep(Vtep { vlan: Some(7), ..vtep(3, "p0", "203.0.113.1/24") }));
    let network = policy(&objects);
    let heard = |to: &str| translated(&format!("{ARP_TO_ALL},ip_src=192.0.2.9,{to}"), &network);
    assert_eq!(heard("ip_dst=192.0.2.9").inspect, [heard_on_p0(1)]);
    let tagged = "ip_dst=192.0.2.9,vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0007";
    assert_eq!(heard(tagged).inspect, [heard_on_p0(3)]);
    // A question for one of them is that one's.
    let asked = heard("ip_dst=192.0.2.2");
    assert_eq!((asked.verdict, asked.inspect), (Verdict::Local, vec![heard_on_p0(2)]));
}

#[test]
fn neighbour_discovery_of_an_ipv6_vtep_is_the_agents_own() {
    let objects = [open("p0"), Object::Vtep(vtep(1, "p0", "2001:db8::12:3456/64"))];
    let network = policy(&objects);
    let icmp = "eth_type=0x86dd,l3=1,ip_proto=58,l4=1";
    let solicited = "eth_dst=33:33:ff:12:34:56,ip_dst=ff02::1:ff12:3456";
    let all_nodes = "eth_dst=33:33:00:00:00:01,ip_dst=ff02::1";
    for (to, kind, outcome) in [
        (solicited, 135, "local"),
        (solicited, 136, "flow_rules.no_match"),
        (all_nodes, 136, "flow_rules.no_match"),
        (all_nodes, 135, "flow_rules.no_match"),
        (all_nodes, 134, "flow_rules.no_match"),
        ("eth_dst=33:33:ff:12:34:57,ip_dst=ff02::1:ff12:3457", 135, "flow_rules.no_match"),
        ("eth_dst=02:4e:00:00:00:01", 135, "local"),
        ("eth_dst=02:4e:00:00:00:01", 136, "local"),
        ("eth_dst=02:4e:00:00:00:01", 128, "tunnel.not_tunnel"),
    ] {
        let packet = format!("in_port=p0,{icmp},l4_src={kind},{to}");
        assert_eq!(fate(&packet, &network), outcome, "{packet}");
    }
    assert_eq!(fate(&format!("{TO_VTEP},eth_type=0x0806,l3=1"), &network), "tunnel.not_tunnel");
    // What is told to a group is heard, and goes its way.
    for (to, kind, heard) in [
        (all_nodes, 136, true),
        ("eth_dst=33:33:00:00:00:02,ip_dst=ff02::2", 136, true),
        (all_nodes, 135, false),
        ("eth_dst=33:33:ff:12:34:57,ip_dst=ff02::1:ff12:3457", 135, false),
        ("eth_dst=01:00:5e:00:00:01,ip_dst=ff02::1", 136, false),
        ("eth_dst=02:00:00:00:00:07,ip_dst=ff02::1", 136, false),
    ] {
        let translation = translated(&format!("in_port=p0,{icmp},l4_src={kind},{to}"), &network);
        let expected = if heard { vec![heard_on_p0(1)] } else { Vec::new() };
        assert_eq!((translation.is_cacheable(), translation.inspect), (!heard, expected), "{to} {kind}");
    }
}

#[test]
fn the_outer_ecn_codepoint_reaches_the_frame_in_the_tunnel() {
    let network = network();
    let fate = |outer: u8, inner: &str| {
        let fate = fate(&vxlan(&format!("ip_tos={outer:#04x},{inner}")), &network);
        fate.trim_start_matches("decap_vxlan,")
            .trim_end_matches("flood(5/from_tunnel)")
            .trim_end_matches(',')
            .to_owned()
    };
    let inner = |ecn: u8| format!("tun_eth_type=0x0800,tun_l3=1,tun_ip_tos={ecn:#04x}");
    // Rows: inner Not-ECT, ECT(1), ECT(0), CE. Columns: the same, outer.
    let expected = [
        ["", "", "", "tunnel.congestion"],
        ["", "", "", "set_ip_ecn(3)"],
        ["", "set_ip_ecn(1)", "", "set_ip_ecn(3)"],
        ["", "", "", ""],
    ];
    for (row, columns) in (0u8..).zip(expected) {
        for (outer, expected) in (0u8..).zip(columns) {
            assert_eq!(fate(outer | 0xb8, &inner(row | 0x28)), expected, "outer {outer} inner {row}");
        }
    }
    assert_eq!(fate(3, "tun_eth_type=0x0806,tun_l3=1"), "", "ARP has no codepoint");
    assert_eq!(fate(3, "tun_eth_type=0x0800,tun_l3=2"), "tunnel.congestion", "what cannot be read is none");
}

#[test]
fn only_a_codepoint_that_may_change_the_inner_one_is_read_whole() {
    let network = network();
    let inner = "tun_eth_type=0x0800,tun_l3=1,tun_ip_tos=0x02";
    let read = |tos: &str| translated(&vxlan(&format!("ip_tos={tos},{inner}")), &network).read;
    assert_eq!(read("0xb8").get(Field::IpTos), 1);
    assert_eq!(read("0xba").get(Field::IpTos), 1);
    assert_eq!(read("0xb9").get(Field::IpTos), 3);
    assert_eq!(Shape::cover(&read("0xb8")), Shape::TunnelL2);
    assert_eq!(Shape::cover(&read("0xbb")), Shape::TunnelEcn);
}

#[test]
fn a_flow_is_touched_by_what_its_way_out_of_the_tunnel_depends_on() {
    let touches = |packet: &str, objects: Vec<Object>| {
        let flow = translated(packet, &network());
        let changes = objects.into_iter().map(nic_policy::Change::Put).collect();
        let delta = nic_policy::Delta { changes, ..Default::default() };
        let (after, touched) = network().apply(&delta).expect("each id once");
        let by =
            |touched: &Touched| flow.dependencies.iter().any(|dependency| dependency.is_touched_by(touched));
        (touched.iter().any(by), fate(packet, &after))
    };
    let unknown = vxlan("ip_src=192.0.2.8");
    let known = vec![Object::TunnelPeer(peer(1, "192.0.2.8", &[5]))];
    assert_eq!(touches(&unknown, known), (true, "decap_vxlan,flood(5/from_tunnel)".into()));
    let other_vni =
        vec![Object::Bridge(overlay(6, 1, 101)), Object::TunnelPeer(peer(1, "192.0.2.9", &[5, 6]))];
    assert_eq!(touches(&vxlan("vni=101"), other_vni), (true, "bridge.no_member".into()));
    let moved = vec![Object::Vtep(vtep(1, "p1", "192.0.2.1/24"))];
    assert_eq!(touches(VXLAN, moved), (true, "flow_rules.no_match".into()));
    let elsewhere = vec![Object::Port(access("pf0vf2", 9))];
    assert_eq!(touches(VXLAN, elsewhere), (false, "decap_vxlan,flood(5/from_tunnel)".into()));
}

#[test]
fn the_next_hop_is_the_peer_on_the_link_and_else_the_gateway() {
    let gateway = Vtep { gateway: Some(ip("192.0.2.254")), ..vtep(1, "p0", "192.0.2.1/24") };
    assert_eq!(next_hop(&gateway, ip("192.0.2.9")), Some(ip("192.0.2.9")));
    assert_eq!(next_hop(&gateway, ip("192.0.3.9")), Some(ip("192.0.2.254")));
    assert_eq!(next_hop(&gateway, ip("2001:db8::1")), None, "a peer of another family");
    assert_eq!(next_hop(&vtep(1, "p0", "192.0.2.1/24"), ip("192.0.3.9")), None);
    assert_eq!(next_hop(&vtep(1, "p0", "192.0.2.1/0"), ip("8.8.8.8")), Some(ip("8.8.8.8")));
    assert_eq!(next_hop(&vtep(1, "p0", "192.0.2.1/32"), ip("192.0.2.2")), None);
    assert_eq!(next_hop(&vtep(1, "p0", "192.0.2.1/255"), ip("192.0.2.2")), None);
    assert_eq!(next_hop(&vtep(1, "p0", "2001:db8::1/64"), ip("2001:db8::2")), Some(ip("2001:db8::2")));
    assert_eq!(next_hop(&vtep(1, "p0", "2001:db8::1/64"), ip("2001:db8:1::2")), None);
}
