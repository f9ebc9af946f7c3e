//! Power cuts at every write of everything that is done.

use std::cell::Cell;

use proptest::prelude::*;

use crate::{Settled, Updater, Version, go_back_to_copy, settle};

use super::world::{Booted, FATES, Fate, World, version};
use super::{bundle, root, updater};

fn all(_: Version) -> bool {
    true
}

/// A version reads the formats up to its own number.
fn reads_its_store(world: &World, booted: &Booted) {
    let store = world.store();
    let format: u32 = store.split(' ').nth(1).and_then(|format| format.parse().ok()).expect("a store");
    assert!(
        version(format) <= booted.version(),
        "version {} meets a store of format {format}",
        booted.version()
    );
}

/// A card as it is before something is done.
type Before = fn() -> World;
/// What is done, which may fail at any write.
type Action = fn(&Updater) -> bool;

fn flashed() -> World {
    World::flashed(root().clone())
}

fn installed() -> World {
    let world = flashed();
    updater(world.boot(all)).install(&mut bundle(2).as_slice()).expect("installed");
    world.shut_down();
    world
}

/// An older update has left its traces in the other slot.
fn updated() -> World {
    let world = installed();
    updater(world.boot(all)).activate(version(2)).expect("activated");
    world.shut_down();
    updater(world.boot(all)).bless().expect("blessed");
    world.write_store(2, 7);
    world
}

fn activated() -> World {
    let world = installed();
    updater(world.boot(all)).activate(version(2)).expect("activated");
    world.shut_down();
    world
}

/// Does something with a power cut at each of its writes, and with each fate of what was not synced. The card
/// then boots one of the versions with a store that it reads, and the same can be done to its end.
fn at_every_write(before: Before, action: Action, versions: &[Version]) {
    let world = before();
    let card = updater(world.boot(all));
    let start = world.writes();
    assert!(action(&card), "it works without a power cut");
    let writes = world.writes() - start;
    assert!(writes > 1, "nothing was written");
    for write in 1..=writes {
        for fate in FATES {
            let world = before();
            let card = updater(world.boot(all));
            world.cut_at(Some(write));
            assert!(!action(&card), "write {write} of {writes} did not matter");
            assert!(!world.has_power());
            world.power_returns(|| fate);
            let booted = world.boot(all);
            let running = booted.version();
            assert!(versions.contains(&running), "{running} boots after a cut at write {write}, {fate:?}");
            settle(&booted, None).expect("settled");
            reads_its_store(&world, &booted);
            again(&world, booted);
        }
    }
}

/// Whatever happened: from here a new version can be installed, tried and blessed.
fn again(world: &World, booted: Booted) {
    let card = updater(booted);
    card.bless().expect("what runs works");
    card.install(&mut bundle(5).as_slice()).expect("installed");
    card.activate(version(5)).expect("activated");
    world.shut_down();
    let booted = world.boot(all);
    assert_eq!(booted.version(), version(5));
    settle(&booted, None).expect("settled");
    assert!(updater(booted).bless().expect("blessed"));
    world.shut_down();
    assert_eq!(world.boot(all).version(), version(5));
}

#[test]
fn a_cut_at_any_write_of_an_install_leaves_the_old_version() {
    let install: Action = |card| card.install(&mut bundle(3).as_slice()).is_ok();
    at_every_write(flashed, install, &[version(1)]);
    at_every_write(installed, install, &[version(1)]);
    at_every_write(updated, install, &[version(2)]);
}

#[test]
fn a_cut_at_any_write_of_an_activation_leaves_the_old_version_or_the_new_one() {
    at_every_write(installed, |card| card.activate(version(2)).is_ok(), &[version(1), version(2)]);
}

#[test]
fn a_cut_at_any_write_from_install_to_activation_leaves_the_old_version_or_a_whole_new_one() {
    let both: Action =
        |card| card.install(&mut bundle(3).as_slice()).is_ok() && card.activate(version(3)).is_ok();
    at_every_write(flashed, both, &[version(1), version(3)]);
    at_every_write(updated, both, &[version(2), version(3)]);
}

#[test]
fn a_cut_at_any_write_of_a_blessing_leaves_the_old_version_or_the_new_one() {
    at_every_write(activated, |card| card.bless().is_ok(), &[version(1), version(2)]);
}

#[test]
fn a_cut_at_any_write_of_a_rollback_leaves_the_old_version_or_the_new_one() {
    at_every_write(updated, |card| card.rollback().is_ok(), &[version(1), version(2)]);
    at_every_write(activated, |card| card.rollback().is_ok(), &[version(1), version(2)]);
    at_every_write(
        installed,
        |card| card.activate(version(2)).is_ok() && card.rollback().is_ok(),
        &[version(1), version(2)],
    );
}

/// Cuts the power at every write of what the start after `asked` has to settle, of which there are more than
/// `least`, in the version that runs then, and settles at the next start.
fn while_settling(asked: impl Fn() -> World, runs: Version, least: u64, check: impl Fn(&World, u64, Fate)) {
    for write in 1.. {
        let mut cuts = 0;
        for fate in FATES {
            let world = asked();
            world.shut_down();
            let booted = world.boot(all);
            assert_eq!(booted.version(), runs);
            world.cut_at(Some(write));
            if settle(&booted, None).is_ok() {
                world.cut_at(None);
                continue;
            }
            cuts += 1;
            world.power_returns(|| fate);
            let booted = world.boot(all);
            settle(&booted, None).expect("settled");
            check(&world, write, fate);
        }
        if cuts == 0 {
            assert!(write > least, "nothing was written");
            return;
        }
    }
}

#[test]
fn a_cut_at_any_write_of_a_reset_leaves_all_of_the_configuration_or_none_of_it() {
    let asked = || {
        let world = updated();
        updater(world.boot(all)).factory_reset().expect("marked");
        world
    };
    // Asked for once, it is done to its end.
    while_settling(asked, version(2), 3, |world, write, fate| {
        assert_eq!(world.data_names(), ["update-trust"], "write {write}, {fate:?}");
    });
}

#[test]
fn a_cut_at_any_write_of_putting_back_the_configuration_leaves_one_that_is_read() {
    let asked = || {
        let world = updated();
        updater(world.boot(all)).rollback().expect("there is version 1");
        world
    };
    while_settling(asked, version(1), 2, |world, write, fate| {
        assert_eq!(world.store(), "format 1 revision 5", "write {write}, {fate:?}");
    });
}

/// One thing that happens to a card.
#[derive(Debug, Clone, Copy)]
enum Step {
    Install(u32),
    Activate(u32),
    Bless,
    Rollback,
    Reset,
    Configure,
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (2..7_u32).prop_map(Step::Install),
        3 => (2..7_u32).prop_map(Step::Activate),
        2 => Just(Step::Bless),
        1 => Just(Step::Rollback),
        1 => Just(Step::Reset),
        1 => Just(Step::Configure),
        3 => Just(Step::Reboot),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    proptest::sample::select(FATES.to_vec())
}

/// A card that lives through steps, cuts, and versions that do not work.
struct Life {
    world: World,
    broken: Vec<Version>,
    /// Versions that a boot may take: what ran, and what was activated since.
    allowed: Vec<Version>,
}

impl Life {
    /// Boots, and does what nic-agent does at its start.
    fn boot(&mut self) -> Updater {
        // A version that had proven itself works for good.
        let broken = self.broken.clone();
        let names = self.world.names();
        let proven = |running: Version| names.contains(&format!("nic-{running}.efi"));
        let alone = |running: Version| {
            !names.iter().any(|name| name.ends_with(".efi") && !name.starts_with(&format!("nic-{running}")))
        };
        let booted =
            self.world.boot(|running| !broken.contains(&running) || proven(running) || alone(running));
        let running = booted.version();
        assert!(self.allowed.contains(&running), "{running} boots, of {:?}", self.allowed);
        settle(&booted, None).expect("settled");
        if !self.world.store().is_empty() && !self.reads(running) {
            go_back_to_copy(&booted, None).expect("put back").expect("there is a copy");
            assert!(self.reads(running), "the copy is of this version");
        }
        updater(booted)
    }

    fn reads(&self, running: Version) -> bool {
        let store = self.world.store();
        let format = store.split(' ').nth(1).and_then(|format| format.parse().ok());
        format.is_none_or(|format: u32| version(format) <= running)
    }

    fn step(&mut self, card: &Updater, step: Step) {
        let running = card.status().map(|status| status.running.version);
        match step {
            Step::Install(number) => drop(card.install(&mut bundle(number).as_slice())),
            Step::Activate(number) => {
                // Even one that fails may have had its effect when the power went.
                self.allowed.push(version(number));
                drop(card.activate(version(number)));
            }
            Step::Bless => drop(card.bless()),
            Step::Rollback => drop(card.rollback()),
            Step::Reset => drop(card.factory_reset()),
            Step::Configure => {
                if let Ok(running) = running
                    && !self.world.store().is_empty()
                {
                    let number = (1..10).find(|&number| version(number) == running).expect("a number");
                    self.world.write_store(number, 100);
                }
            }
            Step::Reboot => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_card_boots_what_ran_or_what_was_activated_whatever_happens_to_it(
        steps in proptest::collection::vec((step(), proptest::option::weighted(0.25, 1..20_u64)), 1..24),
        fates in proptest::collection::vec(fate(), 1..40),
        broken in proptest::sample::subsequence(vec![2, 3, 4, 5, 6], 0..3),
    ) {
        let broken = broken.into_iter().map(version).collect();
        let mut life = Life { world: flashed(), broken, allowed: vec![version(1)] };
        let mut card = life.boot();
        let next = Cell::new(0);
        for (step, cut) in steps {
            life.world.cut_at(cut);
            life.step(&card, step);
            let reboot = matches!(step, Step::Reboot);
            if life.world.has_power() && !reboot {
                life.world.cut_at(None);
                continue;
            }
            life.world.power_returns(|| {
                next.set(next.get() + 1);
                if reboot { Fate::Done } else { fates[next.get() % fates.len()] }
            });
            card = life.boot();
            let status = card.status().expect("a status");
            let (running, other) = (status.running.version, status.other.map(|other| other.version));
            // What is in the other slot can still be booted, or will once it is activated.
            life.allowed = [running].into_iter().chain(other).collect();
        }
    }

    #[test]
    fn nothing_that_happened_keeps_a_card_from_its_next_version(
        steps in proptest::collection::vec((step(), proptest::option::weighted(0.25, 1..20_u64)), 1..10),
        fates in proptest::collection::vec(fate(), 1..40),
    ) {
        let mut life = Life { world: flashed(), broken: Vec::new(), allowed: (1..10).map(version).collect() };
        let mut card = life.boot();
        let next = Cell::new(0);
        for (step, cut) in steps {
            life.world.cut_at(cut);
            life.step(&card, step);
            life.world.power_returns(|| {
                next.set(next.get() + 1);
                fates[next.get() % fates.len()]
            });
            card = life.boot();
        }
        card.bless().expect("what runs works");
        card.install(&mut bundle(9).as_slice()).expect("installed");
        card.activate(version(9)).expect("activated");
        life.world.shut_down();
        let booted = life.world.boot(all);
        prop_assert_eq!(booted.version(), version(9));
        prop_assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept);
    }
}
