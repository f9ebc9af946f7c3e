//! Flows that nobody uses any more, and flows that deserve another try in the card.

use crate::config::nanos;
use crate::flows::Life;
use crate::megaflows::Megaflows;
use nic_flow::PortId;

/// Slots looked at in one call, at most.
const SWEPT_AT_ONCE: u64 = 4096;

impl Megaflows {
    /// Looks at a share of the flow table, so that the whole is seen once in a sweep interval.
    pub(crate) fn tick(&mut self, now: u64) {
        let slots = u64::from(self.flows.high_water());
        let elapsed = now.saturating_sub(self.swept);
        let interval = nanos(self.config.sweep_interval).max(1);
        // The time is kept as it was until it is worth a slot.
        let share = u128::from(slots) * u128::from(elapsed) / u128::from(interval);
        if share == 0 {
            return;
        }
        self.swept = now;
        let share = u64::try_from(share).unwrap_or(u64::MAX).min(slots).min(SWEPT_AT_ONCE);
        for _ in 0..share {
            let slot = if self.hand < self.flows.high_water() { self.hand } else { 0 };
            self.hand = slot + 1;
            self.look(slot, now);
        }
    }

    fn look(&mut self, slot: u32, now: u64) {
        let cold = self.flows.cold(slot);
        if cold.life != Life::Linked {
            return;
        }
        self.refresh_source(slot);
        let cold = self.flows.cold(slot);
        let (may_retry, retry) = (cold.may_retry(), cold.retry);
        if now.saturating_sub(self.flows.hot(slot).used) >= self.config.idle_nanos() {
            self.counters.aged += 1;
            self.unlink(slot);
        } else if may_retry && now >= retry {
            self.offer(slot, now);
        }
    }

    /// Takes out every flow, or every flow that enters by one port. Returns how many there were.
    pub(crate) fn flush(&mut self, in_port: Option<PortId>) -> u64 {
        let leaving: Vec<u32> = match in_port {
            Some(port) => self.ports.index(port).map_or(&[][..], |port| self.cached.slots(port)).to_vec(),
            None => self.flows.linked().collect(),
        };
        let outer = core::mem::replace(&mut self.taking_out, true);
        for &slot in &leaving {
            self.unlink(slot);
        }
        self.taking_out = outer;
        leaving.len() as u64
    }
}
