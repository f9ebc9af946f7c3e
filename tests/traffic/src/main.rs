//! `nic-traffic`: traffic of which every packet is accounted for, for the demo and the tests.
//!
//! Each command does one thing in the network namespace that it runs in and prints one line of JSON.
//! A receiver prints the line `ready` first: what is sent from then on counts.
//!
//! **May know:** sockets. **May not know:** the card, or anything else of this repository.

#![forbid(unsafe_code)]

mod echo;
mod frames;
mod stream;
mod udp;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::Value;

#[derive(Debug, Parser)]
#[command(version, about = "Traffic of which every packet is accounted for")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send numbered UDP packets
    UdpSend {
        #[arg(long)]
        to: SocketAddr,
        /// The source address and port; the system's choice if not given.
        #[arg(long)]
        from: Option<SocketAddr>,
        #[arg(long)]
        count: u64,
        /// The first number.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Packets a second.
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        rate: u64,
        /// Octets of payload, at least the 16 of the number and the mark.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=9000))]
        size: u16,
        /// Send so many from one source port, and the next ones from the port behind it: each is a new
        /// flow. After 10000 ports it begins again.
        #[arg(long, requires = "from", value_parser = clap::value_parser!(u64).range(1..))]
        flow_length: Option<u64>,
        /// Stop before all are sent when the standard input ends.
        #[arg(long)]
        until_closed: bool,
    },
    /// Count numbered UDP packets until all have come, or none comes any more
    UdpReceive {
        #[arg(long)]
        listen: SocketAddr,
        /// Numbers 0 to this are expected.
        #[arg(long)]
        count: u64,
        /// Give up when nothing came for so long, once something has come.
        #[arg(long, default_value = "2", value_parser = seconds)]
        idle: Duration,
        /// Give up when nothing came at all.
        #[arg(long, default_value = "20", value_parser = seconds)]
        patience: Duration,
    },
    /// Send a stream of known bytes over TCP
    TcpSend {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        bytes: u64,
    },
    /// Receive one stream over TCP and check its bytes
    TcpReceive {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long, default_value = "20", value_parser = seconds)]
        patience: Duration,
    },
    /// Send ICMP or ICMPv6 echo requests and count the answers
    Ping {
        #[arg(long)]
        to: IpAddr,
        #[arg(long, default_value_t = 3)]
        count: u16,
        /// How long to wait for an answer.
        #[arg(long, default_value = "1", value_parser = seconds)]
        wait: Duration,
        /// Between an answer and the next request.
        #[arg(long, default_value = "0", value_parser = seconds)]
        pause: Duration,
    },
    /// Send Ethernet frames as they stand in a file, one a line in hexadecimal
    Frames {
        #[arg(long)]
        interface: String,
        #[arg(long)]
        file: PathBuf,
        /// How often to send the whole file.
        #[arg(long, default_value_t = 1)]
        times: u32,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Becomes true when the standard input has ended.
fn at_end_of_input() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    std::thread::spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        told.store(true, Ordering::Relaxed);
    });
    ended
}

/// Says that what is sent from now on is received.
fn ready() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()
}

fn run(command: Command) -> io::Result<Value> {
    match command {
        Command::UdpSend { to, from, count, first, rate, size, flow_length, until_closed } => {
            udp::send(&udp::Sending {
                to,
                from,
                numbers: first..first + count,
                rate,
                size: size.into(),
                flow_length,
                stop: if until_closed { at_end_of_input() } else { Arc::default() },
            })
        }
        Command::UdpReceive { listen, count, idle, patience } => udp::receive(listen, count, idle, patience),
        Command::TcpSend { to, bytes } => stream::send(to, bytes),
        Command::TcpReceive { listen, patience } => stream::receive(listen, patience),
        Command::Ping { to, count, wait, pause } => echo::ping(to, count, wait, pause),
        Command::Frames { interface, file, times } => frames::send(&interface, &file, times),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nic-traffic: {error}");
            ExitCode::FAILURE
        }
    }
}
