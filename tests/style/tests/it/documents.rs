//! Documents: links lead somewhere, and what is promised to be listed is listed.

use std::fs;
use std::path::Path;

use nic_policy::{AlarmReason, DropReason};

use crate::workspace::{files, none, root};

/// The operator's page of drop reasons.
const DROPS: &str = "docs/ops/drops.md";

/// The operator's page of alarms.
const ALARMS: &str = "docs/ops/alarms.md";

/// Who may attack, and what is done about it.
const THREATS: &str = "docs/threat-model.md";

/// Targets of a Markdown text's links, `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(path: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == wanted)
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in files(".md") {
        let folder = root().join(&path).parent().expect("a file is in a folder").to_owned();
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            let dead = !target.exists() || (!fragment.is_empty() && !has_anchor(&target, fragment));
            if dead {
                faults.push(format!("{}: {link}", path.display()));
            }
        }
    }
    none(&faults, "dead links");
}

#[test]
fn the_first_files_of_the_house_are_there() {
    for file in ["README.md", "LICENSE", "docs/architecture.md", "docs/glossary.md"] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
}

#[test]
fn every_drop_reason_stands_on_the_operators_page() {
    let page = fs::read_to_string(root().join(DROPS)).expect(DROPS);
    let row = |reason: &DropReason| format!("| `{}` | {} |", reason.name(), reason.describe());
    let missing: Vec<String> = DropReason::ALL
        .iter()
        .map(row)
        .filter(|row| !page.lines().any(|line| line.starts_with(row)))
        .collect();
    none(&missing, &format!("rows that {DROPS} lacks"));
    let known = |name: &str| DropReason::from_name(name).is_some();
    let named = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let stale: Vec<String> = named.filter(|name| !known(name)).map(str::to_owned).collect();
    none(&stale, &format!("reasons in {DROPS} that there are not"));
}

#[test]
fn every_alarm_has_its_section_on_the_operators_page() {
    let page = fs::read_to_string(root().join(ALARMS)).expect(ALARMS);
    let mut sections = page.split("\n## ").skip(1).map(|section| {
        let (name, text) = section.split_once('\n').unwrap_or((section, ""));
        (name.trim(), text)
    });
    for reason in AlarmReason::ALL {
        let (name, text) = sections.next().unwrap_or_default();
        assert_eq!(name, reason.name(), "sections are in the order of the registry");
        let opening = format!("*{}*: {}", reason.severity(), reason.describe());
        assert_eq!(text.trim_start().lines().next(), Some(opening.as_str()), "{ALARMS}: {name}");
        for part in ["* **It means:** ", "* **Look at:** ", "* **Do:** "] {
            assert!(text.lines().any(|line| line.starts_with(part)), "{ALARMS}: {name} lacks {part}");
        }
    }
    assert_eq!(sections.next(), None, "an alarm in {ALARMS} that there is not");
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tables of attacks: what is attacked, and what shows that it is bound.
fn attacks(page: &str) -> Vec<(&str, &str)> {
    let mut rows = Vec::new();
    let mut within = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            ["attack", _, "shown by"] => within = true,
            [attack, _, shown] if within => rows.push((attack, shown)),
            _ if !line.starts_with('|') => within = false,
            _ => {}
        }
    }
    rows
}

#[test]
fn every_attack_has_a_test_that_there_is() {
    let page = fs::read_to_string(root().join(THREATS)).expect(THREATS);
    let sources = files(".rs");
    let targets = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).expect("the fuzz targets");
    let exists = |name: &str| {
        targets.contains(&format!("name = \"{name}\""))
            || sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")))
    };
    let is_name =
        |code: &&str| code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_sentence = |name: &str| name.matches('_').count() > 2;
    let rows = attacks(&page);
    assert!(rows.len() > 40, "the tables were not understood: {} rows", rows.len());
    let mut faults = Vec::new();
    let mut shown_above = false;
    for (attack, shown) in rows {
        let (there, missing): (Vec<_>, Vec<_>) = code(shown).filter(is_name).partition(|name| exists(name));
        faults.extend(
            missing
                .into_iter()
                .filter(|name| is_sentence(name))
                .map(|name| format!("there is no test {name}")),
        );
        shown_above = !there.is_empty() || (shown_above && shown.starts_with("as above"));
        if !shown_above {
            faults.push(format!("nothing shows: {attack}"));
        }
    }
    none(&faults, &format!("rows of {THREATS} that no test shows"));
}

#[test]
fn links_and_anchors_are_found_as_they_are_written() {
    let text = "See [a](b.md), [c](d.md#e-f).\n```\n[not](one)\n```\n[g](#h)\n";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "d.md#e-f", "#h"]);
    assert_eq!(anchor(" Who may know whom?"), "who-may-know-whom");
}
