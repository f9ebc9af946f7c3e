//! Flow rules, one by one.

use nic_flow::field::{Field, L3, L4, Tunnel};
use nic_flow::{Action, FlowKey, Match};
use nic_policy::{DropReason, FlowRule};

use super::Policy;

impl Policy {
    /// From the highest rank down, the first rule that the packet satisfies as far as it can be read.
    pub(super) fn deciding_rule(&self, packet: &FlowKey) -> Result<Option<&FlowRule>, DropReason> {
        let mut rules: Vec<&FlowRule> = self.rules().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.rank()));
        for rule in rules {
            match judge(&rule.matches, packet) {
                Judgement::Matches => return Ok(Some(rule)),
                Judgement::Unreadable(reason) => return Err(reason),
                Judgement::Differs => {}
            }
        }
        Ok(None)
    }
}

enum Judgement {
    Matches,
    Differs,
    Unreadable(DropReason),
}

/// How far into a packet one must read for a field.
fn depth(field: Field) -> u32 {
    let (name, tunnelled) = match field.name().strip_prefix("tun_") {
        Some(name) => (name, 6),
        None => (field.name(), 0),
    };
    match name {
        "in_port" => 0,
        "tunnel" | "vni" => 6,
        "eth_src" | "eth_dst" | "vlan_count" | "vlan_tpid" | "vlan_tci" | "inner_vlan_tpid"
        | "inner_vlan_tci" => 1 + tunnelled,
        "eth_type" => 2 + tunnelled,
        "l4" | "l4_src" | "l4_dst" | "tcp_flags" => 4 + tunnelled,
        _ => 3 + tunnelled,
    }
}

fn judge(rule: &Match, packet: &FlowKey) -> Judgement {
    let asked = |field: &&Field| rule.mask().get(**field) != 0;
    let deepest = Field::ALL.iter().filter(asked).map(|&field| depth(field)).max().unwrap_or(0);

    // The first thing in the packet that keeps one from reading what the rule asks.
    let obstacles = [
        (2, packet.get(Field::VlanCount) == 3, DropReason::MalformedVlan),
        (3, packet.l3() == L3::Malformed, DropReason::MalformedL3),
        (4, packet.l4() == L4::Malformed, DropReason::MalformedL4),
        (8, packet.get(Field::TunVlanCount) == 3, DropReason::MalformedVlan),
        (9, L3::from_bits(packet.get(Field::TunL3)) == L3::Malformed, DropReason::MalformedL3),
        (10, L4::from_bits(packet.get(Field::TunL4)) == L4::Malformed, DropReason::MalformedL4),
    ];
    let obstacle = obstacles.into_iter().find(|&(at, there, _)| there && at <= deepest);
    let end = obstacle.map_or(u32::MAX, |(at, ..)| at);
    for &field in Field::ALL.iter().filter(|&&field| depth(field) < end) {
        if packet.get(field) & rule.mask().get(field) != rule.key().get(field) {
            return Judgement::Differs;
        }
    }
    // A rule that names fields of a header and not the header's state means a header that is whole.
    let states = [
        (Field::L3, L3::Ok as u128),
        (Field::L4, L4::Ok as u128),
        (Field::Tunnel, Tunnel::Vxlan as u128),
        (Field::TunL3, L3::Ok as u128),
        (Field::TunL4, L4::Ok as u128),
    ];
    for (state, whole) in states {
        let asks = depth(state) <= deepest && depth(state) < end;
        if asks && rule.mask().get(state) == 0 && packet.get(state) != whole {
            return Judgement::Differs;
        }
    }
    match obstacle {
        Some((.., reason)) => Judgement::Unreadable(reason),
        None => Judgement::Matches,
    }
}

/// The steps of a rule's list that change the packet, up to the last output or to what cannot be done.
pub(super) fn run(actions: &[Action], packet: &FlowKey) -> Result<Vec<Action>, DropReason> {
    let Some(last) = actions.iter().rposition(is_output) else {
        return Err(DropReason::RuleDrop);
    };
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
            Action::SetIpDscp(_) | Action::SetIpEcn(_) => ip,
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
            Action::EncapVxlan(_) | Action::DecapVxlan | Action::Flood(_) => {
                unreachable!("no flow rule has {action}")
            }
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
