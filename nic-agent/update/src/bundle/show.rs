//! Looking at a whole bundle, as a card would: what it says of itself, and whether that is so.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use tough::schema::{Signed, Timestamp};

use super::{BundleError, Files, Manifest, Reader};
use crate::metadata::{self, MetadataError, Trusted};

/// A bundle that was read to its end and is what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What it is for.
    pub manifest: Manifest,
    /// The number of the release.
    pub release: u64,
    /// From when on cards refuse it.
    pub expires: SystemTime,
    /// Names, lengths and SHA-256 hashes of its targets, in their order.
    pub targets: Vec<(&'static str, u64, Vec<u8>)>,
}

/// A bundle that no card would take.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// Its form.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// It has no root of trust.
    #[error("the bundle has no root of trust")]
    NoRoot,
    /// Its targets are others, or stand in another order.
    #[error("the bundle has {found:?} where {expected} should be")]
    Order {
        /// What should come.
        expected: &'static str,
        /// What comes.
        found: String,
    },
    /// A target is not the one that was signed.
    #[error("{0} is not what was signed")]
    Corrupt(&'static str),
}

/// Reads a bundle and verifies all of it. Without a root of trust the bundle's own oldest one is believed:
/// that says whether it is whole, and nothing of who made it.
///
/// # Errors
/// Why a card would refuse it, but for what only a card knows: its board, its version, what it installed.
pub fn show(source: impl Read, root: Option<&[u8]>, now: SystemTime) -> Result<Shown, ShowError> {
    let (mut reader, files) = Reader::open(source)?;
    let own = oldest_root(&files);
    let root = root.or(own.as_deref()).ok_or(ShowError::NoRoot)?;
    let timestamp = timestamp(&files)?;
    let verified = metadata::verify(files, root, &Trusted::default(), now)?;
    let mut targets = Vec::new();
    for known in verified.targets {
        let part = reader.next_part()?.ok_or(BundleError::Truncated("its targets"))?;
        if part.name != known.name {
            return Err(ShowError::Order { expected: known.name, found: part.name });
        }
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = reader.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            hash.update(bytes);
        }
        if part.length != known.length || hash.finish().as_ref() != known.sha256 {
            return Err(ShowError::Corrupt(known.name));
        }
        targets.push((known.name, known.length, known.sha256));
    }
    reader.finish()?;
    let seconds = u64::try_from(timestamp.expires.as_second()).unwrap_or(0);
    let expires = UNIX_EPOCH + Duration::from_secs(seconds);
    Ok(Shown { manifest: verified.manifest, release: timestamp.version.get(), expires, targets })
}

/// The first of the chain of roots.
fn oldest_root(files: &Files) -> Option<Vec<u8>> {
    let number = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
    let roots = files.iter().filter_map(|(name, bytes)| Some((number(name)?, bytes)));
    roots.min_by_key(|(number, _)| *number).map(|(_, bytes)| bytes.clone())
}

fn timestamp(files: &Files) -> Result<Timestamp, MetadataError> {
    let missing = || MetadataError::Malformed("timestamp.json".to_owned());
    let bytes = files.get("timestamp.json").ok_or_else(missing)?;
    let signed: Signed<Timestamp> = serde_json::from_slice(bytes).map_err(|_| missing())?;
    Ok(signed.signed)
}
