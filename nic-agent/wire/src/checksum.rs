//! The Internet checksum: whole (RFC 1071), incremental (RFC 1624), and over
//! pseudo headers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::IpProto;

/// A one's complement sum in progress.
///
/// Pieces are added in the order of the wire. Each piece but the last must be
/// of even length, because a sum counts sixteen-bit words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes; an odd last byte counts as the high half of a word.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut total = self.0;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            total += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        total += u64::from(u32::from_be_bytes(last));
        // Folded once here so that no number of pieces overflows.
        Self((total & 0xffff_ffff) + (total >> 32))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub const fn u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two words.
    #[inline]
    #[must_use]
    pub const fn u32(self, words: u32) -> Self {
        Self(self.0 + words as u64)
    }

    /// The sum in sixteen bits, *not* complemented: what a sender that leaves
    /// the rest to the hardware stores in the checksum field.
    #[inline]
    #[must_use]
    pub const fn folded(self) -> u16 {
        let mut total = self.0;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    /// The checksum: the complement of the sum.
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// The checksum of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// The addresses that a transport checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pseudo {
    /// Over IPv4.
    V4 {
        /// Source address.
        src: Ipv4Addr,
        /// Destination address.
        dst: Ipv4Addr,
    },
    /// Over IPv6; with a routing header, `dst` is the final destination.
    V6 {
        /// Source address.
        src: Ipv6Addr,
        /// Destination address.
        dst: Ipv6Addr,
    },
}

impl Pseudo {
    /// The pseudo header between two addresses; `None` if their families differ.
    #[must_use]
    pub fn between(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            _ => None,
        }
    }

    /// The sum of the pseudo header for `length` bytes of `proto`.
    #[must_use]
    pub fn sum(self, proto: IpProto, length: usize) -> Sum {
        let addresses = match self {
            Self::V4 { src, dst } => Sum::new().bytes(&src.octets()).bytes(&dst.octets()),
            Self::V6 { src, dst } => Sum::new().bytes(&src.octets()).bytes(&dst.octets()),
        };
        // A length past 32 bits cannot come out of an IP header.
        addresses.u16(u16::from(proto.0)).u32(length as u32)
    }
}

/// The change that rewritten words make to a sum, for use on any number of
/// checksums that cover them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta(Sum);

impl Delta {
    /// No change.
    #[must_use]
    pub const fn new() -> Self {
        Self(Sum::new())
    }

    /// A word went from `old` to `new`.
    #[inline]
    #[must_use]
    pub const fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0.u16(!old).u16(new))
    }

    /// Two words, at an even offset, went from `old` to `new`.
    #[inline]
    #[must_use]
    pub const fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0.u32(!old).u32(new))
    }

    /// An IPv6 address went from `old` to `new`.
    #[must_use]
    pub const fn u128(self, old: u128, new: u128) -> Self {
        let mut delta = self;
        let mut shift = 0;
        while shift < 128 {
            delta = delta.u32((old >> shift) as u32, (new >> shift) as u32);
            shift += 32;
        }
        delta
    }

    /// `checksum` after the change (RFC 1624, equation 3).
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        self.0.u16(!checksum).checksum()
    }

    /// A sum that is not complemented yet, after the change: a checksum field
    /// that still waits for the hardware holds such a sum, of the pseudo header.
    #[inline]
    #[must_use]
    pub const fn apply_to_sum(self, folded: u16) -> u16 {
        self.0.u16(folded).folded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Word by word as RFC 1071 spells it out.
    fn naive(bytes: &[u8]) -> u16 {
        let mut total: u32 = 0;
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u32::from(u16::from_be_bytes([pair[0], low]));
            total = (total & 0xffff) + (total >> 16);
        }
        !(total as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).folded(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_is_not_minus_zero() {
        assert_eq!(Delta::new().u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), naive(&bytes));
        }

        #[test]
        fn pieces_of_even_length_sum_as_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100,
        ) {
            let (a, b) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::new().bytes(a).bytes(b).checksum(), naive(&bytes));
        }

        #[test]
        fn an_incremental_update_equals_a_full_one(
            mut words in prop::collection::vec(any::<u16>(), 10..40),
            at in 0usize..32, new: u128, width in 0u32..3,
        ) {
            // Never all zero, as no header is: the one case with two checksums.
            words[0] |= 0x4000;
            let at = 1 + at % (words.len() - 9);
            let bytes = |words: &[u16]| -> Vec<u8> {
                words.iter().flat_map(|w| w.to_be_bytes()).collect()
            };
            let before = naive(&bytes(&words));
            let count = [1, 2, 8][width as usize];
            let old = words[at..at + count].iter().fold(0u128, |a, w| a << 16 | u128::from(*w));
            for (i, word) in words[at..at + count].iter_mut().enumerate() {
                *word = (new >> (16 * (count - 1 - i))) as u16;
            }
            let delta = match width {
                0 => Delta::new().u16(old as u16, new as u16),
                1 => Delta::new().u32(old as u32, new as u32),
                _ => Delta::new().u128(old, new),
            };
            let after = naive(&bytes(&words));
            prop_assert_eq!(delta.apply(before), after);
            prop_assert_eq!(delta.apply_to_sum(!before), !after);
        }
    }
}
