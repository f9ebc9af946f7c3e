//! Learned MAC addresses: who may be learned, how long they are kept, what a change of policy takes away.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use nic_flow::MacAddr;
use nic_pipeline::state::Limits;
use nic_pipeline::{Snapshot, Touched};
use nic_policy::{BridgeId, Place};

use crate::config::nanos;
use crate::megaflows::Megaflows;

/// Addresses looked at in one call, at most.
const LOOKED_AT_ONCE: usize = 1024;

/// When learned addresses are to be looked at again: each is here at least once.
#[derive(Debug, Default)]
pub(crate) struct Expiry(BinaryHeap<Reverse<(u64, BridgeId, MacAddr)>>);

impl Megaflows {
    /// A bridge learns where an address is. True if that changes where frames go.
    pub(crate) fn learn(&mut self, bridge: BridgeId, mac: MacAddr, place: Place, now: u64) -> bool {
        let limits = Limits { place: limit(&self.snapshot, bridge, place), total: self.config.fdb_entries };
        let known = self.state.fdb.get(bridge, mac).is_some();
        match self.state.fdb.learn(bridge, mac, place, now, limits) {
            Ok(None) => return false,
            Ok(Some(touched)) => self.touch(&[touched]),
            Err(_) => {
                self.counters.fdb_refused += 1;
                return false;
            }
        }
        if known {
            self.counters.fdb_moved += 1;
        } else {
            self.counters.fdb_learned += 1;
            self.expire_later(now, bridge, mac);
        }
        true
    }

    /// What was last seen of a flow was seen of its source.
    pub(crate) fn refresh_source(&mut self, slot: u32) {
        if let Some((bridge, mac, place)) = self.flows.cold(slot).source {
            let used = self.flows.hot(slot).used;
            self.state.fdb.refresh(bridge, mac, place, used);
        }
    }

    /// Forgets addresses that nobody sends from, as many as a short call may.
    pub(crate) fn expire(&mut self, now: u64) {
        for _ in 0..LOOKED_AT_ONCE {
            let Some(&Reverse((due, bridge, mac))) = self.expiry.0.peek() else { return };
            if due > now {
                return;
            }
            self.expiry.0.pop();
            let Some(learned) = self.state.fdb.get(bridge, mac) else { continue };
            let end = self.end(bridge, learned.used);
            if end > now {
                self.expiry.0.push(Reverse((end, bridge, mac)));
            } else if let Some(touched) = self.state.fdb.forget(bridge, mac) {
                self.counters.fdb_aged += 1;
                self.touch(&[touched]);
            }
        }
    }

    /// Forgets what a change of policy took the ground from. Returns what that touched.
    pub(crate) fn purge(&mut self, touched: &[Touched]) -> Vec<Touched> {
        let concerns = |touched: &Touched| match touched {
            Touched::FlowRules(_) | Touched::Neighbor(..) | Touched::Vni(..) | Touched::Vteps(_) => false,
            Touched::Port(_)
            | Touched::Device(_)
            | Touched::Vtep(_)
            | Touched::TunnelPeer(..)
            | Touched::Bridge(_)
            | Touched::Fdb(..) => true,
        };
        let mut purged = Vec::new();
        if self.state.fdb.is_empty() || !touched.iter().any(concerns) {
            return purged;
        }
        let snapshot = &self.snapshot;
        let gone = |bridge, mac, place| !may_stay(snapshot, bridge, mac, place);
        self.state
            .fdb
            .forget_where(|bridge, mac, at| gone(bridge, mac, at.place), |touched| purged.push(touched));
        // Bridges may keep addresses for another time now.
        if touched.iter().any(|touched| matches!(touched, Touched::Bridge(_))) {
            self.expire_anew();
        }
        purged
    }

    /// Forgets addresses that were learned: of one bridge or of all, one of them or all. Returns how
    /// many.
    pub(crate) fn flush_fdb(&mut self, bridge: Option<BridgeId>, mac: Option<MacAddr>) -> u64 {
        let mut flushed = Vec::new();
        let meant = |b, m| bridge.is_none_or(|bridge| bridge == b) && mac.is_none_or(|mac| mac == m);
        self.state.fdb.forget_where(|b, m, _| meant(b, m), |touched| flushed.push(touched));
        self.touch(&flushed);
        flushed.len() as u64
    }

    fn expire_later(&mut self, used: u64, bridge: BridgeId, mac: MacAddr) {
        self.expiry.0.push(Reverse((self.end(bridge, used), bridge, mac)));
        // Addresses that were purged and learned again stand there twice.
        if self.expiry.0.len() > 2 * self.state.fdb.len() + LOOKED_AT_ONCE {
            self.expire_anew();
        }
    }

    fn expire_anew(&mut self) {
        let entries = self.state.fdb.iter();
        let due = entries.map(|(bridge, mac, at)| Reverse((self.end(bridge, at.used), bridge, mac)));
        self.expiry = Expiry(due.collect());
    }

    /// When an address that was last used then is forgotten.
    fn end(&self, bridge: BridgeId, used: u64) -> u64 {
        let seconds = self.snapshot.bridge(bridge).map_or(0, |bridge| bridge.ageing_time);
        // That a flow was used is told to its source once in a sweep.
        let late = nanos(self.config.sweep_interval);
        used.saturating_add(u64::from(seconds) * 1_000_000_000).saturating_add(late)
    }
}

/// How many addresses a place may have.
fn limit(snapshot: &Snapshot, bridge: BridgeId, place: Place) -> u32 {
    match place {
        Place::Port(port) => snapshot.port(port).map_or(0, |port| port.mac_limit),
        Place::Peer(address) => {
            let overlay = snapshot.bridge(bridge).and_then(|bridge| bridge.overlay);
            let peer = overlay.and_then(|overlay| snapshot.peer(overlay.vtep, address));
            peer.map_or(0, |peer| peer.mac_limit)
        }
    }
}

/// True if the policy would still have that address learned there.
fn may_stay(snapshot: &Snapshot, bridge: BridgeId, mac: MacAddr, place: Place) -> bool {
    if snapshot.fdb_entry(bridge, mac).is_some() {
        return false;
    }
    let Some(of) = snapshot.bridge(bridge) else { return false };
    match place {
        Place::Port(id) => {
            let attached = snapshot.port(id).is_some_and(|port| {
                let in_trunk = port.bridges.trunk.iter().any(|trunk| trunk.bridge == bridge);
                port.enabled && port.learning && (port.bridges.access == Some(bridge) || in_trunk)
            });
            attached && snapshot.has_device(id)
        }
        Place::Peer(address) => {
            let overlay = of.overlay.filter(|overlay| snapshot.vtep(overlay.vtep).is_some());
            let peer = overlay.and_then(|overlay| snapshot.peer(overlay.vtep, address));
            peer.is_some_and(|peer| peer.learning && peer.bridges.contains(&bridge))
        }
    }
}
