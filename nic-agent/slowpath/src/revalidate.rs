//! A new policy, or something learned: which flows it touches, and what becomes of them.

use core::time::Duration;

use nic_flow::{FlowMask, RuleId, Shape};
use nic_pipeline::{Touched, Translation, translate};
use nic_policy::stats::StageStats;
use nic_policy::{Stage, Verdict};

use crate::flows::{FlowTable, Life};
use crate::megaflows::{Megaflows, NewFlow, dropped, is_cacheable};

/// Up to so many comparisons of what was read with what was touched are made at once, a millisecond or
/// two. Rather than hold packets up for longer, every flow is translated again, bit by bit.
const COMPARISONS: usize = 1 << 17;

impl Megaflows {
    /// The snapshot is a new one. Flows that depend on what was touched are dirty until they are
    /// translated again. Returns the number of the publication.
    pub(crate) fn publish(&mut self, touched: &[Touched], now: u64) -> u64 {
        let number = self.publications.open(self.snapshot.revision());
        if touched.iter().any(|touched| matches!(touched, Touched::Device(_))) {
            self.entitle();
        }
        if !touched.is_empty() {
            let purged = self.purge(touched);
            self.mark(touched, Some(number));
            self.mark(&purged, Some(number));
            // A flow that was unlinked has no dependencies any more, so its rule may be touched too.
            for slot in self.leaving.slots() {
                let cold = self.flows.cold_mut(slot);
                if cold.publication.is_none() {
                    cold.publication = Some(number);
                    self.publications.hold(number);
                }
            }
        }
        self.publications.settle();
        self.revalidate_some(now);
        number
    }

    /// What was learned changed there: the flows that depend on it are dirty.
    pub(crate) fn touch(&mut self, touched: &[Touched]) {
        self.mark(touched, None);
    }

    /// The publication waits for the flows that depend on what was touched.
    fn mark(&mut self, touched: &[Touched], number: Option<u64>) {
        let Megaflows { flows, publications, dirty, dirty_flows, dependents, ports, .. } = self;
        let mut mark = |flows: &mut FlowTable, slot: u32| {
            // A dirty flow may hold an older publication: no later one is applied before that.
            let cold = flows.cold_mut(slot);
            if cold.publication.is_none()
                && let Some(number) = number
            {
                cold.publication = Some(number);
                publications.hold(number);
            }
            let port = cold.port;
            let hot = flows.hot_mut(slot);
            if !hot.dirty {
                hot.dirty = true;
                ports.get_mut(port).dirty += 1;
                dirty.push_back(flows.id(slot));
                *dirty_flows += 1;
            }
        };
        if dependents.exceeds(touched, COMPARISONS) {
            for slot in 0..flows.high_water() {
                if flows.cold(slot).life == Life::Linked {
                    mark(flows, slot);
                }
            }
            return;
        }
        for touched in touched {
            dependents.of(touched, |slot| mark(flows, slot));
        }
        // A flow that a packet translated again is still named here: who makes an address move as fast as
        // packets come would name it over and over.
        if dirty.len() > 2 * flows.high_water() as usize {
            let still = flows.linked().filter(|&slot| flows.hot(slot).dirty).map(|slot| flows.id(slot));
            *dirty = still.collect();
        }
    }

    /// Translates some of the dirty flows again.
    pub(crate) fn revalidate_some(&mut self, now: u64) {
        for _ in 0..self.config.revalidations.max(1) {
            let Some(id) = self.dirty.pop_front() else { return };
            self.revalidate_id(id, now);
        }
    }

    /// Takes a flow out whose rule seems lost, and links it again: it is offered once the old rule is
    /// gone for certain.
    pub(crate) fn reinstall(&mut self, slot: u32, now: u64) {
        self.counters.reinstalled += 1;
        self.counters.last_reinstalled = Some(Duration::from_nanos(now));
        if let Some(slot) = self.replace(slot, now) {
            self.offer(slot, now);
        }
    }

    /// Takes a flow out with its rule and links it again without one. Returns the new slot.
    pub(crate) fn replace(&mut self, slot: u32, now: u64) -> Option<u32> {
        let cold = self.flows.cold(slot);
        let (matches, shape, port, created) = (cold.matches, cold.shape, cold.port, cold.created);
        let translation = Translation {
            actions: cold.actions.clone(),
            read: *matches.mask(),
            dependencies: self.dependents.by_flow(slot).copied().collect(),
            verdict: cold.dropped.map_or(Verdict::Pass, Verdict::Drop),
            effects: Vec::new(),
            inspect: Vec::new(),
            source: cold.source,
            management: false,
        };
        let (counters, used) = (self.flows.hot(slot).counters, self.flows.hot(slot).used);
        self.unlink(slot);
        // As many flows as before.
        let new = NewFlow { key: matches.key(), shape, translation: &translation, port };
        let slot = self.insert(&new, now)?;
        let hot = self.flows.hot_mut(slot);
        (hot.counters, hot.used) = (counters, used);
        self.flows.cold_mut(slot).created = created;
        Some(slot)
    }

    fn revalidate_id(&mut self, id: RuleId, now: u64) {
        if let Some(slot) = self.flows.find(id)
            && self.flows.hot(slot).dirty
        {
            self.revalidate(slot, now);
        }
    }

    /// Translates a dirty flow again. If all is as before, the flow stays with its rule and its
    /// counters; else it is taken out and, if the new translation needs no bit that the flow does not
    /// have, linked again as another flow.
    pub(crate) fn revalidate(&mut self, slot: u32, now: u64) {
        self.counters.revalidated += 1;
        let cold = self.flows.cold(slot);
        let (matches, old_shape, port) = (cold.matches, cold.shape, cold.port);
        // No packet came: the counters of the stages are not for this.
        let mut uncounted = [StageStats::default(); Stage::COUNT];
        // The key is zero outside the mask. If the translation reads nothing there, it holds for every
        // packet of the flow.
        let translation = translate(matches.key(), &self.snapshot, &self.state, &mut uncounted);
        // What a packet has to bring about waits for a packet.
        let covered = matches.mask().covers(&translation.read) && is_cacheable(&translation);
        let same = cold.actions == translation.actions && cold.dropped == dropped(&translation);
        if covered && same {
            self.dependents.link(slot, translation.dependencies.iter().copied());
            self.flows.hot_mut(slot).dirty = false;
            let cold = self.flows.cold_mut(slot);
            cold.source = translation.source;
            if let Some(number) = cold.publication.take() {
                self.publications.release(number);
            }
            self.cleaned(port);
            return;
        }
        self.unlink(slot);
        if !covered {
            return;
        }
        let shape = narrowest(matches.mask(), old_shape, &translation.read);
        // Two flows may have become one.
        if self.cache.get(shape, matches.key()).is_none() {
            self.link(&NewFlow { key: matches.key(), shape, translation: &translation, port }, now);
        }
    }
}

/// The shape that covers `read`, unless it has bits that the old flow does not know.
fn narrowest(mask: &FlowMask, old: Shape, read: &FlowMask) -> Shape {
    let shape = Shape::cover(read);
    if mask.covers(&shape.mask()) { shape } else { old }
}
