//! A worker, an installer and a card in virtual time, with everything that happens held against the
//! oracle.

use std::collections::BTreeMap;
use std::time::Duration;

use nic_flow::action::outputs;
use nic_flow::execute::execute;
use nic_flow::seam::PacketBuf;
use nic_flow::{Action, Destination, FlowKey, PortId, RuleId};
use nic_pipeline::{Snapshot, State, translate};
use nic_policy::stats::StageStats;
use nic_policy::{Delta, DropReason, Management, Offload, Revision, Stage};
use nic_slowpath::{Completion, Config, Installer, InstallerConfig, Polled, Worker};
use sim::card::{Card, CardIo, CardRules, Faults, Sent};
use sim::frame::{self, Frame};
use sim::oracle::{self, Memory, Policy};
use sim::random::Random;
use sim::scenario;
use soft_eswitch::Profile;

/// What becomes of one packet: where it goes, or why it does not.
pub(crate) type Fate = Result<Vec<(PortId, Vec<u8>)>, DropReason>;

pub(crate) struct World {
    pub(crate) card: Card,
    pub(crate) worker: Worker<CardIo>,
    pub(crate) installer: Installer<CardRules>,
    pub(crate) now: Duration,
    pub(crate) policy: Policy,
    /// Every policy that was published, by revision.
    history: BTreeMap<u64, Policy>,
    pub(super) completions: Vec<Completion>,
    serial: u64,
    entered: BTreeMap<u64, PortId>,
    /// Packets that rules took, by ingress port.
    pub(crate) by_rules: BTreeMap<PortId, u64>,
    pub(crate) keys: Vec<FlowKey>,
}

impl World {
    pub(crate) fn new(ports: &[PortId], config: Config, installer: InstallerConfig) -> World {
        World::with_card(Card::new(Profile::Portable, ports, 1024, 1, Faults::default()), config, installer)
    }

    pub(crate) fn with_card(card: Card, config: Config, installer: InstallerConfig) -> World {
        World {
            worker: Worker::new(card.io(), config),
            installer: Installer::new(card.rule_sink(), installer),
            card,
            now: Duration::from_secs(1),
            policy: Policy::default(),
            history: BTreeMap::from([(0, Policy::default())]),
            completions: Vec::new(),
            serial: 0,
            entered: BTreeMap::new(),
            by_rules: BTreeMap::new(),
            keys: Vec::new(),
        }
    }

    /// The card's own management is in band there. To be said before anything enters.
    pub(crate) fn manage(&mut self, management: Management) {
        let snapshot = self.worker.snapshot().clone().with_management(Some(management));
        self.worker.publish(snapshot, &[], self.now);
        self.policy.management = Some(management);
        self.history.insert(0, self.policy.clone());
    }

    pub(crate) fn revision(&self) -> u64 {
        self.history.last_key_value().map_or(0, |(revision, _)| *revision)
    }

    /// Publishes a delta, and a set of devices.
    pub(crate) fn publish(&mut self, delta: &Delta, devices: &[PortId]) {
        let (snapshot, mut touched) = self.worker.snapshot().apply(delta).expect("a sound delta");
        let (snapshot, more) = snapshot.with_devices(devices);
        touched.extend(more);
        self.policy.apply(delta);
        self.policy.devices = devices.iter().copied().collect();
        self.history.insert(delta.revision.0, self.policy.clone());
        self.worker.publish(snapshot, &touched, self.now);
    }

    /// A packet like `key` enters. True if a rule took it.
    pub(crate) fn enter(&mut self, key: &FlowKey) -> bool {
        let port = key.in_port();
        self.serial += 1;
        self.entered.insert(self.serial, port);
        let bytes = frame::build(key, self.serial);
        let applied = self.worker.applied().0;
        if !self.card.enter(port, &bytes) {
            return false;
        }
        *self.by_rules.entry(port).or_default() += 1;
        let sent: Vec<_> = self.card.take_sent().into_iter().map(|sent| (sent.port, sent.bytes)).collect();
        // A rule may be as old as what is applied, and not older.
        let allowed = self
            .history
            .range(applied..)
            .any(|(_, policy)| fate(policy, port, &bytes).unwrap_or_default() == sent);
        assert!(allowed, "a rule sent {key:?} to {sent:?}");
        assert!(!is_copied(&self.policy, port, &bytes), "the management misses {key:?}");
        true
    }

    /// One round of the worker, held against the oracle: packets, their order, drops by reason.
    pub(crate) fn poll(&mut self) -> Polled {
        let before = self.card.waiting();
        let drops_before = self.drops();
        let polled = self.worker.poll(self.now);
        let after = self.card.waiting();
        let mut expected: BTreeMap<PortId, BTreeMap<PortId, Vec<Vec<u8>>>> = BTreeMap::new();
        let mut drops = drops_before;
        for (&port, frames) in &before {
            let served = frames.len() - after.get(&port).map_or(0, Vec::len);
            for bytes in &frames[..served] {
                self.keys.push(frame::key(bytes, port));
                if is_copied(&self.policy, port, bytes) {
                    let to_management = expected.entry(PortId::MANAGEMENT).or_default();
                    to_management.entry(port).or_default().push(bytes.clone());
                }
                match fate(&self.policy, port, bytes) {
                    Ok(outputs) => {
                        for (to, bytes) in outputs {
                            expected.entry(to).or_default().entry(port).or_default().push(bytes);
                        }
                    }
                    Err(reason) => *drops.entry((port, reason)).or_default() += 1,
                }
            }
        }
        let mut sent: BTreeMap<PortId, BTreeMap<PortId, Vec<Vec<u8>>>> = BTreeMap::new();
        for Sent { port, bytes, by_rule } in self.card.take_sent() {
            assert!(!by_rule);
            let serial = frame::serial(&bytes).expect("frames carry a serial number");
            sent.entry(port).or_default().entry(self.entered[&serial]).or_default().push(bytes);
        }
        assert_eq!(sent, expected);
        assert_eq!(self.drops(), drops);
        polled
    }

    /// Drops that were counted, by ingress port and reason.
    pub(crate) fn drops(&self) -> BTreeMap<(PortId, DropReason), u64> {
        let mut drops = BTreeMap::new();
        for port in self.worker.stats().ports {
            for &reason in DropReason::ALL {
                let packets = port.drops[reason.index()];
                if packets > 0 {
                    drops.insert((port.port, reason), packets);
                }
            }
        }
        drops
    }

    pub(crate) fn hand_over(&mut self, room: usize) {
        let installer = &mut self.installer;
        self.worker.take_requests(room, |request| installer.submit(request));
    }

    pub(crate) fn install(&mut self) {
        let completions = &mut self.completions;
        self.installer.poll(self.now, &mut |completion| completions.push(completion));
    }

    /// Delivers up to `n` answers in any order but for those about one rule.
    pub(crate) fn deliver(&mut self, n: usize, random: &mut Random) {
        for _ in 0..n.min(self.completions.len()) {
            let at = random.below(self.completions.len() as u64) as usize;
            let id = subject(&self.completions[at]);
            let first = self.completions.iter().position(|other| id.is_some() && subject(other) == id);
            let completion = self.completions.remove(first.unwrap_or(at));
            self.worker.complete(completion, self.now);
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.worker.tick(self.now);
    }

    /// Hands everything over and back once.
    pub(crate) fn settle(&mut self) {
        self.hand_over(usize::MAX);
        self.install();
        for completion in std::mem::take(&mut self.completions) {
            self.worker.complete(completion, self.now);
        }
    }

    /// Lets the world come to rest: no packet waits, no request, no answer.
    pub(crate) fn quiesce(&mut self) {
        self.card.set_faults(Faults::default());
        for _ in 0..2000 {
            let polled = self.poll();
            self.settle();
            self.now += Duration::from_millis(1);
            let at_rest = self.installer.is_idle() && self.completions.is_empty();
            let mut requests = 0;
            let installer = &mut self.installer;
            self.worker.take_requests(1, |request| {
                requests += 1;
                installer.submit(request);
            });
            let done = self.worker.applied() == Revision(self.revision());
            if polled == Polled::default() && at_rest && requests == 0 && done {
                return;
            }
        }
        panic!("the world did not come to rest: {:?} {:?}", self.worker, self.installer);
    }

    /// What must hold at any time.
    pub(crate) fn check(&self) {
        let stats = self.worker.stats();
        let mut by_port: BTreeMap<PortId, (u64, u64)> = BTreeMap::new();
        for flow in self.worker.flows() {
            let (flows, in_hardware) = by_port.entry(flow.matches.key().in_port()).or_default();
            *flows += 1;
            *in_hardware += u64::from(flow.offload == Offload::Hardware);
        }
        for port in &stats.ports {
            let counted = by_port.get(&port.port).copied().unwrap_or_default();
            assert_eq!((port.flows, port.rules), counted, "{}", port.port);
        }
        let all = by_port.values().fold((0, 0), |sum, port| (sum.0 + port.0, sum.1 + port.1));
        assert_eq!((stats.flows, stats.flows_in_hardware), all);
        let rules = self.card.rules();
        for (at, rule) in rules.iter().enumerate() {
            let named = outputs(&rule.actions).chain([rule.matches.key().in_port()]);
            assert!(!named.into_iter().any(|port| port == PortId::MANAGEMENT), "{rule:?}");
            for other in rules[..at].iter().filter(|other| other.matches.overlaps(&rule.matches)) {
                assert_eq!(rule.actions, other.actions, "{:?} and {:?}", rule.matches, other.matches);
            }
        }
        if self.worker.applied() == Revision(self.revision()) {
            for rule in &rules {
                let now = retranslate(rule.matches.key(), self.worker.snapshot());
                assert_eq!(rule.actions, now.actions, "a stale rule for {:?}", rule.matches);
            }
        }
    }

    /// What must hold once all is applied: no rule, and no flow, says other than the policy does.
    pub(crate) fn check_applied(&self) {
        if self.worker.applied() != Revision(self.revision()) {
            return;
        }
        for rule in self.card.rules() {
            for key in self.keys.iter().rev().take(64).filter(|key| rule.matches.matches(key)) {
                assert_eq!(rule.actions.as_slice(), oracle(&self.policy, key).unwrap_or_default());
            }
        }
        for flow in self.worker.flows() {
            let now = retranslate(flow.matches.key(), self.worker.snapshot());
            assert_eq!((&flow.actions, flow.dropped), (&now.actions, now.dropped()));
            let mut random = Random::new(u64::from(flow.id.slot));
            for _ in 0..4 {
                let packet = scenario::within(&mut random, flow.matches.key(), flow.matches.mask());
                assert_eq!(flow.actions.as_slice(), oracle(&self.policy, &packet).unwrap_or_default());
            }
        }
    }

    /// Takes everything out and holds the counters against what entered and what left.
    pub(crate) fn end(&mut self) {
        self.quiesce();
        self.check();
        self.check_applied();
        self.worker.flush(None);
        self.quiesce();
        assert_eq!(self.card.handles(), 0, "rules were left behind");
        assert_eq!(self.installer.rules(), 0);
        assert_eq!(self.worker.flows().count(), 0);
        let (stats, installer) = (self.worker.stats(), self.installer.counters());
        assert_eq!(stats.flows_in_hardware, 0);
        assert_eq!(stats.rules_created, installer.created);
        assert_eq!(stats.rules_destroyed, installer.destroyed);
        assert_eq!(installer.created, installer.destroyed);
        let mut out = 0;
        for port in &stats.ports {
            let entered = self.entered.values().filter(|&&entered| entered == port.port).count() as u64;
            let by_rules = self.by_rules.get(&port.port).copied().unwrap_or(0);
            assert_eq!(port.slow_path.packets + by_rules, entered, "{}", port.port);
            out += port.sent.packets + port.hardware.packets + port.drops.iter().sum::<u64>();
        }
        // Every packet was sent, dropped for a reason, or forwarded by a rule; every copy too.
        assert_eq!(self.entered.len() as u64 + self.worker.counters().copies, out);
    }
}

pub(crate) fn subject(completion: &Completion) -> Option<RuleId> {
    match completion {
        Completion::Installed { id }
        | Completion::Refused { id, .. }
        | Completion::Removed { id, .. }
        | Completion::RemoveFailed { id, .. } => Some(*id),
        Completion::Counted(_) => None,
    }
}

pub(crate) fn retranslate(key: &FlowKey, snapshot: &Snapshot) -> nic_pipeline::Translation {
    translate(key, snapshot, &State::default(), &mut [StageStats::default(); Stage::COUNT])
}

/// What a policy without bridges does to a packet.
fn oracle(policy: &Policy, key: &FlowKey) -> Result<Vec<Action>, DropReason> {
    match policy.translate(key, &Memory::default()).fate {
        oracle::Fate::Forward(actions) => Ok(actions),
        oracle::Fate::Drop(reason) => Err(reason),
        other => panic!("{other:?} in a policy without bridges"),
    }
}

/// Whether the card's own management gets a copy.
fn is_copied(policy: &Policy, port: PortId, bytes: &[u8]) -> bool {
    policy.translate(&frame::key(bytes, port), &Memory::default()).management
}

pub(crate) fn fate(policy: &Policy, port: PortId, bytes: &[u8]) -> Fate {
    let actions = oracle(policy, &frame::key(bytes, port))?;
    let mut outputs = Vec::new();
    execute(&actions, &mut Frame::new(bytes), |to, packet: &Frame| {
        let Destination::Port(to) = to else { panic!("no policy here floods") };
        outputs.push((to, packet.data().to_vec()));
    })
    .expect("test frames have headroom");
    Ok(outputs)
}
