//! What can go wrong in a lab.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a lab did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program could not be started.
    #[error("{program} does not start")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        output: String,
    },
    /// A file or a socket of the lab cannot be used.
    #[error("{what}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A process of the card has ended.
    #[error("{name} has ended ({status}); the last lines of its log:\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// How.
        status: ExitStatus,
        /// What it said last.
        log: Log,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {limit:?}; at last: {last}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// What was seen instead.
        last: String,
    },
    /// A program printed something else than was expected.
    #[error("`{command}` printed {output:?}: {why}")]
    Output {
        /// As one would type it.
        command: String,
        /// What it printed.
        output: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LabError {
    /// For `map_err` of something that is done to a file.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let what = what.into();
        move |source| LabError::Io { what, source }
    }
}

/// The end of a log.
#[derive(Debug)]
pub struct Log(pub String);

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().try_for_each(|line| writeln!(f, "  | {line}"))
    }
}
