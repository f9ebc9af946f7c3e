//! nic-agent alone: installed, started on trial, given up and taken back; and refused.

use std::sync::Arc;

use crate::bundle::{BundleError, Kind, make_root};
use crate::entry::{Stage, TRIES, Tries};
use crate::medium::Card;
use crate::{
    ActivateError, InstallError, Launch, MetadataError, Settled, Updater, Version, go_back_to_copy, launch,
    on_trial, settle,
};

use super::world::{Booted, FATES, World, version};
use super::{EXPIRES, Recipe, key, new_key, number, root, time};

/// Versions of the series of image 1.
fn agent(patch: u32) -> Version {
    Version::new(1, 0, patch)
}

pub(super) fn program(version: Version) -> Vec<u8> {
    let seed = version.to_string();
    seed.bytes().cycle().zip(0..30_001_usize).map(|(byte, at)| byte ^ (at / 11) as u8).collect()
}

/// An ordinary bundle of nic-agent alone.
fn recipe(patch: u32) -> Recipe<'static> {
    Recipe { kind: Kind::Agent, version: agent(patch), ..Recipe::of(patch) }
}

fn install(card: &Updater, patch: u32) -> Result<crate::Installed, InstallError> {
    card.install(&mut recipe(patch).bundle().as_slice())
}

fn flashed() -> World {
    World::flashed(root().clone())
}

/// A start of nic-agent on what runs: which it is, with all done that a start does.
fn begin(booted: &Booted) -> (Option<Version>, Settled) {
    let launched = match launch(booted).expect("launched") {
        Launch::Image => None,
        Launch::Beside { beside, program } => {
            assert!(program == self::program(beside.version), "what is run is what was signed");
            Some(beside.version)
        }
    };
    (launched, settle(booted, launched).expect("settled"))
}

/// A boot, and a start of nic-agent.
fn start(world: &World) -> (Option<Version>, Updater) {
    let booted = world.boot(|_| true);
    let (launched, _) = begin(&booted);
    (launched, Updater::new(Arc::new(booted)).launched(launched))
}

/// A card on which that nic-agent has proven itself.
fn proven(patch: u32) -> World {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, patch).expect("installed");
    assert_eq!(card.activate(agent(patch)).expect("activated"), Kind::Agent);
    let (launched, card) = start(&world);
    assert_eq!(launched, Some(agent(patch)));
    assert!(card.bless_agent().expect("blessed"));
    world
}

#[test]
fn an_agent_is_installed_activated_tried_and_blessed_and_no_boot_is_needed() {
    let world = flashed();
    let booted = world.boot(|_| true);
    let card = Updater::new(Arc::new(booted));
    let esp = world.names();
    let installed = install(&card, 1).expect("installed");
    let length = program(agent(1)).len() as u64;
    assert_eq!((installed.kind, installed.version, installed.octets), (Kind::Agent, agent(1), length));
    assert_eq!(start(&world).0, None, "what is only installed does not start");
    card.activate(agent(1)).expect("activated");
    assert_eq!(card.activate(agent(1)).expect("the answer may have been lost"), Kind::Agent);
    let (launched, card) = start(&world);
    assert_eq!(launched, Some(agent(1)));
    let trial = Stage::Bootable(Some(Tries { left: TRIES - 1, done: 1 }));
    let status = card.status().expect("a status");
    assert_eq!(
        status.beside.iter().map(|it| (it.version, it.stage)).collect::<Vec<_>>(),
        [(agent(1), trial)]
    );
    assert_eq!(status.agent, Some(agent(1)));
    assert!(card.agent_on_trial().expect("told").is_some());
    assert!(card.bless_agent().expect("blessed"));
    assert!(!card.bless_agent().expect("it was"));
    assert_eq!(card.agent_on_trial().expect("told"), None);
    assert!(world.data_names().contains(&"agent-1.0.1-on-1.0.0".to_owned()), "{:?}", world.data_names());
    assert_eq!(world.names(), esp, "the slots are as they were");
    assert_eq!(card.status().expect("a status").next, Some(version(1)));
}

#[test]
fn an_agent_that_does_not_prove_itself_is_started_so_often_and_then_the_one_before() {
    for (before, own) in [(flashed(), None), (proven(1), Some(agent(1)))] {
        let (_, card) = start(&before);
        install(&card, 2).expect("installed");
        card.activate(agent(2)).expect("activated");
        for _ in 0..TRIES {
            assert_eq!(start(&before).0, Some(agent(2)));
        }
        let (launched, card) = start(&before);
        assert_eq!(launched, own);
        assert_eq!(before.store(), "format 1 revision 5");
        let stage = card.status().expect("a status").beside.first().map(|it| it.stage);
        assert_eq!(stage, Some(Stage::Bootable(Some(Tries { left: 0, done: TRIES }))), "and that is told");
        card.activate(agent(2)).expect("it can be given another chance");
        assert_eq!(start(&before).0, Some(agent(2)));
    }
}

#[test]
fn a_version_on_trial_is_known_before_the_store_is_opened() {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, 1).expect("installed");
    card.activate(agent(1)).expect("activated");
    let booted = world.boot(|_| true);
    assert!(!on_trial(&booted, None).expect("told"), "the image's own is not");
    let (launched, _) = begin(&booted);
    assert!(on_trial(&booted, launched).expect("told"));
    Updater::new(Arc::new(world.boot(|_| true))).launched(launched).bless_agent().expect("blessed");
    assert!(!on_trial(&booted, launched).expect("told"));
}

#[test]
fn the_one_before_stays_until_the_new_one_has_proven_itself() {
    let world = proven(1);
    let (_, card) = start(&world);
    install(&card, 2).expect("installed");
    card.activate(agent(2)).expect("activated");
    assert!(world.data_names().contains(&"agent-1.0.1-on-1.0.0".to_owned()));
    let (launched, card) = start(&world);
    assert_eq!(launched, Some(agent(2)));
    let refused = install(&card, 3).expect_err("what it would go back to is not known yet");
    assert!(matches!(refused, InstallError::AgentNotProven(version) if version == agent(2)), "{refused}");
    card.bless_agent().expect("blessed");
    let names = world.data_names();
    assert!(!names.contains(&"agent-1.0.1-on-1.0.0".to_owned()), "{names:?}");
}

#[test]
fn an_agent_is_taken_back_and_the_configuration_with_it_once_it_had_proven_itself() {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, 1).expect("installed");
    card.activate(agent(1)).expect("activated");
    let (_, card) = start(&world);
    let would = card.can_go_back().expect("to the image's own");
    assert_eq!((would.kind, would.to, would.restored), (Kind::Agent, version(1), None), "it is on trial");
    card.bless_agent().expect("blessed");
    world.write_store(2, 9);
    let would = card.can_go_back().expect("to the image's own");
    assert_eq!((would.restored.map(|copied| copied.revision), would.revision), (Some(5), 9));
    assert_eq!(card.rollback().expect("taken back"), would);
    assert!(!card.bless_agent().expect("an operator gave it up"), "and so it stays");
    let booted = world.boot(|_| true);
    let (launched, settled) = begin(&booted);
    assert_eq!(launched, None);
    assert!(matches!(settled, Settled::Restored(copied) if copied.revision == 5), "{settled:?}");
    assert_eq!(world.store(), "format 1 revision 5");
    assert_eq!(begin(&booted).1, Settled::Kept, "once");
}

#[test]
fn a_slot_that_was_activated_is_taken_back_before_an_agent() {
    let world = proven(1);
    let (_, card) = start(&world);
    card.install(&mut super::bundle(3).as_slice()).expect("installed");
    card.activate(version(3)).expect("activated");
    let back = card.rollback().expect("the activation");
    assert_eq!((back.kind, back.to), (Kind::Slot, version(1)));
    assert_eq!(card.rollback().expect("the agent").kind, Kind::Agent);
}

#[test]
fn an_image_has_its_own_agent_and_finds_the_one_that_was_installed_on_it_again() {
    let world = proven(1);
    let (_, card) = start(&world);
    card.install(&mut super::bundle(3).as_slice()).expect("installed");
    card.activate(version(3)).expect("activated");
    world.shut_down();
    let (launched, card) = start(&world);
    assert_eq!((launched, card.status().expect("a status").running.version), (None, version(3)));
    card.bless().expect("blessed");
    let refused = install(&card, 9).expect_err("of another series");
    assert!(matches!(refused, InstallError::Series { .. }), "{refused}");
    assert_eq!(card.rollback().expect("there is version 1").kind, Kind::Slot);
    world.shut_down();
    let (launched, card) = start(&world);
    assert_eq!((launched, card.status().expect("a status").running.version), (Some(agent(1)), version(1)));
}

#[test]
fn bundles_of_images_that_are_gone_make_room() {
    let world = proven(1);
    world.rename("agent-1.0.1-on-1.0.0", "agent-0.9.1-on-0.9.0");
    let (launched, card) = start(&world);
    assert_eq!(launched, None, "it is for another image");
    install(&card, 2).expect("installed");
    let names = world.data_names();
    assert!(!names.iter().any(|name| name.starts_with("agent-0.9")), "{names:?}");
}

#[test]
fn what_was_installed_last_is_what_is_activated() {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, 1).expect("installed");
    card.install(&mut super::bundle(3).as_slice()).expect("installed");
    assert!(matches!(card.activate(agent(1)), Err(ActivateError::NotInstalled(_))), "the slot came later");
    install(&card, 9).expect("installed");
    assert_eq!(card.activate(version(3)).expect("activated"), Kind::Slot);
}

/// Refused before anything was written.
fn refused(world: &World, card: &Updater, bytes: &[u8], why: impl Fn(&InstallError) -> bool) {
    let (writes, names) = (world.writes(), world.data_names());
    let error = card.install(&mut &bytes[..]).expect_err("refused");
    assert!(why(&error), "{error:?}: {error}");
    assert_eq!((world.writes(), world.data_names()), (writes, names), "something was written");
}

/// Refused while it was written: nothing of it is left, and the next one is taken.
fn refused_while_written(bytes: &[u8], why: impl Fn(&InstallError) -> bool) {
    let world = proven(2);
    let (launched, card) = start(&world);
    assert_eq!(launched, Some(agent(2)));
    let error = card.install(&mut &bytes[..]).expect_err("refused");
    assert!(why(&error), "{error:?}: {error}");
    let names = world.data_names();
    assert!(!names.iter().any(|name| name.starts_with("agent-1.0.3")), "{names:?}");
    assert_eq!(start(&world).0, Some(agent(2)));
    install(&card, 3).expect("the next one is installed");
}

#[test]
fn an_agent_that_is_older_of_another_series_or_board_or_signed_by_others_is_refused() {
    let world = proven(2);
    let (_, card) = start(&world);
    let is = |world: &World, recipe: Recipe<'_>, why: &dyn Fn(&InstallError) -> bool| {
        refused(world, &card, &recipe.bundle(), why);
    };
    let newer = |recipe: Recipe<'static>| Recipe { release: 9, ..recipe };
    for patch in [1, 2] {
        is(
            &world,
            newer(recipe(patch)),
            &|error| matches!(error, InstallError::NotNewer { running, .. } if *running == agent(2)),
        );
    }
    is(
        &world,
        Recipe { version: version(1), ..newer(recipe(1)) },
        &|error| matches!(error, InstallError::NotNewer { running, .. } if *running == version(1)),
    );
    for other in [Version::new(1, 1, 0), version(2)] {
        is(
            &world,
            Recipe { version: other, ..newer(recipe(3)) },
            &|error| matches!(error, InstallError::Series { bundle, image } if (*bundle, *image) == (other, version(1))),
        );
    }
    is(
        &world,
        Recipe { board: "bluefield3", ..recipe(3) },
        &|error| matches!(error, InstallError::Board { bundle, .. } if bundle == "bluefield3"),
    );
    is(&world, Recipe { release: 1, ..recipe(3) }, &|error| {
        matches!(error, InstallError::Metadata(MetadataError::Older(_)))
    });
    let stranger = new_key();
    let forged = Recipe { key: &stranger, roots: vec![super::first_root(&stranger)], ..recipe(3) };
    is(&world, forged, &|error| matches!(error, InstallError::Metadata(MetadataError::Signature { .. })));
    world.set_now(1_850_000_001);
    is(&world, Recipe { expires: 1_850_000_000, ..recipe(3) }, &|error| {
        matches!(error, InstallError::Metadata(MetadataError::Expired { .. }))
    });
}

#[test]
fn an_agent_that_is_corrupt_cut_off_or_endless_leaves_nothing() {
    let whole = recipe(3).bundle();
    let mut corrupt = whole.clone();
    *corrupt.last_mut().expect("not empty") ^= 1;
    refused_while_written(&corrupt, |error| matches!(error, InstallError::Corrupt("nic-agent")));
    for end in [whole.len() - 1, whole.len() - 20_000, whole.len() - 30_001] {
        refused_while_written(&whole[..end], |error| {
            matches!(error, InstallError::Bundle(BundleError::Truncated(_)))
        });
    }
    let endless = [&whole[..], b"more"].concat();
    refused_while_written(&endless, |error| matches!(error, InstallError::Bundle(BundleError::Endless)));
}

#[test]
fn without_room_or_while_the_slot_is_on_trial_no_agent_is_installed() {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, 1).expect("installed");
    world.shrink_data(40_000);
    refused(&world, &card, &recipe(2).bundle()[..], |error| matches!(error, InstallError::DataFull));
    let world = flashed();
    let (_, card) = start(&world);
    world.fill_data();
    let error = install(&card, 1).expect_err("no room");
    assert!(matches!(error, InstallError::DataFull), "{error:?}");
    assert!(!world.data_names().iter().any(|name| name.starts_with("agent-")), "{:?}", world.data_names());
    let world = flashed();
    let (_, card) = start(&world);
    card.install(&mut super::bundle(3).as_slice()).expect("installed");
    card.activate(version(3)).expect("activated");
    world.shut_down();
    let (_, card) = start(&world);
    let bundle = Recipe { version: Version::new(3, 0, 1), ..recipe(9) }.bundle();
    refused(&world, &card, &bundle, |error| matches!(error, InstallError::NotProven(_)));
}

#[test]
fn what_was_changed_in_the_data_folder_is_not_run_and_the_image_has_its_own() {
    let length = recipe(1).bundle().len();
    let metadata = length - program(agent(1)).len();
    let places = (0..metadata).step_by(61).chain((metadata..length).step_by(4001)).chain([length - 1]);
    for place in places {
        let world = proven(1);
        world.change("agent-1.0.1-on-1.0.0", |bytes| bytes[place] ^= 4);
        // Of the root of trust that it has itself the card reads none. `begin` looks at what is run.
        let launched = start(&world).0;
        assert!(launched.is_none() || place < metadata, "{place}");
    }
    for change in [
        |bytes: &mut Vec<u8>| bytes.truncate(1000),
        |bytes: &mut Vec<u8>| bytes.clear(),
        |bytes: &mut Vec<u8>| bytes.push(0),
    ] {
        let world = proven(1);
        world.change("agent-1.0.1-on-1.0.0", change);
        let (launched, card) = start(&world);
        assert_eq!(launched, None);
        assert!(world.data_names().contains(&"agent-1.0.1-on-1.0.0+0".to_owned()), "it is given up");
        install(&card, 2).expect("the next one is installed");
    }
}

#[test]
fn a_bundle_under_another_ones_name_is_not_run() {
    for recipe in [recipe(2), Recipe { board: "bluefield3", ..recipe(1) }] {
        let world = proven(1);
        world.change("agent-1.0.1-on-1.0.0", |bytes| *bytes = recipe.bundle());
        assert_eq!(start(&world).0, None);
    }
    let world = proven(1);
    world.change("agent-1.0.1-on-1.0.0", |bytes| *bytes = super::bundle(3));
    assert_eq!(start(&world).0, None, "a slot is no program");
}

#[test]
fn what_was_installed_in_time_goes_on_after_its_expiry_but_not_once_its_keys_are_worth_nothing() {
    let world = proven(1);
    world.set_now(EXPIRES + 1);
    assert_eq!(start(&world).0, Some(agent(1)));
    world.set_now(1_800_000_000);
    let (_, card) = start(&world);
    let new = new_key();
    let keys = std::slice::from_ref(&new);
    let second = make_root(number(2), time(EXPIRES), keys, number(1), &[key().clone(), new.clone()]);
    let roots = vec![root().clone(), second.expect("a root")];
    let slot = Recipe { key: &new, roots, ..Recipe::of(3) };
    card.install(&mut slot.bundle().as_slice()).expect("installed");
    assert_eq!(start(&world).0, None);
}

#[test]
fn an_agent_that_finds_a_store_of_a_newer_one_has_its_copy() {
    let world = proven(1);
    world.write_store(2, 9);
    // What had proven itself was damaged.
    world.change("agent-1.0.1-on-1.0.0", Vec::clear);
    let booted = world.boot(|_| true);
    let (launched, _) = begin(&booted);
    let copied = go_back_to_copy(&booted, launched).expect("put back").expect("there is a copy");
    assert_eq!((copied.of, copied.before, copied.revision), (version(1), agent(1), 5));
    assert_eq!(world.store(), "format 1 revision 5");
}

/// Does something with a power cut at each of its writes, and with each fate of what was not synced. One of
/// the nic-agents starts then, with a store that it reads, and a newer one can be installed.
fn at_every_write(before: fn() -> World, action: fn(&Updater) -> bool, allowed: &[Option<Version>]) {
    let world = before();
    let (_, card) = start(&world);
    let begun = world.writes();
    assert!(action(&card), "it works without a power cut");
    let writes = world.writes() - begun;
    assert!(writes > 1, "nothing was written");
    for write in 1..=writes {
        for fate in FATES {
            let world = before();
            let (_, card) = start(&world);
            world.cut_at(Some(write));
            assert!(!action(&card) || !world.has_power(), "write {write} of {writes} did not matter");
            world.power_returns(|| fate);
            let (launched, card) = start(&world);
            assert!(allowed.contains(&launched), "{launched:?} after a cut at write {write}, {fate:?}");
            // What migrated is not met by what does not read it.
            let store = world.store();
            assert!(
                launched.is_some() || store.starts_with("format 1"),
                "{store} at write {write}, {fate:?}"
            );
            card.bless_agent().expect("what runs works");
            install(&card, 9).expect("installed");
            card.activate(agent(9)).expect("activated");
            let (launched, card) = start(&world);
            assert_eq!(launched, Some(agent(9)));
            assert!(card.bless_agent().expect("blessed"));
            assert_eq!(start(&world).0, Some(agent(9)));
        }
    }
}

#[test]
fn a_cut_at_any_write_of_an_agents_install_leaves_the_old_one() {
    let action = |card: &Updater| install(card, 3).is_ok();
    at_every_write(flashed, action, &[None]);
    at_every_write(|| proven(1), action, &[Some(agent(1))]);
    // Over one that was installed and never activated.
    let installed = || {
        let world = flashed();
        install(&start(&world).1, 2).expect("installed");
        world
    };
    at_every_write(installed, action, &[None]);
}

#[test]
fn a_cut_at_any_write_of_an_agents_activation_leaves_the_old_one_or_the_new_one() {
    let action = |card: &Updater| install(card, 3).is_ok() && card.activate(agent(3)).is_ok();
    at_every_write(flashed, action, &[None, Some(agent(3))]);
    at_every_write(|| proven(1), action, &[Some(agent(1)), Some(agent(3))]);
}

/// A nic-agent in its first start.
fn activated() -> World {
    let world = flashed();
    let (_, card) = start(&world);
    install(&card, 3).expect("installed");
    card.activate(agent(3)).expect("activated");
    world
}

#[test]
fn a_cut_at_any_write_of_an_agents_blessing_or_rollback_leaves_one_that_reads_the_store() {
    at_every_write(activated, |card| card.bless_agent().is_ok(), &[Some(agent(3))]);
    at_every_write(activated, |card| card.rollback().is_ok(), &[None, Some(agent(3))]);
    let migrated = || {
        let world = proven(3);
        world.write_store(2, 9);
        world
    };
    at_every_write(migrated, |card| card.rollback().is_ok(), &[None, Some(agent(3))]);
}

#[test]
fn a_cut_at_any_write_of_a_start_costs_a_try_at_most() {
    for write in 1..=2 {
        for fate in FATES {
            let world = activated();
            let booted = world.boot(|_| true);
            world.cut_at(Some(write));
            // What cannot be counted is not started.
            let started = launch(&booted);
            assert!(started.is_err() || matches!(started, Ok(Launch::Image)), "{started:?}");
            world.power_returns(|| fate);
            let (launched, card) = start(&world);
            assert_eq!(launched, Some(agent(3)), "write {write}, {fate:?}");
            assert!(card.bless_agent().expect("blessed"));
            assert_eq!(Card::running(&world.boot(|_| true)).version, version(1));
        }
    }
}
