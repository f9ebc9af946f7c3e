//! Each kind as a table for people.

use nic_proto::v1::{
    Condition, Resource, bridge_spec::UnknownUnicast, condition, port_spec::AdminState, resource,
};

use super::calls::facts;
use crate::files::Kind;
use crate::table::{or_dash, printable, table, yes_no};

/// The table of resources of one kind, with what their conditions complain of.
pub(super) fn of(kind: Kind, resources: &[&Resource]) -> String {
    let rows = resources.iter().map(|resource| row(resource));
    table(columns(kind), rows) + &explain(resources)
}

const fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Port => &[
            "NAME",
            "DEVICE",
            "ADMIN",
            "MTU>",
            "BRIDGES",
            "MAC ADDRESSES",
            "ANTI-SPOOF",
            "PRESENT",
            "PROGRAMMED",
        ],
        Kind::FlowRule => &["NAME", "PRIORITY>", "FLOW", "PROGRAMMED", "OFFLOADED"],
        Kind::Bridge => &["NAME", "VTEP", "VNI>", "UNKNOWN", "AGEING>", "SUPPRESSION", "PROGRAMMED"],
        Kind::Vtep => {
            &["NAME", "PORT", "VLAN>", "ADDRESS", "GATEWAY", "MAC ADDRESS", "PRESENT", "PROGRAMMED"]
        }
        Kind::TunnelPeer => &["NAME", "VTEP", "ADDRESS", "BRIDGES", "LEARNING", "PROGRAMMED"],
        Kind::FdbEntry => &["NAME", "BRIDGE", "MAC ADDRESS", "PLACE", "ADDRESSES", "PROGRAMMED"],
    }
}

/// A number, or a dash for one that is not set.
fn number(value: u32) -> String {
    if value == 0 { "-".into() } else { value.to_string() }
}

fn row(resource: &Resource) -> Vec<String> {
    let (name, conditions) = facts(resource);
    let holds = |kind| condition(conditions, kind);
    let mut row = vec![name.to_owned()];
    match &resource.kind {
        Some(resource::Kind::Port(port)) => {
            let spec = port.spec.clone().unwrap_or_default();
            let admin = if spec.admin_state() == AdminState::Disabled { "disabled" } else { "enabled" };
            let access = (!spec.bridge.is_empty()).then(|| spec.bridge.clone());
            let trunks = spec.trunks.iter().map(|trunk| format!("{}@{}", trunk.bridge, trunk.vlan));
            let bridges: Vec<String> = access.into_iter().chain(trunks).collect();
            row.extend([spec.device, admin.into(), number(spec.mtu), or_dash(&bridges.join(","))]);
            row.extend([or_dash(&spec.mac_addresses.join(",")), yes_no(spec.anti_spoof)]);
            row.extend([holds("Present"), holds("Programmed")]);
        }
        Some(resource::Kind::FlowRule(rule)) => {
            let spec = rule.spec.clone().unwrap_or_default();
            row.extend([spec.priority.map_or("-".into(), |priority| priority.to_string()), spec.flow]);
            row.extend([holds("Programmed"), holds("Offloaded")]);
        }
        Some(resource::Kind::Bridge(bridge)) => {
            let spec = bridge.spec.clone().unwrap_or_default();
            let unknown = if spec.unknown_unicast() == UnknownUnicast::Drop { "drop" } else { "flood" };
            row.extend([or_dash(&spec.vtep), number(spec.vni), unknown.into(), number(spec.ageing_time)]);
            row.extend([yes_no(spec.suppression), holds("Programmed")]);
        }
        Some(resource::Kind::Vtep(vtep)) => {
            let spec = vtep.spec.clone().unwrap_or_default();
            let mac =
                vtep.status.as_ref().map(|status| status.mac_address.clone()).unwrap_or(spec.mac_address);
            row.extend([spec.port, number(spec.vlan), spec.address, or_dash(&spec.gateway), or_dash(&mac)]);
            row.extend([holds("Present"), holds("Programmed")]);
        }
        Some(resource::Kind::TunnelPeer(peer)) => {
            let spec = peer.spec.clone().unwrap_or_default();
            let bridges = match spec.bridges.as_slice() {
                [] => "-".into(),
                [one, two, three, more @ ..] if !more.is_empty() => {
                    format!("{one},{two},{three} and {} more", more.len())
                }
                few => few.join(","),
            };
            row.extend([
                spec.vtep,
                spec.address,
                bridges,
                yes_no(!spec.disable_learning),
                holds("Programmed"),
            ]);
        }
        Some(resource::Kind::FdbEntry(entry)) => {
            let spec = entry.spec.clone().unwrap_or_default();
            let place = if spec.port.is_empty() { spec.tunnel_peer } else { spec.port };
            row.extend([spec.bridge, spec.mac_address, place, or_dash(&spec.addresses.join(","))]);
            row.push(holds("Programmed"));
        }
        None => {}
    }
    row
}

/// A condition's status in one word, with the reason where it does not hold.
pub(crate) fn condition(conditions: &[Condition], kind: &str) -> String {
    let Some(condition) = conditions.iter().find(|condition| condition.r#type == kind) else {
        return "-".into();
    };
    let status = match condition.status() {
        condition::Status::True => return "yes".into(),
        condition::Status::False => "no",
        condition::Status::Unknown | condition::Status::Unspecified => "unknown",
    };
    if condition.reason.is_empty() { status.into() } else { format!("{status} ({})", condition.reason) }
}

/// What the conditions that do not hold say.
fn explain(resources: &[&Resource]) -> String {
    let mut text = String::new();
    for (name, conditions) in resources.iter().map(|resource| facts(resource)) {
        for condition in conditions {
            if condition.status() != condition::Status::True && !condition.message.is_empty() {
                let message = printable(&condition.message);
                text.push_str(&format!("{name}: {}: {message}\n", printable(&condition.r#type)));
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}
