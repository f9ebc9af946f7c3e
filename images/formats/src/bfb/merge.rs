//! Putting an overlay of ours over a site's own boot stream.

use std::io::{Read, Seek, Write};

use super::write::emit;
use super::{Board, Image, ImageId, ReadError, Stream, Version, WriteError};

/// Why there is no merged stream.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The site's stream is not sound.
    #[error("the stream below the overlay")]
    Theirs(#[from] ReadError),
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

/// Writes the site's stream with our images in it. Ours replace theirs of the same id and version; the order
/// of theirs stays, and ours go where the format has them. `bf_cfg` goes behind them in place of the site's
/// own, if there is one. Says how many bytes it wrote.
///
/// # Errors
/// If their stream is not sound, or a card of that generation would not start what is ours from the merged
/// one.
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
    let theirs = Stream::read(theirs)?;
    let stages = theirs.headers().filter(|header| header.id.is_makers());
    if board.takes(stages.map(|header| header.version)).is_none() {
        return Err(MergeError::NoStages(board));
    }
    let mut images = theirs.images();
    for image in ours {
        put(&mut images, image, board)?;
    }
    Ok(emit(&mut images, bf_cfg.unwrap_or(theirs.bf_cfg()), out)?)
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
