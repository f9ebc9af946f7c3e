//! Action lists as `rte_flow` actions: a counter, rewrites, one fate.

use std::net::IpAddr;

use dpdk::DevId;
use dpdk::flow::Action as FlowAction;
use nic_flow::action::outputs;
use nic_flow::field::{L3, L4};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, Field, Match, PortId, Rule};
use nic_wire::{EtherType, IpProto};

/// The drop eligible indicator of a VLAN tag; no action sets it.
const DEI: u16 = 0x1000;

/// The actions of a rule.
pub(super) fn encode(
    rule: &Rule,
    find: &impl Fn(PortId) -> Result<DevId, Refusal>,
) -> Result<Vec<FlowAction>, Refusal> {
    let mut encoded = vec![FlowAction::Count];
    let mut destinations = outputs(&rule.actions);
    let Some(port) = destinations.next() else {
        encoded.push(FlowAction::Drop);
        return Ok(encoded);
    };
    if destinations.next().is_some() {
        return Err(Refusal::ManyOutputs);
    }
    let known = Known::of(&rule.matches);
    for action in &rule.actions {
        if matches!(action, Action::Output(_)) {
            // What follows the only output changes a packet that is gone.
            break;
        }
        rewrite(action, &known, &mut encoded)?;
    }
    encoded.push(FlowAction::RepresentedPort(find(port)?));
    Ok(encoded)
}

/// What every packet of a match is sure to have. In the flow IR an action without a place in the packet
/// changes nothing; a card may do otherwise, so a rewrite is encoded only where its place is certain.
struct Known {
    tagged: bool,
    ipv4: bool,
    ipv6: bool,
    ports: bool,
}

impl Known {
    fn of(flow: &Match) -> Known {
        let value = |field: Field| {
            let exact = flow.mask().get(field) == field.max();
            exact.then(|| flow.key().get(field))
        };
        let whole = value(Field::L3) == Some(L3::Ok as u128);
        let kind = value(Field::EthType).map(|bits| EtherType(bits as u16));
        let proto = value(Field::IpProto).map(|bits| IpProto(bits as u8));
        Known {
            tagged: matches!(value(Field::VlanCount), Some(1..)),
            ipv4: whole && kind == Some(EtherType::IPV4),
            ipv6: whole && kind == Some(EtherType::IPV6),
            ports: value(Field::L4) == Some(L4::Ok as u128)
                && matches!(proto, Some(IpProto::TCP | IpProto::UDP)),
        }
    }
}

fn rewrite(action: &Action, known: &Known, encoded: &mut Vec<FlowAction>) -> Result<(), Refusal> {
    let refused = Err(Refusal::Action(ActionKind::from(action)));
    match *action {
        Action::PushVlan { tci, .. } if tci & DEI != 0 => return refused,
        Action::PushVlan { tpid, tci } => encoded.extend([
            FlowAction::OfPushVlan { ether_type: tpid },
            FlowAction::OfSetVlanVid(tci & 0x0fff),
            FlowAction::OfSetVlanPcp((tci >> 13) as u8),
        ]),
        Action::PopVlan if known.tagged => encoded.push(FlowAction::OfPopVlan),
        Action::SetVlanVid(vid) if known.tagged => encoded.push(FlowAction::OfSetVlanVid(vid)),
        Action::SetVlanPcp(pcp) if known.tagged => encoded.push(FlowAction::OfSetVlanPcp(pcp)),
        Action::SetEthSrc(mac) => encoded.push(FlowAction::SetMacSrc(mac.octets())),
        Action::SetEthDst(mac) => encoded.push(FlowAction::SetMacDst(mac.octets())),
        Action::SetIpSrc(IpAddr::V4(ip)) if known.ipv4 => encoded.push(FlowAction::SetIpv4Src(ip.octets())),
        Action::SetIpDst(IpAddr::V4(ip)) if known.ipv4 => encoded.push(FlowAction::SetIpv4Dst(ip.octets())),
        Action::SetIpSrc(IpAddr::V6(ip)) if known.ipv6 => encoded.push(FlowAction::SetIpv6Src(ip.octets())),
        Action::SetIpDst(IpAddr::V6(ip)) if known.ipv6 => encoded.push(FlowAction::SetIpv6Dst(ip.octets())),
        Action::SetIpTtl(ttl) if known.ipv4 || known.ipv6 => encoded.push(FlowAction::SetTtl(ttl)),
        Action::DecIpTtl if known.ipv4 || known.ipv6 => encoded.push(FlowAction::DecTtl),
        Action::SetL4Src(port) if known.ports => encoded.push(FlowAction::SetTpSrc(port)),
        Action::SetL4Dst(port) if known.ports => encoded.push(FlowAction::SetTpDst(port)),
        // Its place is not certain, or (the DSCP) no action of the portable minimum sets it.
        Action::Output(_)
        | Action::PopVlan
        | Action::SetVlanVid(_)
        | Action::SetVlanPcp(_)
        | Action::SetIpSrc(_)
        | Action::SetIpDst(_)
        | Action::SetIpDscp(_)
        | Action::SetIpTtl(_)
        | Action::DecIpTtl
        | Action::SetL4Src(_)
        | Action::SetL4Dst(_) => return refused,
    }
    Ok(())
}
