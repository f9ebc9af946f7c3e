//! `cargo xtask lint`: everything that is wrong without running it.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::cargo::{FEATURES, cargo};
use crate::process::{self, ProcessError};
use crate::setup;

/// What is checked, by name. All of it uses one set of compiled dependencies.
fn steps() -> [(&'static str, Command); 3] {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    let clippy = ["clippy", "--workspace", "--features", FEATURES, "--all-targets", "--", "-D", "warnings"];
    [("format", cargo(&["fmt", "--all", "--check"])), ("clippy", cargo(&clippy)), ("documentation", doc)]
}

/// Checks all but the style, which is a test; goes on after a failure, to tell all of them at once.
pub(crate) fn run() -> Result<(), Vec<ProcessError>> {
    let mut errors = Vec::new();
    for (name, mut command) in steps() {
        let start = Instant::now();
        let result = process::run(&mut command);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("lint: {name}: {verdict}, {:.0} s", start.elapsed().as_secs_f64());
        errors.extend(result.err());
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The verb.
pub(crate) fn main() -> ExitCode {
    if let Err(error) = setup::run() {
        error.report();
        return error.exit_code();
    }
    let mut errors = run().err().unwrap_or_default();
    errors.extend(process::run(&mut cargo(&["test", "--quiet", "--package", "style"])).err());
    for error in &errors {
        eprintln!("lint: {error}");
    }
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
