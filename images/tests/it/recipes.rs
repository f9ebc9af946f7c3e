//! What the recipes say, as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn rootfs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs")
}

fn read(path: &str) -> String {
    fs::read_to_string(rootfs().join(path)).expect(path)
}

#[test]
fn there_is_no_password_and_no_way_to_log_in() {
    let shadow = read("tree/etc/shadow");
    let users: BTreeSet<String> = read("tree/etc/passwd")
        .lines()
        .filter_map(|line| line.split(':').next())
        .map(str::to_owned)
        .collect();
    for line in shadow.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        assert_eq!(fields.get(1), Some(&"!*"), "{line}");
        assert!(users.contains(fields[0]), "{line}");
    }
    assert_eq!(shadow.lines().count(), users.len());
    for line in read("tree/etc/passwd").lines() {
        assert!(line.ends_with(":/usr/sbin/nologin"), "{line}");
    }
}

#[test]
fn what_opens_a_card_is_in_the_test_profile_only() {
    let ordinary = read("links.list");
    for word in ["nic-console", "nic-door", "agetty", "debug-shell"] {
        assert!(!ordinary.contains(word), "{word}");
        assert!(!rootfs().join(format!("tree/usr/lib/systemd/system/{word}.service")).exists(), "{word}");
    }
    let agent = read("tree/usr/lib/systemd/system/nic-agent.service");
    assert!(agent.lines().any(|line| line == "User=nic-agent"));
    assert!(agent.lines().any(|line| line == "CapabilityBoundingSet="));
    assert!(agent.contains("--listen unix:") && !agent.contains("9339"));
}

#[test]
fn both_programs_are_watched_and_started_again() {
    for unit in ["nic-agent", "nic-datapath"] {
        let text = read(&format!("tree/usr/lib/systemd/system/{unit}.service"));
        for line in ["Type=notify", "WatchdogSec=30s", "Restart=always", "StartLimitIntervalSec=0"] {
            assert!(text.lines().any(|found| found == line), "{unit}: {line}");
        }
    }
}

#[test]
fn users_and_groups_of_the_units_exist() {
    let (users, groups) = (read("tree/etc/passwd"), read("tree/etc/group"));
    let has = |list: &str, name: &str| list.lines().any(|line| line.split(':').next() == Some(name));
    for unit in ["nic-agent", "nic-datapath"] {
        let text = read(&format!("tree/usr/lib/systemd/system/{unit}.service"));
        for line in text.lines() {
            if let Some(user) = line.strip_prefix("User=") {
                assert!(has(&users, user), "{line}");
            }
            let groups_of = line.strip_prefix("Group=").or_else(|| line.strip_prefix("SupplementaryGroups="));
            for group in groups_of.into_iter().flat_map(str::split_whitespace) {
                assert!(has(&groups, group), "{line}");
            }
        }
    }
}

#[test]
fn links_to_units_of_ours_lead_to_files() {
    for (list, tree) in [("links.list", "tree"), ("profiles/test/links.list", "profiles/test/tree")] {
        for line in read(list).lines().filter(|line| line.contains("/nic-")) {
            let target = line.split(' ').next_back().expect("two words").trim_start_matches('/');
            assert!(rootfs().join(tree).join(target).is_file(), "{line}");
        }
    }
}
