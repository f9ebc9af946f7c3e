//! `get` and `delete`.

use std::io::Write;

use nic_proto::v1::flow_rule_service_client::FlowRuleServiceClient;
use nic_proto::v1::port_service_client::PortServiceClient;
use nic_proto::v1::{
    Condition, DeleteFlowRuleRequest, DeletePortRequest, FlowRule, GetFlowRuleRequest, GetPortRequest,
    ListFlowRulesRequest, ListPortsRequest, Port, condition, port_spec::AdminState,
};
use serde::Serialize;

use crate::arguments::{Delete, Output};
use crate::client::{Client, request_id};
use crate::failure::Failure;
use crate::files::{API_VERSION, Kind};
use crate::output;
use crate::table::{or_dash, printable, table, yes_no};

/// A resource in the form of the files that `apply` reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    resource: T,
}

impl<T> Document<T> {
    fn new(kind: Kind, resource: T) -> Document<T> {
        Document { api_version: API_VERSION, kind: kind.name(), resource }
    }
}

/// Shows the resources that the words of the command line name.
pub(crate) async fn get(
    client: &Client,
    what: &[String],
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (kind, name) = target(what)?;
    let single = name.is_some();
    match kind {
        Kind::Port => {
            let ports = match name {
                Some(name) => vec![get_port(client, name).await?],
                None => list_ports(client).await?,
            };
            show(kind, ports, single, output, out, ports_table)
        }
        Kind::FlowRule => {
            let rules = match name {
                Some(name) => vec![get_flow_rule(client, name).await?],
                None => list_flow_rules(client).await?,
            };
            show(kind, rules, single, output, out, flow_rules_table)
        }
    }
}

fn show<T: Serialize>(
    kind: Kind,
    resources: Vec<T>,
    single: bool,
    output: Output,
    out: &mut dyn Write,
    table: impl FnOnce(&[&T]) -> String,
) -> Result<(), Failure> {
    let documents: Vec<_> = resources.into_iter().map(|resource| Document::new(kind, resource)).collect();
    output::write_documents(out, output, &documents, single, |documents| {
        table(&documents.iter().map(|document| &document.resource).collect::<Vec<_>>())
    })
}

/// Deletes the resource that the words of the command line name.
pub(crate) async fn delete(
    client: &Client,
    command: Delete,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (kind, name) = target(&command.what)?;
    let name = name.ok_or_else(|| Failure::Usage("delete needs the name of one resource".into()))?;
    let (etag, request_id) = (command.etag, request_id());
    let revision = match kind {
        Kind::Port => {
            let request = DeletePortRequest { name: name.clone(), etag, request_id };
            let response =
                PortServiceClient::new(client.channel()).delete_port(client.request(request)).await?;
            let response = response.into_inner();
            output::write(out, output, &response, |response| deleted(&name, response.revision))?;
            response.revision
        }
        Kind::FlowRule => {
            let request = DeleteFlowRuleRequest { name: name.clone(), etag, request_id };
            let mut service = FlowRuleServiceClient::new(client.channel());
            let response = service.delete_flow_rule(client.request(request)).await?.into_inner();
            output::write(out, output, &response, |response| deleted(&name, response.revision))?;
            response.revision
        }
    };
    match command.wait {
        Some(limit) => client.wait_applied(revision, limit).await,
        None => Ok(()),
    }
}

fn deleted(name: &str, revision: u64) -> String {
    format!("Revision {revision}: {name} deleted\n")
}

/// What `ports`, `port pf0` or `ports/pf0` names: a kind, and one resource's full name if one is named.
fn target(what: &[String]) -> Result<(Kind, Option<String>), Failure> {
    let (kind, id) = match what {
        [one] => match one.split_once('/') {
            Some((kind, id)) => (kind, Some(id)),
            None => (one.as_str(), None),
        },
        [kind, id] => (kind.as_str(), Some(id.as_str())),
        _ => return Err(Failure::Usage("name a resource, such as ports or ports/pf0".into())),
    };
    let plain = kind.replace(['-', '_'], "").to_ascii_lowercase();
    let matches = |candidate: &Kind| {
        plain == candidate.name().to_ascii_lowercase() || plain == candidate.collection().to_ascii_lowercase()
    };
    let Some(kind) = Kind::ALL.iter().copied().find(matches) else {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.collection()).collect();
        return Err(Failure::Usage(format!("there are no {kind}; there are {}", known.join(", "))));
    };
    let Some(id) = id else { return Ok((kind, None)) };
    let name = kind.full_name(id);
    name.map(|name| (kind, Some(name)))
        .ok_or_else(|| Failure::Usage(format!("{id} is not the name of one of {}", kind.collection())))
}

/// The full name of a Port that an option names.
pub(crate) fn port_name(port: &str) -> Result<String, Failure> {
    let name = Kind::Port.full_name(port);
    name.ok_or_else(|| Failure::Usage(format!("a Port is named ports/ID, or ID for short, not {port}")))
}

async fn get_port(client: &Client, name: String) -> Result<Port, Failure> {
    let request = client.request(GetPortRequest { name });
    Ok(PortServiceClient::new(client.channel()).get_port(request).await?.into_inner())
}

async fn list_ports(client: &Client) -> Result<Vec<Port>, Failure> {
    let mut service = PortServiceClient::new(client.channel());
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = client.request(ListPortsRequest { page_size: 0, page_token });
        let response = service.list_ports(request).await?.into_inner();
        all.extend(response.ports);
        page_token = response.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn get_flow_rule(client: &Client, name: String) -> Result<FlowRule, Failure> {
    let request = client.request(GetFlowRuleRequest { name });
    Ok(FlowRuleServiceClient::new(client.channel()).get_flow_rule(request).await?.into_inner())
}

async fn list_flow_rules(client: &Client) -> Result<Vec<FlowRule>, Failure> {
    let mut service = FlowRuleServiceClient::new(client.channel());
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = client.request(ListFlowRulesRequest { page_size: 0, page_token });
        let response = service.list_flow_rules(request).await?.into_inner();
        all.extend(response.flow_rules);
        page_token = response.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

fn ports_table(ports: &[&Port]) -> String {
    let columns = ["NAME", "DEVICE", "ADMIN", "MTU>", "MAC ADDRESSES", "ANTI-SPOOF", "PRESENT", "PROGRAMMED"];
    let rows = ports.iter().map(|port| {
        let spec = port.spec.clone().unwrap_or_default();
        let conditions = port.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let admin = if spec.admin_state() == AdminState::Disabled { "disabled" } else { "enabled" };
        vec![
            port.name.clone(),
            spec.device.clone(),
            admin.into(),
            if spec.mtu == 0 { "-".into() } else { spec.mtu.to_string() },
            or_dash(&spec.mac_addresses.join(",")),
            yes_no(spec.anti_spoof),
            condition(conditions, "Present"),
            condition(conditions, "Programmed"),
        ]
    });
    let conditions = ports.iter().map(|port| {
        (
            port.name.as_str(),
            port.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default(),
        )
    });
    table(&columns, rows) + &explain(conditions)
}

fn flow_rules_table(rules: &[&FlowRule]) -> String {
    let columns = ["NAME", "PRIORITY>", "FLOW", "PROGRAMMED", "OFFLOADED"];
    let rows = rules.iter().map(|rule| {
        let spec = rule.spec.clone().unwrap_or_default();
        let conditions = rule.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        vec![
            rule.name.clone(),
            spec.priority.map_or("-".into(), |priority| priority.to_string()),
            spec.flow.clone(),
            condition(conditions, "Programmed"),
            condition(conditions, "Offloaded"),
        ]
    });
    let conditions = rules.iter().map(|rule| {
        (
            rule.name.as_str(),
            rule.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default(),
        )
    });
    table(&columns, rows) + &explain(conditions)
}

/// A condition's status in one word, with the reason where it does not hold.
fn condition(conditions: &[Condition], kind: &str) -> String {
    let Some(condition) = conditions.iter().find(|condition| condition.r#type == kind) else {
        return "-".into();
    };
    let status = match condition.status() {
        condition::Status::True => return "yes".into(),
        condition::Status::False => "no",
        condition::Status::Unknown | condition::Status::Unspecified => "unknown",
    };
    if condition.reason.is_empty() { status.into() } else { format!("{status} ({})", condition.reason) }
}

/// What the conditions that do not hold say.
fn explain<'a>(resources: impl Iterator<Item = (&'a str, &'a [Condition])>) -> String {
    let mut text = String::new();
    for (name, conditions) in resources {
        for condition in conditions {
            if condition.status() != condition::Status::True && !condition.message.is_empty() {
                let message = printable(&condition.message);
                text.push_str(&format!("{name}: {}: {message}\n", printable(&condition.r#type)));
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn a_resource_can_be_named_in_several_ways() {
        for (text, kind, name) in [
            ("ports", Kind::Port, None),
            ("port", Kind::Port, None),
            ("flow-rules", Kind::FlowRule, None),
            ("flowRules", Kind::FlowRule, None),
            ("FlowRule", Kind::FlowRule, None),
            ("ports/pf0", Kind::Port, Some("ports/pf0")),
            ("port/pf0", Kind::Port, Some("ports/pf0")),
            ("port pf0", Kind::Port, Some("ports/pf0")),
            ("port ports/pf0", Kind::Port, Some("ports/pf0")),
            ("flowrule a", Kind::FlowRule, Some("flowRules/a")),
        ] {
            let found = target(&words(text)).expect(text);
            assert_eq!((found.0, found.1.as_deref()), (kind, name), "{text}");
        }
    }

    #[test]
    fn what_names_no_resource_is_a_wrong_command_line() {
        for text in ["bridges", "bridges/a", "port flowRules/a", "port a/b", "ports/a/b"] {
            let failure = target(&words(text)).expect_err(text);
            assert_eq!(failure.exit_code(), 2, "{text}: {failure}");
        }
    }
}
