//! `capabilities`, `stats`: one call and its table each.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use nic_proto::v1::capability_service_client::CapabilityServiceClient;
use nic_proto::v1::stats_service_client::StatsServiceClient;
use nic_proto::v1::{Capabilities, GetCapabilitiesRequest, GetStatsRequest, OffloadStats, Stats};

use crate::arguments::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::table::{or_dash, printable, span, table, yes_no};

/// Shows what the card can do in hardware.
pub(crate) async fn capabilities(
    client: &Client,
    unsupported: bool,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut service = CapabilityServiceClient::new(client.channel());
    let request = client.request(GetCapabilitiesRequest {});
    let mut response = service.get_capabilities(request).await?.into_inner();
    if unsupported {
        response.rows.retain(|row| !row.supported);
    }
    output::write(out, output, &response, capabilities_text)
}

fn capabilities_text(capabilities: &Capabilities) -> String {
    let (driver, version) = (printable(&capabilities.driver), printable(&capabilities.dpdk_version));
    let rows = capabilities.rows.iter().map(|row| {
        let version = format!("IPv{}", row.ip_version);
        vec![row.shape.clone(), row.action.clone(), version, yes_no(row.supported), or_dash(&row.reason)]
    });
    format!("Driver {driver}, {version}\n\n")
        + &table(&["SHAPE", "ACTION", "PACKETS", "HARDWARE", "BECAUSE"], rows)
}

/// Shows counters.
pub(crate) async fn stats(client: &Client, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let request = client.request(GetStatsRequest {});
    let response = StatsServiceClient::new(client.channel()).get_stats(request).await?.into_inner();
    output::write(out, output, &response, stats_text)
}

/// What went wrong with rules.
fn trouble(offload: &OffloadStats) -> String {
    format!(
        "Rules lost: {} packets came that a rule should have taken, {} rules reinstalled, {} strays removed\n\
         Card: {} creations postponed, {} destructions failed, {} counters not read; now {} rules waiting, \
         {} stuck, {} unreadable\n",
        offload.lost_rule_hits,
        offload.rules_reinstalled,
        offload.strays_removed,
        offload.rules_postponed,
        offload.destroy_failures,
        offload.query_failures,
        offload.rules_waiting,
        offload.rules_stuck,
        offload.rules_unreadable,
    )
}

fn stats_text(stats: &Stats) -> String {
    let columns = [
        "DEVICE",
        "PORT",
        "HARDWARE>",
        "SLOW PATH>",
        "CACHE HITS>",
        "UPCALLS>",
        "SENT>",
        "DROPPED>",
        "FLOWS>",
        "RULES>",
        "EVICTED>",
        "BUSY>",
        "PRESENT",
    ];
    let rows = stats.ports.iter().map(|port| {
        let drops: u64 = port.drops.iter().map(|drop| drop.packets).sum();
        vec![
            port.device.clone(),
            or_dash(&port.port),
            port.hardware_packets.to_string(),
            port.rx_packets.to_string(),
            port.cache_hits.to_string(),
            port.upcalls.to_string(),
            port.tx_packets.to_string(),
            drops.to_string(),
            port.flows.to_string(),
            port.rules.to_string(),
            port.evicted.saturating_add(port.rules_evicted).to_string(),
            span(Duration::from_nanos(port.busy_nanoseconds)),
            yes_no(port.present),
        ]
    });
    let mut text = format!("Packets by the port they came from (SENT: went to)\n{}\n", table(&columns, rows));
    let slow_path = stats.slow_path.unwrap_or_default();
    let offload = stats.offload.unwrap_or_default();
    let cache = stats.cache.unwrap_or_default();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "Forwarded by the E-Switch: {} of {} packets ({})",
        offload.packets,
        offload.packets.saturating_add(slow_path.packets),
        share(offload.packets, slow_path.packets),
    );
    let _ = writeln!(
        text,
        "Flows: {}, of these {} in hardware; {} revalidated; cache full {} times",
        cache.flows, offload.flows, slow_path.revalidated, cache.full
    );
    let _ = writeln!(
        text,
        "Rules: {} created, {} destroyed, {} refused",
        offload.rules_created, offload.rules_destroyed, offload.rules_refused
    );
    text.push_str(&trouble(&offload));
    if let Some(bridges) = &stats.bridges {
        let _ = writeln!(
            text,
            "Bridges: {} addresses known; {} learned, {} moved, {} aged, {} refused; {} copies flooded",
            bridges.fdb_entries,
            bridges.learned,
            bridges.moved,
            bridges.aged,
            bridges.refused,
            bridges.flooded
        );
    }
    if let Some(neighbors) = &stats.neighbors {
        let _ = writeln!(
            text,
            "Neighbors: {} requests answered, {} sent",
            neighbors.answered, neighbors.solicited
        );
    }
    if !stats.stages.is_empty() {
        let rows = stats.stages.iter().map(|stage| {
            let counted = [stage.passed, stage.dropped, stage.held].map(|count| count.to_string());
            [vec![stage.stage.clone()], counted.to_vec()].concat()
        });
        let _ = write!(text, "\n{}", table(&["STAGE", "PASSED>", "DROPPED>", "HELD>"], rows));
    }
    if !stats.drops.is_empty() {
        let rows = stats.drops.iter().map(|drop| vec![drop.reason.clone(), drop.packets.to_string()]);
        let _ = write!(text, "\n{}", table(&["DROPPED BECAUSE", "PACKETS>"], rows));
    }
    text
}

/// The share that the E-Switch has in all packets.
pub(crate) fn share(hardware: u64, software: u64) -> String {
    let all = u128::from(hardware) + u128::from(software);
    match (u128::from(hardware) * 100_000).checked_div(all) {
        // Cut off, not rounded: 100 % means all of them.
        Some(thousandths) => format!("{}.{:03} %", thousandths / 1000, thousandths % 1000),
        None => "no packets yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        assert_eq!(share(0, 0), "no packets yet");
        assert_eq!(share(999_999_999, 1), "99.999 %");
        assert_eq!(share(1, 0), "100.000 %");
        assert_eq!(share(u64::MAX, u64::MAX), "50.000 %");
    }
}
