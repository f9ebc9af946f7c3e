//! What TUF has to say about a bundle: its metadata, verified by `tough` from memory.
//!
//! `tough` loads a repository through a transport, and keeps what it trusts in a folder which it writes file
//! by file. A power cut between two of these, or within one, would make it forget how new the newest metadata
//! was. So it works in a folder of its own each time, and what is in it afterwards goes into one file of the
//! card's.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream;
use serde::{Deserialize, Serialize};
use tough::error::Error as Tough;
use tough::schema::{Root, Signed, Target, Targets};
use tough::{
    Bytes, ExpirationEnforcement, Limits, Repository, RepositoryLoader, Transport, TransportError,
    TransportErrorKind, TransportStream, async_trait,
};
use url::Url;

use crate::bundle::{Files, Kind, METADATA_LIMIT, Manifest};

/// Roots of trust that one bundle may lead through.
const MAX_ROOTS: u64 = 64;
/// Where `tough` thinks that the repository is.
const BASE: &str = "bundle:///";
/// The files of the folder that make up what is trusted.
const TRUSTED: [&str; 4] = ["root.json", "timestamp.json", "snapshot.json", "targets.json"];

/// Why the metadata of a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Signatures are missing, or are of keys that this card does not trust for that.
    #[error("the {role} metadata is not signed by enough keys that this card trusts: {why}")]
    Signature {
        /// Which.
        role: String,
        /// What TUF says.
        why: String,
    },
    /// It is over.
    #[error("the {role} metadata expired {ago} s ago")]
    Expired {
        /// Which.
        role: &'static str,
        /// Since when.
        ago: u64,
    },
    /// It is older than what this card has seen.
    #[error("the bundle is older than one that this card has installed: {0}")]
    Older(String),
    /// Its files do not belong together.
    #[error("the files of the metadata do not belong together: {0}")]
    Mixed(String),
    /// A file is missing, too long, or not as it should be.
    #[error("the metadata cannot be used: {0}")]
    Malformed(String),
    /// The root of trust of this card cannot be used.
    #[error("this card's own root of trust cannot be used: {0}")]
    Anchor(String),
    /// The targets do not say what they are.
    #[error("the targets do not say what they are: {0}")]
    Targets(&'static str),
    /// A folder to work in cannot be made or read.
    #[error("no folder to work in: {0}")]
    Folder(#[from] io::Error),
}

/// A target that is known by its length and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) length: u64,
    pub(crate) sha256: Vec<u8>,
}

/// A bundle whose metadata is believed.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) manifest: Manifest,
    /// In their order.
    pub(crate) targets: Vec<Known>,
    /// What is trusted from now on.
    pub(crate) trusted: Trusted,
}

/// What a card trusts because of what it has installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trusted {
    /// Metadata by file name.
    files: BTreeMap<String, String>,
    /// The latest time that was seen, in seconds since 1970.
    seen: u64,
}

impl Trusted {
    fn lay_out(&self, folder: &Path) -> io::Result<()> {
        for name in TRUSTED {
            if let Some(text) = self.files.get(name) {
                std::fs::write(folder.join(name), text)?;
            }
        }
        Ok(())
    }

    fn gather(folder: &Path, now: SystemTime) -> Result<Trusted, MetadataError> {
        let mut files = BTreeMap::new();
        for name in TRUSTED {
            files.insert(name.to_owned(), std::fs::read_to_string(folder.join(name))?);
        }
        Ok(Trusted { files, seen: seconds(now) })
    }

    /// The newer root of trust, of the image's and that which was trusted last.
    fn root<'a>(&'a self, anchor: &'a [u8]) -> &'a [u8] {
        let version =
            |bytes: &[u8]| serde_json::from_slice::<Signed<Root>>(bytes).ok().map(|root| root.signed.version);
        match self.files.get("root.json") {
            Some(last) if version(last.as_bytes()) > version(anchor) => last.as_bytes(),
            _ => anchor,
        }
    }
}

/// The files of a bundle's metadata, for `tough`.
#[derive(Debug, Clone)]
struct InMemory(BTreeMap<String, Bytes>);

#[async_trait]
impl Transport for InMemory {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match self.0.get(url.path().trim_start_matches('/')) {
            Some(bytes) => Ok(Box::pin(stream::iter([Ok(bytes.clone())]))),
            None => Err(TransportError::new(TransportErrorKind::FileNotFound, url)),
        }
    }
}

/// Verifies the metadata of a bundle. Blocks.
pub(crate) fn verify(
    files: Files,
    anchor: &[u8],
    trusted: &Trusted,
    now: SystemTime,
) -> Result<Verified, MetadataError> {
    let folder = tempfile::tempdir()?;
    trusted.lay_out(folder.path())?;
    let repository = load(in_memory(files), trusted.root(anchor), folder.path())?;
    // A clock that was set back makes nothing young again.
    let now = now.max(UNIX_EPOCH + Duration::from_secs(trusted.seen));
    check_expiry(&repository, now)?;
    let (manifest, targets) = described(&repository.targets().signed)?;
    Ok(Verified { manifest, targets, trusted: Trusted::gather(folder.path(), now)? })
}

/// Verifies the metadata of a bundle that was installed: signatures and hashes, from the root of trust on.
/// Blocks.
pub(crate) fn verify_kept(
    files: Files,
    anchor: &[u8],
    trusted: &Trusted,
) -> Result<(Manifest, Vec<Known>), MetadataError> {
    let folder = tempfile::tempdir()?;
    let repository = load(in_memory(files), trusted.root(anchor), folder.path())?;
    described(&repository.targets().signed)
}

fn in_memory(files: Files) -> InMemory {
    InMemory(files.into_iter().map(|(name, bytes)| (name, Bytes::from(bytes))).collect())
}

fn load(transport: InMemory, root: &[u8], folder: &Path) -> Result<Repository, MetadataError> {
    let base = Url::parse(BASE).map_err(|error| MetadataError::Malformed(error.to_string()))?;
    let most = u64::from(METADATA_LIMIT);
    let limits = Limits {
        max_root_size: most,
        max_targets_size: most,
        max_timestamp_size: most,
        max_snapshot_size: most,
        max_root_updates: MAX_ROOTS,
    };
    let loader = RepositoryLoader::new(&root, base.clone(), base)
        .transport(transport)
        .limits(limits)
        .datastore(folder)
        // It knows no clock but the system's; expiry is looked at by `check_expiry`.
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    // For the folder's files it asks for threads of a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(loader.load()).map_err(|error| told(&error))
}

/// The reasons of `tough` by what they mean to an operator.
fn told(error: &Tough) -> MetadataError {
    // What it was caused by says which hash, which key.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    match error {
        Tough::VerifyMetadata { role, .. } => MetadataError::Signature { role: role.to_string(), why: text },
        Tough::ParseTrustedMetadata { .. } | Tough::VerifyTrustedMetadata { .. } => {
            MetadataError::Anchor(text)
        }
        Tough::OlderMetadata { .. }
        | Tough::OlderSnapshotInTimestamp { .. }
        | Tough::SnapshotRoleMissing { .. }
        | Tough::SnapshotRoleRollback { .. } => MetadataError::Older(text),
        Tough::VersionMismatch { .. } | Tough::HashMismatch { .. } => MetadataError::Mixed(text),
        Tough::Transport { source, .. }
            if source.kind() == TransportErrorKind::Other && text.contains("mismatch") =>
        {
            MetadataError::Mixed(text)
        }
        _ => MetadataError::Malformed(text),
    }
}

fn check_expiry(repository: &Repository, now: SystemTime) -> Result<(), MetadataError> {
    let roles = [
        ("root", repository.root().signed.expires),
        ("timestamp", repository.timestamp().signed.expires),
        ("snapshot", repository.snapshot().signed.expires),
        ("targets", repository.targets().signed.expires),
    ];
    for (role, expires) in roles {
        if let Ok(ago) = now.duration_since(expires.into()) {
            return Err(MetadataError::Expired { role, ago: ago.as_secs() });
        }
    }
    Ok(())
}

/// What the targets say that they are: all the same, and as many as their kind has.
fn described(signed: &Targets) -> Result<(Manifest, Vec<Known>), MetadataError> {
    let first = signed.targets.values().next().ok_or(MetadataError::Targets("there are none"))?;
    let manifest = manifest(first)?;
    let names = manifest.kind.targets();
    if signed.targets.len() != names.len() {
        return Err(MetadataError::Targets("there are more or fewer than their kind has"));
    }
    let mut known = Vec::new();
    for &name in names {
        let target = signed.targets.iter().find(|(other, _)| other.raw() == name).map(|(_, target)| target);
        let target = target.ok_or(MetadataError::Targets("one that their kind has is missing"))?;
        if self::manifest(target)? != manifest {
            return Err(MetadataError::Targets("they are for different boards, versions or kinds"));
        }
        known.push(Known { name, length: target.length, sha256: target.hashes.sha256.to_vec() });
    }
    Ok((manifest, known))
}

fn manifest(target: &Target) -> Result<Manifest, MetadataError> {
    let text = |key: &str| target.custom.get(key).and_then(serde_json::Value::as_str);
    let board = text("board").filter(|board| !board.is_empty());
    let version = text("version").and_then(|version| version.parse().ok());
    let kind = text("kind").and_then(Kind::parse);
    Ok(Manifest {
        board: board.ok_or(MetadataError::Targets("one names no board"))?.to_owned(),
        version: version.ok_or(MetadataError::Targets("one names no version"))?,
        kind: kind.ok_or(MetadataError::Targets("one is of a kind that is unknown here"))?,
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
