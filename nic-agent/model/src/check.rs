//! What only a state as a whole can tell: whether references resolve, and whether the resources that
//! they connect fit together. A change is checked around what it changed, in whichever order its parts
//! came; nothing else is looked at.

use std::collections::BTreeSet;

use nic_flow::PortId;

use crate::bridge::BridgeSpec;
use crate::claim::Claim;
use crate::name::{Kind, Name, ResourceId};
use crate::port::PortSpec;
use crate::resource::{OneSpec, Resource, Stored};
use crate::state::State;
use crate::tunnel_peer::TunnelPeerSpec;
use crate::violation::{Part, Reason, Rejection, Subject, Violation};
use crate::vtep::VtepSpec;

/// A fault of a resource, before it is known how the request speaks of that.
pub(crate) type Fault = (Name, Part, Reason);

/// Checks all of a state, as when it was read from somewhere.
///
/// # Errors
/// Every fault that was found.
pub fn check_whole(state: &State) -> Result<(), Rejection> {
    let faults = around(&State::default(), state, state.resources().map(|resource| (None, Some(resource))));
    if faults.is_empty() {
        return Ok(());
    }
    let violation = |(name, part, reason)| Violation { subject: Subject::Stored(name), part, reason };
    Err(Rejection { violations: faults.into_iter().map(violation).collect() })
}

/// Checks the state after some changes, each a resource before and afterwards.
pub(crate) fn around<'a>(
    before: &'a State,
    after: &'a State,
    changes: impl Iterator<Item = (Option<&'a Resource>, Option<&'a Resource>)>,
) -> Vec<Fault> {
    let mut check = Check { before, after, work: Work::default(), faults: Vec::new() };
    for (old, new) in changes {
        match (old, new) {
            (Some(old), Some(new)) if old.meta().generation == new.meta().generation => {}
            (old, Some(new)) => check.changed(old, new),
            (Some(old), None) => check.gone(old),
            (None, None) => {}
        }
    }
    check.run();
    check.faults
}

struct Check<'a> {
    before: &'a State,
    after: &'a State,
    work: Work,
    faults: Vec<Fault>,
}

/// What is to be checked, each once however many changes ask for it.
#[derive(Default)]
struct Work {
    claims: BTreeSet<Claim>,
    vteps: BTreeSet<ResourceId>,
    peers: BTreeSet<ResourceId>,
    /// Tunnel peers and their bridges.
    members: BTreeSet<(ResourceId, ResourceId)>,
    entries: BTreeSet<ResourceId>,
    /// Ports and their bridges.
    attachments: BTreeSet<(ResourceId, ResourceId)>,
}

impl Check<'_> {
    fn fault(&mut self, kind: Kind, id: &ResourceId, part: Part, reason: Reason) {
        self.faults.push((kind.name(id.clone()), part, reason));
    }

    fn gone(&mut self, old: &Resource) {
        let name = old.name();
        let by = self.after.referrers(&name).next().cloned();
        if let Some(by) = by {
            self.faults.push((name.clone(), Part::Whole, Reason::Referenced { name, by }));
        }
    }

    fn changed(&mut self, old: Option<&Resource>, new: &Resource) {
        for (part, to) in new.references() {
            if !self.after.contains(&to) {
                self.faults.push((new.name(), part, Reason::NoReference(to)));
            }
        }
        self.work.claims.extend(new.claims());
        match new {
            Resource::Bridge(bridge) => self.bridge_changed(spec_of(old), bridge),
            Resource::FdbEntry(entry) => {
                self.work.entries.insert(entry.id.clone());
            }
            Resource::FlowRule(_) => {}
            Resource::Port(port) => self.port_changed(spec_of(old), port),
            Resource::TunnelPeer(peer) => self.peer_changed(spec_of(old), peer),
            Resource::Vtep(vtep) => self.vtep_changed(spec_of(old), vtep),
        }
    }

    /// What refers to a bridge that is new has changed itself.
    fn bridge_changed(&mut self, old: Option<&BridgeSpec>, bridge: &Stored<BridgeSpec>) {
        if old.is_some_and(|old| old.vtep() != bridge.spec.vtep()) {
            let name = Kind::Bridge.name(bridge.id.clone());
            let peers = self.after.referrers_of(&name, Kind::TunnelPeer);
            self.work.members.extend(peers.map(|peer| (peer.clone(), bridge.id.clone())));
            self.attached_to(&name);
        }
    }

    fn port_changed(&mut self, old: Option<&PortSpec>, port: &Stored<PortSpec>) {
        let name = Kind::Port.name(port.id.clone());
        let moved =
            old.is_none_or(|old| old.bridge() != port.spec.bridge() || old.trunks() != port.spec.trunks());
        let resized = old.is_none_or(|old| old.mtu() != port.spec.mtu());
        if moved || resized {
            let bridges = port.spec.bridges().map(|(_, bridge)| (port.id.clone(), bridge.clone()));
            self.work.attachments.extend(bridges);
        }
        // What refers to a port that is new has changed itself.
        let Some(old) = old else { return };
        if moved {
            self.work.entries.extend(self.after.referrers_of(&name, Kind::FdbEntry).cloned());
        }
        if resized || old.device() != port.spec.device() {
            let vteps: Vec<ResourceId> = self.after.referrers_of(&name, Kind::Vtep).cloned().collect();
            for vtep in vteps {
                if resized {
                    self.carried_by(&Kind::Vtep.name(vtep.clone()));
                }
                self.work.vteps.insert(vtep);
            }
        }
    }

    fn peer_changed(&mut self, old: Option<&TunnelPeerSpec>, peer: &Stored<TunnelPeerSpec>) {
        self.work.peers.insert(peer.id.clone());
        let moved = old.is_none_or(|old| old.bridges() != peer.spec.bridges());
        if moved || old.is_none_or(|old| old.vtep() != peer.spec.vtep()) {
            let bridges = peer.spec.bridges().iter().map(|bridge| (peer.id.clone(), bridge.clone()));
            self.work.members.extend(bridges);
        }
        if moved && old.is_some() {
            let name = Kind::TunnelPeer.name(peer.id.clone());
            self.work.entries.extend(self.after.referrers_of(&name, Kind::FdbEntry).cloned());
        }
    }

    fn vtep_changed(&mut self, old: Option<&VtepSpec>, vtep: &Stored<VtepSpec>) {
        self.work.vteps.insert(vtep.id.clone());
        let Some(old) = old else { return };
        let name = Kind::Vtep.name(vtep.id.clone());
        if old.cidr() != vtep.spec.cidr() {
            self.work.peers.extend(self.after.referrers_of(&name, Kind::TunnelPeer).cloned());
        }
        if old.port() != vtep.spec.port() || old.overhead() != vtep.spec.overhead() {
            self.carried_by(&name);
        }
    }

    /// The ports of every bridge of a VTEP are to be checked.
    fn carried_by(&mut self, vtep: &Name) {
        for bridge in self.after.referrers_of(vtep, Kind::Bridge) {
            self.attached_to(&Kind::Bridge.name(bridge.clone()));
        }
    }

    /// The ports of a bridge are to be checked.
    fn attached_to(&mut self, bridge: &Name) {
        let ports = self.after.referrers_of(bridge, Kind::Port);
        self.work.attachments.extend(ports.map(|port| (port.clone(), bridge.id.clone())));
    }

    fn run(&mut self) {
        let work = std::mem::take(&mut self.work);
        for claim in &work.claims {
            self.check_claim(claim);
        }
        for vtep in &work.vteps {
            self.check_vtep(vtep);
        }
        for peer in &work.peers {
            self.check_peer(peer);
        }
        for (peer, bridge) in &work.members {
            self.check_member(peer, bridge);
        }
        for entry in &work.entries {
            self.check_entry(entry);
        }
        // A port with many bridges of one VTEP has one fault.
        let mut told = BTreeSet::new();
        for (port, bridge) in &work.attachments {
            if let Some(reason) = self.check_mtu(port, bridge)
                && told.insert((port, reason.to_string()))
            {
                self.fault(Kind::Port, port, Part::Mtu, reason);
            }
        }
    }

    fn check_claim(&mut self, claim: &Claim) {
        let holders: Vec<&ResourceId> = self.after.holders(claim).collect();
        // Of two that were there before, neither is at fault; of one that is new, it is.
        let first = holders.iter().find(|id| self.before.holds(id, claim)).or(holders.first());
        let Some(&first) = first else { return };
        for &id in holders.iter().filter(|id| **id != first) {
            let by = claim.kind().name(first.clone());
            self.fault(claim.kind(), id, claim.part(), claim.refused(by));
        }
    }

    fn check_vtep(&mut self, id: &ResourceId) {
        let port = self.after.vtep(id).map(|vtep| vtep.spec.port());
        let Some((port, device)) = port.and_then(|port| Some((port, self.after.device(port)?))) else {
            return;
        };
        if !PortId::is_uplink(device) {
            let name = Kind::Port.name(port.clone());
            self.fault(
                Kind::Vtep,
                id,
                Part::Port,
                Reason::Unfit { name, why: "has a device that is no uplink" },
            );
        }
    }

    fn check_peer(&mut self, id: &ResourceId) {
        let Some(peer) = self.after.tunnel_peer(id) else { return };
        let Some(vtep) = self.after.vtep(peer.spec.vtep()) else { return };
        let (cidr, address) = (vtep.spec.cidr(), peer.spec.address());
        let why = if cidr.address().is_ipv4() != address.is_ipv4() {
            "has an address of the other IP version"
        } else if cidr.address() == address {
            "has this address itself"
        } else if !cidr.has_host(address) {
            "is in the network whose own or broadcast address this is"
        } else {
            return;
        };
        let name = Kind::Vtep.name(vtep.id.clone());
        self.fault(Kind::TunnelPeer, id, Part::Address, Reason::Unfit { name, why });
    }

    fn check_member(&mut self, peer: &ResourceId, bridge: &ResourceId) {
        let (Some(peer), Some(bridge)) = (self.after.tunnel_peer(peer), self.after.bridge(bridge)) else {
            return;
        };
        if bridge.spec.vtep() == Some(peer.spec.vtep()) {
            return;
        }
        if let Some(index) = peer.spec.bridges().iter().position(|id| *id == bridge.id) {
            let name = Kind::Bridge.name(bridge.id.clone());
            let reason = Reason::Unfit { name, why: "is not carried by the VTEP of this tunnel peer" };
            self.fault(Kind::TunnelPeer, &peer.id, Part::Member(index), reason);
        }
    }

    fn check_entry(&mut self, id: &ResourceId) {
        let Some(entry) = self.after.fdb_entry(id) else { return };
        let place = entry.spec.place();
        let bridge = Kind::Bridge.name(entry.spec.bridge().clone());
        if self.after.contains(&place.name()) && !self.after.refers(place.name(), bridge) {
            let reason = Reason::Unfit { name: place.name(), why: "is not in the bridge of this entry" };
            self.fault(Kind::FdbEntry, id, place.part(), reason);
        }
    }

    /// Packets of a port in a bridge that a VTEP carries must fit into those of the tunnel: what would
    /// have to be fragmented is lost.
    fn check_mtu(&self, port: &ResourceId, bridge: &ResourceId) -> Option<Reason> {
        let mtu = self.after.port(port)?.spec.mtu();
        let vtep = self.after.vtep(self.after.bridge(bridge)?.spec.vtep()?)?;
        let uplink = self.after.port(vtep.spec.port())?;
        let (overhead, carries) = (vtep.spec.overhead(), uplink.spec.mtu());
        let uplink = Kind::Port.name(uplink.id.clone());
        (mtu + overhead > carries).then_some(Reason::Mtu { mtu, overhead, uplink, carries })
    }
}

fn spec_of<S: OneSpec + 'static>(resource: Option<&Resource>) -> Option<&S> {
    resource.and_then(S::of).map(|stored| &stored.spec)
}
