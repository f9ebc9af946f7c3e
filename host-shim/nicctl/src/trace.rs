//! `trace`.

use std::fmt::Write as _;
use std::io::Write;

use nic_proto::v1::trace_response::Verdict;
use nic_proto::v1::trace_service_client::TraceServiceClient;
use nic_proto::v1::{FlowTier, TraceRequest, TraceResponse, trace_request::Packet};

use crate::arguments::{Output, Trace};
use crate::client::Client;
use crate::failure::Failure;
use crate::flows::{tier_name, why};
use crate::output;
use crate::resource::port_name;
use crate::table::{or_dash, printable, table};

/// Asks what would happen to a packet.
pub(crate) async fn run(
    client: &Client,
    command: Trace,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let packet = match (command.packet, command.key) {
        (Some(frame), _) => Packet::Frame(frame.0),
        (None, Some(key)) => Packet::Key(key),
        (None, None) => return Err(Failure::Usage("trace needs --packet or the packet's fields".into())),
    };
    let request = TraceRequest { in_port: port_name(&command.in_port)?, packet: Some(packet) };
    let in_port = request.in_port.clone();
    let response =
        TraceServiceClient::new(client.channel()).trace(client.request(request)).await?.into_inner();
    output::write(out, output, &response, |trace| trace_text(&in_port, trace))
}

fn trace_text(in_port: &str, trace: &TraceResponse) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {}", printable(value));
    };
    line("Packet", &trace.key);
    line("In port", &format!("{in_port} at revision {}", trace.revision));
    let steps = table(
        &["STAGE", "FOUND", "READ", "VERDICT"],
        trace.steps.iter().map(|step| {
            let verdict = if step.drop_reason.is_empty() {
                "pass".into()
            } else {
                format!("drop ({})", step.drop_reason)
            };
            vec![step.stage.clone(), or_dash(&step.resources.join(" ")), or_dash(&step.read), verdict]
        }),
    );
    let _ = write!(text, "\n{steps}\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {}", printable(value));
    };
    match trace.verdict() {
        Verdict::Forward => line("Verdict", &format!("forward: {}", trace.actions)),
        Verdict::Drop => line("Verdict", &format!("drop: {}", trace.drop_reason)),
        Verdict::Local => line("Verdict", "for the datapath itself"),
        Verdict::Wait => line("Verdict", "waits for the MAC address of a next hop"),
        Verdict::Unspecified => line("Verdict", "not said"),
    }
    line("Read", &or_dash(&trace.mask));
    if matches!(trace.verdict(), Verdict::Local | Verdict::Wait) {
        // Such a packet makes no flow.
        return text;
    }
    line("Megaflow", &format!("{} (shape {})", trace.megaflow, trace.shape));
    let tier = tier_name(trace.tier());
    if trace.tier() == FlowTier::Software {
        line("Runs in", &format!("{tier}: {}", why(&trace.software_reason, &trace.software_detail)));
    } else {
        line("Runs in", tier);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_packet_that_makes_a_flow_has_a_megaflow_and_a_place_where_it_runs() {
        for (verdict, flows) in
            [(Verdict::Forward, true), (Verdict::Drop, true), (Verdict::Local, false), (Verdict::Wait, false)]
        {
            let trace = TraceResponse { verdict: verdict.into(), ..TraceResponse::default() };
            let text = trace_text("ports/vm1", &trace);
            let told = ["Megaflow", "Runs in"].map(|name| text.contains(name));
            assert_eq!(told, [flows; 2], "{text}");
            assert!(text.contains("\nRead "), "{text}");
        }
    }
}
