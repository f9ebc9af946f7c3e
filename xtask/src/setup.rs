//! `cargo xtask setup`: everything that the build, the tests and the demo need
//! from the machine. Asks nothing, may be repeated, and does only what is missing.
//!
//! Three steps: system packages; hugepages, where the machine allows them (they
//! are faster, nothing needs them); and the driver headers of exactly the
//! installed DPDK, which Debian's package leaves out.

mod headers;
mod hugepages;
mod packages;

use std::process::ExitCode;

use crate::process::{self, Privilege};

/// Why the machine could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Packages are missing, and this process may not install them.
    #[error("packages are missing, and installing them takes root or a sudo that asks for no password")]
    NeedsRoot {
        /// What the user runs instead.
        command: String,
    },
    /// The packages did not install.
    #[error("system packages")]
    Packages(#[from] packages::PackagesError),
    /// The headers were not found.
    #[error("driver headers of DPDK")]
    Headers(#[from] headers::HeadersError),
}

impl SetupError {
    /// 77 where only the right to install is missing, as test harnesses have it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NeedsRoot { .. } => ExitCode::from(77),
            Self::Packages(_) | Self::Headers(_) => ExitCode::FAILURE,
        }
    }

    /// Tells the user, with every cause, and with what to do.
    pub(crate) fn report(&self) {
        eprintln!("setup failed: {}", process::with_causes(self));
        if let Self::NeedsRoot { command } = self {
            eprintln!("run this, then repeat:\n\n    {command}\n");
        }
    }
}

/// Sets the machine up; prints what it does.
pub(crate) fn run() -> Result<(), SetupError> {
    let privilege = Privilege::detect();
    packages::install(privilege, packages::PACKAGES)?;
    hugepages::reserve(privilege);
    headers::provide(privilege)?;
    println!("setup: done");
    Ok(())
}

/// Installs further packages, for verbs that most people never need.
pub(crate) fn tools(names: &[&'static str]) -> Result<(), SetupError> {
    packages::install(Privilege::detect(), names)
}

/// Sees to it that the driver headers of another DPDK than the installed one are there: a library for the
/// cards, by Debian's version of its package.
pub(crate) fn headers_of(package: &str) -> Result<(), SetupError> {
    Ok(headers::provide_of_package(package, Privilege::detect())?)
}

/// The verb.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            error.exit_code()
        }
    }
}
