//! Single rules and packets, by hand.

use std::sync::Arc;

use nic_flow::seam::ActionKind;
use nic_flow::{Action, ActionList, Counters, Field, Flood, Match, PortId, VxlanEncap, execute, extract};
use soft_eswitch::{
    ActionFault, CreateError, DropReason, Forwarder, NoPort, Profile, RuleFault, RuleHandle, Switch,
    SwitchConfig, SwitchRule, Unsent,
};

use crate::lab::{Frame, Outside, burst, encap, switch, udp, vf, vxlan};

fn to(ports: &[PortId]) -> ActionList {
    ports.iter().copied().map(Action::Output).collect()
}

fn rule(priority: u32, matches: Match, actions: ActionList) -> SwitchRule {
    SwitchRule { priority, matches, actions, count: true }
}

fn forward(forwarder: &mut Forwarder, frame: &[u8]) -> Outside {
    let mut outside = Outside::default();
    forwarder.forward(vf(0), &mut burst(&[Frame::new(8, frame)]), &mut outside).unwrap();
    outside
}

#[test]
fn a_lower_priority_number_wins_and_of_equals_the_older_rule() {
    let switch = Arc::new(switch(Profile::Full, 10));
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let port = |out| rule(0, Match::ANY.is(Field::L4Dst, 2), to(&[vf(out)]));
    let late = switch.create(vf(0), SwitchRule { priority: 1, ..port(0) }).unwrap();
    let older = switch.create(vf(0), SwitchRule { matches: Match::ANY, ..port(1) }).unwrap();
    let newer = switch.create(vf(0), port(0)).unwrap();
    assert_eq!(forward(&mut forwarder, &udp(1, 2)).sent, [(vf(1), udp(1, 2))]);
    switch.destroy(older).unwrap();
    assert_eq!(forward(&mut forwarder, &udp(1, 2)).sent, [(vf(0), udp(1, 2))]);
    let counted = |handle| switch.query(handle).unwrap().packets;
    assert_eq!((counted(newer), counted(late)), (1, 0));
}

#[test]
fn each_output_sends_the_packet_as_it_is_there() {
    let switch = Arc::new(switch(Profile::Full, 10));
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let actions = [Action::Output(vf(1)), Action::SetL4Dst(9), Action::Output(vf(0)), Action::PopVlan];
    switch.create(vf(0), rule(0, Match::ANY, actions.into_iter().collect())).unwrap();
    let sent = forward(&mut forwarder, &udp(1, 2)).sent;
    assert_eq!(sent, [(vf(1), udp(1, 2)), (vf(0), udp(1, 9))]);
}

#[test]
fn a_miss_goes_to_the_representor_of_the_port_it_entered() {
    let switch = Arc::new(switch(Profile::Full, 10));
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    switch.create(vf(0), rule(0, Match::ANY.is(Field::InPort, vf(1).bits().into()), to(&[vf(0)]))).unwrap();
    let outside = forward(&mut forwarder, &udp(1, 2));
    assert_eq!((outside.sent.len(), outside.missed), (0, vec![(vf(0), udp(1, 2))]));
    let stats = switch.stats(vf(0)).unwrap();
    assert_eq!((stats.received.packets, stats.misses.packets, stats.hits.packets), (1, 1, 0));
}

#[test]
fn a_packet_sent_on_a_representor_meets_no_rule() {
    let switch = switch(Profile::Full, 10);
    let handle = switch.create(vf(0), rule(0, Match::ANY, ActionList::new())).unwrap();
    let mut outside = Outside::default();
    switch.send_by_representor(vf(1), &mut burst(&[Frame::new(0, &udp(1, 2))]), &mut outside).unwrap();
    assert_eq!(outside.sent, [(vf(1), udp(1, 2))]);
    assert_eq!(switch.query(handle), Ok(Counters::default()));
}

#[test]
fn every_drop_has_its_reason() {
    let switch = Arc::new(switch(Profile::Full, 10));
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let on = |port, actions| rule(0, Match::ANY.is(Field::L4Dst, port), actions);
    switch.create(vf(0), on(1, ActionList::new())).unwrap();
    switch.create(vf(0), on(2, to(&[vf(1)]))).unwrap();
    switch.create(vf(0), on(3, to(&[vf(0), vf(1)]))).unwrap();
    let push = [Action::push_ctag(1), Action::Output(vf(1))];
    switch.create(vf(0), on(4, push.into_iter().collect())).unwrap();
    let tunnel = [Action::EncapVxlan(encap(7)), Action::Output(vf(1))];
    switch.create(vf(0), on(5, tunnel.into_iter().collect())).unwrap();
    let mut expected = [0; DropReason::COUNT];
    let mut case = |reason: DropReason, frame: &[u8], fault: Option<Unsent>| {
        let mut outside = Outside { faults: vec![fault], ..Outside::default() };
        forwarder.forward(vf(0), &mut burst(&[Frame::new(0, frame)]), &mut outside).unwrap();
        expected[reason.index()] += 1;
        assert_eq!(switch.stats(vf(0)).unwrap().drops, expected, "{reason}");
    };
    case(DropReason::Undersized, &udp(9, 9)[..13], None);
    case(DropReason::Rule, &udp(9, 1), None);
    case(DropReason::TransmitFull, &udp(9, 2), Some(Unsent::Full));
    case(DropReason::TransmitNoBuffer, &udp(9, 2), Some(Unsent::NoBuffer));
    case(DropReason::TransmitDown, &udp(9, 2), Some(Unsent::Down));
    case(DropReason::CopyNoBuffer, &udp(9, 3), Some(Unsent::NoBuffer));
    case(DropReason::NoHeadroom, &udp(9, 4), None);
    case(DropReason::TooLong, &[udp(9, 5), vec![0; 65_500]].concat(), None);
    case(DropReason::MissFull, &udp(9, 9), Some(Unsent::Full));
    case(DropReason::MissNoBuffer, &udp(9, 9), Some(Unsent::NoBuffer));
    case(DropReason::MissDown, &udp(9, 9), Some(Unsent::Down));
    assert!(expected.iter().all(|&count| count == 1), "a reason without a case");
}

#[test]
fn a_port_that_does_not_exist_takes_and_gives_nothing() {
    let switch = Arc::new(switch(Profile::Full, 10));
    let mut forwarder = Forwarder::new(switch.clone(), 64);
    let stranger = vf(7);
    let mut packets = burst(&[Frame::new(0, &udp(1, 2))]);
    let mut outside = Outside::default();
    assert_eq!(forwarder.forward(stranger, &mut packets, &mut outside), Err(NoPort(stranger)));
    assert_eq!(switch.send_by_representor(stranger, &mut packets, &mut outside), Err(NoPort(stranger)));
    assert_eq!((packets.len(), outside), (1, Outside::default()));
    assert_eq!(switch.stats(stranger), Err(NoPort(stranger)));
    let refused = switch.create(vf(0), rule(0, Match::ANY, to(&[vf(0), stranger]))).unwrap_err();
    let CreateError::Unsupported(RuleFault::Action { index, fault, .. }) = refused else {
        panic!("{refused}");
    };
    assert_eq!((index, fault), (1, ActionFault::NoPort(stranger)));
}

/// Uplink and VF, joined by a tunnel with VNI 7, as an overlay bridge would.
fn joined(profile: Profile) -> Arc<Switch> {
    let switch = Arc::new(switch(profile, 10));
    let from = |port: PortId| Match::ANY.is(Field::InPort, port.bits().into());
    let uplink = PortId::uplink(0).unwrap();
    let into = [Action::EncapVxlan(encap(7)), Action::Output(uplink)];
    switch.create(uplink, rule(0, from(vf(0)), into.into_iter().collect())).unwrap();
    let tunnel = from(uplink)
        .is(Field::VlanCount, 0)
        .is(Field::EthType, 0x0800)
        .is(Field::L3, 1)
        .is(Field::IpProto, 17)
        .is(Field::L4, 1)
        .is(Field::L4Dst, 4789)
        .is(Field::Tunnel, 1)
        .is(Field::Vni, 7)
        .is(Field::TunEthDst, 0x0200_0000_0002);
    let out_of = [Action::DecapVxlan, Action::Output(vf(0))];
    switch.create(uplink, rule(0, tunnel, out_of.into_iter().collect())).unwrap();
    switch
}

#[test]
fn frames_go_into_tunnels_and_come_out_of_them() {
    let uplink = PortId::uplink(0).unwrap();
    for profile in [Profile::Full, Profile::Portable] {
        let mut forwarder = Forwarder::new(joined(profile), 64);
        let mut pass = |port: PortId, frame: &[u8]| {
            let mut outside = Outside::default();
            forwarder.forward(port, &mut burst(&[Frame::new(54, frame)]), &mut outside).unwrap();
            outside
        };
        let inside = pass(vf(0), &udp(1, 2)).sent;
        assert_eq!((inside.len(), inside[0].0, inside[0].1.len()), (1, uplink, udp(1, 2).len() + 50));
        assert_eq!(extract::tunnelled(&inside[0].1), Some(&udp(1, 2)[..]));
        assert_eq!(pass(uplink, &vxlan(7, &udp(1, 2))).sent, [(vf(0), udp(1, 2))]);
        let source_port = u16::from_be_bytes([inside[0].1[34], inside[0].1[35]]);
        assert_eq!(source_port, execute::entropy(&udp(1, 2)));
    }
}

#[test]
fn only_whole_packets_of_the_tunnel_come_out_of_it() {
    let uplink = PortId::uplink(0).unwrap();
    let good = vxlan(7, &udp(1, 2));
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    for (name, frame) in [
        ("another VNI", vxlan(8, &udp(1, 2))),
        ("another inner destination", changed(50 + 5, 9)),
        ("no valid VNI", changed(42, 0)),
        ("first fragment", changed(20, 0x20)),
        ("later fragment", changed(21, 1)),
        ("another port", changed(37, 0xb6)),
        ("UDP shorter than the headers in it", changed(39, 29)),
        ("IP length past the frame", changed(16, 9)),
        ("no Ethernet header in it", vxlan(7, &udp(1, 2)[..13])),
        ("nothing in it", vxlan(7, &[])),
        ("no tunnel", udp(1, 2)),
    ] {
        for profile in [Profile::Full, Profile::Portable] {
            let mut outside = Outside::default();
            let mut forwarder = Forwarder::new(joined(profile), 64);
            forwarder.forward(uplink, &mut burst(&[Frame::new(0, &frame)]), &mut outside).unwrap();
            assert_eq!(outside.missed, [(uplink, frame.clone())], "{name}");
        }
    }
}

#[test]
fn what_no_switch_does_with_tunnels_is_refused() {
    let tunnel = Match::ANY.is(Field::Tunnel, 1);
    let v6 = [0xfd; 16].into();
    for (matches, actions, index, fault) in [
        (tunnel, vec![Action::Flood(Flood { list: 1, from_tunnel: false })], 0, ActionFault::Unsupported),
        (tunnel, vec![Action::EncapVxlan(VxlanEncap { dst: v6, ..encap(7) })], 0, ActionFault::Value),
        (tunnel, vec![Action::EncapVxlan(encap(1 << 24))], 0, ActionFault::Value),
        (tunnel, vec![Action::DecapVxlan, Action::DecapVxlan], 1, ActionFault::Needs(Field::Tunnel)),
        (tunnel, vec![Action::SetL4Dst(1), Action::DecapVxlan], 1, ActionFault::Needs(Field::Tunnel)),
        (Match::ANY, vec![Action::DecapVxlan], 0, ActionFault::Needs(Field::Tunnel)),
        (Match::ANY.is(Field::Tunnel, 2), vec![Action::DecapVxlan], 0, ActionFault::Needs(Field::Tunnel)),
        (Match::ANY.and(Field::Tunnel, 1, 1), vec![Action::DecapVxlan], 0, ActionFault::Needs(Field::Tunnel)),
    ] {
        let kind = ActionKind::from(&actions[index]);
        let refused = switch(Profile::Full, 1).validate(&rule(0, matches, actions.into_iter().collect()));
        assert_eq!(refused, Err(CreateError::Unsupported(RuleFault::Action { index, kind, fault })));
    }
    let encap_again = [Action::EncapVxlan(encap(7)), Action::DecapVxlan, Action::DecapVxlan];
    assert_eq!(
        switch(Profile::Full, 1).validate(&rule(0, tunnel, encap_again.into_iter().collect())),
        Ok(())
    );
}

#[test]
fn any_number_for_a_handle_is_safe() {
    let switch = switch(Profile::Full, 10);
    let handle = switch.create(vf(0), rule(0, Match::ANY, ActionList::new())).unwrap();
    for bits in [0, 1, u64::MAX, handle.to_bits() + 1, handle.to_bits() ^ (1 << 63)] {
        assert!(switch.destroy(RuleHandle::from_bits(bits)).is_err(), "{bits:#x}");
    }
    assert!(switch.destroy(RuleHandle::from_bits(handle.to_bits())).is_ok());
}

#[test]
fn ports_named_twice_count_once_and_come_in_order() {
    let ports = vec![vf(1), vf(0), vf(1)];
    let switch = Switch::new(SwitchConfig { profile: Profile::Full, ports, max_rules: 1, seed: 0 });
    assert!(switch.ports().eq([vf(0), vf(1)]));
}
