//! The slots of a real card: partitions, the mounted ESP, a folder.
//!
//! One folder names them all, as the image lays it out:
//!
//! | name | what |
//! |---|---|
//! | `root-a`, `root-b` | the partitions, or links to `/dev/disk/by-partlabel/...` |
//! | `esp` | where the boot entries are: `EFI/Linux` of the mounted ESP |
//! | `running` | three lines: `slot=root-a`, `version=1.2.0`, `board=bluefield2` |
//! | `root.json` | the root of trust that the image came with |

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;

use crate::kept::STORE;
use crate::medium::{Card, Folder, Output, Partition, Running, Slot};

/// The most octets of a file that is read.
const READ_LIMIT: u64 = 64 << 20;

/// Why a folder is not that of a card's slots.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What runs is not said.
    #[error("{path}: {field}= is missing or malformed", path = path.display())]
    Running {
        /// The file that should say it.
        path: PathBuf,
        /// What of it.
        field: &'static str,
    },
}

/// Copies the configuration's store, whole and durable, into a new file, and says its revision.
pub type CopyStore = Box<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// The slots of a real card.
pub struct Folders {
    root: PathBuf,
    running: Running,
    esp: Directory,
    data: Directory,
    started: Instant,
    store: Option<(CopyStore, Box<dyn Fn() -> u64 + Send + Sync>)>,
}

impl std::fmt::Debug for Folders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folders")
            .field("root", &self.root)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Folders {
    /// The slots that a folder names; `data` is where the store's file is.
    ///
    /// # Errors
    /// It does not say what runs.
    pub fn open(root: &Path, data: &Path) -> Result<Folders, OpenError> {
        let path = root.join("running");
        let text =
            fs::read_to_string(&path).map_err(|source| OpenError::File { path: path.clone(), source })?;
        let running = running(&text).map_err(|field| OpenError::Running { path, field })?;
        Ok(Folders {
            esp: Directory(root.join("esp")),
            data: Directory(data.to_owned()),
            root: root.to_owned(),
            running,
            started: Instant::now(),
            store: None,
        })
    }

    /// The same with a store: how it is copied, and at which revision it is.
    #[must_use]
    pub fn with_store(self, copy: CopyStore, revision: Box<dyn Fn() -> u64 + Send + Sync>) -> Folders {
        Folders { store: Some((copy, revision)), ..self }
    }
}

/// What runs, by the lines that say it.
fn running(text: &str) -> Result<Running, &'static str> {
    let value = |key: &'static str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.next().map(str::trim).filter(|value| !value.is_empty()).ok_or(key)
    };
    Ok(Running {
        slot: Slot::parse(value("slot")?).ok_or("slot")?,
        version: value("version")?.parse().map_err(|_| "version")?,
        board: value("board")?.to_owned(),
    })
}

impl Card for Folders {
    fn running(&self) -> &Running {
        &self.running
    }

    fn open(&self, slot: Slot) -> io::Result<Box<dyn Partition>> {
        let path = self.root.join(slot.name());
        let resolved = fs::canonicalize(&path)?;
        if fs::canonicalize(self.root.join(slot.other().name())).is_ok_and(|other| other == resolved) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let mut options = OpenOptions::new();
        options.write(true);
        // A block device that is mounted, or that dm-verity holds, cannot be opened so.
        options.custom_flags(i32::try_from(OFlags::EXCL.bits()).unwrap_or_default());
        Ok(Box::new(Device(options.open(&resolved)?)))
    }

    fn esp(&self) -> &dyn Folder {
        &self.esp
    }

    fn data(&self) -> &dyn Folder {
        &self.data
    }

    fn anchor(&self) -> io::Result<Vec<u8>> {
        fs::read(self.root.join("root.json"))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn copy_store(&self, name: &str) -> io::Result<u64> {
        match &self.store {
            Some((copy, _)) => copy(&self.data.0.join(name)),
            None => Err(io::Error::new(ErrorKind::NotFound, format!("{STORE} is not open"))),
        }
    }

    fn revision(&self) -> u64 {
        self.store.as_ref().map_or(0, |(_, revision)| revision())
    }
}

/// A block device, or a file in its place.
struct Device(File);

impl Partition for Device {
    fn size(&self) -> io::Result<u64> {
        // The length of a block device is where its end is.
        (&self.0).seek(SeekFrom::End(0))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| self.size().is_ok_and(|size| end > size)) {
            // A file would grow where a partition cannot.
            return Err(ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// A folder of the file system.
#[derive(Debug, Clone)]
struct Directory(PathBuf);

impl Directory {
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        // Names come from lists and are made here; none leads elsewhere.
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(self.0.join(name))
    }
}

impl Folder for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.0)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::symlink_metadata(self.path(name)?)?.size())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name)?;
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(metadata) if metadata.len() > READ_LIMIT => Err(ErrorKind::FileTooLarge.into()),
            Ok(_) => fs::read(path).map(Some),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(Written(File::create(self.path(name)?)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to)?;
        fs::rename(self.path(from)?, &to)?;
        // VFAT keeps length and place of a file in its folder, but writes them there with the file: a folder
        // that is synced without it has the new name, and nothing under it.
        File::open(&to)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)?) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// A file that is written.
struct Written(File);

impl Output for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}
