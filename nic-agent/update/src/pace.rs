//! A sender that is too slow: whoever trickles a bundle would keep every other one out for ever.

use std::io::{self, Read};
use std::time::Duration;

use crate::medium::Card;

/// Time that any transfer has.
pub const GRACE: Duration = Duration::from_secs(60);
/// Octets a second that it must have brought beyond that.
pub const SLOWEST: u64 = 32 * 1024;

/// A transfer was given up because it was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only {received} octets came in {}s; at least {SLOWEST} a second must, after the first {}s",
    .after.as_secs(), GRACE.as_secs())]
pub struct TooSlow {
    /// Octets that came.
    pub received: u64,
    /// In so much time.
    pub after: Duration,
}

/// A source that must keep a pace.
pub(crate) struct Paced<'a> {
    source: &'a mut dyn Read,
    card: &'a dyn Card,
    started: Duration,
    received: u64,
}

impl<'a> Paced<'a> {
    pub(crate) fn new(source: &'a mut dyn Read, card: &'a dyn Card) -> Paced<'a> {
        Paced { source, card, started: card.elapsed(), received: 0 }
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.received += read as u64;
        let after = self.card.elapsed().saturating_sub(self.started);
        if after > GRACE + Duration::from_secs(self.received / SLOWEST) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, TooSlow { received: self.received, after }));
        }
        Ok(read)
    }
}
