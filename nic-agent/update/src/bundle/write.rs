//! Writing a bundle. The same contents, keys and dates make the same octets.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jiff::Timestamp as Date;
use serde::Serialize;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{
    Hashes, KeyHolder, Metafile, Role, RoleKeys, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp,
};
use tough::sign::{Sign, parse_keypair};
use tough::{TargetName, async_trait};

use super::Manifest;
use super::read::{head, part_head};

/// The version of TUF that the metadata is written in.
const SPEC_VERSION: &str = "1.0.0";
/// Those that every repository has.
const ROLES: [RoleType; 4] = [RoleType::Root, RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets];

/// A signing key: Ed25519 in PKCS#8, or what else TUF knows.
#[derive(Clone)]
pub struct Key(Vec<u8>);

/// A key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is none.
    #[error("no private key in PKCS#8")]
    Malformed,
    /// The machine gave no random numbers.
    #[error("no random numbers for a new key")]
    Random,
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// The machine gave no random numbers.
    pub fn generate() -> Result<Key, KeyError> {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok(Key(pair.as_ref().to_vec()))
    }

    /// One that stands in a file.
    ///
    /// # Errors
    /// The file cannot be read, or has none.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        let bytes = std::fs::read(path);
        let key = Key(bytes.map_err(|source| KeyError::File { path: path.to_owned(), source })?);
        key.public().map(|_| key)
    }

    /// The same octets that [`Key::read`] reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn public(&self) -> Result<tough::schema::key::Key, KeyError> {
        parse_keypair(&self.0).map(|key| key.tuf_key()).map_err(|_| KeyError::Malformed)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest is secret.
        f.write_str("Key")
    }
}

#[async_trait]
impl KeySource for Key {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("a key of a bundle is not written back".into())
    }
}

/// Where the octets of a target are.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// In a file.
    File(&'a Path),
    /// In memory.
    Bytes(&'a [u8]),
}

impl<'a> Source<'a> {
    fn open(self) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Source::File(path) => Box::new(File::open(path)?),
            Source::Bytes(bytes) => Box::new(bytes),
        })
    }
}

/// What a bundle is made of.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// What it is for.
    pub manifest: Manifest,
    /// The number of the release, larger than that of any before: cards refuse smaller ones.
    pub release: NonZeroU64,
    /// From when on cards refuse it.
    pub expires: SystemTime,
    /// The targets, as [`super::Kind::targets`] orders them.
    pub targets: Vec<Source<'a>>,
}

/// A bundle cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A target cannot be read.
    #[error("{name} cannot be read: {source}")]
    Target {
        /// Its name.
        name: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A target changed while it was read.
    #[error("{0} changed while it was read")]
    Changed(&'static str),
    /// There are too many targets, or too few.
    #[error("a bundle of this kind has {expected} targets, not {found}")]
    Targets {
        /// As many as there should be.
        expected: usize,
        /// As many as there are.
        found: usize,
    },
    /// The roots of trust are not as they should be.
    #[error("root {0} is no root of trust, or not the next one")]
    Root(usize),
    /// The date is out of reach.
    #[error("the date of expiry is out of reach")]
    Expires,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot be signed: keys are missing, or not those of the root of trust.
    #[error("the metadata cannot be signed: {0}")]
    Sign(#[source] Box<tough::error::Error>),
    /// The metadata is too long.
    #[error("{0} octets of metadata are too many")]
    MetadataLength(usize),
    /// It has no form as JSON.
    #[error("the metadata cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// The bundle cannot be written.
    #[error("the bundle cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Makes a root of trust that these keys sign for every role, `threshold` of them together. A root that
/// follows another is signed by the keys of the one before as well: `signers` are all that sign.
///
/// # Errors
/// A key cannot be used.
pub fn make_root(
    version: NonZeroU64,
    expires: SystemTime,
    keys: &[Key],
    threshold: NonZeroU64,
    signers: &[Key],
) -> Result<Vec<u8>, WriteError> {
    let mut root = Root {
        spec_version: SPEC_VERSION.to_owned(),
        consistent_snapshot: false,
        version,
        expires: date(expires)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    let mut keyids: Vec<Decoded<Hex>> = Vec::new();
    for key in keys {
        let public = key.public()?;
        let id = public.key_id().map_err(|_| KeyError::Malformed)?;
        root.keys.insert(id.clone(), public);
        keyids.push(id);
    }
    for role in ROLES {
        let keys = RoleKeys { keyids: keyids.clone(), threshold, _extra: HashMap::new() };
        root.roles.insert(role, keys);
    }
    let canonical = root.canonical_form().map_err(|_| KeyError::Malformed)?;
    let mut signatures = Vec::new();
    for key in signers {
        let pair = Ed25519KeyPair::from_pkcs8(&key.0).map_err(|_| KeyError::Malformed)?;
        let keyid = key.public()?.key_id().map_err(|_| KeyError::Malformed)?;
        debug_assert_eq!(pair.public_key().as_ref().len(), 32);
        let sig = pair.sign(&canonical).as_ref().to_vec().into();
        signatures.push(tough::schema::Signature { keyid, sig });
    }
    encode(&Signed { signed: root, signatures })
}

/// Writes a bundle. `roots` are all roots of trust, from the one that the oldest card has to the newest,
/// whose keys sign.
///
/// # Errors
/// Why not; what was written is no bundle then.
pub fn write(
    out: &mut dyn Write,
    roots: &[Vec<u8>],
    keys: &[Key],
    contents: &Contents<'_>,
) -> Result<(), WriteError> {
    let names = contents.manifest.kind.targets();
    if names.len() != contents.targets.len() {
        return Err(WriteError::Targets { expected: names.len(), found: contents.targets.len() });
    }
    let mut described = Vec::new();
    for (&name, &source) in names.iter().zip(&contents.targets) {
        described.push((name, source, measure(name, source, &mut io::sink())?));
    }
    let files = metadata(roots, keys, contents, &described)?;
    let octets = files.values().map(Vec::len).sum();
    out.write_all(&head(&files).ok_or(WriteError::MetadataLength(octets))?)?;
    for (name, source, measured) in described {
        out.write_all(&part_head(name, measured.0))?;
        let again = measure(name, source, out)?;
        if again.0 != measured.0 || again.1.as_ref() != measured.1.as_ref() {
            return Err(WriteError::Changed(name));
        }
    }
    Ok(out.flush()?)
}

/// Length and hash of a target, which goes to `out`.
fn measure(name: &'static str, source: Source<'_>, out: &mut dyn Write) -> Result<(u64, Digest), WriteError> {
    let failed = |source| WriteError::Target { name, source };
    let mut input = source.open().map_err(failed)?;
    let (mut length, mut hash) = (0, Context::new(&SHA256));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(failed)?,
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((length, hash.finish()));
        };
        out.write_all(bytes)?;
        hash.update(bytes);
        length += read as u64;
    }
}

type Described<'a> = (&'static str, Source<'a>, (u64, Digest));

/// The files of the repository, by name.
fn metadata(
    roots: &[Vec<u8>],
    keys: &[Key],
    contents: &Contents<'_>,
    described: &[Described<'_>],
) -> Result<BTreeMap<String, Vec<u8>>, WriteError> {
    let mut files = BTreeMap::new();
    let mut newest: Option<Root> = None;
    for (index, bytes) in roots.iter().enumerate() {
        let root: Signed<Root> = serde_json::from_slice(bytes).map_err(|_| WriteError::Root(index))?;
        let follows = |before: &Root| before.version.checked_add(1) == Some(root.signed.version);
        if !newest.as_ref().is_none_or(follows) {
            return Err(WriteError::Root(index));
        }
        files.insert(format!("{}.root.json", root.signed.version), bytes.clone());
        newest = Some(root.signed);
    }
    let holder = KeyHolder::Root(newest.ok_or(WriteError::Root(0))?);
    let (release, expires) = (contents.release, date(contents.expires)?);
    let spec = || SPEC_VERSION.to_owned();

    let mut targets = Targets::new(spec(), release, expires);
    targets.delegations = None;
    for (name, _, (length, hash)) in described {
        let Ok(name) = TargetName::new(*name) else { return Err(WriteError::Changed(name)) };
        let target = Target {
            length: *length,
            hashes: Hashes { sha256: hash.as_ref().to_vec().into(), _extra: HashMap::new() },
            custom: custom(&contents.manifest),
            _extra: HashMap::new(),
        };
        targets.targets.insert(name, target);
    }
    let targets = sign(targets, &holder, keys)?;
    let mut snapshot = Snapshot::new(spec(), release, expires);
    snapshot.meta.insert("targets.json".to_owned(), described_file(&targets, release));
    let snapshot = sign(snapshot, &holder, keys)?;
    let mut timestamp = Timestamp::new(spec(), release, expires);
    timestamp.meta.insert("snapshot.json".to_owned(), described_file(&snapshot, release));
    files.insert("timestamp.json".to_owned(), sign(timestamp, &holder, keys)?);
    files.insert("snapshot.json".to_owned(), snapshot);
    files.insert("targets.json".to_owned(), targets);
    Ok(files)
}

fn custom(manifest: &Manifest) -> HashMap<String, serde_json::Value> {
    let text = |key: &str, value: String| (key.to_owned(), serde_json::Value::String(value));
    HashMap::from([
        text("board", manifest.board.clone()),
        text("version", manifest.version.to_string()),
        text("kind", manifest.kind.name().to_owned()),
    ])
}

fn described_file(bytes: &[u8], version: NonZeroU64) -> Metafile {
    let sha256 = digest(&SHA256, bytes).as_ref().to_vec().into();
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes { sha256, _extra: HashMap::new() }),
        version,
        _extra: HashMap::new(),
    }
}

fn sign<T: Role>(role: T, holder: &KeyHolder, keys: &[Key]) -> Result<Vec<u8>, WriteError> {
    let keys: Vec<Box<dyn KeySource>> = keys.iter().map(|key| Box::new(key.clone()) as _).collect();
    // Nothing of it waits for anything.
    let signed = futures::executor::block_on(SignedRole::new(role, holder, &keys, &SystemRandom::new()));
    encode(signed.map_err(|error| WriteError::Sign(Box::new(error)))?.signed())
}

/// As JSON whose keys are in order, where the maps of the schema have none.
fn encode<T: Serialize>(signed: &Signed<T>) -> Result<Vec<u8>, WriteError> {
    let mut ordered = serde_json::to_value(signed)?;
    if let Some(signatures) = ordered.get_mut("signatures").and_then(serde_json::Value::as_array_mut) {
        signatures.sort_by_key(|signature| signature["keyid"].as_str().unwrap_or_default().to_owned());
    }
    Ok(serde_json::to_vec(&ordered)?)
}

fn date(time: SystemTime) -> Result<Date, WriteError> {
    let date = Date::try_from(time).map_err(|_| WriteError::Expires)?;
    // Whole seconds, as TUF has them.
    Date::from_second(date.as_second()).map_err(|_| WriteError::Expires)
}
