//! The program `nic-bundle`, as it is run.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nic-bundle"));
    command.current_dir(folder).args(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

const WRITE: [&str; 10] =
    ["write", "--keys", "keys", "--board", "generic", "--version", "1.2.3", "--release", "77", "--expires"];

#[test]
fn keys_are_made_a_bundle_is_written_the_same_twice_and_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    text(&run(folder, &["keys", "keys", "--expires", "4102444800"]));
    fs::write(folder.join("root.img"), "root").expect("written");
    fs::write(folder.join("uki.efi"), "kernel").expect("written");
    for name in ["a", "b"] {
        text(&run(folder, &[&WRITE[..], &["4102444799", "--to", name, "root.img", "uki.efi"]].concat()));
    }
    assert_eq!(fs::read(folder.join("a")).expect("a bundle"), fs::read(folder.join("b")).expect("a bundle"));
    let shown = text(&run(folder, &["show", "a", "--root", "keys/1.root.json"]));
    for line in ["board    generic", "version  1.2.3", "kind     slot", "release  77", "expires  4102444799"]
    {
        assert!(shown.lines().any(|found| found == line), "{shown}");
    }
    assert!(shown.contains("target   root.img 4 ") && shown.contains("target   uki.efi 6 "), "{shown}");
}

#[test]
fn what_cannot_be_written_says_why_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    text(&run(folder, &["keys", "keys"]));
    fs::write(folder.join("root.img"), "root").expect("written");
    let write = |rest: &[&str]| {
        let output = run(folder, &[&WRITE[..], &["4102444799", "--to", "a"], rest].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_eq!(write(&["root.img"]), "nic-bundle: a bundle of this kind has 2 targets, not 1\n");
    assert!(write(&["root.img", "none"]).contains("uki.efi cannot be read"));
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 2, "the keys and the image");
}
