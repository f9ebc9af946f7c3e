//! `top`: what each port does now, and whose packets take the slow path's time.
//!
//! On a terminal the table stays in its place and is drawn again; elsewhere each is printed below the one
//! before. As JSON each is one line.

mod rates;
mod screen;

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use nic_proto::v1::stats_service_client::StatsServiceClient;
use nic_proto::v1::{GetStatsRequest, Stats};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use self::rates::{Rates, text};
use self::screen::Screen;
use crate::arguments::{Output, Top};
use crate::client::Client;
use crate::failure::Failure;

/// Shows rates until told to stop, or as often as the command line says.
pub(crate) async fn run(
    client: &Client,
    command: Top,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut stops = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    if output == Output::Table && std::io::stdout().is_terminal() {
        let mut screen = Screen::enter(out)?;
        let shown = follow(client, &command, &mut stops, |shown| match shown {
            Ok(rates) => Ok(screen.draw(&text(&rates))?),
            // The datapath may come back.
            Err(failure @ Failure::Call(_)) => Ok(screen.draw(&format!("{failure}\n"))?),
            Err(failure) => Err(failure),
        })
        .await;
        screen.leave()?;
        return shown;
    }
    let mut first = true;
    follow(client, &command, &mut stops, |shown| {
        print(&shown?, output, std::mem::take(&mut first), out)?;
        Ok(out.flush()?)
    })
    .await
}

/// Reads the counters once in each interval, and shows what became of them.
async fn follow(
    client: &Client,
    command: &Top,
    stops: &mut [Signal; 2],
    mut show: impl FnMut(Result<Rates, Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut interval = tokio::time::interval(command.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut shown) = (None, 0);
    while command.count.is_none_or(|count| shown < count) {
        let [interrupted, terminated] = &mut *stops;
        let read = tokio::select! {
            read = next(client, &mut interval) => read,
            _ = interrupted.recv() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        };
        match (read, before.take()) {
            (Ok(now), None) => before = Some(now),
            (Ok(now), Some(then)) => {
                show(Ok(Rates::between(&then, &now, command.interval)))?;
                before = Some(now);
                shown += 1;
            }
            (Err(failure), _) => show(Err(failure))?,
        }
    }
    Ok(())
}

async fn next(client: &Client, interval: &mut tokio::time::Interval) -> Result<Stats, Failure> {
    interval.tick().await;
    let request = client.request(GetStatsRequest {});
    Ok(StatsServiceClient::new(client.channel()).get_stats(request).await?.into_inner())
}

fn print(rates: &Rates, output: Output, first: bool, out: &mut dyn Write) -> Result<(), Failure> {
    match output {
        Output::Table => write!(out, "{}{}", if first { "" } else { "\n" }, text(rates))?,
        Output::Json => {
            let line = serde_json::to_string(rates).map_err(|error| Failure::Encode(error.into()))?;
            writeln!(out, "{line}")?;
        }
        Output::Yaml => {
            let document = serde_saphyr::to_string(rates).map_err(|error| Failure::Encode(error.into()))?;
            write!(out, "---\n{document}")?;
        }
    }
    Ok(())
}

/// The shortest time between two readings.
pub(crate) const SHORTEST: Duration = Duration::from_millis(10);
