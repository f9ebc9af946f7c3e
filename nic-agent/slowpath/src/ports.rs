//! The ports of a worker: their counters, and what each may still use up in this round.

use nic_flow::{PortId, RuleId};
use nic_policy::DropReason;
use nic_policy::stats::PortStats;
use rustc_hash::FxHashMap;

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) stats: PortStats,
    /// Negative: the port used up more than its share and waits.
    pub(crate) deficit: i64,
    /// Flows of the cache that enter by this port and are to be translated again.
    pub(crate) dirty: u32,
    /// Flows that wait until none is dirty, because the rule of a dirty one may overlap theirs.
    /// Every rule matches its port, so those of other ports never do. Some may be gone.
    pub(crate) waiting: Vec<RuleId>,
    /// What is left for copies of floods.
    pub(crate) flood: Bucket,
}

impl Port {
    const fn new(stats: PortStats) -> Port {
        Port { stats, deficit: 0, dirty: 0, waiting: Vec::new(), flood: Bucket::new() }
    }
}

/// A token bucket of one second's worth.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Billionths of a copy.
    left: u64,
    /// When it was last looked at. Nanoseconds.
    at: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn new() -> Bucket {
        Bucket { left: u64::MAX, at: 0 }
    }

    /// Takes a token, of which there are so many a second. False if none is left.
    pub(crate) fn take(&mut self, rate: u32, now: u64) -> bool {
        const TOKEN: u64 = 1_000_000_000;
        let new = now.saturating_sub(self.at).saturating_mul(rate.into());
        self.at = self.at.max(now);
        self.left = self.left.saturating_add(new).min(u64::from(rate) * TOKEN);
        match self.left.checked_sub(TOKEN) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

/// Ports by index. A port that is known once keeps its index.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    list: Vec<Port>,
    index: FxHashMap<PortId, u16>,
}

impl Ports {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes in the ports that are new.
    pub(crate) fn adopt(&mut self, ports: &[PortId]) {
        if ports.len() == self.list.len() {
            return;
        }
        for &id in ports {
            let next = self.list.len() as u16;
            self.index.entry(id).or_insert_with(|| {
                let stats = PortStats { present: true, ..PortStats::new(id) };
                self.list.push(Port::new(stats));
                next
            });
        }
    }

    pub(crate) fn index(&self, id: PortId) -> Option<u16> {
        self.index.get(&id).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: u16) -> &Port {
        &self.list[usize::from(index)]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u16) -> &mut Port {
        &mut self.list[usize::from(index)]
    }

    /// Counts packets that entered by a port and were dropped.
    #[inline]
    pub(crate) fn dropped(&mut self, from: u16, reason: DropReason, packets: u64) {
        self.get_mut(from).stats.drops[reason.index()] += packets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_second_at_once_and_then_its_rate() {
        let mut bucket = Bucket::new();
        let mut at = |now, rate| (0..1000).take_while(|_| bucket.take(rate, now)).count();
        assert_eq!(at(5_000_000_000, 10), 10);
        assert_eq!(at(5_000_000_000, 10), 0);
        assert_eq!(at(5_050_000_000, 10), 0);
        assert_eq!(at(5_100_000_000, 10), 1);
        assert_eq!(at(5_300_000_000, 10), 2);
        assert_eq!(at(9_000_000_000, 10), 10, "no more than a second's");
        assert_eq!(at(20_000_000_000, 0), 0);
        assert_eq!(at(21_000_000_000, 3), 3);
    }
}
