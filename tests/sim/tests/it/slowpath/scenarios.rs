//! Short stories, told step by step with every counter.

use std::time::Duration;

use nic_flow::field::{Field, L3, L4};
use nic_flow::seam::Refusal;
use nic_flow::{Action, ActionList, Counters, FlowKey, Match, PortId, Shape};
use nic_pipeline::Touched;
use nic_policy::capability::SoftwareReason;
use nic_policy::stats::{PortStats, StageStats, Stats};
use nic_policy::{
    Attachment, Change, Delta, DropReason, FlowRule, FlowRuleId, Object, ObjectId, Offload, Port, Revision,
    Stage,
};
use nic_slowpath::{Config, FlowView, InstallerConfig};
use sim::frame;

use super::world::World;

pub(crate) const UPLINK: PortId = PortId::from_bits(0);
pub(crate) const VF0: PortId = PortId::from_bits(0x8000);
pub(crate) const VF1: PortId = PortId::from_bits(0x8001);
pub(crate) const PORTS: [PortId; 3] = [UPLINK, VF0, VF1];

pub(crate) fn open(id: PortId) -> Change {
    Change::Put(Object::Port(Port {
        id,
        enabled: true,
        source_macs: None,
        bridges: Attachment::default(),
        learning: true,
        mac_limit: 0,
        flood_budget: 0,
    }))
}

pub(crate) fn rule(id: u64, matches: Match, actions: &[Action]) -> Change {
    let actions: ActionList = actions.iter().copied().collect();
    Change::Put(Object::FlowRule(FlowRule { id: FlowRuleId(id), priority: 10, matches, actions }))
}

pub(crate) fn from(port: PortId) -> Match {
    Match::ANY.is(Field::InPort, port.bits().into())
}

/// From a port to an IPv4 network of 24 bits.
pub(crate) fn to_network(port: PortId, network: u32) -> Match {
    from(port).is(Field::VlanCount, 0).is(Field::EthType, 0x0800).is(Field::L3, L3::Ok as u128).and(
        Field::IpDst,
        network.into(),
        0xffff_ff00,
    )
}

/// A UDP packet; frames built from it are 68 octets long.
pub(crate) fn udp(port: PortId, source: u32, destination: u32, source_port: u16) -> FlowKey {
    FlowKey::ZERO
        .with(Field::InPort, port.bits().into())
        .with(Field::EthDst, 0x02_00_00_00_00_01)
        .with(Field::EthSrc, 0x02_00_00_00_00_02)
        .with(Field::EthType, 0x0800)
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpSrc, source.into())
        .with(Field::IpDst, destination.into())
        .with(Field::IpTtl, 64)
        .with(Field::IpProto, 17)
        .with(Field::L4, L4::Ok as u128)
        .with(Field::L4Src, source_port.into())
        .with(Field::L4Dst, 53)
}

const LEN: u64 = 68;

/// A world with open ports and these rules, published as revision 1.
pub(crate) fn world(config: Config, rules: &[Change]) -> World {
    let mut world = World::new(&PORTS, config, InstallerConfig::default());
    let changes = PORTS.into_iter().map(open).chain(rules.iter().cloned()).collect();
    world.publish(&Delta { revision: Revision(1), replace_all: true, changes }, &PORTS);
    world
}

pub(crate) fn change(world: &mut World, changes: &[Change]) {
    let revision = Revision(world.revision() + 1);
    world.publish(&Delta { revision, replace_all: false, changes: changes.to_vec() }, &PORTS);
}

pub(crate) fn only_flow(world: &World) -> FlowView {
    let flows: Vec<_> = world.worker.flows().collect();
    assert_eq!(flows.len(), 1, "{flows:#?}");
    flows[0].clone()
}

fn packets(packets: u64) -> Counters {
    Counters { packets, bytes: packets * LEN }
}

fn no_port(port: PortId) -> PortStats {
    PortStats { present: true, ..PortStats::new(port) }
}

fn stats() -> Stats {
    Stats { ports: PORTS.into_iter().map(no_port).collect(), ..Stats::default() }
}

fn all_passed(upcalls: u64) -> [StageStats; Stage::COUNT] {
    [StageStats { passed: upcalls, ..StageStats::default() }; Stage::COUNT]
}

const NET1: u32 = 0x0a0a_0100;

#[test]
fn the_first_packet_is_translated_the_second_hits_the_cache_the_others_the_card() {
    let mut world = world(Config::default(), &[rule(1, from(VF0), &[Action::Output(UPLINK)])]);
    let packet = udp(VF0, 1, NET1, 1000);
    let mut expected = stats();
    assert_eq!(world.worker.stats(), expected);
    assert_eq!(world.worker.applied(), Revision(1));

    // The first: an upcall.
    assert!(!world.enter(&packet));
    let polled = world.poll();
    assert_eq!((polled.packets, polled.upcalls), (1, 1));
    expected.ports[1].slow_path = packets(1);
    expected.ports[1].upcalls = 1;
    expected.ports[0].sent = packets(1);
    expected.stages = all_passed(1);
    expected.flows = 1;
    expected.ports[1].flows = 1;
    assert_eq!(world.worker.stats(), expected);
    let flow = only_flow(&world);
    assert_eq!((flow.shape, flow.offload), (Shape::Port, Offload::Pending));
    assert_eq!((flow.software, flow.hardware), (packets(1), packets(0)));

    // The second comes before the rule is there: a hit.
    assert!(!world.enter(&packet));
    let polled = world.poll();
    assert_eq!((polled.packets, polled.upcalls), (1, 0));
    expected.ports[1].slow_path = packets(2);
    expected.ports[1].cache_hits = 1;
    expected.ports[0].sent = packets(2);
    assert_eq!(world.worker.stats(), expected);

    // The offload thread installs the rule.
    world.settle();
    expected.rules_created = 1;
    expected.flows_in_hardware = 1;
    expected.ports[1].rules = 1;
    assert_eq!(world.worker.stats(), expected);
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
    assert_eq!(world.card.rules().len(), 1);

    // From now on the slow path sees nothing, and the counters come back.
    for _ in 0..100 {
        assert!(world.enter(&packet));
    }
    assert_eq!(world.poll().packets, 0);
    assert_eq!(world.worker.stats(), expected);
    world.pass(Duration::from_secs(1));
    world.settle();
    expected.ports[1].hardware = packets(100);
    assert_eq!(world.worker.stats(), expected);
    let flow = only_flow(&world);
    assert_eq!((flow.software, flow.hardware), (packets(2), packets(100)));
    assert_eq!((flow.age, flow.idle), (Duration::from_secs(1), Duration::ZERO));
    assert_eq!(world.worker.counters().lost_rule_hits, 0);
    world.end();
}

#[test]
fn a_changed_rule_enters_the_card_only_after_the_stale_one_left_it() {
    let mut world = world(Config::default(), &[rule(1, from(VF0), &[Action::Output(UPLINK)])]);
    let packet = udp(VF0, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    world.settle();
    assert!(world.enter(&packet));
    let before = only_flow(&world);

    change(&mut world, &[rule(1, from(VF0), &[Action::Output(VF1)])]);
    // Translated again at once, but the card still forwards by the old rule.
    let flow = only_flow(&world);
    assert_ne!(flow.id, before.id);
    assert_eq!(flow.actions, [Action::Output(VF1)]);
    assert_eq!(flow.offload, Offload::Software(SoftwareReason::Overlap));
    assert_eq!(world.worker.applied(), Revision(1));
    let mut expected = stats();
    expected.ports[1] = PortStats { slow_path: packets(1), upcalls: 1, flows: 1, ..no_port(VF0) };
    expected.ports[0].sent = packets(1);
    expected.stages = all_passed(1);
    (expected.flows, expected.rules_created, expected.revalidated) = (1, 1, 1);
    assert_eq!(world.worker.stats(), expected);

    // A packet that comes to the slow path goes by the new policy.
    world.card.miss(VF0, &frame::build(&packet, 1));
    world.poll();
    expected.ports[1].slow_path = packets(2);
    expected.ports[1].cache_hits = 1;
    expected.ports[2].sent = packets(1);
    assert_eq!(world.worker.stats(), expected);

    // One exchange removes the old rule, with its last count; the next installs the new one.
    world.settle();
    expected.ports[1].hardware = packets(1);
    expected.rules_destroyed = 1;
    assert_eq!(world.worker.stats(), expected);
    assert_eq!(world.card.rules().len(), 0);
    assert_eq!(only_flow(&world).offload, Offload::Pending);
    assert_eq!(world.worker.applied(), Revision(2), "no stale rule is left");
    world.settle();
    (expected.rules_created, expected.flows_in_hardware, expected.ports[1].rules) = (2, 1, 1);
    assert_eq!(world.worker.stats(), expected);
    assert_eq!(world.card.rules()[0].actions, [Action::Output(VF1)]);
}

#[test]
fn what_a_change_does_not_touch_keeps_its_flow_its_rule_and_its_counters() {
    let rules = [
        rule(1, to_network(VF0, NET1), &[Action::Output(UPLINK)]),
        rule(2, from(VF1), &[Action::Output(UPLINK)]),
    ];
    let mut world = world(Config::default(), &rules);
    world.enter(&udp(VF0, 1, NET1 + 1, 1000));
    world.enter(&udp(VF1, 1, NET1 + 1, 1000));
    world.poll();
    world.settle();
    let before: Vec<_> = world.worker.flows().collect();
    let stats = world.worker.stats();

    // The same policy again, in full.
    let changes = PORTS.into_iter().map(open).chain(rules.iter().cloned()).collect();
    world.publish(&Delta { revision: Revision(2), replace_all: true, changes }, &PORTS);
    assert_eq!(world.worker.applied(), Revision(2));
    assert_eq!(world.worker.flows().collect::<Vec<_>>(), before);
    assert_eq!(world.worker.stats(), stats);

    // A rule of another network.
    change(&mut world, &[rule(3, to_network(VF0, 0x0b0b_0b00), &[])]);
    assert_eq!(world.worker.applied(), Revision(3));
    let now: Vec<_> = world.worker.flows().collect();
    assert_eq!(now.iter().map(|flow| flow.id).collect::<Vec<_>>(), [before[0].id, before[1].id]);
    assert!(now.iter().all(|flow| flow.offload == Offload::Hardware));

    // A change that touches a flow and comes to the same result.
    change(
        &mut world,
        &[Change::Remove(ObjectId::FlowRule(FlowRuleId(2))), rule(4, from(VF1), &[Action::Output(UPLINK)])],
    );
    assert_eq!(world.worker.stats().revalidated, 1);
    assert_eq!(world.worker.applied(), Revision(4));
    let flow = world.worker.lookup(&udp(VF1, 1, NET1 + 1, 1000)).expect("it stayed");
    assert_eq!((flow.id, flow.offload), (before[1].id, Offload::Hardware));
    world.settle();
    assert_eq!(world.worker.stats().rules_destroyed, 0);
    world.end();
}

#[test]
fn a_dropping_flow_is_dropped_by_the_card_and_counted_under_its_reason() {
    let mut world = world(Config::default(), &[rule(1, from(VF0), &[])]);
    let packet = udp(VF0, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    assert_eq!(only_flow(&world).dropped, Some(DropReason::RuleDrop));
    world.settle();
    for _ in 0..9 {
        assert!(world.enter(&packet));
    }
    world.pass(Duration::from_secs(1));
    world.settle();
    let port = &world.worker.stats().ports[1];
    assert_eq!(port.drops[DropReason::RuleDrop.index()], 10);
    assert_eq!(port.hardware, packets(0), "what is dropped is not forwarded");
    assert_eq!(only_flow(&world).hardware, packets(9));
    world.end();
}

#[test]
fn an_idle_flow_is_taken_out_and_one_that_the_card_forwards_stays() {
    let rules =
        [rule(1, from(VF0), &[Action::Output(UPLINK)]), rule(2, from(VF1), &[Action::Output(UPLINK)])];
    let mut world = world(Config::default(), &rules);
    let (busy, quiet) = (udp(VF0, 1, NET1, 1000), udp(VF1, 1, NET1, 1000));
    world.enter(&busy);
    world.enter(&quiet);
    world.poll();
    world.settle();
    for _ in 0..120 {
        assert!(world.enter(&busy));
        world.pass(Duration::from_millis(100));
        world.settle();
    }
    assert_eq!(only_flow(&world).matches.key().in_port(), VF0);
    assert_eq!(world.card.rules().len(), 1);
    let counters = world.worker.counters();
    assert_eq!((counters.aged, counters.rules_destroyed), (1, 1));
    // Once it is idle too, it goes.
    for _ in 0..120 {
        world.pass(Duration::from_millis(100));
        world.settle();
    }
    assert_eq!(world.worker.flows().count(), 0);
    assert_eq!(world.card.handles(), 0);
    world.end();
}

#[test]
fn a_flow_that_only_software_can_carry_says_why() {
    let ttl = from(VF0)
        .is(Field::VlanCount, 0)
        .is(Field::EthType, 0x0800)
        .is(Field::L3, L3::Ok as u128)
        .is(Field::IpTtl, 64);
    let rules = [
        rule(1, ttl, &[Action::Output(UPLINK)]),
        rule(2, from(VF1), &[Action::Output(UPLINK), Action::Output(VF0)]),
    ];
    let mut world = world(Config::default(), &rules);
    let (full, two) = (udp(VF0, 1, NET1, 1000), udp(VF1, 1, NET1, 1000));
    for _ in 0..2 {
        world.enter(&full);
        world.enter(&two);
        world.poll();
        world.settle();
    }
    let reason = |key| world.worker.lookup(key).map(|flow| flow.offload);
    let refused = |refusal| Some(Offload::Software(SoftwareReason::Refused(refusal)));
    assert_eq!(reason(&full), refused(Refusal::Shape(Shape::FullKey)));
    assert_eq!(reason(&two), refused(Refusal::ManyOutputs));
    assert_eq!(world.worker.trace(&full).offload, reason(&full).unwrap_or(Offload::Pending));
    let stats = world.worker.stats();
    assert_eq!((stats.rules_refused, stats.flows_in_hardware), (1, 0));
    assert_eq!((stats.ports[0].sent.packets, stats.ports[1].sent.packets), (4, 2));
    assert_eq!(world.worker.counters().copies, 2);
    world.end();
}

#[test]
fn a_flush_takes_every_flow_and_every_rule_out() {
    let mut world = world(Config::default(), &[rule(1, from(VF0), &[Action::Output(UPLINK)])]);
    let packet = udp(VF0, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    world.settle();
    assert!(world.enter(&packet));
    world.worker.flush(None);
    assert_eq!(world.worker.flows().count(), 0);
    world.settle();
    assert_eq!(world.card.handles(), 0);
    assert_eq!(world.worker.stats().ports[1].hardware, packets(1), "the last count is not lost");
    assert!(!world.enter(&packet));
    world.poll();
    assert_eq!(only_flow(&world).offload, Offload::Pending);
    world.end();
}

#[test]
fn a_change_too_large_to_compare_looks_at_every_flow_and_disturbs_none() {
    let mut world = world(Config::default(), &[rule(1, to_network(VF0, NET1), &[Action::Output(UPLINK)])]);
    let packet = udp(VF0, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    world.settle();
    let before = only_flow(&world).id;
    let others: Vec<Change> = (2..100)
        .map(|n| rule(n, to_network(VF0, NET1 + ((n as u32) << 8)), &[Action::Output(VF1)]))
        .collect();
    change(&mut world, &others);
    assert_eq!(world.worker.stats().revalidated, 0, "compared, and left alone");
    let elsewhere = Touched::FlowRules(to_network(VF0, 0x0b0b_0b00));
    let snapshot = world.worker.snapshot().clone();
    world.worker.publish(snapshot, &vec![elsewhere; 1 << 20], world.now);
    assert_eq!(world.worker.stats().revalidated, 1);
    assert_eq!(world.worker.applied(), Revision(2));
    assert_eq!((only_flow(&world).id, only_flow(&world).offload), (before, Offload::Hardware));
    assert!(world.enter(&packet));
    world.end();
}
