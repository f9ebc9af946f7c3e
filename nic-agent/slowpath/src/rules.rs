//! The flows' rules in the E-Switch: what is asked of the offload thread, and what it answers.

use nic_flow::action::outputs;
use nic_flow::seam::Refusal;
use nic_flow::{Action, Counters, PortId, Rule, RuleId, Shape};
use nic_policy::capability::SoftwareReason;

use crate::config::nanos;
use crate::flows::{Cold, Life, RuleState};
use crate::megaflows::Megaflows;
use crate::message::{Completion, Request};

/// Names of flows that are gone which a queue may hold beside as many as there are flows twice.
const STALE: usize = 1024;

impl Megaflows {
    /// Offers a linked flow without a rule to the card, or says why not.
    pub(crate) fn offer(&mut self, slot: u32, now: u64) {
        let id = self.flows.id(slot);
        let port = self.flows.cold(slot).port;
        self.shed(port);
        let cold = self.flows.cold(slot);
        let prospect = self.prospect(cold.matches.key().in_port(), cold.shape, &cold.actions);
        let rule = if let Some(reason) = prospect {
            RuleState::None(reason)
        } else if self.ports.get(port).dirty > 0 {
            self.ports.get_mut(port).waiting.push(id);
            RuleState::None(SoftwareReason::Overlap)
        } else if let Some(blocker) = self.leaving.blocker(port, &cold.matches) {
            self.leaving.wait(blocker, id);
            RuleState::None(SoftwareReason::Overlap)
        } else if self.has_rule_room(port, id, now) {
            self.rules.add(port, slot);
            self.installs.push(port, id);
            RuleState::Queued
        } else {
            RuleState::None(SoftwareReason::Quota)
        };
        let cold = self.flows.cold_mut(slot);
        cold.rule = rule;
        cold.retry = now.saturating_add(nanos(self.config.retry_after));
    }

    /// Takes the names of flows that are gone out of the queues that a flow of the port may join, if they
    /// may be most of what is there. Flows come and go as fast as senders like, and whoever empties a
    /// queue may be long in coming.
    fn shed(&mut self, port: u16) {
        let Megaflows { flows, cache, ports, cached, installs, leaving, .. } = self;
        let waiting = &mut ports.get_mut(port).waiting;
        let bound = 2 * cache.len() + STALE;
        let is = |id: RuleId, state: fn(&Cold) -> bool| {
            let cold = flows.find(id).map(|slot| flows.cold(slot));
            cold.is_some_and(|cold| cold.life == Life::Linked && state(cold))
        };
        if waiting.len() > 2 * cached.held_by(port) as usize + STALE {
            waiting.retain(|&id| is(id, Cold::waits));
        }
        if installs.len() > bound {
            installs.retain(|id| is(id, |cold| cold.rule == RuleState::Queued));
        }
        if leaving.waiting() > bound {
            leaving.shed(|id| is(id, Cold::waits));
        }
    }

    /// Why a flow like that is not even offered to the card, if it is not.
    pub(crate) fn prospect(
        &self,
        in_port: PortId,
        shape: Shape,
        actions: &[Action],
    ) -> Option<SoftwareReason> {
        if !self.config.offload {
            return Some(SoftwareReason::Disabled);
        }
        // Only software has the exception port.
        let management = PortId::MANAGEMENT;
        if in_port == management || outputs(actions).any(|port| port == management) {
            return Some(SoftwareReason::Refused(Refusal::NoPort(management)));
        }
        if shape == Shape::FullKey {
            return Some(SoftwareReason::Refused(Refusal::Shape(shape)));
        }
        // Only software has replication lists.
        let flood = actions.iter().find(|action| matches!(action, Action::Flood(_)));
        flood.map(|action| SoftwareReason::Refused(Refusal::Action(action.into())))
    }

    /// Offers a flow that waited, if it is still there.
    pub(crate) fn offer_again(&mut self, id: RuleId, now: u64) {
        if let Some(slot) = self.flows.find(id) {
            let cold = self.flows.cold(slot);
            if cold.life == Life::Linked && cold.waits() {
                self.offer(slot, now);
            }
        }
    }

    /// Hands out up to `room` requests, removals first: they make room in the card and let changes
    /// come to their end.
    pub(crate) fn take_requests(&mut self, room: usize, mut sink: impl FnMut(Request)) {
        let mut left = room;
        while left > 0 {
            if let Some(id) = self.removes.pop_front() {
                if let Some(slot) = self.flows.find(id) {
                    let cold = self.flows.cold_mut(slot);
                    cold.removing = true;
                    cold.requests = cold.requests.wrapping_add(1);
                }
                sink(Request::Remove { id });
                left -= 1;
                continue;
            }
            let Some(id) = self.installs.pop() else { return };
            if let Some(rule) = self.take_install(id) {
                sink(Request::Install { id, rule });
                left -= 1;
            }
        }
    }

    /// The rule of a flow whose turn has come; `None` if it went away meanwhile.
    fn take_install(&mut self, id: RuleId) -> Option<Rule> {
        let queued = |flows: &Megaflows| {
            let slot = flows.flows.find(id)?;
            let cold = flows.flows.cold(slot);
            (cold.life == Life::Linked && cold.rule == RuleState::Queued).then_some(slot)
        };
        let slot = queued(self)?;
        // The card should not get what may be stale already.
        if self.flows.hot(slot).dirty {
            self.revalidate(slot, self.now);
        }
        let slot = queued(self)?;
        let cold = self.flows.cold_mut(slot);
        cold.rule = RuleState::Sent;
        cold.requests = cold.requests.wrapping_add(1);
        Some(Rule { matches: cold.matches, actions: cold.actions.clone() })
    }

    /// Takes in what the offload thread says. A word about a flow that is gone changes nothing.
    pub(crate) fn complete(&mut self, completion: Completion, now: u64) {
        match completion {
            Completion::Installed { id } => self.installed(id, now),
            Completion::Refused { id, refusal } => self.refused(id, refusal, now),
            Completion::Removed { id, counters } => self.removed(id, counters, now),
            Completion::RemoveFailed { .. } => self.counters.remove_failures += 1,
            Completion::Counted(batch) => {
                for (id, counters) in batch {
                    match self.flows.find(id) {
                        Some(slot) => self.credit(slot, counters, now),
                        None => self.counters.late_completions += 1,
                    }
                }
            }
        }
    }

    fn installed(&mut self, id: RuleId, now: u64) {
        let Some(slot) = self.flows.find(id) else {
            self.counters.late_completions += 1;
            return;
        };
        let grace = nanos(self.config.rule_grace);
        let cold = self.flows.cold_mut(slot);
        if cold.rule != RuleState::Sent {
            return;
        }
        cold.rule = RuleState::Installed;
        self.counters.rules_created += 1;
        if cold.life == Life::Linked {
            let port = cold.port;
            self.installed.add(port, slot);
            self.flows.hot_mut(slot).rule_due = now.saturating_add(grace);
        }
    }

    fn refused(&mut self, id: RuleId, refusal: Refusal, now: u64) {
        let Some(slot) = self.flows.find(id) else {
            self.counters.late_completions += 1;
            return;
        };
        let cold = self.flows.cold_mut(slot);
        if cold.rule != RuleState::Sent {
            return;
        }
        self.counters.rules_refused += 1;
        self.counters.rules_full += u64::from(refusal.is_transient());
        // A flow that was unlinked meanwhile waits for the answer to its removal.
        if cold.life == Life::Linked {
            cold.rule = RuleState::None(SoftwareReason::Refused(refusal));
            cold.retry = now.saturating_add(nanos(self.config.retry_after));
            let port = cold.port;
            self.rules.remove(port, slot);
            if refusal == Refusal::Full {
                self.ask_for_room_in_card(port, id, now);
            }
        }
    }

    fn removed(&mut self, id: RuleId, counters: Counters, now: u64) {
        let leaving = self.flows.find(id).filter(|&slot| self.flows.cold(slot).life == Life::Leaving);
        let Some(slot) = leaving else {
            self.counters.late_completions += 1;
            return;
        };
        self.credit(slot, counters, now);
        let cold = self.flows.cold_mut(slot);
        self.counters.rules_destroyed += u64::from(cold.rule == RuleState::Installed);
        let publication = cold.publication.take();
        let charged = cold.charged;
        self.flows.release(slot);
        self.rules.settle(charged);
        let waiters = self.leaving.remove(slot);
        if let Some(number) = publication {
            self.publications.release(number);
        }
        for waiter in waiters {
            self.offer_again(waiter, now);
        }
    }

    /// A packet came that the flow's rule should have forwarded.
    pub(crate) fn overdue(&mut self, slot: u32, now: u64) {
        self.counters.lost_rule_hits += 1;
        let hot = self.flows.hot_mut(slot);
        hot.lost += 1;
        if hot.lost >= self.config.lost_rule_hits {
            self.reinstall(slot, now);
        }
    }

    /// Counts what a flow's rule forwarded or dropped since the last time.
    fn credit(&mut self, slot: u32, counters: Counters, now: u64) {
        let cold = self.flows.cold_mut(slot);
        let new = counters.since(cold.hardware);
        cold.hardware += new;
        let port = self.ports.get_mut(cold.port);
        match cold.dropped {
            Some(reason) => port.stats.drops[reason.index()] += new.packets,
            None => port.stats.hardware += new,
        }
        if new.packets > 0 {
            self.flows.hot_mut(slot).used = now;
            self.refresh_source(slot);
        }
    }
}
