//! Traffic in the lab, by the program `nic-traffic`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::client::number;
use crate::error::LabError;
use crate::{run, sweep};

/// A receiver that is ready.
#[derive(Debug)]
pub struct Receiver {
    command: String,
    child: Child,
    out: BufReader<ChildStdout>,
}

/// What a receiver of numbered packets got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Different packets that came.
    pub distinct: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came behind later ones.
    pub reordered: u64,
}

impl From<Value> for Received {
    fn from(value: Value) -> Received {
        let of = |name: &str| number(&value[name]);
        Received {
            distinct: of("distinct"),
            lost: of("lost"),
            duplicates: of("duplicates"),
            reordered: of("reordered"),
        }
    }
}

impl Receiver {
    /// Starts a receiver, and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Receiver, LabError> {
        sweep::stop_if_ending();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(run::start_error(&command))?;
        let out = child.stdout.take().map(BufReader::new);
        let mut receiver = match out {
            Some(out) => Receiver { command: run::describe(&command), child, out },
            None => return Err(run::start_error(&command)(std::io::Error::other("it has no output"))),
        };
        let line = receiver.line()?;
        if line.trim() == "ready" { Ok(receiver) } else { Err(receiver.unexpected(line, "it is not ready")) }
    }

    /// Waits for its end, and gives its result.
    pub fn finish(mut self) -> Result<Value, LabError> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| self.unexpected(line, &error.to_string()))
    }

    fn line(&mut self) -> Result<String, LabError> {
        let mut line = String::new();
        self.out.read_line(&mut line).map_err(LabError::io(format!("reading from {}", self.command)))?;
        Ok(line)
    }

    fn unexpected(&self, output: String, why: &str) -> LabError {
        LabError::Output { command: self.command.clone(), output, why: why.to_owned() }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
