//! Running test programs, and counting what they say.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::cargo::{self, Program};
use crate::process::{self, Privilege};

/// No test program may take longer; the longest takes a third of it.
const LIMIT_SECONDS: &str = "1500";

/// How a test program is run.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// As oneself; its output is shown if it fails.
    Plain,
    /// As root; its output is shown if it fails.
    Root(Privilege),
    /// As root, one test after the other, each shown as it runs.
    RootOneByOne(Privilege),
}

/// What test programs said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ok: bool,
}

impl Default for Counts {
    fn default() -> Self {
        Self { passed: 0, failed: 0, ok: true }
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ok &= other.ok;
    }

    /// Takes in `test result: ok. 3 passed; 0 failed; ...`.
    fn read(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let number = |word: &str| -> u64 {
            let before = rest.split(word).next().unwrap_or_default();
            before.split_whitespace().next_back().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        self.passed += number(" passed");
        self.failed += number(" failed");
    }
}

/// Runs a test program as `cargo test` would.
pub(super) fn run(program: &Program, how: How, environment: &[(&str, &str)]) -> Counts {
    let (mut command, live) = match how {
        How::Plain => (Command::new("env"), false),
        How::Root(privilege) => (privilege.command("env"), false),
        How::RootOneByOne(privilege) => (privilege.command("env"), true),
    };
    command.current_dir(&program.folder);
    command.arg(format!("CARGO={}", cargo::program().display()));
    command.arg(format!("CARGO_MANIFEST_DIR={}", program.folder.display()));
    command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
    command.args(["timeout", "--foreground", "--kill-after=20", LIMIT_SECONDS]).arg(&program.path);
    let name = format!("{} {}", program.package, program.target);
    let start = Instant::now();
    let counts = if live {
        command.args(["--test-threads=1", "--nocapture"]);
        counted(&mut command)
    } else {
        quiet(&mut command)
    };
    if counts.passed + counts.failed > 0 || !counts.ok {
        let verdict = if counts.ok { "ok" } else { "FAILED" };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{verdict:<7} {name:<28} {:>5} passed {:>4} failed {seconds:>7.1} s",
            counts.passed, counts.failed
        );
    }
    counts
}

/// Runs a command, shows its output as it comes, and counts the tests in it.
fn counted(command: &mut Command) -> Counts {
    let mut counts = Counts::default();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{}: {error}", process::describe(command));
            return Counts { ok: false, ..counts };
        }
    };
    let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        println!("{line}");
        counts.read(&line);
    }
    counts.ok = child.wait().is_ok_and(|status| status.success());
    counts
}

/// Runs a command, and shows its output only if it fails.
pub(super) fn quiet(command: &mut Command) -> Counts {
    let mut counts = Counts::default();
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().for_each(|line| counts.read(line));
            counts.ok = output.status.success();
            if !counts.ok {
                println!("{text}");
                eprintln!(
                    "{}\n{}: {}",
                    String::from_utf8_lossy(&output.stderr),
                    process::describe(command),
                    output.status
                );
            }
        }
        Err(error) => {
            eprintln!("{}: {error}", process::describe(command));
            counts.ok = false;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_over_all_programs_of_an_output() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            counts.read(line);
        }
        assert_eq!((counts.passed, counts.failed), (13, 2));
    }

    #[test]
    fn a_program_that_fails_or_is_not_there_is_a_failure() {
        assert!(counted(&mut Command::new("true")).ok);
        assert!(!counted(&mut Command::new("false")).ok);
        assert!(!counted(&mut Command::new("/nonexistent/program")).ok);
        assert!(!quiet(&mut Command::new("/nonexistent/program")).ok);
    }
}
