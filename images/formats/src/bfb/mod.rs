//! BFB, the boot stream of BlueField: images in a row, each behind a header of 24 bytes.
//!
//! A card takes the images in the order in which they stand. An image may stand there in several versions;
//! the card uses the highest that is not above its own generation ([`Board::takes`]). After the last image
//! text may follow, `bf.cfg`, which no header and no checksum covers.
//!
//! A BFB of ours is an *overlay*: kernel, initramfs and how to start them, without the boot loader stages
//! that only the card's maker can sign. [`merge`](merge::merge) puts it over a site's own `default.bfb`,
//! which has them. What is ours in a stream its [`Manifest`] says, which is the image [`ImageId::INFO`].

mod envelope;
mod header;
mod manifest;
pub mod merge;
mod read;
mod select;
mod stream;
mod write;

use std::fmt;

pub use envelope::{KeyError, PrivateKey, PublicKey, SealError, seal, unseal};
pub use header::{Header, HeaderError};
pub use manifest::{Listed, Manifest, ManifestError};
pub use read::{MAX_TRAILER, ReadError, Reader};
pub use select::{Checked, Contents, Found, Trust, TrustError, survey};
pub use stream::Stream;
pub use write::{Image, Overlay, Source, WriteError, write};

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(u8);

impl ImageId {
    /// Firmware for the card's UEFI.
    pub const CAPSULE: ImageId = ImageId(52);
    /// The menu's line of what is started.
    pub const BOOT_DESC: ImageId = ImageId(57);
    /// What UEFI starts, as a device path.
    pub const BOOT_PATH: ImageId = ImageId(58);
    /// The kernel's command line.
    pub const BOOT_ARGS: ImageId = ImageId(59);
    /// How long the menu waits, in seconds.
    pub const BOOT_TIMEOUT: ImageId = ImageId(60);
    /// Which of the card's ACPI tables is used.
    pub const BOOT_ACPI: ImageId = ImageId(55);
    /// Which device tree is used.
    pub const BOOT_DTB: ImageId = ImageId(56);
    /// What this stream is: for ours, its [`Manifest`].
    pub const INFO: ImageId = ImageId(50);
    /// The kernel.
    pub const IMAGE: ImageId = ImageId(62);
    /// The first root file system.
    pub const INITRAMFS: ImageId = ImageId(63);

    /// The highest id: they are bits of one word.
    pub const MAX: u8 = 63;

    /// The id of that number.
    pub const fn new(number: u8) -> Option<ImageId> {
        if number <= ImageId::MAX { Some(ImageId(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name, if it is one that is known.
    pub fn name(self) -> Option<&'static str> {
        ORDER.iter().find(|(id, _)| *id == self.0).map(|(_, name)| *name)
    }

    /// Whether it is of the card's maker: boot loader stages, their certificates, firmware. The card itself
    /// checks these, by keys that are burnt into it.
    pub const fn is_makers(self) -> bool {
        self.0 < 48 || matches!(self.0, 52 | 53)
    }

    /// Its place in a stream, if there is one.
    pub(crate) fn rank(self) -> Option<usize> {
        ORDER.iter().position(|(id, _)| *id == self.0)
    }

    pub(crate) const fn bit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The ids by their place in a stream: each stage finds what it needs behind what it has read.
const ORDER: &[(u8, &str)] = &[
    (36, "psc-bl"),
    (37, "psc-fw"),
    (31, "bl2r-cert"),
    (30, "bl2r"),
    (42, "bl2r-auth-cert"),
    (6, "bl2-cert"),
    (1, "bl2"),
    (29, "sys"),
    (43, "bl2-auth-cert"),
    (38, "ddr-cert"),
    (32, "ddr_ini"),
    (33, "snps_images"),
    (40, "ddr5_snps_images"),
    (34, "ddr_ate_imem"),
    (35, "ddr_ate_dmem"),
    (8, "bl30-key-cert"),
    (12, "bl30-cert"),
    (2, "bl30"),
    (39, "psc-app"),
    (53, "psc-certs"),
    (7, "trusted-key-cert"),
    (9, "bl31-key-cert"),
    (13, "bl31-cert"),
    (3, "bl31"),
    (10, "bl32-key-cert"),
    (14, "bl32-cert"),
    (4, "bl32"),
    (11, "bl33-key-cert"),
    (15, "bl33-cert"),
    (5, "bl33"),
    (52, "capsule"),
    (55, "boot-acpi"),
    (56, "boot-dtb"),
    (57, "boot-desc"),
    (58, "boot-path"),
    (59, "boot-args"),
    (60, "boot-timeout"),
    (61, "uefi-tests"),
    (41, "nicfw"),
    (54, "ramdisk"),
    (49, "dpu-gi"),
    (48, "cfg-gi"),
    (50, "info"),
    (62, "image"),
    (63, "initramfs"),
    (51, "upgrade-image"),
];

/// For which generation of cards an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u8);

impl Version {
    /// All cards, unless there is a higher version for one.
    pub const COMMON: Version = Version(0);
    /// BlueField-2 and later.
    pub const BLUEFIELD2: Version = Version(1);
    /// BlueField-3 and later.
    pub const BLUEFIELD3: Version = Version(2);

    /// The highest that fits into a header.
    pub const MAX: u8 = 15;

    /// The version of that number.
    pub const fn new(number: u8) -> Option<Version> {
        if number <= Version::MAX { Some(Version(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A generation of cards that start from a BFB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Board {
    /// BlueField-2.
    Bluefield2,
    /// BlueField-3.
    Bluefield3,
}

impl Board {
    /// All of them.
    pub const ALL: [Board; 2] = [Board::Bluefield2, Board::Bluefield3];

    /// Its name, as everywhere in this project.
    pub const fn name(self) -> &'static str {
        match self {
            Board::Bluefield2 => "bluefield2",
            Board::Bluefield3 => "bluefield3",
        }
    }

    /// The board of that name.
    pub fn from_name(name: &str) -> Option<Board> {
        Board::ALL.into_iter().find(|board| board.name() == name)
    }

    /// The version of images that are made for it, which is also the highest that it uses.
    pub const fn version(self) -> Version {
        match self {
            Board::Bluefield2 => Version::BLUEFIELD2,
            Board::Bluefield3 => Version::BLUEFIELD3,
        }
    }

    /// Which of several versions of an image it uses.
    pub fn takes(self, versions: impl IntoIterator<Item = Version>) -> Option<Version> {
        versions.into_iter().filter(|version| *version <= self.version()).max()
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes that fill an image up to a multiple of eight.
pub(crate) const fn padding(length: u32) -> usize {
    length.wrapping_neg() as usize % 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_one_place_and_one_name() {
        for (place, (id, name)) in ORDER.iter().enumerate() {
            let id = ImageId::new(*id).expect("an id");
            assert_eq!(id.rank(), Some(place), "{name}");
            assert_eq!(ORDER.iter().filter(|(_, other)| other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_board_uses_the_highest_version_that_is_not_above_it() {
        let versions = [0, 1, 2].map(|number| Version::new(number).expect("a version"));
        assert_eq!(Board::Bluefield2.takes(versions), Some(Version::BLUEFIELD2));
        assert_eq!(Board::Bluefield3.takes(versions), Some(Version::BLUEFIELD3));
        assert_eq!(Board::Bluefield3.takes([Version::COMMON]), Some(Version::COMMON));
        assert_eq!(Board::Bluefield2.takes([Version::BLUEFIELD3]), None);
    }

    #[test]
    fn payloads_are_filled_up_to_eight_bytes() {
        assert_eq!([0, 1, 7, 8, 9, u32::MAX].map(padding), [0, 7, 1, 0, 7, 1]);
    }
}
