//! Whether a card may be given a stream: what it would take of it, and who answers for that.

use std::collections::BTreeMap;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{Board, Header, ImageId, Manifest, PublicKey, ReadError, Reader, SealError, Version, unseal};

/// The most bytes of an info image that are looked at.
const MAX_INFO: usize = 1024 * 1024;

/// An image of a sound stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What stands before it.
    pub header: Header,
    /// What it hashes to.
    pub sha256: [u8; 32],
}

/// All that a sound stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its images.
    pub images: Vec<Found>,
    /// The text behind them.
    pub bf_cfg: Vec<u8>,
    /// Its bytes.
    pub bytes: u64,
    /// What all of it hashes to.
    pub sha256: [u8; 32],
    /// Its info images; longer ones are cut.
    infos: BTreeMap<Version, Vec<u8>>,
}

/// Reads a stream whole.
///
/// # Errors
/// If it is not sound.
pub fn survey(input: impl Read) -> Result<Contents, ReadError> {
    let mut whole = Hashing { input, hash: Sha256::new(), bytes: 0 };
    let mut reader = Reader::new(&mut whole);
    let (mut images, mut infos) = (Vec::new(), BTreeMap::new());
    let mut buffer = vec![0; 64 * 1024];
    while let Some(header) = reader.next_image()? {
        let mut hash = Sha256::new();
        let mut info = Vec::new();
        loop {
            let read = reader.read_image(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            if header.id == ImageId::INFO {
                let room = (MAX_INFO - info.len()).min(read);
                info.extend_from_slice(&buffer[..room]);
            }
        }
        if header.id == ImageId::INFO {
            infos.insert(header.version, info);
        }
        images.push(Found { header, sha256: hash.finalize().into() });
    }
    let bf_cfg = reader.trailer()?;
    Ok(Contents { images, bf_cfg, bytes: whole.bytes, sha256: whole.hash.finalize().into(), infos })
}

/// Whom to believe.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// Only what this key signed.
    Key(&'a PublicKey),
    /// Anyone: also streams of the maker's own, which say nothing of ours.
    Anyone,
}

/// Why a card is not to be given a stream.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nothing says what it is.
    #[error("it has no info image with a manifest that says for which board it is and who made it")]
    NoManifest,
    /// Its manifest is not to be believed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It is for others.
    #[error("it is for {made_for}, and this card is {card}")]
    Board {
        /// What it is for.
        made_for: Board,
        /// What the card is.
        card: Board,
    },
    /// No kernel that the card would start.
    #[error("it has no kernel, image {id}, for {0}", id = ImageId::IMAGE)]
    NoKernel(Board),
    /// No boot loader.
    #[error(
        "it has no boot loader stages for {0}: it is an overlay, to be merged with the site's default.bfb"
    )]
    NoStages(Board),
    /// An image of the manifest is not there.
    #[error("image {0} {1} of the manifest is missing")]
    Missing(ImageId, Version),
    /// An image is not that of the manifest.
    #[error("image {0} {1} is not the one that was signed")]
    Changed(ImageId, Version),
    /// The card would start something else.
    #[error("a {card} would use image {id} {used}, which the manifest does not list")]
    NotListed {
        /// The card.
        card: Board,
        /// The image.
        id: ImageId,
        /// The version that it would use.
        used: Version,
    },
}

/// What is known of a stream that a card may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its manifest; none is there in a stream of the maker's own.
    pub manifest: Option<Manifest>,
    /// The id of the key that signed it, if that was asked for.
    pub signed_by: Option<String>,
}

impl Contents {
    /// The bytes of its info images.
    pub fn infos(&self) -> impl Iterator<Item = &[u8]> {
        self.infos.values().map(Vec::as_slice)
    }

    /// Whether a card may be given this.
    ///
    /// # Errors
    /// Names the image that stands against it.
    pub fn check(&self, card: Board, trust: Trust<'_>) -> Result<Checked, TrustError> {
        let manifest = match (self.manifest(card, trust), trust) {
            (Ok(manifest), _) => Some(manifest),
            (Err(TrustError::NoManifest | TrustError::Seal(SealError::NotOurs)), Trust::Anyone) => None,
            (Err(error), _) => return Err(error),
        };
        if let Some(manifest) = &manifest {
            if manifest.board() != card {
                return Err(TrustError::Board { made_for: manifest.board(), card });
            }
            self.check_listed(manifest)?;
            self.check_used(manifest, card)?;
        }
        if self.used(ImageId::IMAGE, card).is_none() {
            return Err(TrustError::NoKernel(card));
        }
        let stages = self.images.iter().filter(|found| found.header.id.is_makers());
        if card.takes(stages.map(|found| found.header.version)).is_none() {
            return Err(TrustError::NoStages(card));
        }
        let signed_by = match trust {
            Trust::Key(key) => Some(key.id()),
            Trust::Anyone => None,
        };
        Ok(Checked { manifest, signed_by })
    }

    /// The manifest for a card, which may stand beside other text of the maker's own; another board's if
    /// there is none for this one.
    fn manifest(&self, card: Board, trust: Trust<'_>) -> Result<Manifest, TrustError> {
        let key = match trust {
            Trust::Key(key) => Some(key),
            Trust::Anyone => None,
        };
        // Ours stand at their board's own version, so that an older one which lies below is not taken for
        // them.
        let of_card = self.infos.get(&card.version()).map(|info| unseal(info, key));
        let mut fault = match of_card {
            Some(Ok(manifest)) => return Ok(manifest),
            Some(Err(fault @ SealError::NotOurs)) => fault.into(),
            Some(Err(fault)) => return Err(fault.into()),
            None => TrustError::NoManifest,
        };
        for info in self.infos.values() {
            match unseal(info, key) {
                Ok(manifest) if manifest.board() != card => return Ok(manifest),
                Err(other) if matches!(fault, TrustError::NoManifest) => fault = other.into(),
                Ok(_) | Err(_) => {}
            }
        }
        Err(fault)
    }

    /// The version of an image that a card would use.
    fn used(&self, id: ImageId, card: Board) -> Option<Version> {
        let versions = self.images.iter().filter(|found| found.header.id == id);
        card.takes(versions.map(|found| found.header.version))
    }

    /// Whether all that is listed is there, and is what it was.
    fn check_listed(&self, manifest: &Manifest) -> Result<(), TrustError> {
        for (&(id, version), listed) in manifest.images() {
            let same = |found: &&Found| (found.header.id, found.header.version) == (id, version);
            let found = self.images.iter().find(same).ok_or(TrustError::Missing(id, version))?;
            if found.sha256 != listed.sha256 || u64::from(found.header.length) != listed.length {
                return Err(TrustError::Changed(id, version));
            }
        }
        Ok(())
    }

    /// Whether the card would use nothing but what is listed, and what it checks itself.
    fn check_used(&self, manifest: &Manifest, card: Board) -> Result<(), TrustError> {
        for found in &self.images {
            let id = found.header.id;
            if id.is_makers() || is_harmless(id) {
                continue;
            }
            if let Some(used) = self.used(id, card)
                && !manifest.images().contains_key(&(id, used))
            {
                return Err(TrustError::NotListed { card, id, used });
            }
        }
        Ok(())
    }
}

/// Whether an image decides nothing about what is started. The manifest's own is not listed in it.
fn is_harmless(id: ImageId) -> bool {
    matches!(id, ImageId::INFO | ImageId::BOOT_ACPI | ImageId::BOOT_DESC | ImageId::BOOT_TIMEOUT)
}

/// Hashes what is read.
struct Hashing<R> {
    input: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
