//! Giving a card its image, and following it until it is started.
//!
//! One thread writes, one reads the log, and this one waits for both: a write may never come back, and a card
//! that went wrong says so in its log alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::card::{Meaning, Tail};
use super::rshim::Rshim;

/// Bytes that are written at once.
const CHUNK: usize = 128 * 1024;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Time between two looks at the log.
    pub(super) poll: Duration,
    /// Without a byte taken or a line said.
    pub(super) stall: Duration,
    /// From the last byte to a card that is ready.
    pub(super) boot: Duration,
    /// From an error that the card reports on.
    pub(super) after_error: Duration,
}

/// What is pushed.
#[derive(Debug)]
pub(super) struct Stream {
    /// The image, from its beginning.
    pub(super) image: Box<dyn ReadSend>,
    /// How many bytes it had when it was checked.
    pub(super) bytes: u64,
    /// What they hashed to.
    pub(super) sha256: [u8; 32],
    /// How many of them go to the card.
    pub(super) kept: u64,
    /// What goes behind them.
    pub(super) bf_cfg: Vec<u8>,
}

/// What an image is read from.
pub(super) trait ReadSend: Read + Send + std::fmt::Debug {}

impl ReadSend for File {}
impl ReadSend for io::Cursor<Vec<u8>> {}

impl Stream {
    /// Bytes that go to the card.
    pub(super) fn total(&self) -> u64 {
        self.kept + self.bf_cfg.len() as u64
    }
}

/// What is told while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// So many bytes were taken.
    Pushed(u64),
    /// The card has all.
    Whole,
    /// The card says something.
    Line(String),
}

/// Why a card does not run what it was to be given. It was reset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// Its `boot` cannot be opened.
    #[error("the card does not take an image: {}", reason(.0))]
    Open(#[source] io::Error),
    /// It stopped to take the image.
    #[error("after {pushed} of {total} bytes the card takes no more: {}", reason(.source))]
    Write {
        /// What it took.
        pushed: u64,
        /// What it was to take.
        total: u64,
        /// Why.
        source: io::Error,
    },
    /// The image could not be read on.
    #[error("the image cannot be read on from byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The image is not the one that was checked.
    #[error("the image changed while it was pushed; its end was kept back, so that the card cannot start it")]
    Changed,
    /// Nothing goes on.
    #[error(
        "nothing goes on for {} s: the card took {pushed} of {total} bytes{}",
        waited.as_secs_f32(),
        said(.error)
    )]
    Stalled {
        /// What it took.
        pushed: u64,
        /// What it was to take.
        total: u64,
        /// How long it was waited for.
        waited: Duration,
        /// What it reported before.
        error: Option<String>,
    },
    /// It said that it goes on no further.
    #[error("the card took {pushed} of {total} bytes and gave up: {line}")]
    GaveUp {
        /// What it took.
        pushed: u64,
        /// What it was to take.
        total: u64,
        /// What it said.
        line: String,
    },
    /// It reported an error, and was not ready later.
    #[error("the card has the image, and reported: {line}")]
    Reported {
        /// What it said.
        line: String,
    },
    /// It never said that it is ready.
    #[error("the card has the image, and is not ready after {} s{}", waited.as_secs_f32(), heard(.last))]
    NeverReady {
        /// How long it was waited for.
        waited: Duration,
        /// The last that it said.
        last: Option<String>,
    },
}

fn said(error: &Option<String>) -> String {
    error.as_ref().map(|line| format!(", and reported: {line}")).unwrap_or_default()
}

fn heard(last: &Option<String>) -> String {
    match last {
        Some(line) => format!("; the last it said: {line}"),
        None => "; it said nothing".into(),
    }
}

/// What the driver's errors mean.
fn reason(error: &io::Error) -> String {
    let meaning = match error.kind() {
        io::ErrorKind::NotFound => "there is no such rshim; is its driver running?",
        io::ErrorKind::ResourceBusy => "its boot file is busy: something else pushes an image",
        io::ErrorKind::PermissionDenied => "not permitted: not root, or the card's firmware is locked",
        io::ErrorKind::InvalidInput => "the driver drops what it is given: another one has the card",
        io::ErrorKind::TimedOut => "it did not take the next bytes within the driver's BOOT_TIMEOUT",
        io::ErrorKind::WriteZero => "a write that wrote nothing",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

enum Event {
    Opened,
    Pushed(u64),
    Whole,
    Failed(PushError),
    Lines(Vec<String>),
}

/// Pushes an image, and returns when the card says that it is ready; `seen` is what was in its log before.
pub(super) fn push(
    rshim: &Arc<dyn Rshim>,
    stream: Stream,
    seen: Tail,
    patience: Patience,
    tell: &mut dyn FnMut(Told),
) -> Result<(), PushError> {
    let (sender, events) = channel();
    let total = stream.total();
    let stop = Arc::new(AtomicBool::new(false));
    // Neither is waited for: both may hang in the driver for as long as it likes.
    let (boot, pusher) = (Arc::clone(rshim), sender.clone());
    thread::spawn(move || {
        let end = write(&*boot, stream, &pusher).map_or_else(Event::Failed, |()| Event::Whole);
        let _ = pusher.send(end);
    });
    let (log, stopped) = (Arc::clone(rshim), Arc::clone(&stop));
    thread::spawn(move || listen(&*log, seen, patience.poll, &sender, &stopped));
    let result = Following::new(total, patience).run(&events, tell);
    stop.store(true, Ordering::Relaxed);
    result
}

/// What is known of a push that goes on.
struct Following {
    total: u64,
    patience: Patience,
    pushed: u64,
    whole: bool,
    ready: bool,
    error: Option<String>,
    last: Option<String>,
    /// Since when nothing goes on, or, once the card has all, it is waited for.
    since: Instant,
}

impl Following {
    fn new(total: u64, patience: Patience) -> Following {
        Following {
            total,
            patience,
            pushed: 0,
            whole: false,
            ready: false,
            error: None,
            last: None,
            since: Instant::now(),
        }
    }

    /// Ends when the card has all and is ready.
    fn run(mut self, events: &Receiver<Event>, tell: &mut dyn FnMut(Told)) -> Result<(), PushError> {
        while !(self.whole && self.ready) {
            let left = self.limit().saturating_sub(self.since.elapsed());
            match events.recv_timeout(left) {
                Ok(event) => self.take(event, tell)?,
                // Without senders nobody will say more.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(self.late()),
            }
        }
        Ok(())
    }

    fn limit(&self) -> Duration {
        let limit = if self.whole { self.patience.boot } else { self.patience.stall };
        if self.error.is_some() { limit.min(self.patience.after_error) } else { limit }
    }

    fn late(self) -> PushError {
        let waited = self.limit();
        match (self.whole, self.error) {
            (false, error) => PushError::Stalled { pushed: self.pushed, total: self.total, waited, error },
            (true, Some(line)) => PushError::Reported { line },
            (true, None) => PushError::NeverReady { waited, last: self.last },
        }
    }

    fn take(&mut self, event: Event, tell: &mut dyn FnMut(Told)) -> Result<(), PushError> {
        match event {
            Event::Failed(error) => return Err(error),
            Event::Opened => self.since = Instant::now(),
            Event::Pushed(pushed) => {
                (self.pushed, self.since) = (pushed, Instant::now());
                tell(Told::Pushed(pushed));
            }
            Event::Whole => {
                (self.whole, self.since) = (true, Instant::now());
                tell(Told::Whole);
            }
            Event::Lines(lines) => {
                for line in lines {
                    tell(Told::Line(line.clone()));
                    self.hear(line)?;
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, line: String) -> Result<(), PushError> {
        match Meaning::of(&line) {
            Meaning::End => {
                return Err(PushError::GaveUp { pushed: self.pushed, total: self.total, line });
            }
            Meaning::Ready => self.ready = true,
            Meaning::Error if self.error.is_none() => {
                (self.error, self.since) = (Some(line.clone()), Instant::now());
            }
            Meaning::Error => {}
            // A card that says something goes on, but the wait for one that has all has its end.
            Meaning::Progress if !self.whole && self.error.is_none() => self.since = Instant::now(),
            Meaning::Progress => {}
        }
        self.last = Some(line);
        Ok(())
    }
}

/// Writes the image. Its end is held back until all of it was read and is what it was.
fn write(rshim: &dyn Rshim, stream: Stream, events: &Sender<Event>) -> Result<(), PushError> {
    let total = stream.total();
    let Stream { mut image, bytes, sha256, kept, bf_cfg } = stream;
    let mut boot = rshim.open_boot().map_err(PushError::Open)?;
    // Nobody listens once an error was found elsewhere.
    let tell = |event| {
        let _ = events.send(event);
    };
    tell(Event::Opened);
    let mut pushed = 0;
    let mut put = |chunk: &[u8]| {
        boot.write_all(chunk).map_err(|source| PushError::Write { pushed, total, source })?;
        pushed += chunk.len() as u64;
        tell(Event::Pushed(pushed));
        Ok(())
    };
    let (mut hash, mut at) = (Sha256::new(), 0);
    let mut held = Vec::new();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut image).take(CHUNK as u64).read_to_end(&mut chunk);
        let read = read.map_err(|source| PushError::Read { at, source })?;
        if read == 0 {
            break;
        }
        hash.update(&chunk);
        chunk.truncate(usize::try_from(kept.saturating_sub(at)).unwrap_or(usize::MAX));
        at += read as u64;
        // Never more than was checked, should the file have grown.
        if at > bytes {
            return Err(PushError::Changed);
        }
        if !chunk.is_empty() {
            put(&held)?;
            held = chunk;
        }
    }
    if at != bytes || <[u8; 32]>::from(hash.finalize()) != sha256 {
        return Err(PushError::Changed);
    }
    put(&held)?;
    put(&bf_cfg)
}

/// Reads the log until told to stop. While the card is reset it may be out of reach.
fn listen(rshim: &dyn Rshim, mut seen: Tail, poll: Duration, events: &Sender<Event>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(text) = rshim.state() {
            let lines = seen.new_lines(&text);
            if !lines.is_empty() && events.send(Event::Lines(lines)).is_err() {
                return;
            }
        }
        thread::sleep(poll);
    }
}
