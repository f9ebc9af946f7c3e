//! What users of the generated types rely on.

use nic_proto::v1::{FlowRule, FlowRuleSpec, Port, PortSpec, port_spec::AdminState};
use prost_types::FileDescriptorSet;

fn descriptors() -> FileDescriptorSet {
    prost::Message::decode(nic_proto::FILE_DESCRIPTOR_SET).expect("a descriptor set")
}

#[test]
fn reflection_serves_the_public_api_alone_and_whole() {
    let set = descriptors();
    let files: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
    assert!(set.file.iter().all(|file| matches!(file.package(), "nic.v1" | "google.protobuf")), "{files:?}");
    assert!(files.contains(&"nic/v1/config.proto"), "{files:?}");
    for file in &set.file {
        for import in &file.dependency {
            assert!(files.contains(&import.as_str()), "{} imports {import}", file.name());
        }
    }
}

#[test]
fn reflection_can_serve_the_comments() {
    let set = descriptors();
    let port = set.file.iter().find(|file| file.name() == "nic/v1/port.proto").expect("port.proto");
    let locations = &port.source_code_info.as_ref().expect("source information").location;
    assert!(locations.iter().any(|location| location.leading_comments().contains("One port of the card")));
}

#[test]
fn a_port_reads_back_from_its_canonical_json() {
    let port = Port {
        name: "ports/vm1".into(),
        spec: Some(PortSpec {
            device: "pf0vf0".into(),
            admin_state: AdminState::Enabled.into(),
            mtu: 1500,
            mac_addresses: vec!["02:00:00:00:00:01".into()],
            anti_spoof: true,
            ..PortSpec::default()
        }),
        ..Port::default()
    };
    let json = serde_json::to_value(&port).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "name": "ports/vm1",
            "spec": {
                "device": "pf0vf0",
                "adminState": "ENABLED",
                "mtu": 1500,
                "macAddresses": ["02:00:00:00:00:01"],
                "antiSpoof": true,
            },
        })
    );
    assert_eq!(serde_json::from_value::<Port>(json).expect("a port"), port);
}

#[test]
fn an_unset_priority_differs_from_priority_zero_in_json() {
    let with = |priority| FlowRuleSpec { flow: "action=drop".into(), priority };
    assert_eq!(serde_json::to_string(&with(None)).expect("JSON"), r#"{"flow":"action=drop"}"#);
    assert_eq!(
        serde_json::to_string(&with(Some(0))).expect("JSON"),
        r#"{"flow":"action=drop","priority":0}"#
    );
}

#[test]
fn unknown_fields_and_enum_values_are_refused_in_json() {
    for (text, fault) in [
        (r#"{"name": "flowRules/a", "specs": {}}"#, "specs"),
        (r#"{"spec": {"flow": "action=drop", "prio": 1}}"#, "prio"),
    ] {
        let error = serde_json::from_str::<FlowRule>(text).expect_err("an unknown field").to_string();
        assert!(error.contains(fault), "{error}");
    }
    let error = serde_json::from_str::<PortSpec>(r#"{"adminState": "UP"}"#).expect_err("an unknown value");
    assert!(error.to_string().contains("UP"), "{error}");
}
