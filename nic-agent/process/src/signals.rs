//! Being told to stop, and telling systemd how things stand.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM and SIGINT from the moment it is made.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Catches both signals from here on. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn new() -> io::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ends when one of them came.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells systemd that the process serves. Outside systemd there is nobody to tell.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Tells systemd's watchdog that the process does its work. To be called every few seconds, by whoever
/// knows that it does: a process that falls silent is killed and started again.
pub fn alive() {
    tell(NotifyState::Watchdog);
}

/// Tells systemd that the process is on its way out.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
