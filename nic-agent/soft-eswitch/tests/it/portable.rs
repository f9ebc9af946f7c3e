//! The portable profile: what it takes, and the item or action that it names when it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nic_flow::extract::extract;
use nic_flow::seam::ActionKind;
use nic_flow::{Action, Field, MacAddr, Match, PortId, Shape};
use proptest::prelude::*;
use soft_eswitch::{ActionFault, CreateError, FieldFault, Profile, RuleFault, SwitchRule};

use crate::lab::{encap, frame, switch, udp, vf, vxlan};

fn check(matches: Match, actions: &[Action]) -> Result<(), RuleFault> {
    let actions = actions.iter().copied().collect();
    match switch(Profile::Portable, 1).validate(&SwitchRule { priority: 0, matches, actions, count: true }) {
        Ok(()) => Ok(()),
        Err(CreateError::Unsupported(fault)) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

fn port() -> Match {
    Match::ANY.is(Field::InPort, vf(0).bits().into())
}

fn eth(ethertype: u128) -> Match {
    port().is(Field::VlanCount, 0).is(Field::EthType, ethertype)
}

fn ip(ethertype: u128) -> Match {
    eth(ethertype).is(Field::L3, 1)
}

fn ports(proto: u128) -> Match {
    ip(0x0800).is(Field::IpProto, proto).is(Field::L4, 1).is(Field::L4Src, 1).is(Field::L4Dst, 2)
}

fn tagged() -> Match {
    port().is(Field::VlanCount, 1).is(Field::VlanTpid, 0x8100).is(Field::VlanTci, 0x2005)
}

fn uplink() -> PortId {
    PortId::uplink(0).unwrap()
}

/// VXLAN that an uplink received, with all that may be said of it.
fn tunnel() -> Match {
    ports(17)
        .is(Field::InPort, uplink().bits().into())
        .is(Field::IpSrc, 1)
        .is(Field::IpDst, 2)
        .is(Field::L4Dst, 4789)
        .is(Field::Tunnel, 1)
        .is(Field::Vni, 7)
        .is(Field::TunEthSrc, 1)
        .is(Field::TunEthDst, 2)
        .is(Field::TunVlanCount, 0)
        .is(Field::TunEthType, 0x0800)
}

const DROP: &[Action] = &[];

fn out() -> Action {
    Action::Output(vf(1))
}

fn v4() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

#[test]
fn what_every_card_can_match_is_taken() {
    let v6 = ip(0x86dd).is(Field::IpProto, 6).is(Field::L4, 1);
    for matches in [
        port(),
        port().is(Field::EthDst, 1).is(Field::EthSrc, 2),
        eth(0x0806),
        tagged(),
        port().is(Field::VlanCount, 1).and(Field::VlanTci, 5, 0x0fff),
        ip(0x0800).and(Field::IpDst, 0x0a00_0000, 0xff00_0000),
        ip(0x0800).and(Field::IpDst, 0x0a00_0000, u128::MAX << 8),
        ip(0x86dd).and(Field::IpSrc, 0xfd << 120, u128::MAX << 64),
        ip(0x0800).is(Field::IpProto, 47).is(Field::L4, 0),
        ports(17),
        ports(6).is(Field::IpSrc, 1).is(Field::IpDst, 2),
        v6.is(Field::IpSrc, 1).is(Field::IpDst, 2).is(Field::L4Src, 1).is(Field::L4Dst, 2),
        ip(0x0800).and(Field::IpTos, 2, 3),
        ip(0x86dd).and(Field::IpTos, 0, 1),
        tunnel(),
        tunnel().and(Field::IpTos, 0, 1),
        ports(17).is(Field::Tunnel, 0),
        ports(6).is(Field::L4Dst, 4789).is(Field::Tunnel, 0),
    ] {
        assert_eq!(check(matches, &[out()]), Ok(()), "{matches:?}");
    }
}

#[test]
fn what_some_card_cannot_match_is_refused_by_field() {
    use FieldFault::{Mask, Missing, Needs, Unsupported, Value};
    for (matches, field, fault) in [
        (Match::ANY, Field::InPort, Missing),
        (Match::ANY.and(Field::InPort, vf(0).bits().into(), 0xff00), Field::InPort, Mask),
        (Match::ANY.is(Field::InPort, vf(7).bits().into()), Field::InPort, Value),
        (port().and(Field::EthDst, 1 << 40, 1 << 40), Field::EthDst, Mask),
        (port().is(Field::VlanCount, 2), Field::VlanCount, Value),
        (port().is(Field::VlanTci, 5), Field::VlanTci, Needs(Field::VlanCount)),
        (port().is(Field::VlanCount, 1).is(Field::VlanTpid, 0x88a8), Field::VlanTpid, Value),
        (port().is(Field::VlanCount, 1).and(Field::VlanTci, 1, 1), Field::VlanTci, Mask),
        (tagged().is(Field::InnerVlanTci, 1), Field::InnerVlanTci, Unsupported),
        (port().is(Field::L3, 1), Field::L3, Needs(Field::EthType)),
        (eth(0x0800).is(Field::L3, 2), Field::L3, Value),
        (ip(0x0806), Field::L3, Value),
        (eth(0x0800).is(Field::IpProto, 6), Field::IpProto, Needs(Field::L3)),
        (eth(0x0800).is(Field::IpSrc, 6), Field::IpSrc, Needs(Field::L3)),
        (ip(0x0800).and(Field::IpSrc, 1, 1), Field::IpSrc, Mask),
        (ip(0x86dd).and(Field::IpDst, 1, 1), Field::IpDst, Mask),
        (ip(0x0800).is(Field::IpTos, 0), Field::IpTos, Mask),
        (ip(0x0800).and(Field::IpTos, 0, 2), Field::IpTos, Mask),
        (eth(0x88cc).is(Field::L3, 0).and(Field::IpTos, 0, 3), Field::IpTos, Needs(Field::L3)),
        (port().is(Field::Tunnel, 1), Field::Tunnel, Needs(Field::L4)),
        (ports(17).is(Field::Tunnel, 1), Field::Tunnel, Value),
        (ports(6).is(Field::L4Dst, 4789).is(Field::Tunnel, 1), Field::Tunnel, Value),
        (tunnel().is(Field::Tunnel, 0), Field::Tunnel, Value),
        (tunnel().is(Field::Tunnel, 2), Field::Tunnel, Value),
        (ports(17).is(Field::Vni, 7), Field::Vni, Needs(Field::Tunnel)),
        (ports(17).is(Field::TunEthDst, 7), Field::TunEthDst, Needs(Field::Tunnel)),
        (ports(17).is(Field::TunVlanCount, 0), Field::TunVlanCount, Needs(Field::Tunnel)),
        (tunnel().is(Field::TunVlanCount, 1), Field::TunVlanCount, Value),
        (tunnel().is(Field::TunL3, 1), Field::TunL3, Unsupported),
        (tunnel().is(Field::TunIpDst, 1), Field::TunIpDst, Unsupported),
        (ip(0x0800).is(Field::IpTtl, 1), Field::IpTtl, Unsupported),
        (ip(0x0800).is(Field::IpFrag, 0), Field::IpFrag, Unsupported),
        (ip(0x0800).is(Field::L4, 1), Field::L4, Needs(Field::IpProto)),
        (ip(0x0800).is(Field::IpProto, 1).is(Field::L4, 1), Field::L4, Value),
        (ip(0x0800).is(Field::IpProto, 6).is(Field::L4, 3), Field::L4, Value),
        (ip(0x0800).is(Field::IpProto, 6).is(Field::L4Src, 3), Field::L4Src, Needs(Field::L4)),
        (ports(6).is(Field::TcpFlags, 2), Field::TcpFlags, Unsupported),
        (port().is(Field::ArpSha, 2), Field::ArpSha, Unsupported),
    ] {
        assert_eq!(check(matches, DROP), Err(RuleFault::Field { field, fault }), "{matches:?}");
    }
}

#[test]
fn what_every_card_can_do_is_taken() {
    let push = Action::push_ctag(0);
    for (matches, actions) in [
        (port(), vec![]),
        (port(), vec![out()]),
        (port(), vec![push, Action::SetVlanPcp(1), Action::SetVlanVid(5), out()]),
        (tagged(), vec![Action::PopVlan, out()]),
        (ip(0x86dd), vec![Action::DecIpTtl, out()]),
        (port(), vec![Action::EncapVxlan(encap(7)), Action::Output(uplink())]),
        (tagged(), vec![Action::PopVlan, Action::EncapVxlan(encap(7)), Action::Output(uplink())]),
        (tunnel(), vec![Action::DecapVxlan, out()]),
        (tunnel(), vec![Action::DecapVxlan, push, Action::SetVlanVid(5), out()]),
        (
            ports(17),
            vec![
                Action::SetIpSrc(v4()),
                Action::SetIpDst(v4()),
                Action::SetL4Src(1),
                Action::SetL4Dst(2),
                out(),
            ],
        ),
    ] {
        assert_eq!(check(matches, &actions), Ok(()), "{actions:?}");
    }
}

#[test]
fn what_some_card_cannot_do_is_refused_by_action() {
    use ActionFault::{
        AfterOutput, AfterTunnel, Needs, NoOutput, NotFirst, NotPushed, NotUplink, SecondOutput, SecondTag,
        SecondTunnel, Unsupported, Value,
    };
    let (encap, decap) = (Action::EncapVxlan(encap(7)), Action::DecapVxlan);
    let push = Action::push_ctag(0);
    let mac = MacAddr::from_u64(1);
    let v6 = Action::SetIpSrc(Ipv6Addr::LOCALHOST.into());
    for (matches, actions, index, fault) in [
        (port(), vec![out(), out()], 1, SecondOutput),
        (port(), vec![out(), push], 1, AfterOutput),
        (port(), vec![push], 0, NoOutput),
        (port(), vec![push, push, out()], 1, SecondTag),
        (tagged(), vec![Action::PopVlan, push, out()], 1, SecondTag),
        (port(), vec![Action::PushVlan { tpid: 0x88a8, tci: 0 }, out()], 0, Value),
        (port(), vec![Action::PopVlan, out()], 0, Needs(Field::VlanCount)),
        (tagged(), vec![Action::SetVlanVid(1), out()], 0, NotPushed),
        (ip(0x0800), vec![push, Action::DecIpTtl, Action::SetVlanPcp(1), out()], 2, NotPushed),
        (port(), vec![Action::SetEthSrc(mac), out()], 0, Unsupported),
        (port(), vec![Action::SetEthDst(mac), out()], 0, Unsupported),
        (ip(0x0800), vec![Action::SetIpDscp(1), out()], 0, Unsupported),
        (ip(0x0800), vec![Action::SetIpTtl(1), out()], 0, Unsupported),
        (ip(0x86dd), vec![v6, out()], 0, Value),
        (ip(0x86dd), vec![Action::SetIpDst(v4()), out()], 0, Needs(Field::L3)),
        (port(), vec![Action::DecIpTtl, out()], 0, Needs(Field::L3)),
        (ip(0x0800), vec![Action::SetL4Src(1), out()], 0, Needs(Field::L4)),
        (ip(0x0800), vec![Action::SetIpEcn(1), out()], 0, Unsupported),
        (port(), vec![encap, out()], 1, NotUplink),
        (port(), vec![encap], 0, NoOutput),
        (port(), vec![encap, push, Action::Output(uplink())], 1, AfterTunnel),
        (port(), vec![encap, encap, Action::Output(uplink())], 1, SecondTunnel),
        (tunnel(), vec![decap, encap, Action::Output(uplink())], 1, SecondTunnel),
        (tunnel(), vec![decap, Action::DecIpTtl, out()], 1, Needs(Field::L3)),
        (tunnel(), vec![decap, Action::SetL4Dst(1), out()], 1, Needs(Field::L4)),
        (tunnel(), vec![decap, Action::SetIpEcn(1), out()], 1, Unsupported),
        (tunnel(), vec![push, decap, out()], 1, NotFirst),
        (tunnel().is(Field::InPort, vf(0).bits().into()), vec![decap, out()], 0, Needs(Field::InPort)),
        (ports(17), vec![decap, out()], 0, Needs(Field::Tunnel)),
        (
            tunnel().is(Field::VlanCount, 1).is(Field::VlanTpid, 0x8100),
            vec![decap, Action::PopVlan, out()],
            1,
            Needs(Field::VlanCount),
        ),
    ] {
        let kind = ActionKind::from(&actions[index]);
        assert_eq!(check(matches, &actions), Err(RuleFault::Action { index, kind, fault }), "{actions:?}");
    }
}

#[test]
fn priorities_are_for_the_full_profile() {
    let rule = |priority| SwitchRule {
        priority,
        matches: port(),
        actions: [out()].into_iter().collect(),
        count: true,
    };
    let portable = switch(Profile::Portable, 1).validate(&rule(1));
    assert_eq!(portable, Err(CreateError::Unsupported(RuleFault::Priority { max: 0 })));
    assert_eq!(switch(Profile::Full, 1).validate(&rule(u32::MAX)), Ok(()));
}

#[test]
fn a_flow_of_every_shape_is_taken_but_of_those_for_software() {
    let plain = extract(&udp(1, 2), vf(0));
    let tunnelled = extract(&vxlan(7, &udp(1, 2)), vf(0));
    for &shape in Shape::ALL {
        let key = if shape.mask().get(Field::Tunnel) == 0 { plain } else { tunnelled };
        let taken = check(Match::new(key, shape.mask()), &[out()]).is_ok();
        assert_eq!(taken, !matches!(shape, Shape::FullKey | Shape::TunnelEcn), "{shape}");
    }
}

proptest! {
    #[test]
    fn a_flow_of_any_frame_is_taken_or_refused_for_a_field_of_its_shape(frame in frame(), shape in prop::sample::select(Shape::ALL)) {
        let matches = Match::new(extract(&frame, vf(0)), shape.mask());
        if let Err(fault) = check(matches, &[out()]) {
            let RuleFault::Field { field, .. } = fault else { panic!("{fault}") };
            prop_assert_ne!(shape.mask().get(field), 0);
        }
    }
}
