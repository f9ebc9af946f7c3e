//! Running other programs, as oneself or as root.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It could not be started.
    #[error("{program} does not run")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed ({status}){}{errors}", if errors.is_empty() { "" } else { ": " })]
    Failed { command: String, status: ExitStatus, errors: String },
}

/// How this process may act as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// It is root.
    Root,
    /// `sudo` asks for no password.
    Sudo,
    /// It may not.
    None,
}

impl Privilege {
    /// Finds out, without asking anybody.
    pub(crate) fn detect() -> Self {
        if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
            return Self::Root;
        }
        let sudo = Command::new("sudo")
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if sudo.is_ok_and(|status| status.success()) { Self::Sudo } else { Self::None }
    }

    /// A command that runs as root where that is allowed, else as oneself.
    pub(crate) fn command(self, program: &str) -> Command {
        match self {
            Self::Root | Self::None => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", program]);
                command
            }
        }
    }
}

/// Runs a command without input; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), ProcessError> {
    let status = command.stdin(Stdio::null()).status().map_err(|source| start(command, source))?;
    if status.success() {
        return Ok(());
    }
    Err(ProcessError::Failed { command: describe(command), status, errors: String::new() })
}

/// Runs a command without input and gives what it printed; what it says on
/// standard error becomes part of the failure.
pub(crate) fn output(command: &mut Command) -> Result<String, ProcessError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| start(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ProcessError::Failed { command: describe(command), status: output.status, errors })
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn start(command: &Command, source: io::Error) -> ProcessError {
    ProcessError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}
