//! What the portable card says that it can do, asked as nic-datapath asks.

use std::collections::BTreeMap;

use nic_flow::field::{L3, L4};
use nic_flow::seam::{ActionKind, Refusal, RuleSink};
use nic_flow::{Action, ActionList, Field, FlowKey, Match, Rule, Shape};
use nic_offload::capability;

use super::rig::{Rig, port};

/// A packet of ICMP over IPv4 from the VF.
fn ping() -> FlowKey {
    FlowKey::ZERO
        .with(Field::InPort, port("pf0vf0").bits().into())
        .with(Field::EthDst, 0x02_00_00_00_00_02)
        .with(Field::EthSrc, 0x02_00_00_00_00_01)
        .with(Field::EthType, 0x0800)
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpProto, 1)
        .with(Field::IpSrc, 0x0a00_0001)
        .with(Field::IpDst, 0x0a00_0002)
        .with(Field::IpTtl, 64)
        .with(Field::L4, L4::Ok as u128)
        .with(Field::L4Src, 8)
}

#[test]
fn the_portable_card_can_do_what_every_supported_card_can() {
    let mut rig = Rig::new("net_eswitch2");
    let (from, to) = (port("pf0vf0"), port("p0"));
    let mut table = BTreeMap::new();
    for row in capability::probe(&rig.sink) {
        let family = if row.ipv6 { "IPv6" } else { "IPv4" };
        let says = row.refused.map_or_else(|| "yes".to_owned(), |refusal| format!("no: {refusal}"));
        println!("{:18} {family} {:13} {says}", row.shape.name(), row.action.name());
        table.insert((row.shape, row.action, row.ipv6), row.refused);
    }
    let can = |shape, action, ipv6| table[&(shape, action, ipv6)].is_none();
    for &shape in &Shape::ALL[..Shape::FullKey.index()] {
        for never in [ActionKind::SetIpEcn, ActionKind::SetIpDscp, ActionKind::Flood] {
            assert_eq!(table[&(shape, never, false)], Some(Refusal::Action(never)), "{shape}");
        }
        if shape == Shape::TunnelEcn {
            // Not all cards match an IP header in a tunnel: item 6.
            for kind in [ActionKind::Output, ActionKind::DecapVxlan] {
                let refused = table[&(shape, kind, false)];
                assert!(matches!(refused, Some(Refusal::DriverItem { index: 6, .. })), "{refused:?}");
            }
            continue;
        }
        assert!(can(shape, ActionKind::Output, false), "{shape}");
        assert!(can(shape, ActionKind::PushVlan, false), "{shape}");
        assert!(!can(shape, ActionKind::SetEthSrc, false), "{shape}");
        assert!(!can(shape, ActionKind::SetEthDst, false), "{shape}");
        // Tunnels: out of the uplink and into it, never both in one rule.
        let tunnelled = shape == Shape::TunnelL2;
        for ipv6 in [false, true] {
            assert_eq!(can(shape, ActionKind::EncapVxlan, ipv6), !tunnelled, "{shape}");
        }
        let certain = (!tunnelled).then_some(Refusal::Action(ActionKind::DecapVxlan));
        assert_eq!(table[&(shape, ActionKind::DecapVxlan, false)], certain, "no tunnel is certain elsewhere");
    }
    for kind in [ActionKind::Output, ActionKind::DecapVxlan, ActionKind::PushVlan] {
        assert!(can(Shape::TunnelL2, kind, true), "{}", kind.name());
    }
    for ipv6 in [false, true] {
        for shape in [Shape::L2Ecn, Shape::L3Pair, Shape::L3Protocol, Shape::FiveTuple, Shape::FiveTupleEcn] {
            assert!(can(shape, ActionKind::Output, ipv6), "{shape}");
            assert!(can(shape, ActionKind::DecIpTtl, ipv6), "{shape}");
            assert!(can(shape, ActionKind::PopVlan, ipv6), "{shape}");
        }
        for action in [ActionKind::SetL4Src, ActionKind::SetL4Dst] {
            assert!(can(Shape::FiveTuple, action, ipv6));
            assert!(can(Shape::FiveTupleEcn, action, ipv6));
            let certain = Some(Refusal::Action(action));
            assert_eq!(table[&(Shape::L3Protocol, action, ipv6)], certain, "no port is certain there");
        }
        for action in [ActionKind::SetIpSrc, ActionKind::SetIpDst] {
            assert_eq!(can(Shape::FiveTuple, action, ipv6), !ipv6, "no card rewrites IPv6 for all");
        }
        let software = Some(Refusal::Shape(Shape::FullKey));
        assert_eq!(table[&(Shape::FullKey, ActionKind::Output, ipv6)], software);
    }

    let forward: ActionList = [Action::Output(to)].into_iter().collect();
    let rule = |shape: Shape, actions| Rule { matches: Match::new(ping(), shape.mask()), actions };
    assert_eq!(rig.sink.validate(&rule(Shape::L3Protocol, forward.clone())), Ok(()));
    // Types and codes of ICMP are not matched by all cards.
    let refused = rig.sink.validate(&rule(Shape::FiveTuple, forward)).unwrap_err();
    assert!(matches!(refused, Refusal::DriverItem { .. }), "{refused}");
    let twice: ActionList = [Action::Output(to), Action::Output(from)].into_iter().collect();
    assert_eq!(rig.sink.create(&rule(Shape::L3Protocol, twice)).unwrap_err(), Refusal::ManyOutputs);
}
