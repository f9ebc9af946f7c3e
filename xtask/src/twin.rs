//! `cargo xtask twin`: makes images, and hands them over to the program `twin` of `tests/e2e`, which boots
//! them.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use cross::qemu::{self, QEMU, Qemu};
use cross::{Places, Profile};

use crate::cargo::{self, Program};
use crate::cross::{self as verb, Common};
use crate::demo;
use crate::image::{self, ForTwin, Kernel};
use crate::process::{self, Privilege};
use crate::setup;

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which story is told; `all` tells one after the other
    #[arg(long, value_enum, default_value_t = Tale::Job, value_name = "STORY")]
    story: Tale,
    /// Leave the twin running, and tell how to look around
    #[arg(long)]
    keep: bool,
    /// Remove twins and labs that were kept, and what killed ones left behind
    #[arg(long, conflicts_with = "keep")]
    clean: bool,
    /// The card's programs quicker to build, slower to run; and Debian's kernel, if no other is named
    #[arg(long)]
    quick: bool,
    /// Whose kernel; else our own, and with --quick Debian's for stories that it is enough for
    #[arg(long, value_enum, value_name = "KERNEL")]
    kernel: Option<Kernel>,
    /// Make the image once more from nothing, and fail if something else comes out
    #[arg(long)]
    twice: bool,
    /// Write the figures here; with `all`, into one file for each story, its name before the extension
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tale {
    /// The main job, after a boot
    Job,
    /// A newer version, after bad ones, and back
    Update,
    /// Versions that do not prove themselves
    Broken,
    /// nic-agent alone is replaced under traffic
    Agent,
    /// Three power cuts
    Power,
    /// A damaged data partition, a full ESP, parameters of nonsense
    Damage,
    /// A virtual function of igb, behind an IOMMU, is given to DPDK
    Igb,
    /// The firmware takes the installer from the network, to an empty disk; with our kernel only
    Network,
    /// All of them
    All,
}

/// The order of all: what fails fast comes first.
const ALL: [Tale; 8] =
    [Tale::Job, Tale::Igb, Tale::Network, Tale::Agent, Tale::Update, Tale::Damage, Tale::Power, Tale::Broken];

impl Tale {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whose kernel it cannot do without.
    fn kernel(self) -> Option<Kernel> {
        // An installer is made with ours only.
        matches!(self, Tale::Network | Tale::All).then_some(Kernel::Own)
    }

    /// The images that it wants beside the first one.
    fn images(self) -> &'static [Variant] {
        match self {
            Tale::Job | Tale::Igb | Tale::Network => &[],
            Tale::Agent | Tale::Update | Tale::Power | Tale::Damage => &[NEWER],
            Tale::Broken => &[PANICKING, FAILING],
            Tale::All => &[NEWER, PANICKING, FAILING],
        }
    }
}

/// An image like the first one, of a newer version.
#[derive(Debug, Clone, Copy)]
struct Variant {
    name: &'static str,
    /// By how much its version is newer.
    newer: u64,
    /// What is laid over its tree: a folder of `tests/e2e/images`.
    overlay: Option<&'static str>,
}

const NEWER: Variant = Variant { name: "newer", newer: 1, overlay: None };
const PANICKING: Variant = Variant { name: "panicking", newer: 2, overlay: Some("panicking") };
const FAILING: Variant = Variant { name: "failing", newer: 3, overlay: Some("failing") };

/// Debian's packages with what the machine that stands for a card is wired by.
const HOST_PACKAGES: &[&str] = &["ethtool", "fdisk", "iproute2", "mtools", "procps", "tcpdump"];

/// What the twin is driven by.
const PACKAGES: &[&str] = &["host-shim", "nicctl", "nic-traffic", "e2e"];

/// The program.
const TWIN: &str = "twin";
/// The image that is booted first, and in its folder what installs it.
const BASE: &str = "base";
const INSTALLER: &str = "install.efi";
/// What writes bundles.
const BUNDLER: &str = "nic-bundle";

/// The verb.
pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        return demo::needs_root("twin");
    }
    match run(arguments, privilege) {
        Ok(code) => code,
        Err(error) => verb::report(error.as_ref()),
    }
}

/// Makes the image and tells the short story, in a test; with `all` an image as it is shipped, twice, and all stories.
pub(crate) fn test(privilege: Privilege, all: bool) -> bool {
    let arguments = Arguments {
        story: if all { Tale::All } else { Tale::Job },
        keep: false,
        clean: false,
        quick: !all,
        kernel: None,
        twice: all,
        json: None,
        common: Common::for_tests(),
    };
    match run(&arguments, privilege) {
        Ok(code) => code == ExitCode::SUCCESS,
        Err(error) => verb::report(error.as_ref()) == ExitCode::SUCCESS,
    }
}

fn run(arguments: &Arguments, privilege: Privilege) -> Result<ExitCode, Box<dyn Error>> {
    let places = Places::of_repository()?;
    if arguments.common.update_lock {
        verb::update(&places, &[QEMU])?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.clean {
        let programs = build()?;
        return Ok(tell(privilege, &programs, &["--clean".into()]));
    }
    setup::tools(HOST_PACKAGES)?;
    let Qemu { folder: qemu, version } =
        qemu::provide(&places, arguments.common.options(Profile::Ci).policy)?;
    println!("twin: {version}");
    let images = places.target.join("twin");
    make_images(arguments, &images)?;
    let programs = build()?;
    let tales = if arguments.story == Tale::All { ALL.to_vec() } else { vec![arguments.story] };
    let mut failed = Vec::new();
    for &tale in &tales {
        if tale == Tale::Network && !images.join(BASE).join(INSTALLER).exists() {
            eprintln!("twin: network: an installer is made with our kernel only: --kernel own");
            failed.push(tale.name());
            continue;
        }
        let mut args: Vec<OsString> = vec!["--story".into(), tale.name().into()];
        args.extend(["--images".into(), images.clone().into(), "--qemu".into(), qemu.clone().into()]);
        args.extend(arguments.keep.then(|| "--keep".into()));
        if let Some(json) = &arguments.json {
            let json = std::path::absolute(json)?;
            let json = if tales.len() > 1 { json.with_extension(tale.name() + ".json") } else { json };
            args.extend(["--json".into(), json.into()]);
        }
        println!("\n== twin: {}", tale.name());
        if tell(privilege, &programs, &args) != ExitCode::SUCCESS {
            failed.push(tale.name());
        }
    }
    if !failed.is_empty() {
        eprintln!("twin: stories that did not hold: {}", failed.join(" "));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes the images of a story, each in a folder of its own.
fn make_images(arguments: &Arguments, folder: &Path) -> Result<(), Box<dyn Error>> {
    let first = ForTwin {
        common: arguments.common,
        kernel: arguments.kernel.or(arguments.story.kernel()),
        quick: arguments.quick,
        twice: arguments.twice,
        newer: 0,
        overlay: None,
    };
    for variant in arguments.story.images() {
        println!("twin: the image {:?} ...", variant.name);
        let overlay = variant.overlay.map(|name| cargo::root().join("tests/e2e/images").join(name));
        let image = ForTwin { twice: false, newer: variant.newer, overlay, ..first.clone() };
        lay_out(&image, &folder.join(variant.name))?;
    }
    // The one that is booted is made last: what is in the folder of images then is what one would expect.
    lay_out(&first, &folder.join(BASE))
}

/// Makes an image and copies what stories want of it to where the next one does not overwrite it.
fn lay_out(wanted: &ForTwin, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (image, release) = image::for_twin(wanted)?;
    std::fs::create_dir_all(folder)?;
    let copy = |from: &Path, to: PathBuf| {
        process::run(
            Command::new("cp").args(["-a", "-T", "--sparse=always", "--reflink=auto"]).arg(from).arg(to),
        )
    };
    let files = [
        (&image.disk, "disk.img"),
        (&image.root, "root.img"),
        (&image.uki, "uki.efi"),
        (&image.bundle, "slot.nicbundle"),
        (&image.description, "image.json"),
    ];
    let agent = image.agent.iter().map(|agent| (agent, "agent.nicbundle"));
    let install = image.install.iter().map(|install| (install, INSTALLER));
    // With another kernel there may be none this time.
    if folder.join(INSTALLER).exists() {
        std::fs::remove_file(folder.join(INSTALLER))?;
    }
    for (from, name) in files.into_iter().chain(agent).chain(install) {
        copy(from, folder.join(name))?;
    }
    let beside = folder.with_file_name("keys");
    if beside.exists() {
        std::fs::remove_dir_all(&beside)?;
    }
    copy(&release.keys, beside)?;
    Ok(copy(&release.program, folder.with_file_name(BUNDLER))?)
}

fn build() -> Result<Vec<Program>, Box<dyn Error>> {
    println!("twin: building what drives it");
    let mut selection = vec!["--bins"];
    selection.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    Ok(cargo::build(&selection)?)
}

/// Has the program tell one story.
fn tell(privilege: Privilege, programs: &[Program], args: &[OsString]) -> ExitCode {
    let twin = programs.iter().find(|program| !program.test && program.target == TWIN);
    let twin = twin.map_or(Path::new(TWIN), |program| &program.path);
    let mut command: Command = privilege.command(&twin.to_string_lossy());
    // It has said itself what was wrong.
    let done = process::run(command.args(args)).is_ok();
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
