//! Pattern items: what a rule matches.
//!
//! Numbers are in host order and addresses in the order of the wire; encoding
//! them is this crate's business. Each item carries values and a mask of the
//! same type: a bit counts where its mask bit is set.

use crate::ethdev::DevId;

/// Values and the bits of them that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked<T> {
    /// The values.
    pub spec: T,
    /// The bits that count.
    pub mask: T,
}

impl<T> Masked<T> {
    /// These values under this mask.
    pub const fn new(spec: T, mask: T) -> Self {
        Self { spec, mask }
    }
}

impl<T: Default> Masked<T> {
    /// The header is there; nothing in it counts.
    pub fn any() -> Self {
        Self { spec: T::default(), mask: T::default() }
    }
}

/// Fields of an Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eth {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// The type field of the header itself: a tagged packet's TPID.
    pub ether_type: u16,
    /// Whether a VLAN tag follows.
    pub has_vlan: bool,
}

/// Fields of a VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
    /// The type of what follows the tag.
    pub inner_type: u16,
    /// Whether one more tag follows.
    pub has_more_vlan: bool,
}

/// Fields of an IPv4 header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4 {
    /// Version and header length, as the first byte has them.
    pub version_ihl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Flags and fragment offset, as the header has them.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

/// Fields of an IPv6 header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6 {
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// The next header, extension headers included.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Whether there is a fragment extension header.
    pub has_fragment: bool,
}

/// Fields of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Flags, FIN lowest.
    pub flags: u8,
}

/// Fields of a UDP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Fields of an ICMP header, or of an ICMPv6 one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
}

/// Fields of an ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arp {
    /// 1 for a request, 2 for a reply.
    pub operation: u16,
    /// Sender's hardware address.
    pub sha: [u8; 6],
    /// Sender's protocol address.
    pub spa: [u8; 4],
    /// Target's hardware address.
    pub tha: [u8; 6],
    /// Target's protocol address.
    pub tpa: [u8; 4],
}

/// Fields of a VXLAN header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier, 24 bits.
    pub vni: u32,
}

/// One item of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// The packet comes from what this port represents: a VF's or the wire's side.
    RepresentedPort(DevId),
    /// The packet was sent by the application on this port.
    PortRepresentor(DevId),
    /// The older form of [`Item::RepresentedPort`].
    PortId(DevId),
    /// Ethernet.
    Eth(Masked<Eth>),
    /// A VLAN tag.
    Vlan(Masked<Vlan>),
    /// IPv4.
    Ipv4(Masked<Ipv4>),
    /// IPv6.
    Ipv6(Masked<Ipv6>),
    /// TCP.
    Tcp(Masked<Tcp>),
    /// UDP.
    Udp(Masked<Udp>),
    /// ICMP.
    Icmp(Masked<Icmp>),
    /// ICMPv6.
    Icmp6(Masked<Icmp>),
    /// ARP for IPv4 over Ethernet.
    ArpEthIpv4(Masked<Arp>),
    /// VXLAN.
    Vxlan(Masked<Vxlan>),
}

impl Item {
    /// DPDK's name of the item's type, as testpmd spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RepresentedPort(_) => "represented_port",
            Self::PortRepresentor(_) => "port_representor",
            Self::PortId(_) => "port_id",
            Self::Eth(_) => "eth",
            Self::Vlan(_) => "vlan",
            Self::Ipv4(_) => "ipv4",
            Self::Ipv6(_) => "ipv6",
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Icmp(_) => "icmp",
            Self::Icmp6(_) => "icmp6",
            Self::ArpEthIpv4(_) => "arp_eth_ipv4",
            Self::Vxlan(_) => "vxlan",
        }
    }
}
