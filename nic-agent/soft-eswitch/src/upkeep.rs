//! The switch's faults as they are set, as time brings them about, and as a test sees them.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::counters::AtomicCounters;
use crate::faults::{CounterFault, Faults};
use crate::rule::RuleHandle;
use crate::switch::{Change, Control, NoPort, Switch};
use crate::unreliable::{Due, FaultHits};

/// In place of a time: nothing is due.
pub(crate) const NEVER: u64 = u64::MAX;

/// What becomes of packets that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleState {
    /// They meet it.
    InForce,
    /// They do not meet it yet.
    Waiting,
    /// They meet it no more, while it exists for whoever created it.
    Lost,
    /// They still meet it, though it is destroyed.
    Leaving,
}

/// How many rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCounts {
    /// Rules that exist, in whatever state.
    pub rules: usize,
    /// Of those, rules that packets do not meet yet.
    pub waiting: usize,
    /// Of those, rules that were lost.
    pub lost: usize,
    /// Rules that are destroyed and that packets still meet.
    pub leaving: usize,
}

impl Switch {
    /// Makes the switch as unreliable as this says, in place of what was said before. Rules that wait
    /// begin to match, those that linger go, those that were to be lost are spared; those that are lost
    /// already stay lost. Counters that were frozen and still are show what they showed.
    ///
    /// # Errors
    /// [`NoPort`] if a port that is to stall does not exist; the faults are as they were.
    pub fn set_faults(&self, faults: Faults) -> Result<(), NoPort> {
        if let Some(&stranger) = faults.stall.iter().find(|port| self.index(**port).is_none()) {
            return Err(NoPort(stranger));
        }
        let mut control = self.control();
        let mut change = Change::default();
        let waiting: Vec<_> = control.unreliable.hidden.values().copied().collect();
        for handle in waiting {
            control.enter(handle, &mut change);
        }
        let leaving = std::mem::take(&mut control.unreliable.leaving);
        change.leave.extend(leaving.values());
        self.publish(&mut control, &change);
        control.free.extend(leaving.values());
        let right = |counters| counters == CounterFault::None;
        if right(control.unreliable.faults.counters) && !right(faults.counters) {
            control.read_counters();
        }
        self.reliable.store(faults.is_none(), SeqCst);
        control.unreliable.replace(faults);
        self.tell_due(&control);
        Ok(())
    }

    /// True if no faults are in force: there is no need to pass time in. Takes no lock.
    pub fn is_reliable(&self) -> bool {
        self.reliable.load(SeqCst)
    }

    /// The faults in force.
    pub fn faults(&self) -> Faults {
        self.control().unreliable.faults.clone()
    }

    /// How often each was met since they were set.
    pub fn fault_hits(&self) -> FaultHits {
        self.control().unreliable.hits
    }

    /// Brings about what is due by `now`, the time since any fixed moment, the same in each call. All
    /// other calls happen at the time of the last `advance`. A time before that changes nothing.
    ///
    /// It waits for bursts that are being forwarded, as every change of rules does.
    pub fn advance(&self, now: Duration) {
        let mut control = self.control();
        control.unreliable.reach(now);
        let mut change = Change::default();
        let mut free = Vec::new();
        while let Some(due) = control.unreliable.next() {
            match due {
                Due::Enter(handle) => control.enter(handle, &mut change),
                Due::Lose(handle) => {
                    control.lose(handle, &mut change);
                }
                Due::Leave(handle) => free.extend(control.unreliable.leaving.remove(&handle)),
                Due::Read => {
                    control.read_counters();
                    control.unreliable.read_again();
                }
            }
        }
        change.leave.extend(&free);
        self.publish(&mut control, &change);
        control.free.extend(free);
        self.tell_due(&control);
    }

    /// When [`Switch::advance`] has something to do next; `None` if it has nothing to do. Takes no lock.
    pub fn due(&self) -> Option<Duration> {
        let due = self.due.load(SeqCst);
        (due != NEVER).then(|| Duration::from_micros(due))
    }

    /// Loses that many of the rules that are not lost, chosen at random, or all: packets do not meet them any
    /// more, their handles and counters stay. Returns how many.
    pub fn lose(&self, count: usize) -> usize {
        let mut control = self.control();
        let kept = control.rules.iter().filter(|(_, placed)| placed.state != RuleState::Lost);
        let mut kept: Vec<_> = kept.map(|(handle, _)| *handle).collect();
        let picked = control.unreliable.pick(&mut kept, count);
        let mut change = Change::default();
        for &handle in &picked {
            control.lose(handle, &mut change);
        }
        self.publish(&mut control, &change);
        picked.len()
    }

    /// What becomes of packets that a rule matches; `None` if no packet meets it and none will.
    pub fn rule_state(&self, handle: RuleHandle) -> Option<RuleState> {
        let control = self.control();
        let leaving = || control.unreliable.leaving.contains_key(&handle).then_some(RuleState::Leaving);
        control.rules.get(&handle).map(|placed| placed.state).or_else(leaving)
    }

    /// How many rules there are, by what becomes of packets that they match.
    pub fn rule_counts(&self) -> RuleCounts {
        let control = self.control();
        let of = |state| control.rules.values().filter(|placed| placed.state == state).count();
        RuleCounts {
            rules: control.rules.len(),
            waiting: of(RuleState::Waiting),
            lost: of(RuleState::Lost),
            leaving: control.unreliable.leaving.len(),
        }
    }
}

impl Control {
    /// A rule that waits begins to match.
    fn enter(&mut self, handle: RuleHandle, change: &mut Change) {
        // It may be destroyed or lost by now.
        let Some(placed) = self.rules.get_mut(&handle) else { return };
        if placed.state == RuleState::Waiting {
            placed.state = RuleState::InForce;
            self.unreliable.hidden.remove(&(placed.rule.priority, placed.rule.matches));
            change.enter.push((placed.slot, placed.rule.clone()));
        }
    }

    fn lose(&mut self, handle: RuleHandle, change: &mut Change) {
        let Some(placed) = self.rules.get_mut(&handle) else { return };
        if placed.state == RuleState::Lost {
            return;
        }
        if placed.state == RuleState::InForce {
            change.leave.push(placed.slot);
        }
        placed.state = RuleState::Lost;
        self.unreliable.hits.lose += 1;
        self.unreliable.hidden.insert((placed.rule.priority, placed.rule.matches), handle);
    }

    /// The card reads the counters of all rules.
    fn read_counters(&mut self) {
        for placed in self.rules.values_mut() {
            placed.shown = placed.rule.counters.as_ref().map_or_else(Default::default, AtomicCounters::get);
        }
    }
}

#[cfg(test)]
mod tests {
    use nic_flow::{ActionList, Field, Match, PortId};

    use super::*;
    use crate::profile::Profile;
    use crate::rule::SwitchRule;
    use crate::switch::SwitchConfig;

    /// Rules come, lag, are lost and linger: in the end each slot is free, once.
    #[test]
    fn no_slot_is_lost_or_given_twice() {
        let port = PortId::from_bits(1);
        let config = SwitchConfig { profile: Profile::Full, ports: vec![port], max_rules: 100, seed: 1 };
        let switch = Switch::new(config);
        let faults = "create:eio:0.1+destroy:eio:0.2+lag:20+destroy_lag:20+lose:0.3:20";
        let rule = |n: u32| SwitchRule {
            priority: 0,
            matches: Match::ANY.is(Field::L4Dst, u128::from(n % 50)),
            actions: ActionList::new(),
            count: true,
        };
        let mut handles = Vec::new();
        for n in 0..5000u32 {
            switch.advance(Duration::from_millis(u64::from(n)));
            handles.extend(switch.create(port, rule(n)));
            if n % 3 > 0 && handles.len() > 20 {
                let handle = handles.swap_remove(n as usize % handles.len());
                if switch.destroy(handle).is_err() {
                    handles.push(handle);
                }
            }
            match n % 1000 {
                0 => switch.set_faults(format!("{faults}+seed:{n}").parse().unwrap()).unwrap(),
                500 => switch.set_faults(Faults::default()).unwrap(),
                700 => {
                    switch.flush(port);
                    handles.clear();
                }
                _ => {}
            }
            let counts = switch.rule_counts();
            let control = switch.control();
            assert_eq!(control.free.len() + counts.rules + counts.leaving, control.slots as usize);
            assert_eq!(control.unreliable.hidden.len(), counts.waiting + counts.lost);
        }
        switch.set_faults(Faults::default()).unwrap();
        switch.flush(port);
        let mut control = switch.control();
        let all: Vec<u32> = (0..control.slots).collect();
        control.free.sort_unstable();
        assert!(all.len() > 20);
        assert_eq!(control.free, all);
        assert!(control.unreliable.hidden.is_empty());
    }
}
