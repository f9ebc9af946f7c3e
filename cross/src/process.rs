//! Running other programs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("{program} does not run")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed ({status}){}{errors}", if errors.is_empty() { "" } else { ": " })]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, where it did not say it to the user.
        errors: String,
    },
}

/// Runs a command without input; its output goes where ours goes.
pub fn run(command: &mut Command) -> Result<(), ProcessError> {
    let status = command.stdin(Stdio::null()).status().map_err(|source| start(command, source))?;
    if status.success() {
        return Ok(());
    }
    Err(ProcessError::Failed { command: describe(command), status, errors: String::new() })
}

/// Runs a command without input and gives what it printed; what it says on
/// standard error becomes part of the failure.
pub fn output(command: &mut Command) -> Result<String, ProcessError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| start(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ProcessError::Failed { command: describe(command), status: output.status, errors })
}

/// The command as one would type it.
pub fn describe(command: &Command) -> String {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn start(command: &Command, source: io::Error) -> ProcessError {
    ProcessError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}
