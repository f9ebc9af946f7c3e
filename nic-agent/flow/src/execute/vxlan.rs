//! The headers of a VXLAN tunnel, put on and taken off.

use core::net::IpAddr;

use nic_wire::{EtherType, IpProto, ethernet, ipv4, ipv6, udp, vlan, vxlan};

use super::{ExecuteError, Run, complete};
use crate::action::{ENTROPY_PORTS, VxlanEncap};
use crate::extract::{Headers, Inside};
use crate::field::{Frag, L3, L4};
use crate::seam::{ChecksumState, PacketBuf};

impl Run {
    /// Puts the frame into a tunnel. A frame too short for an Ethernet header goes there like any other,
    /// for it must not go elsewhere.
    pub(super) fn encap<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        encap: &VxlanEncap,
    ) -> Result<(), ExecuteError> {
        let datagram = udp::HEADER_LEN + vxlan::HEADER_LEN + packet.data().len();
        let ip_header = if encap.dst.is_ipv6() { 0 } else { ipv4::HEADER_LEN };
        if ip_header + datagram > usize::from(u16::MAX) {
            return Err(ExecuteError::TooLong);
        }
        if encap.src.is_ipv6() != encap.dst.is_ipv6() {
            return Err(ExecuteError::MixedFamilies);
        }
        let source_port = entropy(packet.data());
        packet.prepend(encap.overhead())?;
        if self.checksum == ChecksumState::Partial {
            // Nobody looks for a checksum to complete behind the outer UDP header.
            complete(&self.headers, &mut packet.data_mut()[encap.overhead()..]);
            packet.set_checksum_complete();
        }
        emit(packet.data_mut(), encap, source_port, datagram as u16);
        *self = Run::new(packet);
        Ok(())
    }

    /// Takes the frame out of its tunnel.
    pub(super) fn decap<B: PacketBuf>(&mut self, packet: &mut B) {
        if let Inside::Vxlan { at, .. } = self.headers.inside(packet.data()) {
            packet.trim_front(at);
            // What the sender left to the card was the outer datagram's checksum.
            packet.set_checksum_complete();
            *self = Run::new(packet);
        }
    }
}

/// Writes the outer headers in front of a frame. `datagram` is the length from the UDP header on.
fn emit(frame: &mut [u8], encap: &VxlanEncap, source_port: u16, datagram: u16) {
    let eth_type = if encap.dst.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
    let ethertype = if encap.vlan.is_some() { EtherType::VLAN } else { eth_type };
    let mut at = 0;
    ethernet::Repr { dst: encap.eth_dst, src: encap.eth_src, ethertype }
        .emit(&mut ethernet::Packet::new_unchecked(&mut *frame));
    at += ethernet::HEADER_LEN;
    if let Some(tci) = encap.vlan {
        vlan::Repr { tci: vlan::Tci(tci), ethertype: eth_type }
            .emit(&mut vlan::Packet::new_unchecked(&mut frame[at..]));
        at += vlan::HEADER_LEN;
    }
    match (encap.src, encap.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let repr = ipv4::Repr {
                src,
                dst,
                protocol: IpProto::UDP,
                ttl: encap.ttl,
                tos: encap.tos,
                // Nothing of it is ever put together again (RFC 6864 section 4.1).
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                payload_len: datagram,
            };
            repr.emit(&mut ipv4::Packet::new_unchecked(&mut frame[at..]));
            at += ipv4::HEADER_LEN;
        }
        (src, dst) => {
            let [src, dst] = [src, dst].map(|ip| match ip {
                IpAddr::V6(ip) => ip,
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            });
            let repr = ipv6::Repr {
                src,
                dst,
                next_header: IpProto::UDP,
                hop_limit: encap.ttl,
                traffic_class: encap.tos,
                flow_label: 0,
                payload_len: datagram,
            };
            repr.emit(&mut ipv6::Packet::new_unchecked(&mut frame[at..]));
            at += ipv6::HEADER_LEN;
        }
    }
    let payload_len = datagram - udp::HEADER_LEN as u16;
    udp::Repr { src_port: source_port, dst_port: vxlan::PORT, payload_len }
        .emit(&mut udp::Packet::new_unchecked(&mut frame[at..]));
    at += udp::HEADER_LEN;
    vxlan::Repr { vni: encap.vni }.emit(&mut vxlan::Packet::new_unchecked(&mut frame[at..]));
}

/// The UDP source port of a frame that goes into a tunnel: the same for all packets of a connection, and
/// for all fragments of a packet; another for most others (RFC 7348 section 5).
#[must_use]
pub fn entropy(frame: &[u8]) -> u16 {
    let headers = Headers::parse(frame);
    let mut hash = Mix(0);
    let ip = &frame[headers.l3_at.min(frame.len())..];
    match headers.eth_type {
        EtherType::IPV4 if headers.l3 == L3::Ok => {
            let ip = ipv4::Packet::new_unchecked(ip);
            hash.add(u64::from(ip.src().to_bits()) << 32 | u64::from(ip.dst().to_bits()));
        }
        EtherType::IPV6 if headers.l3 == L3::Ok => {
            let ip = ipv6::Packet::new_unchecked(ip);
            for bits in [ip.src().to_bits(), ip.dst().to_bits()] {
                hash.add((bits >> 64) as u64);
                hash.add(bits as u64);
            }
        }
        _ => {
            if let Ok(ethernet) = ethernet::Packet::new_checked(frame) {
                hash.add(ethernet.dst().to_u64());
                hash.add(ethernet.src().to_u64());
            }
            return hash.port();
        }
    }
    let has_ports = headers.l4 == L4::Ok
        && headers.frag == Frag::No
        && matches!(headers.proto, IpProto::TCP | IpProto::UDP);
    let ports = if has_ports {
        // Both transports begin with the two ports.
        let udp = udp::Packet::new_unchecked(&frame[headers.l4_at..]);
        u64::from(udp.src_port()) << 16 | u64::from(udp.dst_port())
    } else {
        0
    };
    hash.add(u64::from(headers.proto.0) << 32 | ports);
    hash.port()
}

/// A hash that spreads well enough over the ways through a network.
struct Mix(u64);

impl Mix {
    fn add(&mut self, word: u64) {
        // A round of multiply and fold: the high bits of the product, which depend on all bits of the
        // word, come down to where the next product starts.
        let mixed = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = mixed ^ mixed >> 32;
    }

    fn port(&self) -> u16 {
        let ports = u64::from(ENTROPY_PORTS.end() - ENTROPY_PORTS.start()) + 1;
        let spread = self.0.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        ENTROPY_PORTS.start() + (spread % ports) as u16
    }
}
