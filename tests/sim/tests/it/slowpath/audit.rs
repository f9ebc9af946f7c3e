//! Audits: no false alarm under traffic, and whatever gets lost between the two sides is found and put
//! right.

use std::time::Duration;

use nic_flow::seam::Refusal;
use nic_flow::{Counters, Rule, RuleId};
use nic_policy::{Discrepancy, Offload};
use nic_slowpath::{Audit, Believed, Completion, Config, Finding, Remedy, Request};
use sim::card::Faults;
use sim::random::Random;
use sim::scenario;

use super::property::{packet, step};
use super::scenarios::{UPLINK, VF1, only_flow, rule, udp, world};
use super::world::World;

const NET1: u32 = 0x0a0a_0100;

/// One comparison. While beliefs are read and counters are asked for, something may happen.
fn compare(audit: &mut Audit, world: &mut World, mut meanwhile: impl FnMut(&mut World)) -> Vec<Finding> {
    // The worker hears what was answered before it is asked anything.
    for completion in std::mem::take(&mut world.completions) {
        world.worker.complete(completion, world.now);
    }
    let (mut beliefs, mut next) = (Vec::new(), Some(0));
    while let Some(slot) = next {
        next = world.worker.beliefs_from(slot, 3, |belief| beliefs.push(belief));
        meanwhile(world);
    }
    let mut inventory = world.installer.inventory();
    loop {
        let World { installer, completions, .. } = world;
        let more = installer.query(&mut inventory, 2, &mut |completion| completions.push(completion));
        meanwhile(world);
        if !more {
            return audit.compare(&beliefs, &inventory);
        }
    }
}

fn repair(world: &mut World, found: &[Finding]) {
    for finding in found {
        let World { worker, installer, completions, now, .. } = world;
        match finding.remedy {
            Remedy::Worker => drop(worker.repair(finding, *now)),
            Remedy::Installer => drop(installer.repair(finding, &mut |answer| completions.push(answer))),
            Remedy::None => {}
        }
    }
}

/// Audits a world at rest twice, and returns what was found.
fn audited(world: &mut World) -> Vec<Finding> {
    let mut audit = Audit::new();
    assert_eq!(compare(&mut audit, world, |_| ()), []);
    compare(&mut audit, world, |_| ())
}

fn kinds(found: &[Finding]) -> Vec<Discrepancy> {
    found.iter().map(|finding| finding.discrepancy).collect()
}

fn beliefs(world: &World, wanted: Believed) -> Vec<RuleId> {
    let mut ids = Vec::new();
    world.worker.beliefs_from(0, u32::MAX, |belief| {
        if belief.place == wanted {
            ids.push(belief.id);
        }
    });
    ids
}

/// A world with one flow in hardware.
fn one_flow() -> World {
    let mut world = world(
        Config::default(),
        &[rule(1, super::scenarios::from(UPLINK), &[nic_flow::Action::Output(VF1)])],
    );
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    world.settle();
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
    world
}

/// A policy without bridges, published.
fn publish_any(random: &mut Random, world: &mut World) {
    let policy = loop {
        let policy = scenario::policy(random);
        if policy.bridges().next().is_none() && policy.vteps().next().is_none() {
            break policy;
        }
    };
    let devices: Vec<_> = policy.devices.iter().copied().collect();
    world.publish(&scenario::full(&policy, 1), &devices);
}

#[test]
fn a_rule_that_the_installer_does_not_hold_is_missing_and_its_flow_is_offered_afresh() {
    let mut world = one_flow();
    let before = only_flow(&world);
    assert_eq!(audited(&mut world), []);
    world.installer.submit(Request::Remove { id: before.id });
    world.install();
    assert!(world.card.rules().is_empty());
    let found = audited(&mut world);
    assert_eq!(kinds(&found), [Discrepancy::Missing]);
    assert_eq!(world.worker.matches_of(found[0].id), Some(before.matches));
    repair(&mut world, &found);
    world.settle();
    world.settle();
    let after = only_flow(&world);
    assert_eq!((after.offload, after.matches), (Offload::Hardware, before.matches));
    let counters = world.worker.counters();
    assert_eq!((counters.reinstalled, counters.last_reinstalled), (1, Some(world.now)));
    assert_eq!(audited(&mut world), []);
    assert!(world.enter(&udp(UPLINK, 1, NET1, 1000)));
}

#[test]
fn a_rule_that_no_flow_owns_is_stray_and_removed() {
    let mut world = one_flow();
    let matches = only_flow(&world).matches.is(nic_flow::Field::EthSrc, 7);
    let id = RuleId { slot: 77, generation: 3 };
    let rule = Rule { matches, actions: only_flow(&world).actions };
    world.installer.submit(Request::Install { id, rule });
    world.settle();
    assert_eq!(world.card.rules().len(), 2);
    let found = audited(&mut world);
    assert_eq!((found[0].id, kinds(&found)), (id, vec![Discrepancy::Stray]));
    repair(&mut world, &found);
    world.settle();
    assert_eq!(world.card.rules().len(), 1);
    assert_eq!(audited(&mut world), []);
    world.worker.flush(None);
    world.quiesce();
    assert_eq!(world.card.handles(), 0);
}

#[test]
fn a_removal_that_was_not_heard_is_asked_for_again() {
    let mut world = one_flow();
    world.worker.flush(None);
    world.worker.take_requests(1, |lost| assert!(matches!(lost, Request::Remove { .. })));
    let found = audited(&mut world);
    assert_eq!(kinds(&found), [Discrepancy::Stray]);
    repair(&mut world, &found);
    world.settle();
    assert_eq!((world.card.handles(), beliefs(&world, Believed::Leaving)), (0, Vec::new()));
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let mut world = one_flow();
    world.worker.flush(None);
    world.settle();
    world.enter(&udp(UPLINK, 1, NET1, 1000));
    world.poll();
    world.hand_over(1);
    world.install();
    world.completions.clear();
    assert_eq!(only_flow(&world).offload, Offload::Pending);
    let found = audited(&mut world);
    assert_eq!(kinds(&found), [Discrepancy::Unanswered]);
    repair(&mut world, &found);
    world.settle();
    assert_eq!(only_flow(&world).offload, Offload::Hardware);
}

#[test]
fn rules_that_the_card_neither_destroys_nor_counts_are_told_and_counted() {
    let mut world = one_flow();
    world.card.set_faults(Faults { unread: 100, ..Faults::default() });
    assert_eq!(kinds(&audited(&mut world)), [Discrepancy::Unreadable]);
    assert_eq!(world.installer.counters().unreadable, 1);
    world.card.set_faults(Faults { undestroyed: 100, ..Faults::default() });
    world.worker.flush(None);
    for _ in 0..9 {
        world.settle();
        assert_eq!(audited(&mut world), []);
        world.pass(Duration::from_secs(1));
    }
    world.settle();
    let found = audited(&mut world);
    assert_eq!((kinds(&found), found[0].remedy), (vec![Discrepancy::Stuck], Remedy::None));
    let counters = world.installer.counters();
    assert_eq!((counters.stuck, counters.unreadable), (1, 0));
    world.card.set_faults(Faults::default());
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(audited(&mut world), []);
    assert_eq!(world.installer.counters().stuck, 0);
    world.end();
}

#[test]
fn an_audit_asks_for_counters_in_bounded_numbers_of_calls_and_tells_the_flows() {
    let mut world = one_flow();
    assert!(world.enter(&udp(UPLINK, 1, NET1, 1000)));
    let mut inventory = world.installer.inventory();
    let mut told = Vec::new();
    assert!(world.installer.query(&mut inventory, 0, &mut |completion| told.push(completion)));
    assert_eq!(told, []);
    assert!(!world.installer.query(&mut inventory, 1, &mut |completion| told.push(completion)));
    let [Completion::Counted(batch)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(batch[0].1.packets, 1);
    // What was read is not told twice, nor lost.
    world.worker.complete(told.remove(0), world.now);
    world.end();
}

#[test]
fn without_faults_no_audit_finds_anything_whatever_happens_meanwhile() {
    let mut compared = 0;
    for seed in 0..150 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut world = super::property::world(&mut random);
        publish_any(&mut random, &mut world);
        let mut audit = Audit::new();
        for _ in 0..12 {
            for _ in 0..random.below(20) {
                step(&mut random, &mut world);
            }
            let found = compare(&mut audit, &mut world, |world| {
                for _ in 0..random.below(4) {
                    step(&mut random, world);
                }
            });
            // A card that fails may fail twice in a row; all else is ours.
            let ours: Vec<_> = found.iter().filter(|found| found.discrepancy.is_repairable()).collect();
            assert!(ours.is_empty(), "{ours:?}");
            compared += world.installer.rules();
        }
        world.end();
        assert_eq!(audited(&mut world), []);
    }
    assert!(compared > 1500, "{compared} rules were compared");
}

/// Something gets lost on one of the sides.
fn fault(random: &mut Random, world: &mut World) {
    let pick = |random: &mut Random, ids: Vec<RuleId>| match ids.len() {
        0 => None,
        len => Some(ids[random.below(len as u64) as usize]),
    };
    match random.below(6) {
        // An answer.
        0 if !world.completions.is_empty() => {
            let at = random.below(world.completions.len() as u64) as usize;
            world.completions.remove(at);
        }
        // A request.
        1 => world.worker.take_requests(1, drop),
        // A rule and its handle.
        2 => {
            if let Some(id) = pick(random, beliefs(world, Believed::Installed)) {
                world.installer.submit(Request::Remove { id });
            }
        }
        // A flow, while its rule leaves.
        3 => {
            if let Some(id) = pick(random, beliefs(world, Believed::Leaving)) {
                let counters = Counters::default();
                world.worker.complete(Completion::Removed { id, counters }, world.now);
            }
        }
        // That a rule was asked for.
        4 => {
            if let Some(id) = pick(random, beliefs(world, Believed::Sent)) {
                world.worker.complete(Completion::Refused { id, refusal: Refusal::Full }, world.now);
            }
        }
        // Whose a rule is.
        _ => {
            let flow = world.worker.flows().find(|flow| flow.offload != Offload::Hardware);
            if let Some(flow) = flow {
                let id = RuleId { slot: 1 << 20, generation: random.below(1 << 30) as u32 };
                let rule = Rule { matches: flow.matches, actions: flow.actions };
                world.installer.submit(Request::Install { id, rule });
            }
        }
    }
}

/// Traffic under a policy that stays: rules that got lost are then never stale.
fn traffic(random: &mut Random, world: &mut World) {
    match random.below(8) {
        0 | 1 => {
            for _ in 0..=random.below(6) {
                let key = packet(random, world);
                world.enter(&key);
            }
        }
        2 => drop(world.poll()),
        3 => world.hand_over(random.below(8) as usize),
        4 => world.install(),
        5 => world.deliver(random.below(8) as usize, random),
        6 => world.pass(Duration::from_micros(1 << random.below(21))),
        _ if random.chance(20) => drop(world.worker.flush(None)),
        _ => {}
    }
}

#[test]
fn whatever_got_lost_a_few_audits_put_right_and_nothing_is_left_in_the_card() {
    let mut found = [0; Discrepancy::COUNT];
    for seed in 0..150 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut world = super::property::world(&mut random);
        publish_any(&mut random, &mut world);
        let mut audit = Audit::new();
        for number in 0..200 {
            traffic(&mut random, &mut world);
            if random.chance(25) {
                fault(&mut random, &mut world);
            }
            if number % 50 == 49 {
                let told = compare(&mut audit, &mut world, |world| traffic(&mut random, world));
                for finding in &told {
                    found[finding.discrepancy.index()] += 1;
                }
                repair(&mut world, &told);
            }
        }
        // Half of the answers go lost, and from here on nothing does any more.
        world.poll();
        world.hand_over(usize::MAX);
        world.install();
        world.completions.retain(|_| random.chance(50));
        world.card.set_faults(Faults::default());
        for _ in 0..4 {
            for _ in 0..50 {
                world.poll();
                world.settle();
                world.now += Duration::from_millis(20);
            }
            let told = compare(&mut audit, &mut world, |_| ());
            for finding in &told {
                found[finding.discrepancy.index()] += 1;
            }
            repair(&mut world, &told);
        }
        world.quiesce();
        assert_eq!(audited(&mut world), []);
        world.worker.flush(None);
        world.quiesce();
        assert_eq!((world.card.handles(), world.installer.rules()), (0, 0), "rules were left behind");
        let counters = world.installer.counters();
        assert_eq!((counters.waiting, counters.stuck, counters.unreadable), (0, 0, 0));
        world.worker.beliefs_from(0, u32::MAX, |belief| panic!("{belief:?} is left"));
    }
    for kind in [Discrepancy::Missing, Discrepancy::Stray, Discrepancy::Unanswered] {
        assert!(found[kind.index()] > 20, "{found:?}");
    }
}
