//! apt with lists, state and cache of its own: it resolves as on a machine of another architecture on which
//! nothing is installed, and leaves the system's own lists and packages alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lock::{Archive, Entry};
use crate::packages::Architecture;
use crate::places::Places;
use crate::process::{self, ProcessError};

/// The release that everything is taken from.
const RELEASE: &str = "bookworm";
/// By which apt knows Debian's lists.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Downloads files, verified, with the system's settings of proxies.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// Why apt did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// It failed.
    #[error(transparent)]
    Failed(#[from] ProcessError),
    /// Its folder cannot be made.
    #[error("apt's files in {path}")]
    Files {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Debian's keys are not there.
    #[error("{KEYRING} is missing: install debian-archive-keyring")]
    NoKeyring,
    /// It printed something else than where package files are.
    #[error("apt says what cannot be read as a package file: {line:?}")]
    Line {
        /// What it said.
        line: String,
    },
}

/// apt, as on a machine of one architecture.
pub(crate) struct Apt {
    folder: PathBuf,
    architecture: Architecture,
    mirrors: Mirrors,
}

impl Apt {
    /// Makes its folder, in the cache.
    pub(crate) fn new(places: &Places, architecture: Architecture) -> Result<Self, AptError> {
        let mirrors = Mirrors::of_system();
        let folder = places.cache.join("apt").join(architecture.debian());
        let apt = Self { folder, architecture, mirrors };
        apt.prepare().map_err(|source| AptError::Files { path: apt.folder.clone(), source })?;
        Ok(apt)
    }

    fn prepare(&self) -> io::Result<()> {
        for name in ["state/lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        fs::write(self.folder.join("sources/debian.sources"), self.mirrors.sources())?;
        fs::write(self.folder.join("status"), "")
    }

    /// Fetches the lists of what the mirrors have now.
    pub(crate) fn update(&self) -> Result<(), AptError> {
        if !Path::new(KEYRING).is_file() {
            return Err(AptError::NoKeyring);
        }
        process::output(self.get().args(["--error-on=any", "update"]))?;
        Ok(())
    }

    /// What would be fetched to install this where nothing is installed: without what is only recommended.
    pub(crate) fn resolve(&self, wanted: &[String]) -> Result<Vec<Entry>, AptError> {
        let text = process::output(self.get().args(["--yes", "--print-uris", "install"]).args(wanted))?;
        let lines = text.lines().filter(|line| line.starts_with('\''));
        lines.map(|line| self.mirrors.entry(line).ok_or(AptError::Line { line: line.to_owned() })).collect()
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").env("LC_ALL", "C.UTF-8");
        for (option, place) in [
            ("Dir::State", "state"),
            ("Dir::State::lists", "state/lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourceparts", "sources"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(place).display()));
        }
        let architecture = self.architecture.debian();
        for option in [
            // Where caches are switched off, as in images of containers, every call would read all lists.
            "Dir::Cache::pkgcache=pkgcache.bin",
            "Dir::Cache::srcpkgcache=srcpkgcache.bin",
            "Dir::Etc::sourcelist=/dev/null",
            // The system's pins are about the system's packages.
            "Dir::Etc::preferences=/dev/null",
            "Dir::Etc::preferencesparts=/dev/null",
            "APT::Default-Release=",
            "APT::Install-Recommends=false",
            "APT::Install-Suggests=false",
            "Acquire::Languages=none",
            "Acquire::ForceHash=SHA256",
        ] {
            command.args(["-o", option]);
        }
        command.arg("-o").arg(format!("APT::Architecture={architecture}"));
        command.arg("-o").arg(format!("APT::Architectures::={architecture}"));
        command.args(unsandboxed());
        command
    }
}

/// apt's own user may not write to our folders; it is asked for only where root runs this.
fn unsandboxed() -> [&'static str; 2] {
    ["-o", "APT::Sandbox::User=root"]
}

/// Where Debian's archives are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrors(BTreeMap<Archive, String>);

impl Mirrors {
    /// Those that the system uses, else Debian's own.
    pub(crate) fn of_system() -> Self {
        let mut query = Command::new("apt-get");
        query.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]);
        Self::from_targets(&process::output(&mut query).unwrap_or_default())
    }

    /// From lines `origin|label|uri`.
    fn from_targets(text: &str) -> Self {
        let mut mirrors = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split('|');
            let (Some("Debian"), Some(label), Some(uri)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let archive = match label {
                "Debian" => Archive::Main,
                "Debian-Security" => Archive::Security,
                _ => continue,
            };
            mirrors.entry(archive).or_insert_with(|| format!("{}/", uri.trim_end_matches('/')));
        }
        for (archive, uri) in [
            (Archive::Main, "http://deb.debian.org/debian/"),
            (Archive::Security, "http://deb.debian.org/debian-security/"),
        ] {
            mirrors.entry(archive).or_insert_with(|| uri.to_owned());
        }
        Self(mirrors)
    }

    fn of(&self, archive: Archive) -> &str {
        self.0.get(&archive).map_or("", String::as_str)
    }

    fn sources(&self) -> String {
        let stanza = |archive, suites: String| {
            let uri = self.of(archive);
            format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {KEYRING}\n\n")
        };
        let main = stanza(Archive::Main, format!("{RELEASE} {RELEASE}-updates {RELEASE}-backports"));
        main + &stanza(Archive::Security, format!("{RELEASE}-security"))
    }

    /// Reads a line of `--print-uris`: `'uri' name_version_architecture.deb size SHA256:hash`.
    fn entry(&self, line: &str) -> Option<Entry> {
        let mut words = line.split_whitespace();
        let uri = words.next()?.strip_prefix('\'')?.strip_suffix('\'')?;
        let (archive, path) = Archive::ALL
            .into_iter()
            .find_map(|archive| Some((archive, uri.strip_prefix(self.of(archive))?.to_owned())))?;
        let file = words.next()?.strip_suffix(".deb")?.to_owned();
        let size = words.next()?.parse().ok()?;
        let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
        let [name, version, architecture] = file.split('_').collect::<Vec<_>>().try_into().ok()?;
        let version = version.replace("%3a", ":");
        let (name, architecture) = (name.to_owned(), architecture.to_owned());
        Some(Entry { name, version, architecture, archive, path, size, sha256 })
    }

    /// Downloads package files into a folder. What cannot be had, or is another than its hash says, is not
    /// there afterwards: whoever looks for it sees that. The failure that comes back is for telling.
    pub(crate) fn download(&self, entries: &[&Entry], folder: &Path) -> Result<(), ProcessError> {
        let mut command = Command::new(HELPER);
        command.args(unsandboxed()).arg("download-file").env("LC_ALL", "C.UTF-8");
        for entry in entries {
            command.arg(format!("{}{}", self.of(entry.archive), entry.path));
            command.arg(folder.join(entry.file_name()));
            command.arg(format!("SHA256:{}", entry.sha256));
        }
        process::output(&mut command).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "Debian|Debian|http://mirror/debian/\nDebian|Debian|http://second/debian/\n\
                           Debian|Debian-Security|http://mirror/debian-security\nNode|Node|http://node/\n";

    #[test]
    fn the_systems_mirrors_are_used_and_debians_own_where_it_has_none() {
        let mirrors = Mirrors::from_targets(TARGETS);
        assert_eq!(mirrors.of(Archive::Main), "http://mirror/debian/");
        assert_eq!(mirrors.of(Archive::Security), "http://mirror/debian-security/");
        let own = Mirrors::from_targets("Ubuntu|Ubuntu|http://ubuntu/\n$(ORIGIN)|x\n");
        assert_eq!(own.of(Archive::Main), "http://deb.debian.org/debian/");
        assert!(own.sources().contains("http://deb.debian.org/debian-security/"));
    }

    #[test]
    fn a_line_of_apt_becomes_a_package_of_its_archive() {
        let mirrors = Mirrors::from_targets(TARGETS);
        let line = "'http://mirror/debian-security/pool/updates/main/l/llvm/libllvm22_22.1.8-1%7edeb12u1_arm64.deb' \
                    libllvm22_1%3a22.1.8-1~deb12u1_arm64.deb 26446572 SHA256:ab";
        let entry = mirrors.entry(line).expect("it is one");
        assert_eq!(entry.archive, Archive::Security);
        assert_eq!(entry.path, "pool/updates/main/l/llvm/libllvm22_22.1.8-1%7edeb12u1_arm64.deb");
        assert_eq!((entry.name.as_str(), entry.version.as_str()), ("libllvm22", "1:22.1.8-1~deb12u1"));
        assert_eq!(
            (entry.architecture.as_str(), entry.size, entry.sha256.as_str()),
            ("arm64", 26_446_572, "ab")
        );
        assert_eq!(entry.file_name(), "libllvm22_1%3a22.1.8-1~deb12u1_arm64.deb");
        for other in
            ["'http://elsewhere/a_1_arm64.deb' a_1_arm64.deb 1 SHA256:ab", "'http://mirror/debian/a'", ""]
        {
            assert_eq!(mirrors.entry(other), None, "{other:?}");
        }
    }
}
