//! `cargo xtask demo`: sets up, builds, and hands over to the program `demo` of `tests/e2e`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::cargo::{self, BuildError, Program};
use crate::process::{self, Privilege};
use crate::setup;

/// What the demo runs, and what it is told by.
const PACKAGES: &[&str] = &["nic-datapath", "nic-agent", "host-shim", "nicctl", "nic-traffic", "e2e"];

/// The program.
const DEMO: &str = "demo";

/// The verb.
pub(crate) fn main(json: Option<PathBuf>, keep: bool, clean: bool) -> ExitCode {
    if let Err(error) = setup::run() {
        error.report();
        return error.exit_code();
    }
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        return needs_root("demo");
    }
    println!("demo: building; the first time takes some minutes");
    let start = Instant::now();
    let demo = match build() {
        Ok(demo) => demo,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("demo: built in {:.0} s\n", start.elapsed().as_secs_f64());
    let mut args = Vec::new();
    if let Some(json) = json {
        args.extend(["--json".into(), std::path::absolute(&json).unwrap_or(json).into_os_string()]);
    }
    args.extend(keep.then(|| "--keep".into()));
    args.extend(clean.then(|| "--clean".into()));
    let mut command: Command = privilege.command(&demo.to_string_lossy());
    match process::run(command.args(args)) {
        Ok(()) => ExitCode::SUCCESS,
        // It has said why.
        Err(_) => ExitCode::FAILURE,
    }
}

fn build() -> Result<PathBuf, BuildError> {
    let mut selection = vec!["--bins"];
    selection.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let programs = cargo::build(&selection)?;
    Ok(find(&programs).unwrap_or_default())
}

/// The demo among what was built.
pub(crate) fn find(programs: &[Program]) -> Option<PathBuf> {
    programs
        .iter()
        .find(|program| !program.test && program.target == DEMO)
        .map(|program| program.path.clone())
}

/// Tells the one command to run, and that nothing was done.
pub(crate) fn needs_root(verb: &str) -> ExitCode {
    eprintln!(
        "{verb} makes network namespaces, which takes root or a sudo that asks for no password\n\
         run this:\n\n    sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {verb}\n"
    );
    ExitCode::from(77)
}
