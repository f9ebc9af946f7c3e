//! Rules on their way out of the E-Switch, and the flows that wait for them.
//!
//! A rule that leaves may have been translated from an older state than the flows that come. As long
//! as it is in the E-Switch, no rule may enter that overlaps it: which of the two the hardware takes
//! is not defined. Every rule matches its port exactly, so only rules of the same port overlap.

use nic_flow::{Match, RuleId};
use rustc_hash::FxHashMap;

/// Up to so many rules of a port are searched for one that overlaps. Beyond that, every new rule of the
/// port waits for one of them: a packet that waits for the search would wait longer than the rule is worth.
const SEARCHED: usize = 512;

/// The rules that leave.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    /// By index of the port by which their packets enter.
    ports: Vec<Vec<Rule>>,
    /// From the slot to the port, and the place among its rules.
    at: FxHashMap<u32, (u16, usize)>,
    /// Names in all lists of waiters.
    waiting: usize,
}

#[derive(Debug)]
struct Rule {
    slot: u32,
    matches: Match,
    waiters: Vec<RuleId>,
}

impl Leaving {
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.ports.iter().flatten().map(|rule| rule.slot)
    }

    /// The rule in that slot leaves, of a flow that enters by that port.
    pub(crate) fn add(&mut self, slot: u32, port: u16, matches: Match) {
        let index = usize::from(port);
        if self.ports.len() <= index {
            self.ports.resize_with(index + 1, Vec::new);
        }
        let rules = &mut self.ports[index];
        self.at.insert(slot, (port, rules.len()));
        rules.push(Rule { slot, matches, waiters: Vec::new() });
    }

    /// The rule in that slot is gone. Returns the flows that waited for it.
    pub(crate) fn remove(&mut self, slot: u32) -> Vec<RuleId> {
        let Some((port, at)) = self.at.remove(&slot) else { return Vec::new() };
        let rules = &mut self.ports[usize::from(port)];
        let rule = rules.swap_remove(at);
        if let Some(moved) = rules.get(at) {
            self.at.insert(moved.slot, (port, at));
        }
        self.waiting -= rule.waiters.len();
        rule.waiters
    }

    /// The slot of a leaving rule for which a flow that enters by that port has to wait, if there is one.
    pub(crate) fn blocker(&self, port: u16, matches: &Match) -> Option<u32> {
        let rules = self.ports.get(usize::from(port))?;
        // From the youngest on: it leaves last, so whoever waits for it is not asked again soon.
        let mut youngest = rules.iter().rev();
        let found = if rules.len() > SEARCHED {
            youngest.next()
        } else {
            youngest.find(|rule| rule.matches.overlaps(matches))
        };
        found.map(|rule| rule.slot)
    }

    /// The flow waits until the rule in that slot is gone.
    pub(crate) fn wait(&mut self, slot: u32, flow: RuleId) {
        if let Some(&(port, at)) = self.at.get(&slot) {
            self.ports[usize::from(port)][at].waiters.push(flow);
            self.waiting += 1;
        }
    }

    /// The flow waits until the rule in that slot is gone, before all who wait for that.
    pub(crate) fn wait_first(&mut self, slot: u32, flow: RuleId) {
        if let Some(&(port, at)) = self.at.get(&slot) {
            self.ports[usize::from(port)][at].waiters.insert(0, flow);
            self.waiting += 1;
        }
    }

    /// How many rules leave.
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// How many flows wait, those counted that are gone.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lets only those wait for which `keep` is true.
    pub(crate) fn shed(&mut self, keep: impl Fn(RuleId) -> bool) {
        self.waiting = 0;
        for rule in self.ports.iter_mut().flatten() {
            rule.waiters.retain(|&flow| keep(flow));
            self.waiting += rule.waiters.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use nic_flow::Field;

    use super::*;

    fn port(port: u32) -> Match {
        Match::ANY.is(Field::InPort, port.into())
    }

    #[test]
    fn a_rule_blocks_those_that_overlap_it_and_tells_who_waited() {
        let mut leaving = Leaving::default();
        let within = |n| port(1).is(Field::EthDst, n);
        leaving.add(4, 1, within(1));
        leaving.add(5, 2, port(2));
        leaving.add(6, 1, within(3));
        assert_eq!(leaving.blocker(1, &within(1).is(Field::EthSrc, 9)), Some(4));
        assert_eq!(leaving.blocker(1, &within(2)), None);
        let (one, two) = (RuleId { slot: 7, generation: 0 }, RuleId { slot: 8, generation: 1 });
        leaving.wait(4, one);
        leaving.wait(6, two);
        leaving.wait(4, two);
        assert_eq!(leaving.waiting(), 3);
        leaving.shed(|flow| flow.slot == 7);
        leaving.wait_first(6, one);
        leaving.wait_first(6, two);
        assert_eq!((leaving.waiting(), leaving.len()), (3, 3));
        assert_eq!(leaving.remove(4), [one]);
        assert_eq!(leaving.waiting(), 2);
        assert_eq!(leaving.remove(4), []);
        assert_eq!(leaving.blocker(1, &within(1)), None);
        assert_eq!(leaving.blocker(1, &port(1)), Some(6));
        // The last one took the place of the first.
        assert_eq!(leaving.remove(6), [two, one]);
        assert_eq!(leaving.slots().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn of_very_many_rules_of_a_port_any_blocks_those_of_that_port() {
        let mut leaving = Leaving::default();
        let of = |n: u32| port(1).is(Field::EthDst, n.into());
        for slot in 0..=SEARCHED as u32 {
            leaving.add(slot, 1, of(slot));
        }
        let other = of(SEARCHED as u32 + 1);
        assert_eq!(leaving.blocker(1, &other), Some(SEARCHED as u32));
        assert_eq!(leaving.blocker(2, &port(2)), None);
        leaving.remove(0);
        assert_eq!(leaving.blocker(1, &other), None);
    }
}
