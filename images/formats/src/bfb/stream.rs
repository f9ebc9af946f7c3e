//! A sound stream, from which images are taken.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use super::{Header, Image, ReadError, Reader};

/// A stream that was read whole, and found sound.
pub struct Stream<R> {
    input: RefCell<R>,
    /// Its headers, each with the place of its image.
    places: Vec<(Header, u64)>,
    bf_cfg: Vec<u8>,
}

impl<R> fmt::Debug for Stream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("places", &self.places).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Stream<R> {
    /// From its beginning.
    ///
    /// # Errors
    /// If it is not sound.
    pub fn read(mut input: R) -> Result<Stream<R>, ReadError> {
        input.rewind().map_err(|source| ReadError::Io { at: 0, source })?;
        let mut reader = Reader::new(&mut input);
        let mut places = Vec::new();
        while let Some(header) = reader.next_image()? {
            places.push((header, reader.position()));
        }
        let bf_cfg = reader.trailer()?;
        Ok(Stream { input: RefCell::new(input), places, bf_cfg })
    }

    /// The headers of its images.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.places.iter().map(|(header, _)| header)
    }

    /// Its images, in their order.
    pub fn images(&self) -> Vec<Image<'_>> {
        let section = |(header, begin): &(Header, u64)| {
            let section = Section { whole: &self.input, begin: *begin, length: header.length.into(), at: 0 };
            Image { id: header.id, version: header.version, source: Box::new(section) }
        };
        self.places.iter().map(section).collect()
    }

    /// The text behind them.
    pub fn bf_cfg(&self) -> &[u8] {
        &self.bf_cfg
    }
}

/// A part of a stream that several read.
struct Section<'a, R> {
    whole: &'a RefCell<R>,
    begin: u64,
    length: u64,
    at: u64,
}

impl<R: Read + Seek> Read for Section<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut whole = self.whole.borrow_mut();
        whole.seek(SeekFrom::Start(self.begin + self.at))?;
        let read = whole.read(&mut buffer[..wanted])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<R> Seek for Section<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        match at {
            Some(at) if at <= self.length => {
                self.at = at;
                Ok(at)
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "outside of the image")),
        }
    }
}
