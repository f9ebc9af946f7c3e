//! StatsService.

use std::sync::Arc;
use std::time::SystemTime;

use nic_model::State;
use nic_policy::{DropReason, PortStats, Stage, Stats};
use nic_proto::v1 as pb;
use nic_proto::v1::stats_service_server::StatsService;
use tonic::{Request, Response, Status};

use crate::convert::system_time;
use crate::core::{Core, port_name};
use crate::failure::Failure;

pub(crate) struct Statistics(pub(crate) Arc<Core>);

impl Statistics {
    async fn get(&self) -> Result<pb::Stats, Failure> {
        let stats = self.0.datapath.stats().await?;
        Ok(convert(&self.0.state(), &stats, SystemTime::now()))
    }
}

fn convert(state: &State, stats: &Stats, time: SystemTime) -> pb::Stats {
    let sum = |count: fn(&PortStats) -> u64| stats.ports.iter().map(count).sum::<u64>();
    let slow_path = pb::SlowPathStats {
        packets: sum(|port| port.slow_path.packets),
        bytes: sum(|port| port.slow_path.bytes),
        cache_hits: sum(|port| port.cache_hits),
        upcalls: sum(|port| port.upcalls),
        revalidated: stats.revalidated,
    };
    let offload = pb::OffloadStats {
        flows: stats.flows_in_hardware,
        packets: sum(|port| port.hardware.packets),
        bytes: sum(|port| port.hardware.bytes),
        rules_created: stats.rules_created,
        rules_destroyed: stats.rules_destroyed,
        rules_refused: stats.rules_refused,
        lost_rule_hits: stats.rules.lost_hits,
        rules_reinstalled: stats.rules.reinstalled,
        rules_postponed: stats.rules.postponed,
        destroy_failures: stats.rules.destroy_failures,
        query_failures: stats.rules.query_failures,
        strays_removed: stats.rules.strays_removed,
        rules_waiting: stats.rules.waiting,
        rules_stuck: stats.rules.stuck,
        rules_unreadable: stats.rules.unreadable,
    };
    let mut total = [0; DropReason::COUNT];
    for port in &stats.ports {
        for (sum, count) in total.iter_mut().zip(port.drops) {
            *sum += count;
        }
    }
    let mut ports: Vec<pb::PortStats> = stats.ports.iter().map(|port| port_stats(state, port)).collect();
    ports.sort_by(|a, b| a.device.cmp(&b.device));
    pb::Stats {
        time: Some(system_time(time)),
        ports,
        slow_path: Some(slow_path),
        cache: Some(pb::CacheStats { flows: stats.flows, full: stats.cache_full }),
        offload: Some(offload),
        stages: Stage::ALL
            .iter()
            .zip(&stats.stages)
            .map(|(stage, counts)| stage_stats(*stage, counts))
            .collect(),
        drops: drops(&total),
        bridges: Some(bridge_stats(stats)),
        neighbors: Some(pb::NeighborStats { answered: stats.answered, solicited: stats.solicited }),
    }
}

fn bridge_stats(stats: &Stats) -> pb::BridgeStats {
    pb::BridgeStats {
        fdb_entries: stats.fdb_entries,
        learned: stats.fdb_learned,
        moved: stats.fdb_moved,
        aged: stats.fdb_aged,
        refused: stats.fdb_refused,
        flooded: stats.flooded,
    }
}

fn port_stats(state: &State, stats: &PortStats) -> pb::PortStats {
    pb::PortStats {
        device: stats.port.to_string(),
        port: port_name(state, stats.port),
        present: stats.present,
        rx_packets: stats.slow_path.packets,
        rx_bytes: stats.slow_path.bytes,
        tx_packets: stats.sent.packets,
        tx_bytes: stats.sent.bytes,
        hardware_packets: stats.hardware.packets,
        hardware_bytes: stats.hardware.bytes,
        cache_hits: stats.cache_hits,
        upcalls: stats.upcalls,
        drops: drops(&stats.drops),
        flows: stats.flows,
        rules: stats.rules,
        evicted: stats.evicted,
        rules_evicted: stats.rules_evicted,
        busy_nanoseconds: stats.busy.as_nanos().try_into().unwrap_or(u64::MAX),
        flooded: stats.flooded,
    }
}

fn stage_stats(stage: Stage, counts: &nic_policy::StageStats) -> pb::StageStats {
    pb::StageStats {
        stage: stage.name().to_owned(),
        passed: counts.passed,
        dropped: counts.dropped,
        held: counts.held,
    }
}

/// Counts by reason, without those that are zero.
fn drops(counts: &[u64; DropReason::COUNT]) -> Vec<pb::DropCount> {
    let counted = DropReason::ALL.iter().zip(counts).filter(|(_, packets)| **packets > 0);
    counted
        .map(|(reason, packets)| pb::DropCount { reason: reason.name().to_owned(), packets: *packets })
        .collect()
}

#[tonic::async_trait]
impl StatsService for Statistics {
    async fn get_stats(&self, _request: Request<pb::GetStatsRequest>) -> Result<Response<pb::Stats>, Status> {
        Ok(Response::new(self.get().await?))
    }
}
