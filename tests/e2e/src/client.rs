//! nicctl, run on the first host against the shim's socket, and what it prints.

use std::process::Command;

use serde_json::Value;

use crate::error::LabError;
use crate::{netns, run};

/// What nicctl answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its output.
    pub out: String,
    /// Its complaints.
    pub err: String,
}

/// nicctl at the shim's socket, for a thread of its own.
#[derive(Debug, Clone)]
pub struct Console {
    pub(crate) namespace: String,
    pub(crate) server: String,
}

impl Console {
    /// Runs nicctl to its end, whatever that is.
    pub fn nicctl(&self, args: &[&str]) -> Result<Answer, LabError> {
        call(&mut self.command(args))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = netns::within(&self.namespace, run::program("nicctl"));
        command.arg("--server").arg(&self.server).args(args);
        command
    }
}

/// Runs it to its end, whatever that is.
pub(crate) fn call(command: &mut Command) -> Result<Answer, LabError> {
    let output = run::finish(command)?;
    Ok(Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs it; it must succeed and print JSON.
pub(crate) fn json(command: &mut Command) -> Result<Value, LabError> {
    let text = run::output(command)?;
    serde_json::from_str(&text).map_err(|error| LabError::Output {
        command: run::describe(command),
        output: text,
        why: error.to_string(),
    })
}

/// A number of proto-JSON: 64-bit ones are texts, and a zero is left out.
pub fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// `nicctl stats -o json`.
#[derive(Debug, Clone)]
pub struct Stats(pub Value);

impl Stats {
    /// Packets that came to the slow path, from all ports.
    pub fn slow_path(&self) -> u64 {
        number(&self.0["slowPath"]["packets"])
    }

    /// Of these, the ones that were translated.
    pub fn upcalls(&self) -> u64 {
        number(&self.0["slowPath"]["upcalls"])
    }

    /// Packets that rules of the E-Switch forwarded.
    pub fn hardware(&self) -> u64 {
        number(&self.0["offload"]["packets"])
    }

    /// Rules ever created, destroyed, refused.
    pub fn rules(&self) -> (u64, u64, u64) {
        let offload = &self.0["offload"];
        let of = |name: &str| number(&offload[name]);
        (of("rulesCreated"), of("rulesDestroyed"), of("rulesRefused"))
    }

    /// A counter of one port, such as `hardwarePackets`.
    pub fn port(&self, device: &str, counter: &str) -> u64 {
        let ports = self.0["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        ports.iter().filter(|port| port["device"] == device).map(|port| number(&port[counter])).sum()
    }

    /// Packets from one port that were dropped for a reason.
    pub fn drops(&self, device: &str, reason: &str) -> u64 {
        let ports = self.0["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let drops = ports.iter().filter(|port| port["device"] == device);
        let drops = drops.flat_map(|port| port["drops"].as_array().map(Vec::as_slice).unwrap_or_default());
        drops.filter(|drop| drop["reason"] == reason).map(|drop| number(&drop["packets"])).sum()
    }

    /// Packets that were dropped, from all ports, for all reasons.
    pub fn all_drops(&self) -> u64 {
        let drops = self.0["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
        drops.iter().map(|drop| number(&drop["packets"])).sum()
    }
}
