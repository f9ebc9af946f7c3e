//! One immutable state of the policy and of the devices that are there.
//!
//! A clone is a few reference counts; the state after a delta shares all that the delta left alone.

use core::fmt;
use core::net::IpAddr;
use std::collections::HashSet;
use std::sync::Arc;

use nic_flow::{MacAddr, PortId};
use nic_policy::{
    Bridge, BridgeId, Change, Delta, FdbEntry, FlowRule, FlowRuleId, Management, Object, ObjectId, Port,
    Revision, TunnelPeer, Vtep, VtepId,
};
use rpds::{HashTrieMapSync, HashTrieSetSync};
use rustc_hash::FxBuildHasher;
use thiserror::Error;

use crate::dependency::Touched;
use crate::rules::{RuleTable, effective};

mod overlay;
#[cfg(test)]
mod tests;

use overlay::Tables;

/// A state of the policy. Closed where it says nothing: [`Snapshot::empty`] forwards no packet.
#[derive(Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    ports: HashTrieMapSync<PortId, Arc<Port>, FxBuildHasher>,
    flow_rules: HashTrieMapSync<FlowRuleId, Arc<FlowRule>, FxBuildHasher>,
    rules: RuleTable,
    tables: Tables,
    devices: HashTrieSetSync<PortId, FxBuildHasher>,
    management: Option<Management>,
}

/// Who gets what is flooded in a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// An attached port.
    Port {
        /// The port.
        port: PortId,
        /// The VLAN that the bridge has on this port; `None` for untagged.
        vid: Option<u16>,
    },
    /// A tunnel peer of the bridge's VTEP.
    Peer {
        /// The VTEP.
        vtep: VtepId,
        /// The peer's address.
        address: IpAddr,
    },
}

/// Why a delta was not applied. The snapshot it was meant for is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// Two changes of the delta are about the same object.
    #[error("the delta changes {0:?} twice")]
    ChangedTwice(ObjectId),
}

impl Snapshot {
    /// No policy and no device: everything is closed.
    pub fn empty() -> Snapshot {
        Snapshot::default()
    }

    /// The same, with the card's own management in band. To be said before any packet is translated: no flow
    /// is touched by it, and no delta changes it.
    #[must_use]
    pub fn with_management(self, management: Option<Management>) -> Snapshot {
        Snapshot { management, ..self }
    }

    /// Where the card's own management is in band, if it is.
    pub const fn management(&self) -> Option<&Management> {
        self.management.as_ref()
    }

    /// The revision that the policy is of.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The policy after a delta, and what that touched: nothing, if the policy is the same.
    ///
    /// Costs what the delta holds. Only a full sync looks at every object, to find what is no longer
    /// there.
    ///
    /// # Errors
    /// [`ApplyError`]: nothing was applied.
    pub fn apply(&self, delta: &Delta) -> Result<(Snapshot, Vec<Touched>), ApplyError> {
        let mut named = HashSet::with_capacity_and_hasher(delta.changes.len(), FxBuildHasher);
        for change in &delta.changes {
            if !named.insert(change.id()) {
                return Err(ApplyError::ChangedTwice(change.id()));
            }
        }
        let mut next = Snapshot { revision: delta.revision, ..self.clone() };
        let mut touched = TouchedSet::default();
        if delta.replace_all {
            let kept = |change: &&Change| matches!(change, Change::Put(_));
            let kept: HashSet<ObjectId, FxBuildHasher> =
                delta.changes.iter().filter(kept).map(Change::id).collect();
            for id in self.ids().filter(|id| !kept.contains(id)) {
                next.remove(id, &mut touched);
            }
        }
        for change in &delta.changes {
            match change {
                Change::Put(object) => next.put(object, &mut touched),
                Change::Remove(id) => next.remove(*id, &mut touched),
            }
        }
        Ok((next, touched.list))
    }

    /// The same policy with exactly these devices, and what that touched.
    pub fn with_devices(&self, present: &[PortId]) -> (Snapshot, Vec<Touched>) {
        let mut next = self.clone();
        let mut touched = TouchedSet::default();
        let wanted: HashSet<PortId, FxBuildHasher> = present.iter().copied().collect();
        for &gone in self.devices.iter().filter(|port| !wanted.contains(port)) {
            next.devices.remove_mut(&gone);
            touched.add(Touched::Device(gone));
        }
        for &port in present {
            if !next.devices.contains(&port) {
                next.devices.insert_mut(port);
                touched.add(Touched::Device(port));
            }
        }
        (next, touched.list)
    }

    /// The object of that id.
    pub fn object(&self, id: ObjectId) -> Option<Object> {
        match id {
            ObjectId::Port(id) => self.port(id).cloned().map(Object::Port),
            ObjectId::FlowRule(id) => {
                self.flow_rules.get(&id).map(|rule| Object::FlowRule(FlowRule::clone(rule)))
            }
            ObjectId::Bridge(id) => self.bridge(id).cloned().map(Object::Bridge),
            ObjectId::Vtep(id) => self.vtep(id).cloned().map(Object::Vtep),
            ObjectId::TunnelPeer(vtep, address) => self.peer(vtep, address).cloned().map(Object::TunnelPeer),
            ObjectId::FdbEntry(bridge, mac) => self.fdb_entry(bridge, mac).cloned().map(Object::FdbEntry),
        }
    }

    /// The ids of all objects, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let ports = self.ports.keys().map(|&id| ObjectId::Port(id));
        let rules = self.flow_rules.keys().map(|&id| ObjectId::FlowRule(id));
        ports.chain(rules).chain(self.tables.ids())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ports.size() + self.flow_rules.size() + self.tables.len()
    }

    /// True if there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The policy of a port.
    pub fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(&port).map(Arc::as_ref)
    }

    /// The policies of all ports, in no particular order.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.values().map(Arc::as_ref)
    }

    /// True if the port's device is there.
    pub fn has_device(&self, port: PortId) -> bool {
        self.devices.contains(&port)
    }

    /// A bridge.
    pub fn bridge(&self, id: BridgeId) -> Option<&Bridge> {
        self.tables.bridges.get(&id).map(Arc::as_ref)
    }

    /// A VTEP.
    pub fn vtep(&self, id: VtepId) -> Option<&Vtep> {
        self.tables.vteps.get(&id).map(Arc::as_ref)
    }

    /// All VTEPs, in no particular order.
    pub fn vteps(&self) -> impl Iterator<Item = &Vtep> {
        self.tables.vteps.values().map(Arc::as_ref)
    }

    /// The VTEPs of an uplink, in the order of their ids.
    pub fn vteps_on(&self, uplink: PortId) -> impl Iterator<Item = &Vtep> {
        self.tables.vteps_on(uplink)
    }

    /// A tunnel peer.
    pub fn peer(&self, vtep: VtepId, address: IpAddr) -> Option<&TunnelPeer> {
        self.tables.peers.get(&(vtep, address)).map(Arc::as_ref)
    }

    /// The place of a MAC address by configuration.
    pub fn fdb_entry(&self, bridge: BridgeId, mac: MacAddr) -> Option<&FdbEntry> {
        self.tables.fdb.get(&(bridge, mac)).map(Arc::as_ref)
    }

    /// All places by configuration, in the order of their ids.
    pub fn fdb_entries(&self) -> impl Iterator<Item = &FdbEntry> {
        self.tables.fdb.values().map(Arc::as_ref)
    }

    /// The bridge of a VNI of a VTEP.
    pub fn bridge_of(&self, vtep: VtepId, vni: u32) -> Option<BridgeId> {
        self.tables.bridge_of(vtep, vni)
    }

    /// Who gets what is flooded in a bridge: ports in their order, then tunnel peers in theirs. A port
    /// that has several VLANs there is a member by the first. Whether a port is enabled and its device
    /// there is not looked at. A bridge that is not there has no member.
    pub fn members(&self, bridge: BridgeId) -> impl Iterator<Item = Member> + '_ {
        let bridge = self.bridge(bridge);
        let ports = bridge.into_iter().flat_map(|bridge| self.tables.ports_of(bridge.id));
        let vtep = bridge.and_then(|bridge| bridge.overlay).and_then(|overlay| self.vtep(overlay.vtep));
        let peers = bridge.zip(vtep).into_iter().flat_map(|(bridge, vtep)| {
            let peers = self.tables.peers_of(bridge.id, vtep.id);
            peers.map(|address| Member::Peer { vtep: vtep.id, address })
        });
        ports.map(|(port, vid)| Member::Port { port, vid }).chain(peers)
    }

    /// The MAC address of the station that has an IP address by configuration
    /// ([`FdbEntry::addresses`]).
    pub fn static_address(&self, bridge: BridgeId, address: IpAddr) -> Option<MacAddr> {
        self.tables.station_of(bridge, address)
    }

    pub(crate) const fn rules(&self) -> &RuleTable {
        &self.rules
    }

    fn put(&mut self, object: &Object, touched: &mut TouchedSet) {
        match object {
            Object::Port(port) => self.set_port(port.id, Some(port), touched),
            Object::FlowRule(rule) => {
                if self.flow_rules.get(&rule.id).map(Arc::as_ref) != Some(rule) {
                    self.remove(ObjectId::FlowRule(rule.id), touched);
                    let rule = Arc::new(rule.clone());
                    self.rules.insert(&rule);
                    touched.add(rule_touched(&rule));
                    self.flow_rules.insert_mut(rule.id, rule);
                }
            }
            Object::Bridge(bridge) => self.tables.set_bridge(bridge.id, Some(bridge), touched),
            Object::Vtep(vtep) => self.tables.set_vtep(vtep.id, Some(vtep), touched),
            Object::TunnelPeer(peer) => {
                self.tables.set_peer((peer.vtep, peer.address), Some(peer), touched);
            }
            Object::FdbEntry(entry) => {
                self.tables.set_fdb_entry((entry.bridge, entry.mac), Some(entry), touched);
            }
        }
    }

    fn remove(&mut self, id: ObjectId, touched: &mut TouchedSet) {
        match id {
            ObjectId::Port(id) => self.set_port(id, None, touched),
            ObjectId::FlowRule(id) => {
                if let Some(rule) = self.flow_rules.get(&id).cloned() {
                    self.rules.remove(&rule);
                    touched.add(rule_touched(&rule));
                    self.flow_rules.remove_mut(&id);
                }
            }
            ObjectId::Bridge(id) => self.tables.set_bridge(id, None, touched),
            ObjectId::Vtep(id) => self.tables.set_vtep(id, None, touched),
            ObjectId::TunnelPeer(vtep, address) => self.tables.set_peer((vtep, address), None, touched),
            ObjectId::FdbEntry(bridge, mac) => self.tables.set_fdb_entry((bridge, mac), None, touched),
        }
    }

    fn set_port(&mut self, id: PortId, new: Option<&Port>, touched: &mut TouchedSet) {
        // Policy about the exception port is no policy: to it that port is closed, whatever it says.
        if id == PortId::MANAGEMENT {
            return;
        }
        let old = self.ports.get(&id).cloned();
        if old.as_deref() == new {
            return;
        }
        touched.add(Touched::Port(id));
        self.tables.attach(old.as_deref(), new, touched);
        match new {
            Some(port) => self.ports.insert_mut(id, Arc::new(port.clone())),
            None => drop(self.ports.remove_mut(&id)),
        }
    }
}

/// Policies are large: this names the state and does not list it.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("objects", &self.len())
            .field("devices", &self.devices.size())
            .finish_non_exhaustive()
    }
}

fn rule_touched(rule: &FlowRule) -> Touched {
    Touched::FlowRules(effective(&rule.matches))
}

/// What a change touched, each once.
#[derive(Default)]
struct TouchedSet {
    list: Vec<Touched>,
    seen: HashSet<Touched, FxBuildHasher>,
}

impl TouchedSet {
    fn add(&mut self, touched: Touched) {
        // One object's own, and a delta changes each object once.
        let own = matches!(touched, Touched::Fdb(..) | Touched::Port(_) | Touched::TunnelPeer(..));
        if own || self.seen.insert(touched) {
            self.list.push(touched);
        }
    }
}
