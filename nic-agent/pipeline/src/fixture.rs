//! What the tests of the stages share: policies and packets in text.

use nic_flow::{FlowKey, FlowMask, Match, PortId, text};
use nic_policy::{Change, Delta, FlowRule, FlowRuleId, Object, Port, Stage};

use crate::{Snapshot, Translation, translate};

pub(crate) fn port(name: &str) -> PortId {
    name.parse().expect("a device name")
}

pub(crate) fn open(name: &str) -> Object {
    Object::Port(Port { id: port(name), enabled: true, source_macs: None })
}

pub(crate) fn disabled(name: &str) -> Object {
    Object::Port(Port { id: port(name), enabled: false, source_macs: None })
}

pub(crate) fn restricted(name: &str, macs: &[&str]) -> Object {
    let macs = macs.iter().map(|mac| mac.parse().expect("a MAC address")).collect();
    Object::Port(Port { id: port(name), enabled: true, source_macs: Some(macs) })
}

pub(crate) fn rule(id: u64, priority: u16, matches: &str, actions: &str) -> Object {
    Object::FlowRule(FlowRule {
        id: FlowRuleId(id),
        priority,
        matches: matches.parse().expect("a match"),
        actions: text::parse_actions(actions).expect("actions"),
    })
}

/// A policy in which the devices `p0`, `pf0vf0` and `pf0vf1` are there.
pub(crate) fn policy(objects: &[Object]) -> Snapshot {
    let changes = objects.iter().cloned().map(Change::Put).collect();
    let delta = Delta { changes, ..Delta::default() };
    let (snapshot, _) = Snapshot::empty().apply(&delta).expect("each id once");
    snapshot.with_devices(&[port("p0"), port("pf0vf0"), port("pf0vf1")]).0
}

/// A packet with these fields; the others are zero.
pub(crate) fn packet(fields: &str) -> FlowKey {
    *fields.parse::<Match>().expect("a match").key()
}

pub(crate) fn translated(fields: &str, policy: &Snapshot) -> Translation {
    translate(&packet(fields), policy, &mut [Default::default(); Stage::COUNT])
}

/// What is done to a packet, or why it is dropped, in text.
pub(crate) fn fate(fields: &str, policy: &Snapshot) -> String {
    let translation = translated(fields, policy);
    match translation.dropped {
        Some(reason) => reason.name().to_owned(),
        None => text::actions(&translation.actions).to_string(),
    }
}

/// The names of the fields of which bits were read.
pub(crate) fn fields(mask: &FlowMask) -> Vec<&'static str> {
    mask.fields().map(|field| field.name()).collect()
}
