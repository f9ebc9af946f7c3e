//! What a start of nic-agent runs: a bundle of kind agent, or the image's own program.
//!
//! The launcher is of the image, so dm-verity has checked it. It believes nothing that lies in the data
//! folder: a bundle's metadata is verified again with each start, from the root of trust of the image or a
//! newer one that it led to, and so is the program, in memory, from which it is run. Expiry is not looked at:
//! what was installed in time goes on. Nor is the number of the release: a later bundle of another kind does
//! not make this one unwanted, and one older than the image is not taken anyway.

use aws_lc_rs::digest::{SHA256, digest};

use crate::beside::{self, Beside, Kept};
use crate::bundle::{Kind, Reader};
use crate::error::{LaunchError, MediumError, medium};
use crate::kept;
use crate::medium::Card;
use crate::metadata;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// The image's own nic-agent.
    Image,
    /// This one.
    Beside {
        /// What it is, with its start counted.
        beside: Beside,
        /// The program, which has been verified.
        program: Vec<u8>,
    },
}

/// Chooses what a start runs, and counts the start of what has not proven itself yet. What cannot be believed
/// is given up, and the next best taken.
///
/// # Errors
/// The data folder cannot be read; the image's own is left.
pub fn launch(card: &dyn Card) -> Result<Launch, MediumError> {
    let (image, data) = (card.running().version, card.data());
    let kept = Kept::list(data).map_err(medium("looking for another nic-agent"))?;
    for candidate in kept.to_start(image) {
        // First, so that whatever happens next happens so often and not for ever.
        let counted = match beside::count(data, &candidate) {
            Ok(counted) => counted,
            Err(error) => {
                tracing::error!(%error, name = %candidate, "its start cannot be counted; it is not started");
                continue;
            }
        };
        match verified(card, &counted) {
            Ok(program) => return Ok(Launch::Beside { beside: counted, program }),
            Err(error) => {
                tracing::error!(%error, name = %counted, "it is not started, and given up");
                if let Err(error) = beside::give_up(data, &counted) {
                    tracing::error!(%error, name = %counted, "it cannot be given up");
                }
            }
        }
    }
    Ok(Launch::Image)
}

/// The program of a bundle, if all of it is as it should be.
fn verified(card: &dyn Card, beside: &Beside) -> Result<Vec<u8>, LaunchError> {
    let data = card.data();
    let read = data.read(&beside.to_string()).map_err(medium("reading the bundle"))?;
    let bytes = read.ok_or(LaunchError::Gone)?;
    let (mut reader, files) = Reader::open(bytes.as_slice())?;
    let anchor = card.anchor().map_err(medium("reading the root of trust"))?;
    let trusted = kept::trusted(data).map_err(medium("reading what is trusted"))?;
    let (manifest, targets) = metadata::verify_kept(files, &anchor, &trusted)?;
    let running = card.running();
    if manifest.kind != Kind::Agent || manifest.version != beside.version {
        return Err(LaunchError::Name(manifest.version));
    }
    if manifest.board != running.board {
        return Err(LaunchError::Board(manifest.board));
    }
    let [known] = targets.as_slice() else {
        return Err(metadata::MetadataError::Targets("a nic-agent is one program").into());
    };
    let part = reader.next_part()?.filter(|part| part.name == known.name && part.length == known.length);
    let length = part.and_then(|part| usize::try_from(part.length).ok()).ok_or(LaunchError::Corrupt)?;
    // It is no longer than what was read.
    let mut program = vec![0; length.min(bytes.len())];
    let mut filled = 0;
    while let Some(rest) = program.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => return Err(LaunchError::Corrupt),
            read => filled += read,
        }
    }
    reader.finish()?;
    if digest(&SHA256, &program).as_ref() == known.sha256 { Ok(program) } else { Err(LaunchError::Corrupt) }
}
