//! Room in what is full: a port that has less than its share gets it from the one that has most over its
//! own. The cost of it does not grow with the number of flows.

use nic_flow::{RuleId, Shape};
use nic_policy::capability::SoftwareReason;

use crate::config::nanos;
use crate::flows::{FlowTable, RuleState};
use crate::megaflows::{Megaflows, NewFlow};

impl Megaflows {
    /// True if the flow keeps the cache and the quotas, or somebody else's flow made room for it.
    pub(crate) fn has_room(&mut self, flow: &NewFlow<'_>) -> bool {
        if self.cached.held_by(flow.port) >= self.config.flows_per_port {
            self.counters.port_quota += 1;
            return false;
        }
        if self.cached.is_full() && self.cached.giver(flow.port).is_none() {
            return false;
        }
        if flow.shape == Shape::FullKey && self.full_key.is_full() && !self.evict_flow(flow.port, true) {
            self.counters.full_key_quota += 1;
            return false;
        }
        !self.cached.is_full() || self.evict_flow(flow.port, false)
    }

    /// Takes a flow of another port out of the cache so that this one has room. False if nobody has to give.
    fn evict_flow(&mut self, to: u16, full_key: bool) -> bool {
        let Megaflows { cached, full_key: full_keys, flows, .. } = self;
        let shares = if full_key { full_keys } else { cached };
        let Some(giver) = shares.giver(to) else { return false };
        let Some(slot) = shares.least(giver, |slot| flows.hot(slot).used) else { return false };
        self.ports.get_mut(giver).stats.evicted += 1;
        let outer = core::mem::replace(&mut self.taking_out, true);
        self.unlink(slot);
        self.taking_out = outer;
        true
    }

    /// True if there is room for one more rule. If not, a rule of another port may have to go: then the flow
    /// of that name is offered again as soon as it is gone.
    pub(crate) fn has_rule_room(&mut self, port: u16, id: RuleId, now: u64) -> bool {
        if !self.rules.is_full() {
            return true;
        }
        if self.taking_out {
            return false;
        }
        let Some(giver) = self.rules.giver(port) else { return false };
        let least = self.rules.least(giver, |slot| worth(&self.flows, slot));
        least.is_some_and(|slot| self.evict_rule(slot, port, id, now))
    }

    /// The card is full before the quota is: what it holds now is all that it takes. If the port has less
    /// than its share of that, a rule of another port makes room for the flow of that name.
    pub(crate) fn ask_for_room_in_card(&mut self, port: u16, id: RuleId, now: u64) {
        let takes = self.installed.held().saturating_add(self.leaving.len() as u32);
        if self.taking_out || !self.rules.is_below(port, takes) {
            return;
        }
        let Some(giver) = self.installed.most_over(takes).filter(|&giver| giver != port) else { return };
        let least = self.installed.least(giver, |slot| worth(&self.flows, slot));
        if let Some(slot) = least {
            self.evict_rule(slot, port, id, now);
        }
    }

    /// Takes the rule of a flow away, for a flow of another port; the flow goes on in software. True if there
    /// is room at once, else the other is offered again once the rule is gone.
    fn evict_rule(&mut self, slot: u32, to: u16, id: RuleId, now: u64) -> bool {
        let cold = self.flows.cold(slot);
        let (giver, queued) = (cold.port, cold.rule == RuleState::Queued);
        self.ports.get_mut(giver).stats.rules_evicted += 1;
        let retry = now.saturating_add(nanos(self.config.retry_after));
        if queued {
            self.rules.remove(giver, slot);
            self.stay_in_software(slot, retry);
            return true;
        }
        let outer = core::mem::replace(&mut self.taking_out, true);
        if self.flows.hot(slot).dirty {
            // What it says may be stale. Its next packet is translated.
            self.unlink(slot);
        } else if let Some(new) = self.replace(slot, now) {
            self.stay_in_software(new, retry);
        }
        self.taking_out = outer;
        // The room is the other's from now on, so that no more is taken away than it may have.
        self.rules.transfer(giver, to);
        self.flows.cold_mut(slot).charged = to;
        self.leaving.wait_first(slot, id);
        false
    }

    fn stay_in_software(&mut self, slot: u32, retry: u64) {
        let cold = self.flows.cold_mut(slot);
        cold.rule = RuleState::None(SoftwareReason::Quota);
        cold.retry = retry;
    }
}

/// What a flow's rule is worth: least if it was not used for long. Flows that are to be translated again have
/// to be taken out with their rule, so they are the last.
fn worth(flows: &FlowTable, slot: u32) -> (bool, u64) {
    let hot = flows.hot(slot);
    (hot.dirty, hot.used)
}
