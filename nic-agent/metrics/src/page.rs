//! One page: what is told of one moment, and how it is written.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use nic_flow::PortId;
use nic_policy::{Alarm, AlarmReason, Device, DropReason, PortStats, Revision, RuleStats, Stage, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use crate::calls::Calls;
use crate::metric::{self, Kind, Metric};
use crate::process::Process;

/// What nic-agent knows by itself.
#[derive(Debug, Clone, Default)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// The newest durable revision.
    pub revision: Revision,
    /// How many resources there are of each kind, by the kind's name.
    pub resources: Vec<(&'static str, usize)>,
    /// Whether the card does its work, and will after the next fault.
    pub healthy: bool,
    /// The alarms that stand, those of the datapath included.
    pub alarms: Vec<Alarm>,
    /// What is known of the datapath without asking it.
    pub datapath: Datapath,
    /// The names of the Ports by their devices.
    pub ports: HashMap<PortId, String>,
}

/// What nic-agent knows of the datapath without asking it.
#[derive(Debug, Clone, Default)]
pub struct Datapath {
    /// Whether this nic-agent may write policy to it.
    pub connected: bool,
    /// Its version.
    pub version: String,
    /// The schema that both ends speak.
    pub schema: u32,
    /// How often another run of it was found than before.
    pub restarts: u64,
    /// The newest revision that it took, if it has one of our store.
    pub accepted: Option<Revision>,
    /// The newest revision that it reported as applied since it is connected.
    pub applied: Option<Revision>,
    /// The devices that it drives.
    pub devices: Vec<Device>,
}

/// Everything that is told of one moment.
#[derive(Debug)]
pub struct Page {
    /// What nic-agent knows by itself.
    pub agent: Agent,
    /// What the datapath counted; `None` if it gave no answer.
    pub stats: Option<Stats>,
    /// How the calls of the API ended.
    pub calls: Arc<Calls>,
    /// The process's own figures.
    pub process: Process,
}

impl Page {
    /// The page as OpenMetrics text.
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String does not fail, and nothing else here can.
        let _ = text::encode(&mut text, &registry);
        text
    }

    fn agent(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Agent { version, revision, resources, datapath, .. } = &self.agent;
        metric::AGENT.describe(page)?.encode_info(&[("version", version.as_str())])?;
        gauge(page, &metric::STORE_REVISION, revision.0)?;
        let mut family = metric::RESOURCES.describe(page)?;
        for (kind, count) in resources {
            family.encode_family(&[("kind", *kind)])?.encode_gauge(&(*count as u64))?;
        }
        self.health(page)?;
        gauge(page, &metric::DATAPATH_UP, self.stats.is_some().into())?;
        gauge(page, &metric::DATAPATH_CONNECTED, datapath.connected.into())?;
        counter(page, &metric::DATAPATH_RESTARTS, datapath.restarts)
    }

    fn health(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Agent { healthy, alarms, .. } = &self.agent;
        gauge(page, &metric::HEALTHY, (*healthy).into())?;
        let mut family = metric::ALARMS.describe(page)?;
        for &reason in AlarmReason::ALL {
            let standing = alarms.iter().filter(|alarm| alarm.reason == reason).count() as u64;
            let labels = [("reason", reason.name()), ("severity", reason.severity().name())];
            family.encode_family(&labels)?.encode_gauge(&standing)?;
        }
        Ok(())
    }

    fn datapath(&self, page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        let Datapath { version, schema, accepted, applied, .. } = &self.agent.datapath;
        let schema = schema.to_string();
        let labels = [("version", version.as_str()), ("schema", schema.as_str())];
        metric::DATAPATH.describe(page)?.encode_info(&labels)?;
        for (metric, revision) in
            [(&metric::ACCEPTED_REVISION, accepted), (&metric::APPLIED_REVISION, applied)]
        {
            if let Some(revision) = revision {
                gauge(page, metric, revision.0)?;
            }
        }
        self.ports(page, stats)?;
        self.drops(page, stats)?;
        let mut family = metric::STAGES.describe(page)?;
        for (stage, counts) in Stage::ALL.iter().zip(&stats.stages) {
            let verdicts = [("passed", counts.passed), ("dropped", counts.dropped), ("held", counts.held)];
            for (verdict, count) in verdicts {
                let labels = [("stage", stage.name()), ("verdict", verdict)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        totals(page, stats)
    }

    /// What is counted by port.
    fn ports(&self, page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        let mut family = metric::PORT_PRESENT.describe(page)?;
        for port in &stats.ports {
            family.encode_family(&self.labels(port.port))?.encode_gauge(&u64::from(port.present))?;
        }
        let mut family = metric::PORT_LINK_UP.describe(page)?;
        for device in &self.agent.datapath.devices {
            family.encode_family(&self.labels(device.port))?.encode_gauge(&u64::from(device.link_up))?;
        }
        self.counts(page, stats)?;
        self.busy(page, stats)
    }

    fn counts(&self, page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        for (metric, figure) in PORT_COUNTS {
            let mut family = metric.describe(page)?;
            for port in &stats.ports {
                let (labels, value) = (self.labels(port.port), figure(port));
                let mut sample = family.encode_family(&labels)?;
                match metric.kind {
                    Kind::Counter => sample.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                    Kind::Gauge | Kind::Histogram | Kind::Info => sample.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }

    fn busy(&self, page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        let mut family = metric::SLOW_PATH_BUSY.describe(page)?;
        for port in &stats.ports {
            let (labels, seconds) = (self.labels(port.port), port.busy.as_secs_f64());
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        Ok(())
    }

    fn drops(&self, page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
        let mut family = metric::DROPS.describe(page)?;
        for port in &stats.ports {
            let counts = DropReason::ALL.iter().zip(&port.drops);
            for (reason, count) in counts.filter(|(_, count)| **count > 0) {
                let [device, name] = self.labels(port.port);
                let labels = [device, name, ("reason", reason.name().to_owned())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        Ok(())
    }

    /// A port's device, and the Port that it has; empty if there is none.
    fn labels(&self, port: PortId) -> [(&'static str, String); 2] {
        let name = self.agent.ports.get(&port).cloned().unwrap_or_default();
        [("device", port.to_string()), ("port", name)]
    }
}

/// A whole number that is known of each port.
type Figure = fn(&PortStats) -> u64;

/// All of them that the datapath counts, in the order of the page.
const PORT_COUNTS: &[(&Metric, Figure)] = &[
    (&metric::PORT_HARDWARE_PACKETS, |port| port.hardware.packets),
    (&metric::PORT_HARDWARE_BYTES, |port| port.hardware.bytes),
    (&metric::PORT_DROPS, |port| port.drops.iter().sum()),
    (&metric::PORT_FLOWS, |port| port.flows),
    (&metric::PORT_RULES, |port| port.rules),
    (&metric::PORT_FLOWS_EVICTED, |port| port.evicted),
    (&metric::PORT_RULES_EVICTED, |port| port.rules_evicted),
    (&metric::PORT_FLOODED, |port| port.flooded),
    (&metric::SLOW_PATH_RECEIVED_PACKETS, |port| port.slow_path.packets),
    (&metric::SLOW_PATH_RECEIVED_BYTES, |port| port.slow_path.bytes),
    (&metric::SLOW_PATH_SENT_PACKETS, |port| port.sent.packets),
    (&metric::SLOW_PATH_SENT_BYTES, |port| port.sent.bytes),
    (&metric::SLOW_PATH_CACHE_HITS, |port| port.cache_hits),
    (&metric::SLOW_PATH_UPCALLS, |port| port.upcalls),
];

/// What is counted for the card as a whole.
fn totals(page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    gauge(page, &metric::FLOWS, stats.flows)?;
    gauge(page, &metric::FLOWS_IN_HARDWARE, stats.flows_in_hardware)?;
    counter(page, &metric::FLOWS_REVALIDATED, stats.revalidated)?;
    counter(page, &metric::FLOWS_UNCACHED, stats.cache_full)?;
    counter(page, &metric::RULES_CREATED, stats.rules_created)?;
    counter(page, &metric::RULES_DESTROYED, stats.rules_destroyed)?;
    counter(page, &metric::RULES_REFUSED, stats.rules_refused)?;
    rules(page, &stats.rules)?;
    gauge(page, &metric::FDB_ENTRIES, stats.fdb_entries)?;
    counter(page, &metric::FDB_LEARNED, stats.fdb_learned)?;
    counter(page, &metric::FDB_MOVED, stats.fdb_moved)?;
    counter(page, &metric::FDB_AGED, stats.fdb_aged)?;
    counter(page, &metric::FDB_REFUSED, stats.fdb_refused)?;
    counter(page, &metric::FLOODED, stats.flooded)?;
    counter(page, &metric::ANSWERED, stats.answered)?;
    counter(page, &metric::SOLICITED, stats.solicited)
}

/// How the E-Switch kept its rules.
fn rules(page: &mut DescriptorEncoder<'_>, rules: &RuleStats) -> fmt::Result {
    // Named one by one, so that a new figure is not forgotten here.
    let RuleStats {
        lost_hits,
        reinstalled,
        postponed,
        destroy_failures,
        query_failures,
        strays_removed,
        waiting,
        stuck,
        unreadable,
    } = *rules;
    counter(page, &metric::RULES_LOST_HITS, lost_hits)?;
    counter(page, &metric::RULES_REINSTALLED, reinstalled)?;
    counter(page, &metric::RULES_POSTPONED, postponed)?;
    counter(page, &metric::RULES_NOT_DESTROYED, destroy_failures)?;
    counter(page, &metric::RULES_NOT_READ, query_failures)?;
    counter(page, &metric::RULES_STRAY, strays_removed)?;
    gauge(page, &metric::RULES_WAITING, waiting)?;
    gauge(page, &metric::RULES_STUCK, stuck)?;
    gauge(page, &metric::RULES_UNREADABLE, unreadable)
}

fn gauge(page: &mut DescriptorEncoder<'_>, metric: &Metric, value: u64) -> fmt::Result {
    metric.describe(page)?.encode_gauge(&value)
}

fn counter(page: &mut DescriptorEncoder<'_>, metric: &Metric, value: u64) -> fmt::Result {
    metric.describe(page)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

impl Collector for Page {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
        self.agent(&mut page)?;
        if let Some(stats) = &self.stats {
            self.datapath(&mut page, stats)?;
        }
        self.calls.encode(&mut page)?;
        self.process.encode(&mut page)
    }
}
