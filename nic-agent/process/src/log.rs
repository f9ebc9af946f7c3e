//! The log: to the standard error stream, where systemd's journal or a terminal takes it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `RUST_LOG` says what is written, as `tracing-subscriber` reads it; everything from
/// `info` on if it is not set. To be called once, first.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => log.init(),
        Format::Json => log.json().init(),
    }
}
