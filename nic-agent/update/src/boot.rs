//! The boot entries together: which there are, which comes next, and renaming them so that one is always left
//! that boots.

use std::cmp::Reverse;
use std::io;

use crate::entry::{Entry, Stage, TRIES, Tries};
use crate::medium::Folder;
use crate::version::Version;

/// A file of ours on the ESP, by its real name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) entry: Entry,
}

/// All of ours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files(Vec<File>);

impl Files {
    pub(crate) fn list(esp: &dyn Folder) -> io::Result<Files> {
        let mut files: Vec<File> = Vec::new();
        for name in esp.list()? {
            if let Some(entry) = Entry::parse(&name) {
                files.push(File { name, entry });
            }
        }
        Ok(Files(files))
    }

    pub(crate) fn of(&self, version: Version) -> impl Iterator<Item = &File> {
        self.0.iter().filter(move |file| file.entry.version == version)
    }

    pub(crate) fn not_of(&self, version: Version) -> impl Iterator<Item = &File> {
        self.0.iter().filter(move |file| file.entry.version != version)
    }

    /// The entry that stands for a version: one that boots before one that is staged.
    pub(crate) fn best(&self, version: Version) -> Option<&File> {
        self.of(version).min_by_key(|file| rank(&file.entry))
    }

    /// What is in the other slot than the running one. There is one version there, or none.
    pub(crate) fn other(&self, running: Version) -> Option<&File> {
        self.not_of(running).min_by_key(|file| (rank(&file.entry), Reverse(file.entry.version)))
    }

    /// The version that the boot loader takes next: the newest that has boots left, else the newest.
    pub(crate) fn next(&self) -> Option<Version> {
        let bootable = self.0.iter().map(|file| &file.entry).filter(|entry| entry.is_bootable());
        bootable.max_by_key(|entry| (!entry.is_exhausted(), entry.version)).map(|entry| entry.version)
    }
}

/// How much a file is worth to the version that it stands for.
fn rank(entry: &Entry) -> u8 {
    match entry.stage {
        Stage::Bootable(None) => 0,
        Stage::Bootable(Some(Tries { left: 1.., .. })) => 1,
        Stage::Bootable(Some(Tries { left: 0, .. })) => 2,
        Stage::Staged => 3,
        Stage::Partial => 4,
    }
}

/// Makes a staged version, or one whose boots are used up, a boot entry that may prove itself.
pub(crate) fn activate(esp: &dyn Folder, file: &File) -> io::Result<()> {
    rename(esp, file, Stage::Bootable(Some(Tries { left: TRIES, done: 0 })))
}

/// Takes that back, of all but one version.
pub(crate) fn deactivate(esp: &dyn Folder, files: &Files, running: Version) -> io::Result<()> {
    for file in files.not_of(running).filter(|file| file.entry.is_bootable() && !file.entry.is_exhausted()) {
        rename(esp, file, Stage::Staged)?;
    }
    Ok(())
}

/// Says of a version that it has proven itself. False if that had been said.
pub(crate) fn bless(esp: &dyn Folder, files: &Files, version: Version) -> io::Result<bool> {
    let blessed = files.of(version).any(|file| file.entry.stage == Stage::Bootable(None));
    let mut counted = files.of(version).filter(|file| file.entry.stage.is_tried());
    if !blessed {
        let Some(file) = counted.next() else { return Ok(false) };
        rename(esp, file, Stage::Bootable(None))?;
    }
    // A file system without a journal may have left both names of an earlier attempt.
    remove(esp, counted)?;
    Ok(!blessed)
}

/// Has the boot loader take a version only if there is nothing else.
pub(crate) fn give_up(esp: &dyn Folder, files: &Files, version: Version) -> io::Result<()> {
    let mut files = files.of(version).filter(|file| file.entry.is_bootable());
    let Some(first) = files.next() else { return Ok(()) };
    remove(esp, files)?;
    rename(esp, first, Stage::Bootable(Some(Tries { left: 0, done: 0 })))
}

/// Removes files, durably.
pub(crate) fn remove<'a>(esp: &dyn Folder, files: impl Iterator<Item = &'a File>) -> io::Result<()> {
    let mut any = false;
    for file in files {
        esp.remove(&file.name)?;
        any = true;
    }
    if any { esp.sync() } else { Ok(()) }
}

fn rename(esp: &dyn Folder, file: &File, stage: Stage) -> io::Result<()> {
    let to = Entry { stage, ..file.entry }.to_string();
    if to != file.name {
        esp.rename(&file.name, &to)?;
    }
    esp.sync()
}
