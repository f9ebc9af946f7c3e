//! Running the programs that make the parts.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

use cross::process::describe;

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("{program} does not run; `cargo xtask image` installs what it needs")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed ({status}): {errors}")]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it complained about.
        errors: String,
    },
}

/// A command of this builder: what it prints and makes depends on nothing of the user's.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    // Administrators' programs are not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").env("TZ", "UTC");
    command
}

/// Runs it to its end, and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| ToolError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(ToolError::Failed {
        command: describe(command),
        status: output.status,
        errors: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

/// The same of one that prints text.
pub(crate) fn text(command: &mut Command) -> Result<String, ToolError> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// The same of one whose output is of no interest.
pub(crate) fn run(command: &mut Command) -> Result<(), ToolError> {
    output(command).map(|_| ())
}
