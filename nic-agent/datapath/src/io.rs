//! Packets: the binding of [`PacketIo`] to DPDK queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk::offload::Checksum;
use dpdk::{Mbuf, Mempool, RxQueue, TxQueue};
use nic_flow::PortId;
use nic_flow::execute::complete_checksum;
use nic_flow::seam::{Burst, ChecksumState, NoHeadroom, PacketBuf, PacketIo};

use crate::capture::Capture;
use crate::management::Exception;

/// A packet in one DPDK buffer.
pub(crate) struct Packet {
    mbuf: Mbuf,
    checksum: ChecksumState,
}

impl Packet {
    /// A packet of this process's making.
    pub(crate) const fn own(mbuf: Mbuf) -> Packet {
        Packet { mbuf, checksum: ChecksumState::Complete }
    }
}

impl PacketBuf for Packet {
    fn data(&self) -> &[u8] {
        // Packets are made of one segment when they are received, and stay so.
        self.mbuf.first_segment()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        // One segment that is ours alone: the queue gave it up, and copies are whole copies.
        self.mbuf.data_mut().unwrap_or_default()
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom> {
        self.mbuf.prepend(n).map(|_| ()).map_err(|_| NoHeadroom)
    }

    fn trim_front(&mut self, n: usize) {
        let cut = self.mbuf.adj(n);
        debug_assert!(cut.is_ok(), "trimmed beyond the frame");
    }

    fn checksum(&self) -> ChecksumState {
        self.checksum
    }

    fn set_checksum_complete(&mut self) {
        self.checksum = ChecksumState::Complete;
    }
}

/// One port's queues.
pub(crate) struct PortQueues {
    /// The port.
    pub(crate) id: PortId,
    /// What it receives.
    pub(crate) rx: RxQueue,
    /// What it sends.
    pub(crate) tx: TxQueue,
    /// Frames that came in several buffers and did not fit into one.
    pub(crate) segmented: Arc<AtomicU64>,
}

/// All ports of the E-Switch, for the one worker.
pub(crate) struct Io {
    ids: Vec<PortId>,
    queues: Vec<PortQueues>,
    /// Index into `queues` by the bits of a port.
    index: Box<[u8]>,
    pool: Mempool,
    exception: Option<Exception>,
    capture: Option<Capture>,
}

/// No port there.
const NONE: u8 = u8::MAX;

/// The most ports that one worker serves.
pub(crate) const MAX_PORTS: usize = NONE as usize;

impl Io {
    /// The ports, in the order in which they are listed, and behind them the exception port if there is one;
    /// packets are copied into `pool`, and what is received is written into `capture`.
    pub(crate) fn new(
        queues: Vec<PortQueues>,
        exception: Option<Exception>,
        pool: Mempool,
        capture: Option<Capture>,
    ) -> Io {
        let mut index = vec![NONE; usize::from(u16::MAX) + 1].into_boxed_slice();
        for (place, queue) in (0..NONE).zip(&queues) {
            index[usize::from(queue.id.bits())] = place;
        }
        let mut ids: Vec<PortId> = queues.iter().map(|queue| queue.id).collect();
        ids.extend(exception.as_ref().map(|_| PortId::MANAGEMENT));
        Io { ids, queues, index, pool, exception, capture }
    }

    /// A port's place in `queues`; out of its bounds if there is no such port.
    fn place(&self, port: PortId) -> u8 {
        self.index[usize::from(port.bits())]
    }

    /// The receive queues, for a worker that wants to sleep.
    pub(crate) fn receivers(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        self.queues.iter_mut().map(|queue| &mut queue.rx)
    }

    /// The exception port, if there is one.
    pub(crate) const fn exception(&self) -> Option<&Exception> {
        self.exception.as_ref()
    }

    fn receive_exception(&mut self, port: PortId, burst: &mut Burst<Packet>) -> usize {
        let before = burst.len();
        if let (Some(exception), PortId::MANAGEMENT) = (&mut self.exception, port) {
            exception.receive(&self.pool, burst);
        }
        if let Some(capture) = &mut self.capture {
            // Its interface in the file is behind those of all others.
            let interface = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
            for packet in &burst[before..] {
                capture.frame(interface, packet.data());
            }
        }
        burst.len() - before
    }

    fn send_exception(&mut self, port: PortId, burst: &mut Burst<Packet>) -> usize {
        match (&mut self.exception, port) {
            (Some(exception), PortId::MANAGEMENT) => exception.send(burst),
            _ => 0,
        }
    }
}

impl PacketIo for Io {
    type Buf = Packet;

    fn ports(&self) -> &[PortId] {
        &self.ids
    }

    fn receive(&mut self, port: PortId, burst: &mut Burst<Packet>) -> usize {
        let place = self.place(port);
        let Some(queue) = self.queues.get_mut(usize::from(place)) else {
            return self.receive_exception(port, burst);
        };
        let mut received = dpdk::Burst::new();
        // Drivers may want room for a whole burst; a caller with less gets the packets next time.
        if burst.capacity() - burst.len() < dpdk::BURST {
            return 0;
        }
        queue.rx.receive(&mut received);
        let before = burst.len();
        for mut mbuf in received.drain() {
            if mbuf.segments() != 1 && mbuf.linearize().is_err() {
                queue.segmented.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let checksum = match mbuf.rx_meta().l4_checksum {
                Checksum::NotFilled => ChecksumState::Partial,
                Checksum::Unknown | Checksum::Good | Checksum::Bad => ChecksumState::Complete,
            };
            if let Some(capture) = &mut self.capture {
                capture.frame(place.into(), mbuf.first_segment());
            }
            // The room was checked above, for a whole burst.
            if burst.push(Packet { mbuf, checksum }).is_err() {
                break;
            }
        }
        if burst.len() == before
            && let Some(capture) = &mut self.capture
        {
            capture.flush();
        }
        burst.len() - before
    }

    fn send(&mut self, port: PortId, burst: &mut Burst<Packet>) -> usize {
        let place = self.place(port);
        let Some(queue) = self.queues.get_mut(usize::from(place)) else {
            return self.send_exception(port, burst);
        };
        let mut outgoing = dpdk::Burst::new();
        for mut packet in core::mem::take(burst) {
            // The slow path sends few packets: completing checksums here asks nothing of the port.
            if packet.checksum == ChecksumState::Partial {
                complete_checksum(packet.data_mut());
            }
            packet.mbuf.clear_rx_meta();
            // Both bursts hold the same number.
            if outgoing.push(packet.mbuf).is_err() {
                break;
            }
        }
        let sent = queue.tx.send(&mut outgoing);
        for mbuf in outgoing.drain() {
            let unsent = burst.push(Packet::own(mbuf));
            debug_assert!(unsent.is_ok(), "the tail is no longer than the burst");
        }
        sent
    }

    fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        let mbuf = packet.mbuf.copy(&self.pool)?;
        // A frame that does not fit into one buffer is copied into several, and those are not ours.
        (mbuf.segments() == 1).then_some(Packet { mbuf, checksum: packet.checksum })
    }

    fn allocate(&mut self, frame: &[u8]) -> Option<Packet> {
        let mbuf = self.pool.packet(frame)?;
        Some(Packet::own(mbuf))
    }
}
