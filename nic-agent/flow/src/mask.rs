//! The mask: which bits of a key count; and the match: a key with its mask.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign};

use crate::field::{Field, WORDS};
use crate::key::{FlowKey, read, write};

/// A set of bits of a [`FlowKey`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct FlowMask {
    words: [u64; WORDS],
}

impl FlowMask {
    /// No bit.
    pub const EMPTY: FlowMask = FlowMask { words: [0; WORDS] };

    /// Every bit of every field.
    pub const ALL: FlowMask = {
        let mut mask = FlowMask::EMPTY;
        let mut i = 0;
        while i < Field::ALL.len() {
            mask = mask.with(Field::ALL[i], u128::MAX);
            i += 1;
        }
        mask
    };

    /// All bits of one field.
    pub const fn exact(field: Field) -> FlowMask {
        FlowMask::EMPTY.with(field, u128::MAX)
    }

    /// The bits of one field.
    #[inline]
    pub const fn get(&self, field: Field) -> u128 {
        read(&self.words, field)
    }

    /// The same mask with the bits of one field replaced; bits beyond its width are cut off.
    #[must_use]
    pub const fn with(mut self, field: Field, bits: u128) -> FlowMask {
        write(&mut self.words, field, bits);
        self
    }

    /// Adds bits of one field.
    #[inline]
    pub const fn add(&mut self, field: Field, bits: u128) {
        let bits = bits | self.get(field);
        write(&mut self.words, field, bits);
    }

    /// The same mask with all that gives its fields a meaning: see [`Field::prerequisites`].
    #[must_use]
    pub fn with_prerequisites(self) -> FlowMask {
        let mut mask = self;
        // Prerequisites stand in front of what needs them in a chain at most six long; walking the
        // table until nothing changes needs no order of it.
        loop {
            let before = mask;
            for &field in Field::ALL {
                if mask.get(field) != 0 {
                    for &needed in field.prerequisites() {
                        mask.add(needed, u128::MAX);
                    }
                }
            }
            if mask == before {
                return mask;
            }
        }
    }

    /// True if every bit of `other` is in this mask.
    #[inline]
    pub const fn covers(&self, other: &FlowMask) -> bool {
        let mut i = 0;
        while i < WORDS {
            if other.words[i] & !self.words[i] != 0 {
                return false;
            }
            i += 1;
        }
        true
    }

    /// The bits of this mask that are not in `other`.
    #[must_use]
    pub const fn without(mut self, other: &FlowMask) -> FlowMask {
        let mut i = 0;
        while i < WORDS {
            self.words[i] &= !other.words[i];
            i += 1;
        }
        self
    }

    /// True if no bit is set.
    pub const fn is_empty(&self) -> bool {
        FlowMask::EMPTY.covers(self)
    }

    /// How many bits are set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The fields of which at least one bit is set.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        Field::ALL.iter().copied().filter(|&field| self.get(field) != 0)
    }

    /// The words, for hashing and masking.
    #[inline]
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.words
    }
}

impl BitOr for FlowMask {
    type Output = FlowMask;

    fn bitor(mut self, other: FlowMask) -> FlowMask {
        self |= other;
        self
    }
}

impl BitOrAssign for FlowMask {
    fn bitor_assign(&mut self, other: FlowMask) {
        for (mine, theirs) in self.words.iter_mut().zip(other.words) {
            *mine |= theirs;
        }
    }
}

impl BitAnd for FlowMask {
    type Output = FlowMask;

    fn bitand(mut self, other: FlowMask) -> FlowMask {
        for (mine, theirs) in self.words.iter_mut().zip(other.words) {
            *mine &= theirs;
        }
        self
    }
}

impl BitAnd<FlowMask> for FlowKey {
    type Output = FlowKey;

    #[inline]
    fn bitand(mut self, mask: FlowMask) -> FlowKey {
        for (word, bits) in self.words.iter_mut().zip(mask.words) {
            *word &= bits;
        }
        self
    }
}

impl fmt::Debug for FlowMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for field in self.fields() {
            map.entry(&field, &format_args!("{:#x}", self.get(field)));
        }
        map.finish()
    }
}

/// A set of packets: those whose key, cut to the mask, equals the match's key.
///
/// The key is always cut to the mask, so equal sets of packets with equal masks are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Match {
    key: FlowKey,
    mask: FlowMask,
}

impl Match {
    /// Every packet.
    pub const ANY: Match = Match { key: FlowKey::ZERO, mask: FlowMask::EMPTY };

    /// The packets that look like `key` in the bits of `mask`.
    pub fn new(key: FlowKey, mask: FlowMask) -> Match {
        Match { key: key & mask, mask }
    }

    /// The key; zero outside the mask.
    #[inline]
    pub const fn key(&self) -> &FlowKey {
        &self.key
    }

    /// The mask.
    #[inline]
    pub const fn mask(&self) -> &FlowMask {
        &self.mask
    }

    /// The same match that also asks for `value` in the bits `mask` of one field.
    #[must_use]
    pub fn and(mut self, field: Field, value: u128, mask: u128) -> Match {
        let bits = self.mask.get(field) | mask;
        self.key.set(field, (self.key.get(field) & !mask) | (value & mask));
        self.mask = self.mask.with(field, bits);
        self
    }

    /// The same match that also asks for an exact value of one field.
    #[must_use]
    pub fn is(self, field: Field, value: u128) -> Match {
        self.and(field, value, u128::MAX)
    }

    /// True if a packet with that key is in the set.
    #[inline]
    pub fn matches(&self, key: &FlowKey) -> bool {
        for i in 0..WORDS {
            if key.words[i] & self.mask.words[i] != self.key.words[i] {
                return false;
            }
        }
        true
    }

    /// True if some key is in both sets.
    pub fn overlaps(&self, other: &Match) -> bool {
        for i in 0..WORDS {
            let both = self.mask.words[i] & other.mask.words[i];
            if (self.key.words[i] ^ other.key.words[i]) & both != 0 {
                return false;
            }
        }
        true
    }

    /// True if every key of `other` is in this set too.
    pub fn contains(&self, other: &Match) -> bool {
        other.mask.covers(&self.mask) && self.matches(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few bits, so that hits are as common as misses.
    fn small() -> impl Strategy<Value = FlowKey> {
        (0u8..4, 0u8..4, 0u8..4).prop_map(|(a, b, c)| {
            FlowKey::ZERO
                .with(Field::InPort, a.into())
                .with(Field::IpDst, b.into())
                .with(Field::L4Dst, c.into())
        })
    }

    fn small_mask() -> impl Strategy<Value = FlowMask> {
        small().prop_map(|key| {
            FlowMask::EMPTY
                .with(Field::InPort, key.get(Field::InPort))
                .with(Field::IpDst, key.get(Field::IpDst))
                .with(Field::L4Dst, key.get(Field::L4Dst))
        })
    }

    proptest! {
        #[test]
        fn a_match_holds_the_key_it_was_made_from(key in small(), mask in small_mask()) {
            prop_assert!(Match::new(key, mask).matches(&key));
        }

        #[test]
        fn overlap_means_that_a_common_key_exists(a in small(), am in small_mask(), b in small(), bm in small_mask()) {
            let (x, y) = (Match::new(a, am), Match::new(b, bm));
            let mut common = false;
            for i in 0u128..64 {
                let key = FlowKey::ZERO.with(Field::InPort, i & 3).with(Field::IpDst, (i >> 2) & 3)
                    .with(Field::L4Dst, (i >> 4) & 3);
                common |= x.matches(&key) && y.matches(&key);
                if x.contains(&y) {
                    prop_assert!(!y.matches(&key) || x.matches(&key));
                }
            }
            prop_assert_eq!(x.overlaps(&y), common);
        }
    }

    #[test]
    fn reading_a_port_reads_all_that_leads_to_it() {
        let mask = FlowMask::exact(Field::L4Dst).with_prerequisites();
        for field in [Field::L4, Field::IpProto, Field::L3, Field::EthType, Field::VlanCount] {
            assert_eq!(mask.get(field), field.max(), "{field}");
        }
        assert_eq!(mask.get(Field::L4Src), 0);
    }
}
