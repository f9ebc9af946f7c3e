//! One run: some cards, each with its client, store, agent, link, datapath and E-Switch, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use nic_flow::{FlowKey, PortId};
use nic_pipeline::Snapshot;
use nic_policy::Revision;
use nic_slowpath::{Config, InstallerConfig};
use sim::card::{Card, Faults, Hits};
use sim::oracle::Policy;
use sim::random::Random;
use soft_eswitch::Profile;

use super::agent::Agent;
use super::datapath::Datapath;
use super::disk::Real;
use super::fault::{Fault, Reach, Sabotage};
use super::kept::{self, Kept};
use super::link::Link;
use super::log::Log;
use super::resources::{self, DEVICES};
use super::store::{Client, Disk, NotDone, Plain, Store, everything};

/// The longest time that a message takes from one process to the other, in microseconds.
const SLOWEST_MESSAGE: u64 = 2_000;

/// One run in so many has `nic-store` itself: its thread and its checksums take longer than the rest.
const REAL_STORE: u64 = 128;

/// How much longer it may take on a connection that nic-agent let go of, in microseconds.
pub(crate) const LATE: u64 = 120_000;

/// What every part of a run is given: time, chance, and what is written down.
pub(crate) struct Context {
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) reach: Reach,
    pub(crate) log: Log,
    pub(crate) sabotage: Option<Sabotage>,
    /// The store is `nic-store` itself.
    real_store: bool,
    /// The card that has its turn.
    pub(crate) card: usize,
}

impl Context {
    pub(crate) fn say(&self, what: fmt::Arguments<'_>) {
        self.log.say(self.now, self.card, what);
    }

    /// When a message arrives that is sent now.
    pub(crate) const fn travel(&mut self) -> Duration {
        let micros = self.now.as_micros() as u64 + self.random.below(SLOWEST_MESSAGE);
        Duration::from_micros(micros)
    }

    /// The name of the card's store.
    pub(crate) const fn store(&self) -> u64 {
        self.card as u64 + 1
    }
}

/// One card with all that belongs to it.
pub(crate) struct Node {
    pub(crate) card: Card,
    pub(crate) max_rules: usize,
    pub(crate) configs: (Config, InstallerConfig),
    pub(crate) store: Box<dyn Store>,
    pub(crate) disk: Disk,
    pub(crate) client: Client,
    /// What would undo the last transaction.
    pub(crate) undo: Option<nic_model::Transaction>,
    /// `None`: it died.
    pub(crate) agent: Option<Agent>,
    pub(crate) link: Link,
    /// `None`: it died.
    pub(crate) datapath: Option<Datapath>,
    pub(crate) kept: Box<dyn Kept>,
    /// The newest revision that any run of nic-datapath reported applied.
    pub(crate) reported: Revision,
    pub(crate) keeps: bool,
    /// What the oracle goes by, by revision.
    pub(crate) policies: BTreeMap<u64, Policy>,
    /// Packets that came lately.
    pub(crate) keys: VecDeque<FlowKey>,
    /// Frames that left by the first uplink and go on to the next card.
    pub(crate) leaving: Vec<Vec<u8>>,
    /// All counters are stale, at present.
    pub(crate) frozen: bool,
    pub(crate) hits: Hits,
    pub(crate) serial: u64,
}

impl Node {
    fn new(ctx: &mut Context) -> Node {
        let random = &mut ctx.random;
        let profile = random.pick(&[Profile::Full, Profile::Portable]);
        let max_rules = random.pick(&[4, 64, 64]);
        let card = Card::new(profile, DEVICES, max_rules, random.bits(), Faults::default());
        card.set_buffers(PLENTY);
        let configs = configs(random, ctx.sabotage);
        let keeps = random.chance(75);
        let late = ctx.sabotage == Some(Sabotage::KeptLate);
        let kept: Box<dyn Kept> =
            if keeps { Box::new(kept::Memory::new(late)) } else { Box::new(kept::Nothing) };
        let store: Box<dyn Store> = if ctx.real_store {
            Box::new(Real::new(random.bits()))
        } else {
            Box::new(Plain::new(ctx.sabotage == Some(Sabotage::AckEarly)))
        };
        let closed = Policy { devices: DEVICES.iter().copied().collect(), ..Policy::default() };
        Node {
            datapath: Some(Datapath::start(&card, configs, None, ctx.now)),
            card,
            max_rules,
            configs,
            store,
            disk: Disk::Well,
            client: Client::default(),
            undo: None,
            agent: Some(Agent::new(ctx.now)),
            link: Link::default(),
            kept,
            reported: Revision(0),
            keeps,
            policies: BTreeMap::from([(0, closed)]),
            keys: VecDeque::new(),
            leaving: Vec::new(),
            frozen: false,
            hits: Hits::default(),
            serial: 0,
        }
    }

    /// A client sends a transaction. True if it was acknowledged.
    pub(crate) fn submit(&mut self, transaction: nic_model::Transaction, ctx: &mut Context) -> bool {
        if self.agent.is_none() {
            return false;
        }
        let before = self.store.state();
        match self.store.submit(transaction.clone(), self.disk) {
            Ok(revision) => {
                ctx.say(format_args!("commit {}", revision.0));
                self.client.told(self.store.state());
                self.undo = resources::undo(&transaction, &before);
                self.learn_policy();
                return true;
            }
            Err(NotDone::Rejected) => {}
            Err(NotDone::Full) => ctx.reach.met(Fault::DiskFull),
            Err(NotDone::Died) => {
                ctx.reach.met(Fault::TornWrite);
                ctx.say(format_args!("agent dies in a commit"));
                self.client.untold(&transaction);
                self.kill_agent(ctx);
            }
        }
        false
    }

    /// What the store has now is what the oracle goes by.
    fn learn_policy(&mut self) {
        let delta = everything(&self.store.state());
        let mut policy = Policy { devices: DEVICES.iter().copied().collect(), ..Policy::default() };
        policy.apply(&delta);
        self.policies.insert(delta.revision.0, policy);
    }

    /// nic-agent dies; its connection goes with it, but what it sent may arrive all the same.
    pub(crate) fn kill_agent(&mut self, ctx: &mut Context) {
        let Some(agent) = self.agent.take() else { return };
        self.disk = Disk::Well;
        match agent.connection() {
            Some(connection) if ctx.random.chance(50) => {
                let late = Duration::from_micros(ctx.random.below(LATE));
                self.link.abandon(connection, late);
            }
            Some(connection) => self.link.cut(connection),
            None => {}
        }
    }

    pub(crate) fn start_agent(&mut self, ctx: &mut Context) {
        if self.agent.is_some() {
            return;
        }
        self.store.reopen(&mut ctx.random);
        self.client.compare(&self.store.state());
        self.learn_policy();
        ctx.say(format_args!("agent starts at revision {}", self.store.state().revision().0));
        self.agent = Some(Agent::new(ctx.now));
    }

    /// nic-datapath dies, with all rules and packets of its card.
    pub(crate) fn kill_datapath(&mut self, ctx: &mut Context) {
        let Some(datapath) = self.datapath.take() else { return };
        ctx.say(format_args!("datapath dies"));
        ctx.reach.reinstalled += datapath.worker.counters().reinstalled;
        drop(datapath);
        self.link.cut_all();
        self.card.restart();
        assert_eq!(self.card.buffers_in_use(), 0, "buffers outlived the process");
    }

    pub(crate) fn start_datapath(&mut self, ctx: &mut Context) {
        if self.datapath.is_some() {
            return;
        }
        let kept = self.kept.restore(&mut ctx.random);
        let revision = kept.as_ref().map(|policy| policy.full.revision.0);
        ctx.say(format_args!("datapath starts from {revision:?}"));
        assert!(
            revision.is_none_or(|revision| revision >= self.reported.0),
            "it starts from {revision:?}, and {:?} was reported applied",
            self.reported
        );
        self.datapath = Some(Datapath::start(&self.card, self.configs, kept, ctx.now));
    }

    pub(crate) fn step_agent(&mut self, ctx: &mut Context) {
        let up = self.datapath.is_some();
        if let Some(agent) = &mut self.agent {
            agent.step(self.store.as_ref(), &mut self.link, up, ctx);
        }
    }

    pub(crate) fn step_control(&mut self, ctx: &mut Context) {
        if let Some(datapath) = &mut self.datapath {
            datapath.control(&mut self.link, self.kept.as_mut(), ctx);
            self.reported = self.reported.max(datapath.reported);
        }
    }

    /// The worker takes a policy over, which must be the one that the store had.
    pub(crate) fn step_commands(&mut self, ctx: &mut Context) {
        let Some(datapath) = &mut self.datapath else { return };
        if datapath.take_over(self.kept.as_mut(), ctx) {
            let policy = &self.policies[&datapath.translates.0];
            let snapshot: &Snapshot = datapath.worker.snapshot();
            assert_eq!(snapshot.len(), policy.objects.len(), "objects of {:?}", datapath.translates);
            for (id, object) in &policy.objects {
                assert_eq!(snapshot.object(*id).as_ref(), Some(object), "of {:?}", datapath.translates);
            }
        }
    }

    /// Every part has its turn.
    pub(crate) fn step_all(&mut self, ctx: &mut Context) {
        self.step_agent(ctx);
        self.step_control(ctx);
        self.step_commands(ctx);
        self.round(ctx);
        let Some(datapath) = &mut self.datapath else { return };
        datapath.hand_over(usize::MAX, ctx);
        datapath.offload(ctx);
        datapath.deliver(usize::MAX, true, ctx);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, ctx: &mut Context) {
        self.card.advance(ctx.now);
        if let Some(datapath) = &mut self.datapath {
            datapath.worker.tick(ctx.now);
        }
    }

    /// What the card did of itself since the last time is counted.
    pub(crate) fn note_hits(&mut self, ctx: &mut Context) {
        let stale = if self.frozen { Fault::CounterFrozen } else { Fault::CounterLate };
        let hits = self.card.hits();
        ctx.reach.add(stale, hits.stale - self.hits.stale);
        self.hits = hits;
    }

    /// The newest revision of the store.
    pub(crate) fn newest(&self) -> Revision {
        self.store.state().revision()
    }
}

/// As many buffers as anybody may want.
pub(crate) const PLENTY: usize = 1 << 30;

/// Small tables and short times, so that a short run meets their ends.
fn configs(random: &mut Random, sabotage: Option<Sabotage>) -> (Config, InstallerConfig) {
    let never = sabotage == Some(Sabotage::NoReinstall);
    let worker = Config {
        seed: random.bits(),
        offload: random.chance(97),
        flows: random.pick(&[8, 64]),
        flows_per_port: random.pick(&[4, 64]),
        full_key_flows: random.pick(&[2, 64]),
        rules: random.pick(&[6, 64, 64]),
        idle_timeout: Duration::from_secs(2),
        counter_staleness: Duration::from_millis(500),
        rule_grace: RULE_GRACE,
        lost_rule_hits: if never { u32::MAX } else { random.pick(&[1, LOST_RULE_HITS]) },
        retry_after: Duration::from_millis(100),
        sweep_interval: Duration::from_millis(50),
        revalidations: random.pick(&[1, 3, 1000]),
        ..Config::default()
    };
    let installer = InstallerConfig {
        calls_per_poll: random.pick(&[4, 64]),
        counter_interval: Duration::from_millis(100),
        retry_first: Duration::from_millis(1),
        retry_longest: Duration::from_millis(100),
        create_tries: 3,
        ..InstallerConfig::default()
    };
    (worker, installer)
}

/// How long after its creation a rule may miss packets.
pub(crate) const RULE_GRACE: Duration = Duration::from_millis(20);
/// Packets that show that a rule is lost, at most.
pub(crate) const LOST_RULE_HITS: u32 = 3;

/// All cards. What leaves one by its first uplink enters the next by its own.
pub(crate) struct World {
    pub(crate) ctx: Context,
    pub(crate) nodes: Vec<Node>,
    /// Faults among a hundred steps.
    pub(crate) faults: u64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, log: Log) -> World {
        let random = Random::new(seed);
        let now = Duration::from_secs(1);
        let real_store = seed.is_multiple_of(REAL_STORE);
        let mut ctx = Context { now, random, reach: Reach::default(), log, sabotage, real_store, card: 0 };
        let cards = ctx.random.pick(&[1, 1, 1, 2, 3]);
        let nodes = (0..cards).map(|_| Node::new(&mut ctx)).collect();
        let faults = ctx.random.pick(&[3, 6, 12, 20]);
        let mut world = World { ctx, nodes, faults };
        for card in 0..cards {
            world.ctx.card = card;
            let first = resources::first(&mut world.ctx.random);
            world.nodes[card].submit(first, &mut world.ctx);
        }
        // Most runs begin with a card that is in order.
        if world.ctx.random.chance(80) {
            for _ in 0..6 {
                world.all(Node::step_all);
                world.pass(Duration::from_millis(4));
            }
        }
        world
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.ctx.now += time;
        for (card, node) in self.nodes.iter_mut().enumerate() {
            self.ctx.card = card;
            node.tick(&mut self.ctx);
        }
    }

    /// Does something at one card, and lets what left it go on to the next.
    pub(crate) fn at<T>(&mut self, card: usize, act: impl FnOnce(&mut Node, &mut Context) -> T) -> T {
        self.ctx.card = card;
        let done = act(&mut self.nodes[card], &mut self.ctx);
        let next = (card + 1) % self.nodes.len();
        for bytes in std::mem::take(&mut self.nodes[card].leaving) {
            // Else what goes in circles would go on for ever.
            if next != card && self.ctx.random.chance(50) {
                self.ctx.card = next;
                self.nodes[next].enter(UPLINK, &bytes, &mut self.ctx);
            }
        }
        done
    }

    /// Does something at every card.
    pub(crate) fn all(&mut self, act: impl Fn(&mut Node, &mut Context)) {
        for card in 0..self.nodes.len() {
            self.at(card, &act);
        }
    }

    /// Whatever a card did of itself is counted.
    pub(crate) fn finish(mut self) -> Reach {
        for node in &mut self.nodes {
            node.note_hits(&mut self.ctx);
            self.ctx.reach.card(&node.hits);
            let reinstalled = node.datapath.as_ref().map(|datapath| datapath.worker.counters().reinstalled);
            self.ctx.reach.reinstalled += reinstalled.unwrap_or(0);
        }
        self.ctx.reach.runs = 1;
        self.ctx.reach
    }
}

/// What joins the cards.
pub(crate) const UPLINK: PortId = DEVICES[0];
