//! `demo`: two VMs and a peer behind a VXLAN tunnel talk through the card, told with figures. `cargo xtask demo` builds all
//! that is needed and starts it as root. The exit status says whether the story held.
//!
//! It knows what the library of this crate knows.

#![forbid(unsafe_code)]

mod acts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use e2e::overlay::{Endpoint, Underlay};
use e2e::story::{self, Story};
use e2e::{Lab, LabError, Node, Options, sweep};

/// Shows two VMs and a peer talk through the card.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the lab running, and print commands to play with.
    #[arg(long)]
    keep: bool,
    /// Remove what demos and tests left behind that were killed, and labs that were kept; no story.
    #[arg(long)]
    clean: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.clean {
        let removed = sweep::abandoned();
        println!(
            "removed {} labs{}{}",
            removed.len(),
            if removed.is_empty() { "" } else { ": " },
            removed.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    story::exit_code("demo", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<bool, LabError> {
    let start = Instant::now();
    println!("nic-agent: two VMs, and a peer behind a VXLAN tunnel, on one card, without a card");
    let options = Options { ipv6: true, neighbours: false, keep: arguments.keep, ..Options::default() };
    let mut lab = Lab::start(options)?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    let mut story = Story::new();
    let told = acts::tell(&mut lab, &mut story);
    if told.is_err() || !story.held() {
        println!("\n{}", lab.operators_view());
    }
    if arguments.keep {
        invite(&lab);
    }
    told?;
    story.finish(start, arguments.json.as_deref())
}

/// Commands to play with.
fn invite(lab: &Lab) {
    let nicctl = lab.nicctl_command(&[]);
    let words: Vec<_> = nicctl.get_args().map(|word| word.to_string_lossy()).collect();
    // Without what ties a program to this process.
    let words: Vec<_> =
        words.iter().filter(|word| !["setpriv", "--pdeathsig", "KILL", "--"].contains(&&***word)).collect();
    let nicctl = format!("ip {}", words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let exec = |node| format!("ip netns exec {}", lab.namespace(node));
    let peer = Node::Wire.place().ipv4();
    println!("\nThe lab goes on. As root:");
    println!("  alias nicctl='{nicctl}'");
    println!("  nicctl flows; nicctl fdb; nicctl neighbors; nicctl stats; nicctl describe bridge blue");
    println!("  {} iperf3 --server --one-off --daemon", exec(Node::Wire));
    println!("  {} iperf3 --client {peer} --time 5", exec(Node::Host1));
    println!("  {} tcpdump -ni eth0", exec(Node::Host2));
    println!("  less {}/nic-datapath.log", lab.folder().display());
    println!("and at last:\n  cargo xtask demo --clean");
}
