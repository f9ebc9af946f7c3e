use super::*;
use crate::lock::tests::entry;

/// A package file with this text in it, as the lock has it.
fn filed(folder: &Path, name: &str, text: &str) -> Entry {
    let file = folder.join(entry(name, "1").file_name());
    fs::write(&file, text).expect("it can be written");
    Entry { sha256: sha256(&file).expect("it is there"), ..entry(name, "1") }
}

#[test]
fn the_hash_of_a_file_is_the_one_that_everybody_computes() {
    let folder = tempfile::tempdir().expect("a folder of our own");
    let path = folder.path().join("abc");
    fs::write(&path, "abc").expect("it can be written");
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(&path).expect("it is there"), expected);
}

#[test]
fn a_file_that_is_not_what_the_lock_says_is_removed_and_fetched_again() {
    let folder = tempfile::tempdir().expect("a folder of our own");
    let folder = folder.path();
    let entries = [filed(folder, "whole", "a"), filed(folder, "damaged", "b"), entry("absent", "1")];
    fs::write(folder.join(entries[1].file_name()), "c").expect("it can be written");
    let names: Vec<&str> =
        missing(&entries, folder).expect("it is ours").iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["damaged", "absent"]);
    assert!(folder.join(entries[0].file_name()).exists() && !folder.join(entries[1].file_name()).exists());
}

#[test]
fn what_has_moved_is_an_error_that_names_both_versions_and_the_ways_on() {
    let locked = [entry("dpdk", "22.11.11"), entry("gone", "1"), entry("kept", "2"), entry("cached", "3")];
    let offered = [entry("dpdk", "22.11.12"), entry("kept", "2"), entry("cached", "4"), entry("added", "1")];
    let missing = [&locked[0], &locked[1]];
    let error = judge("sysroot", &locked, &missing, &offered, None, Policy::Locked)
        .expect_err("it is locked")
        .to_string();
    for part in [
        "packages of [sysroot] have moved",
        "\n  dpdk: locked 22.11.11, the mirror has 22.11.12\n  gone: locked 1, the mirror has nothing\n",
        "--update-lock",
        "--accept-moved",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("cached"), "what the cache has is no obstacle: {error}");
    // Who goes on takes all that there is now, and is told all of it.
    let moved = judge("sysroot", &locked, &missing, &offered, None, Policy::AcceptMoved).expect("accepted");
    let names: Vec<&str> = moved.iter().map(|moved| moved.name.as_str()).collect();
    assert_eq!(names, ["dpdk", "gone", "cached"]);
}

#[test]
fn a_file_that_was_replaced_under_its_version_is_told_as_such() {
    let locked = [entry("dpdk", "22.11.11")];
    let offered = [Entry { sha256: entry("dpdk", "1").sha256, ..locked[0].clone() }];
    let error =
        judge("sysroot", &locked, &[&locked[0]], &offered, None, Policy::Locked).expect_err("it is another");
    let line = "dpdk: locked 22.11.11, the mirror has another file under that version";
    assert!(error.to_string().contains(line), "{error}");
}

#[test]
fn what_the_mirror_has_and_does_not_give_is_no_move_even_where_moves_are_accepted() {
    let locked = [entry("kept", "2"), entry("dpdk", "22.11.11")];
    let offered = [entry("kept", "2"), entry("dpdk", "22.11.12")];
    for policy in [Policy::Locked, Policy::AcceptMoved] {
        let error = judge("sysroot", &locked, &[&locked[0], &locked[1]], &offered, None, policy);
        let error = error.expect_err("it could not be downloaded").to_string();
        assert_eq!(error, "packages of [sysroot] could not be downloaded: kept_2_arm64.deb");
    }
}

#[test]
fn an_update_tells_what_is_new_what_moved_and_what_went() {
    let before = [entry("gone", "1"), entry("kept", "2"), entry("moved", "3")];
    let after = [entry("kept", "2"), entry("moved", "4"), entry("new", "5")];
    let expected = ["[set] gone: 1 is not needed any more", "[set] moved: 3 -> 4", "[set] new: new, 5"]
        .map(str::to_owned);
    assert_eq!(told("set", &before, &after), expected);
    assert!(told("set", &before, &before).is_empty());
}

#[test]
fn packages_are_unpacked_over_each_other_into_a_tree_with_usr_merged() {
    let folder = tempfile::tempdir().expect("a folder of our own");
    let package = |name: &str, path: &str| {
        let tree = folder.path().join(name);
        let file = tree.join(path);
        fs::create_dir_all(tree.join("DEBIAN")).expect("it is new");
        fs::create_dir_all(file.parent().expect("it is in a folder")).expect("it is new");
        fs::write(&file, name).expect("it can be written");
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).expect("it can be written");
        let deb = folder.path().join(format!("{name}.deb"));
        process::output(Command::new("dpkg-deb").args(["--build", "--root-owner-group"]).args([&tree, &deb]))
            .expect("dpkg-deb builds it");
        let (version, architecture) = ("1".to_owned(), "all".to_owned());
        Package { name: name.to_owned(), version, architecture, sha256: String::new(), file: deb }
    };
    let root = folder.path().join("root");
    // One has the old place, one the new.
    let packages = [package("old", "lib/old.so"), package("new", "usr/lib/new.so")];
    unpack(&packages, &root).expect("they can be unpacked");
    for name in ["old", "new"] {
        let text = fs::read_to_string(root.join("usr/lib").join(format!("{name}.so")));
        assert_eq!(text.expect("it is there"), name);
    }
    assert!(root.join("lib").is_symlink());
    let broken = Package { file: folder.path().join("none.deb"), ..packages[0].clone() };
    let error = unpack(&[broken], &root).expect_err("there is no such file").to_string();
    assert_eq!(error, "old could not be unpacked");
}
