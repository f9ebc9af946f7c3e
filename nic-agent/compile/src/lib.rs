//! From resources to policy: what nic-datapath must be told after a change, and the whole policy for
//! one that knows nothing yet.
//!
//! A change costs what it touches: reverse references lead from a Port whose device changed to the
//! FlowRules, Vteps and FdbEntries that name it, from a TunnelPeer whose address changed to the
//! FdbEntries there, and nothing else is compiled again. An object whose policy comes out the same is
//! not sent.
//!
//! **May know:** resources (`nic-model`), policy (`nic-policy`). **May not know:** protobuf, the
//! socket, the store. Layer 1: no `unsafe`, no I/O.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use nic_model::{Change, Resource, State};
use nic_policy::{Change as PolicyChange, Delta, Object, ObjectId};

/// The whole policy of a state, which replaces any other.
pub fn full(state: &State) -> Delta {
    let objects = state.resources().filter_map(|resource| state.object(resource));
    let changes = objects.map(PolicyChange::Put).collect();
    Delta { revision: state.revision(), replace_all: true, changes }
}

/// What leads from the policy of one state to that of another, by the changes between the two. It has
/// no changes if both have the same policy, and still tells the new revision.
pub fn incremental(before: &State, after: &State, changes: &[Change]) -> Delta {
    let mut touched = BTreeSet::new();
    for change in changes {
        touch(before, after, change, &mut touched);
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
fn touch(before: &State, after: &State, change: &Change, touched: &mut BTreeSet<ObjectId>) {
    touched.extend(change.before.as_ref().and_then(|resource| id(before, resource)));
    touched.extend(change.after.as_ref().and_then(|resource| id(after, resource)));
    // What began or ceased to refer to the resource has changed itself.
    if let (Some(old), Some(new)) = (&change.before, &change.after)
        && !is_spoken_of_alike(old, new)
    {
        let name = new.name();
        let referrers = after.referrers(&name).filter_map(|by| after.get(by));
        touched.extend(referrers.filter_map(|by| id(after, &by)));
    }
}

/// True if the policy of what refers to a resource says the same of it.
fn is_spoken_of_alike(old: &Resource, new: &Resource) -> bool {
    match (old, new) {
        (Resource::Port(old), Resource::Port(new)) => old.spec.device() == new.spec.device(),
        (Resource::TunnelPeer(old), Resource::TunnelPeer(new)) => old.spec.address() == new.spec.address(),
        (old, new) => old.meta().uid == new.meta().uid,
    }
}

/// The id of a resource's policy object.
fn id(state: &State, resource: &Resource) -> Option<ObjectId> {
    match resource {
        Resource::Bridge(bridge) => Some(ObjectId::Bridge(bridge.policy_id())),
        Resource::FdbEntry(entry) => {
            let bridge = state.bridge(entry.spec.bridge())?;
            Some(ObjectId::FdbEntry(bridge.policy_id(), entry.spec.mac_address()))
        }
        Resource::FlowRule(rule) => Some(ObjectId::FlowRule(rule.policy_id())),
        Resource::Port(port) => Some(ObjectId::Port(port.spec.device())),
        Resource::TunnelPeer(peer) => {
            let vtep = state.vtep(peer.spec.vtep())?;
            Some(ObjectId::TunnelPeer(vtep.policy_id(), peer.spec.address()))
        }
        Resource::Vtep(vtep) => Some(ObjectId::Vtep(vtep.policy_id())),
    }
}

/// The policy object of that id in a state.
fn object(state: &State, id: ObjectId) -> Option<Object> {
    let resource = match id {
        ObjectId::Port(device) => state.port_of_device(device).cloned().map(Resource::Port),
        ObjectId::FlowRule(id) => state.flow_rule_of_policy(id).cloned().map(Resource::FlowRule),
        ObjectId::Bridge(id) => state.bridge_of_policy(id).cloned().map(Resource::Bridge),
        ObjectId::Vtep(id) => state.vtep_of_policy(id).cloned().map(Resource::Vtep),
        ObjectId::TunnelPeer(vtep, address) => {
            let vtep = state.vtep_of_policy(vtep)?;
            state.tunnel_peer_of_address(&vtep.id, address).cloned().map(Resource::TunnelPeer)
        }
        ObjectId::FdbEntry(bridge, mac) => {
            let bridge = state.bridge_of_policy(bridge)?;
            state.fdb_entry_of_station(&bridge.id, mac).cloned().map(Resource::FdbEntry)
        }
    };
    state.object(&resource?)
}

#[cfg(test)]
mod tests;
