//! The scripts by which an image is updated, on folders that stand for a card's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Card {
    folder: tempfile::TempDir,
}

impl Card {
    /// Version 1.2.0 runs from `root-b` of the first of two disks that look alike.
    fn new() -> Card {
        let card = Card { folder: tempfile::tempdir().expect("a folder") };
        let partitions = ["esp", "root-a", "root-b", "data"];
        for (number, name) in partitions.iter().enumerate() {
            for disk in ["vda", "vdb"] {
                let device = format!("{disk}{}", number + 1);
                card.write(
                    &format!("sys/{disk}/{device}/uevent"),
                    &format!("DEVTYPE=partition\nPARTNAME={name}\n"),
                );
                card.write(&format!("dev/{device}"), "");
            }
        }
        card.write("run/slot", "root-b\n");
        card.write("run/disk", "vda\n");
        card.write(
            "os-release",
            "NAME=nic-agent\nVERSION_ID=1.2.0\nIMAGE_VERSION=1.2.0\nNIC_BOARD=generic\n",
        );
        card.write("uptime", "700.25 1400.00\n");
        for (name, text) in [
            ("mount", "#!/bin/sh\necho \"$*\" >> \"${0%/*}/mounts\"\n"),
            ("udevadm", "#!/bin/sh\necho \"udevadm $*\" >> \"${0%/*}/asked\"\n"),
            (
                "systemctl",
                "#!/bin/sh\necho \"$*\" >> \"${0%/*}/asked\"\n[ \"$3\" != nic-agent.service ] || exit 3\n",
            ),
        ] {
            card.write(name, text);
            fs::set_permissions(card.path(name), fs::Permissions::from_mode(0o755)).expect("changed");
        }
        card
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs a script of the image; gives whether it was content, and what it said.
    fn run(&self, script: &str) -> (bool, String) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs/tree/usr/lib/nic-agent");
        let mut command = Command::new("sh");
        command.arg(folder.join(script));
        // Of the same number everywhere, and there on every machine.
        command.env("NIC_USER", "root");
        for (variable, path) in [
            ("NIC_RUN", "run"),
            ("NIC_SYS", "sys"),
            ("NIC_DEV", "dev"),
            ("NIC_RULES", "rules"),
            ("NIC_OS_RELEASE", "os-release"),
            ("NIC_MOUNT", "mount"),
            ("NIC_UDEVADM", "udevadm"),
            ("NIC_SYSTEMCTL", "systemctl"),
            ("NIC_STATE", "state"),
            ("NIC_POLICY", "policy"),
            ("NIC_LAUNCHED", "launched"),
            ("NIC_UPTIME", "uptime"),
            ("NIC_RSH_LOG", "rsh_log"),
        ] {
            command.env(variable, self.path(path));
        }
        let output = command.output().expect("sh runs");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), String::from_utf8(output.stdout).expect("text"))
    }

    fn link(&self, name: &str) -> PathBuf {
        fs::read_link(self.path(name)).expect(name)
    }
}

#[test]
fn the_slots_are_those_of_the_disk_that_was_booted_and_only_the_other_one_is_given_away() {
    let card = Card::new();
    let mode = |device: &str| fs::metadata(card.path(device)).expect("there").mode() & 0o777;
    let before = mode("dev/vda3");
    assert_eq!(card.run("slots"), (true, String::new()));
    assert_eq!(card.read("run/slots/running"), "slot=root-b\nversion=1.2.0\nboard=generic\n");
    assert_eq!(card.link("run/slots/root-a"), card.path("dev/vda2"));
    assert_eq!(card.link("run/slots/root-b"), card.path("dev/vda3"));
    assert_eq!(card.link("run/slots/root.json"), Path::new("/usr/lib/nic-agent/root.json"));
    assert_eq!(card.link("run/slots/esp"), card.path("run/esp/EFI/Linux"));
    assert!(card.path("run/slots/esp").is_dir());
    assert_eq!((mode("dev/vda2"), mode("dev/vda3")), (0o660, before));
    assert_eq!(card.link("dev/nic/other-slot"), Path::new("../vda2"));
    let rule = card.read("rules/70-nic-slots.rules");
    assert_eq!(rule, "SUBSYSTEM==\"block\", KERNEL==\"vda2\", GROUP=\"root\", MODE=\"0660\"\n");
    let mounts = card.read("mounts");
    assert!(mounts.contains("uid=root,gid=root,fmask=0177,dmask=0077"), "{mounts}");
    assert!(mounts.contains(&format!(
        "{} {}",
        card.path("dev/vda1").display(),
        card.path("run/esp").display()
    )));
}

#[test]
fn a_card_without_an_esp_says_so_and_the_rest_is_there() {
    let card = Card::new();
    fs::remove_dir_all(card.path("sys/vda/vda1")).expect("removed");
    let (well, said) = card.run("slots");
    assert!(!well && said.contains("there is no ESP"), "{said}");
    assert!(!card.path("run/slots/esp").exists());
    assert_eq!(card.link("run/slots/root-a"), card.path("dev/vda2"));
    card.write("mount", "#!/bin/sh\nexit 32\n");
    let card = Card::new();
    card.write("mount", "#!/bin/sh\nexit 32\n");
    let (well, said) = card.run("slots");
    assert!(!well && said.contains("the ESP is not mounted"), "{said}");
    assert!(!card.path("run/slots/esp").exists());
}

#[test]
fn a_version_that_nobody_blessed_in_time_is_booted_again_and_a_blessed_one_is_not() {
    for (entries, uptime, reboots) in [
        (&["nic-1.2.0+2-1.efi", "nic-1.1.0.efi"][..], 700, true),
        (&["nic-1.2.0+0-3.efi", "nic-1.1.0.efi"][..], 700, true),
        (&["nic-1.2.0+2-1.efi"][..], 599, false),
        (&["nic-1.2.0.efi", "nic-1.1.0.efi"][..], 700, false),
        // Of a rename that the power interrupted.
        (&["nic-1.2.0.efi", "nic-1.2.0+2-1.efi"][..], 700, false),
        // An operator rolled back, and reboots when it suits.
        (&["nic-1.2.0+0.efi", "nic-1.1.0.efi"][..], 700, false),
        // Of another version.
        (&["nic-1.2.0.efi", "nic-1.3.0+3.efi", "nic-1.1.0+0-3.efi"][..], 700, false),
        (&["nic-1.1.0+2-1.efi"][..], 700, false),
    ] {
        let card = Card::new();
        card.run("slots");
        card.write("uptime", &format!("{uptime}.00 1.00\n"));
        for entry in entries {
            card.write(&format!("run/esp/EFI/Linux/{entry}"), "");
        }
        fs::remove_file(card.path("asked")).expect("udevadm was asked");
        let (well, said) = card.run("trial");
        assert!(well);
        assert_eq!(said.contains("version 1.2.0 has not proven itself"), reboots, "{entries:?}");
        assert_eq!(card.read("asked"), if reboots { "--no-block reboot\n" } else { "" }, "{entries:?}");
    }
}

#[test]
fn whoever_looks_at_a_trial_needs_nothing_of_what_lays_out_the_slots() {
    let card = Card::new();
    card.write("run/esp-looked-at/EFI/Linux/nic-1.2.0+2-1.efi", "");
    card.run("trial");
    assert_eq!(card.read("asked"), "--no-block reboot\n");
    assert!(card.read("mounts").contains("-o ro,"), "{}", card.read("mounts"));
}

#[test]
fn nic_agent_alone_that_does_not_prove_itself_is_started_again() {
    let name = "agent-1.2.7-on-1.2.0+2-1";
    for (launched, there, old, restarts) in [
        (name, name, true, true),
        (name, name, false, false),
        (name, "agent-1.2.7-on-1.2.0", true, false),
        ("image", name, true, false),
        ("agent-/../../x+2-1", name, true, false),
    ] {
        let card = Card::new();
        card.run("slots");
        card.write("run/esp/EFI/Linux/nic-1.2.0.efi", "");
        card.write(&format!("state/{there}"), "");
        card.write("launched", &format!("{launched}\n"));
        if old {
            let touched =
                Command::new("touch").args(["-d", "11 minutes ago"]).arg(card.path("launched")).status();
            assert!(touched.expect("touch runs").success());
        }
        fs::remove_file(card.path("asked")).expect("udevadm was asked");
        card.run("trial");
        let asked = if restarts { "--no-block restart nic-agent.service\n" } else { "" };
        assert_eq!(card.read("asked"), asked, "{launched} {there} {old}");
    }
}

#[test]
fn a_reset_forgets_the_policy_and_nothing_else_does() {
    let card = Card::new();
    card.write("policy/policy", "x");
    card.write("state/store.redb", "x");
    assert_eq!(card.run("forget"), (true, String::new()));
    assert!(card.path("policy/policy").exists());
    card.write("state/factory-reset", "");
    let (well, said) = card.run("forget");
    assert!(well && said.contains("the policy on disk is forgotten"), "{said}");
    assert!(!card.path("policy/policy").exists() && card.path("policy").is_dir());
    assert!(card.path("state/factory-reset").exists(), "it is nic-agent's to take away");
}

#[test]
fn the_host_is_told_that_the_card_is_ready_or_what_is_not() {
    let card = Card::new();
    assert!(!card.run("ready").0);
    assert_eq!(card.read("rsh_log"), "ERR nic-agent does not run\n");
    card.write("systemctl", "#!/bin/sh\nexit 0\n");
    assert_eq!(card.run("ready"), (true, String::new()));
    assert_eq!(card.read("rsh_log"), "INFO DPU is ready\n");
}
