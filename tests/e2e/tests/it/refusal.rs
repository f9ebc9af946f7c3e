//! Configuration that is wrong: refused whole, with the field and the reason.

use crate::bench::{Bench, Outcome, PORTS, wires, with_rules};

/// What is wrong, the exit code, and what must be told.
fn wrong() -> Vec<(String, i32, &'static [&'static str])> {
    let port =
        |spec: &str| format!("{PORTS}---\napiVersion: nic.v1\nkind: Port\nname: ports/x\nspec: {spec}\n");
    let rule = |flow: &str| with_rules(&[("good", "in_port=vm1,actions=output:pf0"), ("bad", flow)]);
    vec![
        (port("{device: eth0}"), 3, &["ports/x", "spec.device", "FIELD_MALFORMED"]),
        (port("{}"), 3, &["ports/x", "spec.device", "FIELD_REQUIRED"]),
        (port("{device: p0}"), 3, &["spec.device", "DEVICE_IN_USE"]),
        (port("{device: pf0vf7, mtu: 20}"), 3, &["spec.mtu", "FIELD_OUT_OF_RANGE"]),
        (port("{device: pf0vf7, antiSpoof: true}"), 3, &["ports/x", "FIELD_CONFLICT"]),
        (port("{device: pf0vf7, colour: red}"), 3, &["colour"]),
        (port("{device: pf0vf7, macAddresses: ['ff:ff:ff:ff:ff:ff']}"), 3, &["spec.macAddresses[0]"]),
        (rule("in_port=vm1,actions=output:nobody"), 3, &["spec.flow", "REFERENCE_NOT_FOUND", "nobody"]),
        (rule("in_port=vm1,tp_dst=80,actions=output:pf0"), 3, &["spec.flow", "FLOW_PREREQUISITE"]),
        (rule("in_port=vm1,actions=normal"), 3, &["spec.flow", "FLOW_UNSUPPORTED"]),
        (rule("in_port=vm1,ip,nw_src=10.0.0.300,actions=output:pf0"), 3, &["spec.flow", "FLOW_SYNTAX"]),
        (rule(""), 3, &["flowRules/bad", "spec.flow"]),
        ("apiVersion: nic.v1\nkind: Port\nname: [".into(), 3, &["apply.yaml"]),
        ("apiVersion: nic.v9\nkind: Port\nname: ports/x\n".into(), 3, &["apiVersion"]),
        (format!("{PORTS}{PORTS}"), 3, &["ports/pf0", "stands at"]),
    ]
}

#[test]
fn wrong_configuration_is_refused_with_field_and_reason_and_nothing_is_applied() -> Outcome {
    let lab = Bench::usual()?;
    for (yaml, code, told) in wrong() {
        let answer = lab.try_apply(&yaml)?;
        assert_eq!(answer.code, code, "{yaml}\n{answer:?}");
        for word in told {
            assert!(answer.err.contains(word), "{word:?} is not told of\n{yaml}\n{}", answer.err);
        }
    }
    assert_eq!(lab.json(&["status"])?["revision"].as_str().unwrap_or("0"), "0");
    assert_eq!(lab.json(&["get", "ports"])?.as_array().map(Vec::len), Some(0));
    Ok(())
}

#[test]
fn what_is_referred_to_cannot_be_deleted() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&wires())?;
    let before = lab.json(&["status"])?;
    let answer = lab.nicctl(&["delete", "ports/vm1"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.err.contains("RESOURCE_REFERENCED") && answer.err.contains("flowRules/"), "{answer:?}");
    let answer = lab.nicctl(&["delete", "ports/nobody"])?;
    assert_eq!(answer.code, 5, "{answer:?}");
    assert_eq!(lab.json(&["status"])?["revision"], before["revision"]);
    Ok(())
}

#[test]
fn a_resource_of_another_apply_set_is_not_taken() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&wires())?;
    let file = lab.folder().join("other.yaml");
    std::fs::write(&file, PORTS.replace("{device: p0}", "{device: p0, mtu: 9000}"))
        .expect("the lab's folder");
    let file = file.to_string_lossy().into_owned();
    let answer = lab.nicctl(&["apply", "-f", &file, "--apply-set", "other", "--yes"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.err.contains("APPLY_SET_CONFLICT"), "{answer:?}");
    Ok(())
}
