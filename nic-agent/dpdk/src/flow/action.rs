//! Actions: what a rule does, in order.

use crate::ethdev::DevId;

/// The addresses of an outer IP header; both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
    },
    /// IPv6.
    V6 {
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
    },
}

/// The headers that [`Action::VxlanEncap`] puts in front of a packet, each with
/// all its fields said but those that only the device knows: lengths, IPv4's
/// checksum, and the UDP source port, which it makes of the packet's own headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanEncap {
    /// Outer destination MAC address.
    pub eth_dst: [u8; 6],
    /// Outer source MAC address.
    pub eth_src: [u8; 6],
    /// The tag control information of an outer tag of type 0x8100, if there is one.
    pub vlan: Option<u16>,
    /// Outer addresses.
    pub ip: Addresses,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Network identifier, 24 bits.
    pub vni: u32,
}

/// One action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Counts packets and bytes, for [`super::FlowRule::query_count`].
    Count,
    /// Sends to what this port represents: a VF's or the wire's side.
    RepresentedPort(DevId),
    /// Gives to the application on this port.
    PortRepresentor(DevId),
    /// The older form of [`Action::RepresentedPort`].
    PortId(DevId),
    /// Drops.
    Drop,
    /// Puts on a VLAN tag of this type, with nothing set in it.
    OfPushVlan {
        /// The tag's type: 0x8100 or 0x88a8.
        ether_type: u16,
    },
    /// Sets the VLAN id of the outermost tag.
    OfSetVlanVid(u16),
    /// Sets the priority of the outermost tag.
    OfSetVlanPcp(u8),
    /// Takes off the outermost VLAN tag.
    OfPopVlan,
    /// Sets the source MAC address.
    SetMacSrc([u8; 6]),
    /// Sets the destination MAC address.
    SetMacDst([u8; 6]),
    /// Sets the IPv4 source address.
    SetIpv4Src([u8; 4]),
    /// Sets the IPv4 destination address.
    SetIpv4Dst([u8; 4]),
    /// Sets the IPv6 source address.
    SetIpv6Src([u8; 16]),
    /// Sets the IPv6 destination address.
    SetIpv6Dst([u8; 16]),
    /// Sets the TCP or UDP source port.
    SetTpSrc(u16),
    /// Sets the TCP or UDP destination port.
    SetTpDst(u16),
    /// Takes one off the time to live or hop limit.
    DecTtl,
    /// Sets the time to live or hop limit.
    SetTtl(u8),
    /// Takes off the outer headers up to and including VXLAN.
    VxlanDecap,
    /// Puts the packet, as it is at this step, into a VXLAN packet. Its UDP checksum
    /// is 0 and its destination port 4789; IPv4 may not fragment it.
    VxlanEncap(VxlanEncap),
}

impl Action {
    /// DPDK's name of the action's type, as testpmd spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::RepresentedPort(_) => "represented_port",
            Self::PortRepresentor(_) => "port_representor",
            Self::PortId(_) => "port_id",
            Self::Drop => "drop",
            Self::OfPushVlan { .. } => "of_push_vlan",
            Self::OfSetVlanVid(_) => "of_set_vlan_vid",
            Self::OfSetVlanPcp(_) => "of_set_vlan_pcp",
            Self::OfPopVlan => "of_pop_vlan",
            Self::SetMacSrc(_) => "set_mac_src",
            Self::SetMacDst(_) => "set_mac_dst",
            Self::SetIpv4Src(_) => "set_ipv4_src",
            Self::SetIpv4Dst(_) => "set_ipv4_dst",
            Self::SetIpv6Src(_) => "set_ipv6_src",
            Self::SetIpv6Dst(_) => "set_ipv6_dst",
            Self::SetTpSrc(_) => "set_tp_src",
            Self::SetTpDst(_) => "set_tp_dst",
            Self::DecTtl => "dec_ttl",
            Self::SetTtl(_) => "set_ttl",
            Self::VxlanDecap => "vxlan_decap",
            Self::VxlanEncap(_) => "vxlan_encap",
        }
    }
}
