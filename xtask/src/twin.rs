//! `cargo xtask twin`: makes an image, and hands it over to the program `twin` of `tests/e2e`, which boots
//! it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use cross::qemu::{self, QEMU, Qemu};
use cross::{Places, Profile};
use images::Image;

use crate::cargo;
use crate::cross::{self as verb, Common};
use crate::demo;
use crate::image;
use crate::process::{self, Privilege};
use crate::setup;

/// What the verb is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which story is told; `all` tells them one after the other
    #[arg(long, value_enum, default_value_t = Tale::Job, value_name = "STORY")]
    story: Tale,
    /// Leave the twin running, and tell how to look around
    #[arg(long)]
    keep: bool,
    /// Remove twins and labs that were kept, and what killed ones left behind
    #[arg(long, conflicts_with = "keep")]
    clean: bool,
    /// The card's programs quicker to build, slower to run
    #[arg(long)]
    quick: bool,
    /// Make the image once more from nothing, and fail if something else comes out
    #[arg(long)]
    twice: bool,
    /// Write the figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Debian's packages with what the machine that stands for a card is wired by.
const HOST_PACKAGES: &[&str] = &["iproute2", "mtools", "procps", "tcpdump"];

/// What the twin is driven by.
const PACKAGES: &[&str] = &["host-shim", "nicctl", "nic-traffic", "e2e"];

/// The program.
const TWIN: &str = "twin";

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tale {
    /// The main job, after a boot
    Job,
    All,
}

/// Copies what stories want of an image to where the next one does not overwrite it.
fn lay_out(image: &Image, folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let files = [
        (&image.disk, "disk.img"),
        (&image.root, "root.img"),
        (&image.uki, "uki.efi"),
        (&image.description, "image.json"),
    ];
    for (from, name) in files {
        process::run(
            Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(folder.join(name)),
        )?;
    }
    Ok(())
}

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

/// Makes the image twice and boots it, in a test.
pub(crate) fn test(privilege: Privilege) -> bool {
    let arguments = Arguments {
        story: Tale::Job,
        keep: false,
        clean: false,
        twice: true,
        quick: false,
        json: None,
        common: Common::default(),
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
    let mut args: Vec<std::ffi::OsString> = Vec::new();
    if arguments.clean {
        args.push("--clean".into());
    } else {
        setup::tools(HOST_PACKAGES)?;
        let Qemu { folder, version } = qemu::provide(&places, arguments.common.options(Profile::Ci).policy)?;
        println!("twin: {version}");
        args.extend(["--qemu".into(), folder.into_os_string()]);
        let image = image::for_twin(arguments.common, arguments.quick, arguments.twice)?;
        let folder = places.target.join("twin");
        lay_out(&image, &folder.join("base"))?;
        args.extend(["--images".into(), folder.into_os_string()]);
    }
    args.extend(arguments.keep.then(|| "--keep".into()));
    if let Some(json) = &arguments.json {
        args.extend(["--json".into(), std::path::absolute(json)?.into_os_string()]);
    }
    println!("twin: building what drives it");
    let mut selection = vec!["--bins"];
    selection.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let programs = cargo::build(&selection)?;
    let twin = programs.iter().find(|program| !program.test && program.target == TWIN);
    let twin = twin.map_or(Path::new(TWIN), |program| &program.path);
    let mut command: Command = privilege.command(&twin.to_string_lossy());
    // It has said itself what was wrong.
    let done = process::run(command.args(args)).is_ok();
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
