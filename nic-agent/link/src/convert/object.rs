//! Policy objects and their changes.

use nic_flow::Action;
use nic_flow::seam::ActionKind;
use nic_policy::{Attachment, BridgeId, Change, FlowRule, FlowRuleId, Object, ObjectId, Port, Trunk, VtepId};
use nic_proto::datapath::v1 as pb;

use super::flow::{actions_to, match_to, read_actions, read_match};
use super::{Bad, ObjectError, Problem, bridging, ip, ip_octets, mac, port, within};

/// The id of an object.
pub fn object_ref_to(id: ObjectId) -> pb::ObjectRef {
    use pb::object_ref::Kind;
    let kind = match id {
        ObjectId::Port(port) => Kind::Port(port.bits().into()),
        ObjectId::FlowRule(id) => Kind::FlowRule(id.0),
        ObjectId::Bridge(id) => Kind::Bridge(id.0),
        ObjectId::Vtep(id) => Kind::Vtep(id.0),
        ObjectId::TunnelPeer(vtep, address) => {
            Kind::TunnelPeer(pb::TunnelPeerRef { vtep: vtep.0, address: ip_octets(address) })
        }
        ObjectId::FdbEntry(bridge, mac) => {
            Kind::FdbEntry(pb::FdbEntryRef { bridge: bridge.0, mac_address: mac.octets().to_vec() })
        }
    };
    pb::ObjectRef { kind: Some(kind) }
}

/// The id of an object from its message.
pub fn object_ref_from(object: &pb::ObjectRef) -> Result<ObjectId, ObjectError> {
    use pb::object_ref::Kind;
    let read = || -> Result<ObjectId, Bad> {
        Ok(match object.kind.as_ref().ok_or(Bad::new("kind", Problem::Missing))? {
            Kind::Port(bits) => ObjectId::Port(port("port", *bits)?),
            Kind::FlowRule(id) => ObjectId::FlowRule(FlowRuleId(*id)),
            Kind::Bridge(id) => ObjectId::Bridge(BridgeId(*id)),
            Kind::Vtep(id) => ObjectId::Vtep(VtepId(*id)),
            Kind::TunnelPeer(peer) => {
                ObjectId::TunnelPeer(VtepId(peer.vtep), ip("tunnel_peer.address", &peer.address)?)
            }
            Kind::FdbEntry(entry) => {
                ObjectId::FdbEntry(BridgeId(entry.bridge), mac("fdb_entry.mac_address", &entry.mac_address)?)
            }
        })
    };
    read().map_err(|bad| bad.in_object("object"))
}

/// A change, as a message of a Sync.
pub fn change_to(change: &Change) -> pb::sync_request::Message {
    match change {
        Change::Put(object) => pb::sync_request::Message::Upsert(object_to(object)),
        Change::Remove(id) => pb::sync_request::Message::Remove(object_ref_to(*id)),
    }
}

/// A change from a message of a Sync; `None` if the message is a header or an end.
pub fn change_from(message: &pb::sync_request::Message) -> Result<Option<Change>, ObjectError> {
    match message {
        pb::sync_request::Message::Upsert(object) => object_from(object).map(Change::Put).map(Some),
        pb::sync_request::Message::Remove(id) => object_ref_from(id).map(Change::Remove).map(Some),
        pb::sync_request::Message::Header(_) | pb::sync_request::Message::End(_) => Ok(None),
    }
}

/// An object, as a message.
pub fn object_to(object: &Object) -> pb::PolicyObject {
    use pb::policy_object::Kind;
    let kind = match object {
        Object::Port(port) => Kind::Port(port_to(port)),
        Object::FlowRule(rule) => Kind::FlowRule(pb::FlowRulePolicy {
            id: rule.id.0,
            priority: rule.priority.into(),
            r#match: match_to(&rule.matches),
            actions: actions_to(&rule.actions),
        }),
        Object::Bridge(bridge) => Kind::Bridge(bridging::bridge_to(bridge)),
        Object::Vtep(vtep) => Kind::Vtep(bridging::vtep_to(vtep)),
        Object::TunnelPeer(peer) => Kind::TunnelPeer(bridging::tunnel_peer_to(peer)),
        Object::FdbEntry(entry) => Kind::FdbEntry(bridging::fdb_entry_to(entry)),
    };
    pb::PolicyObject { kind: Some(kind) }
}

/// An object from its message.
pub fn object_from(object: &pb::PolicyObject) -> Result<Object, ObjectError> {
    use pb::policy_object::Kind;
    match &object.kind {
        // A kind that a newer version added arrives as no kind at all.
        None => Err(Bad::new("kind", Problem::Missing).in_object("object")),
        Some(Kind::Port(policy)) => {
            port_from(policy).map(Object::Port).map_err(|bad| bad.in_object(format!("port {}", policy.port)))
        }
        Some(Kind::FlowRule(rule)) => flow_rule_from(rule)
            .map(Object::FlowRule)
            .map_err(|bad| bad.in_object(format!("flow rule {}", rule.id))),
        Some(Kind::Bridge(bridge)) => bridging::bridge_from(bridge)
            .map(Object::Bridge)
            .map_err(|bad| bad.in_object(format!("bridge {}", bridge.id))),
        Some(Kind::Vtep(vtep)) => bridging::vtep_from(vtep)
            .map(Object::Vtep)
            .map_err(|bad| bad.in_object(format!("VTEP {}", vtep.id))),
        Some(Kind::TunnelPeer(peer)) => {
            bridging::tunnel_peer_from(peer).map(Object::TunnelPeer).map_err(|bad| {
                bad.in_object(format!("tunnel peer {} of VTEP {}", shown(ip("", &peer.address)), peer.vtep))
            })
        }
        Some(Kind::FdbEntry(entry)) => bridging::fdb_entry_from(entry).map(Object::FdbEntry).map_err(|bad| {
            bad.in_object({
                format!("FDB entry {} of bridge {}", shown(mac("", &entry.mac_address)), entry.bridge)
            })
        }),
    }
}

/// The name of an object in an error, whose parts may be what is wrong.
fn shown(part: Result<impl std::fmt::Display, Bad>) -> String {
    part.map_or_else(|_| "?".to_owned(), |part| part.to_string())
}

fn port_to(port: &Port) -> pb::PortPolicy {
    pb::PortPolicy {
        port: port.id.bits().into(),
        admin_up: port.enabled,
        anti_spoof: port.source_macs.as_ref().map(|macs| pb::AntiSpoof {
            mac_addresses: macs.iter().map(|mac| mac.octets().to_vec()).collect(),
        }),
        bridge: port.bridges.access.map(|bridge| bridge.0),
        trunks: port
            .bridges
            .trunk
            .iter()
            .map(|trunk| pb::Trunk { vlan: trunk.vid.into(), bridge: trunk.bridge.0 })
            .collect(),
        learning: port.learning,
        mac_limit: port.mac_limit,
        flood_budget: port.flood_budget,
    }
}

fn port_from(policy: &pb::PortPolicy) -> Result<Port, Bad> {
    let source_macs = match &policy.anti_spoof {
        None => None,
        Some(list) => {
            let mut macs = heapless::Vec::new();
            for octets in &list.mac_addresses {
                macs.push(mac("anti_spoof.mac_addresses", octets)?).map_err(|_| {
                    Bad::new("anti_spoof.mac_addresses", Problem::TooMany(nic_policy::object::MAX_PORT_MACS))
                })?;
            }
            Some(macs)
        }
    };
    let mut trunk = Vec::with_capacity(policy.trunks.len());
    for part in &policy.trunks {
        trunk.push(Trunk { vid: within("trunks.vlan", part.vlan, 1..=4094)?, bridge: BridgeId(part.bridge) });
    }
    if !trunk.is_sorted_by(|one: &Trunk, next| one.vid < next.vid) {
        return Err(Bad::new("trunks", Problem::Order));
    }
    Ok(Port {
        id: port("port", policy.port)?,
        enabled: policy.admin_up,
        source_macs,
        bridges: Attachment { access: policy.bridge.map(BridgeId), trunk },
        learning: policy.learning,
        mac_limit: policy.mac_limit,
        flood_budget: policy.flood_budget,
    })
}

fn flow_rule_from(rule: &pb::FlowRulePolicy) -> Result<FlowRule, Bad> {
    let actions = read_actions(&rule.actions)?;
    // Tunnels and floods are the business of bridges.
    let bridging =
        |action: &&Action| matches!(action, Action::EncapVxlan(_) | Action::DecapVxlan | Action::Flood(_));
    if let Some(action) = actions.iter().find(bridging) {
        return Err(Bad::new("actions", Problem::Misplaced(ActionKind::from(action).name())));
    }
    Ok(FlowRule {
        id: FlowRuleId(rule.id),
        priority: within("priority", rule.priority, 0..=0xffff)?,
        matches: read_match(&rule.r#match)?,
        actions,
    })
}
