//! Writing a BFB. Each image is read twice, for its checksum and to be written, and never held in memory.

use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use super::header::Header;
use super::{Board, ImageId, MAX_TRAILER, Manifest, PrivateKey, SealError, Version, padding, seal};

/// What an image is read from: from its first byte to its last, as often as needed.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// An image that is to be written.
pub struct Image<'a> {
    /// What it is for.
    pub id: ImageId,
    /// For which cards.
    pub version: Version,
    /// Its bytes.
    pub source: Box<dyn Source + 'a>,
}

impl<'a> Image<'a> {
    /// Of bytes that are at hand.
    pub fn of_bytes(id: ImageId, version: Version, bytes: impl AsRef<[u8]> + 'a) -> Image<'a> {
        Image { id, version, source: Box::new(Cursor::new(bytes)) }
    }
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({} {})", self.id, self.version)
    }
}

/// Why a BFB was not written, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no image.
    #[error("a BFB of no images")]
    Empty,
    /// The same image twice.
    #[error("image {id} {version} twice")]
    Twice {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
    },
    /// An image that a header cannot describe.
    #[error("image {0} has {1} bytes, and a header has room for {max}", max = u32::MAX)]
    TooLong(ImageId, u64),
    /// More text than may stand behind the images.
    #[error("bf.cfg has {0} bytes, more than {MAX_TRAILER}")]
    Trailer(usize),
    /// An image could not be read.
    #[error("image {id} cannot be read")]
    Source {
        /// The image.
        id: ImageId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image was another the second time.
    #[error("image {0} changed while it was read")]
    Changed(ImageId),
    /// The stream could not be written.
    #[error("the BFB cannot be written")]
    Output(#[source] io::Error),
    /// What says what is in it cannot be made.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Writes images in the order in which cards want them, and `bf.cfg` behind them; says how many bytes.
///
/// # Errors
/// If they cannot stand in one stream, cannot be read or cannot be written.
pub fn write(
    mut images: Vec<Image<'_>>,
    bf_cfg: &[u8],
    out: &mut (impl Write + ?Sized),
) -> Result<u64, WriteError> {
    // What is not known stands behind the rest, as what is added to the format is.
    images.sort_by_key(|image| (image.id.rank().unwrap_or(usize::MAX), image.id, image.version));
    emit(&mut images, bf_cfg, out)
}

/// The same, in the order in which they are.
pub(crate) fn emit(
    images: &mut [Image<'_>],
    bf_cfg: &[u8],
    out: &mut (impl Write + ?Sized),
) -> Result<u64, WriteError> {
    let headers = headers(images)?;
    if bf_cfg.len() > MAX_TRAILER {
        return Err(WriteError::Trailer(bf_cfg.len()));
    }
    let mut written = 0;
    for (image, header) in images.iter_mut().zip(&headers) {
        out.write_all(&header.encode()).map_err(WriteError::Output)?;
        copy(image, header, out)?;
        written += header.whole();
    }
    out.write_all(bf_cfg).map_err(WriteError::Output)?;
    Ok(written + bf_cfg.len() as u64)
}

fn headers(images: &mut [Image<'_>]) -> Result<Vec<Header>, WriteError> {
    if images.is_empty() {
        return Err(WriteError::Empty);
    }
    let places: Vec<(ImageId, Version)> = images.iter().map(|image| (image.id, image.version)).collect();
    for (index, &(id, version)) in places.iter().enumerate() {
        if places[..index].contains(&(id, version)) {
            return Err(WriteError::Twice { id, version });
        }
    }
    let mut headers = Vec::with_capacity(images.len());
    for (index, image) in images.iter_mut().enumerate() {
        let (id, version) = places[index];
        let behind = &places[index + 1..];
        let (length, crc) = checksum(image)?;
        headers.push(Header {
            id,
            version,
            next_version: behind.iter().find(|other| other.0 == id).map_or(Version::COMMON, |other| other.1),
            length,
            crc,
            following: behind.iter().fold(0, |bits, other| bits | other.0.bit()),
        });
    }
    Ok(headers)
}

fn checksum(image: &mut Image<'_>) -> Result<(u32, u32), WriteError> {
    let mut crc = crc32fast::Hasher::new();
    let mut length = 0_u64;
    each_chunk(image, |chunk| {
        crc.update(chunk);
        length += chunk.len() as u64;
        Ok(())
    })?;
    let length = u32::try_from(length).map_err(|_| WriteError::TooLong(image.id, length))?;
    crc.update(&[0; 8][..padding(length)]);
    Ok((length, crc.finalize()))
}

fn copy(image: &mut Image<'_>, header: &Header, out: &mut (impl Write + ?Sized)) -> Result<(), WriteError> {
    let mut crc = crc32fast::Hasher::new();
    let (id, mut left) = (image.id, u64::from(header.length));
    each_chunk(image, |chunk| {
        crc.update(chunk);
        left = left.checked_sub(chunk.len() as u64).ok_or(WriteError::Changed(id))?;
        out.write_all(chunk).map_err(WriteError::Output)
    })?;
    let rest = &[0; 8][..padding(header.length)];
    crc.update(rest);
    if left > 0 || crc.finalize() != header.crc {
        return Err(WriteError::Changed(id));
    }
    out.write_all(rest).map_err(WriteError::Output)
}

/// Reads an image from its beginning.
pub(crate) fn each_chunk(
    image: &mut Image<'_>,
    mut each: impl FnMut(&[u8]) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let id = image.id;
    let failed = |source| WriteError::Source { id, source };
    image.source.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match image.source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => each(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What we put over a site's own boot stream.
pub struct Overlay<'a> {
    board: Board,
    version: String,
    images: Vec<Image<'a>>,
}

impl fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Overlay({} {}, {:?})", self.board, self.version, self.images)
    }
}

impl<'a> Overlay<'a> {
    /// For cards of one generation; `version` is what the agent in it answers with.
    ///
    /// All images get the board's own version, so that a card of it takes them and no common ones.
    pub fn new(board: Board, version: impl Into<String>) -> Overlay<'a> {
        Overlay { board, version: version.into(), images: Vec::new() }
    }

    /// With an image.
    #[must_use]
    pub fn image(mut self, id: ImageId, source: impl Source + 'a) -> Overlay<'a> {
        self.images.push(Image { id, version: self.board.version(), source: Box::new(source) });
        self
    }

    /// With an image that is a line of text, such as [`ImageId::BOOT_ARGS`].
    #[must_use]
    pub fn text(self, id: ImageId, text: impl Into<String>) -> Overlay<'a> {
        self.image(id, Cursor::new(text.into().into_bytes()))
    }

    /// The images, with the manifest that lists them, signed if there is a key.
    ///
    /// # Errors
    /// If an image cannot be read, or the manifest not be made.
    pub fn seal(self, key: Option<&PrivateKey>) -> Result<Vec<Image<'a>>, WriteError> {
        let Overlay { board, version, mut images } = self;
        let manifest = Manifest::of(board, version, &mut images)?;
        let info = seal(&manifest, key)?;
        images.push(Image::of_bytes(ImageId::INFO, board.version(), info));
        Ok(images)
    }
}
