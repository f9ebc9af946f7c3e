//! Actions: what is done to a packet, in order.

use core::net::IpAddr;

use nic_wire::{EtherType, IpProto, MacAddr};

use crate::PortId;
use crate::field::{Field, L3, L4};
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
}

/// The longest action list.
pub const MAX_ACTIONS: usize = 16;

/// Steps in order. A list without [`Action::Output`] drops the packet.
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
    /// in the key: lists that pop from a packet nested too deep are refused by whoever makes them.)
    pub fn rewrite(&self, key: &mut FlowKey) {
        match *self {
            Action::Output(_) => {}
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
            Action::SetL4Dst(port) => rewrite_port(key, Field::L4Dst, port),
        }
    }

    /// A tag with the usual protocol identifier, 0x8100.
    pub const fn push_ctag(tci: u16) -> Action {
        Action::PushVlan { tpid: EtherType::VLAN.0, tci }
    }
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
