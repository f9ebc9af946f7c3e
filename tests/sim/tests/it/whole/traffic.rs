//! Packets, and what must hold of each: it goes where the oracle says for a policy that may be in force.

use std::collections::BTreeMap;

use nic_flow::field::Field;
use nic_flow::{FlowKey, PortId};
use nic_policy::{DropReason, Offload};
use nic_slowpath::Polled;
use sim::card::Sent;
use sim::frame;
use sim::scenario;

use super::fault::Sabotage;
use super::resources::DEVICES;
use super::world::{Context, Node, UPLINK};
use crate::slowpath::world::{fate, retranslate};

/// Packets that are remembered, to come again.
const REMEMBERED: usize = 12;

/// Drops by port and reason, but for those of [`LOSSES`].
type Drops = BTreeMap<(PortId, DropReason), u64>;

/// Ways to lose a packet that depend on the card and not on policy.
const LOSSES: [DropReason; 2] = [DropReason::TransmitFull, DropReason::NoBuffer];

impl Node {
    /// A packet that is of interest comes: most are like one that came before.
    pub(crate) fn traffic(&mut self, ctx: &mut Context) {
        let random = &mut ctx.random;
        let newest = self.policies.last_key_value().map(|(_, policy)| policy);
        let mut key = match (self.keys.len(), newest) {
            (1.., _) if random.chance(65) => self.keys[random.below(self.keys.len() as u64) as usize],
            (_, Some(policy)) => scenario::packet_for(random, policy),
            (_, None) => scenario::packet(random),
        };
        if !DEVICES.contains(&key.in_port()) {
            key.set(Field::InPort, random.pick(DEVICES).bits().into());
        }
        self.send(&key, ctx);
    }

    /// A packet like that comes. True if a rule took it.
    pub(crate) fn send(&mut self, key: &FlowKey, ctx: &mut Context) -> bool {
        self.serial += 1;
        self.enter(key.in_port(), &frame::build(key, self.serial), ctx)
    }

    /// A frame enters. True if a rule took it.
    pub(crate) fn enter(&mut self, port: PortId, bytes: &[u8], ctx: &mut Context) -> bool {
        // While nobody drives the card it is closed.
        let Some(datapath) = &mut self.datapath else { return false };
        *datapath.entered.entry(port).or_default() += 1;
        let (oldest, newest) = (datapath.oldest().0, datapath.translates.0);
        if !self.card.enter(port, bytes) {
            return false;
        }
        *datapath.by_rules.entry(port).or_default() += 1;
        ctx.reach.by_rules += 1;
        let sent: Vec<_> = self.card.take_sent().into_iter().map(|sent| (sent.port, sent.bytes)).collect();
        let allowed = oldest <= newest
            && self
                .policies
                .range(oldest..=newest)
                .any(|(_, policy)| fate(policy, port, bytes).unwrap_or_default() == sent);
        assert!(
            allowed,
            "a rule sent {:?} to {sent:?}, which no policy from {oldest} to {newest} does",
            frame::key(bytes, port)
        );
        self.pass_on(sent);
        true
    }

    fn pass_on(&mut self, sent: Vec<(PortId, Vec<u8>)>) {
        self.leaving.extend(sent.into_iter().filter(|(port, _)| *port == UPLINK).map(|(_, bytes)| bytes));
    }

    /// One round of the worker, held against the oracle.
    pub(crate) fn round(&mut self, ctx: &mut Context) -> Polled {
        let Some(datapath) = &mut self.datapath else { return Polled::default() };
        let before = self.card.waiting();
        if before.values().all(Vec::is_empty) {
            return datapath.round(ctx);
        }
        let (mut drops, lost_before) = drops(datapath.worker.stats());
        let polled = datapath.round(ctx);
        let policy = &self.policies[&datapath.translates.0];
        let after = self.card.waiting();
        let mut expected: Vec<(PortId, Vec<u8>)> = Vec::new();
        for (&port, frames) in &before {
            let served = frames.len() - after.get(&port).map_or(0, Vec::len);
            for bytes in &frames[..served] {
                ctx.reach.by_software += 1;
                self.keys.push_back(frame::key(bytes, port));
                match fate(policy, port, bytes) {
                    Ok(outputs) => expected.extend(outputs),
                    Err(reason) => *drops.entry((port, reason)).or_default() += 1,
                }
            }
        }
        self.keys.drain(..self.keys.len().saturating_sub(REMEMBERED));
        let sent = self.card.take_sent();
        if ctx.sabotage == Some(Sabotage::LeaksBuffers)
            && let Some(Sent { bytes, .. }) = sent.first()
        {
            let leaked = self.card.buffer(bytes);
            datapath.leak(leaked);
        }
        let mut sent: Vec<_> = sent.into_iter().map(|sent| (sent.port, sent.bytes)).collect();
        let (drops_after, lost_after) = super::traffic::drops(datapath.worker.stats());
        assert_eq!(drops_after, drops, "drops by port and reason");
        expected.sort_unstable();
        sent.sort_unstable();
        let missing = without(&expected, &sent);
        assert_eq!(missing, Some(lost_after - lost_before), "sent {sent:?}, the oracle says {expected:?}");
        self.pass_on(sent);
        polled
    }

    /// What must hold at any time: rules that overlap agree, and none says what only an older policy than
    /// the applied one says.
    pub(crate) fn check(&self) {
        let Some(datapath) = &self.datapath else { return };
        let worker = &datapath.worker;
        let in_hardware = worker.flows().filter(|flow| flow.offload == Offload::Hardware).count() as u64;
        assert_eq!(worker.stats().flows_in_hardware, in_hardware);
        let rules = self.card.rules();
        for (at, rule) in rules.iter().enumerate() {
            for other in rules[..at].iter().filter(|other| other.matches.overlaps(&rule.matches)) {
                assert_eq!(rule.actions, other.actions, "{:?} and {:?}", rule.matches, other.matches);
            }
        }
        if datapath.oldest() == datapath.translates {
            for rule in &rules {
                let now = retranslate(rule.matches.key(), worker.snapshot());
                assert_eq!(rule.actions, now.actions, "a stale rule for {:?}", rule.matches);
            }
        }
    }
}

/// Drops by port and reason, and how many packets the card lost.
fn drops(stats: nic_policy::Stats) -> (Drops, usize) {
    let (mut drops, mut lost) = (Drops::new(), 0);
    for port in stats.ports {
        for &reason in DropReason::ALL {
            let packets = port.drops[reason.index()];
            if LOSSES.contains(&reason) {
                lost += packets as usize;
            } else if packets > 0 {
                drops.insert((port.port, reason), packets);
            }
        }
    }
    (drops, lost)
}

/// How many are expected and not sent; `None` if something was sent that is not expected. Both are sorted.
fn without(expected: &[(PortId, Vec<u8>)], sent: &[(PortId, Vec<u8>)]) -> Option<usize> {
    let mut left = expected.iter();
    for one in sent {
        left.find(|other| *other == one)?;
    }
    Some(expected.len() - sent.len())
}
