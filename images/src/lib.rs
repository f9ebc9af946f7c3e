//! Makes what a card boots from: a root file system that proves itself, a kernel with the first file system
//! in one signed file, and a disk of both. [What an image is](../../../docs/images.md).
//!
//! | module | what it makes |
//! |---|---|
//! | `tree` | the root tree, of Debian's packages and our files, and its file system |
//! | `verity` | the tree of hashes behind it |
//! | `kernel`, `modules` | the kernel, ours or Debian's |
//! | `cpio`, `initramfs` | the first file system |
//! | `uki` | the one file for the firmware, signed |
//! | `disk` | the disk |
//! | `installer`, `vendor` | what the makers' boot loaders take: boot streams, FITs |
//! | `release` | updates of cards, signed |
//! | `sbom` | what all of it is made of |
//! | `step` | what did not change is not made again |
//!
//! It needs no root and no loop device: programs write into ordinary files. The same inputs make the same
//! octets, whoever makes them, and when.
//!
//! **May know:** `cross`: boards, packages; the recipes beside this crate; the programs that write file
//! systems. **May not know:** what our programs do, but for their command lines in the units.

#![forbid(unsafe_code)]

mod cpio;
mod disk;
mod error;
mod initramfs;
mod installer;
mod kernel;
mod modules;
mod parts;
mod recipe;
mod release;
mod sbom;
mod step;
mod tool;
mod tree;
mod uki;
mod vendor;
mod verity;

use std::fs;
use std::path::{Path, PathBuf};

use cross::board::ImageKind;
use cross::packages::{Architecture, Policy, Set};
use cross::{Board, Places};
use serde_json::json;

use step::Workshop;

pub use error::ImageError;
pub use kernel::Whose;
pub use nic_kernel::HOST_PACKAGES as KERNEL_HOST_PACKAGES;
pub use release::Release;
pub use tool::ToolError;
pub use uki::Signer;
pub use vendor::StreamKey;
pub use verity::{BLOCK, Verity, append as append_verity};

/// Debian's packages with the programs that make an image.
pub const HOST_PACKAGES: &[&str] = &[
    "binutils",
    "binutils-aarch64-linux-gnu",
    "cryptsetup-bin",
    "device-tree-compiler",
    "dpkg-dev",
    "e2fsprogs",
    "erofs-utils",
    "faketime",
    "fdisk",
    "kmod",
    "mtools",
    "openssl",
    "python3",
    "sbsigntool",
    "xz-utils",
    "zstd",
];

/// Whom an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A card in use: nobody has a shell, and nic.v1 is on a unix socket only.
    Ordinary,
    /// Tests: the console is a shell of root's, and nic.v1 is on the management interface, for everybody.
    Test,
}

impl Profile {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Ordinary => "ordinary",
            Profile::Test => "test",
        }
    }
}

/// Our programs, for the card.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `nic-datapath`.
    pub datapath: PathBuf,
    /// `nic-agent`.
    pub agent: PathBuf,
    /// `nicctl`.
    pub nicctl: PathBuf,
}

/// An image that is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where everything is.
    pub places: &'a Places,
    /// The board.
    pub board: &'a Board,
    /// Whom it is for.
    pub profile: Profile,
    /// Our programs.
    pub programs: &'a Programs,
    /// Whose kernel it has.
    pub kernel: Whose,
    /// Its version: three numbers.
    pub version: &'a str,
    /// The time that everything in it has, in seconds since 1970: also the earliest one that a card believes.
    pub epoch: u64,
    /// Parameters of the first boot, to be put on the ESP.
    pub parameters: Option<&'a Path>,
    /// A folder whose files come over the root tree's, last of all.
    pub overlay: Option<&'a Path>,
    /// Signs what the firmware loads.
    pub signer: &'a Signer,
    /// Signs updates.
    pub release: &'a Release,
    /// Signs boot streams.
    pub stream_key: &'a StreamKey,
    /// What to do where packages have moved.
    pub policy: Policy,
    /// Beside the image that is there, from nothing: to see whether the same comes out.
    pub anew: bool,
}

/// What was made for a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// All of it, by what it is, as `image.json` names it.
    pub files: Vec<(&'static str, PathBuf)>,
    /// The image, for a board that boots from a disk.
    pub image: Option<Image>,
    /// What opens the root file system.
    pub verity: Verity,
    /// All of this for programs, with hashes: `image.json`.
    pub description: PathBuf,
}

/// An image that a board boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The disk.
    pub disk: PathBuf,
    /// The root file system with its hashes, as it is on its partition.
    pub root: PathBuf,
    /// The signed UKI.
    pub uki: PathBuf,
    /// The update of a slot.
    pub bundle: PathBuf,
    /// The update of nic-agent alone, for a board that has updates.
    pub agent: Option<PathBuf>,
    /// What writes the disk to a machine whose firmware starts it, if the kernel is ours.
    pub install: Option<PathBuf>,
    /// What opens the root file system.
    pub verity: Verity,
    /// All of this for programs, with hashes: `image.json`.
    pub description: PathBuf,
}

/// What boots it.
const BOOT_SET: Set<'static> = Set {
    name: "image-boot",
    architecture: Architecture::Arm64,
    wanted: &["busybox-static", "systemd-boot-efi"],
    keep: |name| matches!(name, "busybox-static" | "systemd-boot-efi"),
};

/// Packages that others want for their scripts, which are not run, or for words that nobody uses here.
const LEFT_OUT: [&str; 21] = [
    "adduser",
    "apt",
    "debconf",
    "debianutils",
    "dpkg",
    "gpgv",
    "init-system-helpers",
    "libdb5.3",
    "libgdbm-compat4",
    "libgdbm6",
    "logsave",
    "lsb-base",
    "mawk",
    "ncurses-bin",
    "passwd",
    "rdma-core",
    "sysvinit-utils",
    "tar",
    "ucf",
    "usrmerge",
    "util-linux-extra",
];

/// Whether a package of the closure is used.
fn is_used(name: &str) -> bool {
    !LEFT_OUT.contains(&name) && !name.split('-').any(|part| part == "perl") && !name.starts_with("libperl")
}

/// The packages of the root file system, as they are locked.
fn root_set<'a>(name: &'a str, wanted: &'a [&'a str]) -> Set<'a> {
    Set { name, architecture: Architecture::Arm64, wanted, keep: is_used }
}

/// The names of what the root file system of a board is made of.
fn root_packages(places: &Places, board: &Board) -> Result<Vec<String>, ImageError> {
    let list = recipe::read(&recipes(places).join("rootfs/packages.list"))?;
    let own = recipe::lines(&list).map(|line| line.text.to_owned());
    let mut names: Vec<String> = own.chain(board.driver_packages()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn recipes(places: &Places) -> PathBuf {
    places.root.join("images")
}

/// Writes the packages that the images of these boards are made of into the lock; gives what changed.
///
/// # Errors
/// See [`ImageError`].
pub fn update_lock(places: &Places, boards: &[&Board]) -> Result<Vec<String>, ImageError> {
    let mut changed = cross::packages::update(places, &[kernel::DEBIAN, kernel::SOURCE, BOOT_SET])?.lines;
    for board in boards {
        let names = root_packages(places, board)?;
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let name = format!("image-root-{}", board.name);
        changed.extend(cross::packages::update(places, &[root_set(&name, &wanted)])?.lines);
    }
    Ok(changed)
}

/// Makes all that there is for a board, as far as it is not made already, and tells what it does.
///
/// # Errors
/// See [`ImageError`]. What was made before stays as it was, as far as it was not begun anew.
pub fn build(request: &Request<'_>) -> Result<Made, ImageError> {
    check_version(request.version)?;
    let folder = request.places.target.join("images").join(&request.board.name);
    let folder = if request.anew {
        let folder = folder.join(format!("{}-anew", request.profile.name()));
        step::remove(&folder)?;
        folder
    } else {
        folder.join(request.profile.name())
    };
    let shop = Workshop::new(folder)?;
    let kernel = kernel::take(request, &shop)?;
    let base = parts::base(request, &shop)?;
    let tree = parts::tree(request, &shop, &kernel, &base.made)?;
    let root = parts::root(request, &shop, &tree)?;
    let boot = parts::boot(request, &shop)?;
    let first = parts::initramfs(request, &shop, &kernel, &base.made, &boot.made)?;
    let mut files = vec![("root", root.path.clone())];
    let uefi = request.board.makes(ImageKind::Disk);
    let uefi = if uefi { Some(for_uefi(request, &shop, &kernel, &root, &boot, &first)?) } else { None };
    if let Some(Uefi { disk, uki, bundle }) = &uefi {
        files.extend([("uki", uki.path.clone()), ("disk", disk.path.clone()), ("bundle", bundle.clone())]);
        // Debian's kernel would need modules there.
        if !request.board.install.is_empty() && request.kernel == Whose::Own {
            let installer = parts::installer(request, &shop, disk, &boot.made)?;
            let program = parts::installing(request, &shop, &kernel, &boot.made, &installer)?;
            files.push(("install", program));
            if request.board.makes(ImageKind::Bfb) {
                files.push(("bfb", vendor::stream(request, &shop, &kernel, &installer)?));
            }
        }
    }
    if request.board.makes(ImageKind::Bundle) {
        files.push(("agent", release::agent(request, &shop)?));
    }
    if request.board.makes(ImageKind::Fit) {
        files.push(("fit", vendor::flat(request, &shop, &kernel, &root, &first)?));
    }
    let sources = sbom::Sources { kernel: &kernel, packages: [&base, &boot] };
    files.push(("sbom", sbom::write(request, &shop, &sources)?));
    release::remove_others(&shop, &files.iter().map(|(_, path)| &**path).collect::<Vec<_>>())?;
    let description = describe(request, &shop, &kernel.release, &root.verity, &files)?;
    let of = |kind| files.iter().find(|(name, _)| *name == kind).map(|(_, path)| path.clone());
    let image = uefi.map(|uefi| Image {
        disk: uefi.disk.path,
        root: root.path,
        uki: uefi.uki.path,
        bundle: uefi.bundle,
        agent: of("agent"),
        install: of("install"),
        verity: root.verity.clone(),
        description: description.clone(),
    });
    Ok(Made { files, image, verity: root.verity, description })
}

/// What UEFI boots, and its updates.
struct Uefi {
    disk: parts::Made,
    uki: parts::Made,
    bundle: PathBuf,
}

fn for_uefi(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &kernel::Kernel,
    root: &parts::Root,
    boot: &parts::Unpacked,
    first: &parts::Made,
) -> Result<Uefi, ImageError> {
    let uki = parts::uki(request, shop, kernel, root, &boot.made, first)?;
    let disk = parts::disk(request, shop, root, &uki, &boot.made)?;
    let bundle = release::slot(request, shop, root, &uki)?;
    Ok(Uefi { disk, uki, bundle })
}

/// Writes down what was made.
fn describe(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &str,
    verity: &Verity,
    files: &[(&str, PathBuf)],
) -> Result<PathBuf, ImageError> {
    let mut text = json!({
        "board": request.board.name,
        "profile": request.profile.name(),
        "version": request.version,
        "epoch": request.epoch,
        "kernel": kernel,
        "verity": verity.to_json(),
    });
    for (name, path) in files {
        let size = fs::metadata(path).map_err(ImageError::file("reading", path))?.len();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        text[*name] = json!({"file": file, "size": size, "sha256": step::sha256(path)?});
    }
    let path = shop.path("image.json");
    fs::write(&path, format!("{text:#}\n")).map_err(ImageError::file("writing", &path))?;
    Ok(path)
}

/// Boot loaders and updates sort by it, and it is part of a file's name: three numbers of 32 bits, so that
/// all have the same opinion which is the newer.
fn check_version(version: &str) -> Result<(), ImageError> {
    let number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    let fits = version.split('.').count() == 3 && version.split('.').all(number);
    if fits { Ok(()) } else { Err(ImageError::Version(version.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_perl_and_of_packages_scripts_is_in_an_image() {
        for out in ["perl", "perl-base", "perl-modules-5.36", "libperl5.36", "libtext-glob-perl", "debconf"] {
            assert!(!is_used(out), "{out}");
        }
        for used in ["systemd", "libc6", "librte-eal23", "libproperl"] {
            assert!(is_used(used), "{used}");
        }
    }

    #[test]
    fn a_version_is_three_numbers_and_has_no_sign_that_counts_boots() {
        for good in ["0.1.0", "0.1.1795294302", "4294967295.0.1"] {
            assert!(check_version(good).is_ok(), "{good:?}");
        }
        for bad in
            ["", "1", "1.2", "1.2.3.4", "1.2.3+3", "1.2.-3", "1.02.3", "../1", "1.2. 3", "1.2.4294967296"]
        {
            assert!(check_version(bad).is_err(), "{bad:?}");
        }
    }
}
