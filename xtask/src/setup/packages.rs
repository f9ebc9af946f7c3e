//! Step one: system packages.

use std::process::Command;

use super::SetupError;
use crate::process::{self, Privilege, ProcessError};

/// What the build, the tests and the demo need, and for whom. Recommended packages are left out, so a
/// package that is only recommended by another is named here if it is needed.
pub(super) const PACKAGES: &[&str] = &[
    // To build: C compiler, DPDK with all its drivers, libclang for the bindings.
    "gcc",
    "libc6-dev",
    "pkg-config",
    "libclang-dev",
    "libdpdk-dev",
    "libbsd-dev",
    // To take headers from a source package.
    "dpkg-dev",
    "xz-utils",
    "ca-certificates",
    // To demonstrate and to test: namespaces, traffic, captures, golden packets,
    // and testpmd as a second user of our driver.
    "dpdk",
    "iproute2",
    "openvswitch-switch",
    "openvswitch-switch-dpdk",
    "ethtool",
    "iperf3",
    "procps",
    "python3-scapy",
    "tcpdump",
    // Readers of images that share no code with our writers, keys as their owners make them, and what proves a
    // root file system block by block.
    "cryptsetup-bin",
    "device-tree-compiler",
    "openssl",
    "u-boot-tools",
];

/// Why packages were not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesError {
    /// This is no Debian.
    #[error("this machine has no dpkg; on anything but Debian 12 or its kin, install by hand: {packages}")]
    NoDpkg {
        /// Their names at Debian.
        packages: String,
    },
    /// `apt-get` failed.
    #[error("apt-get failed")]
    Apt(#[source] ProcessError),
}

/// Installs what is missing of some packages.
pub(super) fn install(privilege: Privilege, wanted: &[&'static str]) -> Result<(), SetupError> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        println!("setup: packages: all {} are installed", wanted.len());
        return Ok(());
    }
    if privilege == Privilege::None {
        return Err(SetupError::NeedsRoot { command: by_hand(&missing) });
    }
    println!("setup: packages: installing {}", missing.join(" "));
    // Lists that cannot be fetched need not matter for what is missing.
    if let Err(error) = process::run(apt_get(privilege).arg("update")) {
        eprintln!("setup: packages: {error}; going on with the lists that are there");
    }
    let mut install = apt_get(privilege);
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    process::run(&mut install).map_err(PackagesError::Apt)?;
    Ok(())
}

/// Those of the packages that are not installed.
fn missing(wanted: &[&'static str]) -> Result<Vec<&'static str>, PackagesError> {
    // dpkg-query fails when it knows one of the names not at all, and prints the others.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .map_err(|_| PackagesError::NoDpkg { packages: wanted.join(" ") })?;
    Ok(not_installed(wanted, &String::from_utf8_lossy(&output.stdout)))
}

/// The packages that dpkg-query's lines do not say to be installed.
fn not_installed(wanted: &[&'static str], lines: &str) -> Vec<&'static str> {
    let installed = |name: &str| {
        lines.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name) && words.next() == Some("installed")
        })
    };
    wanted.iter().copied().filter(|name| !installed(name)).collect()
}

/// `apt-get` as root, asking nothing, waiting for another one to finish.
fn apt_get(privilege: Privilege) -> Command {
    let mut command = privilege.command("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// What the user types instead of us.
fn by_hand(missing: &[&str]) -> String {
    format!(
        "sudo sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
         --no-install-recommends {}'",
        missing.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dpkg-query's lines for all packages but one, which has `status`.
    fn lines(odd: &str, status: &str) -> String {
        PACKAGES
            .iter()
            .map(|name| format!("{name} {}\n", if *name == odd { status } else { "installed" }))
            .collect()
    }

    #[test]
    fn only_what_is_fully_installed_counts() {
        assert!(not_installed(PACKAGES, &lines("", "")).is_empty());
        for status in ["not-installed", "config-files", "half-configured", ""] {
            assert_eq!(not_installed(PACKAGES, &lines("dpdk", status)), ["dpdk"], "{status:?}");
        }
        assert_eq!(not_installed(PACKAGES, ""), PACKAGES);
    }

    #[test]
    fn a_longer_name_does_not_stand_for_a_shorter_one() {
        let text = lines("gcc", "").replace("gcc ", "gcc-12 installed");
        assert_eq!(not_installed(PACKAGES, &text), ["gcc"]);
    }

    #[test]
    fn the_command_for_the_user_is_one_line_that_asks_nothing() {
        let command = by_hand(&["gcc", "dpdk"]);
        assert!(command.starts_with("sudo sh -c '") && command.ends_with(" gcc dpdk'"), "{command}");
        assert!(command.contains("DEBIAN_FRONTEND=noninteractive"));
        assert_eq!(command.lines().count(), 1);
    }
}
