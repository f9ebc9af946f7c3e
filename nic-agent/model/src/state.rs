//! The state: all resources of one revision, with the ways in which they are looked up.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use nic_flow::{MacAddr, PortId};
use nic_policy::{BridgeId, FlowRuleId, Place, Revision, VtepId};
use rpds::RedBlackTreeMapSync as Map;

use crate::bridge::BridgeSpec;
use crate::claim::Claim;
use crate::fdb_entry::{FdbEntrySpec, StationPlace};
use crate::flow_rule::FlowRuleSpec;
use crate::name::{ApplySet, Kind, Name, ResourceId};
use crate::port::PortSpec;
use crate::resource::{OneSpec, Resource, Stored};
use crate::tunnel_peer::TunnelPeerSpec;
use crate::vtep::VtepSpec;

/// All resources of one revision. A clone costs nothing, a changed copy what the change touches.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: Revision,
    last_uid: u64,
    resources: Map<Name, Resource>,
    /// How many there are, by [`Kind`].
    counts: [usize; Kind::COUNT],
    uids: Map<u64, Name>,
    /// What is referred to, and by whom.
    referrers: Map<(Name, Name), ()>,
    /// Who has what one alone may have. Several have the same only inside a transaction that will be
    /// refused.
    claims: Map<(Claim, ResourceId), ()>,
    /// Flow rules by priority and ingress port: those that may overlap stand together.
    peers: Map<(u16, Option<ResourceId>, ResourceId), ()>,
    /// Members by apply set.
    members: Map<(ApplySet, Name), ()>,
}

/// Two flow rules of equal priority that some packet matches both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The other rule.
    pub other: ResourceId,
    /// True if the other one decides about the packets that match both.
    pub other_wins: bool,
}

impl State {
    /// A state as it was stored: resources put one after the other, in any order.
    pub fn restore(
        revision: Revision,
        last_uid: u64,
        resources: impl IntoIterator<Item = Resource>,
    ) -> State {
        let mut state = State { revision, last_uid, ..State::default() };
        for resource in resources {
            state.put(&resource);
        }
        state
    }

    /// The revision.
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The greatest uid that was ever handed out.
    pub const fn last_uid(&self) -> u64 {
        self.last_uid
    }

    /// A resource of any kind.
    pub fn get(&self, name: &Name) -> Option<Resource> {
        self.resources.get(name).cloned()
    }

    /// A resource of the kind that has this spec.
    pub fn one<S: OneSpec>(&self, id: &ResourceId) -> Option<&Arc<Stored<S>>> {
        self.resources.get(&S::KIND.name(id.clone())).and_then(S::of)
    }

    /// The resources of the kind that has this spec behind an id, all with `None`, in the order of their
    /// ids.
    pub fn after<S: OneSpec + 'static>(
        &self,
        after: Option<&ResourceId>,
    ) -> impl Iterator<Item = &Arc<Stored<S>>> {
        let from = match after {
            None => Bound::Included(S::KIND.name(ResourceId::least())),
            Some(id) => Bound::Excluded(S::KIND.name(id.clone())),
        };
        self.resources.range::<Name, _>((from, Bound::Unbounded)).map_while(|(_, resource)| S::of(resource))
    }

    /// A Bridge.
    pub fn bridge(&self, id: &ResourceId) -> Option<&Arc<Stored<BridgeSpec>>> {
        self.one(id)
    }

    /// An FdbEntry.
    pub fn fdb_entry(&self, id: &ResourceId) -> Option<&Arc<Stored<FdbEntrySpec>>> {
        self.one(id)
    }

    /// A FlowRule.
    pub fn flow_rule(&self, id: &ResourceId) -> Option<&Arc<Stored<FlowRuleSpec>>> {
        self.one(id)
    }

    /// A Port.
    pub fn port(&self, id: &ResourceId) -> Option<&Arc<Stored<PortSpec>>> {
        self.one(id)
    }

    /// A TunnelPeer.
    pub fn tunnel_peer(&self, id: &ResourceId) -> Option<&Arc<Stored<TunnelPeerSpec>>> {
        self.one(id)
    }

    /// A Vtep.
    pub fn vtep(&self, id: &ResourceId) -> Option<&Arc<Stored<VtepSpec>>> {
        self.one(id)
    }

    /// The Ports behind an id, all with `None`, in the order of their ids.
    pub fn ports_after(&self, after: Option<&ResourceId>) -> impl Iterator<Item = &Arc<Stored<PortSpec>>> {
        self.after(after)
    }

    /// The FlowRules behind an id, all with `None`, in the order of their ids.
    pub fn flow_rules_after(
        &self,
        after: Option<&ResourceId>,
    ) -> impl Iterator<Item = &Arc<Stored<FlowRuleSpec>>> {
        self.after(after)
    }

    /// All resources, in the order of their names.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    /// How many resources of a kind there are.
    pub const fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// The Port that stands for a device.
    pub fn port_of_device(&self, device: PortId) -> Option<&Arc<Stored<PortSpec>>> {
        self.holder(&Claim::Device(device))
    }

    /// The device of a Port.
    pub fn device(&self, port: &ResourceId) -> Option<PortId> {
        self.port(port).map(|port| port.spec.device())
    }

    /// The FlowRule of a policy id.
    pub fn flow_rule_of_policy(&self, id: FlowRuleId) -> Option<&Arc<Stored<FlowRuleSpec>>> {
        self.of_uid(id.0)
    }

    /// The Bridge of a policy id.
    pub fn bridge_of_policy(&self, id: BridgeId) -> Option<&Arc<Stored<BridgeSpec>>> {
        self.of_uid(id.0)
    }

    /// The Vtep of a policy id.
    pub fn vtep_of_policy(&self, id: VtepId) -> Option<&Arc<Stored<VtepSpec>>> {
        self.of_uid(id.0)
    }

    /// The TunnelPeer of a Vtep that has an address.
    pub fn tunnel_peer_of_address(
        &self,
        vtep: &ResourceId,
        address: IpAddr,
    ) -> Option<&Arc<Stored<TunnelPeerSpec>>> {
        self.holder(&Claim::PeerAddress(vtep.clone(), address))
    }

    /// The FdbEntry of a Bridge that has a MAC address.
    pub fn fdb_entry_of_station(
        &self,
        bridge: &ResourceId,
        mac: MacAddr,
    ) -> Option<&Arc<Stored<FdbEntrySpec>>> {
        self.holder(&Claim::Station(bridge.clone(), mac))
    }

    /// The resource that has what one of its kind alone may have.
    fn holder<S: OneSpec>(&self, claim: &Claim) -> Option<&Arc<Stored<S>>> {
        self.holders(claim).next().and_then(|id| self.one(id))
    }

    fn of_uid<S: OneSpec>(&self, uid: u64) -> Option<&Arc<Stored<S>>> {
        self.uids.get(&uid).and_then(|name| self.resources.get(name)).and_then(S::of)
    }

    /// The resources that refer to one, in the order of their names.
    pub fn referrers<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Name> {
        self.referrers_from(name, Kind::ALL[0])
    }

    /// The resources of a kind that refer to one, in the order of their ids.
    pub fn referrers_of<'a>(&'a self, name: &'a Name, kind: Kind) -> impl Iterator<Item = &'a ResourceId> {
        self.referrers_from(name, kind).take_while(move |by| by.kind == kind).map(|by| &by.id)
    }

    fn referrers_from<'a>(&'a self, name: &'a Name, kind: Kind) -> impl Iterator<Item = &'a Name> {
        let first = (name.clone(), kind.name(ResourceId::least()));
        let pairs = self.referrers.range((Bound::Included(first), Bound::Unbounded));
        pairs.map(|((to, by), ())| (to, by)).take_while(move |pair| pair.0 == name).map(|pair| pair.1)
    }

    /// True if there is a resource of that name.
    pub fn contains(&self, name: &Name) -> bool {
        self.resources.contains_key(name)
    }

    /// True if one resource refers to another.
    pub fn refers(&self, by: Name, to: Name) -> bool {
        self.referrers.contains_key(&(to, by))
    }

    /// The members of an apply set, in the order of their names.
    pub fn members<'a>(&'a self, set: &'a ApplySet) -> impl Iterator<Item = &'a Name> {
        let first = (set.clone(), Kind::ALL[0].name(ResourceId::least()));
        let pairs = self.members.range((Bound::Included(first), Bound::Unbounded));
        pairs.map(|((set, name), ())| (set, name)).take_while(move |pair| pair.0 == set).map(|pair| pair.1)
    }

    /// The policy of a FlowRule; `None` if it refers to a Port that does not exist, which no rule of a
    /// whole state does.
    pub fn policy(&self, rule: &Stored<FlowRuleSpec>) -> Option<nic_policy::FlowRule> {
        rule.spec.policy(rule.policy_id(), |port| self.device(port)).ok()
    }

    /// The policy of a resource; `None` if it refers to what does not exist, which no resource of a whole
    /// state does.
    pub fn object(&self, resource: &Resource) -> Option<nic_policy::Object> {
        use nic_policy::Object;
        let bridge = |id: &ResourceId| self.bridge(id).map(|bridge| bridge.policy_id());
        let vtep = |id: &ResourceId| self.vtep(id).map(|vtep| vtep.policy_id());
        match resource {
            Resource::Bridge(stored) => stored.spec.policy(stored.policy_id(), vtep).map(Object::Bridge),
            Resource::FdbEntry(stored) => {
                stored.spec.policy(bridge, |place| self.place(place)).map(Object::FdbEntry)
            }
            Resource::FlowRule(stored) => self.policy(stored).map(Object::FlowRule),
            Resource::Port(stored) => stored.spec.policy(bridge).map(Object::Port),
            Resource::TunnelPeer(stored) => stored.spec.policy(vtep, bridge).map(Object::TunnelPeer),
            Resource::Vtep(stored) => {
                stored.spec.policy(stored.policy_id(), |port| self.device(port)).map(Object::Vtep)
            }
        }
    }

    /// The place of a station in policy.
    fn place(&self, place: &StationPlace) -> Option<Place> {
        match place {
            StationPlace::Port(port) => self.device(port).map(Place::Port),
            StationPlace::TunnelPeer(peer) => {
                self.tunnel_peer(peer).map(|peer| Place::Peer(peer.spec.address()))
            }
        }
    }

    /// A FlowRule of equal priority that overlaps this one, if there is one: the one that wins over it
    /// rather than one that loses. OpenFlow leaves undefined what happens to packets that match both;
    /// here the order of [`nic_policy::Rank`] decides. Costs the number of rules of that priority that
    /// name the same ingress port, or none.
    pub fn overlap(&self, rule: &Stored<FlowRuleSpec>) -> Option<Overlap> {
        let priority = rule.spec.priority();
        match rule.spec.flow().in_port() {
            Some(port) => {
                let peers = [Some(port.clone()), None].into_iter();
                self.first_overlap(rule, peers.flat_map(|port| self.same_port(priority, port)))
            }
            None => self.first_overlap(rule, self.same_priority(priority)),
        }
    }

    /// The first of some rules of equal priority, whose ingress ports do not exclude each other, that
    /// overlaps `rule` and wins; else the first that overlaps it.
    fn first_overlap<'a>(
        &self,
        rule: &Stored<FlowRuleSpec>,
        peers: impl Iterator<Item = &'a ResourceId>,
    ) -> Option<Overlap> {
        let mut loser = None;
        for other in peers.filter_map(|id| self.flow_rule(id)) {
            if other.id == rule.id || !other.spec.flow().matches().overlaps(rule.spec.flow().matches()) {
                continue;
            }
            let other_wins = self.policy(other)?.rank() > self.policy(rule)?.rank();
            let overlap = Overlap { other: other.id.clone(), other_wins };
            if other_wins {
                return Some(overlap);
            }
            loser.get_or_insert(overlap);
        }
        loser
    }

    fn same_priority(&self, priority: u16) -> impl Iterator<Item = &ResourceId> {
        let first = (priority, None, ResourceId::least());
        let peers = self.peers.range((Bound::Included(first), Bound::Unbounded));
        peers.map(|(key, ())| key).take_while(move |key| key.0 == priority).map(|key| &key.2)
    }

    fn same_port(&self, priority: u16, port: Option<ResourceId>) -> impl Iterator<Item = &ResourceId> {
        let first = (priority, port.clone(), ResourceId::least());
        let peers = self.peers.range((Bound::Included(first), Bound::Unbounded));
        peers.map(|(key, ())| key).take_while(move |key| key.0 == priority && key.1 == port).map(|key| &key.2)
    }

    /// Every resource that has what one alone may have, in the order of their ids.
    pub(crate) fn holders<'a>(&'a self, claim: &'a Claim) -> impl Iterator<Item = &'a ResourceId> {
        let first = (claim.clone(), ResourceId::least());
        let pairs = self.claims.range((Bound::Included(first), Bound::Unbounded));
        pairs.map(|((claim, id), ())| (claim, id)).take_while(move |pair| pair.0 == claim).map(|pair| pair.1)
    }

    /// True if a resource has what one alone may have.
    pub(crate) fn holds(&self, id: &ResourceId, claim: &Claim) -> bool {
        self.claims.contains_key(&(claim.clone(), id.clone()))
    }

    pub(crate) fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    pub(crate) fn next_uid(&mut self) -> u64 {
        self.last_uid += 1;
        self.last_uid
    }

    /// Puts a resource in the place of the one of its name.
    pub(crate) fn put(&mut self, resource: &Resource) {
        let name = resource.name();
        self.remove(&name);
        if let Some(set) = &resource.meta().apply_set {
            self.members.insert_mut((set.clone(), name.clone()), ());
        }
        for (_, to) in resource.references() {
            self.referrers.insert_mut((to, name.clone()), ());
        }
        for claim in resource.claims() {
            self.claims.insert_mut((claim, name.id.clone()), ());
        }
        if let Resource::FlowRule(rule) = resource {
            self.peers.insert_mut(peer_key(rule), ());
        }
        self.uids.insert_mut(resource.meta().uid, name.clone());
        self.counts[name.kind as usize] += 1;
        self.resources.insert_mut(name, resource.clone());
    }

    /// Takes a resource away, if it is there.
    pub(crate) fn remove(&mut self, name: &Name) {
        let Some(resource) = self.get(name) else { return };
        if let Some(set) = &resource.meta().apply_set {
            self.members.remove_mut(&(set.clone(), name.clone()));
        }
        for (_, to) in resource.references() {
            self.referrers.remove_mut(&(to, name.clone()));
        }
        for claim in resource.claims() {
            self.claims.remove_mut(&(claim, name.id.clone()));
        }
        if let Resource::FlowRule(rule) = &resource {
            self.peers.remove_mut(&peer_key(rule));
        }
        self.uids.remove_mut(&resource.meta().uid);
        self.counts[name.kind as usize] -= 1;
        self.resources.remove_mut(name);
    }
}

fn peer_key(rule: &Stored<FlowRuleSpec>) -> (u16, Option<ResourceId>, ResourceId) {
    (rule.spec.priority(), rule.spec.flow().in_port().cloned(), rule.id.clone())
}
