//! Every metric: its name, its kind, its labels, and what it means.

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// What a metric is, by OpenMetrics' types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process that counts starts anew.
    Counter,
    /// A state.
    Gauge,
    /// How often a value was how large.
    Histogram,
    /// A constant 1 with texts as labels.
    Info,
}

impl Kind {
    /// The name in a page's `# TYPE` line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }

    /// What the samples' names have behind the family's; a histogram has several.
    pub const fn suffix(self) -> &'static str {
        match self {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

/// A family of time series.
#[derive(Debug)]
pub struct Metric {
    /// The family's name, with its unit if that is one that OpenMetrics knows.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// What is counted or measured.
    pub unit: &'static str,
    /// The names of the labels, in the order of the page.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// The units that OpenMetrics wants at the end of a name; others only stand in our tables.
const BASE_UNITS: [(&str, Unit); 2] = [("bytes", Unit::Bytes), ("seconds", Unit::Seconds)];

impl Metric {
    /// The name that queries use: for a histogram, what its series' names begin with.
    pub fn series(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix())
    }

    /// Writes the lines at the head of the family.
    pub(crate) fn describe<'a>(
        &'a self,
        page: &'a mut DescriptorEncoder<'_>,
    ) -> Result<MetricEncoder<'a>, std::fmt::Error> {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        let unit = BASE_UNITS.iter().find(|(name, _)| *name == self.unit).map(|(_, unit)| unit);
        let name = match unit {
            Some(_) => self.name.strip_suffix(self.unit).map_or(self.name, |name| name.trim_end_matches('_')),
            None => self.name,
        };
        page.encode_descriptor(name, self.help, unit, kind)
    }
}

macro_rules! metrics {
    ($( $constant:ident: $name:literal, $kind:ident, $unit:literal, [$($label:literal),*], $help:literal; )*) => {
        $(
            pub(crate) static $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric, in the order of the page.
        pub static METRICS: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    AGENT: "nic_agent", Info, "1", ["version"], "The version of nic-agent.";
    STORE_REVISION: "nic_store_revision", Gauge, "revision", [], "The newest durable revision of the configuration.";
    RESOURCES: "nic_resources", Gauge, "resources", ["kind"], "Resources that are configured, by kind.";
    HEALTHY: "nic_healthy", Gauge, "1", [], "1 if no alarm stands that is critical or a warning, else 0.";
    ALARMS: "nic_alarms", Gauge, "alarms", ["reason", "severity"], "Alarms that stand, by reason; a reason of which none stands is there with 0.";
    DATAPATH_UP: "nic_datapath_up", Gauge, "1", [], "1 if nic-datapath gave its counters within 2 seconds, else 0; then all that it would have told is missing.";
    DATAPATH_CONNECTED: "nic_datapath_connected", Gauge, "1", [], "1 if this nic-agent may write policy to nic-datapath, else 0: it is away, or refused the policy, or another has taken over.";
    DATAPATH_RESTARTS: "nic_datapath_restarts", Counter, "restarts", [], "How often nic-agent found another run of nic-datapath than before.";
    DATAPATH: "nic_datapath", Info, "1", ["version", "schema"], "The version of nic-datapath, and of the protocol that it and nic-agent speak.";
    ACCEPTED_REVISION: "nic_datapath_accepted_revision", Gauge, "revision", [], "The newest revision that nic-datapath took.";
    APPLIED_REVISION: "nic_datapath_applied_revision", Gauge, "revision", [], "The newest revision of which no older flow or rule is left, and that is on nic-datapath's disk unless that fails.";
    PORT_PRESENT: "nic_port_present", Gauge, "1", ["device", "port"], "1 if the port's device is there, else 0.";
    PORT_LINK_UP: "nic_port_link_up", Gauge, "1", ["device", "port"], "1 if the port's device reports a link, else 0.";
    PORT_HARDWARE_PACKETS: "nic_port_hardware_packets", Counter, "packets", ["device", "port"], "Packets from the port that rules of the E-Switch handled, as far as their counters were read.";
    PORT_HARDWARE_BYTES: "nic_port_hardware_bytes", Counter, "bytes", ["device", "port"], "The same in bytes of Ethernet frames without their checksum.";
    PORT_DROPS: "nic_port_dropped_packets", Counter, "packets", ["device", "port"], "Packets from the port that were dropped, for all reasons together.";
    PORT_FLOWS: "nic_port_flows", Gauge, "flows", ["device", "port"], "Flows of packets from the port in the software cache, those in hardware included.";
    PORT_RULES: "nic_port_rules", Gauge, "flows", ["device", "port"], "Of these, flows that a rule of the E-Switch carries.";
    PORT_FLOWS_EVICTED: "nic_port_flows_evicted", Counter, "flows", ["device", "port"], "Flows of the port that were taken out of the full cache because another port had less than its share.";
    PORT_RULES_EVICTED: "nic_port_rules_evicted", Counter, "rules", ["device", "port"], "Rules of the port that were taken out of the full E-Switch because another port had less than its share; their flows went on in software.";
    PORT_FLOODED: "nic_port_flooded_copies", Counter, "packets", ["device", "port"], "Copies of packets from the port that floods of bridges made.";
    SLOW_PATH_RECEIVED_PACKETS: "nic_slow_path_received_packets", Counter, "packets", ["device", "port"], "Packets from the port that came to the slow path.";
    SLOW_PATH_RECEIVED_BYTES: "nic_slow_path_received_bytes", Counter, "bytes", ["device", "port"], "The same in bytes.";
    SLOW_PATH_SENT_PACKETS: "nic_slow_path_sent_packets", Counter, "packets", ["device", "port"], "Packets that the slow path sent to the port.";
    SLOW_PATH_SENT_BYTES: "nic_slow_path_sent_bytes", Counter, "bytes", ["device", "port"], "The same in bytes.";
    SLOW_PATH_CACHE_HITS: "nic_slow_path_cache_hits", Counter, "packets", ["device", "port"], "Packets from the port that hit the software flow cache.";
    SLOW_PATH_UPCALLS: "nic_slow_path_upcalls", Counter, "packets", ["device", "port"], "Packets from the port that were translated.";
    SLOW_PATH_BUSY: "nic_slow_path_busy_seconds", Counter, "seconds", ["device", "port"], "The time that the slow path spent on packets from the port: of all ports together a second a second at most.";
    DROPS: "nic_drops", Counter, "packets", ["device", "port", "reason"], "Packets from the port that were dropped for a reason; reasons without a packet are left out.";
    STAGES: "nic_stage_packets", Counter, "packets", ["stage", "verdict"], "Packets that a stage of the pipeline passed, dropped or held when they were translated.";
    FLOWS: "nic_flows", Gauge, "flows", [], "Flows in the software cache.";
    FLOWS_IN_HARDWARE: "nic_flows_in_hardware", Gauge, "flows", [], "Flows that a rule of the E-Switch carries.";
    FLOWS_REVALIDATED: "nic_flows_revalidated", Counter, "flows", [], "Flows that were translated again after a change of policy.";
    FLOWS_UNCACHED: "nic_flows_uncached", Counter, "flows", [], "Flows that were forwarded without being cached, because the cache or the port's share of it was full.";
    RULES_CREATED: "nic_rules_created", Counter, "rules", [], "Rules created in the E-Switch.";
    RULES_DESTROYED: "nic_rules_destroyed", Counter, "rules", [], "Rules destroyed in the E-Switch.";
    RULES_REFUSED: "nic_rules_refused", Counter, "rules", [], "Rules that the E-Switch or the encoder refused.";
    RULES_LOST_HITS: "nic_rules_lost_hits", Counter, "packets", [], "Packets that came to the slow path though their flow's rule should have taken them: the sign of rules that are lost or lag behind.";
    RULES_REINSTALLED: "nic_rules_reinstalled", Counter, "rules", [], "Rules that were removed and installed again because they seemed lost.";
    RULES_POSTPONED: "nic_rules_postponed", Counter, "rules", [], "Creations of rules that the card refused for a while.";
    RULES_NOT_DESTROYED: "nic_rules_destroy_failures", Counter, "failures", [], "Destructions of rules that the card did not take.";
    RULES_NOT_READ: "nic_rules_query_failures", Counter, "failures", [], "Counters of rules that could not be read.";
    RULES_STRAY: "nic_rules_strays_removed", Counter, "rules", [], "Rules that no flow owned and that audits took out.";
    RULES_WAITING: "nic_rules_waiting", Gauge, "rules", [], "Rules that wait for another try to create them.";
    RULES_STUCK: "nic_rules_stuck", Gauge, "rules", [], "Rules that the card does not destroy, however often it is told to.";
    RULES_UNREADABLE: "nic_rules_unreadable", Gauge, "rules", [], "Rules whose counters could not be read the last time.";
    FDB_ENTRIES: "nic_fdb_entries", Gauge, "addresses", [], "MAC addresses that bridges have learned and not forgotten.";
    FDB_LEARNED: "nic_fdb_learned", Counter, "addresses", [], "MAC addresses that bridges learned.";
    FDB_MOVED: "nic_fdb_moved", Counter, "addresses", [], "MAC addresses that were learned at one place and then at another.";
    FDB_AGED: "nic_fdb_aged", Counter, "addresses", [], "MAC addresses that were forgotten because nobody sent from them.";
    FDB_REFUSED: "nic_fdb_refused", Counter, "addresses", [], "MAC addresses that were not learned because a limit was reached.";
    FLOODED: "nic_flooded_copies", Counter, "packets", [], "Copies that floods of bridges made.";
    ANSWERED: "nic_neighbor_answers", Counter, "packets", [], "ARP and neighbour discovery packets that the card answered, for itself and for bridges.";
    SOLICITED: "nic_neighbor_solicitations", Counter, "packets", [], "Requests for the MAC addresses of next hops that the card sent.";
    CALLS: "nic_grpc_handled", Counter, "calls", ["method", "code"], "Calls of the API that are over, by method and gRPC code; CANCELLED are also those that the caller gave up.";
    CALL_SECONDS: "nic_grpc_handling_seconds", Histogram, "seconds", ["method"], "How long calls of the API took, but for streams; methods that nobody has called are left out.";
    CPU: "process_cpu_seconds", Counter, "seconds", [], "User and system CPU time that nic-agent used.";
    START: "process_start_time_seconds", Gauge, "seconds", [], "When nic-agent started, since 1970-01-01 00:00 UTC.";
    RESIDENT: "process_resident_memory_bytes", Gauge, "bytes", [], "Memory of nic-agent that is resident.";
    VIRTUAL: "process_virtual_memory_bytes", Gauge, "bytes", [], "Virtual memory of nic-agent.";
    THREADS: "process_threads", Gauge, "threads", [], "Threads of nic-agent.";
    OPEN_FILES: "process_open_fds", Gauge, "files", [], "Open file descriptors of nic-agent.";
    MAX_FILES: "process_max_fds", Gauge, "files", [], "File descriptors that nic-agent may open.";
}
