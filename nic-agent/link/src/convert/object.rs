//! Policy objects and their changes.

use nic_policy::{Change, FlowRule, FlowRuleId, Object, ObjectId, Port};
use nic_proto::datapath::v1 as pb;

use super::flow::{actions_to, match_to, read_actions, read_match};
use super::{Bad, ObjectError, Problem, mac, port};

/// The id of an object.
pub fn object_ref_to(id: ObjectId) -> pb::ObjectRef {
    pb::ObjectRef {
        kind: Some(match id {
            ObjectId::Port(port) => pb::object_ref::Kind::Port(port.bits().into()),
            ObjectId::FlowRule(id) => pb::object_ref::Kind::FlowRule(id.0),
        }),
    }
}

/// The id of an object from its message.
pub fn object_ref_from(object: &pb::ObjectRef) -> Result<ObjectId, ObjectError> {
    let read = || match object.kind.as_ref().ok_or(Bad::new("kind", Problem::Missing))? {
        pb::object_ref::Kind::Port(bits) => Ok(ObjectId::Port(port("port", *bits)?)),
        pb::object_ref::Kind::FlowRule(id) => Ok(ObjectId::FlowRule(FlowRuleId(*id))),
    };
    read().map_err(|bad: Bad| bad.in_object("object"))
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

fn object_to(object: &Object) -> pb::PolicyObject {
    pb::PolicyObject {
        kind: Some(match object {
            Object::Port(port) => pb::policy_object::Kind::Port(pb::PortPolicy {
                port: port.id.bits().into(),
                admin_up: port.enabled,
                anti_spoof: port.source_macs.as_ref().map(|macs| pb::AntiSpoof {
                    mac_addresses: macs.iter().map(|mac| mac.octets().to_vec()).collect(),
                }),
            }),
            Object::FlowRule(rule) => pb::policy_object::Kind::FlowRule(pb::FlowRulePolicy {
                id: rule.id.0,
                priority: rule.priority.into(),
                r#match: match_to(&rule.matches),
                actions: actions_to(&rule.actions),
            }),
        }),
    }
}

fn object_from(object: &pb::PolicyObject) -> Result<Object, ObjectError> {
    match &object.kind {
        None => Err(Bad::new("kind", Problem::Missing).in_object("object")),
        Some(pb::policy_object::Kind::Port(policy)) => {
            port_from(policy).map(Object::Port).map_err(|bad| bad.in_object(format!("port {}", policy.port)))
        }
        Some(pb::policy_object::Kind::FlowRule(rule)) => flow_rule_from(rule)
            .map(Object::FlowRule)
            .map_err(|bad| bad.in_object(format!("flow rule {}", rule.id))),
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
    Ok(Port { id: port("port", policy.port)?, enabled: policy.admin_up, source_macs })
}

fn flow_rule_from(rule: &pb::FlowRulePolicy) -> Result<FlowRule, Bad> {
    Ok(FlowRule {
        id: FlowRuleId(rule.id),
        priority: u16::try_from(rule.priority).map_err(|_| Bad::new("priority", Problem::Range))?,
        matches: read_match(&rule.r#match)?,
        actions: read_actions(&rule.actions)?,
    })
}
