//! `status`: is this card right, and if not, why.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime};

use nic_proto::v1::alarm::Severity;
use nic_proto::v1::stats_service_client::StatsServiceClient;
use nic_proto::v1::status_service_client::StatusServiceClient;
use nic_proto::v1::{Alarm, GetStatsRequest, GetStatusRequest, Stats, SystemStatus};

use crate::arguments::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::read::share;
use crate::table::{or_dash, printable, span, table, yes_no};

/// What operators are told of each alarm.
const PAGE: &str = "docs/ops/alarms.md";
/// Time between two looks at drops: counters of rules are not read more often than that by far.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What counters say of the card, for people.
struct Traffic {
    stats: Stats,
    /// Reasons for which packets are dropped now, with how many there were within [`BETWEEN_LOOKS`].
    growing: Vec<(String, u64)>,
}

/// Shows the state of the card. It is a failure if that is not as it should be.
pub(crate) async fn run(client: &Client, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let request = client.request(GetStatusRequest {});
    let status = StatusServiceClient::new(client.channel()).get_status(request).await?.into_inner();
    // Without a datapath there are no counters, and the status says why.
    let traffic = if output == Output::Table { traffic(client).await.ok() } else { None };
    output::write(out, output, &status, |status| text(status, traffic.as_ref(), SystemTime::now()))?;
    out.flush()?;
    if status.healthy || !tells_health(&status) { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// False for a nic-agent of before there were alarms.
fn tells_health(status: &SystemStatus) -> bool {
    status.healthy || !status.alarms.is_empty()
}

async fn traffic(client: &Client) -> Result<Traffic, Failure> {
    let mut service = StatsServiceClient::new(client.channel());
    let stats = service.get_stats(client.request(GetStatsRequest {})).await?.into_inner();
    if stats.drops.is_empty() {
        return Ok(Traffic { stats, growing: Vec::new() });
    }
    tokio::time::sleep(BETWEEN_LOOKS).await;
    let later = service.get_stats(client.request(GetStatsRequest {})).await?.into_inner();
    let before =
        |reason: &str| stats.drops.iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.packets);
    let grown = later
        .drops
        .iter()
        .map(|drop| (drop.reason.clone(), drop.packets.saturating_sub(before(&drop.reason))));
    let growing = grown.filter(|&(_, packets)| packets > 0).collect();
    Ok(Traffic { stats: later, growing })
}

fn text(status: &SystemStatus, traffic: Option<&Traffic>, now: SystemTime) -> String {
    let mut text = health(status, now);
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<10} {}", printable(value));
    };
    let datapath = status.datapath.clone().unwrap_or_default();
    line("Agent", &format!("version {}, store {}", status.version, or_dash(&status.store_uuid)));
    let applied = if status.applied_revision >= status.revision {
        "applied".into()
    } else {
        format!("applied up to {}", status.applied_revision)
    };
    line("Revision", &format!("{}, {applied}", status.revision));
    let connected = if datapath.connected { "connected" } else { "not connected" };
    line(
        "Datapath",
        &format!(
            "{connected}, version {}, schema {}, policy revision {}",
            or_dash(&datapath.version),
            datapath.schema_version,
            datapath.policy_revision
        ),
    );
    if !datapath.last_error.is_empty() {
        line("", &datapath.last_error);
    }
    if let Some(Traffic { stats, growing }) = traffic {
        let offload = stats.offload.unwrap_or_default();
        let slow_path = stats.slow_path.unwrap_or_default();
        let flows = stats.cache.unwrap_or_default().flows;
        let by_rules = share(offload.packets, slow_path.packets);
        line("Flows", &format!("{flows}, of these {} in hardware", offload.flows));
        line("Packets", &format!("forwarded by the E-Switch: {by_rules}"));
        for (reason, packets) in growing {
            let seconds = BETWEEN_LOOKS.as_secs();
            line("Drops", &format!("{packets} packets in {seconds} s: {reason}"));
        }
    }
    let rows = status.devices.iter().map(|device| {
        let link = if device.link_up { "up" } else { "down" };
        vec![device.device.clone(), yes_no(device.present), link.into(), or_dash(&device.port)]
    });
    text + "\n" + &table(&["DEVICE", "PRESENT", "LINK", "PORT"], rows)
}

/// Whether all is well, and what is not.
fn health(status: &SystemStatus, now: SystemTime) -> String {
    if !tells_health(status) {
        return "health unknown: this nic-agent is older than its alarms\n".into();
    }
    let grave = status.alarms.iter().filter(|alarm| alarm.severity() != Severity::Info).count();
    let mut text = match grave {
        0 => "healthy\n".to_owned(),
        1 => "NOT healthy: 1 alarm\n".to_owned(),
        many => format!("NOT healthy: {many} alarms\n"),
    };
    for alarm in &status.alarms {
        text += &described(alarm, now);
    }
    text
}

fn described(alarm: &Alarm, now: SystemTime) -> String {
    let severity = match alarm.severity() {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical | Severity::Unspecified => "critical",
    };
    let of = if alarm.object.is_empty() { String::new() } else { format!(" of {}", alarm.object) };
    let since = alarm.since.and_then(|since| {
        let since = SystemTime::UNIX_EPOCH
            + Duration::new(since.seconds.try_into().ok()?, since.nanos.try_into().ok()?);
        now.duration_since(since).ok()
    });
    let lasts = since.map(|age| format!(", for {}", span(age))).unwrap_or_default();
    // As Markdown makes an anchor of a heading.
    let anchor = alarm.reason.replace('.', "");
    let lines = [
        format!("{severity:<9} {}{of}{lasts}", alarm.reason),
        alarm.text.clone(),
        format!("{PAGE}#{anchor}"),
    ];
    let [head, text, page] = lines.map(|line| printable(&line));
    format!("{head}\n{:10}{text}\n{:10}{page}\n", "", "")
}
