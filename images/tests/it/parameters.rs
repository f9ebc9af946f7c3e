//! The script that takes over the parameters of the first boot.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

struct Card {
    folder: tempfile::TempDir,
}

impl Card {
    fn new() -> Card {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("board.conf"), "MANAGEMENT_INTERFACE=mgmt0\n").expect("written");
        // In the place of what sets the hostname.
        let set = folder.path().join("set");
        fs::write(&set, "#!/bin/sh\necho \"$1\" > \"${0%/*}/hostname\"\n").expect("written");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&set, fs::Permissions::from_mode(0o755)).expect("changed");
        Card { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Which management interface nic-agent is told of.
    fn told(&self) -> Option<String> {
        self.read("agent.conf")
    }

    /// Boots with a file of parameters on the ESP.
    fn boot(&self, parameters: &[u8]) -> String {
        fs::write(self.path("bf.cfg"), parameters).expect("written");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs/tree/usr/lib/nic-agent/parameters");
        let mut command = Command::new("sh");
        command.arg(script).env("NIC_ESP_FILE", self.path("bf.cfg"));
        command
            .env("NIC_PARAMETERS", self.path("system/parameters"))
            .env("NIC_NETWORK", self.path("network"));
        command.env("NIC_SET_HOSTNAME", self.path("set")).env("NIC_BOARD", self.path("board.conf"));
        command.env("NIC_REFUSED", self.path("refused"));
        command.env("NIC_AGENT_CONF", self.path("agent.conf"));
        let Output { status, stdout, stderr } = command.output().expect("sh runs");
        assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }
}

const GOOD: &str = "# A card\nHOSTNAME=card7\nMANAGEMENT_ADDRESS=192.168.100.2/30\r\n\
    MANAGEMENT_GATEWAY=192.168.100.1\n\
    OWNER_CA_SHA256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn the_first_file_is_taken_over_and_a_later_one_is_not_looked_at() {
    let card = Card::new();
    assert_eq!(card.boot(GOOD.as_bytes()), "nic-parameters: taken over\n");
    assert_eq!(card.read("hostname").as_deref(), Some("card7\n"));
    let network = card.read("network/10-management.network").expect("a network");
    for line in ["Name=mgmt0", "Address=192.168.100.2/30", "Gateway=192.168.100.1"] {
        assert!(network.lines().any(|found| found == line), "{network}");
    }
    assert_eq!(card.told().as_deref(), Some("NIC_AGENT_ARGUMENTS=--management-interface mgmt0\n"));
    assert_eq!(card.boot(b"HOSTNAME=other\n"), "");
    assert_eq!(card.read("hostname").as_deref(), Some("card7\n"));
    assert_eq!(card.read("system/parameters").as_deref(), Some(GOOD));
}

#[test]
fn of_a_file_with_one_fault_nothing_is_used_and_the_line_is_told() {
    let long = "a".repeat(64);
    for (line, fault) in [
        ("HOSTNAME=Card_7", "line 2: the value of HOSTNAME is not of its form"),
        (&format!("HOSTNAME={long}"), "line 2: the value of HOSTNAME is not of its form"),
        ("HOSTNAME=", "line 2: the value of HOSTNAME is not of its form"),
        ("HOSTNAME=a;reboot", "line 2: the value of HOSTNAME is not of its form"),
        ("MANAGEMENT_ADDRESS=192.168.100.2", "line 2: the value of MANAGEMENT_ADDRESS is not of its form"),
        ("MANAGEMENT_INTERFACE=../x", "line 2: the value of MANAGEMENT_INTERFACE is not of its form"),
        ("MANAGEMENT_GATEWAY=$(reboot)", "line 2: the value of MANAGEMENT_GATEWAY is not of its form"),
        ("OWNER_CA_SHA256=12", "line 2: the value of OWNER_CA_SHA256 is not of its form"),
        ("PATH=/tmp", "line 2 is not understood"),
        ("reboot", "line 2 is not understood"),
        ("\u{1}\u{2}", "line 2 is not understood"),
    ] {
        let card = Card::new();
        let said = card.boot(format!("HOSTNAME=good\n{line}\n").as_bytes());
        assert_eq!(said, format!("nic-parameters: {fault}\nnic-parameters: nothing of bf.cfg is used\n"));
        assert_eq!(card.read("refused"), Some(format!("{fault}\n")), "it becomes an alarm");
        assert_eq!(card.read("hostname"), None, "{line:?}");
        assert_eq!(card.read("system/parameters"), None, "{line:?}");
        // Without a way that was configured there is none that has to be up.
        assert_eq!(card.told().as_deref(), Some("NIC_AGENT_ARGUMENTS=\n"));
        // The next boot may find a better one.
        assert_eq!(card.boot(b"HOSTNAME=good\n"), "nic-parameters: taken over\n");
    }
}

#[test]
fn a_file_that_is_far_too_long_or_no_text_changes_nothing() {
    for content in [vec![b'#'; 20_000], vec![0xff; 600], b"HOSTNAME=a\0b\nX".to_vec()] {
        let card = Card::new();
        let said = card.boot(&content);
        assert!(said.ends_with("nothing of bf.cfg is used\n"), "{said:?}");
        assert_eq!(card.read("hostname"), None);
    }
}

#[test]
fn kept_parameters_that_were_damaged_are_not_used() {
    let card = Card::new();
    card.boot(b"HOSTNAME=card7\n");
    fs::write(card.path("system/parameters"), "HOSTNAME=card7\nHOST").expect("written");
    fs::remove_file(card.path("hostname")).expect("removed");
    let said = card.boot(b"");
    assert!(said.contains("the kept parameters are damaged"), "{said}");
    assert_eq!(card.read("hostname"), None);
}
