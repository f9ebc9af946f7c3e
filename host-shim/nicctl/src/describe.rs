//! `describe`: one resource with its conditions, and the resources around it.

use std::fmt::Write as _;
use std::io::Write;

use nic_proto::v1::Resource;
use serde_json::{Value, json};

use crate::arguments::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::resource::{self, Shown, facts};
use crate::table::{printable, table};

/// Shows all that is known of one resource.
pub(crate) async fn run(
    client: &Client,
    what: &[String],
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let resource = resource::one(client, what).await?;
    let all = resource::all(client).await?;
    let (refers_to, referred_by) = around(&resource, &all)?;
    let value = json!({ "resource": value(&resource)?, "refersTo": refers_to, "referredBy": referred_by });
    output::write(out, output, &value, |value| text(&resource, value))
}

fn value(resource: &Resource) -> Result<Value, Failure> {
    serde_json::to_value(Shown(resource.clone())).map_err(|error| Failure::Encode(error.into()))
}

/// The names that a resource's spec has, and the resources whose specs have its name.
fn around(resource: &Resource, all: &[Resource]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let name = facts(resource).0;
    let mine = value(resource)?;
    let (mut refers_to, mut referred_by) = (Vec::new(), Vec::new());
    for other in all {
        let (other_name, _) = facts(other);
        if other_name == name {
            continue;
        }
        if names(&mine["spec"], other_name) {
            refers_to.push(other_name.to_owned());
        }
        if names(&value(other)?["spec"], name) {
            referred_by.push(other_name.to_owned());
        }
    }
    Ok((refers_to, referred_by))
}

/// Whether a spec has a resource's name as a value, or, a flow, the id of a Port as a word.
fn names(spec: &Value, name: &str) -> bool {
    match spec {
        Value::String(text) => {
            let is_word = |id: &str| text.split([',', ':', '=', ' ']).any(|word| word == id);
            text == name
                || (text.contains("actions=") || text.contains("action="))
                    && name.strip_prefix("ports/").is_some_and(is_word)
        }
        Value::Array(values) => values.iter().any(|value| names(value, name)),
        Value::Object(fields) => fields.values().any(|value| names(value, name)),
        _ => false,
    }
}

fn text(resource: &Resource, described: &Value) -> String {
    let value = &described["resource"];
    let mut text = String::new();
    // Writing to a String does not fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12} {}", printable(value));
    };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (name, conditions) = facts(resource);
    line("Name", name);
    line("Kind", &plain(&value["kind"]));
    for part in ["spec", "status", "metadata"] {
        for (field, value) in value[part].as_object().into_iter().flatten() {
            if field != "conditions" {
                line(&format!("{}.{field}", part), &plain(value));
            }
        }
    }
    for (title, list) in [("Refers to", "refersTo"), ("Referred by", "referredBy")] {
        for (index, name) in described[list].as_array().into_iter().flatten().enumerate() {
            line(if index == 0 { title } else { "" }, &plain(name));
        }
    }
    let rows = conditions.iter().map(|condition| {
        let status = resource::condition(conditions, &condition.r#type);
        vec![condition.r#type.clone(), status, condition.message.clone()]
    });
    text + "\n" + &table(&["CONDITION", "HOLDS", "MESSAGE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_spec_is_a_reference_and_a_part_of_one_is_not() {
        let spec = json!({"bridge": "bridges/a", "trunks": [{"vlan": 3, "bridge": "bridges/b"}]});
        assert!(names(&spec, "bridges/a") && names(&spec, "bridges/b"));
        assert!(!names(&spec, "bridges/ab") && !names(&spec, "bridges"));
        let flow = json!({"flow": "in_port=vm1,ip,actions=output:pf0"});
        assert!(names(&flow, "ports/vm1") && names(&flow, "ports/pf0") && !names(&flow, "ports/vm"));
    }
}
