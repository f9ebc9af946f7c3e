//! The flow table: one slot for each megaflow, with what every packet needs apart from the rest.

use nic_flow::seam::Refusal;
use nic_flow::{ActionList, Counters, MacAddr, Match, RuleId, Shape};
use nic_policy::capability::{Offload, SoftwareReason};
use nic_policy::{BridgeId, DropReason, Place};

/// What to do with a packet of a flow, as short as it can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it as it is out of the port of that index.
    Send(u16),
    /// Run the action list.
    Run,
    /// Drop it.
    Drop(DropReason),
}

/// What a packet that hits the cache touches of its flow: one cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Hot {
    /// What software forwarded or dropped.
    pub(crate) counters: Counters,
    /// When the last packet came, as far as is known. Nanoseconds.
    pub(crate) used: u64,
    /// If packets still come after this time, the flow's rule is lost. Nanoseconds.
    pub(crate) rule_due: u64,
    pub(crate) generation: u32,
    /// Packets that came after that time.
    pub(crate) lost: u32,
    pub(crate) verdict: Verdict,
    /// The policy changed where the flow depends on it: translate again before the next packet.
    pub(crate) dirty: bool,
}

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// In nobody's use.
    Free,
    /// Holds a flow of the cache.
    Linked,
    /// The flow is gone, its rule is on its way out.
    Leaving,
}

/// Where a linked flow's rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleState {
    /// There is none.
    None(SoftwareReason),
    /// The request waits for the offload thread to take it.
    Queued,
    /// The offload thread has the request.
    Sent,
    /// In the E-Switch.
    Installed,
}

impl RuleState {
    pub(crate) const fn offload(self) -> Offload {
        match self {
            RuleState::None(reason) => Offload::Software(reason),
            RuleState::Queued | RuleState::Sent => Offload::Pending,
            RuleState::Installed => Offload::Hardware,
        }
    }
}

/// The rest of a flow.
#[derive(Debug, Clone)]
pub(crate) struct Cold {
    pub(crate) life: Life,
    pub(crate) rule: RuleState,
    pub(crate) shape: Shape,
    pub(crate) matches: Match,
    pub(crate) actions: ActionList,
    pub(crate) dropped: Option<DropReason>,
    /// The learned address that the flow's packets keep alive.
    pub(crate) source: Option<(BridgeId, MacAddr, Place)>,
    /// Index of the port by which the flow's packets enter.
    pub(crate) port: u16,
    /// Index of the port in whose account the flow's rule is: that of another, once the rule leaves to make
    /// room for one of that port's.
    pub(crate) charged: u16,
    /// Nanoseconds.
    pub(crate) created: u64,
    /// When the flow may be offered to the card again. Nanoseconds.
    pub(crate) retry: u64,
    /// What the flow's rule forwarded, as far as the offload thread told.
    pub(crate) hardware: Counters,
    /// The publication that waits until this flow is translated again.
    pub(crate) publication: Option<u64>,
    /// Requests about the rule that the offload thread was sent.
    pub(crate) requests: u32,
    /// The last of them was for its removal.
    pub(crate) removing: bool,
}

/// The slots.
#[derive(Debug)]
pub(crate) struct FlowTable {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    free: Vec<u32>,
    slots: usize,
}

impl FlowTable {
    /// A table for `flows` flows, and `rules` rules on their way out.
    pub(crate) fn new(flows: u32, rules: u32) -> FlowTable {
        let slots = (flows as usize).saturating_add(rules as usize).min(u32::MAX as usize);
        // Reserving takes address space, not memory: pages that no flow ever used are never touched.
        FlowTable {
            hot: Vec::with_capacity(slots),
            cold: Vec::with_capacity(slots),
            free: Vec::with_capacity(slots),
            slots,
        }
    }

    /// Slots that were ever used: all others have a higher number.
    pub(crate) fn high_water(&self) -> u32 {
        self.cold.len() as u32
    }

    /// Puts a flow into a free slot; `None` if there is none.
    pub(crate) fn claim(&mut self, now: u64, verdict: Verdict, cold: Cold) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            let hot = &mut self.hot[slot as usize];
            *hot = Hot { generation: hot.generation, ..Hot::new(now, verdict) };
            self.cold[slot as usize] = cold;
            return Some(slot);
        }
        if self.cold.len() == self.slots {
            return None;
        }
        self.hot.push(Hot::new(now, verdict));
        self.cold.push(cold);
        Some(self.cold.len() as u32 - 1)
    }

    /// Gives a slot back. Whoever still knows it by its old generation will not find it.
    pub(crate) fn release(&mut self, slot: u32) {
        let hot = &mut self.hot[slot as usize];
        hot.generation = hot.generation.wrapping_add(1);
        hot.dirty = false;
        self.cold[slot as usize].life = Life::Free;
        self.free.push(slot);
    }

    /// The slot of that id, unless another flow has it by now.
    pub(crate) fn find(&self, id: RuleId) -> Option<u32> {
        let hot = self.hot.get(id.slot as usize)?;
        let used = self.cold[id.slot as usize].life != Life::Free;
        (used && hot.generation == id.generation).then_some(id.slot)
    }

    pub(crate) fn id(&self, slot: u32) -> RuleId {
        RuleId { slot, generation: self.hot[slot as usize].generation }
    }

    pub(crate) fn hot(&self, slot: u32) -> &Hot {
        &self.hot[slot as usize]
    }

    #[inline]
    pub(crate) fn hot_mut(&mut self, slot: u32) -> &mut Hot {
        &mut self.hot[slot as usize]
    }

    pub(crate) fn cold(&self, slot: u32) -> &Cold {
        &self.cold[slot as usize]
    }

    pub(crate) fn cold_mut(&mut self, slot: u32) -> &mut Cold {
        &mut self.cold[slot as usize]
    }

    /// True if the slot holds a flow of the cache.
    pub(crate) fn is_linked(&self, slot: u32) -> bool {
        self.cold.get(slot as usize).is_some_and(|cold| cold.life == Life::Linked)
    }

    /// The slots that hold flows of the cache.
    pub(crate) fn linked(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.high_water()).filter(|&slot| self.is_linked(slot))
    }
}

impl Hot {
    const fn new(now: u64, verdict: Verdict) -> Hot {
        let counters = Counters { packets: 0, bytes: 0 };
        Hot { counters, used: now, rule_due: u64::MAX, generation: 0, lost: 0, verdict, dirty: false }
    }
}

impl Cold {
    /// True if the flow may be in a list of those that wait to be offered.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self.rule, RuleState::None(SoftwareReason::Overlap)) || self.may_retry()
    }

    /// True if the flow is worth another offer some time after the card or the quota said no.
    pub(crate) const fn may_retry(&self) -> bool {
        match self.rule {
            RuleState::None(SoftwareReason::Quota) => true,
            RuleState::None(SoftwareReason::Refused(refusal)) => {
                refusal.is_transient() || matches!(refusal, Refusal::NoPort(_))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_touches_of_its_flow_is_one_cache_line() {
        assert_eq!(size_of::<Hot>(), 64);
        assert_eq!(align_of::<Hot>(), 64);
    }

    #[test]
    fn a_released_slot_is_not_found_by_its_old_generation() {
        let cold = || Cold {
            life: Life::Linked,
            rule: RuleState::Queued,
            shape: Shape::Port,
            matches: Match::ANY,
            actions: ActionList::new(),
            dropped: None,
            source: None,
            port: 0,
            charged: 0,
            created: 0,
            retry: 0,
            hardware: Counters::default(),
            publication: None,
            requests: 0,
            removing: false,
        };
        let mut table = FlowTable::new(1, 1);
        let verdict = Verdict::Drop(DropReason::NoRule);
        let slot = table.claim(0, verdict, cold()).expect("a free slot");
        let id = table.id(slot);
        assert_eq!(table.find(id), Some(slot));
        table.release(slot);
        assert_eq!(table.find(id), None);
        assert_eq!(table.claim(0, verdict, cold()), Some(slot));
        assert_eq!(table.find(id), None);
        assert_ne!(table.id(slot), id);
        assert!(table.claim(0, verdict, cold()).is_some());
        assert_eq!(
            table.claim(0, verdict, cold()),
            None,
            "one slot for the flow, one for a rule that leaves"
        );
    }
}
