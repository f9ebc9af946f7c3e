//! Bridges and tunnels, what was learned, watching, importing.

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::{done, failed, nicctl, stderr};

const OVS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorials/ovs-dpdk.txt");
const TC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorials/tc-vxlan.txt");

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn the_tutorials_lines_show_their_plan_first_and_then_are_made_so() {
    for (language, file, resources) in [("ovs-ofctl", OVS, 7), ("tc", TC, 7)] {
        let mock = Mock::start();
        let planned = done(&mock, &["import", language, "-f", file, "--dry-run"]);
        assert!(planned.starts_with("Plan for apply set import:\n  + create ports/"), "{planned}");
        assert_eq!(mock.state().revision, 0);
        let text = done(&mock, &["import", language, "-f", file, "--yes", "--wait"]);
        assert!(
            text.ends_with(&format!("{resources} created, 0 updated, 0 deleted, 0 unchanged\n")),
            "{text}"
        );
        // What is printed is the same, as a file.
        let printed = done(&mock, &["import", language, "-f", file, "--print"]);
        let file = mock.file("printed.yaml", &printed);
        let again = done(&mock, &["apply", "-f", file.to_str().expect("UTF-8")]);
        assert_eq!(again, format!("Nothing to do: {resources} resources are so at revision 1\n"));
    }
}

#[test]
fn a_line_without_an_equivalent_is_refused_and_nothing_is_changed() {
    let mock = Mock::start();
    let file = mock.file("lines", "tc filter add dev a0f0_0 flower skip_hw action drop\n");
    let file = file.to_str().expect("UTF-8");
    let (code, told) = failed(&mock, &["import", "tc", "-f", file, "--yes"]);
    assert_eq!(
        (code, told.as_str()),
        (3, "error: line 1: \"skip_hw\" has no equivalent here; nothing was changed\n")
    );
    assert_eq!(mock.state().revision, 0);
    let (code, _) = failed(&mock, &["import", "tc", "-f", "/nowhere"]);
    assert_eq!(code, 1);
    let (code, told) = failed(&mock, &["import", "tc", "-f", file, "--device", "a0f0_0"]);
    assert_eq!(code, 2, "{told}");
}

#[test]
fn every_kind_can_be_shown_described_and_deleted() {
    let mock = Mock::start();
    done(&mock, &["import", "tc", "-f", TC, "--yes"]);
    for (kind, words) in [
        ("bridges", "bridges/vni-16  vteps/vtep-192.168.203.51   16  drop"),
        ("vteps", "ports/enp6s0f1     -  192.168.203.51/24"),
        ("tunnelPeers", "192.168.203.56  bridges/vni-16  no"),
        ("fdb-entries", "82:8a:29:ad:4e:ef  tunnelPeers/peer-192.168.203.56"),
        ("ports", "pf1vf0  enabled  1450  bridges/vni-16  e4:11:11:11:11:10  yes"),
    ] {
        let shown = done(&mock, &["get", kind]);
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    let described = json(&done(&mock, &["describe", "bridge", "vni-16", "-o", "json"]));
    assert_eq!(described["resource"]["kind"], "Bridge");
    assert_eq!(described["refersTo"], json!(["vteps/vtep-192.168.203.51"]));
    assert_eq!(
        described["referredBy"],
        json!([
            "ports/enp6s0f1_0",
            "tunnelPeers/peer-192.168.203.56",
            "fdbEntries/vni-16.828a29ad4eef",
            "fdbEntries/vni-16.e41111111110"
        ])
    );
    let text = done(&mock, &["describe", "bridges/vni-16"]);
    assert!(
        text.contains("spec.unknownUnicast DROP\n") && text.contains("Referred by  ports/enp6s0f1_0\n"),
        "{text}"
    );
    assert_eq!(failed(&mock, &["describe", "bridges"]).0, 2);
    let text = done(&mock, &["delete", "fdbEntry", "vni-16.e41111111110"]);
    assert_eq!(text, "Revision 2: fdbEntries/vni-16.e41111111110 deleted\n");
}

#[test]
fn learned_addresses_are_read_page_by_page_and_flushed() {
    let mock = Mock::start();
    let expected = "\
BRIDGE        MAC ADDRESS        PLACE          FROM           IDLE
bridges/blue  02:00:00:00:00:01  ports/vm1      learned       1m15s
bridges/blue  02:00:00:00:00:02  tunnelPeers/a  fdbEntries/a      -
";
    assert_eq!(done(&mock, &["fdb"]), expected);
    assert_eq!(done(&mock, &["fdb", "--bridge", "red"]), "No addresses\n");
    let all = json(&done(&mock, &["fdb", "--bridge", "blue", "-o", "json"]));
    assert_eq!(all["entries"].as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!(done(&mock, &["fdb", "flush"]), "5 addresses forgotten\n");
    assert_eq!(done(&mock, &["fdb", "flush", "--bridge", "blue"]), "3 addresses forgotten\n");
    assert_eq!(failed(&mock, &["fdb", "--bridge", "ports/blue"]).0, 2);
    let neighbors = "\
NETWORK     ADDRESS     MAC ADDRESS        STATE       AGE
vteps/card  192.0.2.56  02:00:00:00:00:38  reachable  3.0s
";
    assert_eq!(done(&mock, &["neighbors"]), neighbors);
    assert_eq!(done(&mock, &["neighbors", "--network", "bridges/blue"]), "No neighbors\n");
    assert_eq!(failed(&mock, &["neighbors", "--network", "ports/a"]).0, 2);
}

#[test]
fn a_watch_shows_what_there_is_and_what_happens_and_goes_on_from_a_token() {
    let mock = Mock::start();
    done(&mock, &["import", "ovs-ofctl", "-f", OVS, "--yes"]);
    let text = done(&mock, &["watch", "ports"]);
    let expected = "     1  put     ports/pf0\n     1  put     ports/vm1\n     1  put     ports/vm2\n     1  --\n     1  delete  ports/gone\n     1  --\n";
    assert_eq!(text, expected);
    let once = done(&mock, &["watch", "--once", "-o", "json"]);
    let events: Vec<Value> = once.lines().map(json).collect();
    assert_eq!(events.len(), 8);
    assert_eq!(events[0]["put"]["kind"], "FlowRule");
    let token = events[7]["resumeToken"].as_str().expect("a bookmark has a token");
    assert_eq!(done(&mock, &["watch", "--resume", token]), "     1  delete  ports/gone\n     1  --\n");
    let (code, told) = failed(&mock, &["watch", "--resume", "b2xk"]);
    assert_eq!(code, 3, "{told}");
    assert_eq!(failed(&mock, &["watch", "--resume", "?"]).0, 2);
    assert_eq!(failed(&mock, &["watch", "lags"]).0, 2);
}

#[test]
fn shells_are_told_how_to_complete_without_a_card() {
    let mock = Mock::start();
    for shell in ["bash", "zsh", "fish"] {
        let output = nicctl(&mock, &["--server", "unix:/nowhere", "completion", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("neighbors") && text.contains("completion"), "{shell}");
    }
}
