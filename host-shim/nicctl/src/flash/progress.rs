//! What is told of a push while it goes on, on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::push::Told;
use crate::table::printable;

/// Time between two figures on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// Of a push that nobody sees, one line for each part of so many.
const PARTS: u64 = 10;

/// Tells how a push goes.
pub(super) struct Progress {
    total: u64,
    start: Instant,
    terminal: bool,
    /// When a figure was last drawn.
    drawn: Option<Instant>,
    /// Parts that were told.
    parts: u64,
}

impl Progress {
    pub(super) fn new(total: u64) -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress { total, start: Instant::now(), terminal, drawn: None, parts: 0 }
    }

    /// Nothing that goes wrong here is worth ending a push.
    pub(super) fn tell(&mut self, told: &Told) {
        let mut out = io::stderr().lock();
        let _ = match told {
            Told::Line(line) => self.clear().and_then(|()| writeln!(out, "card: {}", printable(line))),
            Told::Whole => {
                let line =
                    format!("the card has all of it after {:.1} s", self.start.elapsed().as_secs_f64());
                self.clear().and_then(|()| writeln!(out, "{line}"))
            }
            Told::Pushed(bytes) => self.pushed(*bytes),
        };
    }

    fn pushed(&mut self, bytes: u64) -> io::Result<()> {
        let mut out = io::stderr().lock();
        let line = figures(bytes, self.total, self.start.elapsed());
        if self.terminal {
            if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
                self.drawn = Some(Instant::now());
                write!(out, "\r\x1b[K{line}")?;
            }
            return out.flush();
        }
        let parts = u64::try_from(u128::from(bytes) * u128::from(PARTS) / u128::from(self.total.max(1)));
        let parts = parts.unwrap_or(PARTS);
        if parts > self.parts {
            self.parts = parts;
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// Takes the figure away from the line that comes.
    fn clear(&self) -> io::Result<()> {
        match self.drawn {
            Some(_) => write!(io::stderr().lock(), "\r\x1b[K"),
            None => Ok(()),
        }
    }
}

fn figures(bytes: u64, total: u64, elapsed: Duration) -> String {
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let percent = u128::from(bytes) * 100 / u128::from(total.max(1));
    let rate = mib(bytes) / elapsed.as_secs_f64().max(0.001);
    format!("pushed {percent:3} %: {:.1} of {:.1} MiB, {rate:.1} MiB/s", mib(bytes), mib(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_how_much_and_how_fast() {
        let line = figures(3 << 20, 12 << 20, Duration::from_secs(2));
        assert_eq!(line, "pushed  25 %: 3.0 of 12.0 MiB, 1.5 MiB/s");
        assert!(figures(0, 0, Duration::ZERO).starts_with("pushed   0 %"));
    }
}
