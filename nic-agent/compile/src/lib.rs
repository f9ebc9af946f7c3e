//! From resources to policy: what nic-datapath must be told after a change, and the whole policy for
//! one that knows nothing yet.
//!
//! A change costs what it touches: reverse references lead from a Port whose device changed to the
//! FlowRules that name it, and nothing else is compiled again. An object whose policy comes out the
//! same is not sent.
//!
//! **May know:** resources (`nic-model`), policy (`nic-policy`). **May not know:** protobuf, the
//! socket, the store. Layer 1: no `unsafe`, no I/O.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use nic_model::{Change, Resource, State};
use nic_policy::{Change as PolicyChange, Delta, Object, ObjectId};

/// The whole policy of a state, which replaces any other.
pub fn full(state: &State) -> Delta {
    let ports = state.ports_after(None).map(|port| Object::Port(port.spec.policy()));
    let rules = state.flow_rules_after(None).filter_map(|rule| state.policy(rule)).map(Object::FlowRule);
    let changes = ports.chain(rules).map(PolicyChange::Put).collect();
    Delta { revision: state.revision(), replace_all: true, changes }
}

/// What leads from the policy of one state to that of another, by the changes between the two. It has
/// no changes if both have the same policy, and still tells the new revision.
pub fn incremental(before: &State, after: &State, changes: &[Change]) -> Delta {
    let mut touched = BTreeSet::new();
    for change in changes {
        touch(after, change, &mut touched);
    }
    let changes = touched.into_iter().filter_map(|id| {
        let (old, new) = (object(before, id), object(after, id));
        match new {
            Some(new) => (old.as_ref() != Some(&new)).then_some(PolicyChange::Put(new)),
            None => old.map(|_| PolicyChange::Remove(id)),
        }
    });
    Delta { revision: after.revision(), replace_all: false, changes: changes.collect() }
}

/// The objects that a change may have touched.
fn touch(after: &State, change: &Change, touched: &mut BTreeSet<ObjectId>) {
    let mut devices = Vec::new();
    for resource in change.before.iter().chain(&change.after) {
        match resource {
            Resource::Port(port) => {
                devices.push(port.spec.device());
                touched.insert(ObjectId::Port(port.spec.device()));
            }
            Resource::FlowRule(rule) => {
                touched.insert(ObjectId::FlowRule(rule.policy_id()));
            }
        }
    }
    // Rules that began or ceased to name the port have changed themselves.
    if let (Some(Resource::Port(port)), [old, new]) = (&change.after, devices.as_slice())
        && old != new
    {
        let rules = after.referrers(&port.id).filter_map(|rule| after.flow_rule(rule));
        touched.extend(rules.map(|rule| ObjectId::FlowRule(rule.policy_id())));
    }
}

/// The policy object of that id in a state.
fn object(state: &State, id: ObjectId) -> Option<Object> {
    match id {
        ObjectId::Port(device) => state.port_of_device(device).map(|port| Object::Port(port.spec.policy())),
        ObjectId::FlowRule(id) => {
            state.flow_rule_of_policy(id).and_then(|rule| state.policy(rule)).map(Object::FlowRule)
        }
    }
}

#[cfg(test)]
mod tests;
