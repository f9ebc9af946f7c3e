//! What a stream of ours says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::write::each_chunk;
use super::{Board, Image, ImageId, Version, WriteError};

/// The most characters of a version of ours.
const MAX_VERSION: usize = 64;

/// For which board a stream is, which version of ours it brings, and the images that are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    board: Board,
    version: String,
    images: BTreeMap<(ImageId, Version), Listed>,
}

/// What a manifest says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its bytes.
    pub length: u64,
    /// What they hash to.
    pub sha256: [u8; 32],
}

/// Why text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not of its form.
    #[error("the manifest is not of its form")]
    Form(#[source] serde_json::Error),
    /// A board that is none.
    #[error("board: there is no board {0:?} that starts from a BFB")]
    Board(String),
    /// A version that is none.
    #[error("version: {0:?} has not 1 to {MAX_VERSION} letters, digits and any of -.+~_")]
    Version(String),
    /// An image with a number that is none.
    #[error("images[{index}]: no image {id} v{version}")]
    Image {
        /// Which of the list.
        index: usize,
        /// Its id.
        id: u8,
        /// Its version.
        version: u8,
    },
    /// An image with a hash that is none.
    #[error("images[{0}].sha256: not 64 hexadecimal digits")]
    Hash(usize),
    /// An image twice.
    #[error("images[{0}]: listed before")]
    Twice(usize),
}

/// Its form in JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    board: String,
    version: String,
    images: Vec<ImageText>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageText {
    id: u8,
    version: u8,
    length: u64,
    sha256: String,
}

impl Manifest {
    /// Of images that are to be written.
    pub(crate) fn of(
        board: Board,
        version: String,
        images: &mut [Image<'_>],
    ) -> Result<Manifest, WriteError> {
        let mut listed = BTreeMap::new();
        for image in images {
            let mut hash = Sha256::new();
            let mut length = 0;
            each_chunk(image, |chunk| {
                hash.update(chunk);
                length += chunk.len() as u64;
                Ok(())
            })?;
            let entry = Listed { length, sha256: hash.finalize().into() };
            let (id, version) = (image.id, image.version);
            if listed.insert((id, version), entry).is_some() {
                return Err(WriteError::Twice { id, version });
            }
        }
        Ok(Manifest { board, version, images: listed })
    }

    /// The board that the stream is for.
    pub fn board(&self) -> Board {
        self.board
    }

    /// The version that the agent in it answers with.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The images that are ours.
    pub fn images(&self) -> &BTreeMap<(ImageId, Version), Listed> {
        &self.images
    }

    /// From JSON.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn parse(json: &[u8]) -> Result<Manifest, ManifestError> {
        let text: Text = serde_json::from_slice(json).map_err(ManifestError::Form)?;
        let board = Board::from_name(&text.board).ok_or(ManifestError::Board(text.board))?;
        if !is_version(&text.version) {
            return Err(ManifestError::Version(text.version));
        }
        let mut images = BTreeMap::new();
        for (index, image) in text.images.iter().enumerate() {
            let ImageText { id, version, length, .. } = *image;
            let place = ImageId::new(id).zip(Version::new(version));
            let place = place.ok_or(ManifestError::Image { index, id, version })?;
            let sha256 = unhex(&image.sha256).ok_or(ManifestError::Hash(index))?;
            if images.insert(place, Listed { length, sha256 }).is_some() {
                return Err(ManifestError::Twice(index));
            }
        }
        Ok(Manifest { board, version: text.version, images })
    }

    /// As JSON.
    ///
    /// # Errors
    /// If its version is none.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        if !is_version(&self.version) {
            return Err(ManifestError::Version(self.version.clone()));
        }
        let images = self.images.iter().map(|((id, version), listed)| ImageText {
            id: id.number(),
            version: version.number(),
            length: listed.length,
            sha256: hex(&listed.sha256),
        });
        let text =
            Text { board: self.board.name().into(), version: self.version.clone(), images: images.collect() };
        serde_json::to_vec(&text).map_err(ManifestError::Form)
    }
}

/// Whether it may stand in lines for people and in file names.
fn is_version(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.+~_".contains(&byte);
    (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(fits)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let digit = |at: usize| match digits.get(at)? {
        byte @ b'0'..=b'9' => Some(byte - b'0'),
        byte @ b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = digit(2 * index)? << 4 | digit(2 * index + 1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: impl FnOnce(&mut Text)) -> Result<Manifest, ManifestError> {
        let image = || ImageText { id: 62, version: 2, length: 5, sha256: "0f".repeat(32) };
        let mut text = Text { board: "bluefield3".into(), version: "1.2".into(), images: vec![image()] };
        change(&mut text);
        Manifest::parse(&serde_json::to_vec(&text).expect("JSON"))
    }

    #[test]
    fn a_manifest_is_what_was_written() {
        let manifest = text(|_| {}).expect("a manifest");
        assert_eq!((manifest.board(), manifest.version()), (Board::Bluefield3, "1.2"));
        assert_eq!(manifest.images()[&(ImageId::IMAGE, Version::BLUEFIELD3)].sha256, [0x0f; 32]);
        assert_eq!(Manifest::parse(&manifest.encode().expect("JSON")).expect("a manifest"), manifest);
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_field() {
        let told = |change: fn(&mut Text)| text(change).expect_err("a fault").to_string();
        assert!(told(|text| text.board = "stingray".into()).starts_with("board: "));
        assert!(told(|text| text.version = "1\n2".into()).starts_with("version: "));
        assert!(told(|text| text.version = String::new()).starts_with("version: "));
        assert!(told(|text| text.images[0].id = 64).starts_with("images[0]: "));
        assert!(told(|text| text.images[0].version = 16).starts_with("images[0]: "));
        assert!(told(|text| text.images[0].sha256 = "0F".repeat(32)).starts_with("images[0].sha256: "));
        let twice = |text: &mut Text| {
            let again = ImageText { sha256: "aa".repeat(32), ..text.images[0] };
            text.images.push(again);
        };
        assert!(told(twice).starts_with("images[1]: "));
        assert!(matches!(Manifest::parse(b"{}"), Err(ManifestError::Form(_))));
    }
}
