//! Traffic in the lab, by the program `nic-traffic`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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

/// A sender that goes on until it is told to stop.
#[derive(Debug)]
pub struct Sender {
    command: String,
    child: Child,
    stop: Option<ChildStdin>,
    out: ChildStdout,
}

impl Sender {
    /// Starts a sender that stops when its input ends.
    pub(crate) fn start(mut command: Command) -> Result<Sender, LabError> {
        sweep::stop_if_ending();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(run::start_error(&command))?;
        let (stop, out) = (child.stdin.take(), child.stdout.take());
        let no_output = || std::io::Error::other("it has no output");
        let out = out.ok_or_else(no_output).map_err(run::start_error(&command))?;
        Ok(Sender { command: run::describe(&command), child, stop, out })
    }

    /// Stops it, and says how many packets it sent, of how many flows.
    pub fn stop(mut self) -> Result<(u64, u64), LabError> {
        drop(self.stop.take());
        let mut text = String::new();
        let read = self.out.read_to_string(&mut text);
        read.map_err(LabError::io(format!("reading from {}", self.command)))?;
        let told: Value = serde_json::from_str(&text).map_err(|error| LabError::Output {
            command: self.command.clone(),
            output: text.clone(),
            why: error.to_string(),
        })?;
        Ok((number(&told["sent"]), number(&told["flows"])))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
