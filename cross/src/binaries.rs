//! The build: everything that runs on a card, and what a host's administrator may want there.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TARGET;
use crate::board::Board;
use crate::packages::Policy;
use crate::places::{Places, PlacesError, alone};
use crate::process::{self, ProcessError};
use crate::sysroot::{self, Sysroot, SysrootError};
use crate::toolchain::{self, Choice, Toolchain, ToolchainError};

/// Debian's packages that this machine needs beside those of `cargo xtask setup`.
pub const HOST_PACKAGES: [&str; 2] = ["debian-archive-keyring", "gcc-aarch64-linux-gnu"];

/// What compiles C, links, and takes symbols away; all of one package.
const TOOLS: &str = "aarch64-linux-gnu-";
/// The program that packets go through, by crate and file.
const DATAPATH: &str = "nic-datapath";
/// Those that configure it.
const CONTROL: [&str; 3] = ["nic-agent", "nicctl", "host-shim"];
/// The E-Switch as a driver that other DPDK programs can load.
const DRIVER: (&str, &str) = ("net-eswitch", "libnet_eswitch.so");
/// What an ELF file for the cards says about its machine.
const AARCH64: u16 = 183;

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How much is optimised.
    pub profile: Profile,
    /// What to do where packages have moved.
    pub policy: Policy,
    /// Whose compiler.
    pub toolchain: Choice,
}

/// How much is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// As it is shipped: where packets go through, thin link-time optimisation over all crates.
    #[default]
    Release,
    /// As it is tested: quick to build, with debug assertions.
    Ci,
}

impl Profile {
    /// As cargo calls it, and the folder it uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Ci => "ci",
        }
    }

    /// The same of programs that no packet goes through: to optimise all that gRPC needs once more while linking
    /// would take longer than all else after a change of `nic-agent`.
    fn of_control(self) -> &'static str {
        match self {
            Self::Release => "control",
            Self::Ci => "ci",
        }
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products {
    /// Holds the files, without symbols.
    pub folder: PathBuf,
    /// `nic-datapath`.
    pub datapath: PathBuf,
    /// `nic-agent`.
    pub agent: PathBuf,
    /// `nicctl`.
    pub nicctl: PathBuf,
    /// `host-shim`.
    pub host_shim: PathBuf,
    /// `libnet_eswitch.so`, for DPDK programs other than nic-datapath, which has it inside.
    pub driver: PathBuf,
    /// Holds the symbols of each file, as `<file>.debug`.
    pub debug: PathBuf,
    /// The compiler, and why it was chosen.
    pub toolchain: String,
    /// Debian's version of the DPDK that this is linked to.
    pub dpdk: String,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Where to build.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The compiler.
    #[error("no Rust compiler")]
    Toolchain(#[from] ToolchainError),
    /// Headers and libraries.
    #[error("no headers and libraries")]
    Sysroot(#[from] SysrootError),
    /// The C compiler is not there.
    #[error("{TOOLS}gcc does not run; install gcc-aarch64-linux-gnu")]
    NoTools(#[source] ProcessError),
    /// A program failed, which has said why.
    #[error(transparent)]
    Failed(#[from] ProcessError),
    /// A file of the build.
    #[error("{path}")]
    Files {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// cargo built for another machine.
    #[error("{path} is not for aarch64")]
    OtherMachine {
        /// The file.
        path: PathBuf,
    },
}

/// Compiler, headers and libraries: all that it takes to run cargo for the cards.
#[derive(Debug)]
pub struct Kit {
    /// The compiler.
    pub toolchain: Toolchain,
    /// Headers and libraries.
    pub sysroot: Sysroot,
}

impl Kit {
    /// Fetches and unpacks what is not there.
    pub fn provide(places: &Places, options: &Options) -> Result<Self, BuildError> {
        let mut query = Command::new(format!("{TOOLS}gcc"));
        process::output(query.arg("--version")).map_err(BuildError::NoTools)?;
        let toolchain = toolchain::provide(places, options.toolchain, options.policy)?;
        let sysroot = sysroot::provide(places, options.policy)?;
        let link = sysroot_link(places);
        point(&link, &sysroot.folder).map_err(|source| BuildError::Files { path: link, source })?;
        Ok(Self { toolchain, sysroot })
    }

    /// Its cargo with a verb, at the repository's root, for a processor; every processor has its own target
    /// directory.
    pub fn cargo(&self, places: &Places, verb: &str, cpu: &str) -> Command {
        let sysroot = self.sysroot.folder.display().to_string();
        let libraries = self.sysroot.libraries();
        let libraries = libraries.display();
        let under = TARGET.replace('-', "_");
        let mut command = self.toolchain.cargo();
        command.args([verb, "--locked", "--target", TARGET]).current_dir(&places.root);
        command.env("CARGO_TARGET_DIR", target_folder(places, cpu));
        command.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(places, cpu).join("\u{1f}"));
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", format!("{TOOLS}gcc"));
        let runner = format!("qemu-aarch64-static -L {sysroot}");
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
        command.env(format!("CC_{under}"), format!("{TOOLS}gcc"));
        command.env(format!("CXX_{under}"), format!("{TOOLS}g++"));
        command.env(format!("AR_{under}"), format!("{TOOLS}ar"));
        let root = places.root.display();
        command.env(
            format!("CFLAGS_{under}"),
            format!(
                "--sysroot={sysroot} -mtune={cpu} -ffile-prefix-map={root}=/nic-agent \
                 -ffile-prefix-map={sysroot}=/sysroot"
            ),
        );
        command.env("PKG_CONFIG_ALLOW_CROSS", "1");
        command.env(format!("PKG_CONFIG_SYSROOT_DIR_{under}"), &sysroot);
        let folders = format!("{libraries}/pkgconfig:{sysroot}/usr/share/pkgconfig");
        command.env(format!("PKG_CONFIG_LIBDIR_{under}"), folders);
        let clang = format!("--target=aarch64-linux-gnu --sysroot={sysroot}");
        command.env(format!("BINDGEN_EXTRA_CLANG_ARGS_{under}"), clang);
        command
    }
}

fn target_folder(places: &Places, cpu: &str) -> PathBuf {
    places.target.join("cross").join(cpu)
}

/// By which the linker finds the sysroot. The sysroot's own path is another for every lock, and cargo compiles
/// everything anew when a flag changes; C code is given the path itself, so that what depends on it is built again.
fn sysroot_link(places: &Places) -> PathBuf {
    places.target.join("cross/sysroot")
}

/// Makes a link, or has it lead elsewhere.
fn point(link: &Path, to: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == to) {
        return Ok(());
    }
    fs::create_dir_all(link.parent().unwrap_or(link))?;
    let fresh = link.with_extension(std::process::id().to_string());
    std::os::unix::fs::symlink(to, &fresh)?;
    fs::rename(fresh, link)
}

/// What the Rust compiler is told: the same, byte by byte, comes out wherever the repository lies.
fn rust_flags(places: &Places, cpu: &str) -> Vec<String> {
    let mut flags = vec![format!("-Ctarget-cpu={cpu}")];
    let sysroot = sysroot_link(places);
    flags.push(format!("-Clink-arg=--sysroot={}", sysroot.display()));
    flags.push(format!("-Clink-arg=-Wl,-rpath-link={}", sysroot.join(sysroot::LIBRARIES).display()));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    // The last that fits is the one that counts, and the target directory may lie in the repository.
    let target = target_folder(places, cpu);
    for (from, to) in [(home, "/cargo"), (Some(places.root.clone()), "/nic-agent"), (Some(target), "/target")]
    {
        flags.extend(from.map(|from| format!("--remap-path-prefix={}={to}", from.display())));
    }
    flags
}

/// Builds for a board; boards with the same processor share what was built. What did not change is not built
/// again.
pub fn build(places: &Places, board: &Board, options: &Options) -> Result<Products, BuildError> {
    let kit = Kit::provide(places, options)?;
    println!("cross: compiler: {}", kit.toolchain);
    println!("cross: DPDK {}, for {} ({})", kit.sysroot.dpdk()?, board.title, board.cpu);
    let (profile, of_control) = (options.profile.name(), options.profile.of_control());
    let cargo = |profile: &str, kinds: &[&str], packages: &[&str]| {
        let mut command = kit.cargo(places, "build", &board.cpu);
        command.args(["--profile", profile]).args(kinds);
        process::run(command.args(packages.iter().flat_map(|package| ["--package", package])))
    };
    if profile == of_control {
        cargo(profile, &["--lib", "--bins"], &[&[DRIVER.0, DATAPATH], &CONTROL[..]].concat())?;
    } else {
        cargo(profile, &["--lib", "--bins"], &[DRIVER.0, DATAPATH])?;
        cargo(of_control, &["--bins"], &CONTROL)?;
    }
    let built = target_folder(places, &board.cpu).join(TARGET);
    let folder = target_folder(places, &board.cpu).join("products").join(profile);
    let debug = folder.join("debug");
    fs::create_dir_all(&debug).map_err(|source| BuildError::Files { path: debug.clone(), source })?;
    // Another build at the same time would take away what is written beside.
    let lock = folder.with_extension("lock");
    let _alone = alone(&lock).map_err(|source| BuildError::Files { path: lock.clone(), source })?;
    let product = |profile: &str, name: &str| finish(&built.join(profile).join(name), &folder, &debug);
    let [agent, nicctl, host_shim] = CONTROL.map(|name| product(of_control, name));
    Ok(Products {
        datapath: product(profile, DATAPATH)?,
        agent: agent?,
        nicctl: nicctl?,
        host_shim: host_shim?,
        driver: product(profile, DRIVER.1)?,
        folder,
        debug,
        toolchain: kit.toolchain.to_string(),
        dpdk: kit.sysroot.dpdk()?.to_owned(),
    })
}

/// Takes the symbols out of a file, unless that was done since it was built.
fn finish(built: &Path, folder: &Path, debug: &Path) -> Result<PathBuf, BuildError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| BuildError::Files { path, source }
    };
    if machine(built).map_err(failed(built))? != Some(AARCH64) {
        return Err(BuildError::OtherMachine { path: built.to_owned() });
    }
    let name = built.file_name().unwrap_or_default();
    let product = folder.join(name);
    let mut symbols = debug.join(name).into_os_string();
    symbols.push(".debug");
    if newer(&product, built) && newer(Path::new(&symbols), built) {
        return Ok(product);
    }
    let objcopy = || Command::new(format!("{TOOLS}objcopy"));
    process::output(objcopy().arg("--only-keep-debug").arg(built).arg(&symbols))?;
    // Written beside and renamed: a product is never half a product.
    let fresh = product.with_extension("new");
    let mut link = std::ffi::OsString::from("--add-gnu-debuglink=");
    link.push(&symbols);
    process::output(objcopy().arg("--strip-all").arg(link).arg(built).arg(&fresh))?;
    fs::rename(&fresh, &product).map_err(failed(&product))?;
    Ok(product)
}

/// Whether one file is there and not older than the other.
fn newer(product: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    time(product).is_some_and(|product| time(source).is_some_and(|source| product >= source))
}

/// The machine that an ELF file of 64 bits, little endian, is for.
fn machine(path: &Path) -> io::Result<Option<u16>> {
    let mut header = [0; 20];
    let mut file = fs::File::open(path)?;
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let elf = header[..6] == [0x7f, b'E', b'L', b'F', 2, 1];
    Ok(elf.then(|| u16::from_le_bytes([header[18], header[19]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kit() -> (Places, Kit) {
        let places =
            Places { root: "/repo".into(), cache: "/repo/.cache".into(), target: "/repo/target".into() };
        let toolchain = Toolchain {
            cargo: "/rust/bin/cargo".into(),
            rustc: "/rust/bin/rustc".into(),
            libraries: Some("/rust/lib".into()),
            version: "rustc 1.96.0".into(),
            origin: toolchain::Origin::DebianAsked,
        };
        (places, Kit { toolchain, sysroot: Sysroot { folder: "/sysroot-1".into(), packages: Vec::new() } })
    }

    #[test]
    fn cargo_is_told_compiler_linker_and_sysroot_by_its_environment() {
        let (places, kit) = kit();
        let command = kit.cargo(&places, "build", "cortex-a72");
        let text = |name: &str| {
            let value = command.get_envs().find(|(key, _)| *key == name).and_then(|(_, value)| value);
            value.unwrap_or_else(|| panic!("{name}")).to_string_lossy().into_owned()
        };
        assert_eq!(text("RUSTC"), "/rust/bin/rustc");
        assert_eq!(text("LD_LIBRARY_PATH").split(':').next(), Some("/rust/lib"));
        assert_eq!(text("CARGO_TARGET_DIR"), "/repo/target/cross/cortex-a72");
        assert_eq!(text("CC_aarch64_unknown_linux_gnu"), "aarch64-linux-gnu-gcc");
        assert!(
            text("CFLAGS_aarch64_unknown_linux_gnu").starts_with("--sysroot=/sysroot-1 -mtune=cortex-a72 ")
        );
        assert_eq!(text("PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu"), "/sysroot-1");
        let flags = text("CARGO_ENCODED_RUSTFLAGS");
        let flags: Vec<&str> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"-Ctarget-cpu=cortex-a72"), "{flags:?}");
        assert_eq!(flags.last(), Some(&"--remap-path-prefix=/repo/target/cross/cortex-a72=/target"));
        // Another sysroot alone does not change them: cargo would compile everything anew.
        assert!(!flags.iter().any(|flag| flag.contains("/sysroot-1")), "{flags:?}");
        assert!(flags.contains(&"-Clink-arg=--sysroot=/repo/target/cross/sysroot"), "{flags:?}");
        // What the user has set for this machine is not for the cards.
        assert!(command.get_envs().any(|(key, value)| key == "RUSTUP_TOOLCHAIN" && value.is_none()));
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder of our own");
        let link = folder.path().join("cross/sysroot");
        for to in ["/one", "/two", "/two"] {
            point(&link, Path::new(to)).expect("it can be made");
            assert_eq!(fs::read_link(&link).expect("it is a link"), Path::new(to));
        }
        assert_eq!(fs::read_dir(folder.path().join("cross")).expect("it is there").count(), 1);
    }

    #[test]
    fn files_of_other_machines_are_told_from_those_of_the_cards() {
        let folder = tempfile::tempdir().expect("a folder of our own");
        let path = folder.path().join("file");
        let mut elf = [0_u8; 64];
        elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        for (bytes, expected) in [(183_u16, Some(183)), (62, Some(62))] {
            elf[18..20].copy_from_slice(&bytes.to_le_bytes());
            fs::write(&path, elf).expect("it can be written");
            assert_eq!(machine(&path).expect("it is there"), expected);
        }
        for other in [&b"#!/bin/sh\n"[..], b"", &[0; 64]] {
            fs::write(&path, other).expect("it can be written");
            assert_eq!(machine(&path).expect("it is there"), None);
        }
        fs::write(&path, elf).expect("it can be written");
        let error = finish(&path, folder.path(), folder.path()).expect_err("it is for x86-64");
        assert!(matches!(error, BuildError::OtherMachine { .. }), "{error}");
    }
}
