//! DPDK's source as Debian has it, for exactly the package that is installed or asked for.
//!
//! apt fetches and verifies it with source lists of our own in a folder of our
//! own, made from those of the system's lists that lead to Debian: the system's
//! own lists and state are not touched, and root is not needed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Privilege, ProcessError};

/// Why the source package could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// The installed DPDK is no Debian package.
    #[error("libdpdk-dev is not installed as a package")]
    NotInstalled(#[source] ProcessError),
    /// It is a package, but of another version than the build would use.
    #[error("libdpdk-dev is {package}, and pkg-config finds DPDK {version}")]
    OtherVersion { package: String, version: String },
    /// No list of the system leads to Debian.
    #[error("apt has no source list that leads to Debian")]
    NoLists,
    /// A file of our own could not be read or written.
    #[error("apt's files in {path}: {source}")]
    Files { path: PathBuf, source: io::Error },
    /// apt or dpkg failed.
    #[error("{0}")]
    Failed(#[from] ProcessError),
    /// apt brought no source description.
    #[error("apt-get source brought no .dsc file")]
    NoDescription,
}

/// Fetches and unpacks the source; gives its folder, patches applied.
pub(super) fn unpack(
    version: &str,
    package: Option<&str>,
    scratch: &Path,
    privilege: Privilege,
) -> Result<PathBuf, PackageError> {
    let package = package.map_or_else(installed, |package| Ok(package.to_owned()))?;
    if upstream_version(&package) != version {
        return Err(PackageError::OtherVersion { package, version: version.to_owned() });
    }
    let apt = Apt::new(&scratch.join("apt"))?;
    process::output(apt.get(privilege).arg("update"))?;
    let fetched = scratch.join("fetched");
    fs::create_dir_all(&fetched).map_err(|source| PackageError::Files { path: fetched.clone(), source })?;
    let wanted = format!("dpdk={package}");
    process::output(apt.get(privilege).args(["source", "--download-only", &wanted]).current_dir(&fetched))?;
    let description = description(&fetched)?;
    let tree = scratch.join("debian-source");
    // apt has verified the files against the signed lists.
    let mut extract = Command::new("dpkg-source");
    extract.args(["--no-check", "--extract"]).args([&description, &tree]);
    process::output(&mut extract)?;
    Ok(tree)
}

/// The version of the package that is installed.
fn installed() -> Result<String, PackageError> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Version}", "libdpdk-dev"]);
    process::output(&mut query).map_err(PackageError::NotInstalled)
}

/// The upstream part of a Debian version: `1:22.11.11-0+deb12u1` is 22.11.11.
pub(super) fn upstream_version(package: &str) -> &str {
    let without_epoch = package.split_once(':').map_or(package, |(_, rest)| rest);
    without_epoch.rsplit_once('-').map_or(without_epoch, |(upstream, _)| upstream)
}

fn description(folder: &Path) -> Result<PathBuf, PackageError> {
    let failed = |source| PackageError::Files { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "dsc") {
            return Ok(path);
        }
    }
    Err(PackageError::NoDescription)
}

/// apt with lists, state and cache of our own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self, PackageError> {
        let mut query = Command::new("apt-get");
        query.args(["indextargets", "--format", "$(ORIGIN)|$(SOURCESENTRY)", "Created-By: Packages"]);
        let files = list_files(&process::output(&mut query)?);
        if files.is_empty() {
            return Err(PackageError::NoLists);
        }
        for name in ["sources", "state/lists/partial", "cache/archives/partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|source| PackageError::Files { path, source })?;
        }
        for (number, from) in files.iter().enumerate() {
            let text = fs::read_to_string(from)
                .map_err(|source| PackageError::Files { path: from.clone(), source })?;
            let deb822 = from.extension().is_some_and(|extension| extension == "sources");
            let (name, text) = if deb822 {
                (format!("{number}.sources"), source_stanzas(&text))
            } else {
                (format!("{number}.list"), source_lines(&text))
            };
            let path = folder.join("sources").join(name);
            fs::write(&path, text).map_err(|source| PackageError::Files { path, source })?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn get(&self, privilege: Privilege) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").env("LC_ALL", "C.UTF-8");
        for (option, place) in [
            ("Dir::Etc::sourceparts", "sources"),
            ("Dir::State", "state"),
            ("Dir::State::lists", "state/lists"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(place).display()));
        }
        command.args(["-o", "Dir::Etc::sourcelist=/dev/null"]);
        if privilege == Privilege::Root {
            // apt's own user cannot write to our folders.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }
}

/// The source lists that lead to Debian, or may (apt knows the origin of a list
/// only once it has fetched it), from lines `origin|file:number`.
fn list_files(targets: &str) -> BTreeSet<PathBuf> {
    targets
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter(|(origin, _)| matches!(*origin, "Debian" | "$(ORIGIN)" | ""))
        .filter_map(|(_, entry)| entry.rsplit_once(':'))
        .map(|(file, _)| PathBuf::from(file))
        .collect()
}

/// The entries of a one-line list, for source packages.
fn source_lines(list: &str) -> String {
    list.lines()
        .filter_map(|line| line.trim_start().strip_prefix("deb"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .map(|rest| format!("deb-src{rest}\n"))
        .collect()
}

/// The stanzas of a deb822 list, for source packages.
fn source_stanzas(list: &str) -> String {
    list.lines()
        .map(|line| {
            let types = line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("types"));
            if types { "Types: deb-src\n".to_owned() } else { format!("{line}\n") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_version_is_found_in_debians() {
        for (package, upstream) in [
            ("22.11.11-0+deb12u1", "22.11.11"),
            ("1:23.11-1", "23.11"),
            ("24.11.1-1~bpo12+1", "24.11.1"),
            ("25.11", "25.11"),
        ] {
            assert_eq!(upstream_version(package), upstream);
        }
    }

    #[test]
    fn lists_of_other_origins_are_left_alone() {
        let targets = "Debian|/etc/apt/sources.list.d/debian.sources:1\n\
                       Debian|/etc/apt/sources.list.d/debian.sources:2\n\
                       Node Source|/etc/apt/sources.list.d/node.sources:1\n\
                       $(ORIGIN)|/etc/apt/sources.list:3\n";
        let files: Vec<_> = list_files(targets).into_iter().collect();
        let expected = ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn a_list_of_lines_becomes_one_for_sources() {
        let list = "# deb x\ndeb [arch=amd64] mirror bookworm main\ndeb-src mirror bookworm main\n";
        assert_eq!(source_lines(list), "deb-src [arch=amd64] mirror bookworm main\n");
    }

    #[test]
    fn a_list_of_stanzas_becomes_one_for_sources() {
        let list = "Types: deb\nURIs: mirror\nSigned-By: /key\n\ntypes: deb deb-src\nURIs: other\n";
        let expected = "Types: deb-src\nURIs: mirror\nSigned-By: /key\n\nTypes: deb-src\nURIs: other\n";
        assert_eq!(source_stanzas(list), expected);
    }
}
