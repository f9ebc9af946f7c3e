//! What the slots are made of, as the rest sees it, so that tests can take the power away at any write.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use crate::version::Version;

/// One of the two root partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `root-a`.
    A,
    /// `root-b`.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// The partition's name in the partition table.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::A => "root-a",
            Slot::B => "root-b",
        }
    }

    /// The slot of that name.
    pub fn parse(name: &str) -> Option<Slot> {
        [Slot::A, Slot::B].into_iter().find(|slot| slot.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// From which partition.
    pub slot: Slot,
    /// Its version.
    pub version: Version,
    /// The kind of card.
    pub board: String,
}

/// A card with slots.
pub trait Card: Send + Sync {
    /// What runs now.
    fn running(&self) -> &Running;

    /// Opens a partition for writing; whoever has it open, or has mounted it, keeps others out.
    ///
    /// # Errors
    /// It is in use, or cannot be opened.
    fn open(&self, slot: Slot) -> io::Result<Box<dyn Partition>>;

    /// The folder of boot entries.
    fn esp(&self) -> &dyn Folder;

    /// The folder for what shall last.
    fn data(&self) -> &dyn Folder;

    /// The root of trust that the running image came with.
    ///
    /// # Errors
    /// It cannot be read.
    fn anchor(&self) -> io::Result<Vec<u8>>;

    /// The time of day.
    fn now(&self) -> SystemTime;

    /// The time since some moment; it never goes back.
    fn elapsed(&self) -> Duration;

    /// Puts a copy of the configuration's store, whole and durable, as a new file into the data folder, and
    /// says its revision.
    ///
    /// # Errors
    /// It cannot be read or written.
    fn copy_store(&self, name: &str) -> io::Result<u64>;

    /// The revision of the configuration now.
    fn revision(&self) -> u64;
}

/// A partition that is written.
pub trait Partition: Send {
    /// Its length in octets.
    ///
    /// # Errors
    /// It cannot be told.
    fn size(&self) -> io::Result<u64>;

    /// Writes all octets at a place.
    ///
    /// # Errors
    /// Some may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// It may not be.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of files. What is done to names is durable after [`Folder::sync`] only.
pub trait Folder: Send + Sync {
    /// The names of its files.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Octets that may still be written.
    ///
    /// # Errors
    /// It cannot be told.
    fn free(&self) -> io::Result<u64>;

    /// The length of a file.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be told.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// The contents of a file; `None` if there is none of that name.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes an empty file, in place of one of that name.
    ///
    /// # Errors
    /// It cannot be made.
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>>;

    /// Gives a file another name, in place of one that has it.
    ///
    /// # Errors
    /// It cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; it is no error if there is none.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when all that was done to names is durable.
    ///
    /// # Errors
    /// It may not be.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is written from its beginning.
pub trait Output: Send {
    /// Writes all octets behind those before.
    ///
    /// # Errors
    /// Some may have been written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when its contents are durable.
    ///
    /// # Errors
    /// They may not be.
    fn sync(&mut self) -> io::Result<()>;
}

/// Puts contents in place of a file's, whole or not at all.
pub(crate) fn replace(folder: &dyn Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = format!("{name}.new");
    let mut file = folder.create(&new)?;
    file.write(bytes)?;
    file.sync()?;
    drop(file);
    folder.rename(&new, name)?;
    folder.sync()
}
