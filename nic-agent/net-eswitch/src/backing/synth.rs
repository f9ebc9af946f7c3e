//! A traffic source and sink, for measurements: packets are due by a schedule whether anybody polls or not,
//! each carries when it was due, and those that come out by such a port are counted and timed.

mod histogram;
mod traffic;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nic_flow::PortId;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;

use self::histogram::Histogram;
use self::traffic::{STAMP, Stamp};
pub(crate) use self::traffic::{Traffic, TrafficError};
use super::{MAX_BATCH, Piece};
use crate::frame::{Frame, Pool};

/// Packets that wait for a late thread, as they would in a card's ring.
const RING: usize = 512;
/// The shortest time between two looks at the schedule: a source of a higher rate sends several at once.
const TICK: Duration = Duration::from_micros(50);
/// What is sent as fast as it is taken begins at once.
const AT_ONCE: Duration = Duration::from_nanos(1);
/// Sources of which a sink keeps account.
const MAX_SOURCES: usize = 64;

/// A source and a sink.
#[derive(Debug)]
pub(crate) struct Synth {
    port: PortId,
    timer: TimerFd,
    source: Mutex<Source>,
    sink: Mutex<Sink>,
}

/// What is sent.
#[derive(Debug, Default)]
struct Source {
    /// What is to be sent when the port is first started.
    waiting: Option<Traffic>,
    running: Option<Traffic>,
    run: u16,
    /// When the first packet was due.
    began: u64,
    /// Packets that were due so far.
    due: u64,
    /// Packets that went into the switch.
    sent: u64,
    /// Packets that were due when the ring was full.
    missed: u64,
    /// Packets that were due and wait: their sequence numbers.
    ring: VecDeque<u64>,
    /// A burst was given in this turn.
    gave: bool,
}

/// What came out.
#[derive(Debug, Default)]
struct Sink {
    by_source: Vec<Seen>,
    /// Frames without a stamp, of a run that is over, or of one source too many.
    others: u64,
}

/// What came out of what one source sent in one run.
#[derive(Debug)]
struct Seen {
    source: PortId,
    run: u16,
    received: u64,
    /// Frames behind one with a higher number.
    reordered: u64,
    highest: u64,
    latency: Histogram,
}

impl Synth {
    pub(crate) fn open(port: PortId, traffic: Option<Traffic>) -> nix::Result<Synth> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Synth {
            port,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            source: Mutex::new(Source { waiting: traffic, ..Source::default() }),
            sink: Mutex::default(),
        })
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port was started: sends what it was made for, once.
    pub(crate) fn start(&self) {
        let waiting = self.source().waiting.take();
        if let Some(traffic) = waiting {
            self.send_from_now(traffic);
        }
    }

    /// Begins a run, in place of the one before.
    pub(crate) fn send_from_now(&self, traffic: Traffic) {
        let mut source = self.source();
        let run = source.run.wrapping_add(1);
        *source = Source { run, running: Some(traffic), began: nanos(), ..Source::default() };
        let expiration = match traffic.rate {
            0 => Expiration::OneShot(AT_ONCE.into()),
            rate => Expiration::Interval((Duration::from_secs(1) / rate).max(TICK).into()),
        };
        // A descriptor that is a timer takes any time but zero.
        let _ = self.timer.set(expiration, TimerSetTimeFlags::empty());
    }

    /// Ends the run. What is due by now still counts as due, and what waits as missed.
    pub(crate) fn stop(&self) {
        let mut source = self.source();
        if let Some(traffic) = source.running.take() {
            source.arrive(traffic.rate, nanos());
        }
        source.waiting = None;
        source.missed += source.ring.len() as u64;
        source.ring.clear();
        let _ = self.timer.unset();
    }

    /// Begins a run with what is sent now, if anything is, and forgets all that came out.
    pub(crate) fn reset(&self) {
        let running = self.source().running;
        if let Some(traffic) = running {
            self.send_from_now(traffic);
        } else {
            let mut source = self.source();
            (source.due, source.sent, source.missed) = (0, 0, 0);
            source.run = source.run.wrapping_add(1);
        }
        *self.sink() = Sink::default();
    }

    /// Takes a batch of what is due. `room` tells how many frames the reader of misses has room for.
    pub(crate) fn receive(&self, pool: &Arc<Pool>, room: &dyn Fn() -> usize, frames: &mut Vec<Frame>) {
        let mut source = self.source();
        let Some(traffic) = source.running else { return };
        let now = nanos();
        if traffic.rate == 0 {
            source.gave = !source.gave;
            if source.gave {
                source.flood(traffic, self.port, now, room().min(MAX_BATCH), pool, frames);
                if frames.is_empty() {
                    source.gave = false;
                    // The reader is given time; a thread that turns in circles would take it away.
                    let _ = self.timer.set(Expiration::OneShot(TICK.into()), TimerSetTimeFlags::empty());
                }
            }
            return;
        }
        let _ = self.timer.wait();
        source.arrive(traffic.rate, now);
        source.drain(traffic, self.port, pool, frames);
    }

    /// Counts and times the frames. It takes all.
    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) {
        let now = nanos();
        let mut sink = self.sink();
        for frame in frames {
            match tail(frame).as_ref().and_then(Stamp::read) {
                Some(stamp) => sink.see(&stamp, now),
                None => sink.others += 1,
            }
        }
    }
}

impl fmt::Display for Synth {
    /// What a reader of the control socket is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, sink) = (self.source(), self.sink());
        let Source { run, due, sent, missed, .. } = *source;
        write!(f, "{} source=", self.port)?;
        match source.running {
            Some(traffic) => write!(f, "{traffic}")?,
            None => f.write_str("none")?,
        }
        write!(f, " run={run} due={due} sent={sent} missed={missed} others={}", sink.others)?;
        for Seen { source, run, received, reordered, highest, latency } in &sink.by_source {
            let lost = (highest + 1).saturating_sub(*received);
            let [p50, p99] = [500, 990].map(|permille| latency.permille(permille));
            write!(
                f,
                " from={source} run={run} received={received} lost={lost} reordered={reordered} \
                 p50_ns={p50} p99_ns={p99} max_ns={}",
                latency.max()
            )?;
        }
        Ok(())
    }
}

impl Source {
    /// Puts what became due into the ring, and counts what it has no room for.
    fn arrive(&mut self, rate: u32, now: u64) {
        if rate == 0 {
            return;
        }
        let elapsed = u128::from(now.saturating_sub(self.began));
        let due = (elapsed * u128::from(rate) / 1_000_000_000) as u64 + 1;
        let new = due.saturating_sub(self.due);
        let fitting = new.min((RING - self.ring.len()) as u64);
        self.ring.extend(self.due..self.due + fitting);
        self.missed += new - fitting;
        self.due += new;
    }

    /// A batch of what waits. What finds no buffer goes on waiting.
    fn drain(&mut self, traffic: Traffic, port: PortId, pool: &Arc<Pool>, frames: &mut Vec<Frame>) {
        for _ in 0..MAX_BATCH {
            let Some(&sequence) = self.ring.front() else { return };
            let after = u128::from(sequence) * 1_000_000_000 / u128::from(traffic.rate);
            let due = self.began + after as u64;
            let stamp = Stamp { source: port, run: self.run, sequence, due };
            let Some(frame) = pool.copy_of(&traffic.frame(&stamp)) else { return };
            frames.push(frame);
            self.ring.pop_front();
            self.sent += 1;
        }
    }

    /// So many packets that are due now.
    fn flood(
        &mut self,
        traffic: Traffic,
        port: PortId,
        now: u64,
        count: usize,
        pool: &Arc<Pool>,
        frames: &mut Vec<Frame>,
    ) {
        for _ in 0..count {
            let stamp = Stamp { source: port, run: self.run, sequence: self.due, due: now };
            let Some(frame) = pool.copy_of(&traffic.frame(&stamp)) else { return };
            frames.push(frame);
            self.due += 1;
            self.sent += 1;
        }
    }
}

impl Sink {
    fn see(&mut self, stamp: &Stamp, now: u64) {
        let known = self.by_source.iter().position(|seen| seen.source == stamp.source);
        let place = match known {
            Some(place) => place,
            None if self.by_source.len() < MAX_SOURCES => {
                self.by_source.push(Seen::new(stamp));
                self.by_source.len() - 1
            }
            None => {
                self.others += 1;
                return;
            }
        };
        let seen = &mut self.by_source[place];
        // Runs are compared as they wrap: half of all numbers lie ahead.
        match stamp.run.wrapping_sub(seen.run) {
            0 => {}
            1..0x8000 => *seen = Seen::new(stamp),
            _ => {
                self.others += 1;
                return;
            }
        }
        seen.received += 1;
        seen.reordered += u64::from(stamp.sequence < seen.highest);
        seen.highest = seen.highest.max(stamp.sequence);
        seen.latency.add(now.saturating_sub(stamp.due));
    }
}

impl Seen {
    fn new(stamp: &Stamp) -> Seen {
        let Stamp { source, run, .. } = *stamp;
        Seen { source, run, received: 0, reordered: 0, highest: 0, latency: Histogram::new() }
    }
}

/// The last bytes of a frame.
fn tail(frame: &[Piece<'_>]) -> Option<[u8; STAMP]> {
    let last = frame.last()?;
    if let Some(tail) = last.last_chunk() {
        return Some(*tail);
    }
    let bytes = frame.concat();
    bytes.last_chunk().copied()
}

/// The system's monotonic clock.
fn nanos() -> u64 {
    // The clock is always there.
    clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| Duration::from(time).as_nanos() as u64)
}
