//! Frames into VXLAN tunnels and out of them.

use std::time::Duration;

use dpdk::flow::{Action, Addresses, Eth, Ipv4, Item, Masked, Udp, Vxlan, VxlanEncap};

use crate::packets::{MAC_B, checksums_hold, ethernet, plain, sum};
use crate::{PATIENCE, Rig, SILENCE};

const NEAR: [u8; 6] = [2, 0, 0, 0, 1, 1];
const FAR: [u8; 6] = [2, 0, 0, 0, 1, 2];

pub(crate) const ENCAP: VxlanEncap = VxlanEncap {
    eth_dst: FAR,
    eth_src: NEAR,
    vlan: None,
    ip: Addresses::V4 { src: [192, 0, 2, 1], dst: [192, 0, 2, 2] },
    tos: 0xb8,
    ttl: 33,
    vni: 0x01_0203,
};

/// The packet that an encapsulation makes of a frame, byte by byte.
pub(crate) fn vxlan(encap: &VxlanEncap, source_port: u16, frame: &[u8]) -> Vec<u8> {
    let length = (16 + frame.len()) as u16;
    let mut udp = [source_port.to_be_bytes(), 4789u16.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    udp.extend([8, 0, 0, 0]);
    udp.extend((encap.vni << 8).to_be_bytes());
    udp.extend(frame);
    let mut packet = [encap.eth_dst, encap.eth_src].concat();
    if let Some(tci) = encap.vlan {
        packet.extend([0x81, 0x00]);
        packet.extend(tci.to_be_bytes());
    }
    match encap.ip {
        Addresses::V4 { src, dst } => {
            let mut header = vec![0x45, encap.tos];
            header.extend((20 + length).to_be_bytes());
            header.extend([0, 0, 0x40, 0, encap.ttl, 17, 0, 0]);
            header.extend([src, dst].concat());
            let checksum = !sum(&[&header]);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet.extend([0x08, 0x00]);
            packet.extend(header);
        }
        Addresses::V6 { src, dst } => {
            packet.extend([0x86, 0xdd, 0x60 | encap.tos >> 4, encap.tos << 4, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([17, encap.ttl]);
            packet.extend([src, dst].concat());
        }
    }
    packet.extend(udp);
    packet
}

/// `eth / ipv4 / udp / vxlan vni is .. / end`
fn of_vni(vni: u32) -> [Item; 4] {
    let vni = Masked::new(Vxlan { vni }, Vxlan { vni: 0xff_ffff });
    [Item::Eth(Masked::any()), Item::Ipv4(Masked::any()), Item::Udp(Masked::any()), Item::Vxlan(vni)]
}

pub(crate) fn frames_go_into_tunnels_and_come_out(rig: &mut Rig) {
    frames_are_encapsulated_and_counted_by_their_own_length(rig);
    a_packet_that_is_longer_than_the_mtu_does_not_leave(rig);
    frames_are_decapsulated_by_what_stands_in_the_tunnel(rig);
    frames_go_from_one_tunnel_into_another(rig);
}

fn frames_are_encapsulated_and_counted_by_their_own_length(rig: &Rig) {
    let six = Addresses::V6 { src: [0x20; 16], dst: [0x21; 16] };
    for encap in [ENCAP, VxlanEncap { vlan: Some(0xa007), ip: six, ..ENCAP }] {
        let actions = [Action::Count, Action::VxlanEncap(encap), Action::RepresentedPort(rig.dev("p0"))];
        let rule = rig.rule("pf0vf0", &[Item::Eth(Masked::any())], &actions).unwrap();
        let mut ports = Vec::new();
        for payload in [&b"one"[..], &b"two"[..], &[7; 1400]] {
            let frame = plain(payload);
            rig.wire("pf0vf0").send(&frame).unwrap();
            let packet = rig.wire("p0").receive(PATIENCE).expect("it leaves");
            let at = packet.len() - frame.len() - 16;
            let port = u16::from_be_bytes([packet[at], packet[at + 1]]);
            assert_eq!(packet, vxlan(&encap, port, &frame));
            ports.push(port);
        }
        assert!(ports[0] >= 49152 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
        let count = rule.query_count().unwrap();
        let bytes = (plain(b"one").len() + plain(b"two").len() + plain(&[7; 1400]).len()) as u64;
        assert_eq!((count.packets, count.bytes), (Some(3), Some(bytes)));
    }
}

fn a_packet_that_is_longer_than_the_mtu_does_not_leave(rig: &Rig) {
    let actions = [Action::Count, Action::VxlanEncap(ENCAP), Action::RepresentedPort(rig.dev("p0"))];
    let rule = rig.rule("pf0vf0", &[Item::Eth(Masked::any())], &actions).unwrap();
    let long = plain(&[7; 1472]);
    assert_eq!(long.len(), 1514);
    let tx_errors = |name| rig.port(name).stats().unwrap().tx_errors;
    let before = tx_errors("p0");
    rig.wire("pf0vf0").send(&long).unwrap();
    assert_eq!(rig.wire("p0").receive(SILENCE), None);
    assert_eq!((tx_errors("p0") - before, tx_errors("pf0vf0")), (1, 0), "the output port's, once");
    rig.port("p0").set_mtu(1550).unwrap();
    rig.wire("pf0vf0").send(&long).unwrap();
    assert_eq!(rig.wire("p0").receive(PATIENCE).map(|packet| packet.len()), Some(1564));
    assert_eq!(rule.query_count().unwrap().packets, Some(2));
    // The longest packet there is.
    rig.port("p0").set_mtu(9216).unwrap();
    let longest = plain(&vec![7; 9166 - 28]);
    rig.wire("pf0vf0").send(&longest).unwrap();
    assert_eq!(rig.wire("p0").receive(PATIENCE).map(|packet| packet.len()), Some(9230));
    rig.port("p0").set_mtu(1500).unwrap();
}

fn frames_are_decapsulated_by_what_stands_in_the_tunnel(rig: &mut Rig) {
    let out = Action::RepresentedPort(rig.dev("pf0vf0"));
    let mac =
        Masked::new(Eth { dst: MAC_B, ..Default::default() }, Eth { dst: [0xff; 6], ..Default::default() });
    let inner = [Item::Eth(mac), Item::Ipv4(Masked::any()), Item::Udp(Masked::any())];
    let pattern = [&of_vni(ENCAP.vni)[..], &inner].concat();
    let actions = [
        Action::Count,
        Action::VxlanDecap,
        Action::SetIpv4Dst([10, 9, 9, 9]),
        Action::SetTpDst(5353),
        Action::DecTtl,
        out,
    ];
    let rule = rig.rule("p0", &pattern, &actions).unwrap();
    let packet = vxlan(&ENCAP, 50_000, &plain(b"an odd payload!"));
    rig.wire("p0").send(&packet).unwrap();
    let frame = rig.wire("pf0vf0").receive(PATIENCE).unwrap();
    assert!(checksums_hold(&frame));
    assert_eq!((&frame[26..34], &frame[36..38]), (&[10, 0, 0, 1, 10, 9, 9, 9][..], &[0x14, 0xe9][..]));
    assert_eq!((frame[22], &frame[..14], &frame[42..]), (63, &plain(b"")[..14], &b"an odd payload!"[..]));
    let count = rule.query_count().unwrap();
    assert_eq!((count.packets, count.bytes), (Some(1), Some(packet.len() as u64)));

    // Another VNI, another frame, another port, no tunnel at all: misses, whole.
    let mut other_frame = plain(b"x");
    other_frame[0] = 6;
    let mut other_port = packet.clone();
    other_port[36..38].copy_from_slice(&8472u16.to_be_bytes());
    for missed in [
        vxlan(&VxlanEncap { vni: 7, ..ENCAP }, 50_000, &plain(b"x")),
        vxlan(&ENCAP, 50_000, &other_frame),
        other_port,
        plain(b"x"),
    ] {
        rig.wire("p0").send(&missed).unwrap();
        assert_eq!(rig.missed("p0", PATIENCE), Some(missed));
    }
}

fn frames_go_from_one_tunnel_into_another(rig: &Rig) {
    let next = VxlanEncap { vlan: Some(9), vni: 8, ..ENCAP };
    let actions = [
        Action::Count,
        Action::VxlanDecap,
        Action::OfPushVlan { ether_type: 0x8100 },
        Action::OfSetVlanVid(5),
        Action::VxlanEncap(next),
        Action::RepresentedPort(rig.dev("pf0vf1")),
    ];
    let tos = |tos| Ipv4 { tos, ..Ipv4::default() };
    let ports = |dst_port| Udp { dst_port, ..Udp::default() };
    let mut pattern = of_vni(7).to_vec();
    // One bit of the traffic class alone: expedited forwarding has it.
    pattern[1] = Item::Ipv4(Masked::new(tos(0x20), tos(0x20)));
    pattern[2] = Item::Udp(Masked::new(ports(4789), ports(0xffff)));
    let _rule = rig.rule("p0", &pattern, &actions).unwrap();
    let seven = VxlanEncap { vni: 7, ..ENCAP };
    rig.wire("p0").send(&vxlan(&seven, 50_000, &plain(b"x"))).unwrap();
    let packet = rig.wire("pf0vf1").receive(PATIENCE).unwrap();
    let tagged = ethernet(&[5], 0x0800, &plain(b"x")[14..]);
    let port = u16::from_be_bytes([packet[38], packet[39]]);
    assert_eq!(packet, vxlan(&next, port, &tagged));
    assert_eq!(rig.wire("pf0vf1").receive(Duration::ZERO), None);
}
