//! Which flows depend on what: dependencies are interned, and each knows its flows.

use core::hash::Hash;

use rustc_hash::FxHashMap;

/// Dependencies of flows, both ways. `D` is what a flow depends on.
#[derive(Debug)]
pub(crate) struct Dependents<D> {
    ids: FxHashMap<D, u32>,
    entries: Vec<Entry<D>>,
    free: Vec<u32>,
    /// By slot of the flow.
    flows: Vec<Vec<Link>>,
}

#[derive(Debug)]
struct Entry<D> {
    dependency: Option<D>,
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

impl<D: Hash + Eq + Clone> Dependents<D> {
    pub(crate) fn new() -> Dependents<D> {
        Dependents { ids: FxHashMap::default(), entries: Vec::new(), free: Vec::new(), flows: Vec::new() }
    }

    /// How many distinct dependencies there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The flow in that slot depends on these, and on nothing else.
    pub(crate) fn link(&mut self, slot: u32, dependencies: impl IntoIterator<Item = D>) {
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
            } else if entry.flows.is_empty()
                && let Some(dependency) = entry.dependency.take()
            {
                self.ids.remove(&dependency);
                self.free.push(link.entry);
            }
        }
        // The emptied list keeps its memory for the slot's next flow.
        self.flows[slot as usize] = links;
    }

    /// Calls `each` with the slot of every flow that depends on something for which `touched` is true;
    /// with one slot several times if several are.
    pub(crate) fn of(&self, touched: impl Fn(&D) -> bool, mut each: impl FnMut(u32)) {
        for entry in &self.entries {
            if entry.dependency.as_ref().is_some_and(&touched) {
                for flow in &entry.flows {
                    each(flow.slot);
                }
            }
        }
    }

    /// What the flow in that slot depends on.
    pub(crate) fn by_flow(&self, slot: u32) -> impl Iterator<Item = &D> + '_ {
        let links = self.flows.get(slot as usize).map_or(&[][..], Vec::as_slice);
        links.iter().filter_map(|link| self.entries[link.entry as usize].dependency.as_ref())
    }

    fn intern(&mut self, dependency: D) -> u32 {
        if let Some(&entry) = self.ids.get(&dependency) {
            return entry;
        }
        let new = Entry { dependency: Some(dependency.clone()), flows: Vec::new() };
        let entry = if let Some(entry) = self.free.pop() {
            self.entries[entry as usize] = new;
            entry
        } else {
            self.entries.push(new);
            self.entries.len() as u32 - 1
        };
        self.ids.insert(dependency, entry);
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flows_and_dependencies_find_each_other_after_any_history(
            steps in prop::collection::vec((0u32..8, prop::collection::vec(0u8..6, 0..4)), 1..60),
        ) {
            let mut dependents = Dependents::new();
            let mut oracle: BTreeMap<u32, BTreeSet<u8>> = BTreeMap::new();
            for (slot, dependencies) in steps {
                if dependencies.is_empty() {
                    dependents.unlink(slot);
                    oracle.remove(&slot);
                } else {
                    dependents.link(slot, dependencies.iter().copied());
                    oracle.insert(slot, dependencies.into_iter().collect());
                }
                for dependency in 0..6 {
                    let mut found = Vec::new();
                    dependents.of(|&d| d == dependency, |slot| found.push(slot));
                    found.sort_unstable();
                    let expected: Vec<u32> = oracle.iter().filter(|(_, d)| d.contains(&dependency)).map(|(s, _)| *s).collect();
                    prop_assert_eq!(found, expected);
                }
                for slot in 0..8 {
                    let found: BTreeSet<u8> = dependents.by_flow(slot).copied().collect();
                    prop_assert_eq!(found, oracle.get(&slot).cloned().unwrap_or_default());
                }
                let distinct: BTreeSet<u8> = oracle.values().flatten().copied().collect();
                prop_assert_eq!(dependents.len(), distinct.len());
            }
        }
    }
}
