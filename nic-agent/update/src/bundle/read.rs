//! Reading a bundle as it comes.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{MAGIC, METADATA_LIMIT, is_name};

/// What is wrong with a bundle's form, before anything in it is believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It does not begin as one.
    #[error("this is no update bundle")]
    Magic,
    /// It is of a newer format.
    #[error("the bundle has format {0}; this version reads format {known}", known = MAGIC[7])]
    Format(u8),
    /// It ends too early.
    #[error("the bundle ends within {0}")]
    Truncated(&'static str),
    /// Its metadata is too long.
    #[error("the bundle has {0} octets of metadata; {METADATA_LIMIT} are the most")]
    MetadataLength(u32),
    /// The name of a file or a target is none.
    #[error("a name in the bundle is malformed")]
    Name,
    /// A file is there twice.
    #[error("the metadata has {0} twice")]
    Repeated(String),
    /// It goes on behind its last target.
    #[error("the bundle goes on behind its end")]
    Endless,
    /// It could not be received.
    #[error("the bundle could not be received: {0}")]
    Source(#[source] io::Error),
}

/// A target that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// As many octets the bundle says that it has.
    pub length: u64,
}

/// The files of a bundle's metadata, by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A bundle that is read.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Octets of the target at hand that were not read yet.
    left: u64,
}

impl<R: Read> Reader<R> {
    /// Reads up to the first target, and returns the files of the metadata by their names.
    ///
    /// # Errors
    /// It is no bundle, or it breaks off.
    pub fn open(source: R) -> Result<(Reader<R>, Files), BundleError> {
        let mut reader = Reader { source, left: 0 };
        let magic: [u8; 8] = reader.array("its head")?;
        match magic.split_last() {
            Some((_, name)) if *name != MAGIC[..7] => return Err(BundleError::Magic),
            Some((&format, _)) if format != MAGIC[7] => return Err(BundleError::Format(format)),
            _ => {}
        }
        let length = u32::from_le_bytes(reader.array("its head")?);
        if length > METADATA_LIMIT {
            return Err(BundleError::MetadataLength(length));
        }
        let mut metadata = vec![0; length as usize];
        reader.exact(&mut metadata, "its metadata")?;
        Ok((reader, files(&metadata)?))
    }

    /// The next target; what was not read of the one before is skipped. `None` at the end of the bundle.
    ///
    /// # Errors
    /// It breaks off, or is malformed.
    pub fn next_part(&mut self) -> Result<Option<Part>, BundleError> {
        let mut rest = [0; 4096];
        while self.read(&mut rest)? > 0 {}
        let mut length = [0; 1];
        if self.some(&mut length)? == 0 {
            return Ok(None);
        }
        let mut name = vec![0; usize::from(length[0])];
        self.exact(&mut name, "the name of a target")?;
        if !is_name(&name) {
            return Err(BundleError::Name);
        }
        let name = String::from_utf8(name).map_err(|_| BundleError::Name)?;
        self.left = u64::from_le_bytes(self.array("the length of a target")?);
        Ok(Some(Part { name, length: self.left }))
    }

    /// The next octets of the target at hand; 0 at its end.
    ///
    /// # Errors
    /// The bundle breaks off.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, BundleError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = self.some(buffer)?;
        if read == 0 {
            return Err(BundleError::Truncated("a target"));
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Reads the end of the bundle.
    ///
    /// # Errors
    /// It goes on.
    pub fn finish(mut self) -> Result<(), BundleError> {
        match self.next_part() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(BundleError::Name | BundleError::Truncated(_)) => Err(BundleError::Endless),
            Err(error) => Err(error),
        }
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, BundleError> {
        loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(BundleError::Source),
            }
        }
    }

    fn exact(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), BundleError> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::Truncated(what),
            _ => BundleError::Source(error),
        })
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BundleError> {
        let mut array = [0; N];
        self.exact(&mut array, what)?;
        Ok(array)
    }
}

/// A bundle's beginning, up to its first target: what [`Reader::open`] reads.
pub(crate) fn head(files: &Files) -> Option<Vec<u8>> {
    let mut section = Vec::new();
    for (name, bytes) in files {
        section.push(u8::try_from(name.len()).ok()?);
        section.extend_from_slice(name.as_bytes());
        section.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_le_bytes());
        section.extend_from_slice(bytes);
    }
    let length = u32::try_from(section.len()).ok().filter(|&length| length <= METADATA_LIMIT)?;
    Some([&MAGIC[..], &length.to_le_bytes(), &section].concat())
}

/// What stands before a target's octets.
pub(crate) fn part_head(name: &str, length: u64) -> Vec<u8> {
    let octets = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[octets], name.as_bytes(), &length.to_le_bytes()].concat()
}

/// The files in a metadata section.
fn files(mut bytes: &[u8]) -> Result<Files, BundleError> {
    const CUT: BundleError = BundleError::Truncated("its metadata");
    let mut files = BTreeMap::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(length)).ok_or(CUT)?;
        let (length, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (contents, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(CUT)?;
        bytes = rest;
        if !is_name(name) {
            return Err(BundleError::Name);
        }
        let name = String::from_utf8(name.to_vec()).map_err(|_| BundleError::Name)?;
        if files.insert(name.clone(), contents.to_vec()).is_some() {
            return Err(BundleError::Repeated(name));
        }
    }
    Ok(files)
}
