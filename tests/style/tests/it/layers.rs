//! Who may know whom, by the table in `docs/architecture.md`.

use std::collections::BTreeMap;
use std::fs;

use crate::workspace::{Workspace, none, root};

/// The one table of layers.
const PAGE: &str = "docs/architecture.md";
const HEADER: &str = "| crate | layer | may depend on |";

/// What pure crates are never linked with: runtimes, protocols, DPDK, randomness.
const IMPURE: &[&str] = &["tokio", "tonic", "prost", "hyper", "dpdk-sys", "dpdk", "rand", "getrandom", "nix"];

/// The highest layer of pure crates.
const PURE: u8 = 1;

/// A row of the table.
struct Row {
    layer: u8,
    /// Layers by number, crates by name.
    may: Vec<String>,
}

fn table() -> BTreeMap<String, Row> {
    let page = fs::read_to_string(root().join(PAGE)).expect(PAGE);
    let mut lines = page.lines().skip_while(|line| line.trim() != HEADER);
    assert!(lines.next().is_some(), "{PAGE} has no line {HEADER:?}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, layer, may] = cells[..] else { panic!("{PAGE}: three cells are needed: {line}") };
        let layer = layer.strip_prefix('L').and_then(|digits| digits.parse().ok());
        let layer = layer.unwrap_or_else(|| panic!("{PAGE}: no layer such as L2: {line}"));
        let may = may.split_whitespace().map(|word| word.trim_matches(['`', ',']).to_owned()).collect();
        (name.trim_matches('`').to_owned(), Row { layer, may })
    })
    .collect()
}

#[test]
fn the_table_names_every_crate_and_no_other() {
    let (workspace, table) = (Workspace::read(), table());
    let mut faults: Vec<String> = workspace
        .packages
        .keys()
        .filter(|name| !table.contains_key(*name))
        .map(|name| format!("{name} is not in it"))
        .collect();
    for (name, row) in &table {
        if !workspace.packages.contains_key(name) {
            faults.push(format!("there is no crate {name}"));
        }
        for word in &row.may {
            let layer = word.strip_prefix('L').and_then(|digits| digits.parse::<u8>().ok());
            match layer {
                Some(layer) if layer >= row.layer => {
                    faults.push(format!("{name}: {word} is no lower layer; name its crates"));
                }
                Some(_) => {}
                None if word == "nothing" && row.may.len() == 1 => {}
                None if !table.contains_key(word) => faults.push(format!("{name}: no crate {word}")),
                None if table[word].layer > row.layer => {
                    faults.push(format!("{name}: {word} is in a higher layer"));
                }
                None => {}
            }
        }
    }
    none(&faults, &format!("the table of layers in {PAGE}"));
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let (workspace, table) = (Workspace::read(), table());
    let mut faults = Vec::new();
    for (name, package) in &workspace.packages {
        let Some(row) = table.get(name) else { continue };
        for dependency in &package.dependencies {
            let Some(other) = table.get(&dependency.name) else { continue };
            let listed =
                row.may.iter().any(|word| *word == dependency.name || *word == format!("L{}", other.layer));
            // Tests may use whatever does not lie above.
            let of_tests = dependency.dev && other.layer <= row.layer;
            if !listed && !of_tests {
                let only = if dependency.dev { " (tests)" } else { "" };
                faults.push(format!("{name}{only} -> {}", dependency.name));
            }
        }
    }
    none(&faults, &format!("dependencies that the table in {PAGE} does not allow"));
}

#[test]
fn pure_crates_are_linked_with_nothing_impure() {
    let (workspace, table) = (Workspace::read(), table());
    let mut faults = Vec::new();
    for (name, package) in &workspace.packages {
        if table.get(name).is_some_and(|row| row.layer <= PURE) {
            let linked = workspace.linked(package);
            let impure = IMPURE.iter().filter(|other| linked.contains(*other));
            faults.extend(impure.map(|other| format!("{name} -> {other}")));
        }
    }
    none(&faults, "a crate of layer 0 or 1 is linked with what it may not know");
}
