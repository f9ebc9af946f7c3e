//! Running other programs, as oneself or as root.

use std::error::Error;
use std::process::{Command, Stdio};

pub(crate) use cross::process::{ProcessError, describe, output, run};

/// An error with every cause, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
