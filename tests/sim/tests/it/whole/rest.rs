//! After the last fault: all comes to rest as it should be, and in the end nothing is left.

use std::time::Duration;

use nic_flow::FlowKey;
use nic_flow::seam::{Errno, Refusal};
use nic_policy::{Offload, SoftwareReason};
use nic_slowpath::Polled;

use super::resources;
use super::world::{LOST_RULE_HITS, Node, RULE_GRACE, World};

/// The time in which all must be as it should be.
const BOUND: Duration = Duration::from_secs(1);
/// Time between two looks.
const STRIDE: Duration = Duration::from_millis(5);

impl World {
    /// Faults end; within a second all is applied, and every flow is where it should be.
    pub(crate) fn converge(&mut self) {
        let until = self.ctx.now + BOUND;
        loop {
            self.all(Node::step_all);
            let unfinished = self.nodes.iter().find_map(Node::unfinished);
            let Some(what) = unfinished else { break };
            assert!(self.ctx.now < until, "a second after the last fault: {what}");
            self.pass(STRIDE);
        }
        self.nodes.iter().for_each(Node::check);
    }

    /// Rules that were lost are found by the next packets that miss them.
    pub(crate) fn find_lost_rules(&mut self) {
        for card in 0..self.nodes.len() {
            let mut keys: Vec<FlowKey> = Vec::new();
            for &key in self.nodes[card].keys.iter().rev().take(6) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            // Some of them have no flow, by now or ever.
            for _ in 0..2 {
                self.pass(RULE_GRACE * 2);
                for _ in 0..=LOST_RULE_HITS {
                    for key in &keys {
                        self.at(card, |node, ctx| node.send(key, ctx));
                    }
                    self.settle();
                }
            }
            self.converge();
            for key in &keys {
                self.at(card, |node, ctx| {
                    let Some(datapath) = &node.datapath else { return };
                    let flow = datapath.worker.lookup(key);
                    let by_rule = node.send(key, ctx);
                    if let Some(flow) = flow.filter(|flow| flow.offload == Offload::Hardware) {
                        assert!(by_rule, "the rule of {:?} is lost and nobody found out", flow.matches);
                    }
                });
            }
        }
    }

    /// No packet waits, and every card did what it was asked for.
    fn settle(&mut self) {
        for card in 0..self.nodes.len() {
            for _ in 0..100 {
                self.at(card, Node::step_all);
                if self.at(card, Node::round) == Polled::default() {
                    break;
                }
            }
        }
    }

    /// All policy and all flows are taken away: nothing is left.
    pub(crate) fn end(&mut self) {
        for card in 0..self.nodes.len() {
            self.at(card, |node, ctx| {
                for transaction in resources::none(&node.store.state()) {
                    assert!(node.submit(transaction, ctx), "what is there can be deleted");
                }
            });
        }
        self.converge();
        for card in 0..self.nodes.len() {
            let keys: Vec<FlowKey> = self.nodes[card].keys.iter().copied().collect();
            for key in &keys {
                self.at(card, |node, ctx| node.send(key, ctx));
            }
        }
        self.settle();
        for node in &mut self.nodes {
            if let Some(datapath) = &mut node.datapath {
                datapath.worker.flush(None);
            }
        }
        self.converge();
        self.nodes.iter().for_each(Node::check_empty);
    }
}

impl Node {
    /// True if the card has no room for another rule.
    pub(crate) fn is_full(&self) -> bool {
        self.card.rules().len() >= self.max_rules
    }

    /// The first flow that is not in the tier where it should be.
    pub(crate) fn tiers(&self) -> Option<String> {
        let datapath = self.datapath.as_ref()?;
        let config = self.configs.0;
        let in_hardware = datapath.worker.stats().flows_in_hardware;
        let rightly = |offload: Offload| match offload {
            Offload::Hardware => true,
            Offload::Pending => self.is_full(),
            Offload::Software(reason) => match reason {
                SoftwareReason::Overlap => false,
                SoftwareReason::Quota => self.is_full() || in_hardware >= u64::from(config.rules),
                SoftwareReason::Refused(Refusal::Full) => self.is_full(),
                SoftwareReason::Refused(Refusal::Busy | Refusal::Driver(Errno::EIO)) => false,
                SoftwareReason::Refused(_) => true,
                SoftwareReason::Disabled => !config.offload,
            },
        };
        let wrong = datapath.worker.flows().find(|flow| !rightly(flow.offload));
        wrong.map(|flow| format!("{:?} is in {:?}", flow.matches, flow.offload))
    }

    /// Nothing is left of flows, rules, handles and buffers, and every packet of this run of nic-datapath
    /// is accounted for.
    fn check_empty(&self) {
        let Some(datapath) = &self.datapath else { return };
        assert_eq!(self.card.handles(), 0, "handles were leaked");
        assert_eq!(datapath.installer.rules(), 0, "rules were left behind");
        assert_eq!(datapath.worker.flows().count(), 0);
        assert_eq!(self.card.buffers_in_use(), 0, "buffers were leaked");
        let (stats, installer) = (datapath.worker.stats(), datapath.installer.counters());
        assert_eq!(stats.flows_in_hardware, 0);
        assert_eq!(installer.created, installer.destroyed);
        assert_eq!((stats.rules_created, stats.rules_destroyed), (installer.created, installer.destroyed));
        let mut out = 0;
        for port in &stats.ports {
            let of =
                |counts: &std::collections::BTreeMap<_, u64>| counts.get(&port.port).copied().unwrap_or(0);
            let (entered, by_rules) = (of(&datapath.entered), of(&datapath.by_rules));
            assert_eq!(port.slow_path.packets + by_rules, entered, "packets of {}", port.port);
            out += port.sent.packets + port.hardware.packets + port.drops.iter().sum::<u64>();
        }
        // Every packet and every copy was sent, dropped for a reason, or forwarded by a rule.
        let entered: u64 = datapath.entered.values().sum();
        assert_eq!(entered + datapath.worker.counters().copies, out);
    }
}
