//! `nicctl`: the command-line client of nic.v1, from the host or from anywhere that reaches the API.
//!
//! Every command is a call or two of the API; what it knows about a card, it asks. Its own are the
//! file format ([`files`]), tables for people ([`table`]) and exit codes for scripts ([`failure`]).
//!
//! **May know:** nic.v1 as `nic-proto` has it. **May not know:** how a card works inside; validation is
//! the server's.

#![forbid(unsafe_code)]

mod apply;
pub mod arguments;
mod client;
pub mod failure;
pub mod files;
mod flows;
mod output;
mod read;
mod resource;
pub mod table;
mod trace;

use std::io::Write;

use arguments::{Arguments, Command};
use failure::Failure;

/// Carries out one command line and writes its result to `out`.
///
/// # Errors
/// A [`Failure`], which knows how to be told and with which exit code.
pub async fn run(arguments: Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Arguments { server, timeout, output, command } = arguments;
    let client = client::Client::connect(&server, timeout).await?;
    match command {
        Command::Apply(command) => apply::run(&client, command, output, out).await,
        Command::Get { what } => resource::get(&client, &what, output, out).await,
        Command::Delete(command) => resource::delete(&client, command, output, out).await,
        Command::Flows(command) => flows::run(&client, command, output, out).await,
        Command::Trace(command) => trace::run(&client, command, output, out).await,
        Command::Capabilities { unsupported } => read::capabilities(&client, unsupported, output, out).await,
        Command::Stats => read::stats(&client, output, out).await,
        Command::Status => read::status(&client, output, out).await,
    }
}
