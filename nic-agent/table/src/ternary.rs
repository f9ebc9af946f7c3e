//! Rules of any masks, by rank.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use nic_flow::{FlowKey, FlowMask, Match};

use crate::hash::{MaskedHasher, Seed};

/// Values by match and rank: of the entries that match a packet, the one of the greatest rank wins.
///
/// Tuple-space search: one hash table for each distinct mask. Masks are searched in the order of the
/// greatest rank they hold, and the search ends at the first mask that cannot do better than what is
/// found. A change costs O(log entries) and, where it changes a mask's greatest rank, one shift in
/// the list of masks.
///
/// An entry is known by its match *and* its rank; the same match may stand at several ranks. Give
/// each entry a rank of its own: among entries of equal rank that match a packet, any may win.
#[derive(Debug, Clone)]
pub struct TernaryTable<R, V> {
    seed: Seed,
    /// One for each mask; an emptied place is used again.
    spaces: Vec<Option<Space<R, V>>>,
    free: Vec<u32>,
    by_mask: HashTable<u32>,
    /// The places in use with the greatest rank in each, the greatest first. Ranks are repeated here
    /// so that a search can end without touching the next mask's memory.
    order: Vec<(R, u32)>,
    len: usize,
}

/// The entries of one mask.
#[derive(Debug, Clone)]
struct Space<R, V> {
    hasher: MaskedHasher,
    groups: HashTable<Group<R, V>>,
    /// How many entries of this mask have a rank: finds the greatest without a scan.
    ranks: BTreeMap<R, u32>,
}

/// The entries of one match, the greatest rank first; never empty.
#[derive(Debug, Clone)]
struct Group<R, V> {
    key: FlowKey,
    entries: Vec<(R, V)>,
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit<'a, R, V> {
    /// The mask of the entry that won.
    pub mask: &'a FlowMask,
    /// Its rank.
    pub rank: &'a R,
    /// Its value.
    pub value: &'a V,
}

impl<R, V> Clone for Hit<'_, R, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, V> Copy for Hit<'_, R, V> {}

impl<R: Ord + Clone, V> TernaryTable<R, V> {
    /// An empty table. `seed` is any random number; see [`Seed`].
    pub const fn new(seed: u64) -> TernaryTable<R, V> {
        TernaryTable {
            seed: Seed::new(seed),
            spaces: Vec::new(),
            free: Vec::new(),
            by_mask: HashTable::new(),
            order: Vec::new(),
            len: 0,
        }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The masks in use, in the order in which a lookup visits them: what it costs at most.
    pub fn masks(&self) -> impl Iterator<Item = &FlowMask> + '_ {
        self.order.iter().filter_map(|&(_, place)| self.space(place)).map(|space| space.hasher.mask())
    }

    /// Puts an entry. Returns the value that stood at the same match and rank.
    pub fn insert(&mut self, matches: &Match, rank: R, value: V) -> Option<V> {
        let place = self.place_of_mask(matches.mask());
        let space = self.spaces.get_mut(place as usize)?.as_mut()?;
        let before = space.ranks.last_key_value().map(|(rank, _)| rank.clone());
        let replaced = space.insert(matches.key(), rank, value);
        let after = space.ranks.last_key_value().map(|(rank, _)| rank.clone());
        if replaced.is_none() {
            self.len += 1;
            self.reorder(place, before, after);
        }
        replaced
    }

    /// Takes out the entry of that match and rank.
    pub fn remove(&mut self, matches: &Match, rank: &R) -> Option<V> {
        let place = self.find_mask(matches.mask())?;
        let space = self.spaces.get_mut(place as usize)?.as_mut()?;
        let before = space.ranks.last_key_value().map(|(rank, _)| rank.clone());
        let removed = space.remove(matches.key(), rank)?;
        let after = space.ranks.last_key_value().map(|(rank, _)| rank.clone());
        self.len -= 1;
        let emptied = after.is_none();
        self.reorder(place, before, after);
        if emptied {
            self.forget_mask(matches.mask(), place);
        }
        Some(removed)
    }

    /// The value at that match and rank.
    pub fn get(&self, matches: &Match, rank: &R) -> Option<&V> {
        let entries = self.entries(matches);
        let place = find_rank(entries, rank).ok()?;
        Some(&entries[place].1)
    }

    /// The entries of exactly that match, the greatest rank first.
    pub fn entries(&self, matches: &Match) -> &[(R, V)] {
        let space = self.find_mask(matches.mask()).and_then(|place| self.space(place));
        space.and_then(|space| space.find(matches.key())).map_or(&[], |group| &group.entries)
    }

    /// The entry of the greatest rank that matches the packet with this key.
    #[inline]
    pub fn lookup(&self, key: &FlowKey) -> Option<Hit<'_, R, V>> {
        self.lookup_probed(key, |_| {})
    }

    /// The same, and tells which bits of the key the answer depends on: `visit` is called with each
    /// mask before it is searched, hit or miss. A key that agrees with this one in all those bits has
    /// the same answer.
    pub fn lookup_probed(&self, key: &FlowKey, mut visit: impl FnMut(&FlowMask)) -> Option<Hit<'_, R, V>> {
        let mut best: Option<Hit<'_, R, V>> = None;
        for (greatest, place) in &self.order {
            if best.is_some_and(|best| best.rank >= greatest) {
                break;
            }
            let Some(space) = self.space(*place) else { continue };
            visit(space.hasher.mask());
            if let Some((rank, value)) = space.find(key).and_then(|group| group.entries.first())
                && best.is_none_or(|best| rank > best.rank)
            {
                best = Some(Hit { mask: space.hasher.mask(), rank, value });
            }
        }
        best
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Match, &R, &V)> + '_ {
        self.spaces.iter().flatten().flat_map(|space| {
            let mask = *space.hasher.mask();
            space.groups.iter().flat_map(move |group| {
                group.entries.iter().map(move |(rank, value)| (Match::new(group.key, mask), rank, value))
            })
        })
    }

    /// Takes out every entry.
    pub fn clear(&mut self) {
        self.spaces.clear();
        self.free.clear();
        self.by_mask.clear();
        self.order.clear();
        self.len = 0;
    }

    fn space(&self, place: u32) -> Option<&Space<R, V>> {
        self.spaces.get(place as usize)?.as_ref()
    }

    fn find_mask(&self, mask: &FlowMask) -> Option<u32> {
        self.by_mask.find(self.seed.hash_mask(mask), |&place| self.has_mask(place, mask)).copied()
    }

    fn has_mask(&self, place: u32, mask: &FlowMask) -> bool {
        self.space(place).is_some_and(|space| space.hasher.mask() == mask)
    }

    /// The place of a mask; an empty one is made if there is none.
    fn place_of_mask(&mut self, mask: &FlowMask) -> u32 {
        if let Some(place) = self.find_mask(mask) {
            return place;
        }
        let space = Some(Space::new(self.seed, *mask));
        let place = match self.free.pop() {
            Some(place) => {
                self.spaces[place as usize] = space;
                place
            }
            None => {
                self.spaces.push(space);
                (self.spaces.len() - 1) as u32
            }
        };
        let (seed, spaces) = (self.seed, &self.spaces);
        self.by_mask.insert_unique(seed.hash_mask(mask), place, |&place| {
            spaces[place as usize].as_ref().map_or(0, |space| seed.hash_mask(space.hasher.mask()))
        });
        place
    }

    fn forget_mask(&mut self, mask: &FlowMask, place: u32) {
        if let Ok(found) = self.by_mask.find_entry(self.seed.hash_mask(mask), |&other| other == place) {
            found.remove();
        }
        self.spaces[place as usize] = None;
        self.free.push(place);
    }

    /// Moves a mask to where its greatest rank belongs.
    fn reorder(&mut self, place: u32, before: Option<R>, after: Option<R>) {
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Ok(at) = self.find_order(&before, place)
        {
            self.order.remove(at);
        }
        if let Some(after) = after
            && let Err(at) = self.find_order(&after, place)
        {
            self.order.insert(at, (after, place));
        }
    }

    fn find_order(&self, rank: &R, place: u32) -> Result<usize, usize> {
        self.order
            .binary_search_by(|(other, other_place)| rank.cmp(other).then_with(|| other_place.cmp(&place)))
    }
}

impl<R: Ord + Clone, V> Space<R, V> {
    fn new(seed: Seed, mask: FlowMask) -> Space<R, V> {
        Space { hasher: MaskedHasher::new(seed, mask), groups: HashTable::new(), ranks: BTreeMap::new() }
    }

    #[inline]
    fn find(&self, key: &FlowKey) -> Option<&Group<R, V>> {
        self.groups.find(self.hasher.hash(key), |group| self.hasher.equal(key, &group.key))
    }

    fn insert(&mut self, key: &FlowKey, rank: R, value: V) -> Option<V> {
        let hasher = &self.hasher;
        let equal = |group: &Group<R, V>| hasher.equal(key, &group.key);
        match self.groups.entry(hasher.hash(key), equal, |group| hasher.hash(&group.key)) {
            Entry::Occupied(mut group) => {
                let entries = &mut group.get_mut().entries;
                match find_rank(entries, &rank) {
                    Ok(at) => return Some(core::mem::replace(&mut entries[at].1, value)),
                    Err(at) => entries.insert(at, (rank.clone(), value)),
                }
            }
            Entry::Vacant(room) => {
                let entries = vec![(rank.clone(), value)];
                room.insert(Group { key: *key & *hasher.mask(), entries });
            }
        }
        *self.ranks.entry(rank).or_insert(0) += 1;
        None
    }

    fn remove(&mut self, key: &FlowKey, rank: &R) -> Option<V> {
        let hasher = &self.hasher;
        let mut group =
            self.groups.find_entry(hasher.hash(key), |group| hasher.equal(key, &group.key)).ok()?;
        let entries = &mut group.get_mut().entries;
        let (_, value) = entries.remove(find_rank(entries, rank).ok()?);
        if entries.is_empty() {
            group.remove();
        }
        if let Some(count) = self.ranks.get_mut(rank) {
            *count -= 1;
            if *count == 0 {
                self.ranks.remove(rank);
            }
        }
        Some(value)
    }
}

/// Where a rank stands, or belongs, in a list with the greatest first.
fn find_rank<R: Ord, V>(entries: &[(R, V)], rank: &R) -> Result<usize, usize> {
    entries.binary_search_by(|(other, _)| rank.cmp(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::naive::NaiveTable;
    use crate::testing;

    #[derive(Debug, Clone)]
    enum Step {
        /// Mask (an index), key, rank.
        Insert(prop::sample::Index, FlowKey, u8),
        /// Takes out the best entry of such a match that has this rank, if there is one.
        Remove(prop::sample::Index, FlowKey, u8),
        /// Takes out one of the entries there are.
        RemoveAny(prop::sample::Index),
        Lookup(FlowKey),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let place = || (any::<prop::sample::Index>(), testing::key(), 0u8..6);
        let step = prop_oneof![
            5 => place().prop_map(|(mask, key, rank)| Step::Insert(mask, key, rank)),
            1 => place().prop_map(|(mask, key, rank)| Step::Remove(mask, key, rank)),
            3 => any::<prop::sample::Index>().prop_map(Step::RemoveAny),
            6 => testing::key().prop_map(Step::Lookup),
        ];
        prop::collection::vec(step, 1..100)
    }

    type Rank = (u8, u32);

    fn check(table: &TernaryTable<Rank, u32>, oracle: &NaiveTable<Rank, u32>, key: &FlowKey) -> FlowMask {
        let mut read = FlowMask::EMPTY;
        let found = table.lookup_probed(key, |mask| read |= *mask);
        let expected = oracle.lookup(key);
        assert_eq!(
            found.map(|hit| (*hit.mask, *hit.rank, *hit.value)),
            expected.map(|(matches, rank, value)| (*matches.mask(), *rank, *value))
        );
        assert_eq!(table.lookup(key), found);
        read
    }

    proptest! {
        /// The number of the step makes each rank unique, as a caller's are.
        #[test]
        fn the_best_ranked_entry_that_matches_wins(masks in testing::masks(), steps in steps()) {
            let mut table = TernaryTable::new(8);
            let mut oracle = NaiveTable::new();
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    Step::Insert(mask, key, rank) => {
                        let matches = Match::new(key, masks[mask.index(masks.len())]);
                        prop_assert_eq!(table.insert(&matches, (rank, number), number), None);
                        oracle.insert(matches, (rank, number), number);
                        prop_assert_eq!(table.get(&matches, &(rank, number)), Some(&number));
                        check(&table, &oracle, &key);
                    }
                    Step::Remove(mask, key, rank) => {
                        let matches = Match::new(key, masks[mask.index(masks.len())]);
                        let first = table.entries(&matches).iter().map(|entry| entry.0).find(|found| found.0 == rank);
                        let rank = first.unwrap_or((rank, u32::MAX));
                        prop_assert_eq!(table.remove(&matches, &rank), oracle.remove(&matches, &rank));
                        prop_assert_eq!(table.get(&matches, &rank), None);
                        check(&table, &oracle, &key);
                    }
                    Step::RemoveAny(index) => {
                        if !oracle.is_empty() {
                            let (matches, rank, value) = *oracle.iter().nth(index.index(oracle.len())).unwrap();
                            oracle.remove(&matches, &rank);
                            prop_assert_eq!(table.remove(&matches, &rank), Some(value));
                            prop_assert_eq!(table.remove(&matches, &rank), None);
                            check(&table, &oracle, matches.key());
                        }
                    }
                    Step::Lookup(key) => {
                        check(&table, &oracle, &key);
                    }
                }
                prop_assert_eq!(table.len(), oracle.len());
                prop_assert_eq!(table.is_empty(), oracle.is_empty());
            }
            let mut left: Vec<_> = table.iter().map(|(matches, rank, value)| (*value, *rank, matches)).collect();
            let mut expected: Vec<_> = oracle.iter().map(|(matches, rank, value)| (*value, *rank, *matches)).collect();
            left.sort_unstable_by_key(|entry| entry.0);
            expected.sort_unstable_by_key(|entry| entry.0);
            prop_assert_eq!(left, expected);
        }

        #[test]
        fn masks_are_as_many_as_entries_use_and_in_the_order_of_their_ranks(
            masks in testing::masks(), entries in prop::collection::vec((any::<prop::sample::Index>(), testing::key(), 0u8..9, any::<bool>()), 1..40)
        ) {
            let mut table = TernaryTable::new(9);
            let mut left = Vec::new();
            for (number, (mask, key, rank, stays)) in (0u32..).zip(entries) {
                let matches = Match::new(key, masks[mask.index(masks.len())]);
                table.insert(&matches, (rank, number), ());
                left.push((matches, (rank, number), stays));
            }
            for (matches, rank, _) in left.iter().filter(|entry| !entry.2) {
                table.remove(matches, rank);
            }
            let mut expected: BTreeMap<FlowMask, Rank> = BTreeMap::new();
            for (matches, rank, _) in left.iter().filter(|entry| entry.2) {
                let best = expected.entry(*matches.mask()).or_insert(*rank);
                *best = (*best).max(*rank);
            }
            let mut expected: Vec<_> = expected.into_iter().collect();
            expected.sort_by_key(|&(_, rank)| core::cmp::Reverse(rank));
            prop_assert!(table.masks().eq(expected.iter().map(|(mask, _)| mask)));
        }

        #[test]
        fn a_key_that_agrees_in_the_visited_masks_has_the_same_answer(
            masks in testing::masks(), keys in prop::collection::vec((any::<prop::sample::Index>(), testing::key(), 0u8..6), 0..20),
            one in testing::key(), other in testing::key()
        ) {
            let mut table = TernaryTable::new(10);
            for (number, (mask, key, rank)) in (0u32..).zip(keys) {
                table.insert(&Match::new(key, masks[mask.index(masks.len())]), (rank, number), number);
            }
            let mut read = FlowMask::EMPTY;
            let found = table.lookup_probed(&one, |mask| read |= *mask);
            // The other key, with the bits that were read taken from the first one.
            let words = core::array::from_fn(|i| {
                (one.words()[i] & read.words()[i]) | (other.words()[i] & !read.words()[i])
            });
            prop_assert_eq!(table.lookup(&FlowKey::from_words(words)), found);
        }
    }

    #[test]
    fn a_value_put_twice_at_one_match_and_rank_is_replaced() {
        let mut table = TernaryTable::new(11);
        assert_eq!(table.insert(&Match::ANY, 1, 'a'), None);
        assert_eq!(table.insert(&Match::ANY, 1, 'b'), Some('a'));
        assert_eq!(table.insert(&Match::ANY, 2, 'c'), None);
        assert_eq!(table.entries(&Match::ANY), [(2, 'c'), (1, 'b')]);
        assert_eq!(table.len(), 2);
        table.clear();
        assert!(table.is_empty() && table.lookup(&FlowKey::ZERO).is_none());
    }

    #[test]
    fn the_search_ends_at_the_first_mask_that_cannot_do_better() {
        let mut table = TernaryTable::new(12);
        for (rank, field) in (0u8..).zip(nic_flow::Field::ALL) {
            table.insert(&Match::new(FlowKey::ZERO, FlowMask::exact(*field)), rank, ());
        }
        let mut visited = 0;
        let hit = table.lookup_probed(&FlowKey::ZERO, |_| visited += 1).unwrap();
        assert_eq!((visited, usize::from(*hit.rank)), (1, nic_flow::Field::ALL.len() - 1));
    }
}
