//! The state of a worker apart from packets: its megaflows and all that hangs on them.

use std::collections::VecDeque;

use nic_flow::{Action, Counters, FlowKey, Match, RuleId, Shape};
use nic_pipeline::state::Damping;
use nic_pipeline::{Snapshot, State, Translation};
use nic_policy::capability::SoftwareReason;
use nic_policy::stats::StageStats;
use nic_policy::{DropReason, Stage};
use nic_table::ShapeTable;
use nic_table::hash::Seed;

use crate::WorkerCounters;
use crate::config::{Config, nanos};
use crate::dependents::Dependents;
use crate::fdb::Expiry;
use crate::flows::{Cold, FlowTable, Life, RuleState, Verdict};
use crate::leaving::Leaving;
use crate::ports::Ports;
use crate::publications::Publications;

/// The megaflows of a worker.
#[derive(Debug)]
pub(crate) struct Megaflows {
    pub(crate) config: Config,
    pub(crate) snapshot: Snapshot,
    /// What packets taught.
    pub(crate) state: State,
    /// When learned addresses are forgotten.
    pub(crate) expiry: Expiry,
    pub(crate) ports: Ports,
    pub(crate) stages: [StageStats; Stage::COUNT],
    pub(crate) counters: WorkerCounters,
    /// From a packet to the slot of its flow.
    pub(crate) cache: ShapeTable<u32>,
    pub(crate) flows: FlowTable,
    pub(crate) dependents: Dependents,
    pub(crate) leaving: Leaving,
    pub(crate) publications: Publications,
    /// Flows that were linked so far: a packet looked up before may have a flow since.
    pub(crate) linked: u64,
    /// Flows that were unlinked so far: a slot looked up before may hold another flow since.
    pub(crate) unlinked: u64,
    /// Linked flows to translate again; some may have been, or be gone.
    pub(crate) dirty: VecDeque<RuleId>,
    /// How many linked flows there are to translate again; by port, [`Port`](crate::ports::Port) says.
    pub(crate) dirty_flows: usize,
    pub(crate) installs: VecDeque<RuleId>,
    pub(crate) removes: VecDeque<RuleId>,
    /// Rules in the E-Switch or on their way in or out.
    pub(crate) rules: u32,
    /// Of those, rules of linked flows that are known to be in the E-Switch.
    pub(crate) in_hardware: u64,
    pub(crate) full_key_flows: u32,
    /// The slot that is looked at next for idleness.
    pub(crate) hand: u32,
    /// When the last look was. Nanoseconds.
    pub(crate) swept: u64,
    /// Nanoseconds.
    pub(crate) now: u64,
}

/// A flow that is to be cached.
#[derive(Debug)]
pub(crate) struct NewFlow<'a> {
    /// A packet of the flow.
    pub(crate) key: &'a FlowKey,
    pub(crate) shape: Shape,
    pub(crate) translation: &'a Translation,
    /// Index of the port by which its packets enter.
    pub(crate) port: u16,
}

impl Megaflows {
    pub(crate) fn new(config: Config) -> Megaflows {
        let mut state = State::new(Seed::new(config.seed));
        state.fdb.damp(Damping { moves: config.fdb_moves, window: nanos(config.fdb_move_window) });
        Megaflows {
            snapshot: Snapshot::empty(),
            state,
            expiry: Expiry::default(),
            ports: Ports::default(),
            stages: [StageStats::default(); Stage::COUNT],
            counters: WorkerCounters::default(),
            cache: ShapeTable::new(config.seed),
            flows: FlowTable::new(config.flows),
            dependents: Dependents::new(Seed::new(config.seed)),
            leaving: Leaving::default(),
            publications: Publications::default(),
            linked: 0,
            unlinked: 0,
            dirty: VecDeque::new(),
            dirty_flows: 0,
            installs: VecDeque::new(),
            removes: VecDeque::new(),
            rules: 0,
            in_hardware: 0,
            full_key_flows: 0,
            hand: 0,
            swept: 0,
            now: 0,
            config,
        }
    }

    /// What to do with the packets of a flow.
    pub(crate) fn verdict(&self, translation: &Translation) -> Verdict {
        match (dropped(translation), translation.actions.as_slice()) {
            (Some(reason), _) => Verdict::Drop(reason),
            (None, [Action::Output(port)]) => self.ports.index(*port).map_or(Verdict::Run, Verdict::Send),
            (None, _) => Verdict::Run,
        }
    }

    /// Caches a flow and offers it to the card. `None` if there is no room for it: its packets are
    /// forwarded all the same.
    pub(crate) fn link(&mut self, flow: &NewFlow<'_>, now: u64) -> Option<u32> {
        if !self.has_room(flow) {
            self.counters.cache_full += 1;
            return None;
        }
        let translation = flow.translation;
        let verdict = self.verdict(translation);
        let cold = Cold {
            life: Life::Linked,
            rule: RuleState::None(SoftwareReason::Disabled),
            shape: flow.shape,
            matches: Match::new(*flow.key, flow.shape.mask()),
            actions: translation.actions.clone(),
            dropped: dropped(translation),
            source: translation.source,
            port: flow.port,
            created: now,
            retry: 0,
            hardware: Counters::default(),
            publication: None,
        };
        let Some(slot) = self.flows.claim(now, verdict, cold) else {
            self.counters.cache_full += 1;
            return None;
        };
        self.cache.insert(flow.shape, flow.key, slot);
        self.linked += 1;
        self.dependents.link(slot, translation.dependencies.iter().copied());
        self.ports.get_mut(flow.port).flows += 1;
        self.full_key_flows += u32::from(flow.shape == Shape::FullKey);
        self.offer(slot, now);
        Some(slot)
    }

    /// True if the flow keeps the cache and the quotas.
    fn has_room(&mut self, flow: &NewFlow<'_>) -> bool {
        if flow.shape == Shape::FullKey && self.full_key_flows >= self.config.full_key_flows {
            self.counters.full_key_quota += 1;
            return false;
        }
        if self.ports.get(flow.port).flows >= self.config.flows_per_port {
            self.counters.port_quota += 1;
            return false;
        }
        self.cache.len() < self.config.flows as usize
    }

    /// Takes a flow out of the cache. Its slot is free at once, or as soon as its rule is gone.
    pub(crate) fn unlink(&mut self, slot: u32) {
        self.refresh_source(slot);
        let id = self.flows.id(slot);
        let hot = self.flows.hot_mut(slot);
        let dirty = core::mem::take(&mut hot.dirty);
        let cold = self.flows.cold_mut(slot);
        debug_assert_eq!(cold.life, Life::Linked);
        self.cache.remove(cold.shape, cold.matches.key());
        let port = cold.port;
        self.ports.get_mut(port).flows -= 1;
        self.full_key_flows -= u32::from(cold.shape == Shape::FullKey);
        self.unlinked += 1;
        self.dependents.unlink(slot);
        match cold.rule {
            RuleState::None(_) | RuleState::Queued => {
                self.rules -= u32::from(cold.rule == RuleState::Queued);
                let publication = cold.publication.take();
                self.flows.release(slot);
                // Nothing of it was in the E-Switch, so nothing stale is left.
                if let Some(number) = publication {
                    self.publications.release(number);
                }
            }
            RuleState::Sent | RuleState::Installed => {
                self.in_hardware -= u64::from(cold.rule == RuleState::Installed);
                cold.life = Life::Leaving;
                // A publication that waits for the flow waits for its rule from now on.
                self.leaving.add(slot, port, cold.matches);
                self.removes.push_back(id);
            }
        }
        if dirty {
            self.cleaned(port);
        }
    }

    /// One dirty flow less that enters by the port.
    pub(crate) fn cleaned(&mut self, port: u16) {
        self.dirty_flows -= 1;
        let port = self.ports.get_mut(port);
        port.dirty -= 1;
        if port.dirty == 0 {
            let now = self.now;
            for id in core::mem::take(&mut port.waiting) {
                self.offer_again(id, now);
            }
        }
    }
}

/// Why a translation's packets are dropped, if they are.
pub(crate) fn dropped(translation: &Translation) -> Option<DropReason> {
    // A list that sends nowhere drops, whoever made it.
    translation.verdict.dropped().or(translation.actions.is_empty().then_some(DropReason::RuleDrop))
}

/// True if the translation holds for all packets of its megaflow: nothing is to be done beside.
pub(crate) fn is_cacheable(translation: &Translation) -> bool {
    let decided = matches!(translation.verdict, nic_policy::Verdict::Pass | nic_policy::Verdict::Drop(_));
    decided && translation.effects.is_empty() && translation.inspect.is_empty()
}

#[cfg(test)]
mod tests {
    use nic_flow::{ActionList, Field, PortId};
    use nic_pipeline::Dependency;
    use nic_policy::Verdict as Decided;

    use super::*;

    const PORT: PortId = PortId::from_bits(1);

    /// As many come and go as wanted; of each the cache holds one at a time.
    fn come_and_go(megaflows: &mut Megaflows, flows: u64) {
        megaflows.ports.adopt(&[PORT]);
        let mut actions = ActionList::new();
        let _ = actions.push(Action::Output(PORT));
        let matches = Match::ANY.is(Field::InPort, PORT.bits().into()).is(Field::EthSrc, 1);
        for now in 0..flows {
            let translation = Translation {
                actions: actions.clone(),
                read: *matches.mask(),
                dependencies: vec![Dependency::Port(PORT)],
                verdict: Decided::Pass,
                effects: Vec::new(),
                inspect: Default::default(),
                source: None,
            };
            let shape = Shape::cover(&translation.read);
            let flow = NewFlow { key: matches.key(), shape, translation: &translation, port: 0 };
            let slot = megaflows.link(&flow, now).expect("room for one flow");
            megaflows.unlink(slot);
        }
    }

    #[test]
    fn flows_that_come_and_go_leave_no_names_behind_that_nobody_takes() {
        // Nobody takes requests.
        let mut megaflows = Megaflows::new(Config::default());
        come_and_go(&mut megaflows, 5000);
        assert!(megaflows.installs.len() <= 1100, "{}", megaflows.installs.len());
        // Another flow of the port is to be translated again.
        let mut megaflows = Megaflows::new(Config::default());
        megaflows.ports.adopt(&[PORT]);
        megaflows.ports.get_mut(0).dirty = 1;
        come_and_go(&mut megaflows, 5000);
        let waiting = megaflows.ports.get(0).waiting.len();
        assert!((1..=1100).contains(&waiting), "{waiting}");
    }
}
