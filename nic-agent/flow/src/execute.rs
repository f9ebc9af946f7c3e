//! Runs an action list on a packet.
//!
//! Steps run in order, and an output sends the packet as it is at that step. Rewrites touch the headers
//! that the packet arrived with: what a pop uncovers beyond the tags that are parsed is not looked at.
//!
//! Checksums are updated, never computed: a wrong one stays wrong, for the receiver to see.
//! * IPv4's own follows each change of its header.
//! * Those of TCP, UDP and ICMPv6 follow the addresses; those of TCP and UDP also the ports.
//! * Where the sender left the checksum to the card ([`ChecksumState::Partial`]) the field holds the
//!   pseudo header's sum, and follows the addresses alone.
//! * A UDP checksum of 0, which says that there is none, stays 0.
//! * A later fragment has no transport checksum, and a destination that an IPv6 routing header will
//!   replace is in none.
//!
//! Behind an encapsulation or a decapsulation the packet is another one: later steps rewrite the headers
//! that are in front now.

use core::fmt;
use core::net::IpAddr;

use nic_wire::checksum::{Delta, Sum};
use nic_wire::vlan::{self, Tci};
use nic_wire::{EtherType, IpProto, ethernet, icmpv6, ipv4, ipv6, tcp, udp};

use crate::action::{Action, Destination};
use crate::extract::Headers;
use crate::field::{Frag, L3, L4};
use crate::seam::{ChecksumState, NoHeadroom, PacketBuf};

#[cfg(test)]
mod tests;
mod vxlan;

pub use vxlan::entropy;

/// Why a list stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecuteError {
    /// The buffer had no room for a header in front of the frame.
    NoHeadroom,
    /// The frame is too long for the length fields of the headers that would go in front of it.
    TooLong,
    /// The headers that would go in front of the frame are of IPv4 and of IPv6 at once.
    MixedFamilies,
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecuteError::NoHeadroom => NoHeadroom.fmt(f),
            ExecuteError::TooLong => f.write_str("frame too long for the headers of a tunnel"),
            ExecuteError::MixedFamilies => f.write_str("addresses of a tunnel are of two families"),
        }
    }
}

impl core::error::Error for ExecuteError {}

impl From<NoHeadroom> for ExecuteError {
    fn from(_: NoHeadroom) -> ExecuteError {
        ExecuteError::NoHeadroom
    }
}

/// Runs `actions` on `packet`; `emit` gets the packet at each output. No output: the packet is dropped.
///
/// # Errors
/// A header could not be put in front of the frame; the steps from there on did not run.
pub fn execute<B: PacketBuf>(
    actions: &[Action],
    packet: &mut B,
    mut emit: impl FnMut(Destination, &B),
) -> Result<(), ExecuteError> {
    if let Some(to) = execute_to_last(actions, packet, &mut emit)? {
        emit(to, packet);
    }
    Ok(())
}

/// Runs `actions` up to the last output and returns where it goes, so that the owner can send the packet
/// itself instead of a copy; `emit` gets the packet at each output before. `None`: no output, the packet
/// is dropped, and is as it was.
///
/// # Errors
/// A header could not be put in front of the frame; the steps from there on did not run.
pub fn execute_to_last<B: PacketBuf>(
    actions: &[Action],
    packet: &mut B,
    mut emit: impl FnMut(Destination, &B),
) -> Result<Option<Destination>, ExecuteError> {
    let sends = |(at, action): (usize, &Action)| action.destination().map(|to| (at, to));
    let Some((last, to)) = actions.iter().enumerate().rev().find_map(sends) else {
        return Ok(None);
    };
    // Most lists only forward: they need not know the packet.
    let mut run = None;
    for action in &actions[..last] {
        if let Some(to) = action.destination() {
            emit(to, packet);
        } else {
            run.get_or_insert_with(|| Run::new(packet)).step(action, packet)?;
        }
    }
    Ok(Some(to))
}

/// The headers of a packet while a list runs on it.
struct Run {
    headers: Headers,
    checksum: ChecksumState,
}

impl Run {
    fn new<B: PacketBuf>(packet: &B) -> Run {
        Run { headers: Headers::parse(packet.data()), checksum: packet.checksum() }
    }

    fn step<B: PacketBuf>(&mut self, action: &Action, packet: &mut B) -> Result<(), ExecuteError> {
        match *action {
            // The caller's business.
            Action::Output(_) | Action::Flood(_) => {}
            Action::PushVlan { tpid, tci } => self.push_vlan(packet, EtherType(tpid), Tci(tci))?,
            Action::PopVlan => self.pop_vlan(packet),
            Action::SetVlanVid(vid) => set_tci(packet.data_mut(), |tci| tci.with_vid(vid)),
            Action::SetVlanPcp(pcp) => set_tci(packet.data_mut(), |tci| tci.with_pcp(pcp)),
            Action::SetEthSrc(mac) => {
                if let Ok(mut frame) = ethernet::Packet::new_checked(packet.data_mut()) {
                    frame.set_src(mac);
                }
            }
            Action::SetEthDst(mac) => {
                if let Ok(mut frame) = ethernet::Packet::new_checked(packet.data_mut()) {
                    frame.set_dst(mac);
                }
            }
            Action::SetIpSrc(ip) => self.set_address(packet.data_mut(), Side::Source, ip),
            Action::SetIpDst(ip) => self.set_address(packet.data_mut(), Side::Destination, ip),
            Action::SetIpDscp(dscp) => self.set_tos(packet.data_mut(), |tos| dscp << 2 | tos & 3),
            Action::SetIpEcn(ecn) => self.set_tos(packet.data_mut(), |tos| tos & 0xfc | ecn & 3),
            Action::SetIpTtl(ttl) => self.set_ttl(packet.data_mut(), |_| ttl),
            Action::DecIpTtl => self.set_ttl(packet.data_mut(), |ttl| ttl.saturating_sub(1)),
            Action::SetL4Src(port) => self.set_port(packet.data_mut(), Side::Source, port),
            Action::SetL4Dst(port) => self.set_port(packet.data_mut(), Side::Destination, port),
            Action::EncapVxlan(encap) => self.encap(packet, &encap)?,
            Action::DecapVxlan => self.decap(packet),
        }
        Ok(())
    }
}

/// The VLAN tags.
impl Run {
    fn push_vlan<B: PacketBuf>(
        &mut self,
        packet: &mut B,
        tpid: EtherType,
        tci: Tci,
    ) -> Result<(), NoHeadroom> {
        if packet.data().len() < ethernet::HEADER_LEN {
            return Ok(());
        }
        packet.prepend(vlan::HEADER_LEN)?;
        let frame = packet.data_mut();
        frame.copy_within(vlan::HEADER_LEN..vlan::HEADER_LEN + ADDRESSES_LEN, 0);
        let mut frame = ethernet::Packet::new_unchecked(frame);
        frame.set_ethertype(tpid);
        // The tag's own EtherType is what followed the addresses, and stands there already.
        vlan::Packet::new_unchecked(frame.payload_mut()).set_tci(tci);
        self.headers.l3_at += vlan::HEADER_LEN;
        self.headers.l4_at += vlan::HEADER_LEN;
        Ok(())
    }

    fn pop_vlan<B: PacketBuf>(&mut self, packet: &mut B) {
        if outer_tag(packet.data()).is_none() {
            return;
        }
        packet.data_mut().copy_within(..ADDRESSES_LEN, vlan::HEADER_LEN);
        packet.trim_front(vlan::HEADER_LEN);
        // Nothing reads these where no tag was parsed, so a frame cut in its tag may stop at zero.
        self.headers.l3_at = self.headers.l3_at.saturating_sub(vlan::HEADER_LEN);
        self.headers.l4_at = self.headers.l4_at.saturating_sub(vlan::HEADER_LEN);
    }
}

/// Both MAC addresses.
const ADDRESSES_LEN: usize = 12;

/// The outer tag, if the frame has a whole one.
fn outer_tag(frame: &[u8]) -> Option<Tci> {
    let frame = ethernet::Packet::new_checked(frame).ok()?;
    if !frame.ethertype().is_vlan() {
        return None;
    }
    Some(vlan::Packet::new_checked(frame.payload()).ok()?.tci())
}

fn set_tci(frame: &mut [u8], change: impl FnOnce(Tci) -> Tci) {
    if let Some(tci) = outer_tag(frame) {
        let mut frame = ethernet::Packet::new_unchecked(frame);
        vlan::Packet::new_unchecked(frame.payload_mut()).set_tci(change(tci));
    }
}

/// Which of a pair of addresses or ports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Layers 3 and 4.
impl Run {
    fn ip_v4<'a>(&self, frame: &'a mut [u8]) -> Option<ipv4::Packet<&'a mut [u8]>> {
        let here = self.headers.l3 == L3::Ok && self.headers.eth_type == EtherType::IPV4;
        here.then(|| ipv4::Packet::new_unchecked(&mut frame[self.headers.l3_at..]))
    }

    fn ip_v6<'a>(&self, frame: &'a mut [u8]) -> Option<ipv6::Packet<&'a mut [u8]>> {
        let here = self.headers.l3 == L3::Ok && self.headers.eth_type == EtherType::IPV6;
        here.then(|| ipv6::Packet::new_unchecked(&mut frame[self.headers.l3_at..]))
    }

    fn set_address(&self, frame: &mut [u8], side: Side, new: IpAddr) {
        match new {
            IpAddr::V4(new) => {
                let Some(mut ip) = self.ip_v4(frame) else {
                    return;
                };
                let old = if side == Side::Source { ip.src() } else { ip.dst() };
                let delta = Delta::new().u32(old.to_bits(), new.to_bits());
                ip.set_checksum(delta.apply(ip.checksum()));
                match side {
                    Side::Source => ip.set_src(new),
                    Side::Destination => ip.set_dst(new),
                }
                self.update_pseudo(frame, delta);
            }
            IpAddr::V6(new) => {
                let Some(mut ip) = self.ip_v6(frame) else {
                    return;
                };
                let old = if side == Side::Source { ip.src() } else { ip.dst() };
                match side {
                    Side::Source => ip.set_src(new),
                    Side::Destination => ip.set_dst(new),
                }
                if side == Side::Source || !self.headers.routed {
                    self.update_pseudo(frame, Delta::new().u128(old.to_bits(), new.to_bits()));
                }
            }
        }
    }

    fn set_tos(&self, frame: &mut [u8], change: impl FnOnce(u8) -> u8) {
        if let Some(mut ip) = self.ip_v4(frame) {
            let old = ip.tos();
            let new = change(old);
            ip.set_tos(new);
            // The byte is the low half of its word, so the rest of the word cancels out.
            ip.set_checksum(Delta::new().u16(old.into(), new.into()).apply(ip.checksum()));
        } else if let Some(mut ip) = self.ip_v6(frame) {
            let label = ip.flow_label();
            ip.set_version_class_flow(change(ip.traffic_class()), label);
        }
    }

    fn set_ttl(&self, frame: &mut [u8], change: impl FnOnce(u8) -> u8) {
        if let Some(mut ip) = self.ip_v4(frame) {
            let old = ip.ttl();
            let new = change(old);
            ip.set_ttl(new);
            // The byte is the high half of its word.
            let delta = Delta::new().u16(u16::from(old) << 8, u16::from(new) << 8);
            ip.set_checksum(delta.apply(ip.checksum()));
        } else if let Some(mut ip) = self.ip_v6(frame) {
            ip.set_hop_limit(change(ip.hop_limit()));
        }
    }

    fn set_port(&self, frame: &mut [u8], side: Side, new: u16) {
        if self.headers.l4 != L4::Ok {
            return;
        }
        let bytes = &mut frame[self.headers.l4_at..];
        let [source, destination] = match self.headers.proto {
            IpProto::TCP => {
                let mut tcp = tcp::Packet::new_unchecked(bytes);
                let old = [tcp.src_port(), tcp.dst_port()];
                match side {
                    Side::Source => tcp.set_src_port(new),
                    Side::Destination => tcp.set_dst_port(new),
                }
                old
            }
            IpProto::UDP => {
                let mut udp = udp::Packet::new_unchecked(bytes);
                let old = [udp.src_port(), udp.dst_port()];
                match side {
                    Side::Source => udp.set_src_port(new),
                    Side::Destination => udp.set_dst_port(new),
                }
                old
            }
            _ => return,
        };
        let old = if side == Side::Source { source } else { destination };
        // The pseudo header has no ports.
        if self.checksum == ChecksumState::Complete {
            update(&self.headers, frame, |checksum| Delta::new().u16(old, new).apply(checksum));
        }
    }

    /// The addresses changed by `delta`.
    fn update_pseudo(&self, frame: &mut [u8], delta: Delta) {
        match self.checksum {
            ChecksumState::Complete => update(&self.headers, frame, |checksum| delta.apply(checksum)),
            ChecksumState::Partial => update(&self.headers, frame, |sum| delta.apply_to_sum(sum)),
        }
    }
}

/// Changes the checksum of a transport that has the pseudo header in it.
fn update(headers: &Headers, frame: &mut [u8], change: impl FnOnce(u16) -> u16) {
    if headers.l4 != L4::Ok {
        return;
    }
    let bytes = &mut frame[headers.l4_at..];
    match headers.proto {
        IpProto::TCP => {
            let mut tcp = tcp::Packet::new_unchecked(bytes);
            tcp.set_checksum(change(tcp.checksum()));
        }
        IpProto::UDP => {
            let mut udp = udp::Packet::new_unchecked(bytes);
            match udp.checksum() {
                0 => {}
                // A checksum that comes out as 0 is sent as its equal, for 0 says that there is none.
                old => udp.set_checksum(match change(old) {
                    0 => 0xffff,
                    new => new,
                }),
            }
        }
        IpProto::ICMPV6 => {
            let mut icmp = icmpv6::Packet::new_unchecked(bytes);
            icmp.set_checksum(change(icmp.checksum()));
        }
        _ => {}
    }
}

/// Completes the transport checksum of a packet whose sender left it to the card
/// ([`ChecksumState::Partial`]), for a port that does not do so. False if the packet has no such checksum:
/// another transport, a fragment, headers that are not whole. It is then as it was.
pub fn complete_checksum(frame: &mut [u8]) -> bool {
    complete(&Headers::parse(frame), frame)
}

fn complete(headers: &Headers, frame: &mut [u8]) -> bool {
    if headers.l4 != L4::Ok || headers.frag != Frag::No {
        return false;
    }
    let ip = &frame[headers.l3_at..];
    let end = match (headers.proto, headers.eth_type) {
        (IpProto::UDP, _) => {
            headers.l4_at + usize::from(udp::Packet::new_unchecked(&frame[headers.l4_at..]).length())
        }
        (IpProto::TCP, EtherType::IPV4) => {
            headers.l3_at + usize::from(ipv4::Packet::new_unchecked(ip).total_len())
        }
        (IpProto::TCP | IpProto::ICMPV6, EtherType::IPV6) => {
            headers.l3_at + ipv6::Packet::new_unchecked(ip).total_len()
        }
        _ => return false,
    };
    // The field takes part with the pseudo header's sum that stands in it.
    let sum = Sum::new().bytes(&frame[headers.l4_at..end]).checksum();
    update(headers, frame, |_| sum);
    true
}
