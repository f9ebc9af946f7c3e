//! QEMU for the twin: Debian's of the backports, which has what the release's lacks (igb with SR-IOV), and the
//! firmware; unpacked in the cache and never installed, so that a machine that has another QEMU keeps it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{Architecture, PackagesError, Policy, Set};
use crate::places::Places;
use crate::process::{self, ProcessError};
use crate::unpacked::{self, Wanted};

/// QEMU for arm64 machines with its libraries, and UEFI for such a machine. Each part of QEMU is named: apt takes
/// from the backports only what is asked for from there.
pub const QEMU: Set<'static> = Set {
    name: "qemu",
    architecture: Architecture::Amd64,
    wanted: &[
        "qemu-efi-aarch64",
        "qemu-system-arm/bookworm-backports",
        "qemu-system-common/bookworm-backports",
        "qemu-system-data/bookworm-backports",
    ],
    keep: of_qemu,
};

/// Libraries, but for the C library's and what belongs to accounts.
fn of_qemu(name: &str) -> bool {
    let machine = ["libc6", "libgcc-s1", "libcrypt1", "libdb5.3"].contains(&name);
    let accounts = ["libpam", "libsemanage", "libsepol"].iter().any(|start| name.starts_with(start));
    let files = name.ends_with("-common") && name != "qemu-system-common" || name.ends_with("-data");
    let library = name.starts_with("lib") && !machine && !accounts && !files;
    library || name == "zlib1g" || name.starts_with("qemu-")
}

/// A QEMU that runs from a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The folder, as a system's root.
    pub folder: PathBuf,
    /// Its version, as it says it.
    pub version: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// Its packages.
    #[error("QEMU")]
    Packages(#[from] PackagesError),
    /// Its folder.
    #[error("QEMU, in the cache")]
    Files(#[from] io::Error),
    /// It does not run on this machine.
    #[error("QEMU, unpacked in the cache")]
    Run(#[from] ProcessError),
    /// It is for another kind of machine.
    #[error("Debian's QEMU is unpacked on x86_64 only")]
    Host,
}

/// Unpacks it, if it is not there.
pub fn provide(places: &Places, policy: Policy) -> Result<Qemu, QemuError> {
    if env::consts::ARCH != "x86_64" {
        return Err(QemuError::Host);
    }
    let wanted = Wanted { name: "qemu", what: "QEMU", sets: &[QEMU] };
    let (folder, _) = unpacked::provide::<QemuError>(places, &wanted, policy, |_| Ok(()))?;
    let version = process::output(command(&folder).arg("--version"))?;
    let version = version.lines().next().unwrap_or_default().to_owned();
    Ok(Qemu { folder, version })
}

/// The program for arm64 machines, with the libraries, the modules and the data of its folder.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(folder.join(PROGRAM));
    command.env("LD_LIBRARY_PATH", folder.join(LIBRARIES));
    command
}

/// Where the program is in the folder.
const PROGRAM: &str = "usr/bin/qemu-system-aarch64";
/// Where its libraries are.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_its_closure_the_c_library_and_what_asks_questions_are_left_out() {
        for name in ["qemu-system-arm", "qemu-system-common", "qemu-efi-aarch64", "libslirp0", "zlib1g"] {
            assert!(of_qemu(name), "{name}");
        }
        for name in ["libc6", "libcrypt1", "libpam0g", "libasound2-data", "debconf", "adduser", "passwd"] {
            assert!(!of_qemu(name), "{name}");
        }
    }
}
