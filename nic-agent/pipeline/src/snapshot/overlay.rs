//! Bridges, VTEPs, tunnel peers and fixed addresses, and the way back from what they name to them.
//!
//! An object may name one that is not there (yet). The way back is kept by what is named, so nothing has
//! to be found again when that comes or goes; whoever follows a name asks whether the object is there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeSet;
use std::sync::Arc;

use nic_flow::{MacAddr, PortId};
use nic_policy::{Bridge, BridgeId, FdbEntry, ObjectId, Port, TunnelPeer, Vtep, VtepId};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync, RedBlackTreeSetSync};
use rustc_hash::FxBuildHasher;

use super::TouchedSet;
use crate::dependency::Touched;

type Map<K, V> = HashTrieMapSync<K, Arc<V>, FxBuildHasher>;

/// The tables.
#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) bridges: Map<BridgeId, Bridge>,
    pub(super) vteps: Map<VtepId, Vtep>,
    pub(super) peers: Map<(VtepId, IpAddr), TunnelPeer>,
    pub(super) fdb: RedBlackTreeMapSync<(BridgeId, MacAddr), Arc<FdbEntry>>,
    /// Attached ports by bridge, each with its VLAN there.
    ports_of: RedBlackTreeSetSync<(BridgeId, PortId, Option<u16>)>,
    peers_of: RedBlackTreeSetSync<(BridgeId, VtepId, IpAddr)>,
    vteps_on: RedBlackTreeSetSync<(PortId, VtepId)>,
    bridges_of: RedBlackTreeSetSync<(VtepId, u32, BridgeId)>,
    stations_of: RedBlackTreeSetSync<(BridgeId, IpAddr, MacAddr)>,
}

const FIRST_PORT: PortId = PortId::from_bits(0);
const LAST_PORT: PortId = PortId::from_bits(u16::MAX);
const FIRST_IP: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST_IP: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

impl Tables {
    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let bridges = self.bridges.keys().map(|&id| ObjectId::Bridge(id));
        let vteps = self.vteps.keys().map(|&id| ObjectId::Vtep(id));
        let peers = self.peers.keys().map(|&(vtep, address)| ObjectId::TunnelPeer(vtep, address));
        let fdb = self.fdb.keys().map(|&(bridge, mac)| ObjectId::FdbEntry(bridge, mac));
        bridges.chain(vteps).chain(peers).chain(fdb)
    }

    pub(super) fn len(&self) -> usize {
        self.bridges.size() + self.vteps.size() + self.peers.size() + self.fdb.size()
    }

    /// The ports attached to a bridge, each once, with its VLAN there.
    pub(super) fn ports_of(&self, bridge: BridgeId) -> impl Iterator<Item = (PortId, Option<u16>)> + '_ {
        let range = (bridge, FIRST_PORT, None)..=(bridge, LAST_PORT, Some(u16::MAX));
        let mut last = None;
        let attached = self.ports_of.range(range).map(|&(_, port, vid)| (port, vid));
        attached.filter(move |&(port, _)| last.replace(port) != Some(port))
    }

    pub(super) fn peers_of(&self, bridge: BridgeId, vtep: VtepId) -> impl Iterator<Item = IpAddr> + '_ {
        let range = (bridge, vtep, FIRST_IP)..=(bridge, vtep, LAST_IP);
        self.peers_of.range(range).map(|&(_, _, address)| address)
    }

    pub(super) fn vteps_on(&self, uplink: PortId) -> impl Iterator<Item = &Vtep> {
        let range = (uplink, VtepId(0))..=(uplink, VtepId(u64::MAX));
        self.vteps_on.range(range).filter_map(|(_, id)| self.vteps.get(id).map(Arc::as_ref))
    }

    /// The bridge of a VNI; of several, which nic-agent lets nobody have, the oldest.
    pub(super) fn bridge_of(&self, vtep: VtepId, vni: u32) -> Option<BridgeId> {
        let range = (vtep, vni, BridgeId(0))..=(vtep, vni, BridgeId(u64::MAX));
        self.bridges_of.range(range).next().map(|&(_, _, bridge)| bridge)
    }

    /// The station of a bridge that has an address by configuration.
    pub(super) fn station_of(&self, bridge: BridgeId, address: IpAddr) -> Option<MacAddr> {
        let range = (bridge, address, MacAddr::ZERO)..=(bridge, address, MacAddr::BROADCAST);
        self.stations_of.range(range).next().map(|&(_, _, mac)| mac)
    }

    /// A port's attachments are now those of `new`.
    pub(super) fn attach(&mut self, old: Option<&Port>, new: Option<&Port>, touched: &mut TouchedSet) {
        let Some(id) = old.or(new).map(|port| port.id) else { return };
        let (before, after) = (attachments(old), attachments(new));
        for &(bridge, vid) in before.difference(&after) {
            self.ports_of.remove_mut(&(bridge, id, vid));
            touched.add(Touched::Bridge(bridge));
        }
        for &(bridge, vid) in after.difference(&before) {
            self.ports_of.insert_mut((bridge, id, vid));
            touched.add(Touched::Bridge(bridge));
        }
    }

    /// There is now this bridge of that id, or none.
    pub(super) fn set_bridge(&mut self, id: BridgeId, new: Option<&Bridge>, touched: &mut TouchedSet) {
        let old = self.bridges.get(&id).cloned();
        if old.as_deref() == new {
            return;
        }
        touched.add(Touched::Bridge(id));
        let (before, after) = (old.and_then(|bridge| bridge.overlay), new.and_then(|bridge| bridge.overlay));
        if before != after {
            if let Some(overlay) = before {
                self.bridges_of.remove_mut(&(overlay.vtep, overlay.vni, id));
                touched.add(Touched::Vni(overlay.vtep, overlay.vni));
            }
            if let Some(overlay) = after {
                self.bridges_of.insert_mut((overlay.vtep, overlay.vni, id));
                touched.add(Touched::Vni(overlay.vtep, overlay.vni));
            }
        }
        set(&mut self.bridges, id, new);
    }

    /// There is now this VTEP of that id, or none.
    pub(super) fn set_vtep(&mut self, id: VtepId, new: Option<&Vtep>, touched: &mut TouchedSet) {
        let old = self.vteps.get(&id).cloned();
        if old.as_deref() == new {
            return;
        }
        touched.add(Touched::Vtep(id));
        if let Some(old) = old {
            self.vteps_on.remove_mut(&(old.uplink, id));
            touched.add(Touched::Vteps(old.uplink));
        }
        if let Some(new) = new {
            self.vteps_on.insert_mut((new.uplink, id));
            touched.add(Touched::Vteps(new.uplink));
        }
        set(&mut self.vteps, id, new);
    }

    /// There is now this tunnel peer of that id, or none.
    pub(super) fn set_peer(
        &mut self,
        id: (VtepId, IpAddr),
        new: Option<&TunnelPeer>,
        touched: &mut TouchedSet,
    ) {
        let old = self.peers.get(&id).cloned();
        if old.as_deref() == new {
            return;
        }
        let (vtep, address) = id;
        touched.add(Touched::TunnelPeer(vtep, address));
        let bridges = |peer: Option<&TunnelPeer>| -> BTreeSet<BridgeId> {
            peer.into_iter().flat_map(|peer| peer.bridges.iter().copied()).collect()
        };
        let (before, after) = (bridges(old.as_deref()), bridges(new));
        for &bridge in before.difference(&after) {
            self.peers_of.remove_mut(&(bridge, vtep, address));
            touched.add(Touched::Bridge(bridge));
        }
        for &bridge in after.difference(&before) {
            self.peers_of.insert_mut((bridge, vtep, address));
            touched.add(Touched::Bridge(bridge));
        }
        set(&mut self.peers, id, new);
    }

    /// There is now this fixed address of that id, or none.
    pub(super) fn set_fdb_entry(
        &mut self,
        id: (BridgeId, MacAddr),
        new: Option<&FdbEntry>,
        touched: &mut TouchedSet,
    ) {
        let old = self.fdb.get(&id).cloned();
        if old.as_deref() == new {
            return;
        }
        let (bridge, mac) = id;
        touched.add(Touched::Fdb(bridge, mac));
        for &address in old.iter().flat_map(|entry| &entry.addresses) {
            self.stations_of.remove_mut(&(bridge, address, mac));
        }
        for &address in new.iter().flat_map(|entry| &entry.addresses) {
            self.stations_of.insert_mut((bridge, address, mac));
        }
        match new {
            Some(entry) => self.fdb.insert_mut(id, Arc::new(entry.clone())),
            None => drop(self.fdb.remove_mut(&id)),
        }
    }
}

fn set<K: core::hash::Hash + Eq, V: Clone>(map: &mut Map<K, V>, key: K, new: Option<&V>) {
    match new {
        Some(value) => map.insert_mut(key, Arc::new(value.clone())),
        None => drop(map.remove_mut(&key)),
    }
}

fn attachments(port: Option<&Port>) -> BTreeSet<(BridgeId, Option<u16>)> {
    let attachment = port.map(|port| &port.bridges);
    let access = attachment.and_then(|attachment| attachment.access).map(|bridge| (bridge, None));
    let trunk = attachment.into_iter().flat_map(|attachment| &attachment.trunk);
    access.into_iter().chain(trunk.map(|trunk| (trunk.bridge, Some(trunk.vid)))).collect()
}
