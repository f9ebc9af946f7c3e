//! Tunnel: what is sent to the card's own tunnel endpoints.
//!
//! * **Reads:** the ingress port; on the uplink of a VTEP the destination MAC address; of packets to a
//!   VTEP's own, and of those to a group by which its neighbours may ask for it or tell of themselves, the
//!   VLAN tag and the headers up to VXLAN; of the outer ECN codepoint the low bit, and only if it is set
//!   the whole of both codepoints.
//! * **Consults:** VTEPs by their uplink, tunnel peers by VTEP and outer source address, bridges by VTEP
//!   and VNI.
//! * **Drops:** `tunnel.not_tunnel`, `tunnel.malformed`, `tunnel.unknown_peer`, `tunnel.unknown_vni`,
//!   `tunnel.congestion`; `malformed.l3` and `malformed.l4` of packets to a VTEP's own MAC address.
//!
//! A VTEP's network is the packets of its uplink with its VLAN, or untagged if it has none. What is sent
//! to its MAC address there ends here: a VXLAN packet of a known peer goes on as the frame in it, in the
//! bridge of its VNI; ARP or neighbour discovery is the agent's own; the rest is dropped. Of what is sent
//! to a group the agent takes questions for the VTEP's address. Into what else tells a group where a next
//! hop may be, broadcast ARP and advertisements of IPv6 neighbours, it looks, once for all VTEPs of that
//! network: the inspection names the first of them. That and all else of the uplink goes on.

use core::net::{IpAddr, Ipv6Addr};

use nic_flow::action::VXLAN_PORT;
use nic_flow::field::{L3, L4, Tunnel};
use nic_flow::{Action, Field, MacAddr, VxlanEncap};
use nic_policy::{DropReason, Network, Place, Verdict, Vtep};
use nic_wire::{EtherType, IpProto};

use crate::effect::Inspection;
use crate::plan::{Ingress, Plan};
use crate::probe::{Layer, Probe};

/// Types of ICMPv6 (RFC 4861 sections 4.3 and 4.4).
pub(crate) const NEIGHBOR_SOLICITATION: u128 = 135;
pub(crate) const NEIGHBOR_ADVERTISEMENT: u128 = 136;

/// How the MAC addresses of IPv6 multicast addresses begin (RFC 2464 section 7).
const IPV6_GROUPS: [u8; 2] = [0x33, 0x33];
/// The VLAN count of a frame with one tag.
const ONE_TAG: u128 = 1;

/// The stage.
pub(crate) fn run<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Verdict {
    let uplink = probe.in_port();
    let inspection = |vtep: &Vtep| {
        let network = Network::Underlay(vtep.id);
        Inspection { network, place: Place::Port(uplink), tunnelled: false }
    };
    let mut news = None;
    for vtep in probe.vteps_on(uplink) {
        let verdict = if probe.mac(Field::EthDst) == vtep.mac {
            if is_on_network(probe, vtep) { to_vtep(probe, plan, vtep) } else { continue }
        } else {
            match to_group(probe, vtep) {
                Some(ToGroup::Question) => Verdict::Local,
                Some(ToGroup::News) => {
                    news = news.or(Some(vtep));
                    continue;
                }
                None => continue,
            }
        };
        if verdict == Verdict::Local {
            plan.inspect.push(inspection(vtep));
        }
        return verdict;
    }
    plan.inspect.extend(news.map(inspection));
    Verdict::Pass
}

/// Whether the frame has the VTEP's VLAN: one C-VLAN tag with its VID, or none.
fn is_on_network(probe: &mut Probe<'_>, vtep: &Vtep) -> bool {
    let tags = probe.read(Field::VlanCount);
    match vtep.vlan {
        None => tags == 0,
        Some(vid) => {
            tags == ONE_TAG
                && probe.read(Field::VlanTpid) == EtherType::VLAN.0.into()
                && probe.read_bits(Field::VlanTci, 0x0fff) == vid.into()
        }
    }
}

/// What a frame to a group is to a VTEP.
enum ToGroup {
    /// Asks for its address.
    Question,
    /// Tells, if only by the way, where somebody is.
    News,
}

/// What a frame is to the VTEP if it is to a group.
fn to_group(probe: &mut Probe<'_>, vtep: &Vtep) -> Option<ToGroup> {
    let to = probe.mac(Field::EthDst);
    match vtep.address {
        IpAddr::V4(_) => {
            let arp = to.is_broadcast()
                && is_on_network(probe, vtep)
                && probe.eth_type() == EtherType::ARP
                && L3::from_bits(probe.read(Field::L3)) == L3::Ok;
            if !arp {
                return None;
            }
            let own = probe.ip(Field::IpDst) == vtep.address;
            Some(if own { ToGroup::Question } else { ToGroup::News })
        }
        IpAddr::V6(address) => {
            let icmp = to.0.starts_with(&IPV6_GROUPS)
                && is_on_network(probe, vtep)
                && probe.eth_type() == EtherType::IPV6
                && L3::from_bits(probe.read(Field::L3)) == L3::Ok
                && probe.read(Field::IpProto) == IpProto::ICMPV6.0.into()
                && L4::from_bits(probe.read(Field::L4)) == L4::Ok;
            if !icmp {
                return None;
            }
            let solicited = solicited_node(address);
            match probe.read(Field::L4Src) {
                NEIGHBOR_SOLICITATION if to == group_mac(solicited) => {
                    (probe.ip(Field::IpDst) == solicited).then_some(ToGroup::Question)
                }
                // Most are to all nodes (RFC 4861 section 7.2.6), some to all routers (RFC 9131).
                NEIGHBOR_ADVERTISEMENT => Some(ToGroup::News),
                _ => None,
            }
        }
    }
}

/// A packet to the VTEP's own MAC address.
fn to_vtep<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>, vtep: &'s Vtep) -> Verdict {
    let ours = match (probe.eth_type(), vtep.address) {
        (EtherType::ARP, IpAddr::V4(_)) => probe.whole(Layer::L3).map(|()| Ours::Question),
        (EtherType::IPV4, IpAddr::V4(_)) | (EtherType::IPV6, IpAddr::V6(_)) => ip_to_vtep(probe, vtep),
        _ => Err(DropReason::TunnelNotOurs),
    };
    let entered = match ours {
        Ok(Ours::Question) => return Verdict::Local,
        Ok(Ours::Datagram) => enter(probe, plan, vtep),
        Err(reason) => Err(reason),
    };
    match entered {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// What a packet to a VTEP is.
enum Ours {
    /// ARP or neighbour discovery.
    Question,
    /// UDP to the port of VXLAN.
    Datagram,
}

fn ip_to_vtep(probe: &mut Probe<'_>, vtep: &Vtep) -> Result<Ours, DropReason> {
    probe.whole(Layer::L3)?;
    let proto = IpProto(probe.read(Field::IpProto) as u8);
    let discovery = proto == IpProto::ICMPV6 && vtep.address.is_ipv6();
    if !discovery && (proto != IpProto::UDP || probe.ip(Field::IpDst) != vtep.address) {
        return Err(DropReason::TunnelNotOurs);
    }
    probe.whole(Layer::L4)?;
    if L4::from_bits(probe.read(Field::L4)) != L4::Ok {
        return Err(DropReason::TunnelNotOurs);
    }
    if discovery {
        return match probe.read(Field::L4Src) {
            NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT => Ok(Ours::Question),
            _ => Err(DropReason::TunnelNotOurs),
        };
    }
    if probe.read(Field::L4Dst) == VXLAN_PORT.into() {
        Ok(Ours::Datagram)
    } else {
        Err(DropReason::TunnelNotOurs)
    }
}

/// Takes the frame out of a VXLAN packet, and finds its bridge.
fn enter<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>, vtep: &Vtep) -> Result<(), DropReason> {
    if Tunnel::from_bits(probe.read(Field::Tunnel)) != Tunnel::Vxlan {
        return Err(DropReason::TunnelMalformed);
    }
    let source = probe.ip(Field::IpSrc);
    let peer = probe.tunnel_peer(vtep.id, source).ok_or(DropReason::TunnelPeerUnknown)?;
    let vni = probe.read(Field::Vni) as u32;
    let bridge = probe.bridge_of(vtep.id, vni).filter(|bridge| peer.bridges.contains(bridge));
    let bridge = bridge.and_then(|bridge| probe.bridge(bridge)).ok_or(DropReason::TunnelVniUnknown)?;
    let congestion = congestion(probe)?;
    plan.act(probe, Action::DecapVxlan);
    if let Some(ecn) = congestion {
        plan.act(probe, Action::SetIpEcn(ecn));
    }
    plan.ingress = Some(Ingress { bridge, place: Place::Peer(source), learning: peer.learning });
    Ok(())
}

const NOT_ECT: u128 = 0;
const ECT_1: u128 = 1;
const ECT_0: u128 = 2;
const CE: u128 = 3;

/// The codepoint that the outer header gives the frame in the tunnel, if it gives it another (RFC 6040
/// section 4.2). A frame that carries no IP has none to change.
fn congestion(probe: &mut Probe<'_>) -> Result<Option<u8>, DropReason> {
    // Not-ECT and ECT(0), which is nearly all there is, leave every inner codepoint alone.
    if probe.read_bits(Field::IpTos, 1) == 0 {
        return Ok(None);
    }
    let outer = probe.read_bits(Field::IpTos, CE);
    if probe.read(Field::TunVlanCount) != 0 {
        // The bridge drops it.
        return Ok(None);
    }
    let eth_type = EtherType(probe.read(Field::TunEthType) as u16);
    if !matches!(eth_type, EtherType::IPV4 | EtherType::IPV6) {
        return Ok(None);
    }
    let whole = L3::from_bits(probe.read(Field::TunL3)) == L3::Ok;
    let inner = if whole { probe.read_bits(Field::TunIpTos, CE) } else { NOT_ECT };
    match (outer, inner) {
        (CE, NOT_ECT) => Err(DropReason::TunnelCongestion),
        (CE, ECT_0 | ECT_1) => Ok(Some(CE as u8)),
        (ECT_1, ECT_0) => Ok(Some(ECT_1 as u8)),
        _ => Ok(None),
    }
}

/// The multicast address by which neighbours ask for an address (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0x00ff_ffff)
}

/// The MAC address of an IPv6 multicast address (RFC 2464 section 7).
fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [x, y] = IPV6_GROUPS;
    let [.., a, b, c, d] = group.octets();
    MacAddr([x, y, a, b, c, d])
}

/// The next hop from a VTEP to a peer: the peer itself on the link, else the gateway; `None` if there is
/// no way.
pub fn next_hop(vtep: &Vtep, peer: IpAddr) -> Option<IpAddr> {
    let on_link = match (vtep.address, peer) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => {
            shares_prefix(own.to_bits() ^ peer.to_bits(), u32::BITS, vtep.prefix_length)
        }
        (IpAddr::V6(own), IpAddr::V6(peer)) => {
            shares_prefix(own.to_bits() ^ peer.to_bits(), u128::BITS, vtep.prefix_length)
        }
        _ => return None,
    };
    if on_link { Some(peer) } else { vtep.gateway }
}

/// Whether the upper `length` of `width` bits are zero.
fn shares_prefix(difference: impl Into<u128>, width: u32, length: u8) -> bool {
    let host_bits = width.saturating_sub(length.into());
    difference.into().checked_shr(host_bits).unwrap_or(0) == 0
}

/// The headers of a packet from a VTEP to a peer. `ecn` is the codepoint of the frame in it, which the
/// outer header gets too (RFC 6040 section 4.1, normal mode).
pub fn encapsulation(vtep: &Vtep, vni: u32, peer: IpAddr, next_hop_mac: MacAddr, ecn: u8) -> VxlanEncap {
    VxlanEncap {
        eth_dst: next_hop_mac,
        eth_src: vtep.mac,
        vlan: vtep.vlan,
        src: vtep.address,
        dst: peer,
        tos: vtep.dscp << 2 | ecn & 3,
        ttl: vtep.ttl,
        vni,
    }
}

#[cfg(test)]
mod tests;
