//! Single rules and packets, by hand.

use std::sync::Arc;

use nic_flow::{Action, ActionList, Counters, Field, Match, PortId};
use soft_eswitch::{
    ActionFault, CreateError, DropReason, Forwarder, NoPort, Profile, RuleFault, RuleHandle, Switch,
    SwitchConfig, SwitchRule, Unsent,
};

use crate::lab::{Frame, Outside, burst, switch, udp, vf};

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
