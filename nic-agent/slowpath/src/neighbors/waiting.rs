//! Who waits for next hops, by the port it came from: where the places are few, who takes most of them
//! gives one to who takes fewer.

use std::collections::{BTreeMap, VecDeque};

use super::Hop;

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Waiter<W> {
    /// Of all that ever waited.
    number: u64,
    /// Index of the port it came from.
    from: u16,
    packet: W,
}

/// The packets that wait for one next hop, in the order in which they came.
pub(crate) type Queue<W> = VecDeque<Waiter<W>>;

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By port, in the order in which they came.
    ports: Vec<BTreeMap<u64, Hop>>,
    count: usize,
    next: u64,
}

impl Waiting {
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn push<W>(&mut self, hop: Hop, queue: &mut Queue<W>, from: u16, packet: W) {
        let index = usize::from(from);
        if self.ports.len() <= index {
            self.ports.resize_with(index + 1, BTreeMap::new);
        }
        self.ports[index].insert(self.next, hop);
        queue.push_back(Waiter { number: self.next, from, packet });
        self.next += 1;
        self.count += 1;
    }

    /// The packet waits no more.
    pub(crate) fn release<W>(&mut self, waiter: Waiter<W>) -> W {
        self.count -= usize::from(self.ports[usize::from(waiter.from)].remove(&waiter.number).is_some());
        waiter.packet
    }

    /// The next hop for which the oldest packet waits that has to make room for one of a port, wherever it
    /// waits: the oldest of the port that has most.
    pub(crate) fn crowded(&self, from: u16) -> Option<(Hop, u64)> {
        let own = self.ports.get(usize::from(from)).map_or(0, BTreeMap::len);
        let most = self.ports.iter().max_by_key(|waiters| waiters.len())?;
        let (&number, &hop) = most.first_key_value()?;
        gives(most.len(), own).then_some((hop, number))
    }
}

/// The oldest packet in a full queue that has to make room for one of a port.
pub(crate) fn crowded<W>(queue: &Queue<W>, from: u16) -> Option<u64> {
    let mut ports: BTreeMap<u16, usize> = BTreeMap::new();
    for waiter in queue {
        *ports.entry(waiter.from).or_default() += 1;
    }
    let own = ports.get(&from).copied().unwrap_or(0);
    let (&most, &count) = ports.iter().max_by_key(|(_, count)| **count)?;
    let oldest = queue.iter().find(|waiter| waiter.from == most)?;
    gives(count, own).then_some(oldest.number)
}

/// Takes a packet out of a queue.
pub(crate) fn take<W>(queue: &mut Queue<W>, number: u64) -> Option<Waiter<W>> {
    let at = queue.binary_search_by_key(&number, |waiter| waiter.number).ok()?;
    queue.remove(at)
}

/// Whether who has `most` gives a place to who has `own`: not if it only turned them around.
const fn gives(most: usize, own: usize) -> bool {
    most > own + 1
}
