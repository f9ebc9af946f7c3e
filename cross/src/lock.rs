//! `packages.lock`: which package files are used, by their hashes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::packages::{Architecture, Set};

/// What the file opens with.
const OPENING: &str = "\
# The packages of Debian that are used, by set: what was wanted, and all that this needs.
# Written by `--update-lock` of the verb that uses a set; see docs/cross.md.
";

/// The lock, section by section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Lock {
    /// By the name of the set.
    pub(crate) sections: BTreeMap<String, Section>,
}

/// What is locked of a set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) architecture: Architecture,
    /// What the set asks for.
    pub(crate) wanted: Vec<String>,
    /// All that this needs, in the order of their names.
    pub(crate) packages: Vec<Entry>,
}

/// A package file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: String,
    /// As the package has it: that of its set, or `all`.
    pub(crate) architecture: String,
    pub(crate) archive: Archive,
    /// Where it is in its archive, as a URI has it.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// Which of Debian's archives a package is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Archive {
    Main,
    Security,
}

impl Archive {
    pub(crate) const ALL: [Self; 2] = [Self::Main, Self::Security];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Security => "security",
        }
    }
}

/// Why the lock is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// The lock.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no lock.
    #[error("{path} is no lock of packages")]
    Syntax {
        /// The lock.
        path: PathBuf,
        /// Where, and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A package in it is nonsense.
    #[error("{path}: [{set}]: {package}: {fault}")]
    Entry {
        /// The lock.
        path: PathBuf,
        /// The section.
        set: String,
        /// The package.
        package: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// A set is not in it.
    #[error("packages.lock has no section [{set}]; write it by --update-lock")]
    NoSection {
        /// The set.
        set: String,
    },
    /// A set was changed since.
    #[error("packages.lock was written when [{set}] was another: {}; write it anew by --update-lock", differences(.missing, .surplus))]
    OtherSet {
        /// The set.
        set: String,
        /// What the set asks for and the lock does not have.
        missing: Vec<String>,
        /// What the lock has and the set does not ask for.
        surplus: Vec<String>,
    },
}

/// What can be wrong with a package of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// It would be written elsewhere than among the packages.
    #[error("its name or version has what no package's has")]
    Name,
    /// It would be fetched from elsewhere than the archive.
    #[error("its path leaves the archive's pool")]
    Path,
    /// Nothing has such a hash.
    #[error("its sha256 is not 64 digits of base 16")]
    Hash,
    /// It belongs to another kind of machine.
    #[error("its architecture is neither that of the set nor all")]
    Architecture,
}

fn differences(missing: &[String], surplus: &[String]) -> String {
    let part = |names: &[String], what| (!names.is_empty()).then(|| format!("{} {what}", names.join(" ")));
    let parts = [part(missing, "wanted now"), part(surplus, "wanted then")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "another architecture".to_owned() } else { text }
}

impl Lock {
    /// Reads it; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, LockError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|source| LockError::Read { path: path.to_owned(), source })?,
        };
        let lock: Self = toml::from_str(&text)
            .map_err(|source| LockError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        for (set, section) in &lock.sections {
            for entry in &section.packages {
                entry.check(section.architecture).map_err(|fault| LockError::Entry {
                    path: path.to_owned(),
                    set: set.clone(),
                    package: entry.name.clone(),
                    fault,
                })?;
            }
        }
        Ok(lock)
    }

    /// Replaces the file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LockError> {
        let failed = |source| LockError::Write { path: path.to_owned(), source };
        let fresh = path.with_extension("lock.new");
        fs::write(&fresh, self.text()).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)
    }

    /// One package a line, so that a change of one is a change of one line.
    fn text(&self) -> String {
        let mut text = OPENING.to_owned();
        for (name, section) in &self.sections {
            let wanted = section.wanted.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
            // Writing into a string does not fail.
            let _ = writeln!(text, "\n[{name}]\narchitecture = {:?}", section.architecture.debian());
            let _ = writeln!(text, "wanted = [{}]\npackages = [", wanted.join(", "));
            for entry in &section.packages {
                let _ = writeln!(
                    text,
                    "    {{ name = {:?}, version = {:?}, architecture = {:?}, archive = {:?}, path = {:?}, \
                     size = {}, sha256 = {:?} }},",
                    entry.name,
                    entry.version,
                    entry.architecture,
                    entry.archive.name(),
                    entry.path,
                    entry.size,
                    entry.sha256
                );
            }
            text.push_str("]\n");
        }
        text
    }

    /// What is locked of a set, if the set is what it was.
    pub(crate) fn section(&self, set: &Set) -> Result<&Section, LockError> {
        let name = set.name.to_owned();
        let section = self.sections.get(set.name).ok_or(LockError::NoSection { set: name.clone() })?;
        let lacks = |has: &[String], name: &str| !has.iter().any(|other| other == name);
        let missing: Vec<String> = set
            .wanted
            .iter()
            .filter(|name| lacks(&section.wanted, name))
            .map(|name| (*name).into())
            .collect();
        let surplus: Vec<String> =
            section.wanted.iter().filter(|name| !set.wanted.contains(&name.as_str())).cloned().collect();
        if missing.is_empty() && surplus.is_empty() && section.architecture == set.architecture {
            return Ok(section);
        }
        Err(LockError::OtherSet { set: name, missing, surplus })
    }
}

impl Entry {
    /// The file's name, as apt gives it.
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }

    /// Names and paths are used as such: a lock that somebody else wrote may lead nowhere else.
    fn check(&self, architecture: Architecture) -> Result<(), EntryFault> {
        let plain = |text: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(fits)
        };
        if !plain(&self.name, "+-.") || !plain(&self.version, "+-.:~") {
            return Err(EntryFault::Name);
        }
        if !self.path.starts_with("pool/") || !plain(&self.path, "+-._~%/") || self.path.contains("..") {
            return Err(EntryFault::Path);
        }
        let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if self.sha256.len() != 64 || !self.sha256.chars().all(digit) {
            return Err(EntryFault::Hash);
        }
        if self.architecture != architecture.debian() && self.architecture != "all" {
            return Err(EntryFault::Architecture);
        }
        Ok(())
    }
}
