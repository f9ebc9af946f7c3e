//! How far a transfer is: a bar that is drawn over on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::table::span;

/// Time between two figures on a terminal, and elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(10);
/// Characters of the bar.
const WIDTH: usize = 30;

/// A transfer that is told of on standard error.
pub(super) struct Progress {
    /// Octets in all; `None` if nobody knows.
    total: Option<u64>,
    start: Instant,
    terminal: bool,
    told: Option<Instant>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Progress {
        Progress { total, start: Instant::now(), terminal: io::stderr().is_terminal(), told: None }
    }

    /// So many octets were sent. Nothing that goes wrong with telling is worth an error.
    pub(super) fn sent(&mut self, octets: u64) {
        let interval = if self.terminal { REDRAW } else { LINE };
        if self.told.unwrap_or(self.start).elapsed() < interval {
            return;
        }
        self.told = Some(Instant::now());
        self.tell(octets);
    }

    /// It ended.
    pub(super) fn end(&mut self, octets: u64) {
        if self.terminal && self.told.is_some() {
            self.tell(octets);
            let _ = writeln!(io::stderr());
        }
    }

    fn tell(&self, octets: u64) {
        let line = figures(octets, self.total, self.start.elapsed());
        let mut out = io::stderr().lock();
        let told = if self.terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = told.and_then(|()| out.flush());
    }
}

/// `[=====     ]  50 %  12.0 of 24.0 MiB, 3.0 MiB/s, 4.0s left`
fn figures(octets: u64, total: Option<u64>, elapsed: Duration) -> String {
    let mib = |octets: u64| octets as f64 / f64::from(1 << 20);
    let rate = octets as f64 / elapsed.as_secs_f64().max(0.001);
    let speed = format!("{:.1} MiB/s", rate / f64::from(1 << 20));
    let Some(total) = total.filter(|&total| total > 0) else {
        return format!("{:.1} MiB, {speed}", mib(octets));
    };
    let octets = octets.min(total);
    let part = octets as f64 / total as f64;
    let full = "=".repeat((part * WIDTH as f64) as usize);
    let left = Duration::from_secs_f64(((total - octets) as f64 / rate.max(1.0)).min(1e6));
    format!(
        "[{full:<WIDTH$}] {:3.0} %  {:.1} of {:.1} MiB, {speed}, {} left",
        (part * 100.0).floor(),
        mib(octets),
        mib(total),
        span(left)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_how_much_how_fast_and_how_long() {
        let line = figures(12 << 20, Some(24 << 20), Duration::from_secs(4));
        assert_eq!(line, "[===============               ]  50 %  12.0 of 24.0 MiB, 3.0 MiB/s, 4.0s left");
        assert_eq!(figures(12 << 20, None, Duration::from_secs(4)), "12.0 MiB, 3.0 MiB/s");
        assert!(figures(0, Some(0), Duration::ZERO).starts_with("0.0 MiB"));
        assert!(figures(9, Some(8), Duration::ZERO).contains("100 %"), "a file that grew");
    }
}
