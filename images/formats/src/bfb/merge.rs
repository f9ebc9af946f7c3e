//! Putting an overlay of ours over a site's own boot stream.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::write::emit;
use super::{Board, Header, Image, ImageId, ReadError, Reader, Version, WriteError};

/// Why there is no merged stream.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The site's stream is not sound.
    #[error("the stream below the overlay")]
    Theirs(#[from] ReadError),
    /// It cannot be read again from its beginning.
    #[error("the stream below the overlay cannot be read twice")]
    Rewind(#[source] io::Error),
    /// It brings no boot loader.
    #[error(
        "the stream below the overlay has no boot loader stages for {0}: what is wanted is its default.bfb"
    )]
    NoStages(Board),
    /// An image of the overlay is of the maker's.
    #[error("the overlay has image {0}, which only the card's maker can sign")]
    NotOurs(ImageId),
    /// An image of ours that the card would not use.
    #[error("a {board} would use image {id} {theirs} of the stream below instead of {ours} of the overlay")]
    Hidden {
        /// The board.
        board: Board,
        /// The image.
        id: ImageId,
        /// Our version of it.
        ours: Version,
        /// Theirs.
        theirs: Version,
    },
    /// The merged stream was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the site's stream with our images in it. Ours replace theirs of the same id and version; the order of
/// theirs stays, and ours go where the format has them. `bf_cfg` goes behind them in place of the site's own,
/// if there is one. Says how many bytes it wrote.
///
/// # Errors
/// If their stream is not sound, or a card of that generation would not start what is ours from the merged one.
pub fn merge(
    board: Board,
    theirs: impl Read + Seek,
    ours: Vec<Image<'_>>,
    bf_cfg: Option<&[u8]>,
    out: &mut (impl Write + ?Sized),
) -> Result<u64, MergeError> {
    if let Some(image) = ours.iter().find(|image| image.id.is_makers()) {
        return Err(MergeError::NotOurs(image.id));
    }
    let theirs = RefCell::new(theirs);
    theirs.borrow_mut().rewind().map_err(MergeError::Rewind)?;
    let (places, trailer) = places(&theirs)?;
    let stages = places.iter().filter(|(header, _)| header.id.is_makers());
    if board.takes(stages.map(|(header, _)| header.version)).is_none() {
        return Err(MergeError::NoStages(board));
    }
    let mut images: Vec<Image<'_>> =
        places.iter().map(|(header, begin)| Section::image(&theirs, header, *begin)).collect();
    for image in ours {
        put(&mut images, image, board)?;
    }
    Ok(emit(&mut images, bf_cfg.unwrap_or(&trailer), out)?)
}

/// The images of a sound stream with the places of their first bytes, and the text behind them.
type Places = (Vec<(Header, u64)>, Vec<u8>);

fn places(theirs: &RefCell<impl Read>) -> Result<Places, MergeError> {
    let mut theirs = theirs.borrow_mut();
    let mut reader = Reader::new(&mut *theirs);
    let mut places = Vec::new();
    while let Some(header) = reader.next_image()? {
        places.push((header, reader.position()));
    }
    Ok((places, reader.trailer()?))
}

fn put<'a>(images: &mut Vec<Image<'a>>, ours: Image<'a>, board: Board) -> Result<(), MergeError> {
    let (id, version) = (ours.id, ours.version);
    let others = images.iter().filter(|image| image.id == id).map(|image| image.version);
    match board.takes(others) {
        Some(theirs) if theirs > version => {
            return Err(MergeError::Hidden { board, id, ours: version, theirs });
        }
        _ => {}
    }
    if let Some(same) = images.iter_mut().find(|image| (image.id, image.version) == (id, version)) {
        *same = ours;
        return Ok(());
    }
    // An image that the format does not name goes with the one before it.
    let mut rank = None;
    let mut place = 0;
    for (index, image) in images.iter().enumerate() {
        rank = image.id.rank().or(rank);
        let before = if image.id == id { image.version < version } else { rank <= id.rank() };
        if before {
            // Behind all that belongs before it, even if an odd stream has one of those late.
            place = index + 1;
        }
    }
    images.insert(place, ours);
    Ok(())
}

/// A part of a stream that several read.
struct Section<'a, R> {
    whole: &'a RefCell<R>,
    begin: u64,
    length: u64,
    at: u64,
}

impl<'a, R: Read + Seek> Section<'a, R> {
    fn image(whole: &'a RefCell<R>, header: &Header, begin: u64) -> Image<'a> {
        let section = Section { whole, begin, length: header.length.into(), at: 0 };
        Image { id: header.id, version: header.version, source: Box::new(section) }
    }
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
