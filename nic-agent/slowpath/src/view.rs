//! What others may see of a worker: its flows and its counters.

use core::net::IpAddr;
use core::time::Duration;

use nic_flow::seam::PacketIo;
use nic_flow::{ActionList, Counters, FlowKey, MacAddr, Match, RuleId, Shape};
use nic_pipeline::Dependency;
use nic_policy::stats::{PortStats, RuleStats, Stats};
use nic_policy::{BridgeId, DropReason, FdbView, NeighborView, Network, Offload, Trace};

use crate::megaflows::Megaflows;
use crate::worker::Worker;

/// A flow of the cache, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowView {
    /// Its name.
    pub id: RuleId,
    /// Its packets.
    pub matches: Match,
    /// The shape that their match has.
    pub shape: Shape,
    /// What happens to them; empty if they are dropped.
    pub actions: ActionList,
    /// Why they are dropped, if they are.
    pub dropped: Option<DropReason>,
    /// Where they are forwarded, and why not by the E-Switch if they are not.
    pub offload: Offload,
    /// What the slow path forwarded or dropped.
    pub software: Counters,
    /// What the E-Switch forwarded or dropped, as far as counters were read.
    pub hardware: Counters,
    /// How long the flow is in the cache.
    pub age: Duration,
    /// How long ago its last packet came, as far as is known.
    pub idle: Duration,
    /// The parts of the policy that it was translated by.
    pub dependencies: Vec<Dependency>,
}

/// Counters of a worker beyond [`Stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorkerCounters {
    /// Rules created in the E-Switch.
    pub rules_created: u64,
    /// Rules destroyed in the E-Switch.
    pub rules_destroyed: u64,
    /// Rules refused by the E-Switch or the encoder.
    pub rules_refused: u64,
    /// Of those, because the card's table was full, or the card was busy or failed.
    pub rules_full: u64,
    /// Removals that the card did not take at once.
    pub remove_failures: u64,
    /// Answers about flows that were gone.
    pub late_completions: u64,
    /// Packets of flows that have been in the E-Switch for longer than the grace time: each is the
    /// sign of a rule that is lost or lags behind.
    pub lost_rule_hits: u64,
    /// Flows whose rule was removed and installed again because it seemed lost: packets came that it
    /// should have taken, or an audit found it missing.
    pub reinstalled: u64,
    /// When the last of them was, in the time that the worker is given.
    pub last_reinstalled: Option<Duration>,
    /// Flows that were translated again after a change of policy.
    pub revalidated: u64,
    /// Flows that were taken out because no packet used them.
    pub aged: u64,
    /// Packets that were forwarded without their flow being cached: the cache or a quota was full.
    pub cache_full: u64,
    /// Of those, because the port's quota was used up.
    pub port_quota: u64,
    /// Of those, because the quota of full-key flows was used up.
    pub full_key_quota: u64,
    /// MAC addresses learned.
    pub fdb_learned: u64,
    /// MAC addresses learned at one place and then at another.
    pub fdb_moved: u64,
    /// MAC addresses forgotten because nobody sent from them.
    pub fdb_aged: u64,
    /// MAC addresses not learned because a limit was reached, of addresses or of moves, counted with every
    /// packet.
    pub fdb_refused: u64,
    /// Copies that floods made.
    pub flooded: u64,
    /// Questions that the agent answered.
    pub answered: u64,
    /// Questions that the agent asked.
    pub solicited: u64,
    /// Outputs beyond the first of a packet that several ports or tunnel peers get.
    ///
    /// The sum that always holds: packets received, copies and [`originated`](Self::originated) together
    /// are packets sent, dropped, [`taken`](Self::taken) and [`waiting`](Self::waiting).
    pub copies: u64,
    /// Packets of the agent's own: questions, answers, announcements.
    pub originated: u64,
    /// Packets that the agent took for itself: sent to its VTEPs, or answered for a bridge.
    pub taken: u64,
    /// Packets that wait for a next hop's address now.
    pub waiting: u64,
}

impl<Io: PacketIo> Worker<Io> {
    /// Counters, as they cross threads and processes. A port counts as present once it was listed:
    /// whether its device is still there, the owner of the devices knows. What the card did with rules, the
    /// [installer](crate::Installer::counters) knows.
    pub fn stats(&self) -> Stats {
        let megaflows = &self.megaflows;
        let counters = &megaflows.counters;
        Stats {
            ports: (0..megaflows.ports.len() as u16).map(|port| megaflows.port_stats(port)).collect(),
            stages: megaflows.stages,
            flows: megaflows.cache.len() as u64,
            flows_in_hardware: megaflows.installed.held().into(),
            rules_created: counters.rules_created,
            rules_destroyed: counters.rules_destroyed,
            rules_refused: counters.rules_refused,
            revalidated: counters.revalidated,
            cache_full: counters.cache_full,
            fdb_entries: megaflows.state.fdb.len() as u64,
            fdb_learned: counters.fdb_learned,
            fdb_moved: counters.fdb_moved,
            fdb_aged: counters.fdb_aged,
            fdb_refused: counters.fdb_refused,
            flooded: counters.flooded,
            answered: counters.answered,
            solicited: counters.solicited,
            rules: RuleStats {
                lost_hits: counters.lost_rule_hits,
                reinstalled: counters.reinstalled,
                ..RuleStats::default()
            },
        }
    }

    /// Counters that are not in [`Stats`], and some that are.
    pub fn counters(&self) -> WorkerCounters {
        let waiting = self.underlay.waiting() as u64;
        WorkerCounters { copies: self.copies(), waiting, ..self.megaflows.counters }
    }

    /// Every flow of the cache, in the order of their slots.
    pub fn flows(&self) -> impl Iterator<Item = FlowView> + '_ {
        self.megaflows.flows.linked().map(|slot| self.megaflows.view(slot))
    }

    /// Flows from a slot on, for a reader that must not hold the worker up for long: calls `sink` for
    /// those of the next `slots` slots and returns the slot to go on with, if there are more.
    pub fn flows_from(&self, slot: u32, slots: u32, mut sink: impl FnMut(FlowView)) -> Option<u32> {
        let table = &self.megaflows.flows;
        let end = slot.saturating_add(slots).min(table.high_water());
        for slot in slot..end {
            if table.is_linked(slot) {
                sink(self.megaflows.view(slot));
            }
        }
        (end < table.high_water()).then_some(end)
    }

    /// The way of a packet through the pipeline, and what the flow cache holds for it; if nothing, what
    /// would become of its flow.
    pub fn trace(&self, key: &FlowKey) -> Trace {
        let trace = nic_pipeline::trace(key, &self.megaflows.snapshot, &self.megaflows.state);
        let prospect = || self.megaflows.prospect(key.in_port(), trace.shape, &trace.actions);
        let offload = match self.lookup(key) {
            Some(flow) => flow.offload,
            None => prospect().map_or(Offload::Pending, Offload::Software),
        };
        trace.with_offload(offload)
    }

    /// MAC addresses that bridges know, by configuration and learned: in order, up to `limit` of those
    /// behind `after`.
    pub fn fdb(&self, after: Option<(BridgeId, MacAddr)>, limit: usize) -> Vec<FdbView> {
        let megaflows = &self.megaflows;
        let fixed = megaflows.snapshot.fdb_entries().map(|entry| FdbView {
            bridge: entry.bridge,
            mac: entry.mac,
            place: entry.place,
            idle: None,
        });
        let learned = megaflows.state.fdb.iter();
        // What is learned where the configuration says something is forgotten, so no address is twice.
        let learned = learned.map(|(bridge, mac, at)| FdbView {
            bridge,
            mac,
            place: at.place,
            idle: Some(Duration::from_nanos(megaflows.now.saturating_sub(at.used))),
        });
        page(fixed.chain(learned), |entry| (entry.bridge, entry.mac), after, limit)
    }

    /// IP addresses whose MAC address is known or asked for, of the underlay and of bridges: in order,
    /// up to `limit` of those behind `after`.
    pub fn neighbors(&self, after: Option<(Network, IpAddr)>, limit: usize) -> Vec<NeighborView> {
        let now = self.megaflows.now;
        let all = self.underlay.neighbors.views(now).chain(self.stations.views(now));
        page(all, |neighbor| (neighbor.network, neighbor.address), after, limit)
    }

    /// The flow that a packet with this key would hit.
    pub fn lookup(&self, key: &FlowKey) -> Option<FlowView> {
        self.megaflows.cache.lookup(key).map(|&slot| self.megaflows.view(slot))
    }
}

/// The first `limit` items behind `after`, in order.
fn page<T, K: Ord + Copy>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> K,
    after: Option<K>,
    limit: usize,
) -> Vec<T> {
    let mut items: Vec<T> = items.filter(|item| after.is_none_or(|after| key(item) > after)).collect();
    if items.len() > limit {
        items.select_nth_unstable_by_key(limit, &key);
        items.truncate(limit);
    }
    items.sort_unstable_by_key(key);
    items
}

impl Megaflows {
    fn port_stats(&self, index: u16) -> PortStats {
        PortStats {
            flows: self.cached.held_by(index).into(),
            rules: self.installed.held_by(index).into(),
            ..self.ports.get(index).stats.clone()
        }
    }

    fn view(&self, slot: u32) -> FlowView {
        let (hot, cold) = (self.flows.hot(slot), self.flows.cold(slot));
        FlowView {
            id: self.flows.id(slot),
            matches: cold.matches,
            shape: cold.shape,
            actions: cold.actions.clone(),
            dropped: cold.dropped,
            offload: cold.rule.offload(),
            software: hot.counters,
            hardware: cold.hardware,
            age: Duration::from_nanos(self.now.saturating_sub(cold.created)),
            idle: Duration::from_nanos(self.now.saturating_sub(hot.used)),
            dependencies: self.dependents.by_flow(slot).copied().collect(),
        }
    }
}
