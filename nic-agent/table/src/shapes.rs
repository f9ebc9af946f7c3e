//! Megaflows by shape.

use alloc::vec::Vec;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use nic_flow::seam::BURST;
use nic_flow::{FlowKey, Match, Shape};

use crate::hash::{MaskedHasher, Seed};

/// Values by megaflow: a key cut to the mask of a [`Shape`].
///
/// One hash table for each shape in use. Megaflows of one state agree where they overlap, so a lookup
/// takes the first hit; a caller whose megaflows disagree gets one of them.
#[derive(Debug, Clone)]
pub struct ShapeTable<V> {
    seed: Seed,
    /// The shapes in use, in the order of the catalogue.
    tables: Vec<OneShape<V>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct OneShape<V> {
    shape: Shape,
    hasher: MaskedHasher,
    flows: HashTable<Flow<V>>,
}

#[derive(Debug, Clone)]
struct Flow<V> {
    /// Cut to the shape's mask.
    key: FlowKey,
    value: V,
}

impl<V> OneShape<V> {
    fn new(seed: Seed, shape: Shape) -> OneShape<V> {
        OneShape { shape, hasher: MaskedHasher::new(seed, shape.mask()), flows: HashTable::new() }
    }

    #[inline]
    fn find(&self, hash: u64, key: &FlowKey) -> Option<&V> {
        self.flows.find(hash, |flow| self.hasher.equal(key, &flow.key)).map(|flow| &flow.value)
    }
}

impl<V> ShapeTable<V> {
    /// An empty table. `seed` is any random number; see [`Seed`].
    pub const fn new(seed: u64) -> ShapeTable<V> {
        ShapeTable { seed: Seed::new(seed), tables: Vec::new(), len: 0 }
    }

    /// How many megaflows there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if there is no megaflow.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The shapes in use, with the number of megaflows of each: what a lookup costs at most.
    pub fn shapes(&self) -> impl Iterator<Item = (Shape, usize)> + '_ {
        self.tables.iter().map(|table| (table.shape, table.flows.len()))
    }

    /// Puts the megaflow of that shape that `key` belongs to. Returns the value it had before.
    pub fn insert(&mut self, shape: Shape, key: &FlowKey, value: V) -> Option<V> {
        let place = match self.place(shape) {
            Ok(place) => place,
            Err(place) => {
                self.tables.insert(place, OneShape::new(self.seed, shape));
                place
            }
        };
        let OneShape { hasher, flows, .. } = &mut self.tables[place];
        let hash = hasher.hash(key);
        match flows.entry(hash, |flow| hasher.equal(key, &flow.key), |flow| hasher.hash(&flow.key)) {
            Entry::Occupied(mut flow) => Some(core::mem::replace(&mut flow.get_mut().value, value)),
            Entry::Vacant(room) => {
                room.insert(Flow { key: *key & *hasher.mask(), value });
                self.len += 1;
                None
            }
        }
    }

    /// Takes out the megaflow of that shape that `key` belongs to.
    pub fn remove(&mut self, shape: Shape, key: &FlowKey) -> Option<V> {
        let place = self.place(shape).ok()?;
        let OneShape { hasher, flows, .. } = &mut self.tables[place];
        let found = flows.find_entry(hasher.hash(key), |flow| hasher.equal(key, &flow.key)).ok()?;
        let (flow, _) = found.remove();
        self.len -= 1;
        if self.tables[place].flows.is_empty() {
            self.tables.remove(place);
        }
        Some(flow.value)
    }

    /// The value of the megaflow of that shape that `key` belongs to.
    pub fn get(&self, shape: Shape, key: &FlowKey) -> Option<&V> {
        let table = &self.tables[self.place(shape).ok()?];
        table.find(table.hasher.hash(key), key)
    }

    /// The same, to change the value.
    pub fn get_mut(&mut self, shape: Shape, key: &FlowKey) -> Option<&mut V> {
        let place = self.place(shape).ok()?;
        let OneShape { hasher, flows, .. } = &mut self.tables[place];
        flows.find_mut(hasher.hash(key), |flow| hasher.equal(key, &flow.key)).map(|flow| &mut flow.value)
    }

    /// The value of a megaflow that the packet with this key belongs to.
    #[inline]
    pub fn lookup(&self, key: &FlowKey) -> Option<&V> {
        self.tables.iter().find_map(|table| table.find(table.hasher.hash(key), key))
    }

    /// Looks up many packets: `out[i]` becomes the answer for `keys[i]`. As many are looked up as the
    /// shorter of the two slices has.
    ///
    /// Shape by shape, all hashes first and then all tables: the loads of one packet run while those
    /// of another wait for memory.
    pub fn lookup_burst<'a>(&'a self, keys: &[FlowKey], out: &mut [Option<&'a V>]) {
        for (keys, out) in keys.chunks(BURST).zip(out.chunks_mut(BURST)) {
            let count = keys.len().min(out.len());
            out[..count].fill(None);
            let mut hashes = [0u64; BURST];
            for table in &self.tables {
                let mut open = false;
                for i in 0..count {
                    if out[i].is_none() {
                        hashes[i] = table.hasher.hash(&keys[i]);
                        open = true;
                    }
                }
                if !open {
                    break;
                }
                for i in 0..count {
                    if out[i].is_none() {
                        out[i] = table.find(hashes[i], &keys[i]);
                    }
                }
            }
        }
    }

    /// Every megaflow, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Shape, Match, &V)> + '_ {
        self.tables.iter().flat_map(|table| {
            let mask = *table.hasher.mask();
            table.flows.iter().map(move |flow| (table.shape, Match::new(flow.key, mask), &flow.value))
        })
    }

    /// Keeps the megaflows for which `keep` is true. It sees the key cut to the shape.
    pub fn retain(&mut self, mut keep: impl FnMut(Shape, &FlowKey, &mut V) -> bool) {
        self.len = 0;
        for table in &mut self.tables {
            let shape = table.shape;
            table.flows.retain(|flow| keep(shape, &flow.key, &mut flow.value));
            self.len += table.flows.len();
        }
        self.tables.retain(|table| !table.flows.is_empty());
    }

    /// Takes out every megaflow.
    pub fn clear(&mut self) {
        self.tables.clear();
        self.len = 0;
    }

    /// Where the table of a shape is, or belongs.
    fn place(&self, shape: Shape) -> Result<usize, usize> {
        self.tables.binary_search_by_key(&shape, |table| table.shape)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use nic_flow::Field;
    use proptest::prelude::*;

    use super::*;
    use crate::naive::NaiveTable;
    use crate::testing;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(Shape, FlowKey),
        Remove(Shape, FlowKey),
        Lookup(FlowKey),
        KeepShape(Shape),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let shape = || prop::sample::select(Shape::ALL);
        let step = prop_oneof![
            4 => (shape(), testing::key()).prop_map(|(shape, key)| Step::Insert(shape, key)),
            2 => (shape(), testing::key()).prop_map(|(shape, key)| Step::Remove(shape, key)),
            6 => testing::key().prop_map(Step::Lookup),
            1 => shape().prop_map(Step::KeepShape),
        ];
        prop::collection::vec(step, 1..80)
    }

    /// The oracle's answer: megaflows of the test may disagree, so any that matches will do.
    fn check(table: &ShapeTable<u32>, oracle: &NaiveTable<Shape, u32>, key: &FlowKey) {
        let found = table.lookup(key);
        assert_eq!(found.is_some(), oracle.matching(key).next().is_some());
        if let Some(value) = found {
            assert!(
                oracle.matching(key).any(|(_, _, other)| other == value),
                "{value} does not match {key:?}"
            );
        }
        let mut out = [Some(&u32::MAX); 3];
        table.lookup_burst(&[*key, FlowKey::ZERO, *key], &mut out);
        assert_eq!(out, [found, table.lookup(&FlowKey::ZERO), found]);
    }

    proptest! {
        #[test]
        fn a_lookup_finds_a_flow_if_and_only_if_one_matches(steps in steps()) {
            let mut table = ShapeTable::new(1);
            let mut oracle = NaiveTable::new();
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    Step::Insert(shape, key) => {
                        let matches = Match::new(key, shape.mask());
                        prop_assert_eq!(table.insert(shape, &key, number), oracle.insert(matches, shape, number));
                        prop_assert_eq!(table.get(shape, &key), Some(&number));
                        check(&table, &oracle, &key);
                    }
                    Step::Remove(shape, key) => {
                        let matches = Match::new(key, shape.mask());
                        prop_assert_eq!(table.remove(shape, &key), oracle.remove(&matches, &shape));
                        prop_assert_eq!(table.get(shape, &key), None);
                        prop_assert_eq!(table.get_mut(shape, &key), None);
                    }
                    Step::Lookup(key) => check(&table, &oracle, &key),
                    Step::KeepShape(keep) => {
                        table.retain(|shape, _, _| shape != keep);
                        let gone: Vec<_> = oracle.iter().filter(|entry| entry.1 == keep).cloned().collect();
                        for (matches, shape, _) in gone {
                            oracle.remove(&matches, &shape);
                        }
                    }
                }
                prop_assert_eq!(table.len(), oracle.len());
                prop_assert_eq!(table.is_empty(), oracle.is_empty());
            }
            let mut left: Vec<_> = table.iter().map(|(shape, matches, value)| (*value, shape, matches)).collect();
            let mut expected: Vec<_> = oracle.iter().map(|(matches, shape, value)| (*value, *shape, *matches)).collect();
            left.sort_by_key(|entry| entry.0);
            expected.sort_by_key(|entry| entry.0);
            prop_assert_eq!(left, expected);
        }

        #[test]
        fn a_burst_of_any_length_answers_as_single_lookups_do(keys in prop::collection::vec(testing::key(), 0..100)) {
            let mut table = ShapeTable::new(2);
            for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
                table.insert(Shape::ALL[number % Shape::ALL.len()], key, number);
            }
            let mut out = vec![None; keys.len()];
            table.lookup_burst(&keys, &mut out);
            for (key, found) in keys.iter().zip(out) {
                prop_assert_eq!(found, table.lookup(key));
            }
        }
    }

    #[test]
    fn only_shapes_in_use_are_searched() {
        let mut table = ShapeTable::new(3);
        let key = FlowKey::ZERO.with(Field::InPort, 7);
        table.insert(Shape::FiveTuple, &key, ());
        table.insert(Shape::L2Pair, &key, ());
        table.insert(Shape::L2Pair, &FlowKey::ZERO, ());
        assert!(table.shapes().eq([(Shape::L2Pair, 2), (Shape::FiveTuple, 1)]));
        table.remove(Shape::FiveTuple, &key);
        assert!(table.shapes().eq([(Shape::L2Pair, 2)]));
        table.clear();
        assert_eq!(table.shapes().count(), 0);
        assert_eq!(table.lookup(&key), None);
    }
}
