//! The file in its directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use redb::{Builder, Database};

use crate::error::{DirectoryError, SaveError, Unusable};
use crate::medium::Medium;

const FILE: &str = "policy.redb";
const NEW: &str = "policy.redb.new";
const ASIDE: &str = "policy.redb.unusable";

/// The policy is read once and then only written.
const CACHE_BYTES: usize = 4 << 20;
/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// A directory that one process uses at a time.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The directory, locked; `None` while it cannot be used.
    held: Option<File>,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned(), held: None }
    }

    /// Makes, checks and locks the directory. A lock on the file would not do: it comes and goes.
    fn hold(&mut self) -> Result<(), DirectoryError> {
        if self.held.is_some() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let directory = File::open(&self.path)?;
        let metadata = directory.metadata()?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(DirectoryError::Owner(metadata.uid()));
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Err(DirectoryError::Mode(metadata.mode() & 0o7777));
        }
        match directory.try_lock() {
            Ok(()) => self.held = Some(directory),
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes renames and removals durable, also in a directory that is not held.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))?;
        self.sync()
    }

    fn remove(&self) -> io::Result<()> {
        gone(std::fs::remove_file(self.path(FILE)))?;
        gone(self.sync())
    }
}

impl Medium for Folder {
    fn open(&mut self) -> Result<Option<Database>, Unusable> {
        self.hold()?;
        let path = self.path(FILE);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(metadata) if !metadata.is_file() => return Err(Unusable::NoFile),
            Ok(_) => {}
        }
        let file = options().open(&path)?;
        let metadata = file.metadata()?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(Unusable::Owner(metadata.uid()));
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Err(Unusable::Mode(metadata.mode() & 0o7777));
        }
        // redb would make an empty file a new database.
        if metadata.len() == 0 {
            return Err(Unusable::Empty);
        }
        Ok(Some(Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?))
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.rename(FILE, ASIDE)
    }

    fn create(&mut self) -> Result<Database, SaveError> {
        self.hold()?;
        gone(std::fs::remove_file(self.path(NEW))).map_err(SaveError::file("removing policy.redb.new"))?;
        let file = options().create_new(true).mode(0o600).open(self.path(NEW));
        let file = file.map_err(SaveError::file("making policy.redb.new"))?;
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_file(file);
        database.map_err(|error| SaveError::Database(error.into()))
    }

    fn install(&mut self) -> io::Result<()> {
        self.rename(NEW, FILE)
    }

    fn destroy(&mut self) -> io::Result<()> {
        let file = options().open(self.path(FILE));
        let removed = self.remove();
        // What is left of a failed attempt takes room that the next one may need; it is never opened.
        let _ = std::fs::remove_file(self.path(NEW));
        // Where nothing can be removed a file may still be emptied, and an empty one is not used.
        removed.or_else(|error| match file {
            Ok(file) => file.set_len(0).and_then(|()| file.sync_all()),
            Err(_) => Err(error),
        })
    }
}

/// Nobody can lead us to another file.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    options
}

/// What is gone already need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
