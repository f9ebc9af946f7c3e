//! What is on the page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nic_flow::{Counters, MacAddr, PortId};
use nic_metrics::{Agent, Calls, Datapath, Kind, METRICS, Method, Metric, Page, Process};
use nic_policy::{
    Alarm, AlarmReason, Device, DropReason, PortStats, Revision, RuleStats, Stage, StageStats, Stats,
};

use crate::openmetrics::{self, Family};

/// The operator's page.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ops/metrics.md");

fn uplink() -> PortId {
    PortId::uplink(0).expect("there is one")
}

fn vf(index: u16) -> PortId {
    PortId::vf(0, index).expect("there is one")
}

/// Counters that all differ.
pub(crate) fn stats() -> Stats {
    let counters = |n: u64| Counters { packets: n, bytes: n * 100 };
    let mut first = PortStats {
        present: true,
        slow_path: counters(7),
        sent: counters(8),
        upcalls: 3,
        cache_hits: 4,
        hardware: counters(1_000_000_000_000),
        flows: 12,
        rules: 13,
        evicted: 14,
        rules_evicted: 15,
        busy: Duration::from_millis(1_250),
        flooded: 16,
        ..PortStats::new(uplink())
    };
    first.drops[DropReason::NoRule.index()] = 11;
    first.drops[DropReason::TransmitError.index()] = 1;
    let second = PortStats { hardware: counters(5), ..PortStats::new(vf(0)) };
    let mut stages = [StageStats::default(); Stage::COUNT];
    stages[Stage::Bridge.index()] = StageStats { passed: 21, dropped: 22, held: 23 };
    Stats {
        ports: vec![first, second],
        stages,
        flows: 31,
        flows_in_hardware: 30,
        rules_created: 41,
        rules_destroyed: 42,
        rules_refused: 43,
        revalidated: 44,
        cache_full: 45,
        fdb_entries: 51,
        fdb_learned: 52,
        fdb_moved: 53,
        fdb_aged: 54,
        fdb_refused: 55,
        flooded: 61,
        answered: 62,
        solicited: 63,
        rules: RuleStats {
            lost_hits: 71,
            reinstalled: 72,
            postponed: 73,
            destroy_failures: 74,
            query_failures: 75,
            strays_removed: 76,
            waiting: 77,
            stuck: 78,
            unreadable: 79,
        },
    }
}

fn alarm(reason: AlarmReason, port: Option<PortId>) -> Alarm {
    Alarm { reason, port, since: Duration::from_secs(1), text: "never on the page".to_owned() }
}

pub(crate) fn agent() -> Agent {
    let device = |port, link_up| Device { port, link_up, mtu: 1500, mac: MacAddr([2, 0, 0, 0, 0, 1]) };
    Agent {
        version: "1.2.3".to_owned(),
        revision: Revision(9),
        resources: vec![("flowRules", 2), ("ports", 1)],
        healthy: false,
        alarms: vec![
            alarm(AlarmReason::RulesStuck, None),
            alarm(AlarmReason::DeviceAbsent, Some(vf(0))),
            alarm(AlarmReason::DeviceAbsent, Some(vf(1))),
        ],
        datapath: Datapath {
            connected: true,
            version: "1.2.4".to_owned(),
            schema: 3,
            restarts: 1,
            accepted: Some(Revision(9)),
            applied: Some(Revision(8)),
            devices: vec![device(uplink(), true), device(vf(0), false)],
        },
        // A name that no Port can have: what stands in a label is escaped all the same.
        ports: [(uplink(), "ports/\"pf\\0\"".to_owned())].into(),
    }
}

pub(crate) fn calls() -> Calls {
    let method = |name: &str, streams| Method { name: name.to_owned(), streams };
    let calls = Calls::new([
        method("nic.v1.PortService/GetPort", false),
        method("nic.v1.PortService/ListPorts", false),
        method("nic.v1.WatchService/Watch", true),
    ]);
    for (millis, code) in [(1, 0), (3, 0), (400, 5)] {
        calls.count("nic.v1.PortService/GetPort", code, Duration::from_millis(millis));
    }
    calls.count("nic.v1.WatchService/Watch", 1, Duration::from_secs(3600));
    for n in 0..100 {
        calls.count(&format!("made.Up/{n}"), 12, Duration::from_millis(1));
    }
    calls.count("made.Up/Code", 99, Duration::from_millis(1));
    calls
}

fn process() -> Process {
    Process {
        cpu: Some(1.5),
        start: Some(1_700_000_000.25),
        resident: Some(4096),
        virtual_memory: Some(8192),
        threads: Some(5),
        open_files: Some(12),
        max_files: Some(1024),
    }
}

fn page(stats: Option<Stats>) -> String {
    Page { agent: agent(), stats, calls: Arc::new(calls()), process: process() }.text()
}

fn families(text: &str) -> Vec<Family> {
    openmetrics::read(text).unwrap_or_else(|why| panic!("{why}\n{text}"))
}

#[test]
fn the_page_is_what_it_is() {
    insta::assert_snapshot!(page(Some(stats())));
}

#[test]
fn every_metric_is_on_the_page_in_order_with_its_labels_and_no_other() {
    let told = families(&page(Some(stats())));
    let known: Vec<_> = METRICS.iter().map(|metric| (metric.name, metric.kind.name(), metric.help)).collect();
    let on_page: Vec<_> = told.iter().map(|it| (&*it.name, &*it.kind, &*it.help)).collect();
    assert_eq!(on_page, known);
    for (family, metric) in told.iter().zip(METRICS) {
        assert!(!family.samples.is_empty(), "{} has no sample", metric.name);
        let mut wanted: BTreeSet<&str> = metric.labels.iter().copied().collect();
        if metric.kind == Kind::Histogram {
            wanted.insert("le");
        }
        let labels: BTreeSet<&str> =
            family.samples.iter().flat_map(|sample| sample.labels.keys().map(String::as_str)).collect();
        assert_eq!(labels, wanted, "{}", metric.name);
        let base_unit = ["bytes", "seconds"].contains(&metric.unit);
        assert_eq!(family.unit, if base_unit { metric.unit } else { "" }, "{}", metric.name);
        assert!(metric.name.starts_with("nic_") || metric.name.starts_with("process_"), "{}", metric.name);
    }
}

#[test]
fn values_are_those_that_were_counted() {
    let told = families(&page(Some(stats())));
    let value = |name: &str, labels: &[(&str, &str)]| {
        let wanted: BTreeMap<_, _> =
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let mut samples = told.iter().flat_map(|family| &family.samples);
        samples.find(|sample| sample.name == name && sample.labels == wanted).map(|sample| sample.value)
    };
    let (pf, vf) = ([("device", "p0"), ("port", "ports/\"pf\\0\"")], [("device", "pf0vf0"), ("port", "")]);
    assert_eq!(value("nic_port_hardware_packets_total", &pf), Some(1e12));
    assert_eq!(value("nic_port_hardware_bytes_total", &vf), Some(500.0));
    assert_eq!(value("nic_slow_path_upcalls_total", &pf), Some(3.0));
    assert_eq!(value("nic_port_dropped_packets_total", &pf), Some(12.0));
    assert_eq!(value("nic_port_dropped_packets_total", &vf), Some(0.0));
    let drop = |reason| value("nic_drops_total", &[pf[0], pf[1], ("reason", reason)]);
    assert_eq!((drop("flow_rules.no_match"), drop("transmit.full")), (Some(11.0), None));
    assert_eq!(value("nic_port_link_up", &vf), Some(0.0));
    let held = [("stage", "bridge"), ("verdict", "held")];
    assert_eq!(value("nic_stage_packets_total", &held), Some(23.0));
    assert_eq!(value("nic_fdb_entries", &[]), Some(51.0));
    assert_eq!(value("nic_store_revision", &[]), Some(9.0));
    assert_eq!(value("nic_datapath_applied_revision", &[]), Some(8.0));
    assert_eq!(value("nic_datapath_restarts_total", &[]), Some(1.0));
    for (name, expected) in [
        ("nic_port_flows", 12.0),
        ("nic_port_rules", 13.0),
        ("nic_port_flows_evicted_total", 14.0),
        ("nic_port_rules_evicted_total", 15.0),
        ("nic_port_flooded_copies_total", 16.0),
        ("nic_slow_path_busy_seconds_total", 1.25),
    ] {
        assert_eq!((value(name, &pf), value(name, &vf)), (Some(expected), Some(0.0)), "{name}");
    }
    for (name, expected) in [
        ("nic_rules_lost_hits_total", 71.0),
        ("nic_rules_reinstalled_total", 72.0),
        ("nic_rules_postponed_total", 73.0),
        ("nic_rules_destroy_failures_total", 74.0),
        ("nic_rules_query_failures_total", 75.0),
        ("nic_rules_strays_removed_total", 76.0),
        ("nic_rules_waiting", 77.0),
        ("nic_rules_stuck", 78.0),
        ("nic_rules_unreadable", 79.0),
    ] {
        assert_eq!(value(name, &[]), Some(expected), "{name}");
    }
}

#[test]
fn every_alarm_is_on_the_page_whether_or_not_one_stands_also_without_the_datapath() {
    for stats in [Some(stats()), None] {
        let told = families(&page(stats));
        let family = told.iter().find(|family| family.name == "nic_alarms").expect("it is there");
        let series: Vec<_> = family
            .samples
            .iter()
            .map(|sample| (&*sample.labels["reason"], &*sample.labels["severity"], sample.value))
            .collect();
        let expected: Vec<_> = AlarmReason::ALL
            .iter()
            .map(|reason| {
                let standing = match reason {
                    AlarmReason::RulesStuck => 1.0,
                    AlarmReason::DeviceAbsent => 2.0,
                    _ => 0.0,
                };
                (reason.name(), reason.severity().name(), standing)
            })
            .collect();
        assert_eq!(series, expected);
    }
    for healthy in [true, false] {
        let agent = Agent { healthy, ..agent() };
        let page = Page { agent, stats: None, calls: Arc::new(calls()), process: process() }.text();
        assert!(page.contains(&format!("\nnic_healthy {}\n", u8::from(healthy))), "{page}");
    }
}

#[test]
fn while_the_datapath_is_away_nothing_of_it_is_told() {
    let with: BTreeSet<String> = families(&page(Some(stats()))).into_iter().map(|it| it.name).collect();
    let text = page(None);
    let without: BTreeSet<String> = families(&text).into_iter().map(|it| it.name).collect();
    assert!(text.contains("nic_datapath_up 0\n"), "{text}");
    assert!(without.is_subset(&with));
    for gone in
        ["nic_flows", "nic_drops", "nic_port_present", "nic_datapath", "nic_datapath_applied_revision"]
    {
        assert!(with.contains(gone) && !without.contains(gone), "{gone}");
    }
    for stays in ["nic_store_revision", "nic_grpc_handled", "nic_datapath_connected", "process_threads"] {
        assert!(without.contains(stays), "{stays}");
    }
}

#[test]
fn a_caller_cannot_make_series() {
    let told = families(&page(None));
    let handled = told.iter().find(|family| family.name == "nic_grpc_handled").expect("it is there");
    let series: Vec<_> = handled
        .samples
        .iter()
        .map(|sample| (&*sample.labels["method"], &*sample.labels["code"], sample.value))
        .collect();
    let expected = [
        ("nic.v1.PortService/GetPort", "OK", 2.0),
        ("nic.v1.PortService/GetPort", "NOT_FOUND", 1.0),
        ("nic.v1.WatchService/Watch", "CANCELLED", 1.0),
        ("other", "UNKNOWN", 1.0),
        ("other", "UNIMPLEMENTED", 100.0),
    ];
    assert_eq!(series, expected);
    let seconds = told.iter().find(|family| family.name == "nic_grpc_handling_seconds").expect("it is there");
    let methods: BTreeSet<_> = seconds.samples.iter().map(|sample| &*sample.labels["method"]).collect();
    assert_eq!(methods.into_iter().collect::<Vec<_>>(), ["nic.v1.PortService/GetPort"]);
}

#[test]
fn the_operators_page_has_every_metric_and_no_other() {
    let document = std::fs::read_to_string(DOCUMENT).expect(DOCUMENT);
    let row = |metric: &&Metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (series, kind, unit) = (metric.series(), metric.kind.name(), metric.unit);
        format!("| `{series}` | {kind} | {} | {unit} | {} |", labels.join(", "), metric.help)
    };
    let wanted: Vec<String> = METRICS.iter().map(row).collect();
    let rows: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `nic_") || line.starts_with("| `process_"))
        .collect();
    assert_eq!(rows, wanted);
}
