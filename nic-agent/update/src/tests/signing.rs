//! What makes bundles outside of cards: folders of keys, and the look at a whole bundle.

use proptest::prelude::*;

use super::refusals::behind_metadata;
use super::*;
use crate::bundle::{Keys, KeysError, ShowError, show};

fn made() -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::make(folder.path(), time(EXPIRES)).expect("keys");
    (folder, keys)
}

#[test]
fn a_folder_of_keys_reads_back_and_is_never_written_over() {
    let (folder, keys) = made();
    let again = Keys::read(folder.path()).expect("keys");
    assert_eq!(again.roots, keys.roots);
    assert_eq!(again.keys[0].as_bytes(), keys.keys[0].as_bytes());
    let error = Keys::make(folder.path(), time(EXPIRES)).expect_err("keys already");
    assert!(matches!(error, KeysError::NotEmpty(_)), "{error}");
    assert_eq!(Keys::read(folder.path()).expect("keys").roots, keys.roots);
    use std::os::unix::fs::PermissionsExt;
    let mode = folder.path().join("release.pk8").metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_folder_without_keys_or_roots_says_what_is_missing() {
    let (folder, _) = made();
    std::fs::rename(folder.path().join("1.root.json"), folder.path().join("root.json")).expect("renamed");
    assert!(matches!(Keys::read(folder.path()), Err(KeysError::NoRoot(_))));
    std::fs::remove_file(folder.path().join("release.pk8")).expect("removed");
    assert!(matches!(Keys::read(folder.path()), Err(KeysError::NoKey(_))));
    assert!(matches!(Keys::read(&folder.path().join("none")), Err(KeysError::File { .. })));
}

#[test]
fn roots_of_trust_are_read_by_their_numbers_and_not_by_their_letters() {
    let (folder, keys) = made();
    for version in 2..=11 {
        let root = bundle::make_root(number(version), time(EXPIRES), &keys.keys, number(1), &keys.keys);
        std::fs::write(folder.path().join(format!("{version}.root.json")), root.expect("a root"))
            .expect("written");
    }
    let read = Keys::read(folder.path()).expect("keys");
    assert_eq!(read.roots.len(), 11);
    let mut out = Vec::new();
    let contents = Contents {
        manifest: Manifest { board: BOARD.to_owned(), version: version(2), kind: Kind::Slot },
        release: number(7),
        expires: time(EXPIRES),
        targets: vec![Source::Bytes(b"image"), Source::Bytes(b"uki")],
    };
    bundle::write(&mut out, &read.roots, &read.keys, &contents).expect("each follows the one before");
    let shown = show(&*out, Some(&keys.roots[0]), time(1_800_000_000)).expect("led to the newest");
    assert_eq!((shown.manifest, shown.release, shown.expires), (contents.manifest, 7, time(EXPIRES)));
    let lengths: Vec<_> = shown.targets.iter().map(|(name, length, _)| (*name, *length)).collect();
    assert_eq!(lengths, [("root.img", 5), ("uki.efi", 3)]);
}

#[test]
fn a_bundle_of_others_is_whole_by_its_own_root_and_refused_by_ours() {
    let bundle = bundle(3);
    let (_folder, other) = made();
    assert!(show(&*bundle, None, time(1_800_000_000)).is_ok());
    assert!(show(&*bundle, Some(root()), time(1_800_000_000)).is_ok());
    let error = show(&*bundle, Some(&other.roots[0]), time(1_800_000_000)).expect_err("another's");
    assert!(matches!(error, ShowError::Metadata(_)), "{error}");
    assert!(matches!(show(&*bundle, None, time(EXPIRES)), Err(ShowError::Metadata(_))), "expired");
}

proptest! {
    // Each reads a whole bundle, and verifies its signatures, twice.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_bundle_that_is_cut_anywhere_is_refused(at: prop::sample::Index) {
        let whole = bundle(3);
        prop_assert!(show(&whole[..at.index(whole.len())], Some(root()), time(1_800_000_000)).is_err());
    }

    // What is signed is the metadata's canonical form (TUF 4.2): a hash in capitals means the same, and of a
    // root that the card has itself none is read.
    #[test]
    fn a_bundle_that_is_changed_is_refused_or_means_the_same(
        at: prop::sample::Index,
        in_metadata: bool,
        flip in 1_u8..,
    ) {
        let whole = bundle(3);
        let (root, now) = (Some(root().as_slice()), time(1_800_000_000));
        let targets = behind_metadata(&whole);
        let at = at.index(if in_metadata { targets } else { whole.len() });
        let mut changed = whole.clone();
        changed[at] ^= flip;
        if let Ok(shown) = show(&*changed, root, now) {
            prop_assert!(at < targets, "octet {at} belongs to a target");
            prop_assert_eq!(shown, show(&*whole, root, now).expect("it is whole"));
        }
    }
}
