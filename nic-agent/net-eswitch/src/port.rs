//! A port of the switch with what stands behind it, shared by the switch's thread and by the
//! application's.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};

use arc_swap::ArcSwapOption;
use crossbeam_queue::ArrayQueue;
use nic_flow::PortId;
use nic_flow::seam::PacketBuf;
use nic_wire::ethernet;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::backing::{Backing, BackingCounters, MAX_BATCH, Piece, SendError};
use crate::frame::{DEFAULT_MTU, Frame, MAX_MTU, MAX_OVERHEAD, MIN_MTU};

/// What the representor's queue holds: frames that no rule matched.
pub(crate) type RxRing = ArrayQueue<Frame>;

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) backing: Backing,
    pub(crate) from_backing: BackingCounters,
    pub(crate) representor: Representor,
    /// The longest frame that is sent is this and [`MAX_OVERHEAD`].
    pub(crate) mtu: AtomicU16,
}

/// The slow path's side of a port.
#[derive(Debug)]
pub(crate) struct Representor {
    /// The queue of the port that represents this one, published while the switch runs.
    queue: ArcSwapOption<RxRing>,
    started: AtomicBool,
    event: EventFd,
    /// The reader sleeps, or is about to: raise the event with the next frame.
    armed: AtomicBool,
    /// A fault: the queue hands nothing out, and raises no event.
    stalled: AtomicBool,
    pub(crate) counters: RepresentorCounters,
}

/// What the application's calls of rx_burst and tx_burst did.
#[derive(Debug, Default)]
pub(crate) struct RepresentorCounters {
    pub(crate) rx_packets: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    /// The application's mempool had no buffer when a frame waited.
    pub(crate) rx_nombuf: AtomicU64,
    /// The frame is larger than one buffer, and the application did not ask for more.
    pub(crate) rx_scatter: AtomicU64,
    /// Frames that waited when the port was stopped.
    pub(crate) rx_discarded: AtomicU64,
    /// Bursts that got nothing while frames waited, since the faults were last set.
    pub(crate) rx_stalled: AtomicU64,
    /// Frames that the application sent and the backing refused, but for those that are too long.
    pub(crate) tx_refused: AtomicU64,
}

/// Why a missed frame did not get into the representor's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The application reads too slowly.
    Full,
    /// No application reads.
    Stopped,
}

impl Port {
    pub(crate) fn new(id: PortId, backing: Backing) -> nix::Result<Port> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let possible = u32::from(MIN_MTU)..=u32::from(MAX_MTU);
        let mtu = backing.mtu().map(|mtu| mtu.clamp(*possible.start(), *possible.end()));
        let mtu = mtu.and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(DEFAULT_MTU);
        Ok(Port {
            id,
            backing,
            from_backing: BackingCounters::default(),
            representor: Representor {
                queue: ArcSwapOption::empty(),
                started: AtomicBool::new(false),
                event: EventFd::from_value_and_flags(0, flags)?,
                armed: AtomicBool::new(false),
                stalled: AtomicBool::new(false),
                counters: RepresentorCounters::default(),
            },
            mtu: AtomicU16::new(mtu),
        })
    }

    /// Sends frames out of the port, from the front. What the backing refuses is lost.
    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> Sent {
        let longest = usize::from(self.mtu.load(Ordering::Relaxed)) + MAX_OVERHEAD;
        let lawful = |frame: &&[Piece<'_>]| (ethernet::HEADER_LEN..=longest).contains(&length(frame));
        let mut sent = Sent::default();
        while sent.done < frames.len() {
            let rest = &frames[sent.done..frames.len().min(sent.done + MAX_BATCH)];
            let fitting = rest.iter().take_while(|frame| lawful(frame)).count();
            let (went, error) = if fitting == 0 {
                if length(rest[0]) > longest {
                    BackingCounters::count(&self.from_backing.send_oversized);
                    sent.oversized += 1;
                }
                (0, Some(SendError::Refused))
            } else {
                self.backing.send(&rest[..fitting])
            };
            sent.done += went;
            sent.bytes += rest[..went].iter().map(|frame| length(frame) as u64).sum::<u64>();
            match error {
                None => {}
                Some(SendError::Full) => break,
                Some(SendError::Down | SendError::Refused) => {
                    sent.refused += 1;
                    sent.done += 1;
                }
            }
        }
        sent
    }
}

/// What became of frames that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    /// Frames at the front that were dealt with; the rest found no room.
    pub(crate) done: usize,
    /// Of those, frames that were refused.
    pub(crate) refused: u64,
    /// Of those, frames that are longer than the port's MTU allows; they are counted already.
    pub(crate) oversized: u64,
    /// Bytes of those that were not refused.
    pub(crate) bytes: u64,
}

fn length(frame: &[Piece<'_>]) -> usize {
    frame.iter().map(|piece| piece.len()).sum()
}

impl Representor {
    /// The descriptor that is readable when a frame waits and the interrupt is enabled.
    pub(crate) fn event_fd(&self) -> i32 {
        self.event.as_raw_fd()
    }

    pub(crate) fn publish(&self, queue: Option<Arc<RxRing>>) {
        self.queue.store(queue);
    }

    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.started.store(false, Ordering::SeqCst);
        if let Some(queue) = self.queue.load().as_ref() {
            while queue.pop().is_some() {
                self.counters.rx_discarded.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Hands a frame to whoever reads the representor.
    pub(crate) fn deliver(&self, frame: Frame) -> Result<(), NotQueued> {
        if !self.started.load(Ordering::Relaxed) {
            return Err(NotQueued::Stopped);
        }
        let queue = self.queue.load();
        let queue = queue.as_ref().ok_or(NotQueued::Stopped)?;
        queue.push(frame).map_err(|_| NotQueued::Full)
    }

    /// How many more frames the queue takes; 0 if nobody reads.
    pub(crate) fn room(&self) -> usize {
        if !self.started.load(Ordering::Relaxed) {
            return 0;
        }
        self.queue.load().as_ref().map_or(0, |queue| queue.capacity() - queue.len())
    }

    /// Wakes the reader if it sleeps. To be called behind the last frame of a batch.
    pub(crate) fn wake(&self) {
        // Either the reader that arms sees the frame that was pushed before, or this sees it armed.
        fence(Ordering::SeqCst);
        if self.is_stalled() {
            return;
        }
        if self.armed.swap(false, Ordering::SeqCst) {
            let _ = self.event.write(1);
        }
    }

    /// From now on a frame raises the event, also one that waits already.
    pub(crate) fn enable_interrupt(&self) {
        let _ = self.event.read();
        self.armed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.load().as_ref().is_some_and(|queue| !queue.is_empty()) {
            self.wake();
        }
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// The queue hands nothing out from now on, or does again what a queue does.
    pub(crate) fn stall(&self, stalled: bool) {
        self.counters.rx_stalled.store(0, Ordering::Relaxed);
        if self.stalled.swap(stalled, Ordering::SeqCst) && !stalled {
            // The frames that came meanwhile told nobody.
            self.wake();
        }
    }

    pub(crate) fn disable_interrupt(&self) {
        self.armed.store(false, Ordering::SeqCst);
        let _ = self.event.read();
    }
}

/// A frame in one piece, as [`Port::send`] takes it.
pub(crate) fn pieces(frame: &Frame) -> [Piece<'_>; 1] {
    [frame.data()]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::args::BackingSpec;

    #[test]
    fn frames_that_are_too_long_for_the_mtu_are_counted_as_such_and_the_others_go() {
        let uplink = PortId::uplink(0).unwrap();
        let backing = Backing::open(uplink, &BackingSpec::Inject).unwrap();
        let port = Port::new(uplink, backing).unwrap();
        let (long, short, longest) = ([1; 1523], [2; 13], [3; 1522]);
        let (in_pieces, whole) = ([&long[..1000], &long[1000..]], [&longest[..]]);
        let sent = port.send(&[&whole, &in_pieces, &[&short], &whole]);
        assert_eq!(sent, Sent { done: 4, refused: 2, oversized: 1, bytes: 2 * 1522 });
        assert_eq!(port.from_backing.send_oversized.load(Relaxed), 1);
        let Backing::Inject(inject) = &port.backing else { unreachable!() };
        let lengths: Vec<_> =
            std::iter::from_fn(|| inject.take(Duration::ZERO)).map(|frame| frame.len()).collect();
        assert_eq!(lengths, [1522, 1522]);
    }

    #[test]
    fn a_port_begins_with_the_mtu_of_its_interface_as_far_as_it_goes() {
        let uplink = PortId::uplink(0).unwrap();
        let of = |backing| Port::new(uplink, backing).unwrap().mtu.load(Relaxed);
        assert_eq!(of(Backing::Null), DEFAULT_MTU);
        // As large as the kernel's own interface has it, which is more than a frame holds.
        let lo = Backing::open(uplink, &BackingSpec::AfPacket("lo".into())).expect("a socket (needs root)");
        assert_eq!((lo.mtu() > Some(MAX_MTU.into()), of(lo)), (true, MAX_MTU));
    }
}
