//! `host-shim`: see the library.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use host_shim::{CardAddress, Config};
use nic_process::{log, signals, socket};

/// Forwards a unix socket on the host to the card's API.
///
/// Speaks gRPC on both sides and changes nothing in between. Connects to the card when a client calls.
/// Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot listen, 2 for a wrong command line.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The socket that clients on this host connect to.
    #[arg(long, env = "HOST_SHIM_LISTEN", default_value = "/run/host-shim/nic.sock", value_name = "PATH")]
    listen: PathBuf,
    /// The socket's mode, in octal: who may configure the card.
    #[arg(long, env = "HOST_SHIM_MODE", default_value = "0660", value_parser = mode, value_name = "MODE")]
    mode: u32,
    /// Where the card's nic-agent listens: http://HOST:PORT or unix:PATH.
    #[arg(long, env = "HOST_SHIM_CARD", value_name = "ADDRESS")]
    card: CardAddress,
    /// How many seconds a connection to the card may take.
    #[arg(long, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    connect_timeout: Duration,
    /// How many seconds a card may be silent during a call until it is asked for a sign of life.
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    keepalive: Duration,
    /// How many seconds open calls may take to finish after SIGTERM.
    #[arg(long, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    grace: Duration,
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or("not an octal mode, as 0660 is".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("must be more than 0".into()) } else { Ok(duration) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(log::Format::Text);
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", host_shim::describe(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut told = signals::Stop::new()?;
    let (listener, file) = socket::listen(&arguments.listen, arguments.mode)?;
    let config = Config {
        card: arguments.card,
        connect_timeout: arguments.connect_timeout,
        keepalive: arguments.keepalive,
        grace: arguments.grace,
    };
    tracing::info!(listen = %arguments.listen.display(), card = %config.card, "ready");
    signals::ready();
    let stop = async move {
        told.wait().await;
        signals::stopping();
        // New clients find no socket while the old ones finish.
        drop(file);
    };
    host_shim::serve(listener, config, stop).await;
    Ok(())
}
