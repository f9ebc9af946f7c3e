//! Quotas, fairness, and a card that misbehaves.

use std::time::Duration;

use nic_flow::seam::Refusal;
use nic_flow::{Action, Counters, Field, RuleId};
use nic_policy::capability::SoftwareReason;
use nic_policy::{Change, Delta, DropReason, Offload, Revision};
use nic_slowpath::{Completion, Config, InstallerConfig};
use sim::card::{Card, Faults};
use sim::frame;
use soft_eswitch::Profile;

use super::scenarios::{
    PORTS, UPLINK, VF0, VF1, change, from, only_flow, open, rule, to_network, udp, world,
};
use super::world::World;

const NET1: u32 = 0x0a0a_0100;

/// A rule that is of a network, so that flows are told apart by both addresses.
fn networks() -> [Change; 2] {
    [
        rule(1, from(UPLINK), &[Action::Output(VF1)]),
        rule(2, to_network(VF0, NET1).and(Field::IpSrc, 0, 1), &[Action::Output(UPLINK)]),
    ]
}

#[test]
fn a_storm_of_misses_on_one_port_does_not_delay_the_first_packet_of_another() {
    let mut world = world(Config::default(), &networks());
    for n in 0..2000 {
        world.enter(&udp(VF0, 2 * n, NET1 + (n & 0xff), 1000));
    }
    for _ in 0..20 {
        world.poll();
    }
    let storm = world.worker.stats().ports[1].upcalls;
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    let stats = world.worker.stats();
    assert_eq!(stats.ports[0].upcalls, 1, "served in the very next round");
    assert!(stats.ports[1].upcalls - storm <= 32, "beside at most one burst of the storm");
    assert!(storm < 2000);
    // Alone, the storm is served without waiting for a share that nobody else wants.
    let polled = world.poll();
    assert!(polled.packets > 0 && polled.more);
    world.end();
}

#[test]
fn a_full_cache_forwards_and_counts() {
    let config = Config { flows: 4, flows_per_port: 3, ..Config::default() };
    let mut world = world(config, &networks());
    for n in 0..5 {
        world.enter(&udp(VF0, 2 * n, NET1, 1000));
    }
    world.poll();
    let (stats, counters) = (world.worker.stats(), world.worker.counters());
    assert_eq!((stats.flows, stats.cache_full, counters.port_quota), (3, 2, 2));
    assert_eq!(stats.ports[0].sent.packets, 5);
    // The other port has its own share.
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    assert_eq!(world.worker.stats().flows, 4);
    world.end();
}

#[test]
fn rules_beyond_the_quota_stay_in_software_until_there_is_room() {
    let mut world = world(Config { rules: 1, ..Config::default() }, &networks());
    world.enter(&udp(VF0, 2, NET1, 1000));
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    world.settle();
    let quota = Offload::Software(SoftwareReason::Quota);
    assert_eq!(world.worker.flows().filter(|flow| flow.offload == quota).count(), 1);
    assert_eq!(world.card.rules().len(), 1);
    world.worker.flush(None);
    world.settle();
    world.enter(&udp(VF0, 2, NET1, 1000));
    world.poll();
    world.settle();
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
    world.end();
}

#[test]
fn each_way_to_lose_a_packet_has_its_reason() {
    let rules = [
        rule(1, from(VF0), &[Action::Output(UPLINK), Action::Output(VF1)]),
        rule(2, from(UPLINK), &[Action::Output(VF1)]),
    ];
    let config = Config { offload: false, ..Config::default() };
    let mut world = world(config, &rules);
    world.card.set_buffers(1);
    world.card.set_room(VF1, 2);
    world.card.miss(UPLINK, &[0; 13]);
    for n in 0..3 {
        world.card.miss(VF0, &frame::build(&udp(VF0, 1, NET1, 1000), n));
    }
    // The oracle knows nothing of such losses: the worker is asked directly.
    world.worker.poll(world.now);
    let drops = world.drops();
    assert_eq!(drops[&(UPLINK, DropReason::Undersized)], 1);
    assert_eq!(drops[&(VF0, DropReason::NoBuffer)], 2);
    assert_eq!(drops[&(VF0, DropReason::TransmitFull)], 1);
    assert_eq!(drops.len(), 3);
    let stats = world.worker.stats();
    assert_eq!((stats.ports[0].sent.packets, stats.ports[2].sent.packets), (1, 2));
    assert_eq!(world.worker.counters().copies, 3);
}

#[test]
fn a_card_that_is_full_is_asked_again_later() {
    let card = Card::new(Profile::Portable, &PORTS, 0, 1, Faults::default());
    let mut full = World::with_card(card, Config::default(), InstallerConfig::default());
    let changes = PORTS.into_iter().map(open).chain(networks()).collect();
    full.publish(&Delta { revision: Revision(1), replace_all: true, changes }, &PORTS);
    full.enter(&udp(UPLINK, 1, NET1, 1000));
    full.poll();
    full.settle();
    assert_eq!(only_flow(&full).offload, Offload::Pending, "the installer tries again");
    for _ in 0..100 {
        full.pass(Duration::from_millis(1));
        full.settle();
    }
    let refused = Offload::Software(SoftwareReason::Refused(Refusal::Full));
    assert_eq!(only_flow(&full).offload, refused);
    assert_eq!(full.installer.counters().postponed, 5);
    assert_eq!(full.installer.counters().refused, 1);
    // The flow is in use, and after some seconds it is offered again.
    for _ in 0..55 {
        full.card.miss(UPLINK, &frame::build(&udp(UPLINK, 1, NET1, 1000), 1));
        full.poll();
        full.pass(Duration::from_millis(100));
        full.settle();
    }
    assert!(full.installer.counters().postponed > 5);
}

#[test]
fn an_answer_about_a_flow_that_is_gone_changes_nothing() {
    let mut world = world(Config::default(), &networks());
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    world.settle();
    let old = only_flow(&world).id;
    world.worker.flush(None);
    world.settle();
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    let flow = only_flow(&world);
    assert_eq!(flow.id, RuleId { slot: old.slot, generation: old.generation + 1 });
    let stats = world.worker.stats();
    let counters = Counters { packets: 1000, bytes: 68_000 };
    for late in [
        Completion::Installed { id: old },
        Completion::Refused { id: old, refusal: Refusal::Full },
        Completion::Counted(vec![(old, counters)]),
        Completion::Removed { id: old, counters },
        Completion::Installed { id: RuleId { slot: 77, generation: 0 } },
    ] {
        world.worker.complete(late, world.now);
    }
    assert_eq!(world.worker.stats(), stats);
    assert_eq!(only_flow(&world), flow);
    assert_eq!(world.worker.counters().late_completions, 5);
    world.end();
}

#[test]
fn a_lost_rule_is_noticed_and_installed_again() {
    let mut world = world(Config::default(), &networks());
    let packet = udp(UPLINK, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    world.settle();
    world.card.lose_rules();
    // Within the grace time packets may have been on their way.
    assert!(!world.enter(&packet));
    world.poll();
    assert_eq!(world.worker.counters().lost_rule_hits, 0);
    world.pass(Duration::from_millis(200));
    for _ in 0..16 {
        assert!(!world.enter(&packet));
        world.poll();
    }
    let counters = world.worker.counters();
    assert_eq!((counters.lost_rule_hits, counters.reinstalled), (16, 1));
    assert_eq!(only_flow(&world).offload, Offload::Software(SoftwareReason::Overlap));
    world.settle();
    world.settle();
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
    assert!(world.enter(&packet));
    world.end();
}

#[test]
fn a_change_waits_for_a_rule_that_the_card_does_not_let_go() {
    let mut world = world(Config::default(), &networks());
    let packet = udp(UPLINK, 1, NET1, 1000);
    world.enter(&packet);
    world.poll();
    world.settle();
    world.card.set_faults(Faults { undestroyed: 100, ..Faults::default() });
    change(&mut world, &[rule(1, from(UPLINK), &[Action::Output(VF0)])]);
    for _ in 0..50 {
        world.pass(Duration::from_millis(100));
        world.settle();
        // Changes that touch nothing of it come and go meanwhile.
        change(&mut world, &[rule(9, from(VF1), &[])]);
    }
    assert!(world.worker.counters().remove_failures > 5);
    assert_eq!(world.worker.applied(), Revision(1));
    assert_eq!(only_flow(&world).offload, Offload::Software(SoftwareReason::Overlap));
    world.card.set_faults(Faults::default());
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.worker.applied(), Revision(world.revision()));
    world.settle();
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
    world.end();
}

#[test]
fn a_flow_that_was_not_translated_again_yet_is_before_its_next_packet() {
    let config = Config { revalidations: 1, ..Config::default() };
    let mut world = world(config, &networks());
    let key = |n: u32| udp(VF0, 2 * n, NET1, 1000);
    for n in 0..8 {
        world.enter(&key(n));
    }
    world.poll();
    let even = to_network(VF0, NET1).and(Field::IpSrc, 0, 1);
    change(&mut world, &[rule(2, even, &[Action::Output(VF1)])]);
    assert!(world.worker.applied() < Revision(2));
    // The oracle in `poll` sees to it that all of them go by the new rule.
    for n in (0..8).rev() {
        world.enter(&key(n));
    }
    world.poll();
    assert_eq!(world.worker.applied(), Revision(2), "nothing was in the card");
    assert_eq!(world.worker.stats().revalidated, 8);
    world.end();
}

#[test]
fn no_rule_enters_the_card_while_one_that_it_may_contradict_waits_to_be_looked_at() {
    let config = Config { revalidations: 1, ..Config::default() };
    let mut world = world(config, &networks());
    for n in 0..4 {
        world.enter(&udp(VF0, 2 * n, NET1, 1000));
    }
    world.poll();
    world.settle();
    assert_eq!(world.card.rules().len(), 4);
    // One wide flow takes the place of four narrow ones. Its rule overlaps all of theirs, of which
    // three were not even translated again.
    change(&mut world, &[rule(2, from(VF0), &[Action::Output(VF1)])]);
    for _ in 0..3 {
        world.settle();
        world.check();
        assert_eq!(world.card.rules().len(), 3);
        assert_eq!(world.worker.applied(), Revision(1));
    }
    for _ in 0..8 {
        world.poll();
        world.settle();
        world.check();
    }
    assert_eq!(world.card.rules().len(), 1);
    assert_eq!(world.worker.applied(), Revision(2));
    world.end();
}
