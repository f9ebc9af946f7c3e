//! What the encoder makes of rules, against items written by hand.

use dpdk::DevId;
use dpdk::flow::{Action as FlowAction, Eth, Icmp, Ipv4, Item, Masked, Tcp, Vlan};
use nic_flow::field::{L3, L4};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Field, FlowMask, Match, PortId, Rule, Shape, text};

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
