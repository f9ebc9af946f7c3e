//! What every source file and every crate looks like.

use std::fs;

use crate::workspace::{Workspace, files, none};

/// Where `unsafe` may stand.
const UNSAFE: &[&str] = &["dpdk-sys", "dpdk", "net-eswitch"];

/// Lines of a file: what is too long, and what is asking to be split.
const LONGEST: usize = 900;
const LONG: usize = 600;

/// What may stand in no source, in two parts so that this file does not have it.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("todo", "!(", "unfinished"),
    ("unimplemented", "!(", "unfinished"),
    ("#[", "allow(", "write #[expect(lint, reason = \"...\")]"),
    ("#![", "allow(", "write #![expect(lint, reason = \"...\")]"),
    ("/wo", "rk/", "a path of one machine"),
];

#[test]
fn unsafe_is_forbidden_where_it_has_no_business() {
    let mut faults = Vec::new();
    for (name, package) in &Workspace::read().packages {
        if UNSAFE.contains(&name.as_str()) {
            continue;
        }
        for root in &package.roots {
            let text = fs::read_to_string(root).expect("cargo knows it");
            if !text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
                faults.push(root.display().to_string());
            }
        }
    }
    none(&faults, "files without #![forbid(unsafe_code)]");
}

#[test]
fn every_crate_says_what_it_is_and_what_it_may_know() {
    let mut faults = Vec::new();
    for (name, package) in &Workspace::read().packages {
        let docs: Vec<(String, String)> = package
            .roots
            .iter()
            .map(|root| {
                let text = fs::read_to_string(root).expect("cargo knows it");
                let docs = text.lines().take_while(|line| line.starts_with("//!"));
                (root.display().to_string(), docs.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let silent = docs.iter().filter(|(_, docs)| docs.is_empty());
        faults.extend(silent.map(|(root, _)| format!("{root}: does not open with //!")));
        // A program beside a library may refer to it.
        let knows = |docs: &str| docs.contains("may know") || docs.contains("knows");
        if !docs.iter().any(|(_, docs)| knows(&docs.to_lowercase())) {
            faults.push(format!("{name}: no file says what it may know and what not"));
        }
    }
    none(&faults, "crates that do not introduce themselves");
}

#[test]
fn every_crate_has_the_licence() {
    let packages = &Workspace::read().packages;
    let others = packages.iter().filter(|(_, package)| package.license != "Apache-2.0");
    let faults: Vec<String> =
        others.map(|(name, package)| format!("{name}: {:?}", package.license)).collect();
    none(&faults, "crates that are not Apache-2.0");
}

#[test]
fn no_file_is_too_long() {
    let mut faults = Vec::new();
    for (path, text) in files(".rs") {
        let lines = text.lines().count();
        if lines > LONGEST {
            faults.push(format!("{}: {lines} lines", path.display()));
        } else if lines > LONG {
            println!("asking to be split: {}: {lines} lines", path.display());
        }
    }
    none(&faults, &format!("files of more than {LONGEST} lines"));
}

#[test]
fn nothing_unfinished_and_nothing_waved_through() {
    let mut faults = Vec::new();
    for ending in [".rs", ".toml", ".md", ".yaml", ".proto"] {
        for (path, text) in files(ending) {
            for (number, line) in text.lines().enumerate() {
                for (one, two, why) in FORBIDDEN {
                    if line.contains(&format!("{one}{two}")) {
                        faults.push(format!("{}:{}: {one}{two}: {why}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    none(&faults, "lines that may not stand");
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let mut faults = Vec::new();
    for (path, _) in files(".rs") {
        let mut names = path.iter().map(|part| part.to_string_lossy());
        if names.any(|name| {
            matches!(
                name.trim_end_matches(".rs"),
                "manager" | "engine" | "common" | "utils" | "util" | "helpers" | "misc"
            )
        }) {
            faults.push(path.display().to_string());
        }
    }
    none(&faults, "modules of which the name says nothing");
}
