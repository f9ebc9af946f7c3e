//! `nicctl`: the command-line client of nic.v1, from the host or from anywhere that reaches the API.
//!
//! Every command is a call or two of the API; what it knows about a card, it asks. Its own are the
//! file format ([`files`]), tables for people ([`table`]) and exit codes for scripts ([`failure`]).
//!
//! **May know:** nic.v1 as `nic-proto` has it, and images as `nic-image-formats` has them. **May not know:**
//! how a card works inside; validation is the server's.

#![forbid(unsafe_code)]

mod apply;
pub mod arguments;
mod bfb;
mod client;
mod describe;
pub mod failure;
pub mod files;
mod flash;
mod flows;
pub mod import;
mod learned;
mod output;
mod read;
mod resource;
mod status;
mod system;
pub mod table;
mod top;
mod trace;
mod watch;

use std::io::Write;

use arguments::{Arguments, Command, Output};
use clap::CommandFactory;
pub use client::RequestId;
use failure::Failure;

/// Carries out one command line and writes its result to `out`.
///
/// # Errors
/// A [`Failure`], which knows how to be told and with which exit code.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { server, timeout, output, request_id, verbose, command } = arguments;
    // Some commands need no card.
    match command {
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "nicctl", &mut { out });
            return Ok(());
        }
        Command::Bfb { command } => return bfb::run(command, output, out),
        Command::Import(command) if command.print => return import::print(&command, out),
        _ => {}
    }
    let id = request_id.unwrap_or_else(RequestId::made);
    if verbose {
        writeln!(std::io::stderr(), "request id: {}", id.as_str())?;
    }
    if let Command::Flash(command) = command {
        // The card need not be there yet.
        let done = flash::run(command, timeout, &id, output, out).await;
        return done.map_err(|failure| failure.of_request(&id));
    }
    let client = client::Client::connect(&server, timeout, id.clone()).await?;
    carry_out(&client, command, output, out).await.map_err(|failure| failure.of_request(&id))
}

async fn carry_out(
    client: &client::Client,
    command: Command,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        Command::Apply(command) => apply::run(client, command, output, out).await,
        Command::Get { what } => resource::get(client, &what, output, out).await,
        Command::Describe { what } => describe::run(client, &what, output, out).await,
        Command::Watch(command) => watch::run(client, command, output, out).await,
        Command::Import(command) => import::apply(client, command, output, out).await,
        Command::Fdb(command) => learned::fdb(client, command, output, out).await,
        Command::Neighbors { network } => learned::neighbors(client, network, output, out).await,
        Command::Delete(command) => resource::delete(client, command, output, out).await,
        Command::Flows(command) => flows::run(client, command, output, out).await,
        Command::Trace(command) => trace::run(client, command, output, out).await,
        Command::Capabilities { unsupported } => read::capabilities(client, unsupported, output, out).await,
        Command::Stats => read::stats(client, output, out).await,
        Command::Top(command) => top::run(client, command, output, out).await,
        Command::System(command) => system::run(client, command, output, out).await,
        Command::Status => status::run(client, output, out).await,
        Command::Completion { .. } | Command::Flash(_) | Command::Bfb { .. } => Ok(()),
    }
}
