//! The thread that is the hardware: it takes what comes from the backings through the rules.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use nic_flow::PortId;
use nic_flow::seam::{BURST, Burst};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::unistd::Pid;
use soft_eswitch::{Egress, Forwarder, Unsent};

use crate::backing::{Scratch, Source};
use crate::card::Card;
use crate::control::Control;
use crate::frame::{Frame, Pool};
use crate::port::{NotQueued, Port, pieces};

/// The events of the bell and of the control socket among those of the ports.
const BELL: u64 = u64::MAX;
const CONTROL: u64 = u64::MAX - 1;
/// Batches that one port may have before the others are looked at again.
const TURN: usize = 4;

/// Ends the thread and waits for its end.
#[derive(Debug)]
pub(crate) struct Stopper {
    stop: Arc<AtomicBool>,
    card: Arc<Card>,
    thread: Option<JoinHandle<()>>,
}

impl Stopper {
    /// Ends the thread, waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.card.ring();
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

/// Starts the thread.
pub(crate) fn start(
    name: &str,
    card: Arc<Card>,
    cache: usize,
    control: Option<Control>,
    pool: Arc<Pool>,
) -> io::Result<Stopper> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(card.bell(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
    if let Some(control) = &control {
        epoll.add(control.event(), EpollEvent::new(EpollFlags::EPOLLIN, CONTROL))?;
    }
    for (index, port) in card.ports.iter().enumerate() {
        if let Some(fd) = port.backing.event() {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = (Arc::clone(&stop), Arc::clone(&card));
    let forwarder = Forwarder::new(Arc::clone(&card.switch), cache);
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
                queued: card.ports.iter().map(|_| Vec::with_capacity(BURST)).collect(),
                ports: card.ports.clone(),
                pool,
            },
            card,
            control,
        };
        hardware.run(&stop);
    })?;
    let (stop, card) = stopper;
    Ok(Stopper { stop, card, thread: Some(thread) })
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
    card: Arc<Card>,
    control: Option<Control>,
}

impl Hardware {
    fn run(&mut self, stop: &AtomicBool) {
        let mut events = [EpollEvent::empty(); 64];
        while !stop.load(Ordering::SeqCst) {
            self.card.keep_time();
            // After a signal, or whatever else ends the wait early, nothing is lost by looking again.
            let ready = self.epoll.wait(&mut events, self.card.patience()).unwrap_or(0);
            for event in &events[..ready] {
                match (event.data(), &mut self.control) {
                    (BELL, _) => self.card.hush(),
                    (CONTROL, Some(control)) => control.serve(&self.card),
                    (CONTROL, None) => {}
                    (index, _) => self.serve(index as usize),
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
                &|| port.representor.room(),
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
