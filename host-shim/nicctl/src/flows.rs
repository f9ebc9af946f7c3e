//! `flows`, `flows flush` and `flows --audit`.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nic_proto::v1::flow_service_client::FlowServiceClient;
use nic_proto::v1::{
    AuditFlowsRequest, AuditFlowsResponse, Flow, FlowTier, FlushFlowsRequest, ListFlowsRequest,
    ListFlowsResponse,
};

use crate::arguments::{Flows, FlowsCommand, Output, Tier};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::resource::port_name;
use crate::table::{or_dash, span, table};

/// Shows, flushes or audits flows.
pub(crate) async fn run(
    client: &Client,
    command: Flows,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut service = FlowServiceClient::new(client.channel());
    if let Some(FlowsCommand::Flush { port }) = command.command {
        let in_port = port.as_deref().map(port_name).transpose()?.unwrap_or_default();
        let response = service.flush_flows(client.request(FlushFlowsRequest { in_port })).await?.into_inner();
        return output::write(out, output, &response, |response| {
            format!("{} flows flushed\n", response.flushed)
        });
    }
    if command.audit {
        let request = client.request(AuditFlowsRequest { repair: command.repair });
        let response = service.audit_flows(request).await?.into_inner();
        output::write(out, output, &response, audit_table)?;
        return match response.remaining {
            0 => Ok(()),
            remaining => Err(Failure::Discrepancies(remaining)),
        };
    }
    let in_port = command.port.as_deref().map(port_name).transpose()?.unwrap_or_default();
    let tier = match command.tier {
        None => FlowTier::Unspecified,
        Some(Tier::Software) => FlowTier::Software,
        Some(Tier::Hardware) => FlowTier::Hardware,
    };
    let request = client.request(ListFlowsRequest { in_port, tier: tier.into() });
    let mut stream = service.list_flows(request).await?.into_inner();
    let mut all = ListFlowsResponse::default();
    while let Some(some) = stream.message().await? {
        all.flows.extend(some.flows);
    }
    all.flows.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.r#match.cmp(&b.r#match)));
    output::write(out, output, &all, |all| flows_table(&all.flows))
}

/// How long ago that was, by this machine's clock.
fn ago(at: &pbjson_types::Timestamp) -> Option<String> {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(at.seconds).ok()?);
    Some(span(SystemTime::now().duration_since(at).unwrap_or_default()))
}

fn audit_table(audit: &AuditFlowsResponse) -> String {
    let last = audit.last_reinstalled.as_ref().and_then(ago).map(|ago| format!(", the last {ago} ago"));
    let last = last.unwrap_or_default();
    let mut text = format!(
        "{} flows with rules, {} rules held: {}\nNoticed by packets since the start: {} that a rule should have \
         taken; {} rules reinstalled{last}\n",
        audit.flows,
        audit.rules,
        if audit.counts.is_empty() {
            "no discrepancies".into()
        } else {
            format!("{} differ", audit.remaining)
        },
        audit.lost_rule_hits,
        audit.rules_reinstalled,
    );
    if !audit.counts.is_empty() {
        let rows = audit.counts.iter().map(|count| {
            let numbers = [count.found, count.repaired].map(|number| number.to_string());
            [vec![count.discrepancy.clone()], numbers.to_vec(), vec![count.description.clone()]].concat()
        });
        text.push('\n');
        text.push_str(&table(&["DISCREPANCY", "FOUND>", "REPAIRED>", "WHAT"], rows));
    }
    if !audit.findings.is_empty() {
        let rows = audit.findings.iter().map(|finding| {
            let repaired = if finding.repaired { "yes" } else { "no" };
            vec![finding.discrepancy.clone(), repaired.into(), or_dash(&finding.r#match)]
        });
        text.push('\n');
        text.push_str(&table(&["DISCREPANCY", "REPAIRED", "MATCH"], rows));
    }
    text
}

fn flows_table(flows: &[Flow]) -> String {
    if flows.is_empty() {
        return "No flows\n".into();
    }
    let columns =
        ["IN PORT", "TIER", "PACKETS>", "BYTES>", "AGE>", "IDLE>", "MATCH", "ACTIONS", "WHY IN SOFTWARE"];
    let rows = flows.iter().map(|flow| {
        let actions = if flow.drop_reason.is_empty() {
            flow.actions.clone()
        } else {
            format!("drop ({})", flow.drop_reason)
        };
        vec![
            flow.in_port.clone(),
            tier_name(flow.tier()).into(),
            flow.packets.to_string(),
            flow.bytes.to_string(),
            time(flow.age.as_ref()),
            time(flow.idle.as_ref()),
            flow.r#match.clone(),
            actions,
            why(&flow.software_reason, &flow.software_detail),
        ]
    });
    table(&columns, rows)
}

/// A tier in one word.
pub(crate) fn tier_name(tier: FlowTier) -> &'static str {
    match tier {
        FlowTier::Unspecified => "-",
        FlowTier::Software => "software",
        FlowTier::Hardware => "hardware",
    }
}

/// Why a flow is in software: for people if that is said, else by its stable name.
pub(crate) fn why(reason: &str, detail: &str) -> String {
    if detail.is_empty() { or_dash(reason) } else { format!("{reason}: {detail}") }
}

/// A span of time, or a dash.
pub(crate) fn time(duration: Option<&pbjson_types::Duration>) -> String {
    let Some(duration) = duration else { return "-".into() };
    let seconds = u64::try_from(duration.seconds).unwrap_or_default();
    span(Duration::new(seconds, u32::try_from(duration.nanos).unwrap_or_default()))
}
