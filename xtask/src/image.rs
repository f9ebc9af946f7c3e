//! `cargo xtask image`: builds what runs on a card, and the image that it boots from.

use std::env;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::{Args, ValueEnum};
use cross::{Board, Boards, Options, Places, Profile};
use images::{Image, Made, Programs, Release, Request, Signer, StreamKey, Verity, Whose};

use crate::cargo;
use crate::cross::{self as verb, Common};
use crate::process::output;
use crate::setup;

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// For which board: bluefield2, bluefield3, stingray, generic
    #[arg(long, default_value = "generic", value_name = "BOARD")]
    board: String,
    /// Whose kernel; else our own, and with --quick Debian's for the board that it is enough for
    #[arg(long, value_enum, value_name = "KERNEL")]
    kernel: Option<Kernel>,
    /// Whom it is for
    #[arg(long, value_enum, default_value_t = For::Ordinary, value_name = "PROFILE")]
    profile: For,
    /// Our programs quicker to build, slower to run
    #[arg(long)]
    quick: bool,
    /// Its version: three numbers; else the first two of the workspace's and the commit's time in seconds
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Parameters of the first boot, to be put on the ESP
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// A folder whose files come over the root tree's, last of all
    #[arg(long, value_name = "FOLDER")]
    overlay: Option<PathBuf>,
    /// Sign with this key, in PEM; else with one for tests, which is made in the cache
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The key's certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Sign updates with the keys in this folder, as `nic-bundle keys` makes it; else with those for tests
    #[arg(long, value_name = "FOLDER")]
    bundle_keys: Option<PathBuf>,
    /// Sign boot streams with this Ed25519 key, in PEM; else with the one for tests
    #[arg(long, value_name = "FILE")]
    bfb_key: Option<PathBuf>,
    /// Make it once more from nothing, and fail if something else comes out
    #[arg(long)]
    twice: bool,
    #[command(flatten)]
    common: Common,
}

impl Arguments {
    /// What a board has if nothing else is said.
    fn new(board: &str, common: Common) -> Self {
        Self {
            board: board.to_owned(),
            kernel: None,
            profile: For::Ordinary,
            quick: false,
            version: None,
            parameters: None,
            overlay: None,
            key: None,
            cert: None,
            bundle_keys: None,
            bfb_key: None,
            twice: false,
            common,
        }
    }
}

/// Whose kernel an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian's source with a configuration for cards: a quarter of an hour on two idle cores, once
    Own,
    /// Debian's: nothing to compile, but it lacks drivers that cards need
    Debian,
}

impl Kernel {
    /// The one that was asked for, if the board can do with it.
    fn of(asked: Option<Kernel>, board: &Board, quick: bool) -> Result<Whose, ArgumentError> {
        // Whatever has a device of its own is a card.
        let card = !board.devices.pci.is_empty();
        match asked {
            Some(Kernel::Debian) if card => Err(ArgumentError::Kernel(board.title.clone())),
            Some(Kernel::Debian) => Ok(Whose::Debian),
            None if quick && !card => Ok(Whose::Debian),
            None | Some(Kernel::Own) => Ok(Whose::Own),
        }
    }
}

/// Whom an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum For {
    /// A card in use
    Ordinary,
    /// Tests: the console is a shell of root's, and the API is open to the management link
    Test,
}

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    /// The board boots otherwise.
    #[error("no disk image is made for {0}: it does not boot from one")]
    NoDisk(String),
    /// It would not come up.
    #[error("Debian's kernel lacks drivers that a {0} needs: leave --kernel out")]
    Kernel(String),
    /// What signs updates was not built.
    #[error("cargo did not say where it put nic-bundle")]
    NoBundler,
    /// A reader that shares no code with the writer does not take it.
    #[error("{0} is not what another reader expects: {1}")]
    ReadOtherwise(String, String),
    /// What was made again of the same is not the same.
    #[error("{0} has another hash when it is made again")]
    Differs(String),
    /// Nothing says which time the files of the image shall have.
    #[error("SOURCE_DATE_EPOCH is no number of seconds: {0:?}")]
    Epoch(String),
}

/// The verb.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => verb::report(error.as_ref()),
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let places = Places::of_repository()?;
    let boards = Boards::built_in()?;
    if arguments.common.update_lock {
        let all: Vec<&Board> = boards.iter().collect();
        for line in images::update_lock(&places, &all)? {
            println!("  {line}");
        }
        return Ok(());
    }
    let start = Instant::now();
    let made = make(arguments, &places, &boards)?;
    println!("image: done in {:.0} s; in {}:", start.elapsed().as_secs_f64(), place(&made.description));
    for file in made.files.iter().map(|(_, file)| file).chain([&made.description]) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("  {name:<44} {:>8.1} MB", on_disk(file)? as f64 / 1e6);
    }
    if arguments.key.is_none() {
        println!(
            "image: signed with the key for tests: a firmware that trusts it trusts everybody who has it"
        );
    }
    if arguments.bundle_keys.is_none() {
        println!(
            "image: updates are signed with the key for tests, and a card with this image takes no others"
        );
    }
    if arguments.profile == For::Test {
        println!("image: FOR TESTS: whoever has its console or its management link has the card");
    }
    Ok(())
}

fn place(file: &Path) -> String {
    file.parent().unwrap_or(file).display().to_string()
}

/// What a file takes on the disk: holes take nothing.
fn on_disk(file: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(file)?.blocks() * 512)
}

fn make(arguments: &Arguments, places: &Places, boards: &Boards) -> Result<Made, Box<dyn Error>> {
    let board = boards.get(&arguments.board)?;
    let kernel = Kernel::of(arguments.kernel, board, arguments.quick)?;
    let profile = if arguments.quick { Profile::Ci } else { Profile::Release };
    let options: Options = arguments.common.options(profile);
    verb::prepare(places, options.policy)?;
    setup::tools(images::HOST_PACKAGES)?;
    if kernel == Whose::Own {
        setup::tools(images::KERNEL_HOST_PACKAGES)?;
    }
    let release = release(arguments, places)?;
    let products = cross::build(places, board, &options)?;
    let programs = Programs { datapath: products.datapath, agent: products.agent, nicctl: products.nicctl };
    let epoch = epoch()?;
    let version = match &arguments.version {
        Some(version) => version.clone(),
        None => version_of(epoch),
    };
    let signer = match (&arguments.key, &arguments.cert) {
        (Some(key), Some(certificate)) => Signer { key: key.clone(), certificate: certificate.clone() },
        _ => Signer::for_tests(&places.cache)?,
    };
    let stream_key = match &arguments.bfb_key {
        Some(key) => StreamKey(key.clone()),
        None => StreamKey::for_tests(&places.cache)?,
    };
    let request = Request {
        places,
        board,
        profile: match arguments.profile {
            For::Ordinary => images::Profile::Ordinary,
            For::Test => images::Profile::Test,
        },
        programs: &programs,
        kernel,
        version: &version,
        epoch,
        parameters: arguments.parameters.as_deref(),
        overlay: arguments.overlay.as_deref(),
        signer: &signer,
        release: &release,
        stream_key: &stream_key,
        policy: options.policy,
        anew: false,
    };
    let made = images::build(&request)?;
    if arguments.twice {
        read_by_others(places, &made)?;
        println!("image: once more, from nothing");
        compare(&made, &images::build(&Request { anew: true, ..request })?)?;
    }
    Ok(made)
}

/// Builds what signs updates, and finds or makes its keys.
fn release(arguments: &Arguments, places: &Places) -> Result<Release, Box<dyn Error>> {
    println!("image: building what signs updates");
    let programs = cargo::build(&["--package", "nic-update", "--bin", "nic-bundle"])?;
    let program = programs.into_iter().find(|program| program.target == "nic-bundle");
    let program = program.ok_or(ArgumentError::NoBundler)?.path;
    Ok(match &arguments.bundle_keys {
        Some(keys) => Release { program, keys: keys.clone() },
        None => Release::for_tests(program, &places.cache)?,
    })
}

/// Has what was made read by programs that share no code with what made it.
fn read_by_others(places: &Places, made: &Made) -> Result<(), Box<dyn Error>> {
    let images = places.root.join("images");
    let Verity { root_hash, blocks, salt } = &made.verity;
    for (name, file) in &made.files {
        let mut command = Command::new("python3");
        match *name {
            "root" => {
                command.arg(images.join("tests/verity.py")).arg(file).arg(root_hash);
                command.arg(blocks.to_string()).arg(salt)
            }
            "bfb" => command.arg(images.join("formats/tests/read_bfb.py")).stdin(File::open(file)?),
            "fit" => command.arg(images.join("formats/tests/read_fit.py")).stdin(File::open(file)?),
            _ => continue,
        };
        let read = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        if !read.status.success() {
            let said = String::from_utf8_lossy(&read.stderr).trim().to_owned();
            return Err(ArgumentError::ReadOtherwise((*name).to_owned(), said).into());
        }
        println!("image: {name}: another reader finds it sound");
    }
    Ok(())
}

/// Holds two images against each other.
fn compare(made: &Made, again: &Made) -> Result<(), Box<dyn Error>> {
    for ((_, one), (_, other)) in made.files.iter().zip(&again.files) {
        let (hash, again) = (cross::packages::sha256(one)?, cross::packages::sha256(other)?);
        let name = one.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if hash != again {
            return Err(ArgumentError::Differs(name).into());
        }
        println!("image: {name}: {hash}, twice");
    }
    Ok(())
}

/// Makes what there is for every board, each twice, in a test; quickly, for the twin has what is shipped.
pub(crate) fn test() -> bool {
    let common = Common::for_tests();
    let make = |board: &str| main(&Arguments { quick: true, twice: true, ..Arguments::new(board, common) });
    match Boards::built_in() {
        Ok(boards) => boards.names().all(|board| make(board) == ExitCode::SUCCESS),
        Err(error) => verb::report(&error) == ExitCode::SUCCESS,
    }
}

/// An image that the twin boots.
#[derive(Debug, Clone)]
pub(crate) struct ForTwin {
    pub(crate) common: Common,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) quick: bool,
    pub(crate) twice: bool,
    /// By how much its version is newer than what the commit's would be.
    pub(crate) newer: u64,
    /// What is laid over its tree.
    pub(crate) overlay: Option<PathBuf>,
}

/// Makes an image that the twin boots, and says what signs updates of it.
pub(crate) fn for_twin(wanted: &ForTwin) -> Result<(Image, Release), Box<dyn Error>> {
    let version = match wanted.newer {
        0 => None,
        newer => Some(version_of(epoch()? + newer)),
    };
    let arguments = Arguments {
        kernel: wanted.kernel,
        profile: For::Test,
        quick: wanted.quick,
        version,
        overlay: wanted.overlay.clone(),
        twice: wanted.twice,
        ..Arguments::new("generic", wanted.common)
    };
    let places = Places::of_repository()?;
    let made = make(&arguments, &places, &Boards::built_in()?)?;
    let image = made.image.ok_or_else(|| ArgumentError::NoDisk(arguments.board.clone()))?;
    Ok((image, release(&arguments, &places)?))
}

/// The version of what was committed at that time.
fn version_of(epoch: u64) -> String {
    concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR")).to_owned()
        + &format!(".{epoch}")
}

/// The time of all files: SOURCE_DATE_EPOCH, or else the commit's.
fn epoch() -> Result<u64, Box<dyn Error>> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output(Command::new("git").current_dir(cargo::root()).args(["log", "-1", "--format=%ct"]))?,
    };
    let text = text.trim();
    Ok(text.parse().map_err(|_| ArgumentError::Epoch(text.to_owned()))?)
}
