//! Action lists as `rte_flow` actions: a counter, decapsulation, rewrites, encapsulation, one fate.

use std::net::IpAddr;

use dpdk::DevId;
use dpdk::flow::{Action as FlowAction, Addresses, VxlanEncap as FlowEncap};
use nic_flow::action::{Destination, VxlanEncap};
use nic_flow::field::{L3, L4, TUNNELLED, Tunnel};
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
    let mut port = None;
    for destination in rule.actions.iter().filter_map(Action::destination) {
        match (destination, port) {
            (Destination::Flood(_), _) => return Err(Refusal::Action(ActionKind::Flood)),
            (Destination::Port(_), Some(_)) => return Err(Refusal::ManyOutputs),
            (Destination::Port(first), None) => port = Some(first),
        }
    }
    let Some(port) = port else {
        encoded.push(FlowAction::Drop);
        return Ok(encoded);
    };
    let mut known = Known::of(&rule.matches, false);
    // What follows the only output changes a packet that is gone.
    let before = rule.actions.iter().take_while(|action| action.destination().is_none());
    for (index, action) in before.enumerate() {
        let refused = Refusal::Action(ActionKind::from(action));
        match action {
            // Cards take the outer headers off before all else, and put them on after all else.
            Action::DecapVxlan if index == 0 && known.tunnel => {
                encoded.push(FlowAction::VxlanDecap);
                known = Known::of(&rule.matches, true);
            }
            _ if known.encapsulated => return Err(refused),
            Action::EncapVxlan(encap) => {
                encoded.push(FlowAction::VxlanEncap(outer(encap).ok_or(refused)?));
                known.encapsulated = true;
            }
            _ => rewrite(action, &known, &mut encoded)?,
        }
    }
    encoded.push(FlowAction::RepresentedPort(find(port)?));
    Ok(encoded)
}

/// What every packet of a match is sure to have at a step. In the flow IR an action without a place in
/// the packet changes nothing; a card may do otherwise, so a rewrite is encoded only where its place is
/// certain.
struct Known {
    tagged: bool,
    ipv4: bool,
    ipv6: bool,
    ports: bool,
    /// A VXLAN packet.
    tunnel: bool,
    /// A packet that this rule has put into a tunnel.
    encapsulated: bool,
}

impl Known {
    /// What is known of the packets of a match, or of the frames in their tunnel.
    fn of(flow: &Match, inside: bool) -> Known {
        let value = |field: Field| {
            let behind = TUNNELLED.iter().find(|(plain, _)| inside && *plain == field);
            let field = behind.map_or(field, |&(_, tunnelled)| tunnelled);
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
            // A tunnel in a tunnel is in no match.
            tunnel: !inside && value(Field::Tunnel) == Some(Tunnel::Vxlan as u128),
            encapsulated: false,
        }
    }
}

/// The outer headers; `None` if their addresses are of two families.
fn outer(encap: &VxlanEncap) -> Option<FlowEncap> {
    let ip = match (encap.src, encap.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Addresses::V4 { src: src.octets(), dst: dst.octets() },
        (IpAddr::V6(src), IpAddr::V6(dst)) => Addresses::V6 { src: src.octets(), dst: dst.octets() },
        _ => return None,
    };
    Some(FlowEncap {
        eth_dst: encap.eth_dst.octets(),
        eth_src: encap.eth_src.octets(),
        vlan: encap.vlan,
        ip,
        tos: encap.tos,
        ttl: encap.ttl,
        vni: encap.vni,
    })
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
        // Its place is not certain, or (DSCP and ECN) no action of the portable minimum sets it.
        Action::Output(_)
        | Action::Flood(_)
        | Action::DecapVxlan
        | Action::EncapVxlan(_)
        | Action::SetIpEcn(_)
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
