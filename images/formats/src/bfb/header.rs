//! The header of one image.

use super::{ImageId, Version};

/// Its first four bytes.
pub(crate) const MAGIC: u32 = 0x1302_6642;

const MAJOR: u8 = 1;
/// The newest, and the first that has versions of images.
const MINOR: u8 = 2;

/// What stands before an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the image is for.
    pub id: ImageId,
    /// For which cards.
    pub version: Version,
    /// The version of the next image of the same id; common where there is none.
    pub next_version: Version,
    /// Bytes of the image, without what fills it up.
    pub length: u32,
    /// CRC-32 of the image with what fills it up.
    pub crc: u32,
    /// A bit for each id of which images are still to come.
    pub following: u64,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin as one.
    #[error("no image begins here: {0:#010x} instead of {MAGIC:#010x}")]
    Magic(u32),
    /// A later form.
    #[error("a header of version {major}.{minor}; {MAJOR}.{MINOR} is the newest that is known")]
    Format {
        /// Before the point.
        major: u8,
        /// Behind it.
        minor: u8,
    },
    /// It has another size.
    #[error("a header of {0} bytes instead of {size}", size = Header::SIZE)]
    Size(u8),
    /// The id is none.
    #[error("the id {0} is above {max}", max = ImageId::MAX)]
    Id(u8),
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 24;

    /// As bytes.
    pub fn encode(&self) -> [u8; Header::SIZE] {
        let what = u64::from(MAGIC)
            | u64::from(MAJOR) << 32
            | u64::from(MINOR) << 36
            | u64::from(self.next_version.number()) << 44
            | u64::from(self.version.number()) << 48
            | (Header::SIZE as u64 / 8) << 52
            | u64::from(self.id.number()) << 56;
        let payload = u64::from(self.length) | u64::from(self.crc) << 32;
        let mut bytes = [0; Header::SIZE];
        for (place, word) in bytes.chunks_exact_mut(8).zip([what, payload, self.following]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// If they are no header of a known form.
    pub fn decode(bytes: &[u8; Header::SIZE]) -> Result<Header, HeaderError> {
        let [what, payload, following] = std::array::from_fn(|index| {
            let word: [u8; 8] = std::array::from_fn(|byte| bytes[index * 8 + byte]);
            u64::from_le_bytes(word)
        });
        // Casts keep the low bits, which is what is wanted of them here.
        let nibble = |shift: u32| (what >> shift) as u8 & 0xf;
        if what as u32 != MAGIC {
            return Err(HeaderError::Magic(what as u32));
        }
        let (major, minor) = (nibble(32), nibble(36));
        if major != MAJOR || minor > MINOR {
            return Err(HeaderError::Format { major, minor });
        }
        if usize::from(nibble(52)) * 8 != Header::SIZE {
            return Err(HeaderError::Size(nibble(52) * 8));
        }
        // Before that minor version these bits had no meaning.
        let version = |shift| if minor < MINOR { Version::COMMON } else { Version(nibble(shift)) };
        let number = (what >> 56) as u8;
        Ok(Header {
            id: ImageId::new(number).ok_or(HeaderError::Id(number))?,
            version: version(48),
            next_version: version(44),
            length: payload as u32,
            crc: (payload >> 32) as u32,
            following,
        })
    }

    /// Bytes of the image with its header and what fills it up.
    pub fn whole(&self) -> u64 {
        Header::SIZE as u64 + u64::from(self.length) + super::padding(self.length) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            id in 0..=ImageId::MAX,
            versions in (0..=Version::MAX, 0..=Version::MAX),
            length: u32,
            crc: u32,
            following: u64,
        ) {
            let header = Header {
                id: ImageId(id),
                version: Version(versions.0),
                next_version: Version(versions.1),
                length,
                crc,
                following,
            };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: [u8; Header::SIZE]) {
            let _ = Header::decode(&bytes);
        }
    }

    #[test]
    fn a_header_is_as_the_cards_have_it() {
        let header = Header {
            id: ImageId::IMAGE,
            version: Version::BLUEFIELD3,
            next_version: Version::COMMON,
            length: 0x0102_0304,
            crc: 0x0506_0708,
            following: 1 << 63,
        };
        let bytes = [
            0x42, 0x66, 0x02, 0x13, 0x21, 0x00, 0x32, 0x3e, 4, 3, 2, 1, 8, 7, 6, 5, 0, 0, 0, 0, 0, 0, 0, 0x80,
        ];
        assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn what_is_no_header_is_refused_by_name() {
        let sound = Header {
            id: ImageId::INFO,
            version: Version::COMMON,
            next_version: Version::COMMON,
            length: 0,
            crc: 0,
            following: 0,
        };
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.encode();
            bytes[at] = byte;
            Header::decode(&bytes)
        };
        assert_eq!(with(0, 0), Err(HeaderError::Magic(0x1302_6600)));
        assert_eq!(with(4, 0x22), Err(HeaderError::Format { major: 2, minor: 2 }));
        assert_eq!(with(4, 0x31), Err(HeaderError::Format { major: 1, minor: 3 }));
        assert_eq!(with(6, 0x40), Err(HeaderError::Size(32)));
        assert_eq!(with(7, 64), Err(HeaderError::Id(64)));
        assert_eq!(with(4, 0x11), Ok(sound), "of before there were versions");
    }
}
