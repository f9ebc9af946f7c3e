//! The thread that is the hardware: it takes what comes from the backings through the rules.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use nic_flow::PortId;
use nic_flow::seam::{BURST, Burst};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use soft_eswitch::{Egress, Forwarder, Switch, Unsent};

use crate::backing::{Scratch, Source};
use crate::frame::{Frame, Pool};
use crate::port::{NotQueued, Port, pieces};

/// The event of [`Stopper`] among those of the ports.
const STOP: u64 = u64::MAX;
/// Batches that one port may have before the others are looked at again.
const TURN: usize = 4;

/// Ends the thread and waits for its end.
#[derive(Debug)]
pub(crate) struct Stopper {
    shared: Arc<(AtomicBool, EventFd)>,
    thread: Option<JoinHandle<()>>,
}

impl Stopper {
    /// Ends the thread, waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.shared.0.store(true, Ordering::SeqCst);
        let _ = self.shared.1.write(1);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has aborted the process already, or it ended well.
            let _ = thread.join();
        }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread. `ports` are in the order of their ids, as the switch has them.
pub(crate) fn start(
    name: &str,
    switch: Arc<Switch>,
    cache: usize,
    ports: Vec<Arc<Port>>,
    pool: Arc<Pool>,
) -> io::Result<Stopper> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    epoll.add(event.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    for (index, port) in ports.iter().enumerate() {
        if let Some(fd) = port.backing.event() {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
    }
    let shared = Arc::new((AtomicBool::new(false), event));
    let stop = Arc::clone(&shared);
    let forwarder = Forwarder::new(switch, cache);
    // Names of threads have 15 bytes at most.
    let short: String = format!("hw:{name}").chars().take(15).collect();
    let thread = Builder::new().name(short).spawn(move || {
        leave_pinned_core();
        let mut hardware = Hardware {
            epoll,
            forwarder,
            received: Vec::with_capacity(BURST * 2),
            scratch: Scratch::new(),
            egress: ToPorts {
                queued: ports.iter().map(|_| Vec::with_capacity(BURST)).collect(),
                ports,
                pool,
            },
        };
        hardware.run(&stop.0);
    })?;
    Ok(Stopper { shared, thread: Some(thread) })
}

/// A thread inherits the cores of its maker, and EAL has pinned that one to a core which an
/// application polls on. The kernel cuts the set to what the process may use.
fn leave_pinned_core() {
    let mut all = CpuSet::new();
    for core in 0..CpuSet::count() {
        let _ = all.set(core);
    }
    // Where this is refused the thread shares its maker's core: slower, not wrong.
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
}

struct Hardware {
    epoll: Epoll,
    forwarder: Forwarder,
    received: Vec<Frame>,
    scratch: Scratch,
    egress: ToPorts,
}

impl Hardware {
    fn run(&mut self, stop: &AtomicBool) {
        let mut events = [EpollEvent::empty(); 64];
        while !stop.load(Ordering::SeqCst) {
            // After a signal, or whatever else ends the wait early, nothing is lost by looking again.
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
            for event in &events[..ready] {
                if event.data() != STOP {
                    self.serve(event.data() as usize);
                }
            }
        }
    }

    /// Forwards what waits at one port, up to its turn's end.
    fn serve(&mut self, index: usize) {
        let port = Arc::clone(&self.egress.ports[index]);
        for _ in 0..TURN {
            let source = port.backing.receive(
                &mut self.scratch,
                &self.egress.pool,
                &port.from_backing,
                &mut self.received,
            );
            if source == Source::Ended
                && let Some(event) = port.backing.event()
            {
                // Otherwise it would wake this thread for ever. What is left is forwarded below.
                let _ = self.epoll.delete(event);
            }
            if self.received.is_empty() {
                return;
            }
            let mut frames = self.received.drain(..);
            loop {
                let mut burst: Burst<Frame> = frames.by_ref().take(BURST).collect();
                if burst.is_empty() {
                    break;
                }
                // The switch was made with the ports of this list.
                let _ = self.forwarder.forward(port.id, &mut burst, &mut self.egress);
                self.egress.flush();
            }
            drop(frames);
            port.representor.wake();
        }
    }
}

/// Queues what leaves until the rules are let go of, and then sends it.
struct ToPorts {
    ports: Vec<Arc<Port>>,
    queued: Vec<Vec<Frame>>,
    pool: Arc<Pool>,
}

impl ToPorts {
    fn index(&self, port: PortId) -> Option<usize> {
        self.ports.binary_search_by_key(&port, |port| port.id).ok()
    }

    fn flush(&mut self) {
        for (port, queued) in self.ports.iter().zip(&mut self.queued) {
            for batch in queued.chunks(BURST) {
                let frames: heapless::Vec<_, BURST> = batch.iter().map(pieces).collect();
                let frames: heapless::Vec<&[&[u8]], BURST> = frames.iter().map(|one| &one[..]).collect();
                let sent = port.send(&frames);
                // What found no room is lost, as in a card.
                let lost = (frames.len() - sent.done) as u64 + sent.refused - sent.oversized;
                port.from_backing.send_refused.fetch_add(lost, Ordering::Relaxed);
            }
            queued.clear();
        }
    }
}

impl Egress<Frame> for ToPorts {
    fn transmit(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        let index = self.index(port).ok_or(Unsent::Down)?;
        self.queued[index].push(packet);
        Ok(())
    }

    fn to_representor(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        let index = self.index(port).ok_or(Unsent::Down)?;
        self.ports[index].representor.deliver(packet).map_err(|why| match why {
            NotQueued::Full => Unsent::Full,
            NotQueued::Stopped => Unsent::Down,
        })
    }

    fn copy(&mut self, packet: &Frame) -> Option<Frame> {
        packet.copy()
    }
}
