//! The decoder against a naive reader of rte_flow.h that walks the headers of a packet item by item,
//! and against packets that others hold to be hits and misses.

use dpdk_sys as sys;
use nic_flow::PortId;
use nic_flow::extract::extract;
use nic_flow::field::Field;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::items;
use super::raw::{Item, Triple};

mod arbitrary;
mod encap;
mod refusals;

/// A packet of the kind that the generator makes, and what the naive reader knows of it.
#[derive(Debug, Clone)]
struct Packet {
    tags: Vec<(u16, u16)>,
    eth_type: u16,
    /// tos, fragment field or presence, ttl, protocol, last octets of the addresses.
    ip: (u8, u16, u8, u8, u8, u8),
    ports: (u16, u16),
    flags: u8,
    /// The VNI and the frame behind the UDP header.
    tunnel: Option<(u32, Box<Packet>)>,
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [MAC, MAC].concat();
        for (tpid, tci) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        bytes.extend(self.eth_type.to_be_bytes());
        let l4 = self.layer4();
        let (tos, fragment, ttl, proto, src, dst) = self.ip;
        match self.eth_type {
            0x0800 => {
                bytes.extend([0x45, tos]);
                bytes.extend((20 + l4.len() as u16).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(fragment.to_be_bytes());
                bytes.extend([ttl, proto, 0, 0, 10, 0, 0, src, 10, 0, 0, dst]);
                bytes.extend(l4);
            }
            0x86dd => {
                bytes.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
                bytes.extend((l4.len() as u16).to_be_bytes());
                bytes.extend([proto, ttl]);
                for last in [src, dst] {
                    bytes.extend([0; 15]);
                    bytes.push(last);
                }
                bytes.extend(l4);
            }
            _ => bytes.extend([0x5a; 46]),
        }
        bytes
    }

    fn layer4(&self) -> Vec<u8> {
        let ports = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        match self.ip.3 {
            6 => [&ports[..], &[0; 8], &[0x50, self.flags], &[0; 6]].concat(),
            17 => {
                let payload = self.tunnel.as_ref().map_or(vec![0; 8], |(vni, frame)| {
                    [&[8, 0, 0, 0], &(vni << 8).to_be_bytes()[..], &frame.bytes()].concat()
                });
                let length = (8 + payload.len() as u16).to_be_bytes();
                [&ports[..], &length, &[0; 2], &payload].concat()
            }
            _ => vec![self.ports.0 as u8, self.ports.1 as u8, 0, 0, 0, 0, 0, 0],
        }
    }

    /// The type field of each header in front of layer 3, outermost first.
    fn type_at(&self, depth: usize) -> u16 {
        self.tags.get(depth).map_or(self.eth_type, |tag| tag.0)
    }

    fn is_tag(&self, depth: usize) -> bool {
        depth < self.tags.len()
    }

    /// What lies behind a third tag is not parsed.
    fn layer3(&self) -> Option<u16> {
        (self.tags.len() < 3).then_some(self.eth_type)
    }

    fn layer4_of(&self, proto: u8) -> bool {
        let later = self.eth_type == 0x0800 && self.ip.1 & 0x1fff != 0;
        self.ip.3 == proto && !later
    }

    /// Only a whole datagram has a tunnel in it.
    fn tunnel(&self) -> Option<&(u32, Box<Packet>)> {
        let whole = self.eth_type != 0x0800 || self.ip.1 & 0x3fff == 0;
        self.tunnel.as_ref().filter(|_| whole && self.layer4_of(17) && self.ports.1 == 4789)
    }
}

fn be(host: u16) -> u16 {
    host.to_be()
}

/// True if the values agree in the bits of the mask.
fn same(a: impl Into<u64>, b: impl Into<u64>, mask: impl Into<u64>) -> bool {
    (a.into() ^ b.into()) & mask.into() == 0
}

/// Whether a packet matches, read item by item off the packet's headers.
fn naive(items: &[Item], packet: &Packet) -> bool {
    let (mut tags, mut packet) = (0, packet);
    items.iter().all(|item| {
        if let Item::Vxlan(Triple { spec, mask, .. }) = item {
            let Some((vni, frame)) = packet.tunnel() else { return false };
            (tags, packet) = (0, frame);
            let number = |octets: [u8; 3]| u32::from_be_bytes([0, octets[0], octets[1], octets[2]]);
            return same(*vni, number(spec.vni), number(mask.vni)) && same(8u8, spec.flags, mask.flags);
        }
        naive_of_frame(item, packet, &mut tags)
    })
}

/// The same for an item about the frame that `packet` is. `tags` are the VLAN items before it.
fn naive_of_frame(item: &Item, packet: &Packet, tags: &mut usize) -> bool {
    let (tos, fragment, ttl, proto, src, dst) = packet.ip;
    match item {
        Item::Eth(Triple { spec, mask, .. }) => {
            same(be(packet.type_at(0)), spec.ether_type, mask.ether_type)
                && same(packet.is_tag(0), spec.has_vlan, mask.has_vlan)
                && (0..6).all(|i| same(MAC[i], spec.dst[i], mask.dst[i]))
        }
        Item::Vlan(Triple { spec, mask, .. }) => {
            let Some(&(_, tci)) = packet.tags.get(*tags) else { return false };
            *tags += 1;
            same(be(tci), spec.tci, mask.tci)
                && same(be(packet.type_at(*tags)), spec.inner_type, mask.inner_type)
                && same(packet.is_tag(*tags), spec.has_more_vlan, mask.has_more_vlan)
        }
        Item::Ipv4(Triple { spec, mask, .. }) => {
            packet.layer3() == Some(0x0800)
                && same(tos, spec.tos, mask.tos)
                && same(be(fragment), spec.fragment_offset, mask.fragment_offset)
                && same(ttl, spec.ttl, mask.ttl)
                && same(proto, spec.proto, mask.proto)
                && same(src, spec.src[3], mask.src[3])
                && same(dst, spec.dst[3], mask.dst[3])
        }
        Item::Ipv6(Triple { spec, mask, .. }) => {
            packet.layer3() == Some(0x86dd)
                && same(u32::from(tos) << 20, u32::from_be(spec.vtc_flow), u32::from_be(mask.vtc_flow))
                && same(ttl, spec.hop_limits, mask.hop_limits)
                && same(proto, spec.proto, mask.proto)
                && same(src, spec.src[15], mask.src[15])
                && same(dst, spec.dst[15], mask.dst[15])
        }
        Item::Tcp(Triple { spec, mask, .. }) => {
            packet.layer4_of(6)
                && same(be(packet.ports.0), spec.src_port, mask.src_port)
                && same(be(packet.ports.1), spec.dst_port, mask.dst_port)
                && same(packet.flags, spec.flags, mask.flags)
        }
        Item::Udp(Triple { spec, mask, .. }) => {
            packet.layer4_of(17)
                && same(be(packet.ports.0), spec.src_port, mask.src_port)
                && same(be(packet.ports.1), spec.dst_port, mask.dst_port)
        }
        Item::Icmp(Triple { spec, mask, .. }) => {
            packet.layer4_of(1)
                && same(packet.ports.0 as u8, spec.type_, mask.type_)
                && same(packet.ports.1 as u8, spec.code, mask.code)
        }
        _ => unreachable!("the generator makes no such item"),
    }
}

fn types() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0x0800u16, 0x86dd, 0x88b5, 0x8100])
}

prop_compose! {
    fn packet()(
        tags in prop::collection::vec((prop::sample::select(vec![0x8100u16, 0x88a8]), 0u16..4), 0..4),
        eth_type in prop::sample::select(vec![0x0800u16, 0x86dd, 0x88b5]),
        fragment in prop::sample::select(vec![0u16, 0, 0, 0x2000, 0x2005, 7]),
        (tos, ttl, src, dst) in (0u8..3, 0u8..3, 0u8..3, 0u8..3),
        proto in prop::sample::select(vec![1u8, 6, 17]),
        ports in (0u16..3, 0u16..3),
        flags in 0u8..4,
    ) -> Packet {
        Packet { tags, eth_type, ip: (tos, fragment, ttl, proto, src, dst), ports, flags, tunnel: None }
    }
}

prop_compose! {
    /// Most of them are VXLAN packets.
    fn tunnelled()(
        outer in packet(), frame in packet(), vni in 0u32..3,
        proto in prop::sample::select(vec![17u8, 17, 17, 6]),
        port in prop::sample::select(vec![4789u16, 4789, 4789, 4790]),
        fragment in prop::sample::select(vec![0u16, 0, 0x4000, 0x2000]),
    ) -> Packet {
        let (tos, _, ttl, _, src, dst) = outer.ip;
        let ip = (tos, fragment, ttl, proto, src, dst);
        Packet { ip, ports: (outer.ports.0, port), tunnel: Some((vni, Box::new(frame))), ..outer }
    }
}

/// Nothing, or a mask of one bit or of all.
fn mask8() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0u8, 0, 1, 2, 0xff])
}

fn mask16() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0u16, 0, 1, 0x0fff, 0xffff]).prop_map(be)
}

fn masked<T>(spec: T, mask: T) -> Triple<T> {
    Triple { spec, last: None, mask }
}

prop_compose! {
    fn eth()(
        ether_type in types(), type_mask in prop::sample::select(vec![0u16, 0xffff]),
        has_vlan in 0u8..2, vlan_mask in prop::sample::select(vec![0u8, 0, 1]),
        dst in 0u8..3, dst_mask in mask8(),
    ) -> Item {
        let item = |last, ether_type, has_vlan: u8| sys::shim_flow_item_eth {
            dst: [0, 0, 0, 0, 0, last], ether_type, has_vlan: has_vlan.into(), ..Default::default()
        };
        Item::Eth(masked(item(dst, be(ether_type), has_vlan), item(dst_mask, type_mask, vlan_mask)))
    }
}

prop_compose! {
    fn vlan()(
        tci in 0u16..4, tci_mask in mask16(),
        inner_type in types(), type_mask in prop::sample::select(vec![0u16, 0, 0xffff]),
        has_more_vlan in 0u32..2, more_mask in prop::sample::select(vec![0u32, 0, 1]),
    ) -> Item {
        let item = |tci, inner_type, has_more_vlan| sys::shim_flow_item_vlan { tci, inner_type, has_more_vlan };
        Item::Vlan(masked(item(be(tci), be(inner_type), has_more_vlan), item(tci_mask, type_mask, more_mask)))
    }
}

prop_compose! {
    fn ipv4()(
        spec in (0u8..3, 0u8..3, prop::sample::select(vec![1u8, 6, 17]), 0u8..3, 0u8..3),
        mask in (mask8(), mask8(), mask8(), mask8(), mask8()),
        fragment in prop::sample::select(vec![(0u16, 0u16), (0, 0x3fff), (0x2000, 0x3fff), (0, 0x1fff), (0, 0)]),
    ) -> Item {
        let item = |(tos, ttl, proto, src, dst): (u8, u8, u8, u8, u8), fragment_offset| sys::shim_flow_item_ipv4 {
            tos, ttl, proto, fragment_offset, src: [0, 0, 0, src], dst: [0, 0, 0, dst], ..Default::default()
        };
        Item::Ipv4(masked(item(spec, be(fragment.0)), item(mask, be(fragment.1))))
    }
}

prop_compose! {
    fn ipv6()(
        spec in (0u8..3, 0u8..3, prop::sample::select(vec![1u8, 6, 17]), 0u8..3, 0u8..3),
        mask in (mask8(), mask8(), mask8(), mask8(), mask8()),
    ) -> Item {
        let item = |(tos, hop_limits, proto, src, dst): (u8, u8, u8, u8, u8)| {
            let last = |octet| { let mut address = [0; 16]; address[15] = octet; address };
            sys::shim_flow_item_ipv6 {
                vtc_flow: (u32::from(tos) << 20).to_be(), hop_limits, proto,
                src: last(src), dst: last(dst), ..Default::default()
            }
        };
        Item::Ipv6(masked(item(spec), item(mask)))
    }
}

prop_compose! {
    fn layer4()(
        kind in 0u8..3,
        spec in (0u16..3, 0u16..3, 0u8..4),
        mask in (mask16(), mask16(), mask8()),
    ) -> Item {
        match kind {
            0 => {
                let item = |src_port, dst_port, flags| sys::shim_flow_item_tcp {
                    src_port, dst_port, flags, ..Default::default()
                };
                Item::Tcp(masked(item(be(spec.0), be(spec.1), spec.2), item(mask.0, mask.1, mask.2)))
            }
            1 => {
                let item = |src_port, dst_port| sys::shim_flow_item_udp { src_port, dst_port, ..Default::default() };
                Item::Udp(masked(item(be(spec.0), be(spec.1)), item(mask.0, mask.1)))
            }
            _ => {
                let item = |type_, code| sys::shim_flow_item_icmp { type_, code, ..Default::default() };
                Item::Icmp(masked(item(spec.0 as u8, spec.1 as u8), item(mask.2, mask.2)))
            }
        }
    }
}

fn pattern() -> impl Strategy<Value = Vec<Item>> {
    let layer3 = prop_oneof![1 => Just(None), 3 => ipv4().prop_map(Some), 2 => ipv6().prop_map(Some)];
    (eth(), prop::collection::vec(vlan(), 0..3), layer3, prop::option::of(layer4())).prop_map(
        |(eth, vlans, layer3, layer4)| {
            let layer4 = layer4.filter(|_| layer3.is_some());
            [eth].into_iter().chain(vlans).chain(layer3).chain(layer4).collect()
        },
    )
}

prop_compose! {
    fn udp_to_tunnel()(
        port in prop::sample::select(vec![4789u16, 4789, 4789, 4790]),
        port_mask in prop::sample::select(vec![0u16, 1, 0xfff0, 0xffff]),
        vni in 0u8..3, vni_mask in mask8(),
        flags_mask in prop::sample::select(vec![0u8, 8]),
    ) -> [Item; 2] {
        let udp = |dst_port: u16| sys::shim_flow_item_udp { dst_port: be(dst_port), ..Default::default() };
        let vxlan = |flags, last| sys::shim_flow_item_vxlan { flags, vni: [0, 0, last], ..Default::default() };
        [
            Item::Udp(masked(udp(port), udp(port_mask))),
            Item::Vxlan(masked(vxlan(8, vni), vxlan(flags_mask, vni_mask))),
        ]
    }
}

fn pattern_through_tunnel() -> impl Strategy<Value = Vec<Item>> {
    let any_eth = Item::Eth(masked(Default::default(), Default::default()));
    let any_ipv4 = Item::Ipv4(masked(Default::default(), Default::default()));
    let eth = prop_oneof![3 => Just(any_eth), 1 => eth()];
    let layer3 = prop_oneof![4 => Just(any_ipv4), 1 => ipv4(), 1 => ipv6()];
    (eth, layer3, udp_to_tunnel(), prop::option::weighted(0.8, pattern())).prop_map(
        |(eth, layer3, tunnel, inner)| {
            [eth, layer3].into_iter().chain(tunnel).chain(inner.into_iter().flatten()).collect()
        },
    )
}

/// Compares the decoder with the naive reader: how many packets matched, did not, had no rule.
fn compare(
    patterns: &impl Strategy<Value = Vec<Item>>,
    packets: &impl Strategy<Value = Packet>,
) -> (u32, u32, u32) {
    let port = PortId::uplink(0).unwrap();
    let (mut hits, mut misses, mut refused) = (0, 0, 0);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    for _ in 0..20_000 {
        let items = patterns.new_tree(&mut runner).unwrap().current();
        let packet = packets.new_tree(&mut runner).unwrap().current();
        let expected = naive(&items, &packet);
        let Ok(decoded) = items::decode(&items, port, &|_| None) else {
            refused += 1;
            continue;
        };
        let found = decoded.matches.matches(&extract(&packet.bytes(), port));
        assert_eq!(found, expected, "{items:#?}\n{packet:#?}\n{:?}", decoded.matches);
        *(if found { &mut hits } else { &mut misses }) += 1;
    }
    (hits, misses, refused)
}

#[test]
fn a_pattern_matches_the_packets_that_its_items_describe() {
    let (hits, misses, refused) = compare(&pattern(), &packet());
    assert!(hits > 200 && misses > 500 && refused > 500, "{hits} hits, {misses} misses, {refused} refused");
}

#[test]
fn a_pattern_with_a_tunnel_matches_the_packets_and_the_frames_in_them() {
    let (hits, misses, refused) = compare(&pattern_through_tunnel(), &tunnelled());
    assert!(hits > 50 && misses > 500 && refused > 500, "{hits} hits, {misses} misses, {refused} refused");
}

#[test]
fn each_single_bit_of_the_type_of_service_and_of_the_traffic_class_is_matched() {
    let port = PortId::uplink(0).unwrap();
    for bit in (0..8).map(|n| 1u8 << n) {
        for value in [0, bit] {
            let v4 = |tos| sys::shim_flow_item_ipv4 { tos, ..Default::default() };
            let v6 = |class: u8| sys::shim_flow_item_ipv6 {
                vtc_flow: (u32::from(class) << 20).to_be(),
                ..Default::default()
            };
            for item in [Item::Ipv4(masked(v4(value), v4(bit))), Item::Ipv6(masked(v6(value), v6(bit)))] {
                let matches = items::decode(&[item], port, &|_| None).unwrap().matches;
                assert_eq!(matches.mask().get(Field::IpTos), bit.into());
                assert_eq!(matches.key().get(Field::IpTos), value.into());
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused_and_matches_nothing() {
    let port = PortId::uplink(0).unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut contradictions = 0;
    for _ in 0..10_000 {
        let tree = (pattern(), packet()).new_tree(&mut runner).unwrap();
        let (items, packet) = tree.current();
        let Err(fault) = items::decode(&items, port, &|_| None) else { continue };
        if fault.message.contains("contradicts") {
            contradictions += 1;
            assert!(!naive(&items, &packet), "{items:#?}\n{packet:#?}");
        }
    }
    assert!(contradictions > 100, "{contradictions}");
}
