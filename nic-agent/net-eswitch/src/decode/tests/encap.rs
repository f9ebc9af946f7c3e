//! Definitions of encapsulations: what comes of them, and what is refused.

use std::net::IpAddr;

use dpdk_sys as sys;
use nic_flow::{Action, MacAddr, PortId, VxlanEncap};

use super::{be, masked};
use crate::decode::raw::{Item, RawAction, Triple};
use crate::decode::{At, Attributes, Fault, decode};
use soft_eswitch::Profile;

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 8];

pub(super) fn eth() -> Triple<sys::shim_flow_item_eth> {
    let item = |dst, src| sys::shim_flow_item_eth { dst, src, ..Default::default() };
    masked(item(PEER, OWN), item([0xff; 6], [0xff; 6]))
}

fn vlan(tci: u16, mask: u16) -> Triple<sys::shim_flow_item_vlan> {
    let item = |tci| sys::shim_flow_item_vlan { tci: be(tci), ..Default::default() };
    masked(item(tci), item(mask))
}

pub(super) fn ipv4() -> Triple<sys::shim_flow_item_ipv4> {
    let item = |src, dst| sys::shim_flow_item_ipv4 { src, dst, ..Default::default() };
    masked(item([192, 0, 2, 1], [192, 0, 2, 2]), item([0xff; 4], [0xff; 4]))
}

fn ipv6() -> Triple<sys::shim_flow_item_ipv6> {
    let item = |src, dst| sys::shim_flow_item_ipv6 { src, dst, ..Default::default() };
    masked(item([0x20; 16], [0x21; 16]), item([0xff; 16], [0xff; 16]))
}

pub(super) fn udp() -> Triple<sys::shim_flow_item_udp> {
    let item = |dst_port| sys::shim_flow_item_udp { dst_port, ..Default::default() };
    masked(item(be(4789)), item(be(0xffff)))
}

pub(super) fn vxlan(vni: [u8; 3]) -> Triple<sys::shim_flow_item_vxlan> {
    let item = |vni| sys::shim_flow_item_vxlan { vni, ..Default::default() };
    masked(item(vni), item([0xff; 3]))
}

/// The definition that all of these vary.
fn definition() -> Vec<Item> {
    vec![Item::Eth(eth()), Item::Ipv4(ipv4()), Item::Udp(udp()), Item::Vxlan(vxlan([1, 2, 3]))]
}

fn expected() -> VxlanEncap {
    VxlanEncap {
        eth_dst: MacAddr(PEER),
        eth_src: MacAddr(OWN),
        vlan: None,
        src: IpAddr::from([192, 0, 2, 1]),
        dst: IpAddr::from([192, 0, 2, 2]),
        tos: 0,
        ttl: 64,
        vni: 0x01_0203,
    }
}

pub(super) fn transfer() -> Attributes {
    Attributes { group: 0, priority: 0, ingress: false, egress: false, transfer: true, reserved: false }
}

fn encap(definition: Vec<Item>) -> Result<VxlanEncap, Fault> {
    let port = PortId::uplink(0).unwrap();
    let actions = [RawAction::Count, RawAction::VxlanEncap(definition), RawAction::RepresentedPort(1)];
    let eth = Item::Eth(masked(Default::default(), Default::default()));
    let decoded = decode(transfer(), &[eth], &actions, Profile::Full, port, &|_| Some(port))?;
    assert_eq!(decoded.rule.actions[1], Action::Output(port));
    match decoded.rule.actions[0] {
        Action::EncapVxlan(encap) => Ok(encap),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_headers_of_a_definition_are_those_of_the_encapsulation() {
    assert_eq!(encap(definition()), Ok(expected()));

    // What testpmd and OVS fill in beyond that, and what a mask leaves open.
    let mut items = definition();
    let Item::Eth(eth) = &mut items[0] else { unreachable!() };
    (eth.spec.ether_type, eth.mask.ether_type) = (be(0x0800), 0xffff);
    let Item::Ipv4(ip) = &mut items[1] else { unreachable!() };
    (ip.spec.version_ihl, ip.mask.version_ihl) = (0x45, 0xff);
    (ip.spec.tos, ip.spec.ttl) = (0x2e << 2 | 1, 17);
    (ip.spec.proto, ip.mask.proto) = (17, 0xff);
    (ip.spec.fragment_offset, ip.mask.fragment_offset) = (be(0x4000), 0xffff);
    (ip.spec.checksum, ip.spec.total_length) = (7, 8);
    let Item::Udp(udp) = &mut items[2] else { unreachable!() };
    (udp.spec.src_port, udp.mask.checksum) = (1234, 0xffff);
    let Item::Vxlan(vxlan) = &mut items[3] else { unreachable!() };
    (vxlan.spec.flags, vxlan.mask.flags) = (8, 0xff);
    items.insert(0, Item::Void);
    assert_eq!(encap(items), Ok(VxlanEncap { tos: 0xb9, ttl: 17, ..expected() }));
}

#[test]
fn a_tag_and_ipv6_are_read_and_a_hop_limit_of_zero_can_be_asked_for() {
    let mut ip = ipv6();
    let class = |class: u32| (class << 20).to_be();
    (ip.spec.vtc_flow, ip.mask.vtc_flow) = (0x6a50_0000u32.to_be(), u32::MAX);
    ip.mask.hop_limits = 0xff;
    let items = vec![
        Item::Eth(eth()),
        Item::Vlan(vlan(0xa007, 0x0fff)),
        Item::Ipv6(ip),
        Item::Udp(udp()),
        Item::Vxlan(vxlan([0, 0, 7])),
    ];
    let (src, dst) = (IpAddr::from([0x20; 16]), IpAddr::from([0x21; 16]));
    let six = VxlanEncap { vlan: Some(0xa007), src, dst, tos: 0xa5, ttl: 0, vni: 7, ..expected() };
    assert_eq!(encap(items.clone()), Ok(six));

    // Only the class: version and label are not asked for.
    let mut items = items;
    let Item::Ipv6(ip) = &mut items[2] else { unreachable!() };
    (ip.spec.vtc_flow, ip.mask.vtc_flow, ip.mask.hop_limits) = (class(0x11), class(0xff), 0);
    assert_eq!(encap(items), Ok(VxlanEncap { tos: 0x11, ttl: 64, ..six }));
}

fn without<const INDEX: usize>(items: &mut Vec<Item>) {
    items.remove(INDEX);
}

/// One change of the definition, and the message that it brings.
type Case = (fn(&mut Vec<Item>), &'static str);

macro_rules! change {
    ($index:literal, $item:ident, |$triple:ident| $change:expr) => {
        |items| {
            let Item::$item($triple) = &mut items[$index] else { unreachable!() };
            $change;
        }
    };
}

#[test]
fn what_would_not_be_sent_as_it_stands_is_refused_with_the_action() {
    let cases: &[Case] = &[
        (|items| items.clear(), "the definition ends where eth is needed here"),
        (|items| items.truncate(3), "the definition ends where vxlan is needed here"),
        (without::<0>, "item 0 of the definition: eth is needed here"),
        (without::<1>, "item 1 of the definition: ipv4 or ipv6 is needed here"),
        (without::<2>, "item 2 of the definition: udp is needed here"),
        (|items| items.push(items[0]), "item 4 of the definition: nothing stands behind a vxlan item"),
        (
            |items| (0..2).for_each(|_| items.insert(1, Item::Vlan(vlan(1, 0xffff)))),
            "item 2 of the definition: ipv4 or ipv6 is needed here",
        ),
        (
            |items| items.insert(1, Item::Vlan(vlan(1, 0xff))),
            "item 1 of the definition: the VLAN identifier must be given whole",
        ),
        (
            change!(0, Eth, |eth| eth.mask.dst[0] = 0xfe),
            "item 0 of the definition: the destination MAC address must be given whole",
        ),
        (
            change!(0, Eth, |eth| eth.mask.src = [0; 6]),
            "item 0 of the definition: the source MAC address must be given whole",
        ),
        (
            change!(0, Eth, |eth| (eth.spec.ether_type, eth.mask.ether_type) = (be(0x86dd), 0xffff)),
            "item 0 of the definition: the type is sent as 0x800",
        ),
        (
            change!(0, Eth, |eth| (eth.spec.has_vlan, eth.mask.has_vlan) = (1, 1)),
            "item 0 of the definition: has_vlan is sent as 0x0",
        ),
        (
            change!(1, Ipv4, |ip| ip.mask.src = [0; 4]),
            "item 1 of the definition: the source address must be given whole",
        ),
        (
            change!(1, Ipv4, |ip| (ip.spec.version_ihl, ip.mask.version_ihl) = (0x46, 0xff)),
            "item 1 of the definition: version and header length is sent as 0x45",
        ),
        (
            change!(1, Ipv4, |ip| (ip.spec.proto, ip.mask.proto) = (6, 0xff)),
            "item 1 of the definition: the protocol is sent as 0x11",
        ),
        (
            change!(1, Ipv4, |ip| ip.mask.fragment_offset = 0xffff),
            "item 1 of the definition: the fragment field is sent as 0x4000",
        ),
        (
            change!(1, Ipv4, |ip| (ip.spec.total_length, ip.mask.total_length) = (be(50), 0xffff)),
            "item 1 of the definition: the total length follows the frame: 0 is needed",
        ),
        (
            change!(2, Udp, |udp| udp.spec.dst_port = be(8472)),
            "item 2 of the definition: the destination port is sent as 0x12b5",
        ),
        (
            change!(2, Udp, |udp| (udp.spec.src_port, udp.mask.src_port) = (be(5000), 0xffff)),
            "item 2 of the definition: the source port follows the frame: 0 is needed",
        ),
        (
            change!(2, Udp, |udp| (udp.spec.checksum, udp.mask.checksum) = (1, 0xffff)),
            "item 2 of the definition: the checksum is sent as 0x0",
        ),
        (
            change!(3, Vxlan, |vxlan| vxlan.mask.vni = [0xff, 0xff, 0]),
            "item 3 of the definition: the VNI must be given whole",
        ),
        (
            change!(3, Vxlan, |vxlan| (vxlan.spec.flags, vxlan.mask.flags) = (0x88, 0xff)),
            "item 3 of the definition: the byte of flags is sent as 0x8",
        ),
        (
            change!(3, Vxlan, |vxlan| (vxlan.spec.reserved1, vxlan.mask.reserved1) = (1, 0xff)),
            "item 3 of the definition: a reserved field is sent as 0x0",
        ),
    ];
    for (change, message) in cases {
        let mut items = definition();
        change(&mut items);
        let fault = encap(items).unwrap_err();
        assert_eq!((fault.at, &*fault.message), (At::ActionConf { index: 1 }, *message));
    }
}
