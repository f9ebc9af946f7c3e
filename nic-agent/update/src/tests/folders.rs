//! The same on plain files in a temporary folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use crate::medium::Slot;
use crate::{Folders, InstallError, OpenError, STORE, Settled, Updater, settle};

use super::world::{Build, version};
use super::{bundle, root};

/// A card's folders with version 1 in the first slot.
fn card(root_folder: &Path) -> Folders {
    let build = Build::of(version(1));
    let data = root_folder.join("state");
    if !data.exists() {
        fs::create_dir_all(&data).expect("a folder");
        fs::create_dir_all(root_folder.join("esp")).expect("a folder");
        let mut partition = build.image.clone();
        partition.resize(4 << 20, 0);
        for name in ["disk1", "disk2"] {
            fs::write(root_folder.join(name), &partition).expect("written");
        }
        symlink("disk1", root_folder.join("root-a")).expect("a link");
        symlink("disk2", root_folder.join("root-b")).expect("a link");
        fs::write(root_folder.join("esp/nic-1.0.0.efi"), &build.uki).expect("written");
        fs::write(root_folder.join("running"), "slot=root-a\nversion=1.0.0\nboard=generic\n")
            .expect("written");
        fs::write(root_folder.join("root.json"), root()).expect("written");
        fs::write(data.join(STORE), "the store").expect("written");
    }
    let from = data.join(STORE);
    Folders::open(root_folder, &data)
        .expect("a card")
        .with_store(Box::new(move |path| fs::copy(&from, path).map(|_| 41)), Box::new(|| 44))
}

#[test]
fn an_update_and_the_way_back_work_on_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let updater = Updater::new(Arc::new(card(path)));
    let before = fs::read(path.join("disk1")).expect("readable");
    updater.install(&mut bundle(2).as_slice()).expect("installed");
    updater.activate(version(2)).expect("activated");
    assert_eq!(fs::read(path.join("disk1")).expect("readable"), before, "what runs is untouched");
    assert!(fs::read(path.join("disk2")).expect("readable").starts_with(&Build::of(version(2)).image));
    assert_eq!(
        fs::read(path.join("esp/nic-2.0.0+3.efi")).expect("there"),
        Build::of(version(2)).uki.as_slice()
    );
    assert_eq!(fs::read(path.join("state/store-of-1.0.0-before-2.0.0-at-41")).expect("there"), b"the store");

    fs::rename(path.join("esp/nic-2.0.0+3.efi"), path.join("esp/nic-2.0.0+2-1.efi")).expect("booted");
    fs::write(path.join("running"), "slot=root-b\nversion=2.0.0\nboard=generic\n").expect("written");
    let updater = Updater::new(Arc::new(card(path)));
    assert!(updater.bless().expect("blessed"));
    fs::write(path.join("state").join(STORE), "migrated").expect("written");
    let back = updater.rollback().expect("there is version 1");
    assert_eq!(back.restored.map(|copied| (copied.revision, back.revision)), Some((41, 44)));
    assert!(path.join("esp/nic-2.0.0+0.efi").exists());

    fs::write(path.join("running"), "slot=root-a\nversion=1.0.0\nboard=generic\n").expect("written");
    assert!(matches!(settle(&card(path), None).expect("settled"), Settled::Restored(_)));
    assert_eq!(fs::read(path.join("state").join(STORE)).expect("there"), b"the store");
}

#[test]
fn two_names_of_one_partition_are_not_two_slots() {
    let folder = tempfile::tempdir().expect("a folder");
    let card = card(folder.path());
    fs::remove_file(folder.path().join("root-b")).expect("removed");
    symlink("disk1", folder.path().join("root-b")).expect("a link");
    let before = fs::read(folder.path().join("disk1")).expect("readable");
    let refused = Updater::new(Arc::new(card)).install(&mut bundle(2).as_slice());
    assert!(matches!(refused, Err(InstallError::InUse)), "{refused:?}");
    assert_eq!(fs::read(folder.path().join("disk1")).expect("readable"), before);
}

#[test]
fn a_folder_that_does_not_say_what_runs_is_refused_by_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |text: &str| {
        fs::write(folder.path().join("running"), text).expect("written");
        Folders::open(folder.path(), folder.path())
    };
    assert!(matches!(Folders::open(folder.path(), folder.path()), Err(OpenError::File { .. })));
    for (text, wrong) in [
        ("", "slot"),
        ("slot=root-c\nversion=1.0.0\nboard=x\n", "slot"),
        ("slot=root-a\nversion=1.0\nboard=x\n", "version"),
        ("slot=root-a\nversion=1.0.0\nboard=\n", "board"),
    ] {
        let error = open(text).expect_err(text);
        assert!(matches!(error, OpenError::Running { field, .. } if field == wrong), "{text:?}: {error}");
    }
    let card = open("board=x\nversion=1.0.0\nslot=root-b\n").expect("complete");
    assert_eq!(crate::medium::Card::running(&card).slot, Slot::B);
}
