//! Which flows depend on what: dependencies are interned, and each knows its flows.
//!
//! A change of one bridge's address, one port or one neighbour is found by its value. Only changes of
//! flow rules are compared, and only with the consultations of flow rules.

use std::collections::HashMap;

use nic_pipeline::{Dependency, Touched};
use nic_table::hash::Seed;

/// Dependencies of flows, both ways.
#[derive(Debug)]
pub(crate) struct Dependents {
    ids: HashMap<Dependency, u32, Seed>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// The entries that are not found by their value.
    compared: Vec<u32>,
    /// By slot of the flow.
    flows: Vec<Vec<Link>>,
}

#[derive(Debug)]
struct Entry {
    dependency: Option<Dependency>,
    /// Where it stands among the compared, if it does.
    compared: Option<u32>,
    flows: Vec<Back>,
}

/// From a flow to a dependency: its number, and where the flow stands in its list.
#[derive(Debug, Clone, Copy)]
struct Link {
    entry: u32,
    at: u32,
}

/// From a dependency to a flow: its slot, and where the dependency stands in the flow's list.
#[derive(Debug, Clone, Copy)]
struct Back {
    slot: u32,
    at: u32,
}

impl Dependents {
    pub(crate) fn new(seed: Seed) -> Dependents {
        Dependents {
            ids: HashMap::with_hasher(seed),
            entries: Vec::new(),
            free: Vec::new(),
            compared: Vec::new(),
            flows: Vec::new(),
        }
    }

    /// The flow in that slot depends on these, and on nothing else.
    pub(crate) fn link(&mut self, slot: u32, dependencies: impl IntoIterator<Item = Dependency>) {
        self.unlink(slot);
        if self.flows.len() <= slot as usize {
            self.flows.resize_with(slot as usize + 1, Vec::new);
        }
        for dependency in dependencies {
            let entry = self.intern(dependency);
            let links = &mut self.flows[slot as usize];
            if links.iter().any(|link| link.entry == entry) {
                continue;
            }
            let flows = &mut self.entries[entry as usize].flows;
            flows.push(Back { slot, at: links.len() as u32 });
            links.push(Link { entry, at: flows.len() as u32 - 1 });
        }
    }

    /// The flow in that slot depends on nothing.
    pub(crate) fn unlink(&mut self, slot: u32) {
        let Some(links) = self.flows.get_mut(slot as usize) else { return };
        let mut links = core::mem::take(links);
        for link in links.drain(..) {
            let entry = &mut self.entries[link.entry as usize];
            entry.flows.swap_remove(link.at as usize);
            if let Some(&moved) = entry.flows.get(link.at as usize) {
                // A flow is in a list once, so what moved is another flow's.
                self.flows[moved.slot as usize][moved.at as usize].at = link.at;
            } else if entry.flows.is_empty() {
                self.free(link.entry);
            }
        }
        // The emptied list keeps its memory for the slot's next flow.
        self.flows[slot as usize] = links;
    }

    /// True if [`Dependents::of`] would have to compare more than `bound` pairs.
    pub(crate) fn exceeds(&self, touched: &[Touched], bound: usize) -> bool {
        let ranges = touched.iter().filter(|touched| !touched.is_exact()).count();
        ranges.saturating_mul(self.compared.len()) > bound
    }

    /// Calls `each` with the slot of every flow that depends on what was touched; with one slot several
    /// times if it does so several times.
    pub(crate) fn of(&self, touched: &Touched, mut each: impl FnMut(u32)) {
        let mut all = |entry: u32| {
            for flow in &self.entries[entry as usize].flows {
                each(flow.slot);
            }
        };
        if touched.is_exact() {
            if let Some(&entry) = self.ids.get(touched) {
                all(entry);
            }
            return;
        }
        for &entry in &self.compared {
            let dependency = self.entries[entry as usize].dependency;
            if dependency.is_some_and(|dependency| dependency.is_touched_by(touched)) {
                all(entry);
            }
        }
    }

    /// True if some flow depends on exactly this.
    pub(crate) fn any(&self, dependency: &Dependency) -> bool {
        self.ids.contains_key(dependency)
    }

    /// What the flow in that slot depends on.
    pub(crate) fn by_flow(&self, slot: u32) -> impl Iterator<Item = &Dependency> + '_ {
        let links = self.flows.get(slot as usize).map_or(&[][..], Vec::as_slice);
        links.iter().filter_map(|link| self.entries[link.entry as usize].dependency.as_ref())
    }

    fn intern(&mut self, dependency: Dependency) -> u32 {
        if let Some(&entry) = self.ids.get(&dependency) {
            return entry;
        }
        let compared = (!dependency.is_exact()).then_some(self.compared.len() as u32);
        let new = Entry { dependency: Some(dependency), compared, flows: Vec::new() };
        let entry = if let Some(entry) = self.free.pop() {
            self.entries[entry as usize] = new;
            entry
        } else {
            self.entries.push(new);
            self.entries.len() as u32 - 1
        };
        if compared.is_some() {
            self.compared.push(entry);
        }
        self.ids.insert(dependency, entry);
        entry
    }

    /// Nobody depends on it any more.
    fn free(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        let (dependency, compared) = (entry.dependency.take(), entry.compared.take());
        if let Some(dependency) = dependency {
            self.ids.remove(&dependency);
        }
        if let Some(at) = compared {
            self.compared.swap_remove(at as usize);
            if let Some(&moved) = self.compared.get(at as usize) {
                self.entries[moved as usize].compared = Some(at);
            }
        }
        self.free.push(number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use nic_flow::{Field, MacAddr, Match, PortId};
    use nic_policy::BridgeId;
    use proptest::prelude::*;

    use super::*;

    /// Consultations of flow rules that overlap some of the others, and exact ones.
    fn dependency(n: u8) -> Dependency {
        let from = |port: u8| Match::ANY.is(Field::InPort, port.into());
        match n {
            0 => Dependency::FlowRules(from(1)),
            1 => Dependency::FlowRules(from(1).is(Field::EthDst, 1)),
            2 => Dependency::FlowRules(from(2)),
            3 => Dependency::FlowRules(Match::ANY.is(Field::EthDst, 2)),
            4 => Dependency::Port(PortId::from_bits(1)),
            5 => Dependency::Device(PortId::from_bits(1)),
            n => Dependency::Fdb(BridgeId(1), MacAddr([2, 0, 0, 0, 0, n])),
        }
    }

    proptest! {
        #[test]
        fn flows_and_dependencies_find_each_other_after_any_history(
            steps in prop::collection::vec((0u32..8, prop::collection::vec(0u8..8, 0..4)), 1..60),
        ) {
            let mut dependents = Dependents::new(Seed::new(0));
            let mut oracle: BTreeMap<u32, BTreeSet<u8>> = BTreeMap::new();
            for (slot, dependencies) in steps {
                if dependencies.is_empty() {
                    dependents.unlink(slot);
                    oracle.remove(&slot);
                } else {
                    dependents.link(slot, dependencies.iter().copied().map(dependency));
                    oracle.insert(slot, dependencies.into_iter().collect());
                }
                let mut ranges = BTreeSet::new();
                for n in 0..8 {
                    let touched = dependency(n);
                    let mut found = BTreeSet::new();
                    dependents.of(&touched, |slot| {
                        found.insert(slot);
                    });
                    let is_touched = |d: &BTreeSet<u8>| d.iter().any(|&n| dependency(n).is_touched_by(&touched));
                    let expected: BTreeSet<u32> =
                        oracle.iter().filter(|(_, d)| is_touched(d)).map(|(slot, _)| *slot).collect();
                    prop_assert_eq!(found, expected);
                    let has = oracle.values().any(|d| d.contains(&n));
                    prop_assert_eq!(dependents.any(&touched), has);
                    if has && n < 4 {
                        ranges.insert(n);
                    }
                }
                for slot in 0..8 {
                    let found: Vec<Dependency> = dependents.by_flow(slot).copied().collect();
                    let expected = oracle.get(&slot).cloned().unwrap_or_default();
                    prop_assert_eq!(found.len(), expected.len());
                    prop_assert!(expected.into_iter().all(|n| found.contains(&dependency(n))));
                }
                let touched = [dependency(0), dependency(4), dependency(2)];
                prop_assert!(!dependents.exceeds(&touched, 2 * ranges.len()));
                prop_assert_eq!(dependents.exceeds(&touched, (2 * ranges.len()).saturating_sub(1)), !ranges.is_empty());
            }
        }
    }
}
