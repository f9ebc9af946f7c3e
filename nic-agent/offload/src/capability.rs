//! The capability table: every shape with every kind of action, tried on the card at start.

use std::net::{Ipv4Addr, Ipv6Addr};

use nic_flow::field::{L3, L4};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, ActionList, Field, FlowKey, MacAddr, Match, PortId, Rule, Shape};
use nic_policy::Capability;
use nic_wire::{EtherType, IpProto};

use crate::sink::Sink;

/// Tries them all. `from` and `to` are two ports that are there.
pub fn probe(sink: &Sink, from: PortId, to: PortId) -> Vec<Capability> {
    table(from, to, |rule| sink.validate(rule))
}

/// The table that `validate` makes.
fn table(
    from: PortId,
    to: PortId,
    mut validate: impl FnMut(&Rule) -> Result<(), Refusal>,
) -> Vec<Capability> {
    let mut rows = Vec::new();
    for &shape in Shape::ALL {
        // Shapes that do not look at the EtherType are the same for both families.
        let families: &[bool] = if looks_at_type(shape) { &[false, true] } else { &[false] };
        for &ipv6 in families {
            for &action in ActionKind::ALL {
                let rule = sample(shape, action, ipv6, from, to);
                // The slow path never offers this shape, whatever the card could do.
                let refused = match shape {
                    Shape::FullKey => Some(Refusal::Shape(shape)),
                    _ => validate(&rule).err(),
                };
                rows.push(Capability { shape, action, ipv6, refused });
            }
        }
    }
    rows
}

fn looks_at_type(shape: Shape) -> bool {
    shape.mask().get(Field::EthType) != 0
}

/// A rule as the slow path would offer it: a TCP packet's key cut to the shape, the action, one output.
fn sample(shape: Shape, action: ActionKind, ipv6: bool, from: PortId, to: PortId) -> Rule {
    let tagged = matches!(action, ActionKind::PopVlan | ActionKind::SetVlanVid | ActionKind::SetVlanPcp);
    let key = key(ipv6, tagged, from);
    let mut actions = ActionList::new();
    if let Some(rewrite) = example(action, ipv6) {
        // A list of two fits.
        let _ = actions.push(rewrite);
    }
    let _ = actions.push(Action::Output(to));
    Rule { matches: Match::new(key, shape.mask()), actions }
}

fn key(ipv6: bool, tagged: bool, from: PortId) -> FlowKey {
    let (kind, src, dst) = if ipv6 {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).to_bits();
        (EtherType::IPV6, address(1), address(2))
    } else {
        let address = |last| u128::from(Ipv4Addr::new(192, 0, 2, last).to_bits());
        (EtherType::IPV4, address(1), address(2))
    };
    let mut key = FlowKey::ZERO
        .with(Field::InPort, from.bits().into())
        .with(Field::EthDst, 0x02_00_00_00_00_02)
        .with(Field::EthSrc, 0x02_00_00_00_00_01)
        .with(Field::EthType, kind.0.into())
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpSrc, src)
        .with(Field::IpDst, dst)
        .with(Field::IpTtl, 64)
        .with(Field::IpProto, IpProto::TCP.0.into())
        .with(Field::L4, L4::Ok as u128)
        .with(Field::L4Src, 49152)
        .with(Field::L4Dst, 80);
    if tagged {
        key = key
            .with(Field::VlanCount, 1)
            .with(Field::VlanTpid, EtherType::VLAN.0.into())
            .with(Field::VlanTci, 100);
    }
    key
}

/// An action of a kind; `None` for the output, which every rule has.
fn example(kind: ActionKind, ipv6: bool) -> Option<Action> {
    let mac = MacAddr([2, 0, 0, 0, 0, 3]);
    let ip = if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 3).into()
    };
    Some(match kind {
        ActionKind::Output => return None,
        ActionKind::PushVlan => Action::push_ctag(100),
        ActionKind::PopVlan => Action::PopVlan,
        ActionKind::SetVlanVid => Action::SetVlanVid(200),
        ActionKind::SetVlanPcp => Action::SetVlanPcp(3),
        ActionKind::SetEthSrc => Action::SetEthSrc(mac),
        ActionKind::SetEthDst => Action::SetEthDst(mac),
        ActionKind::SetIpSrc => Action::SetIpSrc(ip),
        ActionKind::SetIpDst => Action::SetIpDst(ip),
        ActionKind::SetIpDscp => Action::SetIpDscp(46),
        ActionKind::SetIpTtl => Action::SetIpTtl(63),
        ActionKind::DecIpTtl => Action::DecIpTtl,
        ActionKind::SetL4Src => Action::SetL4Src(1024),
        ActionKind::SetL4Dst => Action::SetL4Dst(8080),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encode;

    fn ports() -> (PortId, PortId) {
        (PortId::vf(0, 0).unwrap(), PortId::uplink(0).unwrap())
    }

    #[test]
    fn the_encoder_alone_already_gives_a_reason_to_every_refusal_it_makes() {
        let (from, to) = ports();
        let rows =
            table(from, to, |rule| encode(rule, |port| Some(dpdk::DevId::from_raw(port.bits()))).map(|_| ()));
        let refused = |shape, action, ipv6| {
            let row = rows.iter().find(|row| row.shape == shape && row.action == action && row.ipv6 == ipv6);
            row.unwrap().refused
        };
        assert_eq!(refused(Shape::Port, ActionKind::Output, false), None);
        assert_eq!(refused(Shape::FiveTuple, ActionKind::SetL4Dst, true), None);
        let action = Some(Refusal::Action(ActionKind::SetL4Dst));
        assert_eq!(refused(Shape::L3Pair, ActionKind::SetL4Dst, false), action);
        let shape = Some(Refusal::Shape(Shape::FullKey));
        assert_eq!(refused(Shape::FullKey, ActionKind::Output, false), shape);
        let vlan = Some(Refusal::Action(ActionKind::PopVlan));
        assert_eq!(refused(Shape::Port, ActionKind::PopVlan, false), vlan);
        assert_eq!(refused(Shape::L2Pair, ActionKind::PopVlan, false), None);
    }

    #[test]
    fn each_shape_is_tried_with_each_action_once_a_family() {
        let (from, to) = ports();
        let rows = table(from, to, |_| Ok(()));
        let families = Shape::ALL.iter().map(|&shape| if looks_at_type(shape) { 2 } else { 1 });
        assert_eq!(rows.len(), families.sum::<usize>() * ActionKind::ALL.len());
    }
}
