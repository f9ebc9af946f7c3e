//! The installer's side of the audit: all that it holds, and whether the card still knows it.

use nic_flow::RuleId;
use nic_flow::seam::RuleSink;
use nic_policy::Discrepancy;
use rustc_hash::FxHashMap;

use crate::audit::{Finding, Held, Holding, Inventory, Remedy};
use crate::installer::{BATCH, Installer, State};
use crate::message::{Completion, Request};

impl<S: RuleSink> Installer<S> {
    /// All that is held now, requests that wait for their turn included. Makes no call to the card;
    /// [`Installer::query`] then asks for the counters of each rule.
    pub fn inventory(&self) -> Inventory {
        let held = |state: &State<S::Handle>| match state {
            State::Waiting { .. } => Held::Waiting,
            State::Installed { .. } => Held::Installed,
            State::Leaving { tries, .. } => Held::Leaving(*tries),
        };
        let mut all: FxHashMap<RuleId, Held> =
            self.rules.iter().map(|(&id, state)| (id, held(state))).collect();
        for request in &self.requests {
            match request {
                Request::Install { id, .. } => {
                    all.entry(*id).or_insert(Held::Waiting);
                }
                Request::Remove { id } => {
                    let held = all.entry(*id).or_insert(Held::Leaving(0));
                    if !matches!(held, Held::Leaving(_)) {
                        *held = Held::Leaving(0);
                    }
                }
            }
        }
        let holdings = all.into_iter().map(|(id, held)| Holding { id, held, unreadable: false }).collect();
        Inventory { holdings, unasked: 0, stuck_tries: self.config.stuck_tries.max(1) }
    }

    /// Asks the card for the counters of rules of an inventory, in at most that many calls. True if there
    /// are more to ask for.
    pub fn query(
        &mut self,
        inventory: &mut Inventory,
        calls: u32,
        complete: &mut impl FnMut(Completion),
    ) -> bool {
        let mut batch = Vec::new();
        let mut left = calls;
        while let Some(holding) = inventory.holdings.get_mut(inventory.unasked) {
            if left == 0 {
                break;
            }
            inventory.unasked += 1;
            let Some(read) = self.read(holding.id) else { continue };
            left -= 1;
            holding.unreadable = read.is_err();
            batch.extend(read.ok().flatten().map(|counters| (holding.id, counters)));
            if batch.len() == BATCH {
                complete(Completion::Counted(core::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            complete(Completion::Counted(batch));
        }
        inventory.unasked < inventory.holdings.len()
    }

    /// Puts right what an audit found: a rule that no flow owns is to be destroyed, by a later
    /// [`Installer::poll`]; a flow that was not told of its rule is told again. True if something was done.
    pub fn repair(&mut self, finding: &Finding, complete: &mut impl FnMut(Completion)) -> bool {
        let id = finding.id;
        match (finding.remedy, finding.discrepancy, self.rules.get(&id)) {
            (Remedy::Installer, Discrepancy::Unanswered, Some(State::Installed { .. })) => {
                complete(Completion::Installed { id });
                true
            }
            (Remedy::Installer, Discrepancy::Stray, _) => {
                self.submit(Request::Remove { id });
                true
            }
            _ => false,
        }
    }
}
