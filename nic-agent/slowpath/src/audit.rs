//! The audit: what a worker believes of its rules, held against what the installer holds.
//!
//! Both change while they are looked at, so the order matters: the worker's [`Belief`]s are read first,
//! and the installer takes in every request that was sent until then before it makes its [`Inventory`].
//! What still differs is an answer on its way; the worker hears it before its beliefs are read again.
//! So whatever is in flight differs in one comparison at most, and [`Audit`] tells only what differs in
//! two that follow each other.
//!
//! The E-Switch itself is not read: `rte_flow` lists no rules that would be known again. A rule that the
//! card lost keeps a handle that can be read, and shows by its packets alone ([`Config::lost_rule_hits`]).
//!
//! [`Config::lost_rule_hits`]: crate::Config::lost_rule_hits

use nic_flow::seam::PacketIo;
use nic_flow::{Match, RuleId};
use nic_policy::Discrepancy;
use rustc_hash::FxHashMap;

use crate::flows::{Life, RuleState};
use crate::megaflows::Megaflows;
use crate::worker::Worker;

/// What a worker believes of the rule of one of its flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Belief {
    /// The name of the rule.
    pub id: RuleId,
    /// Where it is.
    pub place: Believed,
    /// How many requests about it were sent so far. What differs before another request and after it
    /// are two things.
    pub requests: u32,
}

impl Belief {
    /// True if there is a rule, or one on its way in or out.
    pub const fn has_rule(&self) -> bool {
        !matches!(self.place, Believed::Software)
    }
}

/// Where a worker believes a rule to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Believed {
    /// There is none.
    Software,
    /// It will be asked for.
    Queued,
    /// It was asked for, and there was no answer.
    Sent,
    /// It is in the E-Switch.
    Installed,
    /// The flow is gone, and the removal of its rule will be asked for.
    Unwanted,
    /// The flow is gone, the removal was asked for, and there was no answer.
    Leaving,
}

/// What an installer holds of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The name of the rule.
    pub id: RuleId,
    /// What is known of it.
    pub held: Held,
    /// True if its counters could not be read for the audit.
    pub unreadable: bool,
}

/// Where an installer has a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is to be created.
    Waiting,
    /// It was created.
    Installed,
    /// It is to be destroyed, and so often that was tried.
    Leaving(u32),
}

/// All that an installer held at one moment, made by [`Installer::inventory`](crate::Installer::inventory).
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pub(crate) holdings: Vec<Holding>,
    /// The first whose counters were not asked for.
    pub(crate) unasked: usize,
    /// From so many tries on a rule that leaves is stuck.
    pub(crate) stuck_tries: u32,
}

impl Inventory {
    /// What was held.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }
}

/// A rule that differs, and did in the comparison before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The name of the rule.
    pub id: RuleId,
    /// How it differs.
    pub discrepancy: Discrepancy,
    /// Who can put it right.
    pub remedy: Remedy,
    requests: u32,
}

/// Who can put right what an audit found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The worker: [`Worker::repair`].
    Worker,
    /// The installer: [`Installer::repair`](crate::Installer::repair).
    Installer,
    /// Nobody but the card.
    None,
}

/// Compares, and remembers what differed the last time.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    suspects: FxHashMap<(RuleId, Discrepancy), u32>,
}

impl Audit {
    /// An audit that suspects nothing yet.
    pub fn new() -> Audit {
        Audit::default()
    }

    /// Compares, and returns what differs now and did in the comparison before. The beliefs must have
    /// been read before the inventory was made.
    pub fn compare(&mut self, beliefs: &[Belief], inventory: &Inventory) -> Vec<Finding> {
        let mut held: FxHashMap<RuleId, Held> =
            inventory.holdings.iter().map(|holding| (holding.id, holding.held)).collect();
        let mut found = Vec::new();
        for &Belief { id, place, requests } in beliefs {
            let differs = differs(place, held.remove(&id));
            found.extend(differs.map(|(discrepancy, remedy)| Finding { id, discrepancy, remedy, requests }));
        }
        // Of these no flow knows.
        let unowned = held.into_iter().filter(|(_, held)| !matches!(held, Held::Leaving(_)));
        found.extend(unowned.map(|(id, _)| Finding {
            id,
            discrepancy: Discrepancy::Stray,
            remedy: Remedy::Installer,
            requests: 0,
        }));
        let of_card = inventory.holdings.iter().filter_map(|holding| {
            let stuck = matches!(holding.held, Held::Leaving(tries) if tries >= inventory.stuck_tries);
            let discrepancy = match stuck {
                true => Discrepancy::Stuck,
                false if holding.unreadable => Discrepancy::Unreadable,
                false => return None,
            };
            Some(Finding { id: holding.id, discrepancy, remedy: Remedy::None, requests: 0 })
        });
        found.extend(of_card);
        let now = found.iter().map(|finding| ((finding.id, finding.discrepancy), finding.requests)).collect();
        let before = core::mem::replace(&mut self.suspects, now);
        found.retain(|finding| before.get(&(finding.id, finding.discrepancy)) == Some(&finding.requests));
        found.sort_unstable_by_key(|finding| (finding.discrepancy, finding.id));
        found
    }
}

/// How a belief differs from what is held, and who can put that right.
const fn differs(place: Believed, held: Option<Held>) -> Option<(Discrepancy, Remedy)> {
    match (place, held) {
        (Believed::Sent | Believed::Installed | Believed::Leaving, None) => {
            Some((Discrepancy::Missing, Remedy::Worker))
        }
        (Believed::Sent, Some(Held::Installed)) => Some((Discrepancy::Unanswered, Remedy::Installer)),
        // The flow is gone, and nobody heard that its rule was to go as well.
        (Believed::Leaving, Some(Held::Waiting | Held::Installed)) => {
            Some((Discrepancy::Stray, Remedy::Worker))
        }
        (Believed::Software, Some(Held::Waiting | Held::Installed)) => {
            Some((Discrepancy::Stray, Remedy::Installer))
        }
        // What is to be asked for will be; what leaves will be gone, and missing if it should not.
        _ => None,
    }
}

impl<Io: PacketIo> Worker<Io> {
    /// What is believed of rules, from a slot on, for an audit that must not hold the worker up for long:
    /// calls `sink` for those of the next `slots` slots and returns the slot to go on with, if there are
    /// more.
    pub fn beliefs_from(&self, slot: u32, slots: u32, mut sink: impl FnMut(Belief)) -> Option<u32> {
        let table = &self.megaflows.flows;
        let end = slot.saturating_add(slots).min(table.high_water());
        for slot in slot..end {
            if let Some(belief) = self.megaflows.belief(slot) {
                sink(belief);
            }
        }
        (end < table.high_water()).then_some(end)
    }

    /// The packets of the flow whose rule has that name; the flow may be gone, its rule on its way out.
    pub fn matches_of(&self, id: RuleId) -> Option<Match> {
        let slot = self.megaflows.flows.find(id)?;
        Some(self.megaflows.flows.cold(slot).matches)
    }

    /// Puts right what an audit found, if it is as it was: a flow without its rule is offered afresh, a
    /// removal that was not heard is asked for again. True if something was done. `now` is as for
    /// [`Worker::poll`].
    pub fn repair(&mut self, finding: &Finding, now: core::time::Duration) -> bool {
        let now = self.advance(now);
        finding.remedy == Remedy::Worker && self.megaflows.repair(finding, now)
    }
}

impl Megaflows {
    fn belief(&self, slot: u32) -> Option<Belief> {
        let cold = self.flows.cold(slot);
        let place = match (cold.life, cold.rule) {
            (Life::Free, _) => return None,
            (Life::Leaving, _) if cold.removing => Believed::Leaving,
            (Life::Leaving, _) => Believed::Unwanted,
            (Life::Linked, RuleState::None(_)) => Believed::Software,
            (Life::Linked, RuleState::Queued) => Believed::Queued,
            (Life::Linked, RuleState::Sent) => Believed::Sent,
            (Life::Linked, RuleState::Installed) => Believed::Installed,
        };
        Some(Belief { id: self.flows.id(slot), place, requests: cold.requests })
    }

    fn repair(&mut self, finding: &Finding, now: u64) -> bool {
        let place = |flows: &Megaflows| {
            let slot = flows.flows.find(finding.id)?;
            let belief = flows.belief(slot)?;
            (belief.requests == finding.requests).then_some((slot, belief.place))
        };
        // A flow goes back into the cache as it is, and not by a policy of before.
        if let Some((slot, _)) = place(self)
            && self.flows.hot(slot).dirty
        {
            self.revalidate(slot, now);
        }
        match place(self) {
            Some((slot, Believed::Sent | Believed::Installed)) => self.reinstall(slot, now),
            Some((slot, Believed::Leaving)) => {
                self.flows.cold_mut(slot).removing = false;
                self.removes.push_back(finding.id);
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RuleId = RuleId { slot: 3, generation: 1 };

    fn belief(place: Believed, requests: u32) -> Vec<Belief> {
        vec![Belief { id: ID, place, requests }]
    }

    fn holds(held: Held, unreadable: bool) -> Inventory {
        Inventory { holdings: vec![Holding { id: ID, held, unreadable }], unasked: 1, stuck_tries: 10 }
    }

    fn kinds(found: &[Finding]) -> Vec<Discrepancy> {
        found.iter().map(|finding| finding.discrepancy).collect()
    }

    #[test]
    fn only_what_differs_twice_in_a_row_is_told() {
        let mut audit = Audit::new();
        let (sent, nothing) = (belief(Believed::Sent, 1), Inventory::default());
        assert_eq!(audit.compare(&sent, &nothing), []);
        assert_eq!(kinds(&audit.compare(&sent, &nothing)), [Discrepancy::Missing]);
        assert_eq!(audit.compare(&sent, &holds(Held::Waiting, false)), []);
        assert_eq!(audit.compare(&sent, &nothing), [], "it was held in between");
    }

    #[test]
    fn what_differs_before_another_request_and_after_it_are_two_things() {
        let mut audit = Audit::new();
        for requests in 1..10 {
            // Refused each time, and the answer is on its way each time.
            assert_eq!(audit.compare(&belief(Believed::Sent, requests), &Inventory::default()), []);
        }
    }

    #[test]
    fn each_way_to_differ_has_its_kind_and_its_remedy() {
        let nothing = Inventory::default();
        let cases = [
            (belief(Believed::Installed, 1), nothing.clone(), Discrepancy::Missing, Remedy::Worker),
            (belief(Believed::Leaving, 2), nothing, Discrepancy::Missing, Remedy::Worker),
            (
                belief(Believed::Sent, 1),
                holds(Held::Installed, false),
                Discrepancy::Unanswered,
                Remedy::Installer,
            ),
            (belief(Believed::Leaving, 2), holds(Held::Installed, false), Discrepancy::Stray, Remedy::Worker),
            (
                belief(Believed::Software, 0),
                holds(Held::Waiting, false),
                Discrepancy::Stray,
                Remedy::Installer,
            ),
            (Vec::new(), holds(Held::Installed, false), Discrepancy::Stray, Remedy::Installer),
            (belief(Believed::Leaving, 2), holds(Held::Leaving(10), false), Discrepancy::Stuck, Remedy::None),
            (
                belief(Believed::Installed, 1),
                holds(Held::Installed, true),
                Discrepancy::Unreadable,
                Remedy::None,
            ),
        ];
        for (beliefs, inventory, discrepancy, remedy) in cases {
            let mut audit = Audit::new();
            assert_eq!(audit.compare(&beliefs, &inventory), []);
            let found = audit.compare(&beliefs, &inventory);
            let told: Vec<_> = found.iter().map(|finding| (finding.discrepancy, finding.remedy)).collect();
            assert_eq!(told, [(discrepancy, remedy)], "{beliefs:?} {inventory:?}");
        }
    }

    #[test]
    fn what_agrees_or_will_is_not_told() {
        let cases = [
            (Believed::Sent, Held::Waiting),
            (Believed::Installed, Held::Installed),
            (Believed::Queued, Held::Installed),
            (Believed::Unwanted, Held::Installed),
            (Believed::Leaving, Held::Leaving(9)),
            (Believed::Software, Held::Leaving(0)),
        ];
        for (place, held) in cases {
            let mut audit = Audit::new();
            for _ in 0..3 {
                assert_eq!(audit.compare(&belief(place, 1), &holds(held, false)), [], "{place:?} {held:?}");
            }
        }
    }
}
