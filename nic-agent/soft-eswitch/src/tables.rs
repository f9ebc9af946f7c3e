//! The rules as a packet meets them.

use std::cmp::Reverse;
use std::sync::Arc;

use nic_flow::{ActionList, FlowKey, MAX_ACTIONS, Match};
use nic_table::TernaryTable;

use crate::cache::Verdict;
use crate::counters::AtomicCounters;
use crate::rule::RuleHandle;

/// The order of rules, the winner greatest: the lowest priority number, then the oldest.
pub(crate) type Rank = (Reverse<u32>, Reverse<u64>);

/// A rule in the switch.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) handle: RuleHandle,
    pub(crate) priority: u32,
    pub(crate) matches: Match,
    pub(crate) actions: ActionList,
    /// The switch's index of each port that the actions send to, in their order.
    pub(crate) outputs: heapless::Vec<u16, MAX_ACTIONS>,
    /// None if the rule does not count.
    pub(crate) counters: Option<AtomicCounters>,
}

impl Installed {
    pub(crate) const fn rank(&self) -> Rank {
        (Reverse(self.priority), Reverse(self.handle.serial()))
    }
}

/// One of the two copies of the rules.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Which change made this state; starts at 1, so that 0 is no generation.
    generation: u64,
    by_match: TernaryTable<Rank, u32>,
    /// A slot is what the cache remembers of a rule: it holds on to nothing.
    slots: Vec<Option<Arc<Installed>>>,
}

impl Rules {
    pub(crate) const fn new(seed: u64) -> Rules {
        Rules { generation: 1, by_match: TernaryTable::new(seed), slots: Vec::new() }
    }

    #[inline]
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins a change: what any cache knows counts no more.
    pub(crate) fn step(&mut self) {
        self.generation += 1;
    }

    pub(crate) fn insert(&mut self, slot: u32, rule: &Arc<Installed>) {
        let at = slot as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        self.by_match.insert(&rule.matches, rule.rank(), slot);
        self.slots[at] = Some(rule.clone());
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(rule) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.by_match.remove(&rule.matches, &rule.rank());
        }
    }

    /// The rules that have exactly this priority and match, the oldest first: at most one that exists, and
    /// any number that are destroyed and still match.
    pub(crate) fn same(&self, priority: u32, matches: &Match) -> impl Iterator<Item = RuleHandle> {
        let of_priority = move |((Reverse(other), _), _): &&(Rank, u32)| *other == priority;
        let entries = self.by_match.entries(matches).iter().filter(of_priority);
        entries.filter_map(|(_, slot)| Some(self.slots.get(*slot as usize)?.as_ref()?.handle))
    }

    /// What the rules say of a packet with this key.
    #[inline]
    pub(crate) fn classify(&self, key: &FlowKey) -> Verdict {
        self.by_match.lookup(key).map_or(Verdict::Miss, |hit| Verdict::Slot(*hit.value))
    }

    /// The rule of a verdict of this generation.
    #[inline]
    pub(crate) fn rule(&self, verdict: Verdict) -> Option<&Installed> {
        match verdict {
            Verdict::Miss => None,
            Verdict::Slot(slot) => self.slots.get(slot as usize)?.as_deref(),
        }
    }
}
