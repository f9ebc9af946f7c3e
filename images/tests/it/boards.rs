//! What is different from board to board, and the scripts of theirs, run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cross::Boards;

fn folder(board: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs/boards").join(board)
}

#[test]
fn every_board_of_the_table_has_a_management_interface_and_links_that_lead_somewhere() {
    for board in Boards::built_in().expect("the table").names() {
        let tree = folder(board).join("tree");
        let text = fs::read_to_string(tree.join("usr/lib/nic-agent/board.conf")).expect(board);
        assert!(text.starts_with("MANAGEMENT_INTERFACE="), "{board}");
        let links = fs::read_to_string(folder(board).join("links.list")).unwrap_or_default();
        for line in links.lines().filter(|line| !line.starts_with('#')) {
            let (_, target) = line.split_once(' ').expect("two words");
            let file = tree.join(target.trim_start_matches('/'));
            assert!(target == "/dev/null" || file.is_file(), "{board}: {line}");
        }
    }
}

#[test]
fn a_stingray_has_no_slots_and_is_in_all_else_as_the_others() {
    let started = |path: PathBuf| {
        let text = fs::read_to_string(path).expect("a unit");
        let line = text.lines().rfind(|line| line.starts_with("ExecStart=")).map(str::to_owned);
        line.expect("a command")
    };
    let unit = "usr/lib/systemd/system/nic-agent.service";
    let ordinary = started(folder("../tree").join(unit));
    assert!(ordinary.contains(" --slots "), "{ordinary}");
    let stingray = started(folder("stingray/tree").join(format!("{unit}.d/slots.conf")));
    // What was installed alone is launched from the slots' folder, too.
    let without = ordinary.replace(" --slots /run/nic/slots", "").replace(" --launch", "");
    assert_eq!(stingray, without);
}

/// Runs a board's script with the arguments that nic-datapath would have.
fn run(board: &str, script: &str, folder: &Path, arguments: &str) -> Output {
    let conf = folder.join("datapath.conf");
    fs::write(&conf, format!("NIC_DATAPATH_ARGUMENTS=\"{arguments}\"\n")).expect("written");
    let path = self::folder(board).join("tree/usr/lib/nic-agent").join(script);
    let mut command = Command::new("sh");
    command.arg(path).env("NIC_DATAPATH_CONF", conf).env("NIC_SYS_PCI", folder.join("pci"));
    command.env("NIC_DEVLINK", folder.join("devlink")).output().expect("sh runs")
}

const TWO: &str = "--pci 0000:03:00.0,representor=vf[0-14] --vdev net_x --pci 0000:03:00.1 --worker-cpu 6";

#[test]
fn a_bluefield_has_each_device_in_switchdev_mode_and_one_that_is_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let devlink = folder.path().join("devlink");
    let fake = "#!/bin/sh\n[ \"$3\" = set ] && echo \"$*\" >> \"${0%/*}/said\"\n\
        case \"$4\" in *.1) echo \"$4: mode switchdev inline-mode none\" ;; *) echo \"$4: mode legacy\" ;; esac\n";
    fs::write(&devlink, fake).expect("written");
    fs::set_permissions(&devlink, fs::Permissions::from_mode(0o755)).expect("changed");
    let output = run("bluefield3", "switchdev", folder.path(), TWO);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let said = fs::read_to_string(folder.path().join("said")).expect("it was called");
    assert_eq!(said, "dev eswitch set pci/0000:03:00.0 mode switchdev\n");
    fs::write(&devlink, "#!/bin/sh\nexit 1\n").expect("written");
    assert!(!run("bluefield2", "switchdev", folder.path(), TWO).status.success(), "it is tried again");
}

#[test]
fn a_stingray_hands_each_device_to_vfio_and_one_that_it_has_stays_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let pci = folder.path().join("pci");
    for (device, driver) in [("0000:03:00.0", "bnxt_en"), ("0000:03:00.1", "vfio-pci")] {
        fs::create_dir_all(pci.join("drivers").join(driver)).expect("made");
        fs::create_dir_all(pci.join("devices").join(device)).expect("made");
        symlink(pci.join("drivers").join(driver), pci.join("devices").join(device).join("driver"))
            .expect("made");
    }
    let output = run("stingray", "vfio", folder.path(), TWO);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let read = |path: &str| fs::read_to_string(pci.join(path)).ok();
    assert_eq!(read("devices/0000:03:00.0/driver_override").as_deref(), Some("vfio-pci\n"));
    assert_eq!(read("drivers/bnxt_en/unbind").as_deref(), Some("0000:03:00.0\n"));
    assert_eq!(read("drivers_probe").as_deref(), Some("0000:03:00.0\n"));
    assert_eq!(read("devices/0000:03:00.1/driver_override"), None);
    assert!(!run("stingray", "vfio", folder.path(), "--pci 0000:09:00.0").status.success(), "there is none");
}
