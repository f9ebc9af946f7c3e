//! What an operator does, with the power on.

use crate::bundle::{Reader, make_root};
use crate::entry::{Stage, Tries};
use crate::medium::Slot;
use crate::{
    ActivateError, Copied, InstallError, RollbackError, STORE, Settled, TRIES, go_back_to_copy, settle,
};

use super::world::{Build, World, version};
use super::{Recipe, bundle, new_key, root, time, updater};

fn works(_: crate::Version) -> bool {
    true
}

/// A card on which a version runs for the first time, before it has proven itself.
fn on_trial(number: u32) -> World {
    let world = World::flashed(root().clone());
    let running = updater(world.boot(works));
    running.install(&mut bundle(number).as_slice()).expect("installed");
    running.activate(version(number)).expect("activated");
    world.shut_down();
    world
}

#[test]
fn a_new_version_is_installed_activated_tried_and_blessed() {
    let world = World::flashed(root().clone());
    let before = world.partition(Slot::A);
    let old = updater(world.boot(works));
    let installed = old.install(&mut bundle(2).as_slice()).expect("installed");
    let build = Build::of(version(2));
    assert_eq!(
        (installed.version, installed.octets),
        (version(2), (build.image.len() + build.uki.len()) as u64)
    );
    assert!(world.partition(Slot::B).starts_with(&build.image));
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0.efi.new", "shim.bin"]);
    let status = old.status().expect("a status");
    assert_eq!(status.next, Some(version(1)), "what is only installed does not boot");
    assert_eq!(status.other.map(|other| other.stage), Some(Stage::Staged));
    old.activate(version(2)).expect("activated");
    old.activate(version(2)).expect("the answer may have been lost");
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0+3.efi", "shim.bin"]);
    assert_eq!(old.status().expect("a status").next, Some(version(2)));
    world.shut_down();

    let booted = world.boot(works);
    assert_eq!(booted.version(), version(2));
    let new = updater(booted);
    let trial = Stage::Bootable(Some(Tries { left: TRIES - 1, done: 1 }));
    assert_eq!(new.status().expect("a status").stage, Some(trial));
    assert!(new.bless().expect("blessed"));
    assert!(!new.bless().expect("it was"));
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0.efi", "shim.bin"]);
    assert_eq!(world.partition(Slot::A), before, "the slot that ran is untouched");
}

#[test]
fn a_version_that_does_not_work_is_tried_so_often_and_then_the_old_one_boots() {
    let world = on_trial(2);
    let tries = std::cell::Cell::new(0);
    let booted = world.boot(|running| {
        tries.set(tries.get() + u32::from(running == version(2)));
        running == version(1)
    });
    assert_eq!((booted.version(), tries.get()), (version(1), TRIES));
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept);
    let old = updater(booted);
    assert!(!old.bless().expect("it had proven itself"));
    // It can be given another chance, or a newer one be installed in its place.
    old.activate(version(2)).expect("activated again");
    assert!(world.names().contains(&"nic-2.0.0+3.efi".to_owned()));
    old.install(&mut bundle(3).as_slice()).expect("installed");
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-3.0.0.efi.new", "shim.bin"]);
}

#[test]
fn a_card_that_goes_back_before_the_blessing_keeps_its_configuration() {
    let world = on_trial(2);
    let new = updater(world.boot(works));
    world.write_store(1, 8);
    let back = new.rollback().expect("there is version 1");
    assert_eq!((back.to, back.restored, back.revision), (version(1), None, 8));
    assert!(!new.bless().expect("an operator gave it up"), "and so it stays");
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0+0.efi", "shim.bin"]);
    world.shut_down();
    let booted = world.boot(works);
    assert_eq!(booted.version(), version(1));
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept);
    assert_eq!(world.store(), "format 1 revision 8");
}

#[test]
fn a_card_that_goes_back_after_the_blessing_has_the_configuration_of_then() {
    let world = on_trial(2);
    let new = updater(world.boot(works));
    new.bless().expect("blessed");
    world.write_store(2, 9);
    let copied = Copied { of: version(1), before: version(2), revision: 5 };
    assert_eq!(new.status().expect("a status").copied, Some(copied));
    let would = new.can_go_back().expect("there is version 1");
    assert_eq!((would.restored, would.revision), (Some(copied), 9));
    assert_eq!(new.rollback().expect("there is version 1"), would);
    world.shut_down();
    let booted = world.boot(works);
    assert_eq!(booted.version(), version(1));
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Restored(copied));
    assert_eq!(world.store(), "format 1 revision 5");
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept, "once");
}

#[test]
fn a_version_that_finds_a_store_of_one_that_failed_has_its_copy() {
    let world = on_trial(2);
    // It wrote what version 1 does not read, and failed.
    world.write_store(2, 6);
    let booted = world.boot(|running| running == version(1));
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept);
    let copied = go_back_to_copy(&booted, None).expect("put back").expect("there is a copy");
    assert_eq!((copied.of, copied.revision), (version(1), 5));
    assert_eq!(world.store(), "format 1 revision 5");
    assert_eq!(go_back_to_copy(&booted, None).expect("looked"), None, "there is only one");
}

#[test]
fn an_activation_is_taken_back_before_the_reboot() {
    let world = World::flashed(root().clone());
    let running = updater(world.boot(works));
    running.install(&mut bundle(2).as_slice()).expect("installed");
    running.activate(version(2)).expect("activated");
    let back = running.rollback().expect("there is an activation");
    assert_eq!((back.to, back.restored), (version(1), None));
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0.efi.new", "shim.bin"]);
    running.activate(version(2)).expect("activated after all");
}

#[test]
fn nothing_is_installed_over_what_the_card_may_need() {
    let world = on_trial(2);
    let new = updater(world.boot(works));
    let slot = world.partition(Slot::A);
    let refused = new.install(&mut bundle(3).as_slice());
    assert!(matches!(refused, Err(InstallError::NotProven(running)) if running == version(2)), "{refused:?}");
    new.bless().expect("blessed");
    new.rollback().expect("there is version 1");
    let refused = new.install(&mut bundle(3).as_slice());
    assert!(
        matches!(refused, Err(InstallError::RolledBack(running)) if running == version(2)),
        "{refused:?}"
    );
    assert_eq!(world.partition(Slot::A), slot);
    assert!(matches!(new.rollback(), Ok(back) if back.to == version(1)), "it may be asked for twice");
}

#[test]
fn what_is_not_there_is_not_activated_and_what_is_older_not_either() {
    let world = World::flashed(root().clone());
    let running = updater(world.boot(works));
    assert!(matches!(running.activate(version(2)), Err(ActivateError::NotInstalled(_))));
    assert!(matches!(running.activate(version(1)), Err(ActivateError::NotNewer { .. })));
    assert!(matches!(running.rollback(), Err(RollbackError::Nothing)));
    running.install(&mut bundle(2).as_slice()).expect("installed");
    assert!(matches!(running.rollback(), Err(RollbackError::Nothing)), "what is installed was never tried");
}

#[test]
fn a_full_data_partition_keeps_a_version_from_being_activated() {
    let world = World::flashed(root().clone());
    let running = updater(world.boot(works));
    running.install(&mut bundle(2).as_slice()).expect("installed");
    world.fill_data();
    assert!(matches!(running.activate(version(2)), Err(ActivateError::DataFull)));
    assert_eq!(world.names(), ["nic-1.0.0.efi", "nic-2.0.0.efi.new", "shim.bin"]);
    assert_eq!(world.store(), "format 1 revision 5");
}

#[test]
fn a_reset_forgets_the_configuration_and_nothing_that_keeps_old_bundles_out() {
    let world = on_trial(3);
    let running = updater(world.boot(works));
    running.bless().expect("blessed");
    running.factory_reset().expect("marked");
    assert!(world.data_names().contains(&STORE.to_owned()), "it happens at the next start");
    world.shut_down();
    let booted = world.boot(works);
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Reset);
    assert_eq!(world.data_names(), ["update-trust"]);
    assert_eq!(settle(&booted, None).expect("settled"), Settled::Kept);
    let mut old = Recipe::of(4);
    old.release = 2;
    let refused = updater(booted).install(&mut old.bundle().as_slice());
    assert!(matches!(refused, Err(InstallError::Metadata(_))), "{refused:?}");
}

#[test]
fn keys_are_replaced_by_a_root_that_the_old_ones_sign() {
    let world = World::flashed(root().clone());
    let running = updater(world.boot(works));
    let new = new_key();
    let keys = std::slice::from_ref(&new);
    let signers = [super::key().clone(), new.clone()];
    let second = make_root(super::number(2), time(super::EXPIRES), keys, super::number(1), &signers);
    let roots = vec![root().clone(), second.expect("a root")];
    let rotated = Recipe { key: &new, roots, ..Recipe::of(2) };
    running.install(&mut rotated.bundle().as_slice()).expect("installed");
    // From now on the old key is worth nothing, though the image knows only that.
    let refused = running.install(&mut bundle(3).as_slice());
    assert!(matches!(refused, Err(InstallError::Metadata(_))), "{refused:?}");
    let alone = Recipe { key: &new, roots: rotated.roots[1..].to_vec(), ..Recipe::of(4) };
    running.install(&mut alone.bundle().as_slice()).expect("installed");
}

#[test]
fn the_same_contents_make_the_same_bundle() {
    let one = Recipe::of(2).bundle();
    assert!(one == Recipe::of(2).bundle());
    let (mut reader, metadata) = Reader::open(one.as_slice()).expect("a bundle");
    let names: Vec<_> = metadata.keys().map(String::as_str).collect();
    assert_eq!(names, ["1.root.json", "snapshot.json", "targets.json", "timestamp.json"]);
    let build = Build::of(version(2));
    for (name, contents) in [("root.img", &build.image), ("uki.efi", &build.uki)] {
        let part = reader.next_part().expect("a part").expect("not the end");
        assert_eq!((part.name.as_str(), part.length), (name, contents.len() as u64));
    }
    reader.finish().expect("the end");
}
