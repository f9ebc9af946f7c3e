//! What the switch is supposed to do, in the simplest words: a list of rules that is scanned for each
//! packet, no cache, no second copy, no threads.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use nic_flow::action::outputs;
use nic_flow::execute::execute;
use nic_flow::extract::extract;
use nic_flow::seam::PacketBuf;
use nic_flow::{Counters, Destination, PortId};
use nic_table::naive::NaiveTable;
use soft_eswitch::{DropReason, Egress, PortStats, RuleHandle, SwitchRule};

use crate::lab::{Frame, Outside, ports};

type Rank = (Reverse<u32>, Reverse<u64>);

pub(crate) struct Model {
    rules: NaiveTable<Rank, RuleHandle>,
    pub(crate) by_handle: BTreeMap<RuleHandle, (SwitchRule, Rank, Counters)>,
    serial: u64,
    pub(crate) stats: BTreeMap<PortId, PortStats>,
}

impl Model {
    pub(crate) fn new() -> Model {
        let stats = ports().into_iter().map(|port| (port, PortStats::default())).collect();
        Model { rules: NaiveTable::new(), by_handle: BTreeMap::new(), serial: 0, stats }
    }

    /// The rule with this priority and match.
    pub(crate) fn find(&self, rule: &SwitchRule) -> Option<RuleHandle> {
        let same = |other: &SwitchRule| other.priority == rule.priority && other.matches == rule.matches;
        self.by_handle.iter().find(|(_, (other, ..))| same(other)).map(|(handle, _)| *handle)
    }

    pub(crate) fn insert(&mut self, handle: RuleHandle, rule: SwitchRule) {
        self.serial += 1;
        let rank = (Reverse(rule.priority), Reverse(self.serial));
        self.rules.insert(rule.matches, rank, handle);
        self.by_handle.insert(handle, (rule, rank, Counters::default()));
    }

    pub(crate) fn remove(&mut self, handle: RuleHandle) -> Option<Counters> {
        let (rule, rank, counters) = self.by_handle.remove(&handle)?;
        self.rules.remove(&rule.matches, &rank);
        Some(counters)
    }

    pub(crate) fn forward(&mut self, in_port: PortId, mut frame: Frame, outside: &mut Outside) {
        let bytes = frame.data().len();
        let key = extract(frame.data(), in_port);
        let hit = self.rules.lookup(&key).map(|(_, _, handle)| *handle);
        let stats = &mut self.stats;
        let drop = |stats: &mut BTreeMap<_, PortStats>, reason: DropReason| {
            stats.get_mut(&in_port).unwrap().drops[reason.index()] += 1;
        };
        stats.get_mut(&in_port).unwrap().received.add(bytes);
        if bytes < 14 {
            return drop(stats, DropReason::Undersized);
        }
        let Some(handle) = hit else {
            stats.get_mut(&in_port).unwrap().misses.add(bytes);
            return match outside.to_representor(in_port, frame) {
                Ok(()) => {}
                Err(unsent) => drop(stats, miss_reason(unsent)),
            };
        };
        stats.get_mut(&in_port).unwrap().hits.add(bytes);
        let (rule, _, counters) = self.by_handle.get_mut(&handle).unwrap();
        counters.add(bytes);
        let mut left = outputs(&rule.actions).count();
        if left == 0 {
            return drop(stats, DropReason::Rule);
        }
        let done = execute(&rule.actions, &mut frame, |to, frame: &Frame| {
            let Destination::Port(port) = to else { panic!("a rule floods") };
            left -= 1;
            let copy = if left > 0 { outside.copy(frame) } else { Some(frame.clone()) };
            let Some(copy) = copy else { return drop(stats, DropReason::CopyNoBuffer) };
            let bytes = copy.data().len();
            match outside.transmit(port, copy) {
                Ok(()) => stats.get_mut(&port).unwrap().sent.add(bytes),
                Err(unsent) => drop(stats, transmit_reason(unsent)),
            }
        });
        // After the last output nobody sees the packet, so what does not fit there is no loss.
        if done.is_err() && left > 0 {
            drop(stats, DropReason::NoHeadroom);
        }
    }
}

const fn miss_reason(unsent: soft_eswitch::Unsent) -> DropReason {
    match unsent {
        soft_eswitch::Unsent::Full => DropReason::MissFull,
        soft_eswitch::Unsent::NoBuffer => DropReason::MissNoBuffer,
        soft_eswitch::Unsent::Down => DropReason::MissDown,
    }
}

const fn transmit_reason(unsent: soft_eswitch::Unsent) -> DropReason {
    match unsent {
        soft_eswitch::Unsent::Full => DropReason::TransmitFull,
        soft_eswitch::Unsent::NoBuffer => DropReason::TransmitNoBuffer,
        soft_eswitch::Unsent::Down => DropReason::TransmitDown,
    }
}
