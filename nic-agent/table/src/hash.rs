//! The hash of a key cut to a mask, and of anything else whose values strangers choose.

use core::hash::{BuildHasher, Hasher};

use nic_flow::field::WORDS;
use nic_flow::{FlowKey, FlowMask};

/// An odd number with its bits well mixed: the fractional part of the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// The next 64 bits of it.
const GOLDEN_NEXT: u64 = 0xf39c_c060_5ced_c835;

/// Two secrets that decide how words are mixed. Who does not know them cannot choose keys that fall
/// into one bucket.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    first: u64,
    second: u64,
}

impl Seed {
    /// A seed from 64 bits that the caller drew at random (any number does for a test).
    pub const fn new(random: u64) -> Seed {
        // Neither secret may be zero or small: a product with it would lose the word.
        Seed { first: fold(random ^ GOLDEN, GOLDEN_NEXT), second: fold(random ^ GOLDEN_NEXT, GOLDEN) | 1 }
    }

    /// The hash of a whole key.
    #[inline]
    #[must_use]
    pub fn hash_key(self, key: &FlowKey) -> u64 {
        let mut state = self.first;
        for pair in key.words().chunks_exact(2) {
            state = fold(pair[0] ^ state, pair[1] ^ self.second);
        }
        state
    }

    pub(crate) fn hash_mask(self, mask: &FlowMask) -> u64 {
        self.hash_key(&FlowKey::from_words(*mask.words()))
    }
}

/// For maps whose keys come from packets: learned addresses, what flows depend on.
impl BuildHasher for Seed {
    type Hasher = SeededHasher;

    #[inline]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher { state: self.first, seed: *self }
    }
}

/// Hashes by a [`Seed`], eight octets at a time.
#[derive(Debug, Clone)]
pub struct SeededHasher {
    state: u64,
    seed: Seed,
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        // Octets that only fill up the last word are told from octets that are there.
        self.write_u64(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.state = fold(self.state ^ value, self.seed.second);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The last word went through one product only; maps look at both ends of a hash.
        fold(self.state, self.seed.first | 1)
    }
}

/// The halves of a 128-bit product, one over the other: every bit of the result depends on every bit
/// of both factors, for the price of one multiplication.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A mask made ready for hashing: only the words in which it has a bit are looked at.
#[derive(Debug, Clone)]
pub(crate) struct MaskedHasher {
    seed: Seed,
    mask: FlowMask,
    used: [u8; WORDS],
    len: usize,
}

impl MaskedHasher {
    pub(crate) fn new(seed: Seed, mask: FlowMask) -> MaskedHasher {
        let mut used = [0; WORDS];
        let mut len = 0;
        for (index, &word) in mask.words().iter().enumerate() {
            if word != 0 {
                used[len] = index as u8;
                len += 1;
            }
        }
        MaskedHasher { seed, mask, used, len }
    }

    pub(crate) const fn mask(&self) -> &FlowMask {
        &self.mask
    }

    /// The hash of the bits of `key` that are in the mask.
    #[inline]
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        let word = |index: &u8| {
            let index = usize::from(*index) % WORDS;
            key.words()[index] & self.mask.words()[index]
        };
        let mut state = self.seed.first;
        for pair in self.used[..self.len].chunks(2) {
            let second = pair.get(1).map_or(0, word);
            state = fold(word(&pair[0]) ^ state, second ^ self.seed.second);
        }
        state
    }

    /// True if `key`, cut to the mask, is `masked`.
    #[inline]
    pub(crate) fn equal(&self, key: &FlowKey, masked: &FlowKey) -> bool {
        self.used[..self.len].iter().all(|&index| {
            let index = usize::from(index) % WORDS;
            key.words()[index] & self.mask.words()[index] == masked.words()[index]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nic_flow::{Field, Shape};
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    proptest! {
        #[test]
        fn keys_that_agree_in_the_mask_hash_alike_and_are_equal(a in testing::key(), b in testing::key(), mask in testing::mask()) {
            let hasher = MaskedHasher::new(Seed::new(4), mask);
            let alike = a & mask == b & mask;
            prop_assert_eq!(hasher.equal(&a, &(b & mask)), alike);
            prop_assert_eq!(hasher.hash(&a), hasher.hash(&(a & mask)));
            if alike {
                prop_assert_eq!(hasher.hash(&a), hasher.hash(&b));
            }
        }
    }

    #[test]
    fn flows_that_differ_in_one_field_spread_over_the_buckets() {
        let hasher = MaskedHasher::new(Seed::new(5), Shape::FiveTuple.mask());
        for field in [Field::IpSrc, Field::IpDst, Field::L4Src, Field::L4Dst, Field::EthDst] {
            let hashes = (0..4096u128).map(|n| hasher.hash(&FlowKey::ZERO.with(field, n)));
            // 4096 balls into 4096 bins leave about 1 - 1/e of the bins in use.
            let low: HashSet<u64> = hashes.clone().map(|hash| hash & 0xfff).collect();
            let high: HashSet<u64> = hashes.map(|hash| hash >> 52).collect();
            assert!(low.len() > 2400 && high.len() > 2400, "{field}: {} {}", low.len(), high.len());
        }
    }

    #[test]
    fn addresses_spread_over_the_buckets_of_a_map_whatever_they_have_in_common() {
        let seed = Seed::new(8);
        for shift in [0, 8, 20, 36] {
            let addresses = (0..4096u64).map(|n| nic_flow::MacAddr::from_u64(n << shift));
            let hashes = addresses.map(|mac| seed.hash_one((7u64, mac)));
            let low: HashSet<u64> = hashes.clone().map(|hash| hash & 0xfff).collect();
            let high: HashSet<u64> = hashes.map(|hash| hash >> 52).collect();
            assert!(low.len() > 2400 && high.len() > 2400, "{shift}: {} {}", low.len(), high.len());
        }
        assert_ne!(seed.hash_one([1u8, 0]), seed.hash_one([1u8]));
        assert_ne!(seed.hash_one(1u64), Seed::new(9).hash_one(1u64));
    }

    #[test]
    fn another_seed_gives_another_order() {
        let key = FlowKey::ZERO.with(Field::IpDst, 1);
        assert_ne!(Seed::new(6).hash_key(&key), Seed::new(7).hash_key(&key));
    }
}
