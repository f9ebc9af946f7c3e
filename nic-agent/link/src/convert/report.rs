//! What the datapath tells: devices, capabilities, flows, traces, counters.

use std::time::Duration;

use nic_flow::seam::{ActionKind, Errno, Refusal};
use nic_flow::{Counters, Field, FlowMask, Match, PortId, Shape};
use nic_policy::stats::{PortStats, StageStats, Stats};
use nic_policy::{
    Capability, CapabilityTable, Device, DropReason, FlowView, Offload, Revision, SoftwareReason, Stage,
    Step, Trace, TraceReport, Verdict,
};
use nic_proto::datapath::v1 as pb;

use super::audit::{rule_stats_from, rule_stats_to};
use super::flow::{actions_to, key_to, match_to, read_actions, read_match};
use super::learned::nanos;
use super::{Bad, ObjectError, Problem, key_from, mac, object_ref_from, object_ref_to, port};

pub(super) fn named<T>(field: &'static str, name: &str, find: fn(&str) -> Option<T>) -> Result<T, Bad> {
    find(name).ok_or_else(|| Bad::new(field, Problem::Unknown(name.to_owned())))
}

/// A device.
pub fn device_to(device: &Device) -> pb::Device {
    pb::Device {
        port: device.port.bits().into(),
        link_up: device.link_up,
        mtu: device.mtu,
        mac_address: device.mac.octets().to_vec(),
    }
}

/// A device from its message.
pub fn device_from(device: &pb::Device) -> Result<Device, ObjectError> {
    let read = || -> Result<Device, Bad> {
        Ok(Device {
            port: port("port", device.port)?,
            link_up: device.link_up,
            mtu: device.mtu,
            mac: mac("mac_address", &device.mac_address)?,
        })
    };
    read().map_err(|bad| bad.in_object("device"))
}

/// The capability table.
pub fn capabilities_to(table: &CapabilityTable) -> pb::CapabilityTable {
    pb::CapabilityTable {
        driver: table.driver.clone(),
        dpdk_version: table.dpdk_version.clone(),
        rows: table
            .rows
            .iter()
            .map(|row| pb::Capability {
                shape: row.shape.name().to_owned(),
                action: row.action.name().to_owned(),
                ipv6: row.ipv6,
                refused: row.refused.map(refusal_to),
            })
            .collect(),
    }
}

/// The capability table from its message.
pub fn capabilities_from(table: &pb::CapabilityTable) -> Result<CapabilityTable, ObjectError> {
    let row = |row: &pb::Capability| -> Result<Capability, Bad> {
        Ok(Capability {
            shape: named("shape", &row.shape, Shape::from_name)?,
            action: named("action", &row.action, ActionKind::from_name)?,
            ipv6: row.ipv6,
            refused: row.refused.as_ref().map(refusal_from).transpose()?,
        })
    };
    Ok(CapabilityTable {
        driver: table.driver.clone(),
        dpdk_version: table.dpdk_version.clone(),
        rows: table
            .rows
            .iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map_err(|bad| bad.in_object("capability table"))?,
    })
}

fn refusal_to(refusal: Refusal) -> pb::Refusal {
    use pb::refusal::{self, Kind};
    let refused = |index: u16, errno: Errno| refusal::Refused { index: index.into(), errno: errno.0 };
    pb::Refusal {
        kind: Some(match refusal {
            Refusal::Field(field) => Kind::Field(field.name().to_owned()),
            Refusal::Action(kind) => Kind::Action(kind.name().to_owned()),
            Refusal::ManyOutputs => Kind::ManyOutputs(refusal::ManyOutputs {}),
            Refusal::NoPort(port) => Kind::NoPort(port.bits().into()),
            Refusal::Shape(shape) => Kind::Shape(shape.name().to_owned()),
            Refusal::Full => Kind::Full(refusal::Full {}),
            Refusal::Busy => Kind::Busy(refusal::Busy {}),
            Refusal::Exists => Kind::Exists(refusal::Exists {}),
            Refusal::DriverItem { index, errno } => Kind::DriverItem(refused(index, errno)),
            Refusal::DriverAction { index, errno } => Kind::DriverAction(refused(index, errno)),
            Refusal::Driver(errno) => Kind::Driver(errno.0),
        }),
    }
}

fn refusal_from(refusal: &pb::Refusal) -> Result<Refusal, Bad> {
    use pb::refusal::Kind;
    let index = |index: u32| u16::try_from(index).map_err(|_| Bad::new("refusal.index", Problem::Range));
    Ok(match refusal.kind.as_ref().ok_or(Bad::new("refusal", Problem::Missing))? {
        Kind::Field(name) => Refusal::Field(named("refusal.field", name, Field::from_name)?),
        Kind::Action(name) => Refusal::Action(named("refusal.action", name, ActionKind::from_name)?),
        Kind::ManyOutputs(_) => Refusal::ManyOutputs,
        Kind::NoPort(bits) => Refusal::NoPort(port("refusal.no_port", *bits)?),
        Kind::Shape(name) => Refusal::Shape(named("refusal.shape", name, Shape::from_name)?),
        Kind::Full(_) => Refusal::Full,
        Kind::Busy(_) => Refusal::Busy,
        Kind::Exists(_) => Refusal::Exists,
        Kind::DriverItem(refused) => {
            Refusal::DriverItem { index: index(refused.index)?, errno: Errno(refused.errno) }
        }
        Kind::DriverAction(refused) => {
            Refusal::DriverAction { index: index(refused.index)?, errno: Errno(refused.errno) }
        }
        Kind::Driver(errno) => Refusal::Driver(Errno(*errno)),
    })
}

fn offload_to(offload: Offload) -> pb::Offload {
    use pb::offload::State;
    let (state, reason, refusal) = match offload {
        Offload::Pending => (State::Pending, "", None),
        Offload::Hardware => (State::Hardware, "", None),
        Offload::Software(reason) => {
            let refusal = match reason {
                SoftwareReason::Refused(refusal) => Some(refusal_to(refusal)),
                SoftwareReason::Quota | SoftwareReason::Overlap | SoftwareReason::Disabled => None,
            };
            (State::Software, reason.name(), refusal)
        }
    };
    pb::Offload { state: state.into(), reason: reason.to_owned(), refusal }
}

fn offload_from(offload: Option<&pb::Offload>) -> Result<Offload, Bad> {
    use pb::offload::State;
    let offload = offload.ok_or(Bad::new("offload", Problem::Missing))?;
    match offload.state() {
        State::Unspecified => Err(Bad::new("offload.state", Problem::Missing)),
        State::Pending => Ok(Offload::Pending),
        State::Hardware => Ok(Offload::Hardware),
        State::Software => {
            let plain = [SoftwareReason::Quota, SoftwareReason::Overlap, SoftwareReason::Disabled];
            let reason = match &offload.refusal {
                Some(refusal) => Some(SoftwareReason::Refused(refusal_from(refusal)?)),
                None => plain.into_iter().find(|reason| reason.name() == offload.reason),
            };
            let unknown = || Bad::new("offload.reason", Problem::Unknown(offload.reason.clone()));
            reason.map(Offload::Software).ok_or_else(unknown)
        }
    }
}

fn counters_to(counters: Counters) -> Option<pb::Counters> {
    Some(pb::Counters { packets: counters.packets, bytes: counters.bytes })
}

fn counters_from(counters: Option<&pb::Counters>) -> Counters {
    counters.map(|c| Counters { packets: c.packets, bytes: c.bytes }).unwrap_or_default()
}

fn drop_to(reason: Option<DropReason>) -> String {
    reason.map(|reason| reason.name().to_owned()).unwrap_or_default()
}

fn drop_from(name: &str) -> Result<Option<DropReason>, Bad> {
    if name.is_empty() { Ok(None) } else { named("drop_reason", name, DropReason::from_name).map(Some) }
}

/// A flow.
pub fn flow_to(flow: &FlowView) -> pb::Flow {
    pb::Flow {
        r#match: match_to(&flow.matches),
        actions: actions_to(&flow.actions),
        drop_reason: drop_to(flow.dropped),
        shape: flow.shape.name().to_owned(),
        offload: Some(offload_to(flow.offload)),
        software: counters_to(flow.software),
        hardware: counters_to(flow.hardware),
        age_ns: nanos(flow.age),
        idle_ns: nanos(flow.idle),
        objects: flow.objects.iter().copied().map(object_ref_to).collect(),
    }
}

/// A flow from its message.
pub fn flow_from(flow: &pb::Flow) -> Result<FlowView, ObjectError> {
    let objects = flow.objects.iter().map(object_ref_from).collect::<Result<_, _>>()?;
    let read = || -> Result<FlowView, Bad> {
        Ok(FlowView {
            matches: read_match(&flow.r#match)?,
            actions: read_actions(&flow.actions)?,
            dropped: drop_from(&flow.drop_reason)?,
            shape: named("shape", &flow.shape, Shape::from_name)?,
            offload: offload_from(flow.offload.as_ref())?,
            software: counters_from(flow.software.as_ref()),
            hardware: counters_from(flow.hardware.as_ref()),
            age: Duration::from_nanos(flow.age_ns),
            idle: Duration::from_nanos(flow.idle_ns),
            objects,
        })
    };
    read().map_err(|bad| bad.in_object("flow"))
}

fn verdict_to(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Pass => pb::Verdict::Pass,
        Verdict::Drop(_) => pb::Verdict::Drop,
        Verdict::Local => pb::Verdict::Local,
        Verdict::Wait => pb::Verdict::Wait,
    }
}

fn verdict_from(verdict: pb::Verdict, drop_reason: &str) -> Result<Verdict, Bad> {
    match (verdict, drop_from(drop_reason)?) {
        (pb::Verdict::Unspecified, _) => Err(Bad::new("verdict", Problem::Missing)),
        (pb::Verdict::Drop, Some(reason)) => Ok(Verdict::Drop(reason)),
        (pb::Verdict::Pass, None) => Ok(Verdict::Pass),
        (pb::Verdict::Local, None) => Ok(Verdict::Local),
        (pb::Verdict::Wait, None) => Ok(Verdict::Wait),
        (pb::Verdict::Drop, None) => Err(Bad::new("drop_reason", Problem::Missing)),
        (_, Some(reason)) => Err(Bad::new("drop_reason", Problem::Misplaced(reason.name()))),
    }
}

/// A trace.
pub fn trace_to(report: &TraceReport) -> pb::TraceResponse {
    let trace = &report.trace;
    let seen = |mask: &FlowMask| match_to(&Match::new(trace.key, *mask));
    pb::TraceResponse {
        revision: report.revision.0,
        key: key_to(&trace.key),
        steps: trace
            .steps
            .iter()
            .map(|step| pb::TraceStep {
                stage: step.stage.name().to_owned(),
                objects: step.objects.iter().copied().map(object_ref_to).collect(),
                read: seen(&step.read),
                drop_reason: drop_to(step.verdict.dropped()),
                verdict: verdict_to(step.verdict).into(),
            })
            .collect(),
        actions: actions_to(&trace.actions),
        drop_reason: drop_to(trace.dropped()),
        read: seen(&trace.read),
        megaflow: seen(&trace.shape.mask()),
        shape: trace.shape.name().to_owned(),
        offload: Some(offload_to(trace.offload)),
        verdict: verdict_to(trace.verdict).into(),
    }
}

/// A trace from its message.
pub fn trace_from(response: &pb::TraceResponse) -> Result<TraceReport, ObjectError> {
    let key = key_from("trace", &response.key)?;
    let mut steps = Vec::new();
    for step in &response.steps {
        let objects = step.objects.iter().map(object_ref_from).collect::<Result<_, _>>()?;
        let read = || -> Result<Step, Bad> {
            Ok(Step {
                stage: named("stage", &step.stage, Stage::from_name)?,
                objects,
                read: *read_match(&step.read)?.mask(),
                verdict: verdict_from(step.verdict(), &step.drop_reason)?,
            })
        };
        steps.push(read().map_err(|bad| bad.in_object("trace step"))?);
    }
    let read = || -> Result<Trace, Bad> {
        Ok(Trace {
            key,
            steps,
            actions: read_actions(&response.actions)?,
            read: *read_match(&response.read)?.mask(),
            shape: named("shape", &response.shape, Shape::from_name)?,
            offload: offload_from(response.offload.as_ref())?,
            verdict: verdict_from(response.verdict(), &response.drop_reason)?,
        })
    };
    let trace = read().map_err(|bad| bad.in_object("trace"))?;
    Ok(TraceReport { revision: Revision(response.revision), trace })
}

/// The counters.
pub fn stats_to(stats: &Stats) -> pb::GetStatsResponse {
    let port = |port: &PortStats| pb::PortStats {
        port: port.port.bits().into(),
        present: port.present,
        slow_path: counters_to(port.slow_path),
        sent: counters_to(port.sent),
        upcalls: port.upcalls,
        cache_hits: port.cache_hits,
        hardware: counters_to(port.hardware),
        drops: DropReason::ALL
            .iter()
            .zip(port.drops)
            .filter(|&(_, packets)| packets > 0)
            .map(|(reason, packets)| pb::DropCount { reason: reason.name().to_owned(), packets })
            .collect(),
        flows: port.flows,
        rules: port.rules,
        evicted: port.evicted,
        rules_evicted: port.rules_evicted,
        busy_nanoseconds: nanos(port.busy),
        flooded: port.flooded,
    };
    let stage = |(stage, counts): (&Stage, &StageStats)| pb::StageStats {
        stage: stage.name().to_owned(),
        passed: counts.passed,
        dropped: counts.dropped,
        held: counts.held,
    };
    pb::GetStatsResponse {
        ports: stats.ports.iter().map(port).collect(),
        stages: Stage::ALL.iter().zip(&stats.stages).map(stage).collect(),
        flows: stats.flows,
        flows_in_hardware: stats.flows_in_hardware,
        rules_created: stats.rules_created,
        rules_destroyed: stats.rules_destroyed,
        rules_refused: stats.rules_refused,
        revalidated: stats.revalidated,
        cache_full: stats.cache_full,
        fdb_entries: stats.fdb_entries,
        fdb_learned: stats.fdb_learned,
        fdb_moved: stats.fdb_moved,
        fdb_aged: stats.fdb_aged,
        fdb_refused: stats.fdb_refused,
        flooded: stats.flooded,
        answered: stats.answered,
        solicited: stats.solicited,
        rules: Some(rule_stats_to(&stats.rules)),
    }
}

/// The counters from their message.
pub fn stats_from(response: &pb::GetStatsResponse) -> Result<Stats, ObjectError> {
    let read_port = |message: &pb::PortStats| -> Result<PortStats, Bad> {
        let id: PortId = port("port", message.port)?;
        let mut drops = [0; DropReason::COUNT];
        for drop in &message.drops {
            drops[named("drops.reason", &drop.reason, DropReason::from_name)?.index()] += drop.packets;
        }
        Ok(PortStats {
            present: message.present,
            slow_path: counters_from(message.slow_path.as_ref()),
            sent: counters_from(message.sent.as_ref()),
            upcalls: message.upcalls,
            cache_hits: message.cache_hits,
            hardware: counters_from(message.hardware.as_ref()),
            drops,
            flows: message.flows,
            rules: message.rules,
            evicted: message.evicted,
            rules_evicted: message.rules_evicted,
            busy: Duration::from_nanos(message.busy_nanoseconds),
            flooded: message.flooded,
            ..PortStats::new(id)
        })
    };
    let mut stages = [StageStats::default(); Stage::COUNT];
    for message in &response.stages {
        let stage = named("stages.stage", &message.stage, Stage::from_name)
            .map_err(|bad| bad.in_object("statistics"))?;
        stages[stage.index()] =
            StageStats { passed: message.passed, dropped: message.dropped, held: message.held };
    }
    Ok(Stats {
        ports: response
            .ports
            .iter()
            .map(read_port)
            .collect::<Result<_, _>>()
            .map_err(|bad| bad.in_object("statistics"))?,
        stages,
        flows: response.flows,
        flows_in_hardware: response.flows_in_hardware,
        rules_created: response.rules_created,
        rules_destroyed: response.rules_destroyed,
        rules_refused: response.rules_refused,
        revalidated: response.revalidated,
        cache_full: response.cache_full,
        fdb_entries: response.fdb_entries,
        fdb_learned: response.fdb_learned,
        fdb_moved: response.fdb_moved,
        fdb_aged: response.fdb_aged,
        fdb_refused: response.fdb_refused,
        flooded: response.flooded,
        answered: response.answered,
        solicited: response.solicited,
        rules: response.rules.as_ref().map(rule_stats_from).unwrap_or_default(),
    })
}
