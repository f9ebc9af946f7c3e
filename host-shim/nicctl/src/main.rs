//! `nicctl`: see the library.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use nicctl::arguments::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // clap ends the process with status 2 on a wrong command line.
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let result = match nicctl::run(arguments, &mut out).await {
        Ok(()) => out.flush().map_err(Into::into),
        failure => failure,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                // Where even that cannot be written, the exit code has to do.
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
