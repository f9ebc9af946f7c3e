//! One card: worker, installer and software E-Switch, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use nic_flow::{FlowKey, PortId};
use nic_policy::{Change, Delta, DropReason, Revision};
use nic_slowpath::{Completion, Config, Installer, InstallerConfig, Polled, Worker};
use sim::card::{Card, CardIo, CardRules, Faults, Sent};
use sim::frame;
use soft_eswitch::Profile;

pub(crate) struct Node {
    pub(crate) card: Card,
    pub(crate) worker: Worker<CardIo>,
    pub(crate) installer: Installer<CardRules>,
    pub(crate) now: Duration,
    completions: Vec<Completion>,
    revision: u64,
    devices: Vec<PortId>,
    serial: u64,
    entered: u64,
    /// Packets that a rule took.
    pub(crate) by_rules: u64,
    left: u64,
}

impl Node {
    /// A card with these ports and this policy.
    pub(crate) fn new(ports: &[PortId], config: Config, seed: u64, changes: Vec<Change>) -> Node {
        let card = Card::new(Profile::Portable, ports, 4096, seed, Faults::default());
        let mut node = Node {
            worker: Worker::new(card.io(), Config { seed, ..config }),
            installer: Installer::new(card.rule_sink(), InstallerConfig::default()),
            card,
            now: Duration::from_secs(1),
            completions: Vec::new(),
            revision: 0,
            devices: ports.to_vec(),
            serial: 0,
            entered: 0,
            by_rules: 0,
            left: 0,
        };
        node.change(changes);
        node
    }

    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        let delta = Delta { revision: Revision(self.revision), replace_all: false, changes };
        let (snapshot, mut touched) = self.worker.snapshot().apply(&delta).expect("a sound delta");
        let (snapshot, more) = snapshot.with_devices(&self.devices);
        touched.extend(more);
        self.worker.publish(snapshot, &touched, self.now);
    }

    /// From now on the card has these devices only.
    pub(crate) fn set_devices(&mut self, devices: &[PortId]) {
        self.devices = devices.to_vec();
        self.change(Vec::new());
    }

    /// A frame enters. True if a rule took it.
    pub(crate) fn enter(&mut self, port: PortId, frame: &[u8]) -> bool {
        self.entered += 1;
        let taken = self.card.enter(port, frame);
        self.by_rules += u64::from(taken);
        taken
    }

    /// A frame like that enters and is served. Returns what left the card, by port.
    pub(crate) fn pass_on(&mut self, port: PortId, key: &FlowKey) -> Vec<(PortId, Vec<u8>)> {
        self.serial += 1;
        self.enter(port, &frame::build(key, self.serial));
        self.serve();
        self.sent().into_iter().map(|sent| (sent.port, sent.bytes)).collect()
    }

    /// The ports by which a frame like that leaves.
    pub(crate) fn ports_of(&mut self, port: PortId, key: &FlowKey) -> Vec<PortId> {
        let mut ports: Vec<PortId> = self.pass_on(port, key).into_iter().map(|(port, _)| port).collect();
        ports.sort_unstable();
        ports
    }

    /// The worker serves until nothing waits.
    pub(crate) fn serve(&mut self) {
        for _ in 0..1000 {
            if self.worker.poll(self.now) == Polled::default() {
                return;
            }
        }
        panic!("the worker never rests: {:?}", self.worker);
    }

    /// What left the card since the last call.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let sent = self.card.take_sent();
        self.left += sent.len() as u64;
        sent
    }

    /// Hands requests to the installer and answers back, twice: a rule that makes room lets another in.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2 {
            let installer = &mut self.installer;
            self.worker.take_requests(usize::MAX, |request| installer.submit(request));
            let completions = &mut self.completions;
            self.installer.poll(self.now, &mut |completion| completions.push(completion));
            for completion in std::mem::take(&mut self.completions) {
                self.worker.complete(completion, self.now);
            }
        }
    }

    /// Time passes in steps of at most 200 ms.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(200));
            self.worker.tick(self.now);
            self.serve();
            self.settle();
        }
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.worker.stats().ports.iter().map(|port| port.drops[reason.index()]).sum()
    }

    /// All drops by reason.
    pub(crate) fn drops(&self) -> BTreeMap<DropReason, u64> {
        let reasons = DropReason::ALL.iter().map(|&reason| (reason, self.dropped(reason)));
        reasons.filter(|&(_, packets)| packets > 0).collect()
    }

    /// What must hold at any time: of rules that overlap it does not matter which one is hit.
    pub(crate) fn check(&self) {
        let rules = self.card.rules();
        for (at, rule) in rules.iter().enumerate() {
            for other in rules[..at].iter().filter(|other| other.matches.overlaps(&rule.matches)) {
                assert_eq!(rule.actions, other.actions, "{:?} and {:?}", rule.matches, other.matches);
            }
        }
    }

    /// What must hold once nothing is to be done: no flow and no rule says other than what policy and
    /// learned state say now.
    pub(crate) fn check_at_rest(&self) {
        self.check();
        for flow in self.worker.flows() {
            let now = self.worker.trace(flow.matches.key());
            assert_eq!((&flow.actions, flow.dropped), (&now.actions, now.dropped()), "{:?}", flow.matches);
        }
        for rule in self.card.rules() {
            let now = self.worker.trace(rule.matches.key());
            assert_eq!(rule.actions, now.actions, "a stale rule for {:?}", rule.matches);
        }
    }

    /// Takes every flow out, and holds what entered against what left: each packet and each copy was
    /// sent, dropped for a reason, taken by the agent, or waits.
    pub(crate) fn end(&mut self) {
        self.card.set_faults(Faults::default());
        self.serve();
        self.worker.flush(None);
        for _ in 0..100 {
            self.settle();
            self.now += Duration::from_millis(50);
        }
        assert_eq!(self.card.handles(), 0, "rules were left behind");
        self.sent();
        let (stats, counters) = (self.worker.stats(), self.worker.counters());
        let sum = |count: fn(&nic_policy::PortStats) -> u64| stats.ports.iter().map(count).sum::<u64>();
        let (sent, hardware) = (sum(|port| port.sent.packets), sum(|port| port.hardware.packets));
        let drops = sum(|port| port.drops.iter().sum());
        assert_eq!(sent + hardware, self.left, "all that is counted as sent left the card");
        assert_eq!(sum(|port| port.slow_path.packets) + self.by_rules, self.entered);
        assert_eq!(
            self.entered + counters.copies + counters.originated,
            sent + hardware + drops + counters.taken + counters.waiting,
            "{counters:?} {:?}",
            self.drops(),
        );
    }
}
