//! `bfb`: looks into images for BlueField cards, and puts ours over a site's own boot stream.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use nic_image_formats::bfb::merge::{MergeError, merge};
use nic_image_formats::bfb::{
    ImageId, KeyError, Manifest, PublicKey, ReadError, SealError, Stream, survey, unseal,
};
use serde::Serialize;

use crate::arguments::{BfbCommand, Output};
use crate::failure::Failure;
use crate::output;
use crate::table::table;

/// Why an image was not shown or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BfbError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no sound BFB.
    #[error("{}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// It has no manifest of ours, or not one that the key signed.
    #[error("{}", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SealError,
    },
    /// It is no key.
    #[error("{}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The two do not go together.
    #[error("not merged")]
    Merge(#[from] MergeError),
}

impl BfbError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            BfbError::File { .. } => 1,
            BfbError::Image { .. } | BfbError::Seal { .. } | BfbError::Key { .. } | BfbError::Merge(_) => 3,
        }
    }
}

/// What is in an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    images: Vec<ShownImage>,
    bf_cfg_bytes: usize,
    bytes: u64,
    /// The boards that a manifest of ours is for, with the version that they get.
    manifests: Vec<ShownManifest>,
}

#[derive(Debug, Serialize)]
struct ShownImage {
    id: u8,
    name: &'static str,
    version: u8,
    bytes: u32,
    sha256: String,
}

#[derive(Debug, Serialize)]
struct ShownManifest {
    board: &'static str,
    version: String,
}

/// Carries out one of the commands, none of which needs a card.
pub(crate) fn run(command: BfbCommand, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        BfbCommand::Show { image } => show(&image, output, out),
        BfbCommand::Merge { overlay, over, to, bf_cfg, key } => {
            let bf_cfg = bf_cfg.map(|path| fs::read(&path).map_err(|source| BfbError::File { path, source }));
            let bf_cfg = bf_cfg.transpose()?;
            let key = key.as_deref().map(read_key).transpose()?;
            let (manifest, bytes) = merged(&overlay, &over, &to, bf_cfg.as_deref(), key.as_ref())?;
            let (board, version) = (manifest.board(), manifest.version());
            writeln!(out, "{}: {bytes} bytes for a {board} with nic-agent {version}", to.display())?;
            Ok(())
        }
    }
}

fn show(path: &Path, output: Output, out: &mut dyn Write) -> Result<(), Failure> {
    let contents = survey(BufReader::new(open(path)?));
    let contents = contents.map_err(|source| BfbError::Image { path: path.to_owned(), source })?;
    let images = contents.images.iter().map(|found| ShownImage {
        id: found.header.id.number(),
        name: found.header.id.name().unwrap_or_default(),
        version: found.header.version.number(),
        bytes: found.header.length,
        sha256: found.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    let manifests = contents.infos().filter_map(|info| unseal(info, None).ok());
    let manifests = manifests
        .map(|manifest| ShownManifest { board: manifest.board().name(), version: manifest.version().into() });
    let shown = Shown {
        images: images.collect(),
        bf_cfg_bytes: contents.bf_cfg.len(),
        bytes: contents.bytes,
        manifests: manifests.collect(),
    };
    output::write(out, output, &shown, text)
}

fn text(shown: &Shown) -> String {
    let rows = shown.images.iter().map(|image| {
        let ShownImage { id, name, version, bytes, sha256 } = image;
        vec![id.to_string(), (*name).into(), format!("v{version}"), bytes.to_string(), sha256.clone()]
    });
    let mut text = table(&["ID", "NAME", "FOR", "BYTES", "SHA-256"], rows);
    text += &format!("\n{} bytes, of these {} of bf.cfg\n", shown.bytes, shown.bf_cfg_bytes);
    for ShownManifest { board, version } in &shown.manifests {
        text += &format!("for a {board}: nic-agent {version}; whether it is signed, flash --key says\n");
    }
    text
}

/// Writes the merged stream beside its place, and puts it there once it is whole.
fn merged(
    overlay: &Path,
    over: &Path,
    to: &Path,
    bf_cfg: Option<&[u8]>,
    key: Option<&PublicKey>,
) -> Result<(Manifest, u64), BfbError> {
    let ours = Stream::read(BufReader::new(open(overlay)?));
    let ours = ours.map_err(|source| BfbError::Image { path: overlay.to_owned(), source })?;
    let manifest =
        manifest(&ours, key).map_err(|source| BfbError::Seal { path: overlay.to_owned(), source })?;
    let theirs = BufReader::new(open(over)?);
    let mut part = to.to_owned().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |source| BfbError::File { path: part.clone(), source };
    let mut file = BufWriter::new(File::create(&part).map_err(failed)?);
    let result = merge(manifest.board(), theirs, ours.images(), bf_cfg, &mut file).map_err(BfbError::from);
    let result = result.and_then(|bytes| {
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&part, to).map_err(|source| BfbError::File { path: to.to_owned(), source })?;
        Ok(bytes)
    });
    match result {
        Ok(bytes) => Ok((manifest, bytes)),
        Err(error) => {
            // What is told is why it is not whole.
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// What an overlay says of itself.
fn manifest(overlay: &Stream<BufReader<File>>, key: Option<&PublicKey>) -> Result<Manifest, SealError> {
    let mut info = Vec::new();
    if let Some(mut image) = overlay.images().into_iter().find(|image| image.id == ImageId::INFO) {
        image.source.read_to_end(&mut info).map_err(|_| SealError::NotOurs)?;
    }
    unseal(&info, key)
}

fn read_key(path: &Path) -> Result<PublicKey, BfbError> {
    let text = fs::read_to_string(path).map_err(|source| BfbError::File { path: path.to_owned(), source })?;
    PublicKey::from_pem(&text).map_err(|source| BfbError::Key { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<File, BfbError> {
    File::open(path).map_err(|source| BfbError::File { path: path.to_owned(), source })
}
