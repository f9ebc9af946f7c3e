//! Reading a BFB from its beginning to its end, in bounded memory.

use std::io::{self, ErrorKind, Read};

use super::header::{Header, HeaderError, MAGIC};
use super::{ImageId, Version, padding};

/// The most bytes of text behind the last image.
pub const MAX_TRAILER: usize = 128 * 1024;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Why a stream is no sound BFB.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error("no BFB: it begins with {0}")]
    NotABfb(&'static str),
    /// It could not be read.
    #[error("at byte {at}")]
    Io {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A header is none.
    #[error("at byte {at}")]
    Header {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: HeaderError,
    },
    /// It ends within a header.
    #[error("it ends at byte {at}, within the header of an image")]
    CutHeader {
        /// Where.
        at: u64,
    },
    /// It ends within an image.
    #[error("it ends within image {id} {version}: {missing} bytes are missing")]
    CutImage {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
        /// What is not there.
        missing: u64,
    },
    /// It ends before the images that were announced.
    #[error("it ends though images were to follow, such as {0}")]
    CutStream(ImageId),
    /// An image is not as its header says.
    #[error("image {id} {version} is damaged: its CRC is {found:#010x}, its header says {stated:#010x}")]
    Crc {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
        /// What its header says.
        stated: u32,
        /// What it is.
        found: u32,
    },
    /// What fills the image up to a multiple of 8 bytes is not zeros: its length is not what was written.
    #[error("image {id} {version} is damaged: it is filled up with other than zeros")]
    Padding {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
    },
    /// The same image stands there twice.
    #[error("image {id} {version} stands there twice")]
    Twice {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
    },
    /// What a header announces is not what comes.
    #[error("the header of image {id} {version} announces {stated:#018x}, and {found:#018x} comes")]
    Following {
        /// The image.
        id: ImageId,
        /// Its version.
        version: Version,
        /// What its header says.
        stated: u64,
        /// What comes.
        found: u64,
    },
    /// Another image behind one that says that it is the last.
    #[error("at byte {at}: another image behind the last one")]
    BehindTheLast {
        /// Where.
        at: u64,
    },
    /// There is more than text behind the last image.
    #[error("more than {MAX_TRAILER} bytes behind the last image")]
    Trailer,
}

/// The image that is being read.
#[derive(Debug)]
struct Open {
    header: Header,
    /// Bytes of the image that were not read.
    left: u32,
    crc: crc32fast::Hasher,
}

/// Where in the stream it is.
#[derive(Debug)]
enum Place {
    /// Before a header.
    Between,
    Within(Open),
    /// Behind the last image; these bytes of what follows were read.
    Behind(Vec<u8>),
    /// Something was wrong, and nothing behind it is believed.
    Lost,
}

/// Reads a BFB.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes that were read.
    at: u64,
    place: Place,
    seen: Vec<Header>,
}

impl<R: Read> Reader<R> {
    /// Of what begins here.
    pub fn new(input: R) -> Reader<R> {
        Reader { input, at: 0, place: Place::Between, seen: Vec::new() }
    }

    /// The headers that were read.
    pub fn headers(&self) -> &[Header] {
        &self.seen
    }

    /// Bytes that were read: behind [`Reader::next_image`], where the image begins.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next image, once what was not read of this one was found to be sound; none behind the last.
    ///
    /// # Errors
    /// If it is no sound BFB up to there.
    pub fn next_image(&mut self) -> Result<Option<Header>, ReadError> {
        let mut buffer = [0; CHUNK];
        while self.read_image(&mut buffer)? > 0 {}
        match &self.place {
            Place::Between => self.begin(),
            Place::Behind(_) => Ok(None),
            Place::Within(_) | Place::Lost => Err(self.lost()),
        }
    }

    /// Bytes of the image, none at its end. An image is to be believed only once its end was reached.
    ///
    /// # Errors
    /// If it is not sound.
    pub fn read_image(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let Place::Within(open) = &mut self.place else { return Ok(0) };
        let header = open.header;
        if open.left == 0 {
            return self.end(header).map(|()| 0);
        }
        let wanted = buffer.len().min(usize::try_from(open.left).unwrap_or(usize::MAX));
        let at = self.at;
        let read = match read_some(&mut self.input, &mut buffer[..wanted]) {
            Ok(0) if wanted > 0 => Err(cut(&header, u64::from(open.left) + padding(header.length) as u64)),
            Ok(read) => Ok(read),
            Err(source) => Err(ReadError::Io { at, source }),
        };
        match read {
            Ok(read) => {
                open.crc.update(&buffer[..read]);
                // Not more than was left, which is 32 bits wide.
                open.left -= read as u32;
                self.at += read as u64;
                Ok(read)
            }
            Err(error) => {
                self.place = Place::Lost;
                Err(error)
            }
        }
    }

    /// The text behind the last image, once all images were found to be sound.
    ///
    /// # Errors
    /// If it is no sound BFB, or the text is too long.
    pub fn trailer(mut self) -> Result<Vec<u8>, ReadError> {
        while self.next_image()?.is_some() {}
        let Place::Behind(mut text) = self.place else {
            return Err(ReadError::BehindTheLast { at: self.at });
        };
        // One more, to see that there are too many.
        let limit = (MAX_TRAILER + 1 - text.len()) as u64;
        let read = self.input.take(limit).read_to_end(&mut text);
        read.map_err(|source| ReadError::Io { at: self.at, source })?;
        if text.len() > MAX_TRAILER { Err(ReadError::Trailer) } else { Ok(text) }
    }

    fn lost(&self) -> ReadError {
        let source = io::Error::other("the stream was not sound before");
        ReadError::Io { at: self.at, source }
    }

    fn begin(&mut self) -> Result<Option<Header>, ReadError> {
        let result = self.header();
        match &result {
            Ok(Some(header)) => {
                let open = Open { header: *header, left: header.length, crc: crc32fast::Hasher::new() };
                self.place = Place::Within(open);
            }
            Ok(None) => {}
            Err(_) => self.place = Place::Lost,
        }
        result
    }

    fn header(&mut self) -> Result<Option<Header>, ReadError> {
        let at = self.at;
        let mut bytes = [0; Header::SIZE];
        let last = self.seen.last().is_some_and(|header| header.following == 0);
        if last {
            let read = self.fill(&mut bytes[..4])?;
            if read == 4 && bytes[..4] == MAGIC.to_le_bytes() {
                return Err(ReadError::BehindTheLast { at });
            }
            self.announced()?;
            self.place = Place::Behind(bytes[..read].to_vec());
            return Ok(None);
        }
        let read = self.fill(&mut bytes)?;
        if at == 0 && (read < 4 || bytes[..4] != MAGIC.to_le_bytes()) {
            return Err(ReadError::NotABfb(resembles(&bytes[..read])));
        }
        match (read, self.seen.last()) {
            (Header::SIZE, _) => {}
            (0, Some(before)) => return Err(ReadError::CutStream(first(before.following))),
            _ => return Err(ReadError::CutHeader { at: self.at }),
        }
        let header = Header::decode(&bytes).map_err(|source| ReadError::Header { at, source })?;
        let Header { id, version, .. } = header;
        if self.seen.iter().any(|other| (other.id, other.version) == (id, version)) {
            return Err(ReadError::Twice { id, version });
        }
        self.seen.push(header);
        Ok(Some(header))
    }

    /// Reads what fills the image up, and compares its checksum.
    fn end(&mut self, header: Header) -> Result<(), ReadError> {
        let place = std::mem::replace(&mut self.place, Place::Lost);
        let Place::Within(mut open) = place else { return Err(self.lost()) };
        let mut rest = [0; 8];
        let wanted = padding(header.length);
        let read = self.fill(&mut rest[..wanted])?;
        if read < wanted {
            return Err(cut(&header, (wanted - read) as u64));
        }
        open.crc.update(&rest[..wanted]);
        let found = open.crc.finalize();
        let Header { id, version, crc: stated, .. } = header;
        if found != stated {
            return Err(ReadError::Crc { id, version, stated, found });
        }
        if rest[..wanted].iter().any(|byte| *byte != 0) {
            return Err(ReadError::Padding { id, version });
        }
        self.place = Place::Between;
        Ok(())
    }

    /// Whether each header announced what came.
    fn announced(&self) -> Result<(), ReadError> {
        let mut found = 0;
        for header in self.seen.iter().rev() {
            if header.following != found {
                let Header { id, version, following: stated, .. } = *header;
                return Err(ReadError::Following { id, version, stated, found });
            }
            found |= header.id.bit();
        }
        Ok(())
    }

    /// Reads until the buffer is full or the stream ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read_some(&mut self.input, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(source) => return Err(ReadError::Io { at: self.at + filled as u64, source }),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn cut(header: &Header, missing: u64) -> ReadError {
    ReadError::CutImage { id: header.id, version: header.version, missing }
}

/// The id of the lowest bit.
fn first(bits: u64) -> ImageId {
    let number = u8::try_from(bits.trailing_zeros()).unwrap_or_default();
    ImageId::new(number).unwrap_or(ImageId::INFO)
}

/// What a file is that begins so.
fn resembles(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "nothing: it is empty",
        [0xd0, 0x0d, 0xfe, 0xed, ..] => "a device tree, as FIT images for U-Boot do",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', b'X', ..] => "a compressed file",
        [b'M', b'Z', ..] => "an EFI program",
        [0, 0, 0, 0, ..] => "zeroes, as disk images may",
        _ => "something else",
    }
}
