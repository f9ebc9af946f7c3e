//! `flash`: gives a BlueField a new image through rshim, from its host or its BMC.
//!
//! All that can be found wrong is found before the card is touched: the first byte that is pushed resets it.

mod card;
mod failure;
mod progress;
mod push;
mod rshim;
mod service;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{BufReader, Seek as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nic_image_formats::bfb::{Board, Checked, Contents, MAX_TRAILER, PublicKey, Trust, survey};
use serde::Serialize;

use self::card::{Card, Tail};
pub(crate) use self::failure::FlashError;
use self::progress::Progress;
use self::push::{Patience, Stream, push};
use self::rshim::{Directory, Rshim};
use self::service::Asked;
use crate::arguments::{Flash, Output};
use crate::client::RequestId;
use crate::failure::Failure;
use crate::output;

/// Time between two looks at the card's log.
const POLL: Duration = Duration::from_millis(500);
/// How long a card that reported an error may go on.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flashed {
    board: &'static str,
    /// The version in the image; null for an image of the maker's own.
    version: Option<String>,
    bytes: u64,
    seconds: f64,
    /// The id of the key that signed the image.
    signed_by: Option<String>,
    /// The version that the card answers with, if it was asked.
    answers: Option<String>,
}

/// Flashes a card.
pub(crate) async fn run(
    command: Flash,
    timeout: Duration,
    id: &RequestId,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let start = Instant::now();
    let rshim: Arc<dyn Rshim> = Arc::new(Directory(command.rshim.clone()));
    let patience =
        Patience { poll: POLL, stall: command.stall, boot: command.boot_timeout, after_error: AFTER_ERROR };
    let asked = command.check.as_deref().map(|server| Asked { server, timeout, id });
    let prepared = prepare(&command, &*rshim)?;
    may_be_reset(command.force, asked.as_ref(), &prepared.card).await?;
    let Prepared { board, card, checked, stream } = prepared;
    let bytes = stream.total();
    let mut progress = Progress::new(bytes);
    let pushed = {
        let _shown = Shown::log_of(&*rshim, card.display_level, true);
        push(&rshim, stream, old_lines(&*rshim), patience, &mut |told| progress.tell(&told))
    };
    pushed.map_err(FlashError::from)?;
    let version = checked.manifest.map(|manifest| manifest.version().to_owned());
    let answers = match asked {
        Some(asked) => Some(asked.must_answer(version.as_deref(), command.boot_timeout).await?),
        None => None,
    };
    let seconds = start.elapsed().as_secs_f64();
    let (board, signed_by) = (board.name(), checked.signed_by);
    let flashed = Flashed { board, version, bytes, seconds, signed_by, answers };
    output::write(out, output, &flashed, text)
}

fn text(flashed: &Flashed) -> String {
    let image = match &flashed.version {
        Some(version) => format!("nic-agent {version}"),
        None => "an image of its maker's own".into(),
    };
    let Flashed { board, bytes, seconds, .. } = flashed;
    let answers = match &flashed.answers {
        Some(version) => format!("ready, and answers with version {version}"),
        None => "ready; whether it answers was not asked (--check)".into(),
    };
    format!("Flashed a {board} with {image}: {bytes} bytes in {seconds:.1} s. The card is {answers}\n")
}

/// A card and an image for it that were found right.
struct Prepared {
    board: Board,
    card: Card,
    checked: Checked,
    stream: Stream,
}

fn prepare(command: &Flash, rshim: &dyn Rshim) -> Result<Prepared, FlashError> {
    let path = &command.image;
    let failed = |source| FlashError::File { path: path.clone(), source };
    let mut file = File::open(path).map_err(failed)?;
    let contents =
        survey(BufReader::new(&file)).map_err(|source| FlashError::Image { path: path.clone(), source })?;
    file.rewind().map_err(failed)?;
    let bf_cfg = command.bf_cfg.as_deref().map(read_bf_cfg).transpose()?;
    let stream = stream(&contents, bf_cfg, file)?;
    let limit = u64::from(command.max_mib) << 20;
    if stream.total() > limit {
        return Err(FlashError::TooLarge { bytes: stream.total(), limit });
    }
    let card = look(command, rshim)?;
    let board = suits(&card)?;
    let key = command.key.as_deref().map(read_key).transpose()?;
    let trust = key.as_ref().map_or(Trust::Anyone, Trust::Key);
    let checked =
        contents.check(board, trust).map_err(|source| FlashError::Trust { path: path.clone(), source })?;
    Ok(Prepared { board, card, checked, stream })
}

/// What goes to the card: the image, or, if there is another `bf.cfg`, the image without its own.
fn stream(contents: &Contents, bf_cfg: Option<Vec<u8>>, file: File) -> Result<Stream, FlashError> {
    // The file is compared with what was checked to its end, whatever is pushed of it.
    let own = contents.bf_cfg.len() as u64;
    let kept = match &bf_cfg {
        Some(_) => contents.bytes - own,
        None => contents.bytes,
    };
    Ok(Stream {
        image: Box::new(file),
        bytes: contents.bytes,
        kept,
        sha256: contents.sha256,
        bf_cfg: bf_cfg.unwrap_or_default(),
    })
}

fn read_bf_cfg(path: &Path) -> Result<Vec<u8>, FlashError> {
    let text = fs::read(path).map_err(|source| FlashError::File { path: path.to_owned(), source })?;
    let fits = text.len() <= MAX_TRAILER && !text.contains(&0) && std::str::from_utf8(&text).is_ok();
    if fits { Ok(text) } else { Err(FlashError::BfCfg { path: path.to_owned() }) }
}

fn read_key(path: &Path) -> Result<PublicKey, FlashError> {
    let text =
        fs::read_to_string(path).map_err(|source| FlashError::File { path: path.to_owned(), source })?;
    PublicKey::from_pem(&text).map_err(|source| FlashError::Key { path: path.to_owned(), source })
}

/// Reads what rshim says of the card, with its log.
fn look(command: &Flash, rshim: &dyn Rshim) -> Result<Card, FlashError> {
    let failed = |source| FlashError::NoRshim { path: command.rshim.clone(), source };
    let display_level = Card::read(&rshim.state().map_err(failed)?).display_level;
    let shown = Shown::log_of(rshim, display_level, false);
    let text = rshim.state().map_err(failed)?;
    drop(shown);
    Ok(Card { display_level, ..Card::read(&text) })
}

/// What is in the card's log before it is reset, so that it is not taken for news. Read twice: the first time
/// clears it, where the driver can, and then there is nothing that what comes could be mistaken for.
fn old_lines(rshim: &dyn Rshim) -> Tail {
    let mut seen = Tail::default();
    for text in [rshim.state(), rshim.state()] {
        seen.new_lines(&text.unwrap_or_default());
    }
    seen
}

/// Which board a card is, if it can take an image at all.
fn suits(card: &Card) -> Result<Board, FlashError> {
    if card.dropped {
        Err(FlashError::Dropped)
    } else if card.locked {
        Err(FlashError::Locked)
    } else if card.plain {
        Err(FlashError::Plain)
    } else {
        card.board.ok_or_else(|| FlashError::UnknownCard { info: card.info.clone() })
    }
}

/// Whether nobody loses traffic by the reset, or the operator knows that somebody does.
async fn may_be_reset(force: bool, asked: Option<&Asked<'_>>, card: &Card) -> Result<(), Failure> {
    match asked {
        _ if force => Ok(()),
        Some(asked) => asked.must_be_idle(card.activity).await,
        None if card.activity == card::Activity::Starting => Ok(()),
        None => Err(FlashError::Unknown { server: None, activity: card.activity }.into()),
    }
}

/// Has the driver show the card's log, until it is dropped.
struct Shown<'a> {
    rshim: &'a dyn Rshim,
    before: u32,
    clear: bool,
}

impl<'a> Shown<'a> {
    /// The level that shows the log.
    const LOG: u32 = 2;

    /// With `clear`, lines go when they were read: the card has room for a few only. A driver that does not
    /// know the one setting or the other shows less, and refuses nothing else.
    fn log_of(rshim: &'a dyn Rshim, before: u32, clear: bool) -> Shown<'a> {
        let _ = rshim.set("DISPLAY_LEVEL", Shown::LOG);
        if clear {
            let _ = rshim.set("CLEAR_ON_READ", 1);
        }
        Shown { rshim, before, clear }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if self.clear {
            let _ = self.rshim.set("CLEAR_ON_READ", 0);
        }
        if self.before != Shown::LOG {
            let _ = self.rshim.set("DISPLAY_LEVEL", self.before);
        }
    }
}
