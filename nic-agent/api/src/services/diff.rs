//! What an Apply changes, field by field, in the names and values of proto-JSON.

use nic_model::{Action, Change, Resource, Stored};
use nic_proto::v1 as pb;
use serde_json::{Map, Value};

use super::collection::Collection;
use super::{Bridges, FdbEntries, FlowRules, Ports, TunnelPeers, Vteps};

pub(super) fn change(change: &Change) -> pb::Change {
    let action = match change.action() {
        Action::Create => pb::change::Action::Create,
        Action::Update => pb::change::Action::Update,
        Action::Delete => pb::change::Action::Delete,
        Action::Unchanged => pb::change::Action::Unchanged,
    };
    let diff = match change.action() {
        Action::Unchanged => Vec::new(),
        _ => fields(change),
    };
    pb::Change {
        name: change.name().map(|name| name.to_string()).unwrap_or_default(),
        action: action.into(),
        diff,
    }
}

fn fields(change: &Change) -> Vec<pb::FieldChange> {
    let before = change.before.as_ref().map(spec).unwrap_or_default();
    let after = change.after.as_ref().map(spec).unwrap_or_default();
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    let mut fields: Vec<pb::FieldChange> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| pb::FieldChange {
            path: format!("spec.{name}"),
            before: text(before.get(name)),
            after: text(after.get(name)),
        })
        .collect();
    let set = |resource: &Option<Resource>| {
        let set = resource.as_ref().and_then(|resource| resource.meta().apply_set.as_ref());
        text(set.map(|set| Value::from(set.as_str())).as_ref())
    };
    let (before, after) = (set(&change.before), set(&change.after));
    if before != after {
        fields.push(pb::FieldChange { path: "metadata.applySet".to_owned(), before, after });
    }
    fields
}

/// A spec's fields.
fn spec(resource: &Resource) -> Map<String, Value> {
    match resource {
        Resource::Bridge(bridge) => wire::<Bridges>(bridge),
        Resource::FdbEntry(entry) => wire::<FdbEntries>(entry),
        Resource::FlowRule(rule) => wire::<FlowRules>(rule),
        Resource::Port(port) => wire::<Ports>(port),
        Resource::TunnelPeer(peer) => wire::<TunnelPeers>(peer),
        Resource::Vtep(vtep) => wire::<Vteps>(vtep),
    }
}

/// Every spec serialises as an object.
fn wire<C: Collection>(stored: &Stored<C::Spec>) -> Map<String, Value> {
    match serde_json::to_value(C::wire(&stored.spec)) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
