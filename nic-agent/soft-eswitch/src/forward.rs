//! The way of packets through the switch.

use std::sync::Arc;

use nic_flow::execute::{ExecuteError, execute_to_last};
use nic_flow::extract::extract;
use nic_flow::seam::{BURST, Burst, PacketBuf};
use nic_flow::{Counters, FlowKey, PortId};
use nic_table::hash::Seed;
use nic_wire::ethernet;

use crate::cache::{ExactCache, Verdict};
use crate::counters::Run;
use crate::egress::Egress;
use crate::port::{DropReason, Port};
use crate::switch::{NoPort, Switch};
use crate::tables::{Installed, Rules};

/// Forwards packets by the rules of a [`Switch`]. Each thread that forwards has one of its own.
#[derive(Debug)]
pub struct Forwarder {
    switch: Arc<Switch>,
    classifier: Classifier,
}

/// The cache, and what is known of the packets of one burst.
#[derive(Debug)]
struct Classifier {
    cache: ExactCache,
    keys: [FlowKey; BURST],
    hashes: [u64; BURST],
    verdicts: [Verdict; BURST],
}

impl Forwarder {
    /// A forwarder with an exact-match cache of at least that many entries, about 180 bytes each.
    pub fn new(switch: Arc<Switch>, cache_entries: usize) -> Forwarder {
        let classifier = Classifier {
            cache: ExactCache::new(cache_entries, Seed::new(switch.seed())),
            keys: [FlowKey::ZERO; BURST],
            hashes: [0; BURST],
            verdicts: [Verdict::Miss; BURST],
        };
        Forwarder { switch, classifier }
    }

    /// The switch whose rules are followed.
    pub const fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// Forwards packets that entered by a port. `burst` is empty afterwards.
    ///
    /// One state of the rules serves the whole burst, and all that is counted can be read when this
    /// returns.
    ///
    /// # Errors
    /// [`NoPort`] if the switch has no such port; the packets stay in `burst`.
    pub fn forward<B: PacketBuf>(
        &mut self,
        in_port: PortId,
        burst: &mut Burst<B>,
        egress: &mut impl Egress<B>,
    ) -> Result<(), NoPort> {
        let port = self.switch.port(in_port).ok_or(NoPort(in_port))?;
        // Held until all is counted: a rule that is destroyed meanwhile waits for its last packets.
        let rules = self.switch.rules().read();
        let verdicts = self.classifier.classify(in_port, burst, &rules);
        let mut way = Way::new(&self.switch, port, egress);
        for (packet, &verdict) in std::mem::take(burst).into_iter().zip(verdicts) {
            way.packet(packet, rules.rule(verdict));
        }
        way.finish();
        Ok(())
    }
}

impl Classifier {
    /// Finds the verdict of each packet: all keys first, then the cache, and the rules for what the
    /// cache does not know.
    fn classify<B: PacketBuf>(&mut self, in_port: PortId, burst: &Burst<B>, rules: &Rules) -> &[Verdict] {
        let generation = rules.generation();
        for ((packet, key), hash) in burst.iter().zip(&mut self.keys).zip(&mut self.hashes) {
            *key = extract(packet.data(), in_port);
            *hash = self.cache.hash(key);
        }
        for i in 0..burst.len() {
            let (key, hash) = (&self.keys[i], self.hashes[i]);
            self.verdicts[i] = self.cache.get(generation, hash, key).unwrap_or_else(|| {
                let verdict = rules.classify(key);
                self.cache.put(generation, hash, key, verdict);
                verdict
            });
        }
        &self.verdicts[..burst.len()]
    }
}

/// One burst on its way out.
struct Way<'a, E> {
    switch: &'a Switch,
    port: &'a Port,
    egress: &'a mut E,
    received: Counters,
    hits: Counters,
    misses: Counters,
    /// The rule hit last, and the port sent to last.
    rule: Run<'a>,
    sent: Run<'a>,
}

impl<'a, E> Way<'a, E> {
    fn new(switch: &'a Switch, port: &'a Port, egress: &'a mut E) -> Way<'a, E> {
        Way {
            switch,
            port,
            egress,
            received: Counters::default(),
            hits: Counters::default(),
            misses: Counters::default(),
            rule: Run::new(),
            sent: Run::new(),
        }
    }

    fn packet<B: PacketBuf>(&mut self, packet: B, rule: Option<&'a Installed>)
    where
        E: Egress<B>,
    {
        let bytes = packet.data().len();
        self.received.add(bytes);
        if bytes < ethernet::HEADER_LEN {
            self.port.dropped(DropReason::Undersized);
            return;
        }
        let Some(rule) = rule else {
            self.misses.add(bytes);
            if let Err(unsent) = self.egress.to_representor(self.port.id, packet) {
                self.port.dropped(DropReason::of_miss(unsent));
            }
            return;
        };
        self.hits.add(bytes);
        if let Some(counters) = &rule.counters {
            self.rule.add(counters, bytes);
        }
        self.execute(packet, rule);
    }

    fn execute<B: PacketBuf>(&mut self, mut packet: B, rule: &'a Installed)
    where
        E: Egress<B>,
    {
        let mut outputs = rule.outputs.iter();
        let last = execute_to_last(&rule.actions, &mut packet, |_, packet| {
            if let Some(&index) = outputs.next() {
                match self.egress.copy(packet) {
                    Some(copy) => self.transmit(index, copy),
                    None => self.port.dropped(DropReason::CopyNoBuffer),
                }
            }
        });
        match (last, outputs.next()) {
            (Ok(Some(_)), Some(&index)) => self.transmit(index, packet),
            (Ok(_), _) => self.port.dropped(DropReason::Rule),
            (Err(ExecuteError::NoHeadroom), _) => self.port.dropped(DropReason::NoHeadroom),
            // A rule with two families in one tunnel is not created.
            (Err(ExecuteError::TooLong | ExecuteError::MixedFamilies), _) => {
                self.port.dropped(DropReason::TooLong);
            }
        }
    }

    fn transmit<B: PacketBuf>(&mut self, index: u16, packet: B)
    where
        E: Egress<B>,
    {
        let bytes = packet.data().len();
        let port = self.switch.port_at(index);
        match self.egress.transmit(port.id, packet) {
            Ok(()) => self.sent.add(&port.sent, bytes),
            Err(unsent) => self.port.dropped(DropReason::of_transmit(unsent)),
        }
    }

    fn finish(mut self) {
        self.rule.flush();
        self.sent.flush();
        self.port.received.add(self.received);
        self.port.hits.add(self.hits);
        self.port.misses.add(self.misses);
    }
}
