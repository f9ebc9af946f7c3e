//! `cargo xtask test`: sets up, lints, builds, and runs every test; tells at the end what took how long.

mod programs;

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::cargo::{self, PROFILE, Program, cargo};
use crate::process::{self, Privilege};
use crate::{cross, demo, image, lint, setup, twin};
use programs::{Counts, How};

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting, clippy, rustdoc
    Lint,
    /// Every crate that needs neither DPDK nor root, and the style of the house
    Unit,
    /// All pure crates together against the oracle, in virtual time
    Sim,
    /// Examples in the documentation
    Doc,
    /// Whatever reads what a stranger wrote, against what a stranger may write
    Fuzz,
    /// Every order in which threads may do what they do, where they share without waiting
    Models,
    /// Every crate that drives DPDK
    Dpdk,
    /// The same with the address sanitizer; only with --all, or by name
    Asan,
    /// Foreign DPDK programs on our driver
    Conformance,
    /// Whole cards in network namespaces
    E2e,
    /// The demo
    Demo,
    /// The programs for aarch64; with --all also the tests of pure crates, emulated
    Cross,
    /// What there is for every card, made twice; only with --all, or by name
    Images,
    /// An image, booted in QEMU; with --all as it is shipped, and made twice
    Twin,
}

/// The order: what fails fast comes first.
const ALL: [Part; 14] = [
    Part::Lint,
    Part::Unit,
    Part::Sim,
    Part::Doc,
    Part::Fuzz,
    Part::Models,
    Part::Dpdk,
    Part::Asan,
    Part::Conformance,
    Part::E2e,
    Part::Demo,
    Part::Cross,
    Part::Images,
    Part::Twin,
];

/// How much more `--all` does.
const LONG: [(&str, &str); 7] = [
    ("NIC_AGENT_CASES", "200000"),
    ("NIC_AGENT_KILLS", "1000"),
    ("NIC_AGENT_ROUNDS", "5"),
    ("NIC_AGENT_RUNS", "300000"),
    ("NIC_AGENT_WORLDS", "2000"),
    ("PROPTEST_CASES", "4096"),
    ("LOOM_MAX_PREEMPTIONS", "4"),
];
/// Seconds of libFuzzer for each target, with `--all`.
const FUZZ_SECONDS: &str = "20";
/// Crates with `unsafe` code, and the one that calls most of it.
const UNSAFE: [&str; 6] = ["-p", "dpdk", "-p", "net-eswitch", "-p", "nic-offload"];

impl Part {
    /// Whether it runs programs of the one build.
    fn needs_build(self) -> bool {
        !matches!(self, Part::Lint | Part::Models | Part::Asan | Part::Cross | Part::Images | Part::Twin)
    }

    /// Whether a test program belongs to it.
    fn has(self, program: &Program) -> bool {
        let part = match program.package.as_str() {
            "sim" => Part::Sim,
            "nic-fuzz" => Part::Fuzz,
            "conformance" => Part::Conformance,
            "e2e" => Part::E2e,
            _ if program.default => Part::Unit,
            _ => Part::Dpdk,
        };
        program.test && part == self
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What a part, or the work before the parts, came to.
struct Outcome {
    name: String,
    ok: bool,
    counts: Counts,
    took: Duration,
}

/// The verb.
pub(crate) fn main(all: bool, parts: &[Part]) -> ExitCode {
    let mut outcomes = Vec::new();
    let start = Instant::now();
    if let Err(error) = setup::run() {
        error.report();
        return error.exit_code();
    }
    outcomes.push(Outcome {
        name: "setup".into(),
        ok: true,
        counts: Counts::default(),
        took: start.elapsed(),
    });
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        return demo::needs_root("test");
    }
    let usual = |part: &Part| parts.is_empty() && (all || !matches!(part, Part::Asan | Part::Images));
    let wanted: Vec<Part> = ALL.into_iter().filter(|part| usual(part) || parts.contains(part)).collect();
    let run = Run { all, privilege };
    // The build comes when the first part wants it: what fails without one fails sooner.
    let mut programs: Option<Vec<Program>> = None;
    for part in wanted {
        if part.needs_build() && programs.is_none() {
            let (outcome, built) = build();
            outcomes.push(outcome);
            programs = Some(built);
        }
        let programs = programs.as_deref().unwrap_or_default();
        if !part.needs_build() || !programs.is_empty() {
            outcomes.push(run.part(part, programs));
        }
    }
    summary(&outcomes)
}

/// The one build, and its programs: none if it failed.
fn build() -> (Outcome, Vec<Program>) {
    let start = Instant::now();
    headline("build", "once, for all that is run");
    let built = cargo::build(&["--workspace", "--features", cargo::FEATURES, "--lib", "--bins", "--tests"]);
    if let Err(error) = &built {
        eprintln!("build: {error}");
    }
    let ok = built.is_ok();
    let outcome = Outcome { name: "build".into(), ok, counts: Counts::default(), took: start.elapsed() };
    (outcome, built.unwrap_or_default())
}

struct Run {
    all: bool,
    privilege: Privilege,
}

impl Run {
    fn part(&self, part: Part, programs: &[Program]) -> Outcome {
        let about = part.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        headline(&part.to_string(), &about.unwrap_or_default());
        let start = Instant::now();
        let (ok, counts) = match part {
            Part::Lint => (tell(lint::run().err().unwrap_or_default()), Counts::default()),
            Part::Fuzz => self.fuzz(programs),
            Part::Models => self.models(),
            Part::Asan => self.asan(),
            Part::Doc => self.cargo_test(&["--profile", PROFILE, "--workspace", "--doc"]),
            Part::Demo => self.demo(programs),
            Part::Cross => (cross::test(self.all), Counts::default()),
            Part::Images => (image::test(), Counts::default()),
            Part::Twin => (twin::test(self.privilege, self.all), Counts::default()),
            Part::Unit | Part::Sim => self.programs(part, programs, How::Plain),
            Part::Dpdk => self.programs(part, programs, How::Root(self.privilege)),
            Part::Conformance | Part::E2e => self.programs(part, programs, How::RootOneByOne(self.privilege)),
        };
        Outcome { name: part.to_string(), ok, counts, took: start.elapsed() }
    }

    /// What the longer run adds to a test's environment.
    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        if self.all { &LONG } else { &[] }
    }

    fn programs(&self, part: Part, programs: &[Program], how: How) -> (bool, Counts) {
        let mut sum = Counts::default();
        let mut ok = true;
        for program in programs.iter().filter(|program| part.has(program)) {
            let counts = programs::run(program, how, self.environment());
            ok &= counts.ok;
            sum.add(counts);
        }
        (ok, sum)
    }

    /// The short run of every target, then libFuzzer on each if there is time.
    fn fuzz(&self, programs: &[Program]) -> (bool, Counts) {
        let (mut ok, counts) = self.programs(Part::Fuzz, programs, How::Plain);
        if self.all && ok {
            let mut command = Command::new("tests/fuzz/libfuzzer/run");
            command.current_dir(cargo::root()).args(["all", FUZZ_SECONDS]);
            ok = programs::quiet(&mut command).ok;
        }
        (ok, counts)
    }

    fn models(&self) -> (bool, Counts) {
        let target = match cargo::target_folder() {
            Ok(folder) => folder.join("loom"),
            Err(error) => return (tell([error]), Counts::default()),
        };
        let mut command = cargo(&["test", "--quiet", "--profile", PROFILE, "-p", "soft-eswitch", "--lib"]);
        command.arg("models").env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target);
        command.env("LOOM_MAX_PREEMPTIONS", "2").envs(self.environment().iter().copied());
        let counts = programs::quiet(&mut command);
        (counts.ok, counts)
    }

    /// The sanitizer's runtime is in the stable toolchain; its switch is not. DPDK and the standard library are as they
    /// are: what they do with memory that they allocated is not seen, but for leaks.
    fn asan(&self) -> (bool, Counts) {
        let flags = [("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")];
        // Naming the target keeps the flags away from build scripts.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let selection = [&["--lib", "--tests", "--target", &target], &UNSAFE[..]].concat();
        match cargo::build_apart("asan", &flags, &selection) {
            Err(error) => (tell([error]), Counts::default()),
            Ok(programs) => self.programs(Part::Dpdk, &programs, How::Root(self.privilege)),
        }
    }

    fn cargo_test(&self, args: &[&str]) -> (bool, Counts) {
        let mut command = cargo(&["test", "--quiet"]);
        command.args(args).envs(self.environment().iter().copied());
        let counts = programs::quiet(&mut command);
        (counts.ok, counts)
    }

    fn demo(&self, programs: &[Program]) -> (bool, Counts) {
        let demo = demo::find(programs).unwrap_or_else(|| Path::new("demo").to_owned());
        let mut command: Command = self.privilege.command(&demo.to_string_lossy());
        (tell(process::run(&mut command).err()), Counts::default())
    }
}

fn tell<E: fmt::Display>(errors: impl IntoIterator<Item = E>) -> bool {
    let mut ok = true;
    for error in errors {
        eprintln!("{error}");
        ok = false;
    }
    ok
}

fn headline(name: &str, about: &str) {
    println!("\n== {name}: {about}");
}

/// The closing summary. Its last line is what programs read.
fn summary(outcomes: &[Outcome]) -> ExitCode {
    println!("\n{:<12} {:>7} {:>7} {:>8}  result", "part", "passed", "failed", "seconds");
    let mut sum = Counts::default();
    for outcome in outcomes {
        let Counts { passed, failed, .. } = outcome.counts;
        let verdict = if outcome.ok { "ok" } else { "FAILED" };
        let seconds = outcome.took.as_secs_f64();
        println!("{:<12} {passed:>7} {failed:>7} {seconds:>8.1}  {verdict}", outcome.name);
        sum.add(outcome.counts);
    }
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    println!("{:<12} {:>7} {:>7} {seconds:>8.1}\n", "all", sum.passed, sum.failed);
    let bad: Vec<&str> = outcomes.iter().filter(|it| !it.ok).map(|it| it.name.as_str()).collect();
    if !bad.is_empty() {
        println!("failed: {}", bad.join(", "));
    }
    // A part that failed as a whole is a failure, too, when no test of it says so.
    let failed = sum.failed.max(bad.len() as u64);
    println!("{} passed, {failed} failed", sum.passed);
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
