//! The slow path as a whole: frames of any kind, in any order with changes, time and a card that errs.

use std::collections::BTreeMap;
use std::time::Duration;

use nic_flow::execute::execute;
use nic_flow::seam::PacketBuf;
use nic_flow::{Destination, PortId};
use nic_policy::{Delta, DropReason, Offload, Revision};
use nic_slowpath::{Completion, Config, Installer, InstallerConfig, Polled, Worker};
use sim::card::{Card, CardIo, CardRules, Faults, Sent};
use sim::frame::{self, Frame};
use sim::oracle::{self, Memory, Policy};
use sim::random::Random;
use sim::scenario;
use soft_eswitch::Profile;

/// Four bytes draw the policy, the card and the limits; then come steps of an operation and its argument.
///
/// Whatever happens, nothing panics, flows and counters agree, rules that overlap agree, and at the end no rule
/// is left. Where the policy has no bridges, and so nothing is learned, every frame goes where the oracle says.
pub fn slow_path(bytes: &[u8]) {
    let Some((seed, mut steps)) = bytes.split_first_chunk() else {
        return;
    };
    let mut world = World::new(u64::from(u32::from_le_bytes(*seed)));
    for _ in 0..256 {
        let Some((&operation, rest)) = steps.split_first() else { break };
        steps = rest;
        world.step(operation, &mut steps);
        world.check();
    }
    world.end();
}

struct World {
    card: Card,
    worker: Worker<CardIo>,
    installer: Installer<CardRules>,
    now: Duration,
    random: Random,
    /// Policies by revision: the newest is in force.
    policies: BTreeMap<u64, Policy>,
    /// Whether the oracle can tell what becomes of a frame without knowing what was learned.
    plain: bool,
    completions: Vec<Completion>,
    entered: u64,
    by_rules: u64,
}

/// What is done to a frame: where it goes, or why it does not.
type Fate = Result<Vec<(PortId, Vec<u8>)>, DropReason>;

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let faults = match random.below(3) {
            0 => Faults {
                busy: 20,
                full: 5,
                broken: 5,
                lagging: 0,
                lost: 3,
                undestroyed: 15,
                unread: 10,
                stale: 40,
            },
            _ => Faults::default(),
        };
        let profile = random.pick(&[Profile::Full, Profile::Portable]);
        let card = Card::new(profile, &scenario::PORTS[..5], random.pick(&[4, 1024]), random.bits(), faults);
        let config = Config {
            seed: random.bits(),
            flows: random.pick(&[8, 4096]),
            flows_per_port: random.pick(&[4, 4096]),
            full_key_flows: random.pick(&[2, 64]),
            rules: random.pick(&[6, 4096]),
            revalidations: random.pick(&[1, 1000]),
            ..Config::default()
        };
        let policy = scenario::policy(&mut random);
        let plain = policy.bridges().next().is_none() && policy.vteps().next().is_none();
        let mut world = World {
            worker: Worker::new(card.io(), config),
            installer: Installer::new(card.rule_sink(), InstallerConfig::default()),
            card,
            now: Duration::from_secs(1),
            random,
            policies: BTreeMap::from([(0, Policy::default())]),
            plain,
            completions: Vec::new(),
            entered: 0,
            by_rules: 0,
        };
        let devices: Vec<PortId> = policy.devices.iter().copied().collect();
        world.publish(&scenario::full(&policy, 1), &devices);
        world
    }

    fn revision(&self) -> u64 {
        self.policies.last_key_value().map_or(0, |(revision, _)| *revision)
    }

    fn policy(&self) -> &Policy {
        &self.policies[&self.revision()]
    }

    fn publish(&mut self, delta: &Delta, devices: &[PortId]) {
        let (snapshot, mut touched) = self.worker.snapshot().apply(delta).expect("a sound delta");
        let (snapshot, more) = snapshot.with_devices(devices);
        touched.extend(more);
        let mut policy = self.policy().clone();
        policy.apply(delta);
        policy.devices = devices.iter().copied().collect();
        self.policies.insert(delta.revision.0, policy);
        self.worker.publish(snapshot, &touched, self.now);
    }

    fn step(&mut self, operation: u8, rest: &mut &[u8]) {
        let argument = usize::from(operation >> 4);
        match operation & 0xf {
            0..=7 => {
                let length = rest.split_off_first().map_or(0, |length| usize::from(*length));
                let frame = rest.split_off(..length.min(rest.len())).unwrap_or_default();
                self.enter(scenario::PORTS[argument % 5], frame);
            }
            8 | 9 => drop(self.poll()),
            10 => drop(self.hand_over(argument)),
            11 => self.install(),
            12 => self.deliver(argument),
            13 => {
                self.now += Duration::from_micros(1 << (2 * argument));
                self.worker.tick(self.now);
            }
            14 => {
                let (policy, next) = (self.policy().clone(), self.revision() + 1);
                let delta = scenario::delta(&mut self.random, &policy, next);
                let devices = match argument {
                    0..4 => scenario::devices(&mut self.random),
                    _ => policy.devices.iter().copied().collect(),
                };
                self.publish(&delta, &devices);
            }
            _ if argument < 4 => self.card.lose_rules(),
            _ if argument < 8 => drop(self.worker.flush(None)),
            _ => drop(self.worker.flush_fdb(None, None)),
        }
    }

    fn enter(&mut self, port: PortId, frame: &[u8]) {
        self.entered += 1;
        // Too short for any rule: the E-Switch does not take it, but another card might hand it over.
        if frame.len() < 14 {
            return self.card.miss(port, frame);
        }
        let applied = self.worker.applied().0;
        if !self.card.enter(port, frame) {
            return;
        }
        self.by_rules += 1;
        let sent: Vec<_> = self.card.take_sent().into_iter().map(|sent| (sent.port, sent.bytes)).collect();
        // A rule may be as old as what is applied, and not older.
        let mut policies = self.policies.range(applied..);
        let allowed = policies.any(|(_, policy)| fate(policy, port, frame).unwrap_or_default() == sent);
        assert!(allowed || !self.plain, "a rule sent {frame:02x?} to {sent:?}");
    }

    fn poll(&mut self) -> Polled {
        let before = self.card.waiting();
        let mut drops = self.drops();
        let polled = self.worker.poll(self.now);
        let mut sent: Vec<_> = self.card.take_sent().into_iter().map(once).collect();
        if !self.plain {
            return polled;
        }
        let after = self.card.waiting();
        let mut expected = Vec::new();
        for (&port, frames) in &before {
            let served = frames.len() - after.get(&port).map_or(0, Vec::len);
            for frame in &frames[..served] {
                match fate(self.policy(), port, frame) {
                    Ok(outputs) => expected.extend(outputs),
                    Err(reason) => *drops.entry((port, reason)).or_default() += 1,
                }
            }
        }
        sent.sort();
        expected.sort();
        assert_eq!(sent, expected);
        assert_eq!(self.drops(), drops);
        polled
    }

    fn drops(&self) -> BTreeMap<(PortId, DropReason), u64> {
        let mut drops = BTreeMap::new();
        for port in self.worker.stats().ports {
            let counted = DropReason::ALL.iter().map(|&reason| (reason, port.drops[reason.index()]));
            drops.extend(counted.filter(|(_, n)| *n > 0).map(|(reason, n)| ((port.port, reason), n)));
        }
        drops
    }

    fn hand_over(&mut self, room: usize) -> usize {
        let mut handed = 0;
        let installer = &mut self.installer;
        self.worker.take_requests(room, |request| {
            handed += 1;
            installer.submit(request);
        });
        handed
    }

    fn install(&mut self) {
        let completions = &mut self.completions;
        self.installer.poll(self.now, &mut |completion| completions.push(completion));
    }

    /// Delivers the oldest answers.
    fn deliver(&mut self, n: usize) {
        for completion in self.completions.drain(..n.min(self.completions.len())) {
            self.worker.complete(completion, self.now);
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let stats = self.worker.stats();
        let (mut flows, mut in_hardware) = (0, 0);
        for flow in self.worker.flows() {
            flows += 1;
            in_hardware += u64::from(flow.offload == Offload::Hardware);
        }
        assert_eq!((stats.flows, stats.flows_in_hardware), (flows, in_hardware));
        let rules = self.card.rules();
        for (at, rule) in rules.iter().enumerate() {
            for other in rules[..at].iter().filter(|other| other.matches.overlaps(&rule.matches)) {
                assert_eq!(rule.actions, other.actions, "{:?} and {:?}", rule.matches, other.matches);
            }
        }
    }

    /// Lets all come to rest, takes it out, and counts.
    fn end(&mut self) {
        self.quiesce();
        self.check();
        self.worker.flush(None);
        self.quiesce();
        assert_eq!((self.card.handles(), self.installer.rules()), (0, 0), "rules were left behind");
        assert_eq!(self.worker.flows().count(), 0);
        let (stats, installer) = (self.worker.stats(), self.installer.counters());
        assert_eq!((stats.rules_created, stats.rules_destroyed), (installer.created, installer.destroyed));
        assert_eq!(installer.created, installer.destroyed);
        let received: u64 = stats.ports.iter().map(|port| port.slow_path.packets).sum();
        assert_eq!(received + self.by_rules, self.entered);
        if self.plain {
            // Every packet was sent, dropped for a reason, or forwarded by a rule; every copy too.
            let out = |port: &nic_policy::PortStats| {
                port.sent.packets + port.hardware.packets + port.drops.iter().sum::<u64>()
            };
            let out: u64 = stats.ports.iter().map(out).sum();
            assert_eq!(self.entered + self.worker.counters().copies, out);
        }
    }

    fn quiesce(&mut self) {
        self.card.set_faults(Faults::default());
        for _ in 0..10_000 {
            let polled = self.poll();
            let handed = self.hand_over(usize::MAX);
            self.install();
            self.deliver(usize::MAX);
            self.now += Duration::from_millis(1);
            let idle = self.installer.is_idle() && self.worker.applied() == Revision(self.revision());
            if polled == Polled::default() && handed == 0 && idle {
                return;
            }
        }
        panic!("the world did not come to rest: {:?} {:?}", self.worker, self.installer);
    }
}

fn once(sent: Sent) -> (PortId, Vec<u8>) {
    assert!(!sent.by_rule, "no frame entered");
    (sent.port, sent.bytes)
}

/// What a policy without bridges does to a frame.
fn fate(policy: &Policy, port: PortId, bytes: &[u8]) -> Fate {
    if bytes.len() < 14 {
        return Err(DropReason::Undersized);
    }
    let actions = match policy.translate(&frame::key(bytes, port), &Memory::default()).fate {
        oracle::Fate::Forward(actions) => actions,
        oracle::Fate::Drop(reason) => return Err(reason),
        // Only where there are bridges, and then nobody asks.
        _ => return Ok(Vec::new()),
    };
    let mut outputs = Vec::new();
    execute(&actions, &mut Frame::new(bytes), |to, packet: &Frame| {
        if let Destination::Port(to) = to {
            outputs.push((to, packet.data().to_vec()));
        }
    })
    .expect("there is headroom");
    Ok(outputs)
}
