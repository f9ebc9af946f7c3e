//! One port sends whatever does the most harm; another keeps its flows, its rules and its service.

use std::time::Duration;

use nic_flow::field::{Field, L3};
use nic_flow::{Action, FlowKey, PortId, Shape};
use nic_policy::capability::SoftwareReason;
use nic_policy::stats::PortStats;
use nic_policy::{Change, Delta, Offload, Revision};
use nic_slowpath::{Config, InstallerConfig};
use sim::card::{Card, Faults};
use sim::random::Random;
use soft_eswitch::Profile;

use super::scenarios::{PORTS, UPLINK, VF0, VF1, from, open, rule, to_network, udp, world};
use super::world::World;

const NET1: u32 = 0x0a0a_0100;
const SPREAD: u32 = 0x0b0b_0b00;
const ATTACKER: PortId = VF0;
const VICTIM: PortId = VF1;

/// What a port sends goes to the uplink, and each 5-tuple is a flow of its own.
fn five_tuples(port: PortId, id: u64) -> Change {
    let matches =
        to_network(port, NET1).is(Field::IpProto, 17).and(Field::L4Src, 0, 1).and(Field::IpSrc, 0, 1);
    rule(id, matches, &[Action::Output(UPLINK)])
}

fn tuple(port: PortId, n: u32) -> FlowKey {
    udp(port, 2 * (n >> 8), NET1 + (n & 0xff), (2 * (n & 0x7fff)) as u16)
}

fn both() -> [Change; 2] {
    [five_tuples(ATTACKER, 1), five_tuples(VICTIM, 2)]
}

fn of(world: &World, port: PortId) -> PortStats {
    let found = world.worker.stats().ports.into_iter().find(|stats| stats.port == port);
    found.expect("the port is known")
}

fn offload(world: &World, key: &FlowKey) -> Option<Offload> {
    world.worker.lookup(key).map(|flow| flow.offload)
}

/// So many new flows of the attacker come at once, and are served.
fn storm(world: &mut World, first: u32, flows: u32) {
    for n in first..first + flows {
        world.enter(&tuple(ATTACKER, n));
    }
    rest(world);
}

fn rest(world: &mut World) {
    while world.poll().packets > 0 {}
}

fn settle(world: &mut World) {
    for _ in 0..4 {
        world.settle();
    }
    world.check();
}

#[test]
fn a_full_cache_makes_room_for_a_port_below_its_share_and_takes_the_flow_that_was_used_least_recently() {
    let config = Config { flows: 12, flows_per_port: 12, offload: false, ..Config::default() };
    let mut world = world(config, &both());
    storm(&mut world, 0, 12);
    assert_eq!(
        (of(&world, ATTACKER).flows, world.worker.stats().cache_full),
        (12, 0),
        "as long as nobody else wants"
    );
    storm(&mut world, 12, 5);
    assert_eq!(
        (of(&world, ATTACKER).flows, world.worker.stats().cache_full),
        (12, 5),
        "nobody gives it more"
    );
    // All are used again, but for the fourth.
    world.pass(Duration::from_millis(1));
    for n in (0..12).filter(|n| *n != 3) {
        world.enter(&tuple(ATTACKER, n));
    }
    rest(&mut world);
    world.enter(&tuple(VICTIM, 0));
    rest(&mut world);
    assert_eq!((of(&world, VICTIM).flows, of(&world, ATTACKER).flows), (1, 11));
    assert_eq!((of(&world, VICTIM).evicted, of(&world, ATTACKER).evicted), (0, 1));
    assert!(world.worker.lookup(&tuple(ATTACKER, 3)).is_none());
    // Of three ports each has a third. Beyond it nobody gives.
    for n in 1..6 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    assert_eq!((of(&world, VICTIM).flows, of(&world, ATTACKER).flows), (4, 8));
    assert_eq!((of(&world, ATTACKER).evicted, world.worker.stats().cache_full), (4, 7));
    world.check();
    world.end();
}

#[test]
fn a_storm_of_flows_costs_a_port_below_its_share_neither_flows_nor_rules_nor_service() {
    let config = Config { flows: 60, flows_per_port: 60, rules: 30, ..Config::default() };
    let mut world = world(config, &both());
    let mut random = Random::new(1);
    // The victim has ten flows at last: its share of rules. They come one by one into the storm.
    for n in 0..200 {
        storm(&mut world, n * 40, 40);
        let served = of(&world, VICTIM).slow_path.packets;
        let slow = u64::from(!world.enter(&tuple(VICTIM, n.min(9))));
        let backlog = (n * 40..n * 40 + 40).map(|n| tuple(ATTACKER, 100_000 + n));
        for key in backlog {
            world.enter(&key);
        }
        world.poll();
        assert_eq!(of(&world, VICTIM).slow_path.packets, served + slow, "served in the very next round");
        rest(&mut world);
        world.hand_over(8);
        world.install();
        world.deliver(usize::MAX, &mut random);
        world.check();
        assert_eq!(of(&world, VICTIM).flows, u64::from(n.min(9)) + 1, "none was taken away");
    }
    settle(&mut world);
    for n in 0..10 {
        assert_eq!(offload(&world, &tuple(VICTIM, n)), Some(Offload::Hardware), "{n}");
        assert!(world.enter(&tuple(VICTIM, n)));
    }
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!((victim.flows, victim.rules, victim.evicted, victim.rules_evicted), (10, 10, 0, 0));
    assert_eq!((attacker.flows, attacker.rules), (50, 20), "what nobody else wants is the attacker's");
    // The victim's first flow came while there was room, for the attacker's burst is served in portions.
    assert_eq!((attacker.evicted, world.card.rules().len()), (9, 30));
    // As long as the victim has less than its share it gets more; then nobody gives any more.
    for n in 10..40 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    settle(&mut world);
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!((victim.flows, victim.rules), (20, 10));
    assert_eq!((attacker.flows, attacker.evicted), (40, 19));
    world.end();
}

#[test]
fn a_rule_that_makes_room_leaves_its_flow_in_software_and_the_room_to_who_asked() {
    let mut world = world(Config { rules: 6, ..Config::default() }, &both());
    storm(&mut world, 0, 10);
    settle(&mut world);
    assert_eq!(of(&world, ATTACKER).rules, 6);
    world.pass(Duration::from_millis(1));
    for n in 0..10 {
        world.enter(&tuple(ATTACKER, n));
    }
    rest(&mut world);
    for n in 0..3 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    let quota = Some(Offload::Software(SoftwareReason::Quota));
    assert_eq!(offload(&world, &tuple(VICTIM, 0)), quota, "until the other rule is gone");
    settle(&mut world);
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!((victim.rules, attacker.rules, attacker.rules_evicted), (2, 4, 2));
    assert_eq!((victim.flows, attacker.flows, attacker.evicted), (3, 10, 0), "flows have room");
    assert_eq!(offload(&world, &tuple(VICTIM, 2)), quota, "beyond its share");
    // They go on in software, and what the card counted of them is not lost.
    let before = of(&world, ATTACKER);
    for n in 0..10 {
        world.enter(&tuple(ATTACKER, n));
    }
    rest(&mut world);
    let after = of(&world, ATTACKER);
    assert_eq!((after.cache_hits - before.cache_hits, after.upcalls), (6, before.upcalls));
    // Once there is room they have their rules again.
    world.worker.flush(Some(VICTIM));
    settle(&mut world);
    world.pass(Duration::from_secs(6));
    world.pass(Duration::from_secs(1));
    settle(&mut world);
    assert_eq!(of(&world, ATTACKER).rules, 6);
    world.end();
}

#[test]
fn a_card_that_is_full_before_the_quota_makes_room_for_a_port_below_its_share() {
    let card = Card::new(Profile::Portable, &PORTS, 6, 1, Faults::default());
    let mut world = World::with_card(card, Config::default(), InstallerConfig::default());
    let changes = PORTS.into_iter().map(open).chain(both()).collect();
    world.publish(&Delta { revision: Revision(1), replace_all: true, changes }, &PORTS);
    let pass = |world: &mut World| {
        for _ in 0..200 {
            world.settle();
            world.now += Duration::from_millis(10);
        }
        world.check();
    };
    storm(&mut world, 0, 20);
    pass(&mut world);
    assert_eq!(of(&world, ATTACKER).rules, 6);
    for n in 0..4 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    pass(&mut world);
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!(
        (victim.rules, attacker.rules, attacker.rules_evicted),
        (2, 4, 2),
        "a third for each of three"
    );
    assert_eq!((victim.flows, attacker.flows), (4, 20));
    world.end();
}

#[test]
fn the_quota_of_flows_that_only_software_carries_is_shared_too() {
    let ttl = |port, id| {
        let matches =
            from(port).is(Field::VlanCount, 0).is(Field::EthType, 0x0800).is(Field::L3, L3::Ok as u128);
        rule(id, matches.is(Field::IpTtl, 64), &[Action::Output(UPLINK)])
    };
    let config = Config { full_key_flows: 6, ..Config::default() };
    let mut world = world(config, &[ttl(ATTACKER, 1), ttl(VICTIM, 2)]);
    storm(&mut world, 0, 20);
    assert_eq!((of(&world, ATTACKER).flows, world.worker.counters().full_key_quota), (6, 14));
    for n in 0..4 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!((victim.flows, attacker.flows, attacker.evicted), (2, 4, 2));
    assert_eq!(world.worker.counters().full_key_quota, 16);
    assert!(world.worker.flows().all(|flow| flow.shape == Shape::FullKey));
    world.check();
    world.end();
}

#[test]
fn many_shapes_of_one_port_leave_another_its_flows_and_its_turn() {
    // Rules of ever more fields, so that translation reads something else for each packet.
    let fields =
        [Field::EthSrc, Field::EthDst, Field::IpSrc, Field::IpDst, Field::L4Src, Field::L4Dst, Field::IpTtl];
    let explode = (0..128u64).map(|n| {
        let start = to_network(ATTACKER, SPREAD).is(Field::IpProto, 17);
        let wanted = fields.iter().enumerate().filter(|(at, _)| n >> at & 1 == 1);
        let matches = wanted.fold(start, |matches, (_, field)| matches.and(*field, 0x20, 0x20));
        rule(100 + n, matches, &[Action::Output(UPLINK)])
    });
    let changes: Vec<Change> = both().into_iter().chain(explode).collect();
    let config = Config { flows: 30, flows_per_port: 30, rules: 12, full_key_flows: 9, ..Config::default() };
    let mut world = world(config, &changes);
    let mut random = Random::new(7);
    for n in 0..4 {
        world.enter(&tuple(VICTIM, n));
    }
    rest(&mut world);
    settle(&mut world);
    assert_eq!(of(&world, VICTIM).rules, 4);
    for _ in 0..60 {
        for _ in 0..30 {
            let key =
                udp(ATTACKER, random.bits() as u32, SPREAD + random.below(256) as u32, random.bits() as u16);
            let key = key.with(Field::EthSrc, u128::from(random.below(1 << 40)) << 1);
            world.enter(&key.with(Field::IpTtl, u128::from(1 + random.below(255))));
        }
        for n in 0..4 {
            assert!(world.enter(&tuple(VICTIM, n)), "by its rule");
        }
        world.poll();
        rest(&mut world);
        settle(&mut world);
    }
    let shapes = world.worker.flows().map(|flow| flow.shape).collect::<std::collections::BTreeSet<_>>();
    assert!(shapes.len() <= Shape::ALL.len());
    let (victim, attacker) = (of(&world, VICTIM), of(&world, ATTACKER));
    assert_eq!((victim.flows, victim.rules, victim.upcalls, victim.evicted), (4, 4, 4, 0));
    assert!(attacker.flows <= 26, "{attacker:?}");
    world.end();
}

#[test]
fn rules_are_handed_out_to_ports_in_turn() {
    let mut world = world(Config::default(), &both());
    storm(&mut world, 0, 300);
    world.enter(&tuple(VICTIM, 0));
    rest(&mut world);
    world.hand_over(2);
    world.install();
    world.deliver(usize::MAX, &mut Random::new(1));
    assert_eq!(
        offload(&world, &tuple(VICTIM, 0)),
        Some(Offload::Hardware),
        "behind one of the other's, not 300"
    );
    world.end();
}

#[test]
fn time_is_charged_to_the_port_whose_packets_took_it() {
    let mut world = world(Config { offload: false, ..Config::default() }, &both());
    world.enter(&tuple(ATTACKER, 0));
    world.enter(&tuple(VICTIM, 0));
    world.enter(&tuple(VICTIM, 1));
    let (mut readings, start) = (0, world.now);
    let polled = world.worker.poll_timed(|| {
        readings += 1;
        start + Duration::from_micros(readings)
    });
    assert_eq!((polled.packets, readings), (3, 5), "once for the round, twice for a burst");
    let busy = |port| of(&world, port).busy;
    assert_eq!(
        (busy(ATTACKER), busy(VICTIM), busy(UPLINK)),
        (Duration::from_micros(1), Duration::from_micros(1), Duration::ZERO)
    );
}
