//! Random policies, packets, changes and faults; every step is checked.

use std::time::Duration;

use nic_flow::field::Field;
use nic_flow::{FlowKey, PortId};
use nic_slowpath::{Config, InstallerConfig};
use sim::card::{Card, Faults};
use sim::random::Random;
use sim::scenario;
use soft_eswitch::Profile;

use super::world::World;

/// Worlds of one run. `NIC_AGENT_WORLDS` asks for more, `NIC_AGENT_SEED` says from which seed on.
const WORLDS: u64 = 200;
/// Seeds that failed once.
const FAILED_ONCE: &[u64] = &[];
const STEPS: u64 = 250;

pub(super) fn world(random: &mut Random) -> World {
    let faults = if random.chance(50) {
        Faults::default()
    } else {
        let lost = random.pick(&[0, 3]);
        Faults { busy: 20, lost, undestroyed: 15, unread: 10, stale: 40, ..Faults::default() }
    };
    let profile = random.pick(&[Profile::Full, Profile::Portable]);
    let rules = random.pick(&[4, 1024]);
    let management = random.chance(30).then(|| scenario::management(random));
    let mut ports = scenario::PORTS[..5].to_vec();
    ports.extend(management.map(|_| PortId::MANAGEMENT));
    let card = Card::new(profile, &ports, rules, random.bits(), faults);
    let config = Config {
        seed: random.bits(),
        offload: random.chance(95),
        flows: random.pick(&[8, 4096]),
        flows_per_port: random.pick(&[4, 4096]),
        full_key_flows: random.pick(&[2, 64]),
        rules: random.pick(&[6, 4096]),
        revalidations: random.pick(&[1, 3, 1000]),
        lost_rule_hits: random.pick(&[1, 16]),
        ..Config::default()
    };
    let installer = InstallerConfig {
        calls_per_poll: random.pick(&[4, 128]),
        create_tries: 3,
        ..InstallerConfig::default()
    };
    let mut world = World::with_card(card, config, installer);
    if let Some(management) = management {
        world.manage(management);
    }
    world
}

/// A packet that is of interest, by a port that the card has.
pub(super) fn packet(random: &mut Random, world: &World) -> FlowKey {
    // Traffic comes in flows: most packets are like one that was there before.
    let mut key = match world.keys.len() {
        0 => scenario::packet_for(random, &world.policy),
        len if random.chance(60) => world.keys[len - 1 - random.below(len.min(12) as u64) as usize],
        _ => scenario::packet_for(random, &world.policy),
    };
    let managed = world.policy.management.is_some() && key.in_port() == PortId::MANAGEMENT;
    if !managed && !scenario::PORTS[..5].contains(&key.in_port()) {
        key.set(Field::InPort, random.pick(&scenario::PORTS[..5]).bits().into());
    }
    key
}

pub(super) fn step(random: &mut Random, world: &mut World) {
    match random.below(100) {
        0..=29 => {
            for _ in 0..=random.below(6) {
                let key = packet(random, world);
                world.enter(&key);
            }
        }
        30..=49 => drop(world.poll()),
        50..=61 => world.hand_over(random.below(8) as usize),
        62..=73 => world.install(),
        74..=87 => world.deliver(random.below(8) as usize, random),
        88..=93 => world.pass(Duration::from_micros(1 << random.below(23))),
        94..=97 => {
            let revision = world.revision() + 1;
            let delta = scenario::delta(random, &world.policy, revision);
            let devices = if random.chance(20) {
                scenario::devices(random)
            } else {
                world.policy.devices.iter().copied().collect()
            };
            world.publish(&delta, &devices);
        }
        98 if random.chance(30) => drop(world.worker.flush(None)),
        99 if random.chance(20) => world.card.lose_rules(),
        _ => {}
    }
}

#[test]
fn packets_go_only_where_the_policy_says_and_nothing_is_left_or_lost() {
    let number = |name: &str, default| {
        let given = std::env::var(name).ok();
        given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (worlds, first) = (number("NIC_AGENT_WORLDS", WORLDS), number("NIC_AGENT_SEED", 0));
    let (mut by_rules, mut packets, mut evicted) = (0, 0, [0; 2]);
    for seed in FAILED_ONCE.iter().copied().chain((0..worlds).map(|n| first.wrapping_add(n))) {
        // Shown if the test fails.
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut world = world(&mut random);
        let policy = loop {
            let policy = scenario::policy(&mut random);
            if policy.bridges().next().is_none() && policy.vteps().next().is_none() {
                break policy;
            }
        };
        let devices: Vec<_> = policy.devices.iter().copied().collect();
        world.publish(&scenario::full(&policy, 1), &devices);
        for number in 0..STEPS {
            step(&mut random, &mut world);
            world.check();
            if number % 8 == 0 {
                world.check_applied();
            }
        }
        world.end();
        by_rules += world.by_rules.values().sum::<u64>();
        for port in world.worker.stats().ports {
            packets += port.slow_path.packets;
            evicted[0] += port.evicted;
            evicted[1] += port.rules_evicted;
        }
    }
    // The generator must reach both ways through the card.
    assert!(worlds < WORLDS || by_rules * 20 > packets, "{by_rules} by rules, {packets} by the slow path");
    assert!(worlds < WORLDS || evicted.iter().all(|evicted| *evicted > 100), "{evicted:?} made room");
}
