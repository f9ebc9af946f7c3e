//! A naive translator: every rule in turn, every field directly. Slow, obvious, and written from the
//! meaning of the policy, not from the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use nic_flow::field::{Field, L3, L4};
use nic_flow::{Action, FlowKey, Match, PortId};
use nic_policy::{Change, Delta, DropReason, FlowRule, Object, ObjectId, Port};

/// A policy and the devices that are there, as plain collections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The objects.
    pub objects: BTreeMap<ObjectId, Object>,
    /// The devices that are there.
    pub devices: BTreeSet<PortId>,
}

impl Policy {
    /// Does what the delta says.
    pub fn apply(&mut self, delta: &Delta) {
        if delta.replace_all {
            self.objects.clear();
        }
        for change in &delta.changes {
            match change {
                Change::Put(object) => {
                    self.objects.insert(object.id(), object.clone());
                }
                Change::Remove(id) => {
                    self.objects.remove(id);
                }
            }
        }
    }

    /// The flow rules, in no particular order.
    pub fn rules(&self) -> impl Iterator<Item = &FlowRule> {
        self.objects.values().filter_map(|object| match object {
            Object::FlowRule(rule) => Some(rule),
            Object::Port(_) => None,
        })
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        match self.objects.get(&ObjectId::Port(id)) {
            Some(Object::Port(port)) => Some(port),
            _ => None,
        }
    }

    /// What is done to a packet, or why it is dropped.
    pub fn translate(&self, packet: &FlowKey) -> Result<Vec<Action>, DropReason> {
        self.may_enter(packet)?;
        let plan = run(&self.deciding_rule(packet)?.actions, packet)?;
        self.may_leave(packet.in_port(), plan)
    }

    fn may_enter(&self, packet: &FlowKey) -> Result<(), DropReason> {
        let Some(port) = self.port(packet.in_port()) else { return Err(DropReason::PortUnconfigured) };
        if !port.enabled {
            return Err(DropReason::PortDisabled);
        }
        let Some(allowed) = &port.source_macs else { return Ok(()) };
        if !allowed.iter().any(|&mac| mac == packet.mac(Field::EthSrc)) {
            return Err(DropReason::SourceMac);
        }
        if packet.get(Field::VlanCount) == 3 {
            return Err(DropReason::MalformedVlan);
        }
        if packet.eth_type() == 0x0806 {
            if packet.l3() != L3::Ok {
                return Err(DropReason::MalformedL3);
            }
            if !allowed.iter().any(|&mac| mac == packet.mac(Field::ArpSha)) {
                return Err(DropReason::ArpSender);
            }
        }
        Ok(())
    }

    /// From the highest rank down, the first rule that the packet satisfies as far as it can be read.
    fn deciding_rule(&self, packet: &FlowKey) -> Result<&FlowRule, DropReason> {
        let mut rules: Vec<&FlowRule> = self.rules().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.rank()));
        for rule in rules {
            match judge(&rule.matches, packet) {
                Judgement::Matches => return Ok(rule),
                Judgement::Unreadable(reason) => return Err(reason),
                Judgement::Differs => {}
            }
        }
        Err(DropReason::NoRule)
    }

    fn may_leave(&self, ingress: PortId, plan: Vec<Action>) -> Result<Vec<Action>, DropReason> {
        let refusal = |egress: PortId| match self.port(egress) {
            _ if egress == ingress => Some(DropReason::OutputIngress),
            None => Some(DropReason::OutputUnconfigured),
            Some(port) if !port.enabled => Some(DropReason::OutputDisabled),
            Some(_) if !self.devices.contains(&egress) => Some(DropReason::OutputAbsent),
            Some(_) => None,
        };
        let mut left = Vec::new();
        let mut sure = 0;
        let mut first = None;
        for action in plan {
            if let Action::Output(egress) = action {
                if let Some(reason) = refusal(egress) {
                    first = first.or(Some(reason));
                    continue;
                }
                left.push(action);
                sure = left.len();
            } else {
                left.push(action);
            }
        }
        left.truncate(sure);
        match first {
            Some(reason) if left.is_empty() => Err(reason),
            _ => Ok(left),
        }
    }
}

enum Judgement {
    Matches,
    Differs,
    Unreadable(DropReason),
}

const L4_FIELDS: [Field; 3] = [Field::TcpFlags, Field::L4Src, Field::L4Dst];
const L3_FIELDS: [Field; 8] = [
    Field::IpFrag,
    Field::IpProto,
    Field::IpTos,
    Field::IpTtl,
    Field::IpSrc,
    Field::IpDst,
    Field::ArpSha,
    Field::ArpTha,
];

fn judge(rule: &Match, packet: &FlowKey) -> Judgement {
    let asks = |fields: &[Field]| fields.iter().any(|&field| rule.mask().get(field) != 0);
    let asks_l4 = asks(&L4_FIELDS) || asks(&[Field::L4]);
    let asks_l3 = asks_l4 || asks(&L3_FIELDS) || asks(&[Field::L3]);
    let asks_behind_tags = asks_l3 || asks(&[Field::EthType]);

    // What the packet has malformed, and which fields cannot be compared for it.
    let l3_unreadable = [&L3_FIELDS[..], &L4_FIELDS, &[Field::L3, Field::L4]].concat();
    let (unreadable, reason) = if packet.get(Field::VlanCount) == 3 && asks_behind_tags {
        ([&l3_unreadable[..], &[Field::EthType]].concat(), Some(DropReason::MalformedVlan))
    } else if packet.l3() == L3::Malformed && asks_l3 {
        (l3_unreadable, Some(DropReason::MalformedL3))
    } else if packet.l4() == L4::Malformed && asks_l4 {
        ([&L4_FIELDS[..], &[Field::L4]].concat(), Some(DropReason::MalformedL4))
    } else {
        (Vec::new(), None)
    };
    for &field in Field::ALL.iter().filter(|field| !unreadable.contains(field)) {
        if packet.get(field) & rule.mask().get(field) != rule.key().get(field) {
            return Judgement::Differs;
        }
    }
    // A rule that names fields of a header and not the header's state means a header that is whole.
    let means = |status: Field| rule.mask().get(status) == 0 && !unreadable.contains(&status);
    if asks_l3 && means(Field::L3) && packet.l3() != L3::Ok {
        return Judgement::Differs;
    }
    if asks_l4 && means(Field::L4) && packet.l4() != L4::Ok {
        return Judgement::Differs;
    }
    if let Some(reason) = reason {
        return Judgement::Unreadable(reason);
    }
    Judgement::Matches
}

/// The steps of a rule's list that change the packet, up to the last output or to what cannot be done.
fn run(actions: &[Action], packet: &FlowKey) -> Result<Vec<Action>, DropReason> {
    let Some(last) = actions.iter().rposition(is_output) else { return Err(DropReason::RuleDrop) };
    let arrived_tags = packet.get(Field::VlanCount);
    let mut tags = arrived_tags;
    let mut ttl = packet.get(Field::IpTtl);
    let mut plan: Vec<Action> = Vec::new();
    for action in &actions[..=last] {
        let ip = match packet.eth_type() {
            _ if arrived_tags == 3 => Err(DropReason::MalformedVlan),
            0x0800 | 0x86dd if packet.l3() == L3::Malformed => Err(DropReason::MalformedL3),
            0x0800 | 0x86dd => Ok(packet.l3() == L3::Ok),
            _ => Ok(false),
        };
        let does = match action {
            Action::Output(_) | Action::SetEthSrc(_) | Action::SetEthDst(_) => Ok(true),
            Action::PushVlan { .. } => {
                tags = (tags + 1).min(3);
                Ok(true)
            }
            Action::PopVlan if tags == 3 => Err(DropReason::MalformedVlan),
            Action::PopVlan if tags == 0 => Ok(false),
            Action::PopVlan => {
                tags -= 1;
                Ok(true)
            }
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) if arrived_tags == 3 => {
                Err(DropReason::MalformedVlan)
            }
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) => Ok(tags > 0),
            Action::SetIpSrc(address) | Action::SetIpDst(address) => ip.map(|ip| {
                let family = if address.is_ipv4() { 0x0800 } else { 0x86dd };
                ip && packet.eth_type() == family
            }),
            Action::SetIpDscp(_) => ip,
            Action::SetIpTtl(new) => ip.inspect(|&ip| {
                if ip {
                    ttl = u128::from(*new);
                }
            }),
            Action::DecIpTtl => match ip {
                Ok(true) if ttl <= 1 => Err(DropReason::TtlExpired),
                Ok(true) => {
                    ttl -= 1;
                    Ok(true)
                }
                other => other,
            },
            Action::SetL4Src(_) | Action::SetL4Dst(_) => match ip {
                Ok(true) if !matches!(packet.get(Field::IpProto), 6 | 17) => Ok(false),
                Ok(true) if packet.l4() == L4::Malformed => Err(DropReason::MalformedL4),
                Ok(true) => Ok(packet.l4() == L4::Ok),
                other => other,
            },
        };
        match does {
            Ok(true) => plan.push(*action),
            Ok(false) => {}
            Err(_) if plan.iter().any(is_output) => break,
            Err(reason) => return Err(reason),
        }
    }
    Ok(plan)
}

fn is_output(action: &Action) -> bool {
    matches!(action, Action::Output(_))
}
