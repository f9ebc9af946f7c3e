//! Running programs to their end.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::LabError;
use crate::sweep;

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

pub(crate) fn start_error(command: &Command) -> impl FnOnce(std::io::Error) -> LabError {
    let program = describe(command);
    move |source| LabError::Start { program, source }
}

/// Runs a command without input, and gives what came of it, whatever that is.
pub(crate) fn finish(command: &mut Command) -> Result<Output, LabError> {
    sweep::stop_if_ending();
    command.stdin(Stdio::null()).output().map_err(start_error(command))
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, LabError> {
    output_or(command, 0)
}

/// The same of one that may also end with another exit code.
pub(crate) fn output_or(command: &mut Command, code: i32) -> Result<String, LabError> {
    let output = finish(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() || output.status.code() == Some(code) {
        return Ok(text);
    }
    let output_text = format!("{text}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned();
    Err(LabError::Failed { command: describe(command), status: output.status, output: output_text })
}

/// A program of this repository: beside the one that runs, or beside the folder of its tests.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(&own);
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join(name)
}

/// Where cargo puts this repository's loadable driver when it builds tests.
pub(crate) fn libraries() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(&own);
    if folder.ends_with("deps") { folder.to_owned() } else { folder.join("deps") }
}
