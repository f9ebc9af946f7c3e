//! The ports of a worker: their counters, and what each may still use up in this round.

use nic_flow::PortId;
use nic_policy::DropReason;
use nic_policy::stats::PortStats;
use rustc_hash::FxHashMap;

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) stats: PortStats,
    /// Negative: the port used up more than its share and waits.
    pub(crate) deficit: i64,
    /// Flows of the cache that enter by this port.
    pub(crate) flows: u32,
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
                self.list.push(Port { stats, deficit: 0, flows: 0 });
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.list.iter()
    }
}
