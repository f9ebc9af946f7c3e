//! Sleeping when there is nothing to do, and waking up.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use dpdk::RxQueue;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The nap of a worker whose ports cannot wake it: a packet waits half of it on average.
const NAP: Duration = Duration::from_micros(200);

/// Wakes the worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Waker(Arc<EventFd>);

impl Waker {
    /// A waker that nobody sleeps on yet.
    pub(crate) fn new() -> nix::Result<Waker> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Waker(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Wakes the worker, or lets its next sleep end at once.
    pub(crate) fn wake(&self) {
        // The only failure is a counter that is full, and then the worker wakes anyway.
        let _ = self.0.write(1);
    }
}

/// Where the worker sleeps.
pub(crate) struct Bed {
    epoll: Epoll,
    waker: Waker,
    /// Whether all receive queues wake it.
    interrupts: bool,
}

impl Bed {
    /// A bed next to these receive queues.
    pub(crate) fn new<'a>(
        waker: &Waker,
        queues: impl Iterator<Item = &'a mut RxQueue>,
        interrupts: bool,
    ) -> nix::Result<Bed> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(waker.0.as_ref(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let mut bed = Bed { epoll, waker: waker.clone(), interrupts };
        if interrupts {
            for queue in queues {
                bed.interrupts &= bed.add(queue)?;
            }
        }
        Ok(bed)
    }

    /// The sleeper is woken by what comes there, too.
    pub(crate) fn watch(&self, event: BorrowedFd<'_>) -> nix::Result<()> {
        self.epoll.add(event, EpollEvent::new(EpollFlags::EPOLLIN, 2))
    }

    fn add(&self, queue: &RxQueue) -> nix::Result<bool> {
        let Ok(fd) = queue.interrupt_fd() else { return Ok(false) };
        match self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 1)) {
            // Queues of one device may share a descriptor.
            Ok(()) | Err(Errno::EEXIST) => Ok(true),
            Err(errno) => Err(errno),
        }
    }

    /// Has the next packet end the next sleep. What came before does not: look once more before going
    /// to [`Bed::sleep`]. False if a queue refused, and then nobody must sleep.
    pub(crate) fn arm<'a>(&self, mut queues: impl Iterator<Item = &'a mut RxQueue>) -> bool {
        !self.interrupts || queues.all(|queue| queue.arm_interrupt().is_ok())
    }

    /// Undoes [`Bed::arm`].
    pub(crate) fn disarm<'a>(&self, queues: impl Iterator<Item = &'a mut RxQueue>) {
        if self.interrupts {
            for queue in queues {
                // A queue that stays armed wakes us once for nothing.
                let _ = queue.disarm_interrupt();
            }
        }
    }

    /// Sleeps until a packet comes, somebody wakes us, or `longest` is over.
    pub(crate) fn sleep(&self, longest: Duration) {
        let longest = if self.interrupts { longest } else { longest.min(NAP) };
        // What epoll cannot say in milliseconds is slept through; only naps are so short.
        if longest < Duration::from_millis(1) {
            if self.waker.0.read().is_err() {
                std::thread::sleep(longest);
            }
            return;
        }
        let timeout = EpollTimeout::try_from(longest).unwrap_or(EpollTimeout::ZERO);
        let mut events = [EpollEvent::empty(); 8];
        // A wait that fails or is interrupted was a short sleep.
        let _ = self.epoll.wait(&mut events, timeout);
        let _ = self.waker.0.read();
    }
}
