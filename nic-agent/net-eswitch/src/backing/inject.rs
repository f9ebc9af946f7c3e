//! A backing for tests in the same process: frames are put in and taken out by [`crate::Wire`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{MAX_BATCH, Piece, SendError};
use crate::frame::Frame;

/// Frames that may wait in each direction.
pub(crate) const QUEUE: usize = 8192;

/// Two queues and what wakes their readers.
pub(crate) struct Inject {
    to_switch: ArrayQueue<Frame>,
    from_switch: ArrayQueue<Vec<u8>>,
    event: EventFd,
    arrived: (Mutex<()>, Condvar),
}

impl Inject {
    pub(crate) fn new() -> nix::Result<Inject> {
        Ok(Inject {
            to_switch: ArrayQueue::new(QUEUE),
            from_switch: ArrayQueue::new(QUEUE),
            event: EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            arrived: Default::default(),
        })
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    pub(crate) fn receive(&self, frames: &mut Vec<Frame>) {
        // Read before the queue is: a frame put in later raises the event again.
        let _ = self.event.read();
        for _ in 0..MAX_BATCH {
            match self.to_switch.pop() {
                Some(frame) => frames.push(frame),
                None => return,
            }
        }
        if !self.to_switch.is_empty() {
            let _ = self.event.write(1);
        }
    }

    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        let fitting =
            frames.iter().take_while(|pieces| self.from_switch.push(pieces.concat()).is_ok()).count();
        if fitting > 0 {
            let _guard = self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.arrived.1.notify_all();
        }
        (fitting, (fitting < frames.len()).then_some(SendError::Full))
    }

    /// Puts a frame in, as if it came from the wire.
    pub(crate) fn put(&self, frame: Frame) -> Result<(), Frame> {
        self.to_switch.push(frame)?;
        let _ = self.event.write(1);
        Ok(())
    }

    /// Takes out what left by the port, waiting for it up to `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Option<Vec<u8>> {
        let guard = self.arrived.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.arrived.1.wait_timeout_while(guard, patience, |()| self.from_switch.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.from_switch.pop()
    }
}

impl fmt::Debug for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = (self.to_switch.len(), self.from_switch.len());
        f.debug_struct("Inject").field("waiting", &waiting).finish_non_exhaustive()
    }
}
