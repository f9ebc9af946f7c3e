//! The developer's verbs: `cargo xtask VERB`.
//!
//! It knows the repository's layout and the machine it runs on. It links none of
//! the repository's crates, so that it builds on a machine that has nothing else.

mod process;
mod setup;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The developer's verbs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Installs all that the build, the tests and the demo need; safe to repeat
    Setup,
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Setup => setup::main(),
    }
}
