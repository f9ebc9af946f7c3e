//! A bundle: one stream with signed metadata and what it describes.
//!
//! ```text
//! "nicbndl" 01                   magic and version of the format
//! u32                            octets of the metadata's files
//!   u8, name, u32, contents      a file of the TUF repository, one after the other
//! u8, name, u64, contents        a target, one after the other, as its kind orders them
//! ```
//!
//! Numbers are little-endian. Nothing of it is believed before the metadata is verified, and the length and
//! hash of each target stand there.

mod keys;
mod read;
mod show;
mod write;

pub use keys::{Keys, KeysError};
pub use read::{BundleError, Files, Part, Reader};
pub(crate) use read::{head, part_head};
pub use show::{ShowError, Shown, show};
pub use write::{Contents, Key, KeyError, Source, WriteError, make_root, write};

use crate::version::Version;

/// How a bundle begins; the last octet is the version of the format.
pub const MAGIC: [u8; 8] = *b"nicbndl\x01";
/// The most octets of all files of metadata together.
pub const METADATA_LIMIT: u32 = 1 << 20;
/// The most octets of a name.
const NAME_LIMIT: usize = 64;

/// What a bundle replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Kernel, root file system and all programs: takes a boot.
    Slot,
    /// The program nic-agent alone, which runs beside the root file system: takes no boot.
    Agent,
}

impl Kind {
    /// Its name in the metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Slot => "slot",
            Kind::Agent => "agent",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        [Kind::Slot, Kind::Agent].into_iter().find(|kind| kind.name() == name)
    }

    /// The names of its targets, in their order.
    pub const fn targets(self) -> &'static [&'static str] {
        match self {
            Kind::Slot => &[ROOT_IMAGE, UKI],
            Kind::Agent => &[PROGRAM],
        }
    }
}

/// The target that goes into a root partition.
pub const ROOT_IMAGE: &str = "root.img";
/// The target that goes to the boot entries.
pub const UKI: &str = "uki.efi";
/// The target that is a program.
pub const PROGRAM: &str = "nic-agent";

/// What a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The kind of card, as in the table of boards.
    pub board: String,
    /// Its version.
    pub version: Version,
    /// What it replaces.
    pub kind: Kind,
}

/// Whether a name is one that files of a bundle have: no path, nothing to be escaped.
fn is_name(name: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_LIMIT).contains(&name.len()) && name.iter().all(letter) && !name.starts_with(b".")
}
