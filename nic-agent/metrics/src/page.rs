//! One page: what is told of one moment, and how it is written.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use nic_flow::PortId;
use nic_policy::{Device, DropReason, PortStats, Revision, Stage, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use crate::calls::Calls;
use crate::metric::{self, Metric};
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
        gauge(page, &metric::DATAPATH_UP, self.stats.is_some().into())?;
        gauge(page, &metric::DATAPATH_CONNECTED, datapath.connected.into())?;
        counter(page, &metric::DATAPATH_RESTARTS, datapath.restarts)
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
        let counts: [(&Metric, Count); 9] = [
            (&metric::PORT_HARDWARE_PACKETS, |port| port.hardware.packets),
            (&metric::PORT_HARDWARE_BYTES, |port| port.hardware.bytes),
            (&metric::PORT_DROPS, |port| port.drops.iter().sum()),
            (&metric::SLOW_PATH_RECEIVED_PACKETS, |port| port.slow_path.packets),
            (&metric::SLOW_PATH_RECEIVED_BYTES, |port| port.slow_path.bytes),
            (&metric::SLOW_PATH_SENT_PACKETS, |port| port.sent.packets),
            (&metric::SLOW_PATH_SENT_BYTES, |port| port.sent.bytes),
            (&metric::SLOW_PATH_CACHE_HITS, |port| port.cache_hits),
            (&metric::SLOW_PATH_UPCALLS, |port| port.upcalls),
        ];
        for (metric, count) in counts {
            let mut family = metric.describe(page)?;
            for port in &stats.ports {
                let labels = self.labels(port.port);
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count(port), None)?;
            }
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

/// A counter of a port.
type Count = fn(&PortStats) -> u64;

/// What is counted for the card as a whole.
fn totals(page: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    gauge(page, &metric::FLOWS, stats.flows)?;
    gauge(page, &metric::FLOWS_IN_HARDWARE, stats.flows_in_hardware)?;
    counter(page, &metric::FLOWS_REVALIDATED, stats.revalidated)?;
    counter(page, &metric::FLOWS_UNCACHED, stats.cache_full)?;
    counter(page, &metric::RULES_CREATED, stats.rules_created)?;
    counter(page, &metric::RULES_DESTROYED, stats.rules_destroyed)?;
    counter(page, &metric::RULES_REFUSED, stats.rules_refused)?;
    gauge(page, &metric::FDB_ENTRIES, stats.fdb_entries)?;
    counter(page, &metric::FDB_LEARNED, stats.fdb_learned)?;
    counter(page, &metric::FDB_MOVED, stats.fdb_moved)?;
    counter(page, &metric::FDB_AGED, stats.fdb_aged)?;
    counter(page, &metric::FDB_REFUSED, stats.fdb_refused)?;
    counter(page, &metric::FLOODED, stats.flooded)?;
    counter(page, &metric::ANSWERED, stats.answered)?;
    counter(page, &metric::SOLICITED, stats.solicited)
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
