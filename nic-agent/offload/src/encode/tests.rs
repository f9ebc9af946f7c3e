//! What the encoder makes of rules, against items written by hand.

use dpdk::DevId;
use dpdk::flow::{Action as FlowAction, Addresses, Arp, Eth, Icmp, Ipv4, Ipv6, Item, Masked};
use dpdk::flow::{Tcp, Udp, Vlan, VxlanEncap as FlowEncap};
use nic_flow::action::VxlanEncap;
use nic_flow::field::{L3, L4};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, Field, FlowMask, MacAddr, Match, PortId, Rule, Shape, text};

use super::encode;

const DEV_VF0: DevId = DevId::from_raw(7);
const DEV_P0: DevId = DevId::from_raw(3);

fn device(port: PortId) -> Option<DevId> {
    match port.to_string().as_str() {
        "pf0vf0" => Some(DEV_VF0),
        "p0" => Some(DEV_P0),
        _ => None,
    }
}

fn rule(flow: &str, actions: &str) -> Rule {
    let matches: Match = flow.parse().expect(flow);
    let matches = Match::new(*matches.key(), matches.mask().with_prerequisites());
    Rule { matches, actions: text::parse_actions(actions).expect(actions) }
}

fn items(flow: &str) -> Result<Vec<Item>, Refusal> {
    encode(&rule(flow, "drop"), device).map(|encoded| encoded.pattern)
}

fn actions(flow: &str, list: &str) -> Result<Vec<FlowAction>, Refusal> {
    encode(&rule(flow, list), device).map(|encoded| encoded.actions)
}

#[test]
fn a_port_alone_is_one_item() {
    assert_eq!(items("in_port=pf0vf0"), Ok(vec![Item::RepresentedPort(DEV_VF0)]));
}

#[test]
fn an_untagged_frame_is_known_by_its_type() {
    let eth = Masked::new(
        Eth { ether_type: 0x0800, ..Eth::default() },
        Eth { ether_type: 0xffff, ..Eth::default() },
    );
    let expected = vec![Item::RepresentedPort(DEV_VF0), Item::Eth(eth)];
    assert_eq!(items("in_port=pf0vf0,eth_type=0x0800"), Ok(expected));
}

#[test]
fn one_tag_moves_the_type_into_the_vlan_item() {
    let flow = "in_port=pf0vf0,eth_type=0x86dd,vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x0064/0xfff";
    let eth = Masked::new(
        Eth { ether_type: 0x8100, ..Eth::default() },
        Eth { ether_type: 0xffff, ..Eth::default() },
    );
    let vlan = Masked::new(
        Vlan { tci: 0x64, inner_type: 0x86dd, ..Vlan::default() },
        Vlan { tci: 0xfff, inner_type: 0xffff, ..Vlan::default() },
    );
    assert_eq!(items(flow), Ok(vec![Item::RepresentedPort(DEV_VF0), Item::Eth(eth), Item::Vlan(vlan)]));
}

#[test]
fn a_five_tuple_is_ethernet_ipv4_and_tcp() {
    let flow = "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=6,l4_src=1024,l4_dst=80,\
                ip_src=192.0.2.1,ip_dst=192.0.2.0/0xffffff00";
    let eth = Masked::new(
        Eth { ether_type: 0x0800, ..Eth::default() },
        Eth { ether_type: 0xffff, ..Eth::default() },
    );
    let ipv4 = Masked::new(
        Ipv4 { proto: 6, src: [192, 0, 2, 1], dst: [192, 0, 2, 0], ..Ipv4::default() },
        Ipv4 { proto: 255, src: [255; 4], dst: [255, 255, 255, 0], ..Ipv4::default() },
    );
    let tcp = Masked::new(
        Tcp { src_port: 1024, dst_port: 80, flags: 0 },
        Tcp { src_port: 0xffff, dst_port: 0xffff, flags: 0 },
    );
    let expected = vec![Item::RepresentedPort(DEV_VF0), Item::Eth(eth), Item::Ipv4(ipv4), Item::Tcp(tcp)];
    assert_eq!(items(flow), Ok(expected));
}

#[test]
fn icmp_type_and_code_are_eight_bits() {
    let flow = "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=1,l4_src=8,l4_dst=0";
    let icmp = Masked::new(Icmp { icmp_type: 8, code: 0 }, Icmp { icmp_type: 255, code: 255 });
    assert_eq!(items(flow).unwrap().last(), Some(&Item::Icmp(icmp)));
    let wide = "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=1,l4_src=300";
    assert_eq!(items(wide), Err(Refusal::Field(Field::L4Src)));
}

#[test]
fn what_no_item_says_is_refused_by_field() {
    for (flow, field) in [
        ("eth_dst=02:00:00:00:00:01", Field::InPort),
        ("in_port=pf0vf0,vlan_count=0", Field::VlanCount),
        ("in_port=pf0vf0,vlan_count=2,eth_type=0x0800", Field::VlanCount),
        ("in_port=pf0vf0,vlan_count=1,eth_type=0x0800", Field::VlanTpid),
        ("in_port=pf0vf0,eth_type=0x05ff", Field::EthType),
        ("in_port=pf0vf0,eth_type=0x0800,l3=2", Field::L3),
        ("in_port=pf0vf0,eth_type=0x0800,l3=0", Field::L3),
        ("in_port=pf0vf0,eth_type=0x0800,l3=1,l4=3,ip_proto=17", Field::L4),
        ("in_port=pf0vf0,eth_type=0x0800,l3=1,l4=2,ip_proto=17", Field::L4),
        ("in_port=pf0vf0,eth_type=0x0800,l3=1,ip_frag=1", Field::IpFrag),
        ("in_port=pf0vf0,eth_type=0x0800,l3=1,arp_sha=02:00:00:00:00:01", Field::ArpSha),
    ] {
        assert_eq!(items(flow), Err(Refusal::Field(field)), "{flow}");
    }
}

#[test]
fn no_extension_header_of_ipv6_stands_for_what_is_behind_it() {
    let flow = |proto| format!("in_port=pf0vf0,eth_type=0x86dd,l3=1,ip_proto={proto}");
    for extension in ["0", "43", "44", "51", "60", "0/0xfe"] {
        assert_eq!(items(&flow(extension)), Err(Refusal::Field(Field::IpProto)), "{extension}");
    }
    for proto in ["6", "17", "58", "59", "50"] {
        assert!(items(&flow(proto)).is_ok(), "{proto}");
    }
    // IPv4 has none.
    assert!(items("in_port=pf0vf0,eth_type=0x0800,l3=1,ip_proto=0").is_ok());
}

#[test]
fn every_masked_bit_is_encoded_or_refused() {
    // A packet's own key under each shape: the encoder takes it whole or names a field.
    let key = *rule(
        "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=17,l4_src=1,l4_dst=2,ip_src=192.0.2.1",
        "drop",
    )
    .matches
    .key();
    for &shape in Shape::ALL {
        let matches = Match::new(key, shape.mask());
        let result = encode(&Rule { matches, actions: Default::default() }, device);
        // The full key of a UDP packet is all expressible; the slow path does not offer it all the same.
        assert!(result.is_ok(), "{shape}: {result:?}");
    }
    let without_status = Match::new(key, FlowMask::exact(Field::InPort).with(Field::IpSrc, u128::MAX));
    let result = encode(&Rule { matches: without_status, actions: Default::default() }, device);
    assert_eq!(result, Err(Refusal::Field(Field::IpSrc)));
    assert_eq!((L3::Ok as u128, L4::Ok as u128), (1, 1), "the texts above say 1 for whole");
}

#[test]
fn one_output_is_the_fate_and_none_drops() {
    let out = FlowAction::RepresentedPort(DEV_P0);
    assert_eq!(actions("in_port=pf0vf0", "output(p0)"), Ok(vec![FlowAction::Count, out]));
    assert_eq!(actions("in_port=pf0vf0", "drop"), Ok(vec![FlowAction::Count, FlowAction::Drop]));
    // A rewrite behind the last output changes nothing that anyone sees.
    let late = actions("in_port=pf0vf0", "output(p0),set_ip_dscp(3)");
    assert_eq!(late, Ok(vec![FlowAction::Count, out]));
    assert_eq!(actions("in_port=pf0vf0", "output(p0),output(p0)"), Err(Refusal::ManyOutputs));
    let absent = PortId::vf(0, 9).unwrap();
    assert_eq!(actions("in_port=pf0vf0", "output(pf0vf9)"), Err(Refusal::NoPort(absent)));
}

#[test]
fn a_rewrite_is_encoded_only_where_its_place_is_certain() {
    let ipv4 = "in_port=pf0vf0,eth_type=0x0800,l3=1";
    let udp = "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=17";
    let out = FlowAction::RepresentedPort(DEV_P0);
    let set = |action| Ok(vec![FlowAction::Count, action, out]);
    let refused = |kind| Err(Refusal::Action(kind));
    let nat = "set_ip_dst(198.51.100.1),output(p0)";
    assert_eq!(actions(ipv4, nat), set(FlowAction::SetIpv4Dst([198, 51, 100, 1])));
    assert_eq!(actions("in_port=pf0vf0", nat), refused(ActionKind::SetIpDst));
    assert_eq!(actions(ipv4, "set_ip_dst(2001:db8::1),output(p0)"), refused(ActionKind::SetIpDst));
    assert_eq!(actions(udp, "set_l4_dst(53),output(p0)"), set(FlowAction::SetTpDst(53)));
    assert_eq!(actions(ipv4, "set_l4_dst(53),output(p0)"), refused(ActionKind::SetL4Dst));
    assert_eq!(actions(ipv4, "pop_vlan,output(p0)"), refused(ActionKind::PopVlan));
    assert_eq!(actions(ipv4, "set_ip_dscp(46),output(p0)"), refused(ActionKind::SetIpDscp));
    let dei = actions(ipv4, "push_vlan(0x8100/0x1001),output(p0)");
    assert_eq!(dei, refused(ActionKind::PushVlan));
}

/// A packet in VXLAN from the uplink, cut to a shape. It holds an IPv4 packet that is marked as congested.
fn tunnelled(shape: Shape, extra: &str) -> Match {
    let text = format!(
        "in_port=p0,eth_dst=02:00:00:00:00:12,eth_type=0x0800,l3=1,ip_src=192.0.2.2,ip_dst=192.0.2.1,\
         ip_proto=17,ip_tos=0x03,l4=1,l4_src=50000,l4_dst=4789,tunnel=1,vni=100,\
         tun_eth_src=02:00:00:00:00:01,tun_eth_dst=02:00:00:00:00:02,tun_eth_type=0x0800,tun_l3=1,\
         tun_ip_src=10.0.0.1,tun_ip_dst=10.0.0.2,tun_ip_tos=0x2b{extra}"
    );
    let flow: Match = text.parse().expect(&text);
    Match::new(*flow.key(), shape.mask())
}

fn encoded(matches: Match, list: &str) -> Result<super::Encoded, Refusal> {
    encode(&Rule { matches, actions: text::parse_actions(list).expect(list) }, device)
}

#[test]
fn a_tunnel_is_the_outer_headers_vxlan_and_the_inner_ones() {
    let all = [0xff; 6];
    let (outer, inner) = ([2, 0, 0, 0, 0, 0x12], ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
    let ipv4 = Ipv4 { proto: 17, src: [192, 0, 2, 2], dst: [192, 0, 2, 1], tos: 3, ..Ipv4::default() };
    let whole = Ipv4 { proto: 255, src: [255; 4], dst: [255; 4], tos: 3, ..Ipv4::default() };
    let expected = vec![
        Item::RepresentedPort(DEV_P0),
        Item::Eth(Masked::new(
            Eth { dst: outer, ether_type: 0x0800, ..Eth::default() },
            Eth { dst: all, ether_type: 0xffff, ..Eth::default() },
        )),
        Item::Ipv4(Masked::new(ipv4, whole)),
        Item::Udp(Masked::new(Udp { src_port: 0, dst_port: 4789 }, Udp { src_port: 0, dst_port: 0xffff })),
        Item::Vxlan(Masked::new(dpdk::flow::Vxlan { vni: 100 }, dpdk::flow::Vxlan { vni: 0xff_ffff })),
        Item::Eth(Masked::new(
            Eth { src: inner.0, dst: inner.1, ether_type: 0x0800, has_vlan: false },
            Eth { src: all, dst: all, ether_type: 0xffff, has_vlan: false },
        )),
        Item::Ipv4(Masked::new(Ipv4 { tos: 3, ..Ipv4::default() }, Ipv4 { tos: 3, ..Ipv4::default() })),
    ];
    let got = encoded(tunnelled(Shape::TunnelEcn, ""), "drop").unwrap().pattern;
    assert_eq!(got, expected);
    // Without the codepoints, one bit of the outer one and no inner IP header.
    let got = encoded(tunnelled(Shape::TunnelL2, ""), "drop").unwrap().pattern;
    assert_eq!(got.len(), expected.len() - 1);
    assert_eq!((got[1], &got[3..]), (expected[1], &expected[3..6]));
    let low = |ipv4| Ipv4 { tos: 1, ..ipv4 };
    assert_eq!(got[2], Item::Ipv4(Masked::new(low(ipv4), low(whole))));
}

#[test]
fn what_a_tunnel_cannot_say_is_refused_by_its_field() {
    for (extra, shape, refused) in [
        // Malformed, or a first fragment.
        (",tunnel=2", Shape::TunnelL2, Field::Tunnel),
        (",tunnel=0", Shape::TunnelL2, Field::Tunnel),
        (",l4_dst=4790", Shape::TunnelL2, Field::Tunnel),
        (",ip_proto=6", Shape::TunnelL2, Field::Tunnel),
        (",tun_vlan_count=2", Shape::TunnelL2, Field::TunVlanCount),
        (",tun_vlan_count=1", Shape::TunnelL2, Field::TunVlanTpid),
        (",tun_eth_type=0x05ff", Shape::TunnelL2, Field::TunEthType),
        (",tun_l3=2", Shape::TunnelEcn, Field::TunL3),
        (",vlan_count=1,vlan_tpid=0x8100,eth_type=0x0600,l3=0", Shape::TunnelL2, Field::IpProto),
    ] {
        let mut flow = tunnelled(shape, "");
        for part in extra.trim_start_matches(',').split(',') {
            let (name, value) = part.split_once('=').expect(part);
            let value = value
                .strip_prefix("0x")
                .map_or_else(|| value.parse().expect(part), |hex| u128::from_str_radix(hex, 16).expect(part));
            flow = Match::new(flow.key().with(Field::from_name(name).expect(part), value), *flow.mask());
        }
        assert_eq!(encoded(flow, "drop").map(|_| ()), Err(Refusal::Field(refused)), "{extra}");
    }
    // A field behind the tunnel without the tunnel.
    let orphan = FlowMask::exact(Field::InPort).with(Field::TunEthDst, u128::MAX);
    let orphan = Match::new(*tunnelled(Shape::TunnelL2, "").key(), orphan);
    assert_eq!(encoded(orphan, "drop").map(|_| ()), Err(Refusal::Field(Field::TunEthDst)));
}

#[test]
fn a_packet_that_goes_elsewhere_has_no_tunnel() {
    let udp = "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=17";
    let with_port = |port: &str| items(&format!("{udp},l4_dst={port},tunnel=0"));
    assert_eq!(with_port("4790"), items(&format!("{udp},l4_dst=4790")));
    assert_eq!(with_port("4789"), Err(Refusal::Field(Field::Tunnel)));
    // Some bits of the port may leave it open.
    for (bits, open) in [(0x1000, true), (0x8000, false)] {
        let whole = rule(&format!("{udp},l4_dst=0x92b5,tunnel=0"), "drop").matches;
        let matches = Match::new(*whole.key(), whole.mask().with(Field::L4Dst, bits));
        let refused = encoded(matches, "drop").map(|_| ());
        assert_eq!(refused, if open { Err(Refusal::Field(Field::Tunnel)) } else { Ok(()) });
    }
    for flow in [
        "in_port=pf0vf0,eth_type=0x0800,l3=1,l4=1,ip_proto=6,l4_dst=4789",
        "in_port=pf0vf0,eth_type=0x86dd,l3=1,l4=1,ip_proto=58,l4_dst=1",
        "in_port=pf0vf0,eth_type=0x88cc,l3=0",
        "in_port=pf0vf0,eth_type=0x0806,l3=1,ip_proto=1,l4_dst=0",
    ] {
        assert_eq!(items(&format!("{flow},tunnel=0,vni=0,tun_eth_dst=00:00:00:00:00:00")), items(flow));
        let tunnel = items(&format!("{flow},tunnel=1"));
        assert!(matches!(tunnel, Err(Refusal::Field(_))), "{flow}: {tunnel:?}");
    }
}

#[test]
fn ecn_is_two_bits_of_either_family() {
    let eth = |kind| {
        Item::Eth(Masked::new(
            Eth { ether_type: kind, ..Eth::default() },
            Eth { ether_type: 0xffff, ..Eth::default() },
        ))
    };
    let ipv4 = |tos| Ipv4 { tos, ..Ipv4::default() };
    let ipv6 = |traffic_class| Ipv6 { traffic_class, ..Ipv6::default() };
    let source = Item::RepresentedPort(DEV_VF0);
    assert_eq!(
        items("in_port=pf0vf0,eth_type=0x0800,l3=1,ip_tos=0x02/0x3"),
        Ok(vec![source, eth(0x0800), Item::Ipv4(Masked::new(ipv4(2), ipv4(3)))])
    );
    assert_eq!(
        items("in_port=pf0vf0,eth_type=0x86dd,l3=1,ip_tos=0x01/0x3"),
        Ok(vec![source, eth(0x86dd), Item::Ipv6(Masked::new(ipv6(1), ipv6(3)))])
    );
    // What is no IP has no codepoint.
    let arp = Item::ArpEthIpv4(Masked::new(Arp::default(), Arp::default()));
    let no_ip = "in_port=pf0vf0,eth_type=0x0806,l3=1,ip_tos=0x00/0x3";
    assert_eq!(items(no_ip), Ok(vec![source, eth(0x0806), arp]));
    assert_eq!(
        items("in_port=pf0vf0,eth_type=0x0806,l3=1,ip_tos=0x01/0x3"),
        Err(Refusal::Field(Field::IpTos))
    );
}

const ENCAP: &str = "encap_vxlan(100/192.0.2.1/192.0.2.2/02:00:00:00:00:11/02:00:00:00:00:12/0x02/64)";

#[test]
fn a_tunnel_is_put_on_last() {
    let encap = FlowAction::VxlanEncap(FlowEncap {
        eth_dst: [2, 0, 0, 0, 0, 0x12],
        eth_src: [2, 0, 0, 0, 0, 0x11],
        vlan: None,
        ip: Addresses::V4 { src: [192, 0, 2, 1], dst: [192, 0, 2, 2] },
        tos: 2,
        ttl: 64,
        vni: 100,
    });
    let (flow, out) = ("in_port=pf0vf0", FlowAction::RepresentedPort(DEV_P0));
    assert_eq!(actions(flow, &format!("{ENCAP},output(p0)")), Ok(vec![FlowAction::Count, encap, out]));
    let tagged = "in_port=pf0vf0,eth_type=0x0800,vlan_count=1,vlan_tpid=0x8100";
    assert_eq!(
        actions(tagged, &format!("pop_vlan,{ENCAP},output(p0)")),
        Ok(vec![FlowAction::Count, FlowAction::OfPopVlan, encap, out])
    );
    // What follows would change the outer headers.
    for (late, kind) in [
        ("push_vlan(0x8100/0x0001)", ActionKind::PushVlan),
        ("set_eth_src(02:00:00:00:00:01)", ActionKind::SetEthSrc),
        (ENCAP, ActionKind::EncapVxlan),
        ("decap_vxlan", ActionKind::DecapVxlan),
    ] {
        let refused = actions(flow, &format!("{ENCAP},{late},output(p0)"));
        assert_eq!(refused, Err(Refusal::Action(kind)));
    }
    let tag = "encap_vxlan(1/2001:db8::1/2001:db8::2/02:00:00:00:00:11/02:00:00:00:00:12/0xb8/9/0xa064)";
    let six = actions(flow, &format!("{tag},output(p0)")).unwrap();
    let ip = Addresses::V6 {
        src: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        dst: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    };
    assert!(matches!(six[1], FlowAction::VxlanEncap(encap) if encap.ip == ip && encap.vlan == Some(0xa064)
        && (encap.tos, encap.ttl, encap.vni) == (0xb8, 9, 1)));
}

#[test]
fn addresses_of_two_families_are_no_tunnel() {
    let encap = VxlanEncap {
        eth_dst: MacAddr([2, 0, 0, 0, 0, 1]),
        eth_src: MacAddr([2, 0, 0, 0, 0, 2]),
        vlan: None,
        src: [192, 0, 2, 1].into(),
        dst: [1_u16; 8].into(),
        tos: 0,
        ttl: 64,
        vni: 1,
    };
    let mut rule = rule("in_port=pf0vf0", "output(p0)");
    rule.actions.insert(0, Action::EncapVxlan(encap)).expect("there is room");
    let refused = encode(&rule, device).map(|encoded| encoded.actions);
    assert_eq!(refused, Err(Refusal::Action(ActionKind::EncapVxlan)));
}

#[test]
fn a_tunnel_is_taken_off_first_and_only_where_there_is_one() {
    let list = |shape, list: &str| encoded(tunnelled(shape, ""), list).map(|encoded| encoded.actions);
    let out = FlowAction::RepresentedPort(DEV_VF0);
    assert_eq!(
        list(Shape::TunnelL2, "decap_vxlan,push_vlan(0x8100/0x0064),output(pf0vf0)"),
        Ok(vec![
            FlowAction::Count,
            FlowAction::VxlanDecap,
            FlowAction::OfPushVlan { ether_type: 0x8100 },
            FlowAction::OfSetVlanVid(100),
            FlowAction::OfSetVlanPcp(0),
            out
        ])
    );
    let refused = |kind| Err(Refusal::Action(kind));
    assert_eq!(actions("in_port=p0", "decap_vxlan,output(pf0vf0)"), refused(ActionKind::DecapVxlan));
    for late in ["set_ip_dst(192.0.2.9),decap_vxlan", "push_vlan(0x8100/0x0001),decap_vxlan"] {
        let got = list(Shape::TunnelL2, &format!("{late},output(pf0vf0)"));
        assert_eq!(got, refused(ActionKind::DecapVxlan), "{late}");
    }
    let twice = list(Shape::TunnelL2, "decap_vxlan,decap_vxlan,output(pf0vf0)");
    assert_eq!(twice, refused(ActionKind::DecapVxlan));
}

#[test]
fn behind_a_decapsulation_the_headers_are_those_of_the_frame_in_the_tunnel() {
    let list = |shape, list: &str| encoded(tunnelled(shape, ""), list).map(|encoded| encoded.actions);
    // The outer packet is UDP over IPv4 for certain; of the inner one only some shape knows the family,
    // and none the ports.
    assert!(list(Shape::TunnelL2, "set_l4_src(1),output(pf0vf0)").is_ok());
    for (shape, rewrite, kind) in [
        (Shape::TunnelL2, "set_ip_dst(10.9.9.9)", ActionKind::SetIpDst),
        (Shape::TunnelL2, "dec_ip_ttl", ActionKind::DecIpTtl),
        (Shape::TunnelEcn, "set_l4_src(1)", ActionKind::SetL4Src),
        (Shape::TunnelEcn, "set_ip_dst(2001:db8::9)", ActionKind::SetIpDst),
        (Shape::TunnelEcn, "pop_vlan", ActionKind::PopVlan),
        (Shape::TunnelEcn, "set_ip_ecn(3)", ActionKind::SetIpEcn),
    ] {
        let got = list(shape, &format!("decap_vxlan,{rewrite},output(pf0vf0)"));
        assert_eq!(got, Err(Refusal::Action(kind)), "{shape}: {rewrite}");
    }
    let inner = list(Shape::TunnelEcn, "decap_vxlan,set_ip_dst(10.9.9.9),dec_ip_ttl,output(pf0vf0)");
    let inner = inner.expect("the inner packet is IPv4");
    assert_eq!(
        inner[1..4],
        [FlowAction::VxlanDecap, FlowAction::SetIpv4Dst([10, 9, 9, 9]), FlowAction::DecTtl]
    );
}

#[test]
fn a_flood_is_never_a_drop() {
    let refused = Err(Refusal::Action(ActionKind::Flood));
    for list in ["flood(7)", "flood(7/from_tunnel),output(p0)", "output(p0),flood(7)"] {
        assert_eq!(actions("in_port=pf0vf0", list), refused, "{list}");
    }
}
