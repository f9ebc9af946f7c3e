//! The command line of `system`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::seconds;

/// Update the card's own software, go back, reboot.
#[derive(Debug, Args)]
pub struct System {
    /// What to do.
    #[command(subcommand)]
    pub command: SystemCommand,
}

/// What to do with the card's own software.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Write an update bundle into the slot that does not run, or keep it if it is nic-agent alone. Traffic
    /// goes on.
    Install {
        /// The bundle, or - for standard input.
        #[arg(value_name = "FILE|-")]
        bundle: PathBuf,
        /// Have the next boot take it, too.
        #[arg(long)]
        activate: bool,
        /// And reboot at once: traffic stops until the card is up again.
        #[arg(long, requires = "activate")]
        reboot: bool,
        /// Do not ask. (Nobody is asked when standard input is not a terminal.)
        #[arg(short, long)]
        yes: bool,
    },
    /// Have the next boot take an installed version. Of nic-agent alone: at once, and traffic goes on.
    Activate {
        /// The version, as `status` shows it.
        #[arg(value_name = "VERSION")]
        version: String,
        /// Reboot at once: traffic stops until the card is up again.
        #[arg(long)]
        reboot: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Show what runs, what is in the other slot, and what the next boot takes.
    Status {
        /// Return only when what runs has proven itself, after at most so many seconds; a card that is away
        /// meanwhile may be rebooting.
        #[arg(
            long,
            value_parser = seconds,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "300",
            value_name = "SECONDS"
        )]
        wait: Option<Duration>,
    },
    /// Take nic-agent alone back, if it is activated; else go back to the version in the other slot, or take
    /// an activation back.
    Rollback {
        /// Show what it would mean and stop.
        #[arg(long)]
        dry_run: bool,
        /// Reboot at once: traffic stops until the card is up again.
        #[arg(long)]
        reboot: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Reboot the card: traffic stops until it is up again.
    Reboot {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Have the card forget its configuration at its next start.
    FactoryReset {
        /// Reboot at once: traffic stops until the card is up again.
        #[arg(long)]
        reboot: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}
