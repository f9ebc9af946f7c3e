//! The capability table: every shape with every kind of action, tried on the card at start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nic_flow::action::{Flood, VXLAN_PORT, VxlanEncap};
use nic_flow::field::{L3, L4, TUNNELLED, Tunnel};
use nic_flow::key::ip_to_bits;
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, ActionList, Field, FlowKey, MacAddr, Match, PortId, Rule, Shape};
use nic_policy::Capability;
use nic_wire::{EtherType, IpProto};

use crate::sink::{Ports, Sink};

/// Tries them all, between an uplink and a port of the host. Without a port there is nothing to try.
pub fn probe(sink: &Sink) -> Vec<Capability> {
    let Some(between) = Between::of(sink.ports()) else { return Vec::new() };
    table(between, |rule| sink.validate(rule))
}

/// The ports of the rules that are tried.
#[derive(Debug, Clone, Copy)]
struct Between {
    /// Where the underlay network is: tunnels come from here and go there.
    uplink: PortId,
    /// Where the tenant is.
    tenant: PortId,
}

impl Between {
    /// An uplink and another port, where there are such.
    fn of(ports: &Ports) -> Option<Between> {
        let uplink = ports.iter().find(|port| port.is_uplink()).or_else(|| ports.iter().next())?;
        let others = || ports.iter().filter(|&port| port != uplink);
        let tenant = others().find(|port| !port.is_uplink()).or_else(|| others().next());
        Some(Between { uplink, tenant: tenant.unwrap_or(uplink) })
    }
}

/// The table that `validate` makes.
fn table(between: Between, mut validate: impl FnMut(&Rule) -> Result<(), Refusal>) -> Vec<Capability> {
    let mut rows = Vec::new();
    for &shape in Shape::ALL {
        for &action in ActionKind::ALL {
            for &ipv6 in families(shape, action) {
                let rule = sample(shape, action, ipv6, between);
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

/// Which IP versions make a difference: a shape that does not look at the EtherType is the same for both,
/// but outer headers are not.
fn families(shape: Shape, action: ActionKind) -> &'static [bool] {
    let looks_at_type = shape.mask().get(Field::EthType) != 0;
    if looks_at_type || action == ActionKind::EncapVxlan { &[false, true] } else { &[false] }
}

fn is_tunnelled(shape: Shape) -> bool {
    shape.mask().get(Field::Tunnel) != 0
}

/// A rule as the slow path would offer it: a packet's key cut to the shape, the action, one output.
/// Under a tunnel, what is rewritten is the frame that was taken out of it.
fn sample(shape: Shape, action: ActionKind, ipv6: bool, between: Between) -> Rule {
    let tagged = matches!(action, ActionKind::PopVlan | ActionKind::SetVlanVid | ActionKind::SetVlanPcp);
    let Between { uplink, tenant } = between;
    let mut key = frame(ipv6, tagged);
    let mut actions = Vec::new();
    let (from, mut to) = if is_tunnelled(shape) { (uplink, tenant) } else { (tenant, uplink) };
    if is_tunnelled(shape) {
        key = tunnel(key, ipv6);
        if !matches!(action, ActionKind::Output | ActionKind::DecapVxlan) {
            actions.push(Action::DecapVxlan);
        }
    }
    if action == ActionKind::EncapVxlan {
        to = uplink;
    }
    key.set(Field::InPort, from.bits().into());
    actions.extend(example(action, ipv6));
    actions.push(Action::Output(to));
    Rule { matches: Match::new(key, shape.mask()), actions: actions.into_iter().collect::<ActionList>() }
}

/// An address of the networks for documentation (RFC 5737, RFC 3849).
fn address(ipv6: bool, last: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, last).into()
    }
}

fn ip(key: FlowKey, ipv6: bool, proto: IpProto) -> FlowKey {
    let kind = if ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
    key.with(Field::EthType, kind.0.into())
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpSrc, ip_to_bits(address(ipv6, 1)))
        .with(Field::IpDst, ip_to_bits(address(ipv6, 2)))
        .with(Field::IpTtl, 64)
        .with(Field::IpTos, CONGESTED)
        .with(Field::IpProto, proto.0.into())
        .with(Field::L4, L4::Ok as u128)
        .with(Field::L4Src, 49152)
}

/// ECN's "congestion experienced" (RFC 3168 section 5): marked so inside and outside, a packet needs no
/// change when it leaves a tunnel.
const CONGESTED: u128 = 3;

/// A TCP packet.
fn frame(ipv6: bool, tagged: bool) -> FlowKey {
    let mut key =
        FlowKey::ZERO.with(Field::EthDst, 0x02_00_00_00_00_02).with(Field::EthSrc, 0x02_00_00_00_00_01);
    key = ip(key, ipv6, IpProto::TCP).with(Field::L4Dst, 80);
    if tagged {
        key = key
            .with(Field::VlanCount, 1)
            .with(Field::VlanTpid, EtherType::VLAN.0.into())
            .with(Field::VlanTci, 100);
    }
    key
}

/// A frame in a VXLAN packet.
fn tunnel(frame: FlowKey, ipv6: bool) -> FlowKey {
    let mut key =
        FlowKey::ZERO.with(Field::EthDst, 0x02_00_00_00_00_12).with(Field::EthSrc, 0x02_00_00_00_00_11);
    key = ip(key, ipv6, IpProto::UDP)
        .with(Field::L4Dst, VXLAN_PORT.into())
        .with(Field::Tunnel, Tunnel::Vxlan as u128)
        .with(Field::Vni, VNI.into());
    for &(plain, behind) in TUNNELLED {
        key.set(behind, frame.get(plain));
    }
    key
}

const VNI: u32 = 100;

/// An action of a kind; `None` for the output, which every rule has.
fn example(kind: ActionKind, ipv6: bool) -> Option<Action> {
    let mac = MacAddr([2, 0, 0, 0, 0, 3]);
    let ip = address(ipv6, 3);
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
        ActionKind::SetIpEcn => Action::SetIpEcn(1),
        ActionKind::EncapVxlan => Action::EncapVxlan(VxlanEncap {
            eth_dst: mac,
            eth_src: MacAddr([2, 0, 0, 0, 0, 4]),
            vlan: None,
            src: address(ipv6, 4),
            dst: ip,
            tos: 0,
            ttl: 64,
            vni: VNI,
        }),
        ActionKind::DecapVxlan => Action::DecapVxlan,
        ActionKind::Flood => Action::Flood(Flood { list: 0, from_tunnel: false }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encode;

    fn between() -> Between {
        Between { uplink: PortId::uplink(0).unwrap(), tenant: PortId::vf(0, 0).unwrap() }
    }

    #[test]
    fn the_encoder_alone_already_gives_a_reason_to_every_refusal_it_makes() {
        let device = |port: PortId| Some(dpdk::DevId::from_raw(port.bits()));
        let rows = table(between(), |rule| encode(rule, device).map(|_| ()));
        let refused = |shape, action, ipv6| {
            let row = rows.iter().find(|row| row.shape == shape && row.action == action && row.ipv6 == ipv6);
            row.unwrap().refused
        };
        assert_eq!(refused(Shape::Port, ActionKind::Output, false), None);
        assert_eq!(refused(Shape::FiveTuple, ActionKind::SetL4Dst, true), None);
        let action = |kind| Some(Refusal::Action(kind));
        assert_eq!(refused(Shape::L3Pair, ActionKind::SetL4Dst, false), action(ActionKind::SetL4Dst));
        let shape = Some(Refusal::Shape(Shape::FullKey));
        assert_eq!(refused(Shape::FullKey, ActionKind::Output, false), shape);
        assert_eq!(refused(Shape::Port, ActionKind::PopVlan, false), action(ActionKind::PopVlan));
        assert_eq!(refused(Shape::L2Pair, ActionKind::PopVlan, false), None);
        for &shape in &Shape::ALL[..Shape::FullKey.index()] {
            for ipv6 in [false, true] {
                assert_eq!(refused(shape, ActionKind::EncapVxlan, ipv6), None, "{shape}");
            }
            for never in [ActionKind::SetIpEcn, ActionKind::SetIpDscp, ActionKind::Flood] {
                assert_eq!(refused(shape, never, false), action(never), "{shape}");
            }
            let decap = if is_tunnelled(shape) { None } else { action(ActionKind::DecapVxlan) };
            assert_eq!(refused(shape, ActionKind::DecapVxlan, false), decap, "{shape}");
        }
        assert_eq!(refused(Shape::TunnelL2, ActionKind::PushVlan, true), None);
        assert_eq!(refused(Shape::TunnelEcn, ActionKind::SetIpDst, true), None);
    }

    #[test]
    fn a_tunnel_is_tried_between_the_uplink_and_the_tenant() {
        let Between { uplink, tenant } = between();
        let decap = sample(Shape::TunnelL2, ActionKind::DecapVxlan, false, between());
        assert_eq!(decap.matches.key().in_port(), uplink);
        assert_eq!(decap.actions[..], [Action::DecapVxlan, Action::Output(tenant)]);
        let encap = sample(Shape::L2Ecn, ActionKind::EncapVxlan, true, between());
        assert_eq!(encap.matches.key().in_port(), tenant);
        assert!(
            matches!(encap.actions[..], [Action::EncapVxlan(VxlanEncap { dst: IpAddr::V6(_), .. }), Action::Output(to)] if to == uplink)
        );
        let push = sample(Shape::TunnelEcn, ActionKind::PushVlan, false, between());
        assert_eq!(push.actions[..], [Action::DecapVxlan, Action::push_ctag(100), Action::Output(tenant)]);
    }

    #[test]
    fn ports_are_chosen_by_what_they_are() {
        let ports = |ports: &[PortId]| {
            let ports = ports.iter().map(|&port| (port, dpdk::DevId::from_raw(port.bits())));
            Between::of(&ports.collect()).map(|between| (between.uplink, between.tenant))
        };
        let [first, second] = [0, 1].map(|number| PortId::uplink(number).unwrap());
        let vf = PortId::vf(0, 0).unwrap();
        assert_eq!(ports(&[first, second, vf]), Some((first, vf)));
        assert_eq!(ports(&[first, second]), Some((first, second)));
        assert_eq!(ports(&[vf]), Some((vf, vf)));
        assert_eq!(ports(&[]), None);
    }

    #[test]
    fn each_shape_is_tried_with_each_action_once_a_family() {
        let rows = table(between(), |_| Ok(()));
        let mut seen: Vec<_> = rows.iter().map(|row| (row.shape, row.action, row.ipv6)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), rows.len());
        for &shape in Shape::ALL {
            for &action in ActionKind::ALL {
                let count = rows.iter().filter(|row| (row.shape, row.action) == (shape, action)).count();
                assert_eq!(count, families(shape, action).len(), "{shape} {}", action.name());
            }
        }
    }
}
