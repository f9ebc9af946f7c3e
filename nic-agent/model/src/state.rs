//! The state: all resources of one revision, with the ways in which they are looked up.

use std::ops::Bound;
use std::sync::Arc;

use nic_flow::PortId;
use nic_policy::{FlowRuleId, Revision};
use rpds::RedBlackTreeMapSync as Map;

use crate::flow_rule::FlowRuleSpec;
use crate::name::{ApplySet, Kind, Name, ResourceId};
use crate::port::PortSpec;
use crate::resource::{Resource, Stored};

/// All resources of one revision. A clone costs nothing, a changed copy what the change touches.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: Revision,
    last_uid: u64,
    ports: Map<ResourceId, Arc<Stored<PortSpec>>>,
    flow_rules: Map<ResourceId, Arc<Stored<FlowRuleSpec>>>,
    /// Ports by device. Several have the same only inside a transaction that will be refused.
    devices: Map<(PortId, ResourceId), ()>,
    /// Flow rules by the ports that they refer to.
    referrers: Map<(ResourceId, ResourceId), ()>,
    /// Flow rules by their policy id.
    policy_ids: Map<FlowRuleId, ResourceId>,
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

    /// A Port.
    pub fn port(&self, id: &ResourceId) -> Option<&Arc<Stored<PortSpec>>> {
        self.ports.get(id)
    }

    /// A FlowRule.
    pub fn flow_rule(&self, id: &ResourceId) -> Option<&Arc<Stored<FlowRuleSpec>>> {
        self.flow_rules.get(id)
    }

    /// A resource of any kind.
    pub fn get(&self, name: &Name) -> Option<Resource> {
        match name.kind {
            Kind::Port => self.port(&name.id).cloned().map(Resource::Port),
            Kind::FlowRule => self.flow_rule(&name.id).cloned().map(Resource::FlowRule),
        }
    }

    /// The Ports behind an id, all with `None`, in the order of their ids.
    pub fn ports_after(&self, after: Option<&ResourceId>) -> impl Iterator<Item = &Arc<Stored<PortSpec>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ports.range::<ResourceId, _>((from, Bound::Unbounded)).map(|(_, port)| port)
    }

    /// The FlowRules behind an id, all with `None`, in the order of their ids.
    pub fn flow_rules_after(
        &self,
        after: Option<&ResourceId>,
    ) -> impl Iterator<Item = &Arc<Stored<FlowRuleSpec>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.flow_rules.range::<ResourceId, _>((from, Bound::Unbounded)).map(|(_, rule)| rule)
    }

    /// How many resources of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Port => self.ports.size(),
            Kind::FlowRule => self.flow_rules.size(),
        }
    }

    /// The Port that stands for a device.
    pub fn port_of_device(&self, device: PortId) -> Option<&Arc<Stored<PortSpec>>> {
        self.ports_of_device(device).next().and_then(|id| self.port(id))
    }

    /// The device of a Port.
    pub fn device(&self, port: &ResourceId) -> Option<PortId> {
        self.port(port).map(|port| port.spec.device())
    }

    /// The FlowRule of a policy id.
    pub fn flow_rule_of_policy(&self, id: FlowRuleId) -> Option<&Arc<Stored<FlowRuleSpec>>> {
        self.policy_ids.get(&id).and_then(|id| self.flow_rule(id))
    }

    /// The FlowRules that refer to a Port, in the order of their ids.
    pub fn referrers<'a>(&'a self, port: &'a ResourceId) -> impl Iterator<Item = &'a ResourceId> {
        let pairs =
            self.referrers.range((Bound::Included((port.clone(), ResourceId::least())), Bound::Unbounded));
        pairs.map(|((port, rule), ())| (port, rule)).take_while(move |pair| pair.0 == port).map(|pair| pair.1)
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

    /// Every Port that names a device, in the order of their ids.
    pub(crate) fn ports_of_device(&self, device: PortId) -> impl Iterator<Item = &ResourceId> {
        let pairs = self.devices.range((Bound::Included((device, ResourceId::least())), Bound::Unbounded));
        pairs
            .map(|((device, id), ())| (*device, id))
            .take_while(move |pair| pair.0 == device)
            .map(|pair| pair.1)
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
        self.remove(&resource.name());
        if let Some(set) = &resource.meta().apply_set {
            self.members.insert_mut((set.clone(), resource.name()), ());
        }
        match resource {
            Resource::Port(port) => {
                self.devices.insert_mut((port.spec.device(), port.id.clone()), ());
                self.ports.insert_mut(port.id.clone(), Arc::clone(port));
            }
            Resource::FlowRule(rule) => {
                for port in rule.spec.flow().references() {
                    self.referrers.insert_mut((port.clone(), rule.id.clone()), ());
                }
                self.peers.insert_mut(peer_key(rule), ());
                self.policy_ids.insert_mut(rule.policy_id(), rule.id.clone());
                self.flow_rules.insert_mut(rule.id.clone(), Arc::clone(rule));
            }
        }
    }

    /// Takes a resource away, if it is there.
    pub(crate) fn remove(&mut self, name: &Name) {
        let Some(resource) = self.get(name) else { return };
        if let Some(set) = &resource.meta().apply_set {
            self.members.remove_mut(&(set.clone(), name.clone()));
        }
        match resource {
            Resource::Port(port) => {
                self.devices.remove_mut(&(port.spec.device(), port.id.clone()));
                self.ports.remove_mut(&port.id);
            }
            Resource::FlowRule(rule) => {
                for port in rule.spec.flow().references() {
                    self.referrers.remove_mut(&(port.clone(), rule.id.clone()));
                }
                self.peers.remove_mut(&peer_key(&rule));
                self.policy_ids.remove_mut(&rule.policy_id());
                self.flow_rules.remove_mut(&rule.id);
            }
        }
    }
}

fn peer_key(rule: &Stored<FlowRuleSpec>) -> (u16, Option<ResourceId>, ResourceId) {
    (rule.spec.priority(), rule.spec.flow().in_port().cloned(), rule.id.clone())
}
