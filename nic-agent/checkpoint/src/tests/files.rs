//! Real files: who may use them, and what is done with those that are not used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::keeper::Opened;
use crate::tables::{META, OBJECTS};
use crate::{DirectoryError, StartError, Unusable};

fn file(folder: &Path) -> PathBuf {
    folder.join("policy.redb")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn open(folder: &Path) -> Opened {
    crate::open(folder).expect("nobody else uses it")
}

/// Has a folder keep a policy.
fn keep(folder: &Path) -> State {
    let state = State::default().after(STORE, &full(7, puts(0..20, 0)));
    let keeper = open(folder).keep(0).expect("a thread");
    keeper.published(1, STORE, full(7, puts(0..20, 0)), Arc::new(state.clone()));
    drop(keeper);
    state
}

/// Expects that what is there is not used, and is put aside as it is.
fn refused(folder: &Path) -> Arc<Unusable> {
    let opened = open(folder);
    assert_eq!(opened.loaded(), None);
    assert!(fs::symlink_metadata(file(folder)).is_err(), "put aside");
    assert!(fs::symlink_metadata(folder.join("policy.redb.unusable")).is_ok());
    let (queue, _writer) = opened.into_parts(0);
    let status = queue.status().borrow().clone();
    status.unreadable.expect("told")
}

fn edit(folder: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(file(folder)).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    change(&transaction);
    transaction.commit().expect("committed");
}

fn set(folder: &Path, name: &str, value: &[u8]) {
    edit(folder, |transaction| {
        transaction.open_table(META).expect("a table").insert(name, value).expect("written");
    });
}

#[test]
fn the_directory_is_made_for_us_alone_and_the_policy_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("new/state");
    let state = keep(&directory);
    assert_eq!((mode(&directory), mode(&file(&directory))), (0o700, 0o600));
    let opened = open(&directory);
    let loaded = opened.loaded().expect("a policy");
    assert_eq!(State::of(loaded.store, &loaded.delta), state);
}

#[test]
fn a_second_process_on_a_directory_is_told_so_with_a_policy_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path());
    assert!(matches!(crate::open(folder.path()), Err(StartError::InUse(path)) if path == folder.path()));
    drop(first);
    keep(folder.path());
    let first = open(folder.path());
    assert!(matches!(crate::open(folder.path()), Err(StartError::InUse(_))));
    drop(first);
    // Whoever has only the file open is not driven off it either.
    let database = redb::Database::open(file(folder.path())).expect("a database");
    assert!(matches!(crate::open(folder.path()), Err(StartError::InUse(_))));
    drop(database);
    assert!(open(folder.path()).loaded().is_some());
}

#[test]
fn a_torn_or_foreign_file_is_put_aside_and_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    keep(folder.path());
    let whole = fs::read(file(folder.path())).expect("readable");
    for bytes in [b"no database", &whole[..whole.len() / 2], &whole[..5000], &[0; 65_536]] {
        fs::write(file(folder.path()), bytes).expect("writable");
        refused(folder.path());
        assert_eq!(fs::read(folder.path().join("policy.redb.unusable")).expect("kept"), bytes);
    }
    fs::write(file(folder.path()), b"").expect("writable");
    assert!(matches!(*refused(folder.path()), Unusable::Empty));
    fs::write(file(folder.path()), &whole).expect("writable");
    set_mode(&file(folder.path()), 0o600);
    assert!(open(folder.path()).loaded().is_some());
}

#[test]
fn a_byte_changed_anywhere_never_goes_unnoticed_as_another_policy() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = keep(folder.path());
    let whole = fs::read(file(folder.path())).expect("readable");
    let interesting: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut unused = 0;
    for &at in interesting.iter().step_by(interesting.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(file(folder.path()), &bytes).expect("writable");
        match open(folder.path()).loaded() {
            Some(loaded) => assert_eq!(State::of(loaded.store, &loaded.delta), state, "byte {at}"),
            None => unused += 1,
        }
    }
    assert!(unused > 0);
}

#[test]
fn a_file_that_others_can_change_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    for bits in [0o620, 0o602] {
        keep(folder.path());
        set_mode(&file(folder.path()), bits);
        assert!(matches!(*refused(folder.path()), Unusable::Mode(found) if found == bits));
    }
    keep(folder.path());
    let elsewhere = folder.path().join("elsewhere.redb");
    fs::rename(file(folder.path()), &elsewhere).expect("ours");
    symlink(&elsewhere, file(folder.path())).expect("ours");
    assert!(matches!(*refused(folder.path()), Unusable::NoFile));
    fs::create_dir(file(folder.path())).expect("ours");
    fs::remove_file(folder.path().join("policy.redb.unusable")).expect("ours");
    assert!(matches!(*refused(folder.path()), Unusable::NoFile));
    if nix::unistd::geteuid().is_root() {
        fs::remove_dir(folder.path().join("policy.redb.unusable")).expect("ours");
        keep(folder.path());
        std::os::unix::fs::chown(file(folder.path()), Some(1), None).expect("root may");
        assert!(matches!(*refused(folder.path()), Unusable::Owner(1)));
    }
}

#[test]
fn versions_and_contents_that_are_unknown_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let refused_with = |name: &str, value: &[u8]| {
        keep(folder);
        set(folder, name, value);
        refused(folder)
    };
    let found = refused_with("format", &2u32.to_be_bytes());
    assert!(matches!(*found, Unusable::Format { found: 2, known: 1 }), "{found}");
    for version in [0, 99u32] {
        let found = refused_with("schema", &version.to_be_bytes());
        assert!(matches!(*found, Unusable::Schema { found, .. } if found == version), "{found}");
    }
    assert!(matches!(*refused_with("objects", &19u64.to_be_bytes()), Unusable::Contents));
    assert!(matches!(*refused_with("digest", &[1; 16]), Unusable::Contents));
    assert!(matches!(*refused_with("store", &[1; 15]), Unusable::Malformed("store")));
    keep(folder);
    edit(folder, |transaction| {
        transaction.open_table(META).expect("a table").remove("revision").expect("removed");
    });
    assert!(matches!(*refused(folder), Unusable::Missing("revision")));
    keep(folder);
    edit(folder, |transaction| assert!(transaction.delete_table(OBJECTS).expect("deleted")));
    assert!(matches!(*refused(folder), Unusable::Missing("the table objects")));
    // One object that is not understood, or stands in another's place, spoils all.
    for (key, value) in [
        (&b"key"[..], &b"\xff"[..]),
        (&record::key(object(0, 0).id()), b""),
        (&record::key(object(3, 0).id()), &record::value(&object(0, 0))),
    ] {
        keep(folder);
        edit(folder, |transaction| {
            transaction.open_table(OBJECTS).expect("a table").insert(key, value).expect("written");
        });
        assert!(matches!(*refused(folder), Unusable::Record(_)));
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_told_and_used_once_it_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("state");
    let state = keep(&directory);
    set_mode(&directory, 0o770);
    let opened = open(&directory);
    assert_eq!(opened.loaded(), None);
    let (queue, mut writer) = opened.into_parts(0);
    let unreadable = queue.status().borrow().unreadable.clone().expect("told");
    assert!(matches!(*unreadable, Unusable::Directory(DirectoryError::Mode(0o770))), "{unreadable}");
    let publish = |number: u64| {
        let policy = Arc::new(state.clone());
        queue.publish(
            Newest { number, store: STORE, revision: Revision(number), policy },
            full(number, Vec::new()),
        );
        queue.settle(number + 1);
    };
    publish(1);
    assert!(writer.work().is_some());
    assert!(!file(&directory).exists(), "an old policy must not be found later");
    assert_eq!(*queue.applied().borrow(), Revision(1));
    set_mode(&directory, 0o700);
    assert_eq!(writer.work(), None);
    let status = queue.status().borrow().clone();
    assert!(status.not_saved.is_none() && status.unreadable.is_none(), "{status:?}");
    assert!(file(&directory).exists());
}

#[test]
fn a_destroyed_policy_is_gone_or_where_nothing_can_be_removed_empty() {
    use crate::folder::Folder;
    use crate::medium::Medium;
    let folder = tempfile::tempdir().expect("a folder");
    keep(folder.path());
    // Nothing can be removed from a directory of that mode, unless by root.
    set_mode(folder.path(), 0o500);
    Folder::new(folder.path()).destroy().expect("it can be written to");
    set_mode(folder.path(), 0o700);
    assert_eq!(fs::metadata(file(folder.path())).map_or(0, |metadata| metadata.len()), 0);
    assert_eq!(open(folder.path()).loaded(), None);
}
