//! What stands behind a port of the switch: the wire of an uplink, the host's end of a VF.

mod af_packet;
mod ethdev;
mod inject;
mod interface;
mod memif;
#[cfg(feature = "fuzzing")]
pub(crate) use memif::fuzzing as memif_fuzzing;
mod pcap;
mod synth;
mod tap;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use af_packet::AfPacket;
pub(crate) use af_packet::Scratch;
use ethdev::Ethdev;
pub(crate) use inject::Inject;
use memif::Memif;
use nic_flow::PortId;
use pcap::Pcap;
pub(crate) use synth::{Synth, Traffic, TrafficError};
use tap::Tap;

use crate::args::BackingSpec;
use crate::frame::{Frame, Pool};

/// One piece of a frame that is to be sent.
pub(crate) type Piece<'a> = &'a [u8];

/// The most pieces a frame may have.
pub(crate) const MAX_PIECES: usize = 32;
/// The most frames that are sent by one system call.
pub(crate) const MAX_BATCH: usize = 32;

/// Why a backing did not take a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// It has no room now.
    Full,
    /// It is not there or it is down.
    Down,
    /// It never takes such a frame: too long or too short for it.
    Refused,
}

/// Why something cannot stand behind a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("an event: {0}")]
    Inject(io::Error),
    #[error("a timer: {0}")]
    Synth(io::Error),
    #[error(transparent)]
    AfPacket(#[from] af_packet::OpenError),
    #[error(transparent)]
    Tap(#[from] tap::OpenError),
    #[error(transparent)]
    Pcap(#[from] pcap::OpenError),
    #[error(transparent)]
    Memif(#[from] memif::OpenError),
    #[error(transparent)]
    Ethdev(#[from] ethdev::OpenError),
}

/// Whether more frames may come from a backing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// They may, and its event tells.
    Open,
    /// None will, and its event means nothing any more.
    Ended,
}

/// Frames that came from the backing and did not get into the switch, by reason, and frames that the
/// backing did not take.
#[derive(Debug, Default)]
pub(crate) struct BackingCounters {
    /// No buffer of the switch was left.
    pub(crate) no_buffer: AtomicU64,
    /// The frame is longer than the switch takes.
    pub(crate) oversized: AtomicU64,
    /// An offload that the driver does not do was asked for.
    pub(crate) not_offloadable: AtomicU64,
    /// The kernel dropped the frame: the socket's queue was full.
    pub(crate) kernel_drops: AtomicU64,
    /// The system call failed, and with it a frame was lost.
    pub(crate) receive_errors: AtomicU64,
    /// Frames that the backing refused or lost when they were sent.
    pub(crate) send_refused: AtomicU64,
    /// Frames that were to be sent and are longer than the port's MTU allows.
    pub(crate) send_oversized: AtomicU64,
    /// Large packets that were cut into packets of the wire's size.
    pub(crate) cut: AtomicU64,
}

impl BackingCounters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}

/// What stands behind a port.
#[derive(Debug)]
pub(crate) enum Backing {
    /// Nothing comes, and what is sent is gone: a cable with no other end.
    Null,
    /// Tests put frames in and take them out.
    Inject(Box<Inject>),
    /// A network interface of the kernel.
    AfPacket(AfPacket),
    /// An interface whose other end is the kernel's network stack.
    Tap(Tap),
    /// Capture files.
    Pcap(Box<Pcap>),
    /// Memory that is shared with another process.
    Memif(Box<Memif>),
    /// A traffic source and sink.
    Synth(Box<Synth>),
    /// A port of another driver of DPDK.
    Ethdev(Box<Ethdev>),
}

impl Backing {
    pub(crate) fn open(port: PortId, spec: &BackingSpec) -> Result<Backing, OpenError> {
        Ok(match spec {
            BackingSpec::Null => Backing::Null,
            BackingSpec::Inject => {
                let inject = Inject::new().map_err(|why| OpenError::Inject(why.into()))?;
                Backing::Inject(Box::new(inject))
            }
            BackingSpec::AfPacket(name) => Backing::AfPacket(AfPacket::open(name)?),
            BackingSpec::Tap(name) => Backing::Tap(Tap::open(name)?),
            BackingSpec::Pcap { input, output } => {
                Backing::Pcap(Box::new(Pcap::open(input.as_deref(), output.as_deref())?))
            }
            BackingSpec::Memif(path) => Backing::Memif(Box::new(Memif::open(path)?)),
            BackingSpec::Ethdev(name) => Backing::Ethdev(Box::new(Ethdev::open(name)?)),
            BackingSpec::Synth(traffic) => {
                let synth = Synth::open(port, *traffic).map_err(|why| OpenError::Synth(why.into()))?;
                Backing::Synth(Box::new(synth))
            }
        })
    }

    /// The application started the port: somebody reads what no rule matches.
    pub(crate) fn start(&self) {
        match self {
            Backing::Pcap(files) => files.start(),
            Backing::Synth(synth) => synth.start(),
            _ => {}
        }
    }

    /// Readable when frames wait; `None` if none will ever come.
    pub(crate) fn event(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Backing::Null => None,
            Backing::Inject(inject) => Some(inject.event()),
            Backing::AfPacket(socket) => Some(socket.event()),
            Backing::Tap(tap) => Some(tap.event()),
            Backing::Pcap(files) => files.event(),
            Backing::Memif(memif) => Some(memif.event()),
            Backing::Synth(synth) => Some(synth.event()),
            Backing::Ethdev(other) => Some(other.event()),
        }
    }

    /// Takes what waits, one batch of it, and puts it behind what is in `frames`. `room` tells how many the
    /// port's representor takes now, for a source that adapts to it.
    pub(crate) fn receive(
        &self,
        scratch: &mut Scratch,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        room: &dyn Fn() -> usize,
        frames: &mut Vec<Frame>,
    ) -> Source {
        match self {
            Backing::Null => {}
            Backing::Inject(inject) => inject.receive(frames),
            Backing::AfPacket(socket) => socket.receive(scratch, pool, counters, frames),
            Backing::Memif(memif) => memif.receive(pool, counters, frames),
            Backing::Ethdev(other) => other.receive(pool, counters, frames),
            Backing::Synth(synth) => synth.receive(pool, room, frames),
            Backing::Tap(tap) => return tap.receive(pool, counters, frames),
            Backing::Pcap(files) => return files.receive(pool, counters, frames),
        }
        Source::Open
    }

    /// Sends the frames at the front, at most [`MAX_BATCH`]: how many went, and why the next did not.
    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        match self {
            Backing::Null => (frames.len(), None),
            Backing::Inject(inject) => inject.send(frames),
            Backing::AfPacket(socket) => socket.send(&frames[..frames.len().min(MAX_BATCH)]),
            Backing::Tap(tap) => tap.send(frames),
            Backing::Pcap(files) => files.send(frames),
            Backing::Memif(memif) => memif.send(frames),
            Backing::Ethdev(other) => other.send(frames),
            Backing::Synth(synth) => {
                synth.send(frames);
                (frames.len(), None)
            }
        }
    }

    /// True if a frame that is sent has a chance.
    pub(crate) fn link_up(&self) -> bool {
        match self {
            Backing::Null | Backing::Inject(_) | Backing::Pcap(_) | Backing::Synth(_) => true,
            Backing::AfPacket(socket) => socket.link_up(),
            Backing::Tap(tap) => tap.link_up(),
            Backing::Memif(memif) => memif.link_up(),
            Backing::Ethdev(other) => other.link_up(),
        }
    }

    /// The MTU of the interface of the kernel, where one is behind the port.
    pub(crate) fn mtu(&self) -> Option<u32> {
        match self {
            Backing::AfPacket(socket) => socket.mtu(),
            Backing::Tap(tap) => tap.mtu(),
            Backing::Ethdev(other) => other.mtu(),
            _ => None,
        }
    }

    /// The interface of the kernel, 0 for none.
    pub(crate) fn if_index(&self) -> u32 {
        match self {
            Backing::AfPacket(socket) => socket.if_index(),
            Backing::Tap(tap) => tap.if_index(),
            _ => 0,
        }
    }
}
