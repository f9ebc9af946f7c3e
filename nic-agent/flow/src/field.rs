//! The one table of header fields.
//!
//! A field is a name, a place in the [`FlowKey`](crate::FlowKey), a width, a way to print it and the
//! fields that must be read before it means anything. To add a header field, add its row here, where a
//! reader of packets looks for it (texts follow this order); the exhaustive matches on [`Field`] then
//! ask for the rest (see `docs/architecture.md`).
//!
//! Fields are orthogonal and never share bits. Where protocols have the same role for a place, one
//! field serves them all: [`Field::IpSrc`] is the source address of IPv4 (low 32 bits), of IPv6, and
//! the sender protocol address of ARP; [`Field::EthType`] says which.

use core::fmt;

/// How a field's value is written in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A [`PortId`](crate::PortId), by its device name.
    Port,
    /// A decimal number.
    Decimal,
    /// A hexadecimal number with `0x`.
    Hex,
    /// Six octets, `aa:bb:cc:dd:ee:ff`.
    Mac,
    /// An IPv4 or IPv6 address, by the key's EtherType.
    Ip,
    /// The same, by the EtherType of the frame in the tunnel.
    TunIp,
}

/// Where a field lies: its value is `words[word] >> shift`, cut to `width` bits; a field wider than
/// 64 bits takes `words[word]` as its high and `words[word + 1]` as its low half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the (first) word.
    pub word: usize,
    /// Bits below the field in its word; 0 for a field wider than 64 bits.
    pub shift: u32,
    /// Width in bits, 1 to 128.
    pub width: u32,
}

macro_rules! fields {
    ($( $(#[$doc:meta])* $field:ident: $name:literal, word $word:literal, shift $shift:literal,
        width $width:literal, $kind:ident, after [$($before:ident),*]; )*) => {
        /// A header field or a piece of metadata that a flow can match.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field { $( $(#[$doc])* $field, )* }

        impl Field {
            /// Every field, in the order of the table.
            pub const ALL: &'static [Field] = &[$(Field::$field),*];

            /// The name used in text, in the protocol between the processes and in traces.
            pub const fn name(self) -> &'static str {
                match self { $( Field::$field => $name, )* }
            }

            /// Where the field lies in a key.
            pub const fn place(self) -> Place {
                match self { $( Field::$field => Place { word: $word, shift: $shift, width: $width }, )* }
            }

            /// How the field is written.
            pub const fn kind(self) -> Kind {
                match self { $( Field::$field => Kind::$kind, )* }
            }

            /// The fields that give this one its meaning. Whoever reads a field has read these too,
            /// and theirs.
            pub const fn prerequisites(self) -> &'static [Field] {
                match self { $( Field::$field => &[$(Field::$before),*], )* }
            }
        }
    };
}

fields! {
    /// The E-Switch port by which the packet entered, a [`PortId`](crate::PortId).
    InPort: "in_port", word 0, shift 48, width 16, Port, after [];

    /// Source MAC address.
    EthSrc: "eth_src", word 2, shift 16, width 48, Mac, after [];
    /// Destination MAC address.
    EthDst: "eth_dst", word 1, shift 16, width 48, Mac, after [];

    /// VLAN tags: 0, 1, 2; 3 = nested deeper than is parsed.
    VlanCount: "vlan_count", word 1, shift 14, width 2, Decimal, after [];
    /// Tag protocol identifier of the outer VLAN tag, 0x8100 or 0x88a8 (IEEE 802.1Q clause 9.5).
    VlanTpid: "vlan_tpid", word 0, shift 16, width 16, Hex, after [VlanCount];
    /// Tag control information of the outer VLAN tag: PCP (3 bits), DEI, VID (12 bits).
    VlanTci: "vlan_tci", word 0, shift 0, width 16, Hex, after [VlanCount];
    /// Tag protocol identifier of the inner VLAN tag.
    InnerVlanTpid: "inner_vlan_tpid", word 8, shift 0, width 16, Hex, after [VlanCount];
    /// Tag control information of the inner VLAN tag.
    InnerVlanTci: "inner_vlan_tci", word 2, shift 0, width 16, Hex, after [VlanCount];
    /// The EtherType behind the VLAN tags that were parsed (IEEE 802.3 clause 3.2.6); 0x05ff for a
    /// frame with a length field, as OpenFlow 1.3 has it.
    EthType: "eth_type", word 0, shift 32, width 16, Hex, after [VlanCount];

    /// What the layer-3 header that `eth_type` names turned out to be, an [`L3`].
    L3: "l3", word 1, shift 12, width 2, Decimal, after [EthType];
    /// IPv4 source (low 32 bits), IPv6 source, or ARP sender protocol address.
    IpSrc: "ip_src", word 4, shift 0, width 128, Ip, after [L3];
    /// IPv4 destination (low 32 bits), IPv6 destination, or ARP target protocol address.
    IpDst: "ip_dst", word 6, shift 0, width 128, Ip, after [L3];
    /// IPv4 protocol, the last IPv6 next header, or the ARP operation (0 if above 255).
    IpProto: "ip_proto", word 3, shift 56, width 8, Decimal, after [L3];
    /// IPv4 type of service or IPv6 traffic class: DSCP (6 bits), ECN (2 bits).
    IpTos: "ip_tos", word 3, shift 48, width 8, Hex, after [L3];
    /// IPv4 time to live or IPv6 hop limit.
    IpTtl: "ip_ttl", word 3, shift 40, width 8, Decimal, after [L3];
    /// Fragmentation, a [`Frag`].
    IpFrag: "ip_frag", word 1, shift 8, width 2, Decimal, after [L3];

    /// What the layer-4 header that `ip_proto` names turned out to be, an [`L4`].
    L4: "l4", word 1, shift 10, width 2, Decimal, after [IpProto];
    /// TCP or UDP source port, or the ICMP type.
    L4Src: "l4_src", word 3, shift 16, width 16, Decimal, after [L4];
    /// TCP or UDP destination port, or the ICMP code.
    L4Dst: "l4_dst", word 3, shift 0, width 16, Decimal, after [L4];
    /// TCP flags, CWR to FIN (RFC 9293 section 3.1).
    TcpFlags: "tcp_flags", word 3, shift 32, width 8, Hex, after [L4];

    /// ARP sender hardware address.
    ArpSha: "arp_sha", word 8, shift 16, width 48, Mac, after [L3];
    /// ARP target hardware address.
    ArpTha: "arp_tha", word 9, shift 16, width 48, Mac, after [L3];

    /// What the tunnel header behind a UDP header turned out to be, a [`Tunnel`].
    Tunnel: "tunnel", word 10, shift 32, width 2, Decimal, after [L4Dst];
    /// VXLAN network identifier (RFC 7348 section 5).
    Vni: "vni", word 10, shift 40, width 24, Decimal, after [Tunnel];

    /// Source MAC address of the frame in the tunnel.
    TunEthSrc: "tun_eth_src", word 12, shift 16, width 48, Mac, after [Tunnel];
    /// Destination MAC address of the frame in the tunnel.
    TunEthDst: "tun_eth_dst", word 11, shift 16, width 48, Mac, after [Tunnel];
    /// VLAN tags of the frame in the tunnel, as [`Field::VlanCount`].
    TunVlanCount: "tun_vlan_count", word 11, shift 14, width 2, Decimal, after [Tunnel];
    /// [`Field::VlanTpid`] of the frame in the tunnel.
    TunVlanTpid: "tun_vlan_tpid", word 19, shift 0, width 16, Hex, after [TunVlanCount];
    /// [`Field::VlanTci`] of the frame in the tunnel.
    TunVlanTci: "tun_vlan_tci", word 10, shift 0, width 16, Hex, after [TunVlanCount];
    /// [`Field::InnerVlanTpid`] of the frame in the tunnel.
    TunInnerVlanTpid: "tun_inner_vlan_tpid", word 18, shift 0, width 16, Hex, after [TunVlanCount];
    /// [`Field::InnerVlanTci`] of the frame in the tunnel.
    TunInnerVlanTci: "tun_inner_vlan_tci", word 12, shift 0, width 16, Hex, after [TunVlanCount];
    /// [`Field::EthType`] of the frame in the tunnel.
    TunEthType: "tun_eth_type", word 10, shift 16, width 16, Hex, after [TunVlanCount];
    /// [`Field::L3`] of the frame in the tunnel.
    TunL3: "tun_l3", word 11, shift 12, width 2, Decimal, after [TunEthType];
    /// [`Field::IpSrc`] of the frame in the tunnel.
    TunIpSrc: "tun_ip_src", word 14, shift 0, width 128, TunIp, after [TunL3];
    /// [`Field::IpDst`] of the frame in the tunnel.
    TunIpDst: "tun_ip_dst", word 16, shift 0, width 128, TunIp, after [TunL3];
    /// [`Field::IpProto`] of the frame in the tunnel.
    TunIpProto: "tun_ip_proto", word 13, shift 56, width 8, Decimal, after [TunL3];
    /// [`Field::IpTos`] of the frame in the tunnel.
    TunIpTos: "tun_ip_tos", word 13, shift 48, width 8, Hex, after [TunL3];
    /// [`Field::IpTtl`] of the frame in the tunnel.
    TunIpTtl: "tun_ip_ttl", word 13, shift 40, width 8, Decimal, after [TunL3];
    /// [`Field::IpFrag`] of the frame in the tunnel.
    TunIpFrag: "tun_ip_frag", word 11, shift 8, width 2, Decimal, after [TunL3];
    /// [`Field::L4`] of the frame in the tunnel.
    TunL4: "tun_l4", word 11, shift 10, width 2, Decimal, after [TunIpProto];
    /// [`Field::L4Src`] of the frame in the tunnel.
    TunL4Src: "tun_l4_src", word 13, shift 16, width 16, Decimal, after [TunL4];
    /// [`Field::L4Dst`] of the frame in the tunnel.
    TunL4Dst: "tun_l4_dst", word 13, shift 0, width 16, Decimal, after [TunL4];
    /// [`Field::TcpFlags`] of the frame in the tunnel.
    TunTcpFlags: "tun_tcp_flags", word 13, shift 32, width 8, Hex, after [TunL4];
    /// [`Field::ArpSha`] of the frame in the tunnel.
    TunArpSha: "tun_arp_sha", word 18, shift 16, width 48, Mac, after [TunL3];
    /// [`Field::ArpTha`] of the frame in the tunnel.
    TunArpTha: "tun_arp_tha", word 19, shift 16, width 48, Mac, after [TunL3];
}

/// Words in a key.
pub const WORDS: usize = 20;

/// The fields of a frame beside those of the frame in its tunnel: encapsulation moves the first to the
/// second, decapsulation back.
pub const TUNNELLED: &[(Field, Field)] = &[
    (Field::EthSrc, Field::TunEthSrc),
    (Field::EthDst, Field::TunEthDst),
    (Field::VlanCount, Field::TunVlanCount),
    (Field::VlanTpid, Field::TunVlanTpid),
    (Field::VlanTci, Field::TunVlanTci),
    (Field::InnerVlanTpid, Field::TunInnerVlanTpid),
    (Field::InnerVlanTci, Field::TunInnerVlanTci),
    (Field::EthType, Field::TunEthType),
    (Field::L3, Field::TunL3),
    (Field::IpSrc, Field::TunIpSrc),
    (Field::IpDst, Field::TunIpDst),
    (Field::IpProto, Field::TunIpProto),
    (Field::IpTos, Field::TunIpTos),
    (Field::IpTtl, Field::TunIpTtl),
    (Field::IpFrag, Field::TunIpFrag),
    (Field::L4, Field::TunL4),
    (Field::L4Src, Field::TunL4Src),
    (Field::L4Dst, Field::TunL4Dst),
    (Field::TcpFlags, Field::TunTcpFlags),
    (Field::ArpSha, Field::TunArpSha),
    (Field::ArpTha, Field::TunArpTha),
];

impl Field {
    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Field> {
        Field::ALL.iter().copied().find(|field| field.name() == name)
    }

    /// The largest value that fits.
    pub const fn max(self) -> u128 {
        u128::MAX >> (128 - self.place().width)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $value:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $( $(#[$vdoc])* $variant = $value, )* }

        impl $name {
            /// Reads the value as it stands in a key; only the two low bits count.
            pub const fn from_bits(bits: u128) -> $name {
                match bits & 3 { $( $value => $name::$variant, )* _ => $name::FALLBACK }
            }
        }
    };
}

status! {
    /// The state of the layer-3 header: an item of that protocol in `rte_flow` means `Ok`.
    L3 {
        /// `eth_type` is none of IPv4, IPv6, ARP: nothing was parsed.
        Other = 0,
        /// The header is whole.
        Ok = 1,
        /// The header is truncated or its lengths contradict each other.
        Malformed = 2,
    }
}

impl L3 {
    const FALLBACK: L3 = L3::Malformed;
}

status! {
    /// The state of the layer-4 header: an item of that protocol in `rte_flow` means `Ok`.
    L4 {
        /// `ip_proto` is none of TCP, UDP, ICMP, ICMPv6, or there is no IP header.
        Other = 0,
        /// The header is whole, also in a first fragment.
        Ok = 1,
        /// The header is truncated or its lengths contradict each other.
        Malformed = 2,
        /// A later fragment: it has no layer-4 header.
        LaterFragment = 3,
    }
}

impl L4 {
    const FALLBACK: L4 = L4::Malformed;
}

status! {
    /// Fragmentation of an IP packet.
    Frag {
        /// Not a fragment.
        No = 0,
        /// The first fragment of several.
        First = 1,
        /// A later fragment.
        Later = 2,
    }
}

status! {
    /// A tunnel header. Only whole datagrams are looked into: the first fragment of one has no tunnel.
    /// A tunnel in a tunnel is not looked into.
    Tunnel {
        /// The packet is not UDP to port 4789.
        None = 0,
        /// A VXLAN header with a valid VNI, and the Ethernet header of the frame behind it.
        Vxlan = 1,
        /// The header is truncated, does not say that its VNI is valid, or no Ethernet header follows.
        Malformed = 2,
    }
}

impl Tunnel {
    const FALLBACK: Tunnel = Tunnel::Malformed;
}

impl Frag {
    const FALLBACK: Frag = Frag::Later;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_fields_share_a_bit() {
        let mut used = [0u64; WORDS];
        let mut take = |word: usize, bits: u64, field: Field| {
            assert_eq!(used[word] & bits, 0, "{field} overlaps another field");
            used[word] |= bits;
        };
        for &field in Field::ALL {
            let place = field.place();
            if place.width > 64 {
                assert_eq!((place.width, place.shift), (128, 0), "{field}");
                take(place.word, u64::MAX, field);
                take(place.word + 1, u64::MAX, field);
            } else {
                assert!(place.shift + place.width <= 64, "{field} leaves its word");
                take(place.word, (u64::MAX >> (64 - place.width)) << place.shift, field);
            }
        }
    }

    #[test]
    fn names_are_unique_and_lead_back_to_their_field() {
        for &field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
    }
}
