//! A Rust compiler with the standard library for the cards: the one that runs this where it has it (rustup's,
//! after `rustup target add`; or a distribution's), else Debian's, unpacked in the cache and never installed.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TARGET;
use crate::packages::{Architecture, PackagesError, Policy, Set};
use crate::places::{self, Places};
use crate::process::{self, ProcessError};
use crate::unpacked::{self, Wanted};

/// Debian's compiler, and what it needs that a machine may lack. The C library and the C compiler are this
/// machine's.
pub const RUST: Set<'static> = Set {
    name: "rust",
    architecture: Architecture::Amd64,
    wanted: &["cargo-web", "libstd-rust-web-dev", "rustc-web"],
    keep: of_rust,
};

/// The standard library for the cards: of its closure only itself, as the rest is for compilers that run there.
pub const RUST_STD: Set<'static> = Set {
    name: "rust-std",
    architecture: Architecture::Arm64,
    wanted: &["libstd-rust-web-dev"],
    keep: |name| name == "libstd-rust-web-dev",
};

/// Libraries, but for those that belong to the machine's own C compiler.
fn of_rust(name: &str) -> bool {
    let rust = ["cargo-web", "rustc-web", "libstd-rust-web-dev"].contains(&name);
    let of_c =
        ["libc6", "libgcc-s1", "libstdc++6", "libc-dev-bin", "libcrypt1", "libbinutils", "libgprofng0"];
    let of_gcc = ["libasan", "libatomic", "libcc1-", "libctf", "libgomp", "libitm", "liblsan", "libquadmath"];
    let of_gcc = of_gcc.iter().chain(&["libtsan", "libubsan", "libisl", "libmpc", "libmpfr", "libjansson"]);
    let other =
        name.ends_with("-dev") || of_c.contains(&name) || of_gcc.clone().any(|it| name.starts_with(it));
    rust || (name.starts_with("lib") && !other) || name == "zlib1g"
}

/// Which compiler is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The one that runs this if it can, else Debian's.
    #[default]
    Automatic,
    /// The one that runs this, or none.
    Own,
    /// Debian's: the same on every machine.
    Debian,
}

/// A compiler that can build for the cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Its cargo.
    pub cargo: PathBuf,
    /// Its compiler.
    pub rustc: PathBuf,
    /// Where its own libraries are, if the dynamic linker does not know.
    pub libraries: Option<PathBuf>,
    /// Its version, as it says it.
    pub version: String,
    /// Whose it is, and why it was chosen.
    pub origin: Origin,
}

/// Whose compiler it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The one that runs this.
    Own,
    /// Debian's, as it was asked for.
    DebianAsked,
    /// Debian's, as the one that runs this has no standard library for the cards.
    DebianInstead {
        /// The version of the one that runs this.
        of: String,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.version)?;
        match &self.origin {
            Origin::Own => write!(f, "the one that runs this: it has the standard library for {TARGET}"),
            Origin::DebianAsked => f.write_str("Debian's, as asked for"),
            Origin::DebianInstead { of } => {
                write!(
                    f,
                    "Debian's, as {of} has no standard library for {TARGET} (rustup target add {TARGET})"
                )
            }
        }
    }
}

/// Why there is no compiler.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// The one that runs this cannot, and no other may be taken.
    #[error(
        "{version} has no standard library for {TARGET}; run `rustup target add {TARGET}`, or do without --toolchain own"
    )]
    OwnLacksTarget {
        /// Its version.
        version: String,
    },
    /// The compiler that runs this says nothing about itself.
    #[error("the Rust compiler")]
    Rustc(#[source] ProcessError),
    /// Debian's compiler is for another kind of machine.
    #[error("Debian's compiler is unpacked on x86_64 only; run `rustup target add {TARGET}`")]
    Host,
    /// Its packages.
    #[error("Debian's Rust compiler")]
    Packages(#[from] PackagesError),
    /// Its folder.
    #[error("Debian's Rust compiler, in the cache")]
    Files(#[from] io::Error),
}

/// What a compiler says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rustc {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    /// It has the standard library for the cards.
    pub(crate) has_target: bool,
}

impl Rustc {
    /// The one that builds this: beside the cargo that runs it, else on the path.
    fn of_this_process() -> PathBuf {
        let beside = places::cargo().with_file_name("rustc");
        match env::var_os("RUSTC") {
            Some(named) => named.into(),
            None if beside.is_file() => beside,
            None => "rustc".into(),
        }
    }

    /// Asks it.
    pub(crate) fn ask(path: &Path) -> Result<Self, ToolchainError> {
        let ask =
            |args: &[&str]| process::output(Command::new(path).args(args)).map_err(ToolchainError::Rustc);
        let version = ask(&["--version"])?.trim().to_owned();
        // A compiler that does not know the target at all fails here.
        let library = ask(&["--print", "target-libdir", "--target", TARGET]).unwrap_or_default();
        Ok(Self { path: path.to_owned(), version, has_target: has_std(Path::new(library.trim())) })
    }
}

/// Whether a folder holds a standard library, not just the place for one.
fn has_std(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Whose compiler it will be.
pub(crate) fn choose(choice: Choice, own: &Rustc) -> Result<Origin, ToolchainError> {
    let version = || own.version.clone();
    match (choice, own.has_target) {
        (Choice::Automatic | Choice::Own, true) => Ok(Origin::Own),
        (Choice::Automatic, false) => Ok(Origin::DebianInstead { of: version() }),
        (Choice::Own, false) => Err(ToolchainError::OwnLacksTarget { version: version() }),
        (Choice::Debian, _) => Ok(Origin::DebianAsked),
    }
}

/// Provides the compiler.
pub fn provide(places: &Places, choice: Choice, policy: Policy) -> Result<Toolchain, ToolchainError> {
    let own = Rustc::ask(&Rustc::of_this_process())?;
    match choose(choice, &own)? {
        Origin::Own => Ok(Toolchain {
            cargo: places::cargo(),
            rustc: own.path,
            libraries: None,
            version: own.version,
            origin: Origin::Own,
        }),
        origin => debian(places, policy, origin),
    }
}

/// Unpacks Debian's, if it is not there.
fn debian(places: &Places, policy: Policy, origin: Origin) -> Result<Toolchain, ToolchainError> {
    if env::consts::ARCH != "x86_64" {
        return Err(ToolchainError::Host);
    }
    let wanted = Wanted { name: "rust", what: "Debian's Rust compiler", sets: &[RUST, RUST_STD] };
    let (folder, _) = unpacked::provide::<ToolchainError>(places, &wanted, policy, |_| Ok(()))?;
    let bin = folder.join("usr/bin");
    let libraries = folder.join("usr/lib/x86_64-linux-gnu");
    let rustc = bin.join("rustc");
    let mut query = Command::new(&rustc);
    query.arg("--version").env("LD_LIBRARY_PATH", &libraries);
    let version = process::output(&mut query).map_err(ToolchainError::Rustc)?.trim().to_owned();
    Ok(Toolchain { cargo: bin.join("cargo"), rustc, libraries: Some(libraries), version, origin })
}

impl Toolchain {
    /// Its cargo, with nothing of the environment that would have it use another compiler or other flags.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        for name in
            ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO"]
        {
            command.env_remove(name);
        }
        // What cargo tells the programs it runs about the crate they belong to is not about these.
        let of_xtask = env::vars_os().map(|(name, _)| name).filter(is_of_running_crate);
        for name in of_xtask {
            command.env_remove(name);
        }
        if let Some(folder) = &self.libraries {
            // What the user has there, such as libclang, is still found.
            let before = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            let others = env::split_paths(&before).filter(|other| !other.as_os_str().is_empty());
            let folders = std::iter::once(folder.clone()).chain(others);
            command.env("LD_LIBRARY_PATH", env::join_paths(folders).unwrap_or_else(|_| folder.into()));
        }
        command.env("RUSTC", &self.rustc);
        command
    }
}

fn is_of_running_crate(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A compiler that says what it is told to say.
    fn fake(folder: &Path, target_folder: Option<&Path>) -> PathBuf {
        let path = folder.join("rustc");
        let library = target_folder.map_or("exit 1".to_owned(), |it| format!("echo {}", it.display()));
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n--version) echo 'rustc 1.99.0 (fake)';;\n\
             '--print target-libdir --target {TARGET}') {library};;\n*) exit 2;;\nesac\n"
        );
        fs::write(&path, script).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        path
    }

    #[test]
    fn a_compiler_has_the_target_only_with_a_standard_library_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder of our own");
        let libraries = folder.path().join("lib");
        // Asked for a target that is not installed, a compiler names the folder where it would be.
        let ask = |target: Option<&Path>| Rustc::ask(&fake(folder.path(), target)).expect("it answers");
        assert!(!ask(Some(&libraries)).has_target);
        fs::create_dir(&libraries).expect("it is new");
        assert!(!ask(Some(&libraries)).has_target);
        fs::write(libraries.join("libstd-0123.rlib"), "").expect("it can be written");
        assert_eq!(ask(Some(&libraries)).version, "rustc 1.99.0 (fake)");
        assert!(ask(Some(&libraries)).has_target);
        assert!(!ask(None).has_target);
    }

    #[test]
    fn the_compiler_that_runs_this_is_taken_where_it_can_and_the_choice_is_told() {
        let own = |has_target| Rustc { path: "/rustc".into(), version: "rustc 1.95.0".into(), has_target };
        let toolchain = |origin| Toolchain {
            cargo: "/cargo".into(),
            rustc: "/rustc".into(),
            libraries: None,
            version: "rustc 1.96.0".into(),
            origin,
        };
        let told = |choice, has| choose(choice, &own(has)).map(|it| toolchain(it).to_string());
        let told = |choice, has| told(choice, has).unwrap_or_else(|error| error.to_string());
        assert!(told(Choice::Automatic, true).contains("the one that runs this"));
        assert!(told(Choice::Own, true).contains("the one that runs this"));
        let instead = told(Choice::Automatic, false);
        assert!(instead.contains("Debian's, as rustc 1.95.0 has no standard library"), "{instead}");
        assert!(instead.contains("rustup target add"), "{instead}");
        assert!(told(Choice::Own, false).contains("rustup target add"));
        assert!(told(Choice::Debian, true).contains("Debian's, as asked for"));
        assert!(told(Choice::Debian, false).contains("Debian's, as asked for"));
    }

    #[test]
    fn of_debians_closure_the_machines_own_c_libraries_are_left_out() {
        for name in
            ["rustc-web", "libllvm22", "libstd-rust-web-1.96", "libcurl4", "zlib1g", "libstd-rust-web-dev"]
        {
            assert!(of_rust(name), "{name}");
        }
        for name in ["libc6", "libgcc-s1", "libc6-dev", "gcc-12", "binutils", "libasan8", "linux-libc-dev"] {
            assert!(!of_rust(name), "{name}");
        }
    }
}
