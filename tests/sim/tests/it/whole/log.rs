//! What happened in a run, in words; kept only for a run that somebody will read.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Log {
    on: bool,
}

impl Log {
    pub(crate) const fn new(on: bool) -> Log {
        Log { on }
    }

    /// Tells what happened at a card.
    pub(crate) fn say(&self, now: Duration, card: usize, what: fmt::Arguments<'_>) {
        if self.on {
            println!("{:>10.3} ms  card {card}  {what}", now.as_secs_f64() * 1e3);
        }
    }
}
