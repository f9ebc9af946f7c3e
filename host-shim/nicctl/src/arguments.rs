//! The command line.

mod system;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::RequestId;
use crate::top;

pub use system::{System, SystemCommand};

/// Configures and inspects a SmartNIC through nic.v1.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The API: unix:PATH (host-shim's socket on a host) or http://HOST:PORT.
    #[arg(
        long,
        global = true,
        env = "NICCTL_SERVER",
        default_value = "unix:/run/host-shim/nic.sock",
        value_name = "ADDRESS"
    )]
    pub server: String,
    /// How many seconds a call may take.
    #[arg(long, global = true, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub timeout: Duration,
    /// Tables for people, JSON or YAML for programs.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// What this command is called in the card's logs and in errors; made up if not given.
    #[arg(long, global = true, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// Say on standard error what this command is called in the card's logs.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the server failed, or an error that has no code of its own
  2  wrong command line
  3  invalid configuration or argument; every fault is listed with its field
  4  conflict: etag, apply set, still referenced, exists already, or out of room
  5  not found
  6  unavailable: no answer from the API, the card or its datapath in time
  7  not permitted
  8  not confirmed
  9  accepted, but not applied within --wait
  10 not as it should be: the card is not healthy (status), flows and rules
     differ (flows --audit), or what runs has not proven itself (system status --wait)
  11 flash: the card was reset, and does not run the new image";

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Table,
    /// Canonical proto-JSON.
    Json,
    /// The same as YAML; resources in the form that `apply` reads.
    Yaml,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the card's resources as they stand in files.
    Apply(Apply),
    /// Show resources.
    Get {
        /// `ports`, `bridges`, one as `ports/pf0`, or as two words: `port pf0`.
        #[arg(required = true, num_args = 1..=2, value_name = "RESOURCE")]
        what: Vec<String>,
    },
    /// Show all that is known of one resource: its spec, its conditions, and what refers to it.
    Describe {
        /// `ports/pf0`, or as two words: `port pf0`.
        #[arg(required = true, num_args = 1..=2, value_name = "RESOURCE")]
        what: Vec<String>,
    },
    /// Delete one resource.
    Delete(Delete),
    /// Follow the configuration: what there is, and then every change.
    Watch(Watch),
    /// Turn command lines that were typed for other switches into resources.
    Import(Import),
    /// Show or flush the MAC addresses that bridges know.
    Fdb(Fdb),
    /// Show the IP addresses whose MAC addresses are known or asked for.
    Neighbors {
        /// Only those of this Bridge or Vtep, such as `bridges/blue`.
        #[arg(long, value_name = "RESOURCE")]
        network: Option<String>,
    },
    /// Show or flush the flows that carry traffic now.
    Flows(Flows),
    /// Show what would happen to a packet, and why.
    Trace(Trace),
    /// Show what this card can do in hardware, and why not.
    Capabilities {
        /// Only what it cannot do.
        #[arg(long)]
        unsupported: bool,
    },
    /// Show counters.
    Stats,
    /// Update the card's own software, go back, reboot.
    System(System),
    /// Show what each port does now, and whose packets take the slow path's time.
    Top(Top),
    /// Show the state of the agent and its datapath.
    Status,
    /// Give a BlueField a new image through rshim, from its host or its BMC; its reset stops its traffic.
    Flash(Flash),
    /// Look into images for BlueField cards, or put ours over a site's own boot stream.
    Bfb {
        /// What to do.
        #[command(subcommand)]
        command: BfbCommand,
    },
    /// Print a script that completes nicctl's command lines in a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Follow the configuration.
#[derive(Debug, Args)]
pub struct Watch {
    /// Only resources of these kinds, such as `ports`.
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Go on behind the bookmark that this token came with, as `watch -o json` prints it.
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    pub resume: Option<Token>,
    /// End at the first bookmark: what there is, or what changed since the token.
    #[arg(long)]
    pub once: bool,
}

/// Show what each port does now.
#[derive(Debug, Args)]
pub struct Top {
    /// Seconds between two looks.
    #[arg(long, default_value = "1", value_parser = interval, value_name = "SECONDS")]
    pub interval: Duration,
    /// End after so many tables.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Give a BlueField a new image through rshim.
#[derive(Debug, Args)]
pub struct Flash {
    /// The directory of the card's rshim, such as /dev/rshim0.
    #[arg(long, value_name = "DIR")]
    pub rshim: PathBuf,
    /// A BFB: an overlay merged with the site's own default.bfb.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// What the card is to be told when it starts first, instead of what the image has.
    #[arg(long, value_name = "FILE")]
    pub bf_cfg: Option<PathBuf>,
    /// The public key (PEM, Ed25519) that must have signed the image.
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    pub key: Option<PathBuf>,
    /// Flash whatever it is: an image that nobody signed, or the maker's own.
    #[arg(long, conflicts_with = "key")]
    pub unsigned: bool,
    /// Ask the card at this address whether it is in service, and afterwards whether the new image answers.
    #[arg(long, value_name = "ADDRESS")]
    pub check: Option<String>,
    /// Reset the card even if it forwards, or if nobody knows.
    #[arg(long)]
    pub force: bool,
    /// Give up when the card takes nothing and says nothing for so many seconds.
    #[arg(long, default_value = "180", value_parser = seconds, value_name = "SECONDS")]
    pub stall: Duration,
    /// How many seconds the card may take from the last byte until it is ready, and then until it answers.
    #[arg(long, default_value = "1200", value_parser = seconds, value_name = "SECONDS")]
    pub boot_timeout: Duration,
    /// The most MiB that an image may have.
    #[arg(long, default_value = "1024", value_name = "MIB")]
    pub max_mib: u32,
}

/// What to do with images for BlueField cards.
#[derive(Debug, Subcommand)]
pub enum BfbCommand {
    /// Show what is in one; it is read whole, and has to be sound.
    Show {
        /// The BFB.
        #[arg(value_name = "IMAGE")]
        image: PathBuf,
    },
    /// Put an overlay over a site's own default.bfb: what comes out can be flashed.
    Merge {
        /// The overlay.
        #[arg(value_name = "OVERLAY")]
        overlay: PathBuf,
        /// The site's own boot stream, with the boot loader stages of the card's maker.
        #[arg(long, value_name = "DEFAULT")]
        over: PathBuf,
        /// Where the merged image goes.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// What the card is to be told when it starts first.
        #[arg(long, value_name = "FILE")]
        bf_cfg: Option<PathBuf>,
        /// The public key (PEM, Ed25519) that must have signed the overlay.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// A resume token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub Vec<u8>);

/// In whose language command lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// `ovs-ofctl add-flow`, and the `ovs-vsctl` lines that add the ports.
    OvsOfctl,
    /// `tc filter add ... flower`, and the `ip` lines that make VXLAN devices.
    Tc,
}

/// Turn command lines that were typed for other switches into resources.
#[derive(Debug, Args)]
pub struct Import {
    /// Whose command lines they are.
    #[arg(value_enum)]
    pub language: Language,
    /// A file, or - for standard input.
    #[arg(short, long, value_name = "FILE|-")]
    pub file: PathBuf,
    /// Which device a name in the lines means, such as `enp6s0f1=p0` or `vm1=pf0vf0`. May be repeated.
    #[arg(long = "device", value_name = "NAME=DEVICE", value_parser = device)]
    pub devices: Vec<NamedDevice>,
    /// Only print the resources, as a file that `apply` reads; no card is asked.
    #[arg(long, conflicts_with_all = ["apply_set", "prune", "dry_run", "yes", "wait"])]
    pub print: bool,
    /// The apply set that these resources belong to.
    #[arg(long, default_value = "import", value_name = "NAME")]
    pub apply_set: String,
    /// The plan and the change.
    #[command(flatten)]
    pub change: Change,
}

/// A name in imported lines, and its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDevice {
    /// The name.
    pub name: String,
    /// The device's stable name.
    pub device: String,
}

/// Show or flush the MAC addresses that bridges know.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Fdb {
    /// Only those of this Bridge.
    #[arg(long, value_name = "BRIDGE")]
    pub bridge: Option<String>,
    /// What else to do than show them.
    #[command(subcommand)]
    pub command: Option<FdbCommand>,
}

/// What else to do with MAC addresses.
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// Forget what was learned; it is learned again from the next frames.
    Flush {
        /// Only what this Bridge learned.
        #[arg(long, value_name = "BRIDGE")]
        bridge: Option<String>,
    },
}

/// Make the card's resources as they stand in files.
#[derive(Debug, Args)]
pub struct Apply {
    /// A file, a directory (its *.yaml, *.yml and *.json), or - for standard input. May be repeated.
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// The apply set that these resources belong to.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub apply_set: String,
    /// Take resources of other sets into this one.
    #[arg(long)]
    pub take_over: bool,
    /// The plan and the change.
    #[command(flatten)]
    pub change: Change,
}

/// How a change of many resources goes.
#[derive(Debug, Args)]
pub struct Change {
    /// Delete the members of the set that are not among the resources.
    #[arg(long)]
    pub prune: bool,
    /// Show the plan and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask. (Nobody is asked when standard input is not a terminal.)
    #[arg(short, long)]
    pub yes: bool,
    /// Return only when the datapath has applied the change, after at most so many seconds.
    #[arg(
        long,
        value_parser = seconds,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30",
        value_name = "SECONDS"
    )]
    pub wait: Option<Duration>,
}

/// Delete one resource.
#[derive(Debug, Args)]
pub struct Delete {
    /// `ports/pf0`, or as two words: `port pf0`.
    #[arg(required = true, num_args = 1..=2, value_name = "RESOURCE")]
    pub what: Vec<String>,
    /// Only if it has this etag.
    #[arg(long, default_value = "")]
    pub etag: String,
    /// As in apply.
    #[arg(
        long,
        value_parser = seconds,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30",
        value_name = "SECONDS"
    )]
    pub wait: Option<Duration>,
}

/// Show or flush the flows that carry traffic now.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Flows {
    /// Only flows that come in by this Port.
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Only flows that run there.
    #[arg(long, value_enum)]
    pub tier: Option<Tier>,
    /// Hold all flows against the rules of the E-Switch instead, and show what differs.
    #[arg(long, conflicts_with_all = ["port", "tier"])]
    pub audit: bool,
    /// Put right what can be: offer flows without their rule afresh, take out rules without a flow.
    #[arg(long, requires = "audit")]
    pub repair: bool,
    /// What else to do than show them.
    #[command(subcommand)]
    pub command: Option<FlowsCommand>,
}

/// What else to do with flows.
#[derive(Debug, Subcommand)]
pub enum FlowsCommand {
    /// Remove flows; the next packet of each is translated afresh.
    Flush {
        /// Only flows that come in by this Port.
        #[arg(long, value_name = "PORT")]
        port: Option<String>,
    },
}

/// Where a flow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// In the slow path.
    Software,
    /// In the E-Switch.
    Hardware,
}

/// Show what would happen to a packet, and why.
#[derive(Debug, Args)]
pub struct Trace {
    /// The Port by which the packet comes in.
    #[arg(long, value_name = "PORT")]
    pub in_port: String,
    /// The Ethernet frame in hexadecimal; spaces and colons are skipped.
    #[arg(long, value_name = "HEX", value_parser = hex, conflicts_with = "key", required_unless_present = "key")]
    pub packet: Option<Frame>,
    /// The packet's fields in OpenFlow text form, such as tcp,nw_src=10.10.1.5,tp_dst=80.
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
}

/// An Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

fn token(text: &str) -> Result<Token, String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    bytes.map(Token).map_err(|error| format!("not a token as watch prints it: {error}"))
}

fn device(text: &str) -> Result<NamedDevice, String> {
    match text.split_once('=') {
        Some((name, device)) if !name.is_empty() && !device.is_empty() => {
            Ok(NamedDevice { name: name.to_owned(), device: device.to_owned() })
        }
        _ => Err("not of the form NAME=DEVICE".into()),
    }
}

fn hex(text: &str) -> Result<Frame, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of digits".into());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(Frame).ok_or("not hexadecimal".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    if interval < top::SHORTEST {
        Err(format!("at least {} s", top::SHORTEST.as_secs_f64()))
    } else {
        Ok(interval)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn frames_are_read_with_or_without_separators() {
        assert_eq!(hex("02:00 aB"), Ok(Frame(vec![2, 0, 0xab])));
        assert!(hex("020").is_err());
        assert!(hex("0g").is_err());
        assert!(hex("0é").is_err());
    }
}
