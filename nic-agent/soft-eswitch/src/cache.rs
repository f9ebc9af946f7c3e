//! The exact-match cache: what the rules said of a key.

use nic_flow::FlowKey;
use nic_table::hash::Seed;

/// Which rule a packet hits, or that it misses: both are worth remembering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No rule matches.
    Miss,
    /// The rule in that slot.
    Slot(u32),
}

/// A table of fixed size, two places for each hash. An entry counts for the generation of the rules in
/// which it was made, so one step of a counter empties the cache.
#[derive(Debug)]
pub(crate) struct ExactCache {
    seed: Seed,
    entries: Box<[[Entry; 2]]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// 0 is no generation: the entry was never used.
    generation: u64,
    verdict: Verdict,
    key: FlowKey,
}

const UNUSED: Entry = Entry { generation: 0, verdict: Verdict::Miss, key: FlowKey::ZERO };

impl ExactCache {
    /// A cache of at least `entries` entries, rounded up to a power of two.
    pub(crate) fn new(entries: usize, seed: Seed) -> ExactCache {
        let sets = entries.div_ceil(2).next_power_of_two();
        ExactCache { seed, entries: vec![[UNUSED; 2]; sets].into_boxed_slice() }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        self.seed.hash_key(key)
    }

    /// The verdict for a key with that hash, if it is known.
    #[inline]
    pub(crate) fn get(&self, generation: u64, hash: u64, key: &FlowKey) -> Option<Verdict> {
        let set = &self.entries[self.set(hash)];
        let found = set.iter().find(|entry| entry.generation == generation && entry.key == *key);
        found.map(|entry| entry.verdict)
    }

    /// Remembers a verdict, in place of the older of two.
    pub(crate) fn put(&mut self, generation: u64, hash: u64, key: &FlowKey, verdict: Verdict) {
        let at = self.set(hash);
        let [newer, older] = &mut self.entries[at];
        *older = std::mem::replace(newer, Entry { generation, verdict, key: *key });
    }

    #[inline]
    fn set(&self, hash: u64) -> usize {
        // The length is a power of two.
        hash as usize & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use nic_flow::Field;

    use super::*;

    #[test]
    fn a_verdict_counts_in_its_generation_only() {
        let mut cache = ExactCache::new(8, Seed::new(1));
        let key = FlowKey::ZERO.with(Field::IpDst, 7);
        let hash = cache.hash(&key);
        assert_eq!(cache.get(1, hash, &key), None);
        cache.put(1, hash, &key, Verdict::Slot(3));
        assert_eq!(cache.get(1, hash, &key), Some(Verdict::Slot(3)));
        assert_eq!(cache.get(2, hash, &key), None);
        cache.put(2, hash, &key, Verdict::Miss);
        assert_eq!(cache.get(2, hash, &key), Some(Verdict::Miss));
        assert_eq!(cache.get(3, hash, &key), None);
    }

    #[test]
    fn any_number_of_keys_stays_within_the_size_and_is_never_confused() {
        let mut cache = ExactCache::new(16, Seed::new(2));
        for n in 0..1000u32 {
            let key = FlowKey::ZERO.with(Field::IpDst, n.into());
            cache.put(1, cache.hash(&key), &key, Verdict::Slot(n));
        }
        let known = (0..1000u32).filter(|&n| {
            let key = FlowKey::ZERO.with(Field::IpDst, n.into());
            match cache.get(1, cache.hash(&key), &key) {
                Some(verdict) => verdict == Verdict::Slot(n),
                None => false,
            }
        });
        assert_eq!(known.count(), 16);
    }
}
