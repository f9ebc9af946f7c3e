//! Counters that several threads add to and read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nic_flow::Counters;

/// Packets and bytes. The two are added one after the other, so a reader may see a packet whose bytes
/// are still to come, until the burst that it is in has ended.
#[derive(Debug, Default)]
pub(crate) struct AtomicCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl AtomicCounters {
    #[inline]
    pub(crate) fn add(&self, counters: Counters) {
        self.packets.fetch_add(counters.packets, Relaxed);
        self.bytes.fetch_add(counters.bytes, Relaxed);
    }

    pub(crate) fn get(&self) -> Counters {
        Counters { packets: self.packets.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// Takes out what was read before; what was added meanwhile stays.
    pub(crate) fn subtract(&self, counters: Counters) {
        self.packets.fetch_sub(counters.packets, Relaxed);
        self.bytes.fetch_sub(counters.bytes, Relaxed);
    }

    /// Reads and sets to zero; what is added meanwhile is in the next reading.
    pub(crate) fn take(&self) -> Counters {
        Counters { packets: self.packets.swap(0, Relaxed), bytes: self.bytes.swap(0, Relaxed) }
    }
}

/// Adds up what goes to one counter before it is written there: packets of one burst mostly share
/// their rule and their output, and an atomic addition for each would be most of their cost.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    target: Option<&'a AtomicCounters>,
    sum: Counters,
}

impl<'a> Run<'a> {
    pub(crate) const fn new() -> Run<'a> {
        Run { target: None, sum: Counters { packets: 0, bytes: 0 } }
    }

    #[inline]
    pub(crate) fn add(&mut self, target: &'a AtomicCounters, bytes: usize) {
        if !self.target.is_some_and(|current| std::ptr::eq(current, target)) {
            self.flush();
            self.target = Some(target);
        }
        self.sum.add(bytes);
    }

    pub(crate) fn flush(&mut self) {
        if let Some(target) = self.target.take() {
            target.add(std::mem::take(&mut self.sum));
        }
    }
}
