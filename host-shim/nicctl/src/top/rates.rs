//! From two readings of the counters to what happened a second between them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nic_proto::v1::{PortStats, Stats};
use serde::Serialize;

use crate::table::{or_dash, table};

/// All ports, those first that take most of the slow path's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rates {
    /// Seconds between the two readings.
    pub(super) seconds: f64,
    /// The share of the time in which the slow path was busy with packets, from 0 to 1.
    pub(super) busy: f64,
    pub(super) ports: Vec<PortRates>,
}

/// One port, by its packets that came in; all but the last two lines of numbers a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortRates {
    device: String,
    port: String,
    /// The share of the time in which the slow path was busy with this port's packets, from 0 to 1.
    busy: f64,
    slow_path_packets: f64,
    upcalls: f64,
    hardware_packets: f64,
    hardware_bits: f64,
    evicted: f64,
    rules_evicted: f64,
    flooded: f64,
    drops: f64,
    /// The reason of most of them; empty if there were none.
    top_drop: String,
    /// Now.
    flows: u64,
    rules: u64,
}

impl Rates {
    pub(super) fn between(then: &Stats, now: &Stats, interval: Duration) -> Rates {
        let passed = time(now).zip(time(then)).and_then(|(now, then)| now.duration_since(then).ok());
        // A clock that was set tells nothing.
        let passed = passed.filter(|passed| !passed.is_zero()).unwrap_or(interval);
        let seconds = passed.as_secs_f64();
        let before: BTreeMap<&str, &PortStats> =
            then.ports.iter().map(|port| (port.device.as_str(), port)).collect();
        let ports = now.ports.iter();
        let mut ports: Vec<PortRates> = ports
            // What came since when is not known of a port that is new.
            .map(|port| port_rates(before.get(port.device.as_str()).copied().unwrap_or(port), port, seconds))
            .collect();
        ports.sort_by(|a, b| {
            let most = |one: f64, other: f64| other.total_cmp(&one);
            most(a.busy, b.busy)
                .then(most(a.slow_path_packets, b.slow_path_packets))
                .then(most(a.hardware_packets, b.hardware_packets))
                .then_with(|| a.device.cmp(&b.device))
        });
        Rates { seconds, busy: ports.iter().fold(0.0, |sum, port| sum + port.busy), ports }
    }
}

fn time(stats: &Stats) -> Option<SystemTime> {
    let time = stats.time.as_ref()?;
    let since = Duration::new(time.seconds.try_into().ok()?, time.nanos.try_into().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn port_rates(then: &PortStats, now: &PortStats, seconds: f64) -> PortRates {
    let rate = |count: fn(&PortStats) -> u64| since(count(then), count(now)) as f64 / seconds;
    let mut dropped: Vec<(u64, &str)> = Vec::new();
    for drop in &now.drops {
        let before = then.drops.iter().find(|before| before.reason == drop.reason);
        dropped.push((since(before.map_or(0, |before| before.packets), drop.packets), &drop.reason));
    }
    let top = dropped.iter().filter(|(packets, _)| *packets > 0).max_by_key(|(packets, _)| *packets);
    PortRates {
        device: now.device.clone(),
        port: now.port.clone(),
        busy: rate(|port| port.busy_nanoseconds) / 1e9,
        slow_path_packets: rate(|port| port.rx_packets),
        upcalls: rate(|port| port.upcalls),
        hardware_packets: rate(|port| port.hardware_packets),
        hardware_bits: rate(|port| port.hardware_bytes) * 8.0,
        evicted: rate(|port| port.evicted),
        rules_evicted: rate(|port| port.rules_evicted),
        flooded: rate(|port| port.flooded),
        drops: dropped.iter().fold(0.0, |sum, (packets, _)| sum + *packets as f64) / seconds,
        top_drop: top.map(|(_, reason)| (*reason).to_owned()).unwrap_or_default(),
        flows: now.flows,
        rules: now.rules,
    }
}

/// How far a counter came. One that is lower than it was began anew: nic-datapath was started again.
fn since(then: u64, now: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}

/// The table for people.
pub(super) fn text(rates: &Rates) -> String {
    let columns = [
        "DEVICE",
        "PORT",
        "BUSY>",
        "SLOW PKT/S>",
        "UPCALLS/S>",
        "HW PKT/S>",
        "HW BIT/S>",
        "FLOWS>",
        "RULES>",
        "EVICTED/S>",
        "DROPS/S>",
        "MOSTLY",
    ];
    let rows = rates.ports.iter().map(|port| {
        vec![
            port.device.clone(),
            or_dash(&port.port),
            percent(port.busy),
            short(port.slow_path_packets),
            short(port.upcalls),
            short(port.hardware_packets),
            short(port.hardware_bits),
            port.flows.to_string(),
            port.rules.to_string(),
            short(port.evicted + port.rules_evicted),
            short(port.drops),
            or_dash(&port.top_drop),
        ]
    });
    let sum =
        |count: fn(&PortRates) -> f64| short(rates.ports.iter().map(count).fold(0.0, |sum, rate| sum + rate));
    format!(
        "Slow path {} busy: {} packets/s, {} upcalls/s; hardware: {} packets/s, {} bit/s\n\n{}",
        percent(rates.busy),
        sum(|port| port.slow_path_packets),
        sum(|port| port.upcalls),
        sum(|port| port.hardware_packets),
        sum(|port| port.hardware_bits),
        table(&columns, rows),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A number with three digits that count.
fn short(number: f64) -> String {
    let mut scaled = number;
    for unit in ["", "k", "M", "G", "T"] {
        // What would be rounded up to 1000 goes to the next unit.
        if scaled < 999.5 {
            let digits = match scaled {
                ..0.05 => 0,
                ..9.95 => 1,
                ..99.95 if !unit.is_empty() => 1,
                _ => 0,
            };
            return format!("{scaled:.digits$}{unit}");
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.0}P")
}

#[cfg(test)]
mod tests {
    use nic_proto::v1::DropCount;

    use super::*;

    fn drops(counts: &[(&str, u64)]) -> Vec<DropCount> {
        counts.iter().map(|&(reason, packets)| DropCount { reason: reason.into(), packets }).collect()
    }

    fn stats(ports: &[PortStats]) -> Stats {
        Stats { ports: ports.to_vec(), ..Stats::default() }
    }

    #[test]
    fn numbers_are_short_and_never_of_four_digits() {
        let numbers = [
            (0.0, "0"),
            (0.04, "0"),
            (0.5, "0.5"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12.3k"),
            (999_400.0, "999k"),
            (1.5e6, "1.5M"),
            (1e9, "1.0G"),
            (25e9, "25.0G"),
            (3e12, "3.0T"),
            (4e15, "4P"),
        ];
        for (number, text) in numbers {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn who_takes_most_of_the_time_comes_first_and_most_drops_have_their_reason() {
        let port = |device: &str, busy_nanoseconds, drops| PortStats {
            device: device.into(),
            busy_nanoseconds,
            rx_packets: busy_nanoseconds / 1000,
            drops,
            ..PortStats::default()
        };
        let then = [port("a", 5, drops(&[("x", 90)])), port("b", 0, Vec::new())];
        let now = [
            port("a", 100_000_005, drops(&[("x", 92), ("y", 9)])),
            port("b", 1_000_000_000, Vec::new()),
            port("c", u64::MAX, drops(&[("x", 7)])),
        ];
        let rates = Rates::between(&stats(&then), &stats(&now), Duration::from_secs(2));
        assert_eq!((rates.seconds, rates.busy), (2.0, 0.55));
        let shown: Vec<_> = rates
            .ports
            .iter()
            .map(|port| (port.device.as_str(), port.busy, port.drops, port.top_drop.as_str()))
            .collect();
        // The third was not there before.
        assert_eq!(shown, [("b", 0.5, 0.0, ""), ("a", 0.05, 5.5, "y"), ("c", 0.0, 0.0, "")]);
    }

    #[test]
    fn counters_that_began_anew_count_from_zero() {
        let port = |rx_packets| PortStats { device: "a".into(), rx_packets, ..PortStats::default() };
        let rates = Rates::between(&stats(&[port(500)]), &stats(&[port(30)]), Duration::from_secs(1));
        assert_eq!(rates.ports[0].slow_path_packets, 30.0);
    }
}
