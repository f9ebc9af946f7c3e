//! What the classifiers mean, as a linear scan. For tests, in this crate and in those above: too
//! simple to be wrong, too slow to be used.

use alloc::vec::Vec;

use nic_flow::{FlowKey, Match};

/// Entries in the order in which they came.
#[derive(Debug, Clone)]
pub struct NaiveTable<R, V> {
    entries: Vec<(Match, R, V)>,
}

impl<R, V> Default for NaiveTable<R, V> {
    fn default() -> Self {
        NaiveTable { entries: Vec::new() }
    }
}

impl<R: Ord, V> NaiveTable<R, V> {
    /// An empty table.
    pub fn new() -> NaiveTable<R, V> {
        NaiveTable::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry. Returns the value that stood at the same match and rank.
    pub fn insert(&mut self, matches: Match, rank: R, value: V) -> Option<V> {
        let before = self.remove(&matches, &rank);
        self.entries.push((matches, rank, value));
        before
    }

    /// Takes out the entry of that match and rank.
    pub fn remove(&mut self, matches: &Match, rank: &R) -> Option<V> {
        let at = self.entries.iter().position(|entry| entry.0 == *matches && entry.1 == *rank)?;
        Some(self.entries.remove(at).2)
    }

    /// The entry of the greatest rank that matches the packet with this key; of equals the oldest.
    pub fn lookup(&self, key: &FlowKey) -> Option<&(Match, R, V)> {
        // `max_by` would take the last of equals.
        self.matching(key).reduce(|best, entry| if entry.1 > best.1 { entry } else { best })
    }

    /// Every entry that matches the packet with this key, the oldest first.
    pub fn matching(&self, key: &FlowKey) -> impl Iterator<Item = &(Match, R, V)> + '_ {
        let key = *key;
        self.entries.iter().filter(move |entry| entry.0.matches(&key))
    }

    /// Every entry, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &(Match, R, V)> + '_ {
        self.entries.iter()
    }
}
