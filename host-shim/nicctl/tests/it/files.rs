//! The file format, good and bad.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nic_proto::v1::{FlowRule, Port, port_spec::AdminState, resource::Kind};
use nicctl::files::{Entry, ReadError, parse, read};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/two-vms.yaml"));

fn entries(text: &str) -> Vec<Entry> {
    parse(&Arc::from("f.yaml"), text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn port(entry: &Entry) -> &Port {
    match &entry.resource.kind {
        Some(Kind::Port(port)) => port,
        other => panic!("{other:?}"),
    }
}

fn rule(entry: &Entry) -> &FlowRule {
    match &entry.resource.kind {
        Some(Kind::FlowRule(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

/// The one fault of a text, as it is told.
fn fault(text: &str) -> String {
    let faults = parse(&Arc::from("f.yaml"), text).expect_err(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].to_string()
}

#[test]
fn several_documents_of_several_kinds_stand_in_one_file() {
    let entries = entries(
        "\
# A comment.
---
apiVersion: nic.v1
kind: Port
name: ports/vm1
spec:
  device: pf0vf0
  adminState: DISABLED
  mtu: 9000
  macAddresses: [02:00:00:00:00:01, '02:00:00:00:00:02']
  antiSpoof: true
---
---
apiVersion: nic.v1
kind: FlowRule
name: a
spec: {flow: 'in_port=vm1,action=output:pf0', priority: 0}
",
    );
    assert_eq!(
        entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
        ["ports/vm1", "flowRules/a"]
    );
    let spec = port(&entries[0]).spec.clone().expect("a spec");
    assert_eq!((spec.device.as_str(), spec.mtu, spec.anti_spoof), ("pf0vf0", 9000, true));
    assert_eq!(spec.admin_state(), AdminState::Disabled);
    assert_eq!(spec.mac_addresses, ["02:00:00:00:00:01", "02:00:00:00:00:02"]);
    let spec = rule(&entries[1]).spec.clone().expect("a spec");
    assert_eq!((spec.flow.as_str(), spec.priority), ("in_port=vm1,action=output:pf0", Some(0)));
    assert_eq!(rule(&entries[1]).name, "flowRules/a");
}

#[test]
fn a_rule_reads_the_same_however_yaml_writes_it() {
    let flow = "in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1";
    for text in [
        format!("apiVersion: nic.v1\nkind: FlowRule\nname: a\nspec:\n  flow: {flow}\n"),
        format!("apiVersion: nic.v1\nkind: FlowRule\nname: a\nspec:\n  flow: >-\n    {flow}\n"),
        format!("apiVersion: nic.v1\nkind: FlowRule\nname: a\nspec: {{flow: \"{flow}\"}}\n"),
        format!(
            r#"{{"apiVersion": "nic.v1", "kind": "FlowRule", "name": "a", "spec": {{"flow": "{flow}"}}}}"#
        ),
    ] {
        assert_eq!(rule(&entries(&text)[0]).spec.clone().expect("a spec").flow, flow, "{text}");
    }
}

#[test]
fn fields_may_be_named_as_in_the_proto_file() {
    let text = "apiVersion: nic.v1\nkind: Port\nname: a\nspec:\n  device: p0\n  mac_addresses: ['02:00:00:00:00:01']\n";
    let entries = entries(text);
    assert_eq!(port(&entries[0]).spec.clone().expect("a spec").mac_addresses.len(), 1);
    assert_eq!(entries[0].place("spec.macAddresses[0]").line, 6);
}

#[test]
fn what_is_the_server_s_is_read_and_left_out_but_the_etag_is_kept() {
    let text = "\
apiVersion: nic.v1
kind: Port
name: ports/pf0
spec: {device: p0}
etag: abc
status: {conditions: [{type: Present, status: 'TRUE'}], linkUp: true}
metadata: {generation: '3', applySet: default, createTime: '2026-01-02T03:04:05Z'}
";
    let entries = entries(text);
    let port = port(&entries[0]);
    assert_eq!((port.etag.as_str(), port.status.is_none(), port.metadata.is_none()), ("abc", true, true));
}

#[test]
fn a_place_is_the_line_of_the_field_or_of_what_is_around_it() {
    let text = "\
apiVersion: nic.v1
kind: Port
name: ports/pf0

spec:
  device: p0
  macAddresses:
    - 02:00:00:00:00:01
    - 02:00:00:00:00:02
";
    let entry = &entries(text)[0];
    for (path, line) in [
        ("", 1),
        ("name", 3),
        ("spec", 5),
        ("spec.device", 6),
        ("spec.device.deeper", 6),
        ("spec.macAddresses", 7),
        ("spec.macAddresses[1]", 9),
        ("spec.macAddresses[7]", 7),
        ("spec.mtu", 5),
        ("etag", 1),
    ] {
        assert_eq!(entry.place(path).to_string(), format!("f.yaml:{line}"), "{path}");
    }
}

#[test]
fn a_fault_is_told_with_its_line_and_path() {
    const HEAD: &str = "apiVersion: nic.v1\nkind: Port\nname: ports/pf0\n";
    for (text, expected) in [
        (format!("{HEAD}spec:\n  device: p0\n  mtuu: 1\n"), "f.yaml:6: spec.mtuu: unknown field `mtuu`"),
        (format!("{HEAD}specs: {{}}\n"), "f.yaml:4: specs: unknown field `specs`"),
        (format!("{HEAD}spec:\n  mtu: many\n"), "f.yaml:5: spec.mtu: "),
        (format!("{HEAD}spec:\n  mtu: -1\n"), "f.yaml:5: spec.mtu: "),
        (format!("{HEAD}spec:\n  device: 7\n"), "f.yaml:5: spec.device: invalid type"),
        (format!("{HEAD}spec:\n  antiSpoof: yes\n"), "f.yaml:5: spec.antiSpoof: invalid type"),
        (format!("{HEAD}spec:\n  adminState: UP\n"), "f.yaml:5: spec.adminState: unknown variant `UP`"),
        (
            format!("{HEAD}spec:\n  macAddresses:\n  - a\n  - [b]\n"),
            "f.yaml:7: spec.macAddresses[1]: invalid type",
        ),
        (format!("{HEAD}spec: p0\n"), "f.yaml:4: spec: invalid type"),
        ("kind: Port\nname: a\n".into(), "f.yaml:1: apiVersion is missing"),
        ("apiVersion: nic.v2\nkind: Port\nname: a\n".into(), "f.yaml:1: apiVersion: is nic.v2, not nic.v1"),
        ("apiVersion: nic.v1\nname: a\n".into(), "f.yaml:1: kind is missing"),
        (
            "apiVersion: nic.v1\nkind: Lag\nname: a\n".into(),
            "f.yaml:2: kind: Lag is none of Port, FlowRule, Bridge, Vtep, TunnelPeer, FdbEntry",
        ),
        ("apiVersion: nic.v1\nkind: Port\n".into(), "f.yaml:1: name is missing"),
        ("apiVersion: nic.v1\nkind: Port\nname: 5\n".into(), "f.yaml:3: name: must be a text"),
        (
            "apiVersion: nic.v1\nkind: Port\nname: flowRules/a\n".into(),
            "f.yaml:3: name: a Port is named ports/ID, or ID for short",
        ),
        ("just text\n".into(), "f.yaml:1: a document is a mapping: apiVersion, kind, name, spec"),
    ] {
        let told = fault(&text);
        assert!(told.starts_with(expected), "{text}\nis told as {told}\nnot as  {expected}");
    }
}

#[test]
fn text_that_is_no_yaml_is_told_with_its_line() {
    for (text, line) in [
        ("apiVersion: nic.v1\nkind: [Port\nname: a\n", 2..=4),
        ("apiVersion: nic.v1\n\tkind: Port\n", 1..=2),
        ("name: a\nkind: Port\nname: b\n", 3..=3),
        ("a: *nothing\n", 1..=1),
    ] {
        let faults = parse(&Arc::from("f.yaml"), text).expect_err(text);
        assert!(line.contains(&faults[0].place.line), "{text}: {}", faults[0]);
    }
}

proptest! {
    #[test]
    fn a_damaged_file_is_read_or_told_with_a_line_of_it(
        at in 0..EXAMPLE.len(),
        length in 0..40_usize,
        instead in "[\\[\\]{}:,&*!|>'\"%@`#\\-? \n\ta-z0-9é\u{0}]{0,6}",
    ) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, instead.bytes());
        let text = String::from_utf8(bytes).expect("the example is ASCII");
        if let Err(faults) = parse(&Arc::from("f.yaml"), &text) {
            let lines = text.lines().count() as u64 + 1;
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!((1..=lines).contains(&fault.place.line), "{fault} in {text}");
            }
        }
    }
}

#[test]
fn every_faulty_document_is_told() {
    let text = "apiVersion: nic.v1\nkind: A\nname: a\n---\napiVersion: nic.v1\nkind: B\nname: b\n";
    let faults = parse(&Arc::from("f.yaml"), text).expect_err(text);
    assert_eq!(faults.iter().map(|fault| fault.place.line).collect::<Vec<_>>(), [2, 6]);
}

#[test]
fn a_directory_is_its_yaml_and_json_files_in_order() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
    write("b.yaml", "apiVersion: nic.v1\nkind: Port\nname: second\nspec: {device: p1}\n");
    write("a.json", r#"{"apiVersion": "nic.v1", "kind": "Port", "name": "first", "spec": {"device": "p0"}}"#);
    write("c.yml", "# nothing\n");
    write("notes.txt", "not for us: [");
    std::fs::create_dir(directory.path().join("sub.yaml")).expect("a directory");
    let entries = read(&[directory.path().to_owned()]).expect("two resources");
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["ports/first", "ports/second"]);
}

#[test]
fn a_name_that_stands_twice_is_told_with_both_places() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, "apiVersion: nic.v1\nkind: Port\nname: pf0\nspec: {device: p0}\n")
            .expect("a file");
        path
    };
    let (a, b) = (file("a.yaml"), file("b.yaml"));
    match read(&[a.clone(), b.clone()]) {
        Err(ReadError::Faults(faults)) => assert_eq!(
            faults[0].to_string(),
            format!("{}:3: name: ports/pf0 stands at {}:3 already", b.display(), a.display())
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    assert!(matches!(read(&[directory.path().to_owned()]), Err(ReadError::EmptyDirectory(_))));
    let missing = directory.path().join("missing.yaml");
    match read(std::slice::from_ref(&missing)) {
        Err(error @ ReadError::Io { .. }) => assert!(error.to_string().contains("missing.yaml"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_has_the_tutorial_s_four_rules_as_typed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/two-vms.yaml");
    let entries = read(&[path]).expect("the example");
    let devices: Vec<String> = entries
        .iter()
        .filter_map(|entry| match &entry.resource.kind {
            Some(Kind::Port(port)) => port.spec.clone().map(|spec| format!("{}={}", entry.name, spec.device)),
            _ => None,
        })
        .collect();
    assert_eq!(devices, ["ports/pf0=p0", "ports/vm1=pf0vf0", "ports/vm2=pf0vf1"]);
    let flows: Vec<String> = entries
        .iter()
        .filter_map(|entry| match &entry.resource.kind {
            Some(Kind::FlowRule(rule)) => rule.spec.clone().map(|spec| spec.flow),
            _ => None,
        })
        .collect();
    assert_eq!(
        flows,
        [
            "in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1",
            "in_port=vm1,action=output:pf0",
            "in_port=pf0,ip,nw_src=10.10.1.1/255.255.255.0,action=output:vm2",
            "in_port=vm2,action=output:pf0",
        ]
    );
}
