//! Packages of Debian, for the cards or for this machine, exactly those that `packages.lock` names.
//!
//! A [`Set`] is what one purpose wants; its closure is that of a machine on which nothing is installed. What is
//! fetched is kept in the cache by name and checked by hash, so that a second fetch needs no network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::apt::{Apt, AptError, Mirrors};
use crate::lock::{Entry, Lock, Section};
use crate::places::Places;
use crate::process::{self, ProcessError};

pub use crate::lock::{EntryFault, LockError};

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// This machine.
    Amd64,
    /// The cards.
    Arm64,
}

impl Architecture {
    /// As Debian names it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// What one purpose wants, under its name in the lock.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its section in the lock.
    pub name: &'a str,
    /// As which kind of machine it is resolved: packages for all kinds come along.
    pub architecture: Architecture,
    /// The packages; `name/suite` takes a package from that suite, such as `bookworm-backports`.
    pub wanted: &'a [&'a str],
    /// Whether a package of the closure is used, by its name; others are neither locked nor fetched.
    pub keep: fn(&str) -> bool,
}

/// What to do where the mirrors have another version than the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nothing else than the lock will do.
    #[default]
    Locked,
    /// Go on with what there is, and tell.
    AcceptMoved,
}

/// A package file that was fetched and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the epoch.
    pub version: String,
    /// `arm64`, `amd64` or `all`.
    pub architecture: String,
    /// The file's hash.
    pub sha256: String,
    /// The file.
    pub file: PathBuf,
}

/// A package of the lock that the mirrors do not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// What the lock has.
    pub locked: String,
    /// What the mirrors have; nothing where it is gone.
    pub offered: Option<String>,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: locked {}, the mirror has ", self.name, self.locked)?;
        match &self.offered {
            None => f.write_str("nothing"),
            Some(version) if *version == self.locked => f.write_str("another file under that version"),
            Some(version) => f.write_str(version),
        }
    }
}

/// Why packages are not there.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The lock is of no use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The mirrors have other versions.
    #[error(
        "packages of [{set}] have moved since packages.lock was written:\n{}\neither take what there is now into the \
         lock (--update-lock, and commit it), or go on without the lock for once (--accept-moved), or let apt's \
         lists lead to a mirror that keeps old versions (docs/cross.md)",
        lines(.moved)
    )]
    Moved {
        /// The set.
        set: String,
        /// Which, and where to.
        moved: Vec<Moved>,
    },
    /// They could not be downloaded, though the mirrors say that they have them.
    #[error("packages of [{set}] could not be downloaded: {}", .packages.join(" "))]
    Download {
        /// The set.
        set: String,
        /// Which.
        packages: Vec<String>,
        /// What the downloader said.
        #[source]
        source: Option<ProcessError>,
    },
    /// apt failed.
    #[error("apt")]
    Apt(#[from] AptError),
    /// Files of the cache.
    #[error("{path}")]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A package file could not be unpacked.
    #[error("{package} could not be unpacked")]
    Unpack {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
}

fn lines(moved: &[Moved]) -> String {
    moved.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n")
}

/// Where package files are kept.
fn store(places: &Places) -> PathBuf {
    places.cache.join("packages")
}

/// The packages of a set, and all that they need.
pub fn fetch(places: &Places, set: &Set, policy: Policy) -> Result<Vec<Package>, PackagesError> {
    let lock = Lock::read(&places.packages_lock())?;
    let section = lock.section(set)?;
    let folder = store(places);
    let failed = |source| PackagesError::Files { path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let _alone = places.cache_alone().map_err(failed)?;
    let (missing, error) = complete(set.name, &section.packages, &folder)?;
    if missing.is_empty() {
        return Ok(packages(&section.packages, &folder));
    }
    let offered = resolve(places, set.architecture, &section.wanted, set.keep)?;
    let moved = judge(set.name, &section.packages, &missing, &offered, error, policy)?;
    eprintln!(
        "WARNING: [{}] is not what packages.lock says; what is built of it is not the locked one:",
        set.name
    );
    eprintln!("{}", lines(&moved));
    let (missing, source) = complete(set.name, &offered, &folder)?;
    if missing.is_empty() {
        return Ok(packages(&offered, &folder));
    }
    let packages = missing.into_iter().map(Entry::file_name).collect();
    Err(PackagesError::Download { set: set.name.into(), packages, source })
}

/// Whether there is a way on where some of the locked packages could not be had: with what has moved, if that is
/// the reason and is accepted.
fn judge(
    set: &str,
    locked: &[Entry],
    missing: &[&Entry],
    offered: &[Entry],
    error: Option<ProcessError>,
    policy: Policy,
) -> Result<Vec<Moved>, PackagesError> {
    let moved = compare(locked, offered);
    let gone = |entry: &Entry| moved.iter().any(|moved| moved.name == entry.name);
    if !missing.iter().all(|entry| gone(entry)) {
        let packages = missing.iter().filter(|entry| !gone(entry)).map(|entry| entry.file_name()).collect();
        return Err(PackagesError::Download { set: set.into(), packages, source: error });
    }
    match policy {
        Policy::AcceptMoved => Ok(moved),
        // What has moved and is in the cache yet is no obstacle.
        Policy::Locked => {
            let lost = |moved: &Moved| missing.iter().any(|entry| entry.name == moved.name);
            Err(PackagesError::Moved { set: set.into(), moved: moved.into_iter().filter(lost).collect() })
        }
    }
}

/// Downloads what is not there yet, and gives what could not be had.
fn complete<'a>(
    set: &str,
    entries: &'a [Entry],
    folder: &Path,
) -> Result<(Vec<&'a Entry>, Option<ProcessError>), PackagesError> {
    let missing = missing(entries, folder)?;
    if missing.is_empty() {
        return Ok((missing, None));
    }
    let megabytes = missing.iter().map(|entry| entry.size).sum::<u64>() / 1_000_000;
    println!("packages: [{set}]: downloading {} files, {megabytes} MB", missing.len());
    let error = Mirrors::of_system().download(&missing, folder).err();
    Ok((self::missing(entries, folder)?, error))
}

/// Those that are not there as the lock has them; a file that is another is removed.
fn missing<'a>(entries: &'a [Entry], folder: &Path) -> Result<Vec<&'a Entry>, PackagesError> {
    let mut missing = Vec::new();
    for entry in entries {
        let path = folder.join(entry.file_name());
        let failed = |source| PackagesError::Files { path: path.clone(), source };
        if !path.is_file() {
            missing.push(entry);
        } else if sha256(&path).map_err(failed)? != entry.sha256 {
            println!("packages: {} is damaged, it is fetched again", path.display());
            fs::remove_file(&path).map_err(failed)?;
            missing.push(entry);
        }
    }
    Ok(missing)
}

fn packages(entries: &[Entry], folder: &Path) -> Vec<Package> {
    let package = |entry: &Entry| Package {
        name: entry.name.clone(),
        version: entry.version.clone(),
        architecture: entry.architecture.clone(),
        sha256: entry.sha256.clone(),
        file: folder.join(entry.file_name()),
    };
    entries.iter().map(package).collect()
}

/// What the mirrors have for a set now, by name.
fn resolve(
    places: &Places,
    architecture: Architecture,
    wanted: &[String],
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<Entry>, PackagesError> {
    let apt = Apt::new(places, architecture)?;
    println!("packages: reading the mirror's lists for {}", architecture.debian());
    apt.update()?;
    let mut entries = apt.resolve(wanted)?;
    entries.retain(|entry| keep(&entry.name));
    entries.sort();
    Ok(entries)
}

/// What has moved from one to the other; what is only in the other has not.
fn compare(locked: &[Entry], offered: &[Entry]) -> Vec<Moved> {
    let offered: BTreeMap<&str, &Entry> = offered.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let moved = |entry: &Entry| {
        let other = offered.get(entry.name.as_str());
        let same = other.is_some_and(|other| other.sha256 == entry.sha256);
        (!same).then(|| Moved {
            name: entry.name.clone(),
            locked: entry.version.clone(),
            offered: other.map(|other| other.version.clone()),
        })
    };
    locked.iter().filter_map(moved).collect()
}

/// The packages of a set as the lock names them, whether or not their files are there: to find out whether what
/// is made of them is there already.
pub fn named(places: &Places, set: &Set) -> Result<Vec<Package>, PackagesError> {
    let lock = Lock::read(&places.packages_lock())?;
    Ok(packages(&lock.section(set)?.packages, &store(places)))
}

/// What an update of the lock changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// By set, lines for the user: added, removed, moved.
    pub lines: Vec<String>,
}

/// Resolves these sets, writes what the mirrors have now into the lock, and says what changed. Sections of
/// other sets stay as they are.
pub fn update(places: &Places, sets: &[Set]) -> Result<Changes, PackagesError> {
    let failed = |source| PackagesError::Files { path: places.cache.clone(), source };
    let _alone = places.cache_alone().map_err(failed)?;
    let path = places.packages_lock();
    let mut lock = Lock::read(&path)?;
    let mut changes = Changes::default();
    for set in sets {
        let wanted: Vec<String> = set.wanted.iter().map(|name| (*name).to_owned()).collect();
        let packages = resolve(places, set.architecture, &wanted, set.keep)?;
        let before = lock.sections.get(set.name).map(|section| section.packages.as_slice());
        changes.lines.extend(told(set.name, before.unwrap_or_default(), &packages));
        let section = Section { architecture: set.architecture, wanted, packages };
        lock.sections.insert(set.name.to_owned(), section);
    }
    lock.write(&path)?;
    Ok(changes)
}

/// The difference between two closures of a set, for the user.
fn told(set: &str, before: &[Entry], after: &[Entry]) -> Vec<String> {
    let known: BTreeSet<&str> = before.iter().map(|entry| entry.name.as_str()).collect();
    let added = after.iter().filter(|entry| !known.contains(entry.name.as_str()));
    let added = added.map(|entry| format!("[{set}] {}: new, {}", entry.name, entry.version));
    let moved = compare(before, after).into_iter().map(|moved| match moved.offered {
        Some(version) => format!("[{set}] {}: {} -> {version}", moved.name, moved.locked),
        None => format!("[{set}] {}: {} is not needed any more", moved.name, moved.locked),
    });
    moved.chain(added).collect()
}

/// Unpacks packages over each other, as the calling user, into a folder where `/bin`, `/sbin` and `/lib` are
/// links into `/usr`, as on every Debian. No script of a package is run.
pub fn unpack(packages: &[Package], into: &Path) -> Result<(), PackagesError> {
    let failed = |source| PackagesError::Files { path: into.to_owned(), source };
    for name in ["bin", "sbin", "lib"] {
        fs::create_dir_all(into.join("usr").join(name)).map_err(failed)?;
        let link = into.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), &link).map_err(failed)?;
        }
    }
    for package in packages {
        unpack_one(package, into)
            .map_err(|source| PackagesError::Unpack { package: package.name.clone(), source })?;
    }
    Ok(())
}

fn unpack_one(package: &Package, into: &Path) -> Result<(), ProcessError> {
    let start = |program: &str| {
        let program = program.to_owned();
        move |source| ProcessError::Start { program, source }
    };
    let mut archive = Command::new("dpkg-deb");
    archive.arg("--fsys-tarfile").arg(&package.file).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = archive.spawn().map_err(start("dpkg-deb"))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--keep-directory-symlink", "--directory"]).arg(into);
    if let Some(pipe) = child.stdout.take() {
        tar.stdin(pipe);
    }
    let unpacked = tar.output().map_err(start("tar"))?;
    let (archive, unpacking) = (process::describe(&archive), process::describe(&tar));
    // It holds the pipe's other end: who writes into it hears of no end otherwise.
    drop(tar);
    let read = child.wait_with_output().map_err(start("dpkg-deb"))?;
    // What tar has to say is often that it was given nothing.
    for (command, output) in [(archive, read), (unpacking, unpacked)] {
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(ProcessError::Failed { command, status: output.status, errors });
        }
    }
    Ok(())
}

/// What tells one selection of packages from every other: for names of folders made of them.
pub(crate) fn digest(packages: &[Package]) -> String {
    let mut hasher = Sha256::new();
    for package in packages {
        hasher.update(package.sha256.as_bytes());
    }
    hex(&hasher.finalize()[..8])
}

/// A file's SHA-256, as hexadecimal digits.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
