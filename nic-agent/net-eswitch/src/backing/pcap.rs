//! Capture files: frames come out of one, once, and what leaves goes into another.
//!
//! A file has no clock of its own here: frames come as fast as [`TICK`] and [`MAX_BATCH`] let them, from
//! the port's first start on, so that somebody reads what no rule matches.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nic_flow::seam::PacketBuf;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::{BackingCounters, MAX_BATCH, Piece, SendError, Source};
use crate::capture::{self, CaptureError, Reader, Record};
use crate::frame::{Frame, MAX_FRAME, Pool};

/// How often a batch is read.
const TICK: Duration = Duration::from_millis(1);

/// Why files cannot stand behind a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{path}: {why}")]
    File { path: String, why: io::Error },
    #[error("{path}: {why}")]
    Capture { path: String, why: CaptureError },
    #[error("{0}: frames cannot be read from the file and written to it")]
    Same(String),
    #[error("no timer: {0}")]
    Timer(nix::Error),
}

/// A file to read, a file to write, or both.
#[derive(Debug)]
pub(crate) struct Pcap {
    input: Option<Mutex<Reader<BufReader<File>>>>,
    output: Option<Mutex<Output>>,
    timer: TimerFd,
    started: AtomicBool,
}

impl Pcap {
    /// Without a path nothing comes, or what is sent is gone.
    pub(crate) fn open(input: Option<&str>, output: Option<&str>) -> Result<Pcap, OpenError> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(OpenError::Timer)?;
        let mut read = None;
        if let Some(path) = input {
            let file = File::open(path).map_err(at(path))?;
            read = Some((path, file));
        }
        let output = output.map(|path| create(path, read.as_ref().map(|(_, file)| file))).transpose()?;
        let input = read
            .map(|(path, file)| {
                let reader = Reader::new(BufReader::new(file));
                reader.map_err(|why| OpenError::Capture { path: path.into(), why })
            })
            .transpose()?;
        Ok(Pcap {
            input: input.map(Mutex::new),
            output: output.map(Mutex::new),
            timer,
            started: AtomicBool::new(false),
        })
    }

    pub(crate) fn event(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|_| self.timer.as_fd())
    }

    /// Lets frames come. Only the first call does so.
    pub(crate) fn start(&self) {
        if self.input.is_some() && !self.started.swap(true, Ordering::SeqCst) {
            // A descriptor that is a timer takes any interval but zero.
            let _ = self.timer.set(Expiration::Interval(TICK.into()), TimerSetTimeFlags::empty());
        }
    }

    pub(crate) fn receive(
        &self,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        frames: &mut Vec<Frame>,
    ) -> Source {
        let Some(input) = self.input.as_ref().filter(|_| self.timer.wait().is_ok()) else {
            return Source::Open;
        };
        let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..MAX_BATCH {
            // Without a buffer the file waits; nothing is lost.
            let Some(mut frame) = pool.take() else { return Source::Open };
            match input.next(frame.data_mut()) {
                Ok(Record::Frame(length)) => {
                    frame.truncate(length);
                    frames.push(frame);
                }
                Ok(Record::Oversized) => BackingCounters::count(&counters.oversized),
                Ok(Record::Unusable) => BackingCounters::count(&counters.receive_errors),
                Ok(Record::End) => return Source::Ended,
                Err(_) => {
                    BackingCounters::count(&counters.receive_errors);
                    return Source::Ended;
                }
            }
        }
        Source::Open
    }

    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        let Some(output) = &self.output else { return (frames.len(), None) };
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = Vec::new();
        for frame in frames {
            capture::frame(&mut bytes, now, frame);
        }
        match output.append(&bytes) {
            Ok(()) => (frames.len(), None),
            Err(_) => (0, Some(SendError::Refused)),
        }
    }
}

/// A file that is a whole capture whenever somebody looks.
#[derive(Debug)]
struct Output {
    file: File,
    length: u64,
}

impl Output {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(why) => {
                // Half of a frame may stand there now. What cannot be cut off is written over later.
                let _ = self.file.set_len(self.length);
                Err(why)
            }
        }
    }
}

fn at(path: &str) -> impl Fn(io::Error) -> OpenError + '_ {
    move |why| OpenError::File { path: path.into(), why }
}

/// Creates the file, or empties it, unless it is the one that is read.
fn create(path: &str, read: Option<&File>) -> Result<Output, OpenError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(at(path))?;
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino())).map_err(at(path));
    if let Some(read) = read
        && identity(read)? == identity(&file)?
    {
        return Err(OpenError::Same(path.into()));
    }
    file.set_len(0).map_err(at(path))?;
    let mut output = Output { file, length: 0 };
    output.append(&capture::header(MAX_FRAME as u32)).map_err(at(path))?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    /// A directory that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("nes-pcap-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().into()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// All that comes until the source ends.
    fn drain(pcap: &Pcap, pool: &Arc<Pool>, counters: &BackingCounters) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..5000 {
            let mut batch = Vec::new();
            let source = pcap.receive(pool, counters, &mut batch);
            assert!(batch.len() <= MAX_BATCH);
            frames.extend(batch.iter().map(|frame| frame.data().to_vec()));
            if source == Source::Ended {
                return frames;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        panic!("the file has no end");
    }

    #[test]
    fn what_one_writes_the_next_reads_once_and_after_its_start() {
        let directory = Directory::new("both");
        let (one, two) = (directory.path("one.pcap"), directory.path("two.pcap"));
        let writer = Pcap::open(None, Some(&one)).unwrap();
        assert!(writer.event().is_none());
        let sent: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 60 + usize::from(n)]).collect();
        for frame in &sent {
            let (front, back) = frame.split_at(20);
            assert_eq!(writer.send(&[&[front, back]]), (1, None));
        }
        let too_long = vec![1; MAX_FRAME + 1];
        assert_eq!(writer.send(&[&[&too_long]]), (1, None));

        let reader = Pcap::open(Some(&one), Some(&two)).unwrap();
        // Fewer buffers than frames: the file waits.
        let (pool, counters, mut held) = (Pool::new(40), BackingCounters::default(), Vec::new());
        std::thread::sleep(TICK * 5);
        assert_eq!(reader.receive(&pool, &counters, &mut held), Source::Open);
        assert!(held.is_empty(), "nothing comes before the start");
        reader.start();
        reader.start();
        assert_eq!(drain(&reader, &pool, &counters), sent);
        assert_eq!(counters.oversized.load(Relaxed), 1);
        assert_eq!(counters.receive_errors.load(Relaxed), 0);
    }

    #[test]
    fn a_file_that_breaks_off_is_counted_and_ends() {
        let directory = Directory::new("broken");
        let path = directory.path("in.pcap");
        Pcap::open(None, Some(&path)).unwrap().send(&[&[&[1; 60]], &[&[2; 60]]]);
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let (pool, counters) = (Pool::new(4), BackingCounters::default());
        let pcap = Pcap::open(Some(&path), None).unwrap();
        assert_eq!(pcap.send(&[&[&[1; 60]]]), (1, None));
        pcap.start();
        assert_eq!(drain(&pcap, &pool, &counters), [vec![1; 60]]);
        assert_eq!(counters.receive_errors.load(Relaxed), 1);
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let directory = Directory::new("refused");
        let text = directory.path("text");
        std::fs::write(&text, "not a capture").unwrap();
        let missing = directory.path("missing");
        let refused = |input, output| Pcap::open(input, output).unwrap_err().to_string();
        assert!(refused(Some(&missing), None).starts_with(&missing));
        assert_eq!(refused(Some(&text), None), format!("{text}: it is neither pcap nor pcapng"));
        let same = refused(Some(&text), Some(&text));
        assert!(same.contains("cannot be read from the file and written to it"), "{same}");
        assert_eq!(std::fs::read(&text).unwrap(), b"not a capture");
        let nowhere = directory.path("no/such/directory");
        assert!(refused(None, Some(&nowhere)).starts_with(&nowhere));
    }
}
