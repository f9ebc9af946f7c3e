//! Pushes against a model of the driver that goes wrong in each way in which the driver does.

use std::io::{self, Cursor, ErrorKind, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::card::Tail;
use super::push::{Patience, PushError, Stream, Told, push};
use super::rshim::Rshim;

/// Bytes of an image that is several writes long.
const LENGTH: usize = 300 * 1024;
const READY: &str = "INFO[MISC]: DPU is ready";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// `boot` cannot be opened.
    Open(ErrorKind),
    /// A write fails once so many bytes were taken.
    Write(usize, ErrorKind),
    /// A write takes no byte.
    Nothing(usize),
    /// A write never comes back.
    Hangs(usize),
    /// Each write takes a few bytes only.
    Short,
    /// The card says this once so many bytes were taken, and takes no more.
    Says(usize, &'static str),
    /// It takes all, says this, and no more.
    Ends(&'static str),
    /// It takes all, says this, and is ready all the same.
    Recovers(&'static str),
    /// `misc` cannot be read for the first so many times.
    Deaf(u32),
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<u8>,
    closed: bool,
    log: Vec<String>,
    /// Answers of `misc` so far.
    answers: u32,
    clear: bool,
}

#[derive(Debug, Clone)]
struct Model {
    fault: Fault,
    state: Arc<Mutex<State>>,
}

impl Model {
    fn new(fault: Fault) -> Model {
        Model { fault, state: Arc::default() }
    }

    fn say(&self, line: &str) {
        self.state.lock().expect("a model").log.push(line.to_owned());
    }
}

impl Rshim for Model {
    fn open_boot(&self) -> io::Result<Box<dyn Write + Send>> {
        if let Fault::Open(kind) = self.fault {
            return Err(kind.into());
        }
        self.say("INFO[BL2]: start");
        Ok(Box::new(Boot(self.clone())))
    }

    fn state(&self) -> io::Result<String> {
        let mut state = self.state.lock().expect("a model");
        state.answers += 1;
        if matches!(self.fault, Fault::Deaf(times) if state.answers <= times) {
            return Err(ErrorKind::NotFound.into());
        }
        let log = state.log.iter().map(|line| format!(" {line}\n")).collect::<String>();
        if state.clear {
            state.log.clear();
        }
        Ok(format!("DISPLAY_LEVEL   2\n---\n    Log Messages\n---\n{log}"))
    }

    fn set(&self, name: &str, value: u32) -> io::Result<()> {
        assert_eq!(name, "CLEAR_ON_READ");
        self.state.lock().expect("a model").clear = value == 1;
        Ok(())
    }
}

/// The open file `boot` of a model.
struct Boot(Model);

impl Write for Boot {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Boot(model) = self;
        let taken = model.state.lock().expect("a model").taken.len();
        let (limit, fault) = match model.fault {
            Fault::Write(limit, kind) => (limit, Some(Err(kind.into()))),
            Fault::Nothing(limit) => (limit, Some(Ok(0))),
            Fault::Hangs(limit) => (limit, None),
            Fault::Says(limit, line) => {
                if taken >= limit {
                    model.say(line);
                }
                (limit, None)
            }
            Fault::Short => (taken + 7, None),
            _ => (usize::MAX, None),
        };
        let room = limit.saturating_sub(taken);
        if room == 0 {
            return fault.unwrap_or_else(|| {
                loop {
                    std::thread::park();
                }
            });
        }
        let now = bytes.len().min(room);
        model.state.lock().expect("a model").taken.extend_from_slice(&bytes[..now]);
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        let Boot(model) = self;
        model.state.lock().expect("a model").closed = true;
        match model.fault {
            Fault::Ends(line) => model.say(line),
            Fault::Recovers(line) => {
                model.say(line);
                model.say(READY);
            }
            _ => model.say(READY),
        }
    }
}

/// How long a test waits for what has to happen.
const LONG: Duration = Duration::from_secs(60);
/// How long one waits for what must not: long enough for a busy machine to do what comes before.
const SHORT: Duration = Duration::from_secs(2);

fn patience(stall: Duration, boot: Duration) -> Patience {
    Patience { poll: Duration::from_millis(1), stall, boot, after_error: SHORT }
}

fn image() -> Vec<u8> {
    (0..LENGTH).map(|index| (index % 251) as u8).collect()
}

fn stream(image: Vec<u8>) -> Stream {
    let (bytes, sha256) = (image.len() as u64, Sha256::digest(&image).into());
    Stream { image: Box::new(Cursor::new(image)), bytes, sha256, kept: bytes, bf_cfg: Vec::new() }
}

/// What comes of a push to a card with a fault, and what was told.
fn pushed(model: &Model, stream: Stream, patience: Patience) -> (Result<(), PushError>, Vec<Told>) {
    let mut told = Vec::new();
    let rshim: Arc<dyn Rshim> = Arc::new(model.clone());
    let result = push(&rshim, stream, Tail::default(), patience, &mut |what| told.push(what));
    (result, told)
}

fn fails(fault: Fault) -> PushError {
    let waits = matches!(fault, Fault::Hangs(_) | Fault::Says(..));
    let patience = if waits { patience(SHORT, LONG) } else { patience(LONG, SHORT) };
    pushed(&Model::new(fault), stream(image()), patience).0.expect_err("a failure")
}

#[test]
fn a_card_gets_the_image_and_its_bf_cfg_and_is_ready() {
    for fault in [Fault::None, Fault::Short, Fault::Deaf(3)] {
        let model = Model::new(fault);
        let own = b"OWN=1\n".len() as u64;
        let mut stream = stream([image(), b"OWN=1\n".to_vec()].concat());
        stream.kept -= own;
        stream.bf_cfg = b"SITE=1\n".to_vec();
        let total = stream.total();
        let (result, told) = pushed(&model, stream, patience(LONG, LONG));
        result.expect("a card that is ready");
        let state = model.state.lock().expect("a model");
        assert_eq!(state.taken, [image(), b"SITE=1\n".to_vec()].concat(), "{fault:?}");
        assert!(state.closed);
        let sizes = told.iter().filter_map(|told| match told {
            Told::Pushed(bytes) => Some(*bytes),
            _ => None,
        });
        assert!(sizes.clone().is_sorted());
        assert_eq!(sizes.max(), Some(total));
        assert!(told.contains(&Told::Whole));
        let lines: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Line(_))).collect();
        assert_eq!(lines, [&Told::Line("INFO[BL2]: start".into()), &Told::Line(READY.into())], "{fault:?}");
    }
}

#[test]
fn a_boot_file_that_cannot_be_opened_has_its_reason() {
    for (kind, reason) in [
        (ErrorKind::ResourceBusy, "something else pushes an image"),
        (ErrorKind::NotFound, "is its driver running?"),
        (ErrorKind::PermissionDenied, "firmware is locked"),
        (ErrorKind::InvalidInput, "another one has the card"),
    ] {
        let error = fails(Fault::Open(kind));
        assert!(matches!(error, PushError::Open(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_write_that_fails_says_how_far_it_came() {
    let error = fails(Fault::Write(200_000, ErrorKind::Other)).to_string();
    assert!(error.starts_with("after 131072 of 307200 bytes the card takes no more: "), "{error}");
    let error = fails(Fault::Write(0, ErrorKind::TimedOut)).to_string();
    assert!(error.contains("after 0 of") && error.contains("BOOT_TIMEOUT"), "{error}");
    let error = fails(Fault::Nothing(150_000)).to_string();
    assert!(error.contains("after 131072 of") && error.contains("wrote nothing"), "{error}");
}

#[test]
fn a_push_that_goes_no_further_is_given_up() {
    let error = fails(Fault::Hangs(140_000));
    assert!(matches!(error, PushError::Stalled { pushed: 131_072, error: None, .. }), "{error}");
    let error = fails(Fault::Says(131_072, "ERR[BL2]: image auth failed"));
    let told = error.to_string();
    assert!(matches!(error, PushError::Stalled { error: Some(_), .. }), "{error}");
    assert!(told.ends_with("and reported: ERR[BL2]: image auth failed"), "{told}");
}

#[test]
fn a_card_that_gives_up_is_believed_at_once() {
    for line in ["PANIC(BL2): PC = 0x40", "ASSERT[BL31]: no", "INFO[MISC]: CRITICAL ERROR"] {
        let model = Model::new(Fault::Says(131_072, line));
        let (result, told) = pushed(&model, stream(image()), patience(LONG, LONG));
        let error = result.expect_err("a failure");
        assert!(matches!(&error, PushError::GaveUp { line: said, .. } if said == line), "{error}");
        assert!(told.contains(&Told::Line(line.into())));
    }
}

#[test]
fn an_error_of_a_card_that_has_all_is_the_reason_unless_it_is_ready_later() {
    let error = pushed(&Model::new(Fault::Ends("ERR[UEFI]: no disk")), stream(image()), patience(LONG, LONG));
    let error = error.0.expect_err("a failure");
    assert!(matches!(&error, PushError::Reported { line } if line == "ERR[UEFI]: no disk"), "{error}");
    let recovers = Model::new(Fault::Recovers("ERR[UEFI]: no disk, trying the other"));
    pushed(&recovers, stream(image()), patience(LONG, LONG)).0.expect("a card that is ready");
}

#[test]
fn a_card_that_is_never_ready_says_what_it_said_last() {
    let error = fails(Fault::Ends("INFO[UEFI]: exit Boot Service"));
    let told = error.to_string();
    assert!(matches!(error, PushError::NeverReady { .. }), "{error}");
    assert!(told.ends_with("the last it said: INFO[UEFI]: exit Boot Service"), "{told}");
    let deaf = fails(Fault::Deaf(u32::MAX)).to_string();
    assert!(deaf.ends_with("it said nothing"), "{deaf}");
}

#[test]
fn what_a_card_said_before_its_reset_is_not_taken_for_news() {
    let model = Model::new(Fault::Ends("INFO[UEFI]: exit Boot Service"));
    model.say("INFO[BL2]: start");
    model.say(READY);
    let mut seen = Tail::default();
    seen.new_lines(&Rshim::state(&model).expect("a log"));
    let rshim: Arc<dyn Rshim> = Arc::new(model.clone());
    let error = push(&rshim, stream(image()), seen, patience(LONG, SHORT), &mut |_| {});
    assert!(matches!(error, Err(PushError::NeverReady { .. })), "{error:?}");
}

#[test]
fn a_log_that_is_cleared_as_it_is_read_loses_nothing() {
    let model = Model::new(Fault::None);
    model.set("CLEAR_ON_READ", 1).expect("a setting");
    let (result, told) = pushed(&model, stream(image()), patience(LONG, LONG));
    result.expect("a card that is ready");
    assert!(told.contains(&Told::Line("INFO[BL2]: start".into())));
}

#[test]
fn an_image_that_changed_after_it_was_checked_never_reaches_the_card_whole() {
    let sound = image();
    let mut changed = sound.clone();
    changed[LENGTH / 2] ^= 1;
    let shorter = sound[..LENGTH - 10].to_vec();
    let longer = [sound.clone(), vec![0; LENGTH]].concat();
    for other in [changed, shorter, longer] {
        let model = Model::new(Fault::None);
        let stream = Stream { image: Box::new(Cursor::new(other)), ..stream(sound.clone()) };
        let error = pushed(&model, stream, patience(LONG, LONG)).0.expect_err("a failure");
        assert!(matches!(error, PushError::Changed), "{error}");
        assert!(model.state.lock().expect("a model").taken.len() < LENGTH);
    }
}
