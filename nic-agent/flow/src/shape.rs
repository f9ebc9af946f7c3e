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

shapes! {
    /// The ingress port alone: a wire from port to port.
    Port: "port", PORT;
    /// Port and destination MAC address: a port with learning off.
    L2Destination: "l2-destination", L2_DESTINATION;
    /// Port, both MAC addresses, VLAN tag, EtherType.
    L2Pair: "l2-pair", L2_PAIR;
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
    fn full_key_covers_every_field() {
        assert_eq!(Shape::cover(&FlowMask::ALL), Shape::FullKey);
    }
}
