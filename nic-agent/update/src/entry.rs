//! The names of boot entries, which are the whole state of the boot.
//!
//! systemd-boot looks at `/EFI/Linux/*.efi`. `nic-1.2.0.efi` has proven itself. `nic-1.2.0+3.efi` has three
//! boots to do so; each boot is written into the name before it begins, as `nic-1.2.0+2-1.efi`. One with none
//! left, `+0`, comes last. A name that does not end in `.efi` is no entry: so are files while they are
//! written (`.efi.part`), and one that is whole but not to be booted yet (`.efi.new`).

use std::fmt;

use crate::version::{Version, decimal};

const PREFIX: &str = "nic-";
const BOOTED: &str = ".efi";
const STAGED: &str = ".efi.new";
const PARTIAL: &str = ".efi.part";

/// How often a version may be booted before it has proven itself.
pub const TRIES: u32 = 3;

/// The boots that an entry has left and has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Boots that are left.
    pub left: u32,
    /// Boots that began.
    pub done: u32,
}

/// As it is written behind a version.
impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Tries { left, done: 0 } => write!(f, "+{left}"),
            Tries { left, done } => write!(f, "+{left}-{done}"),
        }
    }
}

/// What a file on the ESP is to the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is being written, or was when the power went.
    Partial,
    /// It is whole, and its root image too, but it is no boot entry.
    Staged,
    /// It is a boot entry; one without a count has proven itself.
    Bootable(Option<Tries>),
}

impl Stage {
    /// Whether it began to prove itself, and has not done so. One whose count begins with none left was given up by
    /// an operator.
    pub const fn is_tried(self) -> bool {
        matches!(self, Stage::Bootable(Some(Tries { done: 1.., .. })))
    }
}

/// A file of ours on the ESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The version that it boots.
    pub version: Version,
    /// What it is to the boot loader.
    pub stage: Stage,
}

impl Entry {
    /// The entry that a file name stands for; `None` if the file is not ours.
    pub fn parse(name: &str) -> Option<Entry> {
        let rest = name.strip_prefix(PREFIX)?;
        let staged = rest.strip_suffix(STAGED).map(|version| (version, Stage::Staged));
        let partial = || rest.strip_suffix(PARTIAL).map(|version| (version, Stage::Partial));
        if let Some((version, stage)) = staged.or_else(partial) {
            return Some(Entry { version: version.parse().ok()?, stage });
        }
        let rest = rest.strip_suffix(BOOTED)?;
        let (version, count) = match rest.split_once('+') {
            None => (rest, None),
            Some((version, count)) => (version, Some(read_tries(count)?)),
        };
        Some(Entry { version: version.parse().ok()?, stage: Stage::Bootable(count) })
    }

    /// Whether the boot loader takes it only if there is nothing else.
    pub const fn is_exhausted(&self) -> bool {
        matches!(self.stage, Stage::Bootable(Some(Tries { left: 0, .. })))
    }

    /// Whether the boot loader would take it.
    pub const fn is_bootable(&self) -> bool {
        matches!(self.stage, Stage::Bootable(_))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.version)?;
        match self.stage {
            Stage::Partial => f.write_str(PARTIAL),
            Stage::Staged => f.write_str(STAGED),
            Stage::Bootable(None) => f.write_str(BOOTED),
            Stage::Bootable(Some(tries)) => write!(f, "{tries}{BOOTED}"),
        }
    }
}

/// A count as it is written behind a `+`.
pub(crate) fn read_tries(count: &str) -> Option<Tries> {
    let (left, done) = count.split_once('-').unwrap_or((count, "0"));
    Some(Tries { left: decimal(left)?, done: decimal(done)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSION: Version = Version::new(1, 2, 0);

    #[test]
    fn names_say_what_the_boot_loader_does_with_a_file() {
        let count = |left, done| Stage::Bootable(Some(Tries { left, done }));
        for (name, stage) in [
            ("nic-1.2.0.efi", Stage::Bootable(None)),
            ("nic-1.2.0+3.efi", count(3, 0)),
            ("nic-1.2.0+2-1.efi", count(2, 1)),
            ("nic-1.2.0+0-3.efi", count(0, 3)),
            ("nic-1.2.0.efi.new", Stage::Staged),
            ("nic-1.2.0.efi.part", Stage::Partial),
        ] {
            let entry = Entry { version: VERSION, stage };
            assert_eq!(Entry::parse(name), Some(entry), "{name}");
            assert_eq!(entry.to_string(), name);
        }
        assert!(Entry::parse("nic-1.2.0+0.efi").is_some_and(|entry| entry.is_exhausted()));
    }

    #[test]
    fn other_files_are_not_ours() {
        for name in [
            "",
            "linux.efi",
            "nic-.efi",
            "nic-1.2.efi",
            "nic-1.2.0",
            "nic-1.2.0.conf",
            "nic-1.2.0+.efi",
            "nic-1.2.0+3-.efi",
            "nic-1.2.0+x.efi",
            "nic-1.2.0+3.efi.new",
            "nic-1.2.0.efi.new.efi",
        ] {
            assert_eq!(Entry::parse(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_of_ours_is_written_as_it_was_read(name in "nic-[0-9]\\.[0-9]{1,2}\\.[0-9][+0-9-]{0,6}\\.efi(\\.new|\\.part)?") {
            if let Some(entry) = Entry::parse(&name) {
                // `+3-0` and `+3` are the same count.
                prop_assert_eq!(Entry::parse(&entry.to_string()), Some(entry));
            }
        }
    }
}
