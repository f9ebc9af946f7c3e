//! Bytes to [`FlowKey`].
//!
//! Extraction never fails and never panics: what is wrong with a header becomes a status in the key,
//! and makes a packet drop only where a stage reads it.
//!
//! * A frame shorter than an Ethernet header has zero addresses, `eth_type` 0 and `l3` malformed.
//! * A VLAN tag that is cut off counts as nested too deep (`vlan_count` 3), with `l3` malformed.
//! * A malformed layer-3 header leaves every field behind it zero.
//! * A broken chain of IPv6 extension headers leaves `l3` ok, for the fixed header is whole; `ip_proto`
//!   is the fixed header's next header, and `l4` is malformed, for nobody can find layer 4.
//! * The first fragment of a datagram may end before the length that its UDP header states.
//! * A tunnel is looked into if its datagram is whole. The frame in it is parsed like any, but a tunnel
//!   in that one is not looked for. It reaches to the end of the packet, whatever UDP's length says.
//! * No checksum is verified.

use nic_wire::{EtherType, IpProto, arp, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

use crate::field::{Field, L3, L4, Tunnel};
use crate::key::{FlowKey, mac_to_bits};
use crate::port::PortId;

mod headers;
#[cfg(test)]
pub(crate) mod spec;
#[cfg(test)]
mod tests;

pub(crate) use headers::{Headers, Inside};

/// The key of a frame that entered by `in_port`.
#[must_use]
pub fn extract(frame: &[u8], in_port: PortId) -> FlowKey {
    let headers = Headers::parse(frame);
    let mut key = own(frame, &headers);
    key.set(Field::InPort, in_port.bits().into());
    match headers.inside(frame) {
        Inside::Nothing => {}
        Inside::Malformed => key.set(Field::Tunnel, Tunnel::Malformed as u128),
        Inside::Vxlan { vni, at } => {
            let inner = &frame[at..];
            key.set_tunnelled(&own(inner, &Headers::parse(inner)));
            key.set(Field::Tunnel, Tunnel::Vxlan as u128);
            key.set(Field::Vni, vni.into());
        }
    }
    key
}

/// The frame in a VXLAN packet: one whose key says [`Tunnel::Vxlan`].
#[must_use]
pub fn tunnelled(frame: &[u8]) -> Option<&[u8]> {
    match Headers::parse(frame).inside(frame) {
        Inside::Vxlan { at, .. } => Some(&frame[at..]),
        Inside::Nothing | Inside::Malformed => None,
    }
}

/// The fields of a frame's own headers.
fn own(frame: &[u8], headers: &Headers) -> FlowKey {
    let mut key = FlowKey::ZERO;
    layer2(&mut key, frame, headers);
    if headers.l3 == L3::Ok {
        match headers.eth_type {
            EtherType::IPV4 => ip_v4(&mut key, frame, headers),
            EtherType::IPV6 => ip_v6(&mut key, frame, headers),
            _ => arp(&mut key, frame, headers),
        }
    }
    if headers.l4 == L4::Ok {
        layer4(&mut key, frame, headers);
    }
    key
}

fn layer2(key: &mut FlowKey, frame: &[u8], headers: &Headers) {
    key.set(Field::EthType, headers.eth_type.0.into());
    key.set(Field::VlanCount, headers.vlan_count.into());
    key.set(Field::L3, headers.l3 as u128);
    key.set(Field::L4, headers.l4 as u128);
    key.set(Field::IpFrag, headers.frag as u128);
    let [outer, inner] = headers.tags;
    key.set(Field::VlanTpid, outer.0.0.into());
    key.set(Field::VlanTci, outer.1.0.into());
    key.set(Field::InnerVlanTpid, inner.0.0.into());
    key.set(Field::InnerVlanTci, inner.1.0.into());
    if let Ok(ethernet) = nic_wire::ethernet::Packet::new_checked(frame) {
        key.set(Field::EthDst, mac_to_bits(ethernet.dst()));
        key.set(Field::EthSrc, mac_to_bits(ethernet.src()));
    }
}

fn ip_v4(key: &mut FlowKey, frame: &[u8], headers: &Headers) {
    let ip = ipv4::Packet::new_unchecked(&frame[headers.l3_at..]);
    key.set(Field::IpProto, headers.proto.0.into());
    key.set(Field::IpTos, ip.tos().into());
    key.set(Field::IpTtl, ip.ttl().into());
    key.set(Field::IpSrc, ip.src().to_bits().into());
    key.set(Field::IpDst, ip.dst().to_bits().into());
}

fn ip_v6(key: &mut FlowKey, frame: &[u8], headers: &Headers) {
    let ip = ipv6::Packet::new_unchecked(&frame[headers.l3_at..]);
    key.set(Field::IpProto, headers.proto.0.into());
    key.set(Field::IpTos, ip.traffic_class().into());
    key.set(Field::IpTtl, ip.hop_limit().into());
    key.set(Field::IpSrc, ip.src().to_bits());
    key.set(Field::IpDst, ip.dst().to_bits());
}

fn arp(key: &mut FlowKey, frame: &[u8], headers: &Headers) {
    let arp = arp::Packet::new_unchecked(&frame[headers.l3_at..]);
    key.set(Field::IpProto, u8::try_from(arp.operation().0).unwrap_or(0).into());
    key.set(Field::ArpSha, mac_to_bits(arp.sender_mac()));
    key.set(Field::ArpTha, mac_to_bits(arp.target_mac()));
    key.set(Field::IpSrc, arp.sender_ip().to_bits().into());
    key.set(Field::IpDst, arp.target_ip().to_bits().into());
}

fn layer4(key: &mut FlowKey, frame: &[u8], headers: &Headers) {
    let bytes = &frame[headers.l4_at..];
    let (source, destination) = match headers.proto {
        IpProto::TCP => {
            let tcp = tcp::Packet::new_unchecked(bytes);
            // The key has the eight flags of RFC 9293; the field cuts the rest off.
            key.set(Field::TcpFlags, tcp.flags().0.into());
            (tcp.src_port(), tcp.dst_port())
        }
        IpProto::UDP => {
            let udp = udp::Packet::new_unchecked(bytes);
            (udp.src_port(), udp.dst_port())
        }
        IpProto::ICMPV4 => {
            let icmp = icmpv4::Packet::new_unchecked(bytes);
            (icmp.kind().0.into(), icmp.code().into())
        }
        _ => {
            let icmp = icmpv6::Packet::new_unchecked(bytes);
            (icmp.kind().0.into(), icmp.code().into())
        }
    };
    key.set(Field::L4Src, source.into());
    key.set(Field::L4Dst, destination.into());
}
