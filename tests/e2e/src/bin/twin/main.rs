//! `twin`: boots images in QEMU, and tells what becomes of a card with them. `cargo xtask twin` builds all that
//! is needed and starts it as root. The exit status says whether the story held.
//!
//! | story | what happens |
//! |---|---|
//! | `job` | two VMs and a peer behind a VXLAN tunnel talk through it |
//! | `update` | bad bundles are refused; a newer version is installed, proves itself, and is taken back |
//! | `broken` | versions that do not come up, or do not forward, are left by the card itself |
//! | `agent` | nic-agent alone is replaced while packets cross the card |
//! | `power` | the power goes in the middle of an install, after an activation, in a first boot |
//! | `damage` | the data partition is garbage, the ESP full, the parameters nonsense |
//! | `network` | the firmware of a machine with an empty disk takes the installer from the network |
//! | `igb` | a virtual function of a card with SR-IOV is given to DPDK in nic-datapath, behind an IOMMU; two places talk through it |
//!
//! It knows what the library of this crate knows. Whatever it measures is measured on an emulated processor:
//! that things work, not how fast a card is.

#![forbid(unsafe_code)]

mod agent;
mod broken;
mod bundles;
mod card;
mod damage;
mod igb;
mod job;
mod network;
mod power;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use e2e::story::{self, Story};
use e2e::{Lab, LabError, Machine, PARAMETERS, Uplink, sweep};

use bundles::Images;

/// Boots images in QEMU and tells what becomes of a card with them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which story is told.
    #[arg(long, value_enum, default_value_t = Tale::Job)]
    story: Tale,
    /// The folder of images, by their names in the stories.
    #[arg(long, value_name = "DIR", required_unless_present = "clean")]
    images: Option<PathBuf>,
    /// QEMU's folder, as a system's root.
    #[arg(long, value_name = "DIR", required_unless_present = "clean")]
    qemu: Option<PathBuf>,
    /// Write the figures here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the twin running, and print commands to look around.
    #[arg(long)]
    keep: bool,
    /// Remove twins and labs that were kept, and what killed ones left behind; no story.
    #[arg(long)]
    clean: bool,
}

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tale {
    Job,
    Update,
    Broken,
    Agent,
    Power,
    Damage,
    Igb,
    Network,
}

/// What every story begins with.
struct Stage {
    images: Images,
    machine: Machine,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (false, Some(images), Some(qemu)) = (arguments.clean, &arguments.images, &arguments.qemu) else {
        let removed = sweep::abandoned();
        println!("removed {}: {}", removed.len(), removed.join(", "));
        return ExitCode::SUCCESS;
    };
    let images = Images::new(images.clone());
    let machine = Machine {
        disk: images.disk(),
        qemu: qemu.clone(),
        parameters: PARAMETERS.to_owned(),
        uplink: if arguments.story == Tale::Igb { Uplink::Igb } else { Uplink::Virtio },
        network: (arguments.story == Tale::Network).then(|| images.file("base", "install.efi")),
        keep: arguments.keep,
    };
    story::exit_code("twin", run(&arguments, &Stage { images, machine }))
}

fn run(arguments: &Arguments, stage: &Stage) -> Result<bool, LabError> {
    let start = Instant::now();
    println!("nic-agent: the image {} on an emulated card", stage.machine.disk.display());
    let mut story = Story::new();
    let mut lab = Lab::assemble(stage.machine.clone())?;
    let (lab_, story_) = (&mut lab, &mut story);
    let told = match arguments.story {
        Tale::Job => job::tell(lab_, story_),
        Tale::Update => update::tell(lab_, story_, &stage.images),
        Tale::Broken => broken::tell(lab_, story_, &stage.images),
        Tale::Agent => agent::tell(lab_, story_, &stage.images),
        Tale::Power => power::tell(lab_, story_, &stage.images),
        Tale::Damage => damage::tell(lab_, story_, &stage.images),
        Tale::Igb => igb::tell(lab_, story_),
        Tale::Network => network::tell(lab_, story_, &stage.images),
    };
    if told.is_err() || !story.held() {
        println!("\n{}\n--- console\n{}", lab.operators_view(), lab.console_tail());
    }
    if arguments.keep {
        job::invite(&lab);
    }
    told?;
    story.finish(start, arguments.json.as_deref())
}
