//! `cargo xtask cross`: builds all that runs on a card, or runs the tests of pure crates as it would.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use cross::packages::{self, Policy, Set};
use cross::sysroot::{self, SYSROOT};
use cross::toolchain::{Choice, RUST, RUST_STD};
use cross::{Boards, Options, Places, Profile, binaries, emulated};

use crate::process;
use crate::setup::{self, SetupError};

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// For which board: bluefield2, bluefield3, stingray, generic
    #[arg(long, default_value = "generic", value_name = "BOARD")]
    board: String,
    /// Quicker to build, slower to run
    #[arg(long)]
    quick: bool,
    /// Run the tests of the pure crates under emulation, in place of building
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    common: Common,
}

/// What verbs that build for cards have in common.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Common {
    /// Whose Rust compiler
    #[arg(long, value_enum, default_value_t = Whose::Auto, value_name = "WHOSE")]
    toolchain: Whose,
    /// Take the versions that Debian has now into cross/packages.lock, and end
    #[arg(long, conflicts_with = "accept_moved")]
    pub(crate) update_lock: bool,
    /// Go on where Debian has other versions than cross/packages.lock
    #[arg(long)]
    accept_moved: bool,
}

/// Whose compiler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// The one that runs this if it has the target, else Debian's
    #[default]
    Auto,
    /// The one that runs this
    Own,
    /// Debian's, the same on every machine
    Debian,
}

impl Common {
    /// For tests: that Debian has moved on is told, and fails nothing. What is tested is this repository.
    pub(crate) fn for_tests() -> Self {
        Self { accept_moved: true, ..Self::default() }
    }

    /// As the library has it.
    pub(crate) fn options(self, profile: Profile) -> Options {
        let toolchain = match self.toolchain {
            Whose::Auto => Choice::Automatic,
            Whose::Own => Choice::Own,
            Whose::Debian => Choice::Debian,
        };
        let policy = if self.accept_moved { Policy::AcceptMoved } else { Policy::Locked };
        Options { profile, policy, toolchain }
    }
}

/// The sets of packages that this verb uses.
const SETS: [Set<'static>; 3] = [RUST, RUST_STD, SYSROOT];

/// The verb.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(error.as_ref()),
    }
}

/// Builds in a test; with `all` also runs the tests of the pure crates.
pub(crate) fn test(all: bool) -> bool {
    let common = Common::for_tests();
    let wanted = |test| Arguments { board: "generic".to_owned(), quick: true, test, common };
    let built = main(&wanted(false)) == ExitCode::SUCCESS;
    built && (!all || main(&wanted(true)) == ExitCode::SUCCESS)
}

/// Tells the user, with every cause.
pub(crate) fn report(error: &(dyn Error + 'static)) -> ExitCode {
    if let Some(error) = error.downcast_ref::<SetupError>() {
        error.report();
        return error.exit_code();
    }
    eprintln!("cross: {}", process::with_causes(error));
    ExitCode::FAILURE
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let places = Places::of_repository()?;
    if arguments.common.update_lock {
        return update(&places, &SETS);
    }
    let boards = Boards::built_in()?;
    let board = boards.get(&arguments.board)?;
    let profile = if arguments.quick { Profile::Ci } else { Profile::Release };
    let options = arguments.common.options(profile);
    prepare(&places, options.policy)?;
    let start = Instant::now();
    if arguments.test {
        setup::tools(&emulated::HOST_PACKAGES)?;
        emulated::test(&places, &options)?;
        println!("cross: tested in {:.0} s", start.elapsed().as_secs_f64());
        return Ok(());
    }
    let products = cross::build(&places, board, &options)?;
    println!("cross: built in {:.0} s; in {}:", start.elapsed().as_secs_f64(), products.folder.display());
    let files =
        [&products.datapath, &products.agent, &products.nicctl, &products.host_shim, &products.driver];
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("  {name:<18} {:>8.1} MB", std::fs::metadata(file)?.len() as f64 / 1e6);
    }
    Ok(())
}

/// Sees to it that this machine has what a build for cards needs, down to the headers of their DPDK.
pub(crate) fn prepare(places: &Places, policy: Policy) -> Result<(), Box<dyn Error>> {
    setup::run()?;
    setup::tools(&binaries::HOST_PACKAGES)?;
    let sysroot = sysroot::provide(places, policy)?;
    setup::headers_of(sysroot.dpdk()?)?;
    Ok(())
}

/// Writes the lock, and tells what is another.
pub(crate) fn update(places: &Places, sets: &[Set]) -> Result<(), Box<dyn Error>> {
    let changes = packages::update(places, sets)?;
    for line in &changes.lines {
        println!("  {line}");
    }
    println!("cross: {} changes in {}", changes.lines.len(), places.packages_lock().display());
    Ok(())
}
