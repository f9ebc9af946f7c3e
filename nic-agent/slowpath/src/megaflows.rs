//! The state of a worker apart from packets: its megaflows and all that hangs on them.

use std::collections::VecDeque;

use nic_flow::{Action, Counters, FlowKey, Match, PortId, RuleId, Shape};
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
use crate::installs::Installs;
use crate::leaving::Leaving;
use crate::ports::Ports;
use crate::publications::Publications;
use crate::shares::Shares;

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
    pub(crate) installs: Installs,
    pub(crate) removes: VecDeque<RuleId>,
    /// The flows of the cache, by the port they enter by.
    pub(crate) cached: Shares,
    /// Of those, flows of the full-key shape.
    pub(crate) full_key: Shares,
    /// Linked flows whose rules are in the E-Switch or on their way in; rules on their way out are counted.
    pub(crate) rules: Shares,
    /// Linked flows whose rules are known to be in the E-Switch.
    pub(crate) installed: Shares,
    /// Flows are being taken out: those that this lets go on take nothing away from anybody.
    pub(crate) taking_out: bool,
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
            flows: FlowTable::new(config.flows, config.rules),
            dependents: Dependents::new(Seed::new(config.seed)),
            leaving: Leaving::default(),
            publications: Publications::default(),
            linked: 0,
            unlinked: 0,
            dirty: VecDeque::new(),
            dirty_flows: 0,
            installs: Installs::default(),
            removes: VecDeque::new(),
            cached: Shares::new(config.flows),
            full_key: Shares::new(config.full_key_flows),
            rules: Shares::new(config.rules),
            // Nobody knows how many rules a card takes until it refuses one.
            installed: Shares::new(u32::MAX),
            taking_out: false,
            hand: 0,
            swept: 0,
            now: 0,
            config,
        }
    }

    /// Takes in the ports that are new.
    pub(crate) fn adopt_ports(&mut self, ports: &[PortId]) {
        if ports.len() != self.ports.len() {
            self.ports.adopt(ports);
            for shares in self.shares() {
                shares.adopt(ports.len());
            }
            self.entitle();
        }
    }

    /// Every port whose device is there has a share, and so has the exception port.
    pub(crate) fn entitle(&mut self) {
        for index in 0..self.ports.len() as u16 {
            let port = self.ports.get(index).stats.port;
            let present = self.snapshot.has_device(port) || port == PortId::MANAGEMENT;
            for shares in self.shares() {
                shares.entitle(index, present);
            }
        }
    }

    fn shares(&mut self) -> [&mut Shares; 4] {
        [&mut self.cached, &mut self.full_key, &mut self.rules, &mut self.installed]
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
        let slot = if self.has_room(flow) { self.insert(flow, now) } else { None };
        match slot {
            Some(slot) => self.offer(slot, now),
            None => self.counters.cache_full += 1,
        }
        slot
    }

    /// Caches a flow. There is room.
    pub(crate) fn insert(&mut self, flow: &NewFlow<'_>, now: u64) -> Option<u32> {
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
            charged: flow.port,
            created: now,
            retry: 0,
            hardware: Counters::default(),
            publication: None,
            requests: 0,
            removing: false,
        };
        let slot = self.flows.claim(now, verdict, cold)?;
        self.cache.insert(flow.shape, flow.key, slot);
        self.linked += 1;
        self.dependents.link(slot, translation.dependencies.iter().copied());
        self.cached.add(flow.port, slot);
        if flow.shape == Shape::FullKey {
            self.full_key.add(flow.port, slot);
        }
        Some(slot)
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
        self.cached.remove(port, slot);
        self.full_key.remove(port, slot);
        self.installed.remove(port, slot);
        self.unlinked += 1;
        self.dependents.unlink(slot);
        match cold.rule {
            RuleState::None(_) | RuleState::Queued => {
                self.rules.remove(port, slot);
                let publication = cold.publication.take();
                self.flows.release(slot);
                // Nothing of it was in the E-Switch, so nothing stale is left.
                if let Some(number) = publication {
                    self.publications.release(number);
                }
            }
            RuleState::Sent | RuleState::Installed => {
                self.rules.leave(port, slot);
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
    decided && translation.effects.is_empty() && translation.inspect.is_empty() && !translation.management
}

#[cfg(test)]
mod tests {
    use nic_flow::{ActionList, Field};
    use nic_pipeline::Dependency;
    use nic_policy::Verdict as Decided;

    use super::*;

    const PORT: PortId = PortId::from_bits(1);

    /// As many come and go as wanted; of each the cache holds one at a time.
    fn come_and_go(megaflows: &mut Megaflows, flows: u64) {
        megaflows.adopt_ports(&[PORT]);
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
                management: false,
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
        megaflows.adopt_ports(&[PORT]);
        megaflows.ports.get_mut(0).dirty = 1;
        come_and_go(&mut megaflows, 5000);
        let waiting = megaflows.ports.get(0).waiting.len();
        assert!((1..=1100).contains(&waiting), "{waiting}");
    }
}
