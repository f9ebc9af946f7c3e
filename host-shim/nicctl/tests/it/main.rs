//! `nicctl` as a process, against an API in memory.

mod files;
mod flash;
mod mock;
mod overlay;
mod system;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mock::Mock;
use nic_proto::v1::trace_request::Packet;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/two-vms.yaml");

fn nicctl(mock: &Mock, arguments: &[&str]) -> Output {
    with_input(mock, arguments, "")
}

fn with_input(mock: &Mock, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nicctl"))
        .args(arguments)
        .env("NICCTL_SERVER", mock.server())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a nicctl");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("input that is read");
    child.wait_with_output().expect("its output")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The output of a command that must succeed.
fn done(mock: &Mock, arguments: &[&str]) -> String {
    let output = nicctl(mock, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The exit code and the error text of a command that must fail.
fn failed(mock: &Mock, arguments: &[&str]) -> (i32, String) {
    let output = nicctl(mock, arguments);
    (output.status.code().expect("an exit code"), stderr(&output))
}

#[test]
fn apply_plans_changes_and_then_has_nothing_to_do() {
    let mock = Mock::start();
    let planned = done(&mock, &["apply", "-f", EXAMPLE, "--dry-run"]);
    assert!(planned.starts_with("Plan for apply set default:\n  + create ports/pf0\n"), "{planned}");
    assert_eq!(mock.state().revision, 0);

    let text = done(&mock, &["apply", "-f", EXAMPLE, "--apply-set", "lab", "--wait"]);
    assert!(text.ends_with("Revision 1: 7 created, 0 updated, 0 deleted, 0 unchanged\n"), "{text}");
    let header = mock.state().header.clone().expect("a header");
    assert_eq!((header.apply_set.as_str(), header.prune, header.dry_run), ("lab", false, false));
    assert_eq!(header.request_id.len(), 36);

    let text = done(&mock, &["apply", "-f", EXAMPLE]);
    assert_eq!(text, "Nothing to do: 7 resources are so at revision 1\n");
    assert!(mock.state().header.clone().expect("a header").dry_run, "only the plan was asked for");
}

#[test]
fn apply_prunes_and_updates_and_says_so() {
    let mock = Mock::start();
    done(&mock, &["apply", "-f", EXAMPLE]);
    let rule =
        "apiVersion: nic.v1\nkind: FlowRule\nname: vm1-to-uplink\nspec: {flow: 'in_port=vm1,action=drop'}\n";
    let file = mock.file("one.yaml", rule);
    let file = file.to_str().expect("UTF-8");
    let text = done(&mock, &["apply", "-f", file, "--prune", "--yes", "--take-over"]);
    assert!(text.contains("  ~ update flowRules/vm1-to-uplink\n      spec.flow: \"a\" -> \"b\"\n"), "{text}");
    assert!(text.contains("  - delete ports/pf0\n"), "{text}");
    assert!(text.ends_with("Revision 2: 0 created, 1 updated, 6 deleted, 0 unchanged\n"), "{text}");
    let header = mock.state().header.clone().expect("a header");
    assert!(header.prune && header.take_over);
}

#[test]
fn apply_reads_standard_input_and_writes_only_the_result_for_programs() {
    let mock = Mock::start();
    let example = std::fs::read_to_string(EXAMPLE).expect("the example");
    let output = with_input(&mock, &["apply", "-f", "-", "-o", "json"], &example);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(json["revision"], "1");
    assert_eq!(json["changes"][0], serde_json::json!({"name": "ports/pf0", "action": "CREATE"}));
}

#[test]
fn what_get_shows_as_yaml_or_json_can_be_applied_again() {
    for form in ["yaml", "json"] {
        let mock = Mock::start();
        done(&mock, &["apply", "-f", EXAMPLE]);
        let mut args = vec!["apply"];
        let files: Vec<_> = ["ports", "flowRules"]
            .map(|what| mock.file(&format!("{what}.{form}"), &done(&mock, &["get", what, "-o", form])))
            .into();
        for file in &files {
            args.extend(["-f", file.to_str().expect("UTF-8")]);
        }
        assert_eq!(done(&mock, &args), "Nothing to do: 7 resources are so at revision 1\n", "{form}");
    }
}

#[test]
fn one_resource_is_one_object_in_json() {
    let mock = Mock::start();
    done(&mock, &["apply", "-f", EXAMPLE]);
    let json: serde_json::Value =
        serde_json::from_str(&done(&mock, &["get", "port", "pf0", "-o", "json"])).expect("JSON");
    let expected = serde_json::json!({
        "apiVersion": "nic.v1", "kind": "Port", "name": "ports/pf0", "spec": {"device": "p0"},
    });
    assert_eq!(json, expected);
    let list: serde_json::Value =
        serde_json::from_str(&done(&mock, &["get", "ports", "-o", "json"])).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(3));
}

#[test]
fn every_violation_is_told_with_file_line_resource_and_field() {
    let mock = Mock::start();
    let bad = "\
apiVersion: nic.v1
kind: FlowRule
name: a
spec: {flow: 'action=drop'}
---
apiVersion: nic.v1
kind: FlowRule
name: b
spec:
  priority: 7
  flow: ip,nw_scr=10.0.0.1,action=drop
---
apiVersion: nic.v1
kind: FlowRule
name: c
spec: {flow: 'ip,nw_scr=10.0.0.2,action=drop'}
";
    let file = mock.file("bad.yaml", bad);
    let file = file.to_str().expect("UTF-8");
    let (code, text) = failed(&mock, &["apply", "-f", file, "--request-id", "ticket-1"]);
    assert_eq!(code, 3);
    let expected = format!(
        "\
error: invalid configuration (INVALID_ARGUMENT, FLOW_UNSUPPORTED)
  {file}:11: flowRules/b: spec.flow: there is no field nw_scr [FLOW_UNSUPPORTED]
  {file}:16: flowRules/c: spec.flow: there is no field nw_scr [FLOW_UNSUPPORTED]
  request id: ticket-1
"
    );
    assert_eq!(text, expected);
}

#[test]
fn a_file_that_does_not_parse_never_reaches_the_api() {
    let mock = Mock::start();
    let file = mock.file("bad.yaml", "apiVersion: nic.v1\nkind: Port\nname: a\nspec:\n  devise: p0\n");
    let file = file.to_str().expect("UTF-8");
    let (code, text) = failed(&mock, &["apply", "-f", file]);
    assert_eq!(code, 3);
    assert!(
        text.starts_with(&format!(
            "error: invalid configuration\n  {file}:5: spec.devise: unknown field `devise`"
        )),
        "{text}"
    );
    assert!(mock.state().header.is_none());
}

#[test]
fn conflicts_have_exit_code_4_and_name_both_sides() {
    let mock = Mock::start();
    let (code, text) = failed(&mock, &["apply", "-f", EXAMPLE, "--apply-set", "taken", "--request-id=t.2"]);
    assert_eq!(code, 4);
    let place = format!("{EXAMPLE}:10");
    assert_eq!(
        text,
        format!(
            "error: of another set (ABORTED, APPLY_SET_CONFLICT)\n  apply_set: other\n  resource: ports/pf0 ({place})\n  request id: t.2\n"
        )
    );
    done(&mock, &["apply", "-f", EXAMPLE]);
    assert_eq!(failed(&mock, &["delete", "ports/pf0", "--etag", "old"]).0, 4);
    let (code, text) = failed(&mock, &["delete", "port", "pf0"]);
    assert_eq!(code, 4);
    assert!(text.contains("referrer: flowRules/a"), "{text}");
}

#[test]
fn a_command_has_one_request_id_for_all_its_calls_and_tells_it_when_asked() {
    let mock = Mock::start();
    let output = nicctl(&mock, &["-v", "apply", "-f", EXAMPLE, "--request-id", "mine", "--wait"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), "request id: mine\n"));
    // The plan, the change, and at least one look at what is applied.
    let calls = std::mem::take(&mut mock.state().calls);
    assert!(calls.len() >= 3 && calls.iter().all(|id| id == "mine"), "{calls:?}");
    // Without one it is made, and is the same in the error.
    let (code, text) = failed(&mock, &["-v", "delete", "ports/pf0", "--etag", "old"]);
    let made = mock.state().calls.pop().expect("it was called");
    assert_eq!(code, 4);
    assert!(text.starts_with(&format!("request id: {made}\n")), "{text}");
    assert!(text.ends_with(&format!("\n  request id: {made}\n")), "{text}");
    // What the card says goes before what was sent.
    let (_, text) = failed(&mock, &["get", "ports/renamed", "--request-id", "mine"]);
    assert!(text.ends_with("\n  request id: the-cards\n"), "{text}");
    assert_eq!(failed(&mock, &["status", "--request-id", "no good"]).0, 2);
}

#[test]
fn delete_says_what_it_did() {
    let mock = Mock::start();
    done(&mock, &["apply", "-f", EXAMPLE]);
    let text = done(&mock, &["delete", "flowrule", "vm1-to-uplink", "--wait=5"]);
    assert_eq!(text, "Revision 2: flowRules/vm1-to-uplink deleted\n");
    assert_eq!(failed(&mock, &["get", "flowRules/vm1-to-uplink"]).0, 5);
}

#[test]
fn exit_codes_tell_failures_apart() {
    let mock = Mock::start();
    for (arguments, code) in [
        (&["get", "ports/broken"][..], 1),
        (&["get", "ports/unfinished"][..], 1),
        (&["apply", "-f", "/nonexistent/file.yaml"][..], 1),
        (&["get", "lags"][..], 2),
        (&["get"][..], 2),
        (&["delete", "ports"][..], 2),
        (&["frobnicate"][..], 2),
        (&["trace", "--in-port", "pf0"][..], 2),
        (&["trace", "--in-port", "pf0", "--packet", "xyz"][..], 2),
        (&["status", "--server", "192.168.1.1:1"][..], 2),
        (&["get", "ports/missing"][..], 5),
        (&["get", "ports/away"][..], 6),
        (&["status", "--server", "unix:/nonexistent/nic.sock"][..], 6),
        (&["get", "ports/locked"][..], 7),
    ] {
        let (found, text) = failed(&mock, arguments);
        assert_eq!(found, code, "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{arguments:?}: {text}");
    }
}

#[test]
fn a_change_that_is_not_applied_in_time_has_a_code_of_its_own() {
    let mock = Mock::start();
    mock.state().lag = 1;
    let (code, text) = failed(&mock, &["apply", "-f", EXAMPLE, "--wait=0.05"]);
    assert_eq!(code, 9);
    assert_eq!(text, "error: revision 1 is stored, but after 50ms the datapath has applied only 0\n");
}

#[test]
fn ports_and_flow_rules_are_shown_in_tables() {
    let mock = Mock::start();
    done(&mock, &["apply", "-f", EXAMPLE]);
    let expected = "\
NAME       DEVICE  ADMIN    MTU  BRIDGES  MAC ADDRESSES  ANTI-SPOOF  PRESENT  PROGRAMMED
ports/pf0  p0      enabled    -  -        -              no          -        -
ports/vm1  pf0vf0  enabled    -  -        -              no          -        -
ports/vm2  pf0vf1  enabled    -  -        -              no          -        -
";
    assert_eq!(done(&mock, &["get", "ports"]), expected);
    done(&mock, &["delete", "flowRules/uplink-to-vm1"]);
    done(&mock, &["delete", "flowRules/uplink-to-vm2"]);
    let expected = "\
NAME                     PRIORITY  FLOW                           PROGRAMMED  OFFLOADED
flowRules/vm1-to-uplink         -  in_port=vm1,action=output:pf0  yes         no (CardFull)
flowRules/vm2-to-uplink         -  in_port=vm2,action=output:pf0  yes         no (CardFull)

flowRules/vm1-to-uplink: Offloaded: the card's rule table is full
flowRules/vm2-to-uplink: Offloaded: the card's rule table is full
";
    assert_eq!(done(&mock, &["get", "flowRules"]), expected);
}

#[test]
fn flows_are_shown_busiest_first_and_filtered_and_flushed() {
    let mock = Mock::start();
    let expected = "\
IN PORT    TIER      PACKETS      BYTES    AGE  IDLE  MATCH                              ACTIONS        WHY IN SOFTWARE
ports/vm1  hardware  1000000  100000000  1m15s     -  in_port=ports/vm1,eth_type=0x0800  output:pf0vf0  -
ports/pf0  software        3        300  1m15s     -  in_port=ports/pf0,eth_type=0x0800  output:pf0vf0  many_outputs
";
    assert_eq!(done(&mock, &["flows"]), expected);
    let json = done(&mock, &["flows", "--port", "pf0", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["flows"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["flows"][0]["packets"], "3");
    assert_eq!(done(&mock, &["flows", "--port", "pf0", "--tier", "hardware"]), "No flows\n");
    assert_eq!(done(&mock, &["flows", "flush"]), "2 flows flushed\n");
    assert_eq!(done(&mock, &["flows", "flush", "--port", "pf0"]), "1 flows flushed\n");
}

#[test]
fn a_trace_shows_every_stage_and_what_becomes_of_the_flow() {
    let mock = Mock::start();
    let expected = "\
Packet     in_port=p0,eth_type=0x0800
In port    ports/pf0 at revision 7

STAGE       FOUND        READ                VERDICT
ingress     ports/pf0    in_port             pass
flow_rules  flowRules/a  eth_type,ip_src/24  drop (flow_rules.drop)

Verdict    drop: flow_rules.drop
Read       in_port,eth_type,ip_src/24
Megaflow   in_port=p0,eth_type=0x0800,ip_src=10.10.1.0/24 (shape l3-source-24)
Runs in    hardware
";
    assert_eq!(done(&mock, &["trace", "--in-port", "pf0", "tcp,nw_src=10.10.1.5"]), expected);
    let sent = mock.state().trace.clone().expect("a trace");
    assert_eq!(
        (sent.in_port.as_str(), sent.packet),
        ("ports/pf0", Some(Packet::Key("tcp,nw_src=10.10.1.5".into())))
    );
    done(&mock, &["trace", "--in-port", "ports/pf0", "--packet", "0200 00:ff"]);
    let sent = mock.state().trace.clone().expect("a trace");
    assert_eq!(sent.packet, Some(Packet::Frame(vec![2, 0, 0, 0xff])));
}

#[test]
fn capabilities_say_why_not() {
    let mock = Mock::start();
    let expected = "\
Driver net_eswitch, DPDK 22.11.11

SHAPE    ACTION      PACKETS  HARDWARE  BECAUSE
5-tuple  output      IPv4     yes       -
5-tuple  dec_ip_ttl  IPv4     no        the card cannot do dec_ip_ttl there
";
    assert_eq!(done(&mock, &["capabilities"]), expected);
    assert!(!done(&mock, &["capabilities", "--unsupported"]).contains(" output "));
}

#[test]
fn an_audit_shows_what_differs_and_fails_while_something_does() {
    let mock = Mock::start();
    let expected = "\
5 flows with rules, 6 rules held: 1 differ
Noticed by packets since the start: 16 that a rule should have taken; 1 rules reinstalled

DISCREPANCY  FOUND  REPAIRED  WHAT
stray            1         0  nobody owns it

DISCREPANCY  REPAIRED  MATCH
stray        no        -
";
    assert_eq!(stdout(&nicctl(&mock, &["flows", "--audit"])), expected);
    let differs = (10, "error: 1 rules differ from their flows\n".to_owned());
    assert_eq!(failed(&mock, &["flows", "--audit"]), differs);
    let repaired = done(&mock, &["flows", "--audit", "--repair", "-o", "json"]);
    let repaired: serde_json::Value = serde_json::from_str(&repaired).expect("JSON");
    assert_eq!(repaired["counts"][0]["repaired"], "1");
    assert!(repaired.get("remaining").is_none(), "{repaired}");
    assert_eq!(failed(&mock, &["flows", "--repair"]).0, 2);
}

#[test]
fn stats_give_the_share_of_the_e_switch() {
    let mock = Mock::start();
    let expected = "\
Packets by the port they came from (SENT: went to)
DEVICE  PORT       HARDWARE  SLOW PATH  CACHE HITS  UPCALLS  SENT  DROPPED  FLOWS  RULES  EVICTED   BUSY  PRESENT
p0      ports/pf0     99990         10           0        0     0        2      4      3        5  59.5s  yes

Forwarded by the E-Switch: 99990 of 100000 packets (99.990 %)
Flows: 4, of these 3 in hardware; 0 revalidated; cache full 0 times
Rules: 3 created, 0 destroyed, 0 refused
Rules lost: 20 packets came that a rule should have taken, 1 rules reinstalled, 0 strays removed
Card: 0 creations postponed, 0 destructions failed, 0 counters not read; now 0 rules waiting, 2 stuck, 0 unreadable

STAGE    PASSED  DROPPED  HELD
ingress       4        0     0

DROPPED BECAUSE      PACKETS
flow_rules.no_match        2
";
    assert_eq!(done(&mock, &["stats"]), expected);
}

#[test]
fn top_gives_what_happened_a_second_and_who_takes_the_slow_path_s_time_first() {
    let mock = Mock::start();
    mock.state().readings = Some(0);
    let one = "\
Slow path 75.0% busy: 1.1k packets/s, 600 upcalls/s; hardware: 10.0k packets/s, 8.0M bit/s

DEVICE  PORT        BUSY  SLOW PKT/S  UPCALLS/S  HW PKT/S  HW BIT/S  FLOWS  RULES  EVICTED/S  DROPS/S  MOSTLY
pf0vf1  -          50.0%        1.0k        500         0         0     40      9        2.5      5.0  rule.drop
p0      ports/pf0  25.0%         100        100     10.0k      8.0M      4      3          0        0  -
";
    let shown = done(&mock, &["top", "--interval", "0.01", "--count", "2"]);
    assert_eq!(shown, format!("{one}\n{one}"), "the mock's clock goes two seconds with each reading");
    let shown = done(&mock, &["top", "--interval", "0.01", "--count", "2", "-o", "json"]);
    assert_eq!(shown.lines().count(), 2);
    for line in shown.lines() {
        let rates: serde_json::Value = serde_json::from_str(line).expect("one document a line");
        assert_eq!(rates["seconds"], 2.0);
        assert_eq!(rates["ports"][0]["device"], "pf0vf1");
        assert_eq!(rates["ports"][0]["upcalls"], 500.0);
        assert_eq!(rates["ports"][0]["topDrop"], "rule.drop");
        assert_eq!(rates["ports"][1]["hardwareBits"], 8e6);
    }
    let (code, _) = failed(&mock, &["top", "--interval", "0"]);
    assert_eq!(code, 2);
}

#[test]
fn top_ends_well_when_it_is_interrupted() {
    use std::io::{BufRead, BufReader};

    let mock = Mock::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nicctl"))
        .args(["top", "--interval", "0.01", "-o", "json"])
        .env("NICCTL_SERVER", mock.server())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a nicctl");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    lines.next().expect("a line").expect("text");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("a kill").success());
    for line in lines {
        let line = line.expect("text");
        serde_json::from_str::<serde_json::Value>(&line).expect("no line is cut off");
    }
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}

#[test]
fn status_is_shown_for_people_and_for_programs() {
    let mock = Mock::start();
    done(&mock, &["apply", "-f", EXAMPLE]);
    let expected = "\
healthy

Agent      version 0.1.0, store u
Revision   1, applied
Datapath   connected, version 0.1.0, schema 3, policy revision 1
Flows      4, of these 3 in hardware
Packets    forwarded by the E-Switch: 99.990 %

DEVICE  PRESENT  LINK  PORT
p0      yes      up    ports/pf0
";
    assert_eq!(done(&mock, &["status"]), expected);
    let yaml = done(&mock, &["status", "-o", "yaml"]);
    assert!(yaml.contains("appliedRevision: \"1\"\n"), "{yaml}");
    mock.state().lag = 1;
    mock.state().dropping = 7;
    let text = done(&mock, &["status"]);
    assert!(text.contains("Revision   1, applied up to 0\n"), "{text}");
    assert!(text.contains("Drops      7 packets in 1 s: flow_rules.no_match\n"), "{text}");
    mock.state().mute = true;
    assert!(done(&mock, &["status"]).starts_with("health unknown: "));
}

#[test]
fn status_says_what_is_wrong_and_its_exit_code_says_so_too() {
    use nic_proto::v1::{Alarm, alarm::Severity};
    let mock = Mock::start();
    let alarm = |reason: &str, severity: Severity, object: &str, text: &str| Alarm {
        reason: reason.into(),
        severity: severity.into(),
        object: object.into(),
        since: None,
        text: text.into(),
    };
    let known = alarm("policy.from_disk", Severity::Info, "", "as before");
    mock.state().alarms = vec![known.clone()];
    let text = done(&mock, &["status"]);
    assert!(text.starts_with("healthy\ninfo      policy.from_disk\n          as before\n"), "{text}");

    mock.state().alarms = vec![
        alarm("datapath.away", Severity::Critical, "", "no such\nsocket"),
        alarm("device.absent", Severity::Warning, "ports/vm1", "no pf0vf9"),
        known,
    ];
    let output = nicctl(&mock, &["status"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(10), ""));
    let expected = "\
NOT healthy: 2 alarms
critical  datapath.away
          no such\\nsocket
          docs/ops/alarms.md#datapathaway
warning   device.absent of ports/vm1
          no pf0vf9
          docs/ops/alarms.md#deviceabsent
info      policy.from_disk
          as before
          docs/ops/alarms.md#policyfrom_disk

Agent ";
    let text = stdout(&output);
    assert!(text.starts_with(expected), "{text}");
    let output = nicctl(&mock, &["status", "-o", "json"]);
    assert_eq!(output.status.code(), Some(10));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(json["alarms"][1]["object"], "ports/vm1");
}

#[test]
fn help_lists_the_exit_codes() {
    let mock = Mock::start();
    let help = done(&mock, &["--help"]);
    assert!(help.contains("  9  accepted, but not applied within --wait"), "{help}");
    assert!(Path::new(EXAMPLE).exists());
}
