//! Actions: what is done to a packet, in order.

use core::net::IpAddr;

use nic_wire::{EtherType, IpProto, MacAddr};

use crate::PortId;
use crate::field::{Field, L3, L4, Tunnel};
use crate::key::{FlowKey, ip_to_bits, mac_to_bits};

/// One step of an [`ActionList`].
///
/// A step that the packet has no place for (a port rewritten in a packet without layer 4, say)
/// changes nothing: whoever makes the list reads the status fields first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sends the packet, as it is at this step, out of a port.
    Output(PortId),
    /// Puts a VLAN tag in front of the others.
    PushVlan {
        /// Tag protocol identifier, 0x8100 or 0x88a8.
        tpid: u16,
        /// Tag control information.
        tci: u16,
    },
    /// Takes the outer VLAN tag away.
    PopVlan,
    /// Sets the VLAN identifier (12 bits) of the outer tag.
    SetVlanVid(u16),
    /// Sets the priority code point (3 bits) of the outer tag.
    SetVlanPcp(u8),
    /// Sets the source MAC address.
    SetEthSrc(MacAddr),
    /// Sets the destination MAC address.
    SetEthDst(MacAddr),
    /// Sets the source address of IPv4 or IPv6; the family is the packet's.
    SetIpSrc(IpAddr),
    /// Sets the destination address of IPv4 or IPv6; the family is the packet's.
    SetIpDst(IpAddr),
    /// Sets the DSCP (6 bits) and leaves ECN alone (RFC 3168).
    SetIpDscp(u8),
    /// Sets the time to live or hop limit.
    SetIpTtl(u8),
    /// Takes one from the time to live or hop limit. The list's maker has read that it is above 1.
    DecIpTtl,
    /// Sets the TCP or UDP source port.
    SetL4Src(u16),
    /// Sets the TCP or UDP destination port.
    SetL4Dst(u16),
    /// Sets the ECN codepoint (2 bits) and leaves the DSCP alone (RFC 3168).
    SetIpEcn(u8),
    /// Puts the frame, as it is at this step, into a VXLAN packet. The UDP source port is filled in by
    /// whoever executes this: see [`ENTROPY_PORTS`].
    EncapVxlan(VxlanEncap),
    /// Takes all in front of the frame in a VXLAN packet away. The list's maker has read that the
    /// packet is one ([`Field::Tunnel`]).
    DecapVxlan,
    /// Sends the packet, as it is at this step, to the members of a replication list. Software only.
    Flood(Flood),
}

/// The headers that [`Action::EncapVxlan`] puts in front of a frame: Ethernet, a VLAN tag if there is
/// one, IPv4 or IPv6, UDP to port 4789 and VXLAN (RFC 7348 section 5). IPv4 does not allow fragments.
/// The UDP checksum is 0 (RFC 7348 section 5 for IPv4, RFC 6935 section 5 for IPv6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VxlanEncap {
    /// Outer destination MAC address: the next hop's.
    pub eth_dst: MacAddr,
    /// Outer source MAC address.
    pub eth_src: MacAddr,
    /// Tag control information of the outer 802.1Q tag, if there is to be one.
    pub vlan: Option<u16>,
    /// Outer source address; of the family of `dst`.
    pub src: IpAddr,
    /// Outer destination address.
    pub dst: IpAddr,
    /// Outer type of service or traffic class: DSCP (6 bits), ECN (2 bits).
    pub tos: u8,
    /// Outer time to live or hop limit.
    pub ttl: u8,
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
}

impl VxlanEncap {
    /// Octets that it adds to a frame: 50 with IPv4, 70 with IPv6, 4 more with a tag.
    pub const fn overhead(&self) -> usize {
        vxlan_overhead(self.dst.is_ipv6(), self.vlan.is_some())
    }
}

/// Octets that VXLAN adds to a frame.
pub const fn vxlan_overhead(ipv6: bool, tagged: bool) -> usize {
    14 + if tagged { 4 } else { 0 } + if ipv6 { 40 } else { 20 } + 8 + 8
}

/// UDP's destination port for VXLAN (RFC 7348 section 8).
pub const VXLAN_PORT: u16 = nic_wire::vxlan::PORT;

/// The UDP source ports that an encapsulation may use (RFC 7348 section 5): which one, whoever executes
/// it derives from the addresses, the protocol and the ports of the frame, so that the packets of one
/// connection take one way through the network.
pub const ENTROPY_PORTS: core::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A replication list and what of it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flood {
    /// The list's number, which is its bridge's. A packet never goes back out of the port it entered.
    pub list: u64,
    /// True for a packet that came out of a tunnel: it goes into none again (split horizon).
    pub from_tunnel: bool,
}

/// Where a step sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// One port.
    Port(PortId),
    /// The members of a replication list.
    Flood(Flood),
}

/// The longest action list.
pub const MAX_ACTIONS: usize = 16;

/// Steps in order. A list that sends nowhere ([`Action::destination`]) drops the packet.
pub type ActionList = heapless::Vec<Action, MAX_ACTIONS>;

/// The ports that a list sends to, in order; empty for a drop.
pub fn outputs(actions: &[Action]) -> impl Iterator<Item = PortId> + '_ {
    actions.iter().filter_map(|action| match action {
        Action::Output(port) => Some(*port),
        _ => None,
    })
}

impl Action {
    /// Does to a key what executing the action does to the packet's headers, so that a later stage
    /// reads what it would read in the packet. (What lies behind a popped inner-most tag limit is not
    /// in the key: lists that pop from a packet nested too deep are refused by whoever makes them. Nor
    /// is a tunnel in the tunnel that was taken away, nor one that setting UDP's port makes of other
    /// bytes, nor the source port of an encapsulation: it is 0 here, and whoever makes lists never reads
    /// behind an encapsulation.)
    pub fn rewrite(&self, key: &mut FlowKey) {
        match *self {
            Action::Output(_) | Action::Flood(_) => {}
            Action::PushVlan { tpid, tci } => {
                let count = key.get(Field::VlanCount);
                key.set(Field::InnerVlanTpid, key.get(Field::VlanTpid));
                key.set(Field::InnerVlanTci, key.get(Field::VlanTci));
                key.set(Field::VlanTpid, tpid.into());
                key.set(Field::VlanTci, tci.into());
                key.set(Field::VlanCount, (count + 1).min(3));
            }
            Action::PopVlan => {
                let count = key.get(Field::VlanCount);
                if count == 0 {
                    return;
                }
                key.set(Field::VlanTpid, key.get(Field::InnerVlanTpid));
                key.set(Field::VlanTci, key.get(Field::InnerVlanTci));
                key.set(Field::InnerVlanTpid, 0);
                key.set(Field::InnerVlanTci, 0);
                key.set(Field::VlanCount, count - 1);
            }
            Action::SetVlanVid(vid) => {
                if key.get(Field::VlanCount) > 0 {
                    let tci = key.get(Field::VlanTci);
                    key.set(Field::VlanTci, (tci & 0xf000) | u128::from(vid & 0x0fff));
                }
            }
            Action::SetVlanPcp(pcp) => {
                if key.get(Field::VlanCount) > 0 {
                    let tci = key.get(Field::VlanTci);
                    key.set(Field::VlanTci, (tci & 0x1fff) | (u128::from(pcp & 7) << 13));
                }
            }
            Action::SetEthSrc(mac) => key.set(Field::EthSrc, mac_to_bits(mac)),
            Action::SetEthDst(mac) => key.set(Field::EthDst, mac_to_bits(mac)),
            Action::SetIpSrc(ip) => rewrite_ip(key, Field::IpSrc, ip),
            Action::SetIpDst(ip) => rewrite_ip(key, Field::IpDst, ip),
            Action::SetIpDscp(dscp) => {
                if has_ip(key) {
                    let ecn = key.get(Field::IpTos) & 3;
                    key.set(Field::IpTos, (u128::from(dscp) << 2) | ecn);
                }
            }
            Action::SetIpTtl(ttl) => {
                if has_ip(key) {
                    key.set(Field::IpTtl, ttl.into());
                }
            }
            Action::DecIpTtl => {
                if has_ip(key) {
                    key.set(Field::IpTtl, key.get(Field::IpTtl).saturating_sub(1));
                }
            }
            Action::SetL4Src(port) => rewrite_port(key, Field::L4Src, port),
            Action::SetL4Dst(port) => {
                rewrite_port(key, Field::L4Dst, port);
                if key.get(Field::L4Dst) != u128::from(VXLAN_PORT) {
                    key.clear_tunnel();
                }
            }
            Action::SetIpEcn(ecn) => {
                if has_ip(key) {
                    let dscp = key.get(Field::IpTos) & 0xfc;
                    key.set(Field::IpTos, dscp | u128::from(ecn & 3));
                }
            }
            Action::EncapVxlan(encap) => rewrite_encap(key, &encap),
            Action::DecapVxlan => {
                if key.tunnel() == Tunnel::Vxlan {
                    *key = key.tunnelled();
                }
            }
        }
    }

    /// Where the step sends the packet, if it sends it.
    pub const fn destination(&self) -> Option<Destination> {
        match self {
            Action::Output(port) => Some(Destination::Port(*port)),
            Action::Flood(flood) => Some(Destination::Flood(*flood)),
            _ => None,
        }
    }

    /// A tag with the usual protocol identifier, 0x8100.
    pub const fn push_ctag(tci: u16) -> Action {
        Action::PushVlan { tpid: EtherType::VLAN.0, tci }
    }
}

fn rewrite_encap(key: &mut FlowKey, encap: &VxlanEncap) {
    let inner = *key;
    *key = FlowKey::ZERO.with(Field::InPort, inner.get(Field::InPort));
    key.set_tunnelled(&inner);
    key.set(Field::Tunnel, Tunnel::Vxlan as u128);
    key.set(Field::Vni, encap.vni.into());
    key.set(Field::EthDst, mac_to_bits(encap.eth_dst));
    key.set(Field::EthSrc, mac_to_bits(encap.eth_src));
    if let Some(tci) = encap.vlan {
        key.set(Field::VlanCount, 1);
        key.set(Field::VlanTpid, EtherType::VLAN.0.into());
        key.set(Field::VlanTci, tci.into());
    }
    let eth_type = if encap.dst.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
    key.set(Field::EthType, eth_type.0.into());
    key.set(Field::L3, L3::Ok as u128);
    key.set(Field::IpSrc, ip_to_bits(encap.src));
    key.set(Field::IpDst, ip_to_bits(encap.dst));
    key.set(Field::IpProto, IpProto::UDP.0.into());
    key.set(Field::IpTos, encap.tos.into());
    key.set(Field::IpTtl, encap.ttl.into());
    key.set(Field::L4, L4::Ok as u128);
    key.set(Field::L4Dst, VXLAN_PORT.into());
}

fn has_ip(key: &FlowKey) -> bool {
    key.l3() == L3::Ok && matches!(EtherType(key.eth_type()), EtherType::IPV4 | EtherType::IPV6)
}

fn rewrite_ip(key: &mut FlowKey, field: Field, ip: IpAddr) {
    if has_ip(key) && ip.is_ipv6() == (key.eth_type() == EtherType::IPV6.0) {
        key.set(field, ip_to_bits(ip));
    }
}

fn rewrite_port(key: &mut FlowKey, field: Field, port: u16) {
    if key.l4() == L4::Ok && matches!(IpProto(key.get(Field::IpProto) as u8), IpProto::TCP | IpProto::UDP) {
        key.set(field, port.into());
    }
}
