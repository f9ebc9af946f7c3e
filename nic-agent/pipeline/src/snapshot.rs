//! One immutable state of the policy and of the devices that are there.
//!
//! A clone is a few reference counts; the state after a delta shares all that the delta left alone.

use core::fmt;
use std::collections::HashSet;
use std::sync::Arc;

use nic_flow::PortId;
use nic_policy::{Change, Delta, FlowRule, FlowRuleId, Object, ObjectId, Port, Revision};
use rpds::{HashTrieMapSync, HashTrieSetSync};
use rustc_hash::FxBuildHasher;
use thiserror::Error;

use crate::dependency::{Table, Touched, by_port};
use crate::rules::{RuleTable, effective};

/// A state of the policy. Closed where it says nothing: [`Snapshot::empty`] forwards no packet.
#[derive(Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    ports: HashTrieMapSync<PortId, Arc<Port>, FxBuildHasher>,
    flow_rules: HashTrieMapSync<FlowRuleId, Arc<FlowRule>, FxBuildHasher>,
    rules: RuleTable,
    devices: HashTrieSetSync<PortId, FxBuildHasher>,
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
            touched.add(Touched { table: Table::Devices, matches: by_port(gone) });
        }
        for &port in present {
            if !next.devices.contains(&port) {
                next.devices.insert_mut(port);
                touched.add(Touched { table: Table::Devices, matches: by_port(port) });
            }
        }
        (next, touched.list)
    }

    /// The object of that id.
    pub fn object(&self, id: ObjectId) -> Option<Object> {
        match id {
            ObjectId::Port(id) => self.ports.get(&id).map(|port| Object::Port(Port::clone(port))),
            ObjectId::FlowRule(id) => {
                self.flow_rules.get(&id).map(|rule| Object::FlowRule(FlowRule::clone(rule)))
            }
        }
    }

    /// The ids of all objects, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let ports = self.ports.keys().map(|&id| ObjectId::Port(id));
        ports.chain(self.flow_rules.keys().map(|&id| ObjectId::FlowRule(id)))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.ports.size() + self.flow_rules.size()
    }

    /// True if there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(&port).map(Arc::as_ref)
    }

    pub(crate) fn has_device(&self, port: PortId) -> bool {
        self.devices.contains(&port)
    }

    pub(crate) const fn rules(&self) -> &RuleTable {
        &self.rules
    }

    fn put(&mut self, object: &Object, touched: &mut TouchedSet) {
        match object {
            Object::Port(port) => {
                if self.port(port.id) != Some(port) {
                    self.ports.insert_mut(port.id, Arc::new(port.clone()));
                    touched.add(Touched { table: Table::Ports, matches: by_port(port.id) });
                }
            }
            Object::FlowRule(rule) => {
                if self.flow_rules.get(&rule.id).map(Arc::as_ref) != Some(rule) {
                    self.remove(ObjectId::FlowRule(rule.id), touched);
                    let rule = Arc::new(rule.clone());
                    self.rules.insert(&rule);
                    touched.add(rule_touched(&rule));
                    self.flow_rules.insert_mut(rule.id, rule);
                }
            }
        }
    }

    fn remove(&mut self, id: ObjectId, touched: &mut TouchedSet) {
        match id {
            ObjectId::Port(id) => {
                if self.ports.remove_mut(&id) {
                    touched.add(Touched { table: Table::Ports, matches: by_port(id) });
                }
            }
            ObjectId::FlowRule(id) => {
                if let Some(rule) = self.flow_rules.get(&id).cloned() {
                    self.rules.remove(&rule);
                    touched.add(rule_touched(&rule));
                    self.flow_rules.remove_mut(&id);
                }
            }
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
    Touched { table: Table::FlowRules, matches: effective(&rule.matches) }
}

/// What a change touched, each once.
#[derive(Default)]
struct TouchedSet {
    list: Vec<Touched>,
    seen: HashSet<Touched, FxBuildHasher>,
}

impl TouchedSet {
    fn add(&mut self, touched: Touched) {
        if self.seen.insert(touched) {
            self.list.push(touched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{disabled, open, policy, port, rule, translated};

    fn put(objects: &[Object]) -> Delta {
        Delta {
            revision: Revision(2),
            replace_all: false,
            changes: objects.iter().cloned().map(Change::Put).collect(),
        }
    }

    #[test]
    fn a_snapshot_goes_to_other_threads() {
        fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
        shared(&Snapshot::empty());
    }

    #[test]
    fn a_delta_that_names_an_object_twice_is_refused_whole() {
        let before = policy(&[open("p0")]);
        let delta = put(&[open("pf0vf0"), disabled("p0"), open("p0")]);
        assert_eq!(before.apply(&delta).err(), Some(ApplyError::ChangedTwice(ObjectId::Port(port("p0")))));
        assert_eq!((before.len(), before.revision()), (1, Revision(0)));
    }

    #[test]
    fn a_state_is_not_changed_by_those_made_from_it() {
        let before = policy(&[open("p0"), open("pf0vf0"), rule(1, 1, "in_port=p0", "output(pf0vf0)")]);
        let flow = translated("in_port=p0", &before);
        let (after, _) = before.apply(&put(&[rule(1, 1, "in_port=p0", "drop")])).expect("each id once");
        assert_eq!(translated("in_port=p0", &before), flow);
        assert_ne!(translated("in_port=p0", &after), flow);
    }

    #[test]
    fn what_stays_the_same_is_not_touched() {
        let objects = [open("p0"), rule(1, 1, "in_port=p0", "drop"), rule(2, 1, "eth_type=0x0800", "drop")];
        let before = policy(&objects);
        assert_eq!(before.apply(&put(&objects)).expect("each id once").1, []);
        let sync = Delta { replace_all: true, ..put(&objects[..2]) };
        let (after, touched) = before.apply(&sync).expect("each id once");
        let gone = Touched { table: Table::FlowRules, matches: "eth_type=0x0800".parse().expect("a match") };
        assert_eq!((touched, after.len()), (vec![gone], 2));
    }

    #[test]
    fn a_rule_that_moves_touches_where_it_was_and_where_it_is() {
        let before = policy(&[rule(1, 1, "in_port=p0", "drop")]);
        let touched = |object| before.apply(&put(&[object])).expect("each id once").1.len();
        assert_eq!(touched(rule(1, 1, "in_port=pf0vf0", "drop")), 2);
        assert_eq!(touched(rule(1, 2, "in_port=p0", "output(p0)")), 1);
    }

    #[test]
    fn flows_of_malformed_packets_depend_on_the_rules_that_read_them() {
        let before =
            policy(&[open("p0"), rule(1, 1, "in_port=p0,eth_type=0x0800,l3=1,ip_src=10.0.0.1", "drop")]);
        let flow = translated("in_port=p0,eth_type=0x0800,l3=2", &before);
        assert_eq!(flow.dropped, Some(nic_policy::DropReason::MalformedL3));
        let removal =
            Delta { changes: vec![Change::Remove(ObjectId::FlowRule(FlowRuleId(1)))], ..Delta::default() };
        let (_, touched) = before.apply(&removal).expect("each id once");
        assert!(flow.dependencies.iter().any(|dependency| dependency.is_touched_by(&touched[0])));
    }
}
