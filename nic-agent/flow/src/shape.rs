//! Shapes: the fixed catalogue of masks that a megaflow may have.
//!
//! A narrower match is always correct, so the bits that a translation read are rounded up to the
//! smallest shape that covers them. Software then looks a packet up in at most one hash table per
//! shape, whatever traffic comes, and the hardware's pattern templates are known at start.

use core::fmt;

use crate::field::Field;
use crate::mask::FlowMask;

macro_rules! shapes {
    ($( $(#[$doc:meta])* $shape:ident: $name:literal, $mask:expr; )*) => {
        /// A mask of the catalogue, from the fewest bits to the most.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Shape { $( $(#[$doc])* $shape, )* }

        impl Shape {
            /// The catalogue; each shape stands behind all that have fewer bits.
            pub const ALL: &'static [Shape] = &[$(Shape::$shape),*];

            /// The name used in text.
            pub const fn name(self) -> &'static str {
                match self { $( Shape::$shape => $name, )* }
            }

            /// The bits that flows of this shape match.
            pub const fn mask(self) -> FlowMask {
                match self { $( Shape::$shape => const { $mask }, )* }
            }
        }
    };
}

const PORT: FlowMask = FlowMask::exact(Field::InPort);
const L2_DESTINATION: FlowMask = PORT.with(Field::EthDst, u128::MAX);
const L2_PAIR: FlowMask = L2_DESTINATION
    .with(Field::EthSrc, u128::MAX)
    .with(Field::VlanCount, u128::MAX)
    .with(Field::VlanTpid, u128::MAX)
    .with(Field::VlanTci, u128::MAX)
    .with(Field::EthType, u128::MAX);
const L3: FlowMask = L2_PAIR.with(Field::L3, u128::MAX);
const L3_PAIR: FlowMask = L3.with(Field::IpSrc, u128::MAX).with(Field::IpDst, u128::MAX);
const L3_PROTOCOL: FlowMask = L3_PAIR.with(Field::IpProto, u128::MAX);
const FIVE_TUPLE: FlowMask =
    L3_PROTOCOL.with(Field::L4, u128::MAX).with(Field::L4Src, u128::MAX).with(Field::L4Dst, u128::MAX);
/// The codepoint of ECN that an encapsulation copies (RFC 6040 section 4.1).
const ECN: u128 = 3;
const L2_ECN: FlowMask = L3.with(Field::IpTos, ECN);
/// Where a tunnel ends, and whether the outer ECN codepoint can change the inner one: it can if its low
/// bit is set (RFC 6040 section 4.2).
const TUNNEL: FlowMask = L2_DESTINATION
    .with(Field::VlanCount, u128::MAX)
    .with(Field::VlanTpid, u128::MAX)
    .with(Field::VlanTci, u128::MAX)
    .with(Field::EthType, u128::MAX)
    .with(Field::L3, u128::MAX)
    .with(Field::IpSrc, u128::MAX)
    .with(Field::IpDst, u128::MAX)
    .with(Field::IpProto, u128::MAX)
    .with(Field::IpTos, 1)
    .with(Field::L4, u128::MAX)
    .with(Field::L4Dst, u128::MAX)
    .with(Field::Tunnel, u128::MAX)
    .with(Field::Vni, u128::MAX);
const TUNNEL_L2: FlowMask = TUNNEL
    .with(Field::TunEthDst, u128::MAX)
    .with(Field::TunEthSrc, u128::MAX)
    .with(Field::TunVlanCount, u128::MAX)
    .with(Field::TunEthType, u128::MAX);
const TUNNEL_ECN: FlowMask =
    TUNNEL_L2.with(Field::IpTos, ECN).with(Field::TunL3, u128::MAX).with(Field::TunIpTos, ECN);

shapes! {
    /// The ingress port alone: a wire from port to port.
    Port: "port", PORT;
    /// Port and destination MAC address: a port with learning off.
    L2Destination: "l2-destination", L2_DESTINATION;
    /// Port, both MAC addresses, VLAN tag, EtherType.
    L2Pair: "l2-pair", L2_PAIR;
    /// `l2-pair` and the ECN codepoint: a frame that goes into a tunnel.
    L2Ecn: "l2-ecn", L2_ECN;
    /// `l2-pair` and the upper 64 bits of an IPv6 destination.
    L3Destination64: "l3-destination-64", L3.with(Field::IpDst, u128::MAX << 64);
    /// `l2-pair` and the upper 64 bits of an IPv6 source.
    L3Source64: "l3-source-64", L3.with(Field::IpSrc, u128::MAX << 64);
    /// `l2-pair` and an IPv4 destination but for its last 16 bits.
    L3Destination16: "l3-destination-16", L3.with(Field::IpDst, u128::MAX << 16);
    /// `l2-pair` and an IPv4 source but for its last 16 bits.
    L3Source16: "l3-source-16", L3.with(Field::IpSrc, u128::MAX << 16);
    /// `l2-pair` and an IPv4 destination but for its last 8 bits.
    L3Destination24: "l3-destination-24", L3.with(Field::IpDst, u128::MAX << 8);
    /// `l2-pair` and an IPv4 source but for its last 8 bits.
    L3Source24: "l3-source-24", L3.with(Field::IpSrc, u128::MAX << 8);
    /// `l2-pair` and both IP addresses.
    L3Pair: "l3-pair", L3_PAIR;
    /// `l3-pair` and the protocol: what has no ports, or none that anybody asked for.
    L3Protocol: "l3-protocol", L3_PROTOCOL;
    /// `l3-protocol` and both ports.
    FiveTuple: "5-tuple", FIVE_TUPLE;
    /// `5-tuple` and the ECN codepoint.
    FiveTupleEcn: "5-tuple-ecn", FIVE_TUPLE.with(Field::IpTos, ECN);
    /// The outer addresses, the VNI, and both MAC addresses and the EtherType of the frame in a tunnel.
    TunnelL2: "tunnel-l2", TUNNEL_L2;
    /// `tunnel-l2` and both ECN codepoints.
    TunnelEcn: "tunnel-ecn", TUNNEL_ECN;
    /// Every bit of the key. Software only, and bound by a quota.
    FullKey: "full-key", FlowMask::ALL;
}

impl Shape {
    /// The smallest shape that covers `read`. There always is one.
    pub fn cover(read: &FlowMask) -> Shape {
        Shape::ALL.iter().copied().find(|shape| shape.mask().covers(read)).unwrap_or(Shape::FullKey)
    }

    /// The shape of that name.
    pub fn from_name(name: &str) -> Option<Shape> {
        Shape::ALL.iter().copied().find(|shape| shape.name() == name)
    }

    /// Index in [`Shape::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_ordered_by_bits_and_matches_the_port() {
        for pair in Shape::ALL.windows(2) {
            assert!(pair[0].mask().count() <= pair[1].mask().count(), "{} before {}", pair[0], pair[1]);
        }
        for shape in Shape::ALL {
            assert!(shape.mask().covers(&FlowMask::exact(Field::InPort)), "{shape}");
            assert_eq!(Shape::ALL[shape.index()], *shape);
            if *shape != Shape::FullKey {
                assert_eq!(shape.mask().with_prerequisites(), shape.mask(), "{shape} lacks a prerequisite");
            }
        }
    }

    #[test]
    fn a_probed_mask_is_rounded_up_to_the_smallest_shape() {
        let read = |field, bits| FlowMask::EMPTY.with(field, bits).with_prerequisites();
        assert_eq!(Shape::cover(&FlowMask::EMPTY), Shape::Port);
        assert_eq!(Shape::cover(&read(Field::EthDst, 1)), Shape::L2Destination);
        assert_eq!(Shape::cover(&read(Field::EthSrc, u128::MAX)), Shape::L2Pair);
        assert_eq!(Shape::cover(&read(Field::IpSrc, 0xffff_ff00)), Shape::L3Source24);
        assert_eq!(Shape::cover(&read(Field::IpDst, 0xffff_0000)), Shape::L3Destination16);
        assert_eq!(Shape::cover(&read(Field::IpDst, u128::MAX << 80)), Shape::L3Destination64);
        assert_eq!(Shape::cover(&read(Field::IpDst, 1)), Shape::L3Pair);
        assert_eq!(Shape::cover(&read(Field::IpProto, u128::MAX)), Shape::L3Protocol);
        assert_eq!(Shape::cover(&read(Field::L4Dst, u128::MAX)), Shape::FiveTuple);
        assert_eq!(Shape::cover(&read(Field::IpTos, 4)), Shape::FullKey);
    }

    #[test]
    fn a_packet_into_a_tunnel_reads_its_ecn_codepoint() {
        let read = |field, bits| FlowMask::EMPTY.with(field, bits).with_prerequisites();
        let ecn = FlowMask::exact(Field::EthSrc) | FlowMask::exact(Field::EthDst) | read(Field::IpTos, 3);
        assert_eq!(Shape::cover(&ecn), Shape::L2Ecn);
        assert_eq!(Shape::cover(&(ecn | read(Field::L4Dst, 0xffff))), Shape::FiveTupleEcn);
        assert_eq!(Shape::cover(&(ecn | read(Field::IpTos, 4))), Shape::FullKey);
    }

    #[test]
    fn a_packet_out_of_a_tunnel_reads_as_much_of_the_outer_ecn_codepoint_as_counts() {
        let read = |field, bits| FlowMask::EMPTY.with(field, bits).with_prerequisites();
        let outer = [Field::InPort, Field::EthDst, Field::VlanTci, Field::IpSrc, Field::IpDst, Field::Vni];
        let inner = [Field::TunEthSrc, Field::TunEthDst, Field::TunVlanCount];
        let plain = outer
            .iter()
            .chain(&inner)
            .fold(read(Field::IpTos, 1), |mask, &field| mask | FlowMask::exact(field).with_prerequisites());
        assert_eq!(Shape::cover(&plain), Shape::TunnelL2);
        let marked = plain | read(Field::IpTos, 3) | read(Field::TunIpTos, 3);
        assert_eq!(Shape::cover(&marked), Shape::TunnelEcn);
        assert_eq!(Shape::cover(&(plain | read(Field::TunIpSrc, 1))), Shape::FullKey);
    }

    #[test]
    fn full_key_covers_every_field() {
        assert_eq!(Shape::cover(&FlowMask::ALL), Shape::FullKey);
    }
}
