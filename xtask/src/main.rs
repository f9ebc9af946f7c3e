//! The developer's verbs: `cargo xtask VERB`.
//!
//! It knows the repository's layout and the machine it runs on. Of the repository's crates it links only
//! those that are verbs themselves, so that it builds on a machine that has nothing else.

#![forbid(unsafe_code)]

mod cargo;
mod cross;
mod demo;
mod image;
mod lint;
mod process;
mod setup;
mod test;
mod twin;

use std::path::PathBuf;
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
    /// Formatting, clippy, rustdoc, style
    Lint,
    /// Sets up, lints, builds, and runs every test
    Test {
        /// Also what takes long: more cases, more worlds, libFuzzer, the address sanitizer
        #[arg(long)]
        all: bool,
        /// Only these parts
        #[arg(value_enum, value_name = "PART")]
        parts: Vec<test::Part>,
    },
    /// Sets up, builds, and shows two VMs and a peer talk through the card
    Demo {
        /// Write the figures here
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Leave the lab running, and print commands to play with
        #[arg(long)]
        keep: bool,
        /// Remove what demos and tests left behind that were killed, and labs that were kept
        #[arg(long, conflicts_with_all = ["json", "keep"])]
        clean: bool,
    },
    /// Builds all that runs on a card, for its processor
    Cross(cross::Arguments),
    /// Builds the image that a card boots from
    Image(image::Arguments),
    /// Builds an image, boots it in QEMU, and shows two VMs and a peer talk through it
    Twin(twin::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Setup => setup::main(),
        Verb::Lint => lint::main(),
        Verb::Test { all, parts } => test::main(all, &parts),
        Verb::Demo { json, keep, clean } => demo::main(json, keep, clean),
        Verb::Cross(arguments) => cross::main(&arguments),
        Verb::Image(arguments) => image::main(&arguments),
        Verb::Twin(arguments) => twin::main(&arguments),
    }
}
