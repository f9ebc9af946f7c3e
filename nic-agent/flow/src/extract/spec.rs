//! Packets for the tests, as values: what they look like as bytes and as a key, computed the long way.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use core::net::{Ipv4Addr, Ipv6Addr};

use nic_wire::checksum::{Pseudo, Sum};
use nic_wire::{EtherType, IpProto, MacAddr, arp, ethernet, ipv4, ipv6, tcp, udp};
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use crate::field::{Field, Frag, L3, L4, TUNNELLED, Tunnel};
use crate::key::{FlowKey, mac_to_bits};
use crate::port::PortId;
use crate::seam::ChecksumState;

#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) dst: MacAddr,
    pub(crate) src: MacAddr,
    /// TPID and TCI, outer first.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) body: Body,
    pub(crate) padding: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Llc(Vec<u8>),
    Other(u16, Vec<u8>),
    Arp(arp::Repr),
    V4(V4, Datagram),
    V6(V6, Datagram),
}

#[derive(Debug, Clone)]
pub(crate) struct V4 {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) ident: u16,
    /// Whole words.
    pub(crate) options: Vec<[u8; 4]>,
}

#[derive(Debug, Clone)]
pub(crate) struct V6 {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) class: u8,
    pub(crate) label: u32,
    pub(crate) hops: u8,
    pub(crate) options_header: bool,
    /// A routing header that leads on to this address.
    pub(crate) route: Option<Ipv6Addr>,
}

/// What an IP packet carries.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
    pub(crate) fragment: Option<Fragment>,
}

#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Tcp(tcp::Repr, Vec<[u8; 4]>),
    Udp {
        src: u16,
        dst: u16,
        checksum: bool,
    },
    /// UDP with a frame in it.
    Vxlan(Vxlan),
    /// ICMP or ICMPv6, by the family.
    Icmp {
        kind: u8,
        code: u8,
        word: u32,
    },
    Other(u8),
}

/// A tunnel if `dst` is its port.
#[derive(Debug, Clone)]
pub(crate) struct Vxlan {
    pub(crate) src: u16,
    pub(crate) dst: u16,
    pub(crate) checksum: bool,
    pub(crate) flags: [u8; 4],
    pub(crate) vni: u32,
    pub(crate) reserved: u8,
    /// The checksums in it are complete.
    pub(crate) inner: Box<Spec>,
}

#[derive(Debug, Clone)]
pub(crate) enum Fragment {
    /// The first, without so many bytes of the payload.
    First(usize),
    /// A later one at this offset: the payload alone, of which more follows or not.
    Later(u16, bool),
}

impl Spec {
    pub(crate) fn bytes(&self, state: ChecksumState) -> Vec<u8> {
        let (ethertype, body) = match &self.body {
            Body::Llc(bytes) => (bytes.len() as u16, bytes.clone()),
            Body::Other(ethertype, bytes) => (*ethertype, bytes.clone()),
            Body::Arp(repr) => {
                let mut bytes = vec![0; arp::HEADER_LEN];
                repr.emit(&mut arp::Packet::new_unchecked(&mut bytes));
                (EtherType::ARP.0, bytes)
            }
            Body::V4(ip, datagram) => (EtherType::IPV4.0, ip.bytes(datagram, state)),
            Body::V6(ip, datagram) => (EtherType::IPV6.0, ip.bytes(datagram, state)),
        };
        let first = self.tags.first().map_or(ethertype, |tag| tag.0);
        let mut frame = vec![0; ethernet::HEADER_LEN];
        ethernet::Repr { dst: self.dst, src: self.src, ethertype: EtherType(first) }
            .emit(&mut ethernet::Packet::new_unchecked(&mut frame));
        for (index, tag) in self.tags.iter().enumerate() {
            let next = self.tags.get(index + 1).map_or(ethertype, |tag| tag.0);
            frame.extend(tag.1.to_be_bytes());
            frame.extend(next.to_be_bytes());
        }
        frame.extend(body);
        frame.extend(vec![0; self.padding]);
        frame
    }

    pub(crate) fn key(&self, in_port: PortId) -> FlowKey {
        let mut key = FlowKey::ZERO;
        let mut set = |field, value: u128| key.set(field, value);
        set(Field::InPort, in_port.bits().into());
        set(Field::EthDst, mac_to_bits(self.dst));
        set(Field::EthSrc, mac_to_bits(self.src));
        set(Field::VlanCount, self.tags.len().min(3) as u128);
        if let Some(&(tpid, tci)) = self.tags.first() {
            set(Field::VlanTpid, tpid.into());
            set(Field::VlanTci, tci.into());
        }
        if let Some(&(tpid, tci)) = self.tags.get(1) {
            set(Field::InnerVlanTpid, tpid.into());
            set(Field::InnerVlanTci, tci.into());
        }
        if let Some(&(tpid, _)) = self.tags.get(2) {
            set(Field::EthType, tpid.into());
            return key;
        }
        match &self.body {
            Body::Llc(_) => set(Field::EthType, 0x05ff),
            Body::Other(ethertype, _) => set(Field::EthType, (*ethertype).into()),
            Body::Arp(repr) => {
                set(Field::EthType, 0x0806);
                set(Field::L3, L3::Ok as u128);
                let operation = repr.operation.0;
                set(Field::IpProto, if operation > 255 { 0 } else { operation.into() });
                set(Field::ArpSha, mac_to_bits(repr.sender_mac));
                set(Field::ArpTha, mac_to_bits(repr.target_mac));
                set(Field::IpSrc, u32::from(repr.sender_ip).into());
                set(Field::IpDst, u32::from(repr.target_ip).into());
            }
            Body::V4(ip, datagram) => {
                set(Field::EthType, 0x0800);
                set(Field::IpTos, ip.tos.into());
                set(Field::IpTtl, ip.ttl.into());
                set(Field::IpSrc, u32::from(ip.src).into());
                set(Field::IpDst, u32::from(ip.dst).into());
                datagram.key(&mut key, IpProto::ICMPV4);
            }
            Body::V6(ip, datagram) => {
                set(Field::EthType, 0x86dd);
                set(Field::IpTos, ip.class.into());
                set(Field::IpTtl, ip.hops.into());
                set(Field::IpSrc, ip.src.into());
                set(Field::IpDst, ip.dst.into());
                datagram.key(&mut key, IpProto::ICMPV6);
            }
        }
        key
    }
}

impl V4 {
    fn bytes(&self, datagram: &Datagram, state: ChecksumState) -> Vec<u8> {
        let pseudo = Pseudo::V4 { src: self.src, dst: self.dst };
        let payload = datagram.bytes(pseudo, state);
        let header_len = ipv4::HEADER_LEN + self.options.len() * 4;
        let mut bytes = vec![0; header_len];
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes);
        let repr = ipv4::Repr {
            src: self.src,
            dst: self.dst,
            protocol: datagram.transport.proto(IpProto::ICMPV4),
            ttl: self.ttl,
            tos: self.tos,
            ident: self.ident,
            dont_fragment: self.ident.is_multiple_of(2) && datagram.fragment.is_none(),
            more_fragments: datagram.more(),
            fragment_offset: datagram.offset(),
            payload_len: payload.len() as u16,
        };
        repr.emit(&mut packet);
        packet.set_version_and_header_len(header_len);
        packet.set_total_len((header_len + payload.len()) as u16);
        packet.options_mut().copy_from_slice(self.options.as_flattened());
        packet.fill_checksum();
        bytes.extend(payload);
        bytes
    }
}

impl V6 {
    fn bytes(&self, datagram: &Datagram, state: ChecksumState) -> Vec<u8> {
        let dst = self.route.unwrap_or(self.dst);
        let transport = datagram.bytes(Pseudo::V6 { src: self.src, dst }, state);
        // Built from the back, so that each header knows what follows it.
        let mut next = datagram.transport.proto(IpProto::ICMPV6);
        let mut payload = transport;
        let mut put = |kind: IpProto, mut header: Vec<u8>| {
            header[0] = next.0;
            header.extend(&payload);
            payload = header;
            next = kind;
        };
        if datagram.fragment.is_some() {
            let [high, low] = (datagram.offset() | u16::from(datagram.more())).to_be_bytes();
            put(IpProto::FRAGMENT, vec![0, 0, high, low, 1, 2, 3, 4]);
        }
        if let Some(last) = self.route {
            let mut header = vec![0, 2, 0, 1, 0, 0, 0, 0];
            header.extend(last.octets());
            put(IpProto::ROUTING, header);
        }
        if self.options_header {
            put(IpProto::HOP_BY_HOP, vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut bytes = vec![0; ipv6::HEADER_LEN];
        ipv6::Repr {
            src: self.src,
            dst: self.dst,
            next_header: next,
            hop_limit: self.hops,
            traffic_class: self.class,
            flow_label: self.label,
            payload_len: payload.len() as u16,
        }
        .emit(&mut ipv6::Packet::new_unchecked(&mut bytes));
        bytes.extend(payload);
        bytes
    }
}

impl Datagram {
    fn more(&self) -> bool {
        matches!(self.fragment, Some(Fragment::First(_) | Fragment::Later(_, true)))
    }

    fn offset(&self) -> u16 {
        match self.fragment {
            Some(Fragment::Later(offset, _)) => offset,
            _ => 0,
        }
    }

    fn bytes(&self, pseudo: Pseudo, state: ChecksumState) -> Vec<u8> {
        if let Some(Fragment::Later(..)) = self.fragment {
            return self.payload.clone();
        }
        let mut bytes = self.transport.header(self.payload.len());
        bytes.extend(&self.payload);
        let (proto, at) = match &self.transport {
            Transport::Tcp(..) => (IpProto::TCP, 16),
            Transport::Udp { checksum: true, .. } | Transport::Vxlan(Vxlan { checksum: true, .. }) => {
                (IpProto::UDP, 6)
            }
            Transport::Icmp { .. } => (IpProto::ICMPV6, 2),
            Transport::Udp { .. } | Transport::Vxlan(_) | Transport::Other(_) => return bytes,
        };
        let v4 = matches!(pseudo, Pseudo::V4 { .. });
        let covered =
            if v4 && proto == IpProto::ICMPV6 { Sum::new() } else { pseudo.sum(proto, bytes.len()) };
        let sum = match state {
            ChecksumState::Complete => covered.bytes(&bytes).checksum(),
            ChecksumState::Partial => covered.folded(),
        };
        let sum = if proto == IpProto::UDP && sum == 0 { 0xffff } else { sum };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        if let Some(Fragment::First(cut)) = self.fragment {
            bytes.truncate(bytes.len() - cut.min(self.payload.len()));
        }
        bytes
    }

    fn key(&self, key: &mut FlowKey, icmp: IpProto) {
        key.set(Field::L3, L3::Ok as u128);
        key.set(Field::IpProto, self.transport.proto(icmp).0.into());
        let frag = match self.fragment {
            None => Frag::No,
            Some(Fragment::First(_)) => Frag::First,
            Some(Fragment::Later(..)) => Frag::Later,
        };
        key.set(Field::IpFrag, frag as u128);
        if frag == Frag::Later {
            key.set(Field::L4, L4::LaterFragment as u128);
            return;
        }
        let (src, dst) = match &self.transport {
            Transport::Tcp(repr, _) => {
                key.set(Field::TcpFlags, (repr.flags.0 & 0xff).into());
                (repr.src_port, repr.dst_port)
            }
            Transport::Udp { src, dst, .. } => {
                // What is generated for this port is no tunnel: see `datagram`.
                if *dst == 4789 && frag == Frag::No {
                    key.set(Field::Tunnel, Tunnel::Malformed as u128);
                }
                (*src, *dst)
            }
            Transport::Vxlan(tunnel) => {
                if tunnel.dst == 4789 && frag == Frag::No {
                    tunnel.key(key);
                }
                (tunnel.src, tunnel.dst)
            }
            Transport::Icmp { kind, code, .. } => ((*kind).into(), (*code).into()),
            Transport::Other(_) => return,
        };
        key.set(Field::L4, L4::Ok as u128);
        key.set(Field::L4Src, src.into());
        key.set(Field::L4Dst, dst.into());
    }
}

impl Vxlan {
    fn key(&self, key: &mut FlowKey) {
        if self.flags[0] & 0x08 == 0 {
            key.set(Field::Tunnel, Tunnel::Malformed as u128);
            return;
        }
        key.set(Field::Tunnel, Tunnel::Vxlan as u128);
        key.set(Field::Vni, self.vni.into());
        let inner = self.inner.key(PortId::from_bits(0));
        for &(plain, tunnelled) in TUNNELLED {
            key.set(tunnelled, inner.get(plain));
        }
    }
}

impl Transport {
    fn proto(&self, icmp: IpProto) -> IpProto {
        match *self {
            Transport::Tcp(..) => IpProto::TCP,
            Transport::Udp { .. } | Transport::Vxlan(_) => IpProto::UDP,
            Transport::Icmp { .. } => icmp,
            Transport::Other(proto) => IpProto(proto),
        }
    }

    fn header(&self, payload_len: usize) -> Vec<u8> {
        match self {
            Transport::Tcp(repr, options) => {
                let length = tcp::HEADER_LEN + options.len() * 4;
                let mut bytes = vec![0; length];
                let mut packet = tcp::Packet::new_unchecked(&mut bytes);
                repr.emit(&mut packet);
                packet.set_header_len_and_flags(length, repr.flags);
                packet.options_mut().copy_from_slice(options.as_flattened());
                bytes
            }
            Transport::Udp { src, dst, .. } => {
                let mut bytes = vec![0; udp::HEADER_LEN];
                udp::Repr { src_port: *src, dst_port: *dst, payload_len: payload_len as u16 }
                    .emit(&mut udp::Packet::new_unchecked(&mut bytes));
                bytes
            }
            Transport::Vxlan(Vxlan { src, dst, flags, vni, reserved, inner, .. }) => {
                let mut payload = flags.to_vec();
                payload.extend((vni << 8 | u32::from(*reserved)).to_be_bytes());
                payload.extend(inner.bytes(ChecksumState::Complete));
                let mut bytes = Transport::Udp { src: *src, dst: *dst, checksum: false }
                    .header(payload.len() + payload_len);
                bytes.extend(payload);
                bytes
            }
            Transport::Icmp { kind, code, word } => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(word.to_be_bytes());
                bytes
            }
            Transport::Other(_) => Vec::new(),
        }
    }
}

/// Header options: up to ten words.
fn words() -> impl Strategy<Value = Vec<[u8; 4]>> {
    vec_of(any::<[u8; 4]>(), 0..=10)
}

fn transport() -> impl Strategy<Value = Transport> {
    let tcp = (any::<[u16; 4]>(), any::<[u32; 2]>(), 0u16..0x1000, words()).prop_map(
        |([src_port, dst_port, window, urgent], [seq, ack], flags, options)| {
            let flags = tcp::Flags(flags);
            Transport::Tcp(tcp::Repr { src_port, dst_port, seq, ack, flags, window, urgent }, options)
        },
    );
    // Neighbour messages would need a target address; they have golden packets.
    let kind = any::<u8>().prop_filter("no neighbour message", |kind| !matches!(kind, 135 | 136));
    prop_oneof![
        tcp,
        (any::<u16>(), prop_oneof![9 => any::<u16>(), 1 => Just(4789)], prop::bool::weighted(0.8))
            .prop_map(|(src, dst, checksum)| Transport::Udp { src, dst, checksum }),
        (kind, any::<u8>(), any::<u32>()).prop_map(|(kind, code, word)| Transport::Icmp { kind, code, word }),
        prop::sample::select(vec![2u8, 47, 50, 59, 132]).prop_map(Transport::Other),
    ]
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let fragment = prop_oneof![
        4 => Just(None),
        1 => (0usize..40).prop_map(|cut| Some(Fragment::First(cut))),
        1 => (1u16..0x2000, any::<bool>()).prop_map(|(at, more)| Some(Fragment::Later(at << 3, more))),
    ];
    (transport(), vec_of(any::<u8>(), 0..50), fragment).prop_map(|(transport, mut payload, fragment)| {
        if let (Transport::Udp { dst: 4789, .. }, Some(flags)) = (&transport, payload.first_mut()) {
            *flags &= !0x08;
        }
        Datagram { transport, payload, fragment }
    })
}

fn body() -> impl Strategy<Value = Body> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<[u8; 2]>(), any::<u16>(), words()).prop_map(
        |(src, dst, [tos, ttl], ident, options)| V4 {
            src: src.into(),
            dst: dst.into(),
            tos,
            ttl,
            ident,
            options,
        },
    );
    let v6 = (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<[u8; 2]>(),
        0u32..0x10_0000,
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, any::<[u8; 16]>()),
    )
        .prop_map(|(src, dst, [class, hops], label, options_header, route)| V6 {
            src: src.into(),
            dst: dst.into(),
            class,
            label,
            hops,
            options_header,
            route: route.map(Ipv6Addr::from),
        });
    let arp = (0u16..300, any::<[u8; 6]>(), any::<[u8; 4]>(), any::<[u8; 6]>(), any::<[u8; 4]>()).prop_map(
        |(operation, sender_mac, sender_ip, target_mac, target_ip)| arp::Repr {
            operation: arp::Operation(operation),
            sender_mac: MacAddr(sender_mac),
            sender_ip: sender_ip.into(),
            target_mac: MacAddr(target_mac),
            target_ip: target_ip.into(),
        },
    );
    prop_oneof![
        1 => vec_of(any::<u8>(), 0..60).prop_map(Body::Llc),
        1 => (prop::sample::select(vec![0x0600u16, 0x8847, 0x88cc, 0xffff]), vec_of(any::<u8>(), 0..60))
            .prop_map(|(ethertype, bytes)| Body::Other(ethertype, bytes)),
        2 => arp.prop_map(Body::Arp),
        8 => (v4, datagram()).prop_map(|(ip, datagram)| Body::V4(ip, datagram)),
        8 => (v6, datagram()).prop_map(|(ip, datagram)| Body::V6(ip, datagram)),
    ]
}

/// Packets without a tunnel.
fn plain(max_tags: usize) -> impl Strategy<Value = Spec> {
    let tag = (prop::sample::select(vec![0x8100u16, 0x88a8]), any::<u16>());
    (any::<[u8; 6]>(), any::<[u8; 6]>(), vec_of(tag, 0..=max_tags), body(), 0usize..12).prop_map(
        |(dst, src, tags, body, padding)| Spec { dst: MacAddr(dst), src: MacAddr(src), tags, body, padding },
    )
}

/// Puts a tunnel into a packet, if that is an IP packet.
fn tunnel((mut outer, tunnel): (Spec, Vxlan)) -> Spec {
    if let Body::V4(_, datagram) | Body::V6(_, datagram) = &mut outer.body {
        datagram.payload.clear();
        datagram.transport = Transport::Vxlan(tunnel);
    }
    outer
}

fn vxlan(inner: BoxedStrategy<Spec>) -> impl Strategy<Value = Vxlan> {
    let valid = prop::bool::weighted(0.9);
    (any::<u16>(), any::<bool>(), any::<[u8; 4]>(), valid, any::<u32>(), inner).prop_map(
        |(src, checksum, mut flags, valid, word, inner)| {
            flags[0] = flags[0] & !0x08 | if valid { 0x08 } else { 0 };
            let (vni, reserved) = (word >> 8, word as u8);
            Vxlan { src, dst: 4789, checksum, flags, vni, reserved, inner: Box::new(inner) }
        },
    )
}

/// Packets with up to `max_tags` tags, some with a tunnel and some with a tunnel in that.
pub(crate) fn specs(max_tags: usize) -> impl Strategy<Value = Spec> {
    let within = move |inner: BoxedStrategy<Spec>| (plain(max_tags), vxlan(inner)).prop_map(tunnel);
    let once = within(plain(max_tags).boxed()).boxed();
    prop_oneof![
        5 => plain(max_tags),
        4 => once.clone(),
        1 => within(once),
    ]
}
