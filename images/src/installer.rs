//! A first file system that writes the whole disk to a card and restarts it: what a boot stream carries.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::disk::{DISK_SIZE, MIB};
use crate::error::ImageError;
use crate::initramfs::{pack, shell};

/// Busybox's words that the installer uses.
const WORDS: [&str; 17] = [
    "blockdev", "cat", "cmp", "dd", "echo", "grep", "head", "mkdir", "mount", "readlink", "reboot", "sh",
    "sleep", "sync", "tr", "true", "umount",
];
/// Folders that something is mounted on.
const FOLDERS: [&str; 4] = ["dev", "esp", "proc", "sys"];
/// What is on it is compressed already, for the most part: more effort gains nothing.
const EFFORT: &str = "-6";

/// What goes into it.
pub(crate) struct Installer<'a> {
    /// Its `init`.
    pub(crate) init: &'a Path,
    /// A static busybox.
    pub(crate) busybox: &'a Path,
    /// The disk.
    pub(crate) disk: &'a Path,
    /// The image's version.
    pub(crate) version: &'a str,
}

impl Installer<'_> {
    /// Writes it, compressed.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ImageError> {
        let mut archive = shell(self.init, self.busybox, &FOLDERS, &WORDS)?;
        archive.file("image/about", format!("{} {}\n", self.version, DISK_SIZE / MIB).into_bytes(), false);
        let mut list = String::new();
        let mut disk = File::open(self.disk).map_err(ImageError::file("reading", self.disk))?;
        for run in runs(&mut disk).map_err(ImageError::file("reading", self.disk))? {
            let name = match run.content {
                Some(content) => {
                    let name = format!("image/{}", run.start);
                    archive.file(&name, content, false);
                    format!("/{name}")
                }
                None => "/dev/zero".to_owned(),
            };
            list += &format!("{} {} {name}\n", run.start, run.count);
        }
        archive.file("image/parts", list.into_bytes(), false);
        pack(&archive, EFFORT, path)
    }
}

/// Some MiB of a disk that are written at once.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    /// The first.
    start: u64,
    /// So many.
    count: u64,
    /// What is in them; nothing where all is zero.
    content: Option<Vec<u8>>,
}

/// A disk as runs of what is zero and what is not. The first MiB, with the table of partitions, is by itself.
fn runs(disk: &mut impl Read) -> io::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let zeros = vec![0; MIB as usize];
    let mut piece = Vec::with_capacity(MIB as usize);
    for start in 0.. {
        piece.clear();
        if disk.by_ref().take(MIB).read_to_end(&mut piece)? == 0 {
            break;
        }
        // What is written is whole MiB.
        piece.resize(MIB as usize, 0);
        let is_zero = piece == zeros;
        match runs.last_mut() {
            Some(Run { count, content: None, start }) if is_zero && *start > 0 => *count += 1,
            Some(Run { count, content: Some(content), start }) if !is_zero && *start > 0 => {
                *count += 1;
                content.extend_from_slice(&piece);
            }
            _ => runs.push(Run { start, count: 1, content: (!is_zero).then(|| piece.clone()) }),
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_its_runs_and_its_first_block_is_by_itself() {
        let mib = MIB as usize;
        let mut disk = vec![0; 8 * mib];
        for (at, value) in [(100, 1), (mib, 2), (4 * mib + 7, 3), (6 * mib - 1, 4)] {
            disk[at] = value;
        }
        let found = runs(&mut &*disk).unwrap();
        let shape: Vec<(u64, u64, bool)> =
            found.iter().map(|run| (run.start, run.count, run.content.is_some())).collect();
        assert_eq!(shape, [(0, 1, true), (1, 1, true), (2, 2, false), (4, 2, true), (6, 2, false)]);
        let again: Vec<u8> = found
            .into_iter()
            .flat_map(|run| run.content.unwrap_or_else(|| vec![0; run.count as usize * mib]))
            .collect();
        assert!(again == disk);
    }

    #[test]
    fn init_uses_no_word_that_busybox_is_not_linked_by() {
        let init = include_str!("../installer/init");
        crate::initramfs::tests::check_words(init, &WORDS, &["say", "fail", "put"]);
    }
}
