//! rx_burst and tx_burst: the application's side of a representor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dpdk_sys::{rte_mbuf, rte_mempool};
use nic_flow::seam::PacketBuf;

use crate::backing::{MAX_BATCH, MAX_PIECES, Piece};
use crate::ffi;
use crate::port::{Port, RxRing, Sent};

/// What rx_burst works on. One thread at a time, as ethdev has it.
#[derive(Debug)]
pub(crate) struct RxQueue {
    port: Arc<Port>,
    ring: Arc<RxRing>,
    /// The application's, which keeps it until the queue is released.
    pool: *mut rte_mempool,
    /// Bytes of one buffer.
    room: usize,
    port_id: u16,
    scatter: bool,
}

/// What tx_burst works on.
#[derive(Debug)]
pub(crate) struct TxQueue {
    port: Arc<Port>,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

impl RxQueue {
    /// Makes a queue and publishes it to the switch's thread.
    ///
    /// # Safety
    /// `pool` is a packet mempool that outlives the queue.
    pub(crate) unsafe fn new(
        port: &Arc<Port>,
        descriptors: u16,
        pool: *mut rte_mempool,
        port_id: u16,
        scatter: bool,
    ) -> RxQueue {
        // SAFETY: the pool is one, as the caller promises.
        let data_room = unsafe { dpdk_sys::shim_mempool_data_room(pool) };
        let room = usize::from(data_room).saturating_sub(usize::from(dpdk_sys::SHIM_MBUF_HEADROOM));
        let ring = Arc::new(RxRing::new(descriptors.max(1).into()));
        port.representor.publish(Some(Arc::clone(&ring)));
        RxQueue { port: Arc::clone(port), ring, pool, room, port_id, scatter }
    }

    /// Fills `mbufs` with frames that no rule matched, copied into buffers of the application's pool.
    ///
    /// # Safety
    /// The queue's pool is alive, and no other thread calls this.
    pub(crate) unsafe fn burst(&self, mbufs: &mut [*mut rte_mbuf]) -> usize {
        let waiting = self.ring.len().min(mbufs.len());
        if waiting == 0 {
            return 0;
        }
        if self.port.representor.is_stalled() {
            add(&self.port.representor.counters.rx_stalled, 1);
            return 0;
        }
        // SAFETY: the pool is alive.
        let ready = unsafe { self.allocate(&mut mbufs[..waiting]) };
        let counters = &self.port.representor.counters;
        let (mut filled, mut bytes) = (0, 0);
        while filled < ready {
            let Some(frame) = self.ring.pop() else { break };
            let length = frame.data().len();
            if length > self.room && !self.scatter {
                add(&counters.rx_scatter, 1);
                continue;
            }
            let data = frame.data().as_ptr().cast();
            // SAFETY: the buffer is fresh and ours, and `data` has `length` bytes.
            let copied = unsafe { ffi::nes_mbuf_fill(mbufs[filled], self.port_id, data, length as u32) };
            if copied != 0 {
                // A half-filled chain is freed below with the buffers that were not used.
                add(&counters.rx_nombuf, 1);
                break;
            }
            filled += 1;
            bytes += length as u64;
        }
        for &mbuf in &mbufs[filled..ready] {
            // SAFETY: the buffer is ours and is not used any more.
            unsafe { dpdk_sys::shim_pktmbuf_free(mbuf) };
        }
        add(&counters.rx_packets, filled as u64);
        add(&counters.rx_bytes, bytes);
        filled
    }

    /// Takes buffers from the pool, as many as there are. Frames that get none wait.
    ///
    /// # Safety
    /// The pool is alive.
    unsafe fn allocate(&self, mbufs: &mut [*mut rte_mbuf]) -> usize {
        // SAFETY: the pool is alive and the slice has that many places.
        let bulk =
            unsafe { dpdk_sys::shim_pktmbuf_alloc_bulk(self.pool, mbufs.as_mut_ptr(), mbufs.len() as u32) };
        if bulk == 0 {
            return mbufs.len();
        }
        for (index, place) in mbufs.iter_mut().enumerate() {
            // SAFETY: the pool is alive.
            *place = unsafe { dpdk_sys::shim_pktmbuf_alloc(self.pool) };
            if place.is_null() {
                add(&self.port.representor.counters.rx_nombuf, 1);
                return index;
            }
        }
        mbufs.len()
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        self.port.representor.publish(None);
    }
}

impl TxQueue {
    pub(crate) fn new(port: &Arc<Port>) -> TxQueue {
        TxQueue { port: Arc::clone(port) }
    }

    /// Sends packets out of the port, past all rules, and frees them. Returns how many were dealt
    /// with; the rest stay the application's.
    ///
    /// # Safety
    /// The packets are the caller's and whole.
    pub(crate) unsafe fn burst(&self, mbufs: &[*mut rte_mbuf]) -> usize {
        let mut done = 0;
        for batch in mbufs.chunks(MAX_BATCH) {
            // SAFETY: as the caller promises.
            let went = unsafe { self.batch(batch) };
            done += went;
            if went < batch.len() {
                break;
            }
        }
        done
    }

    /// # Safety
    /// As for [`TxQueue::burst`]; at most [`MAX_BATCH`] packets.
    unsafe fn batch(&self, mbufs: &[*mut rte_mbuf]) -> usize {
        let counters = &self.port.representor.counters;
        let mut pieces: heapless::Vec<heapless::Vec<Piece<'_>, MAX_PIECES>, MAX_BATCH> = heapless::Vec::new();
        for &mbuf in mbufs {
            // SAFETY: the packet is the caller's and stays whole until it is freed below.
            let of_packet = unsafe { segments(mbuf) };
            // There is room for each packet of a batch.
            let _ = pieces.push(of_packet);
        }
        let frames: heapless::Vec<&[Piece<'_>], MAX_BATCH> = pieces.iter().map(|one| &one[..]).collect();
        let Sent { done, refused, oversized, bytes } = self.port.send(&frames);
        add(&counters.tx_packets, done as u64 - refused);
        add(&counters.tx_bytes, bytes);
        add(&counters.tx_refused, refused - oversized);
        for &mbuf in &mbufs[..done] {
            // SAFETY: the packet was sent or refused; nothing points to it any more.
            unsafe { dpdk_sys::shim_pktmbuf_free(mbuf) };
        }
        done
    }
}

/// The bytes of a packet; none if it has more pieces than a frame may have, so that it is refused.
///
/// # Safety
/// The packet is whole and stays so for `'a`.
unsafe fn segments<'a>(mbuf: *mut rte_mbuf) -> heapless::Vec<Piece<'a>, MAX_PIECES> {
    let mut raw = [ffi::nes_segment { data: std::ptr::null_mut(), length: 0 }; MAX_PIECES];
    // SAFETY: the packet is whole, and `raw` has that many places.
    let n = unsafe { ffi::nes_mbuf_segments(mbuf, raw.as_mut_ptr(), MAX_PIECES as u16) };
    let bytes = |segment: &ffi::nes_segment| {
        // SAFETY: the segment has this many bytes from there on, for as long as the packet is whole.
        unsafe { std::slice::from_raw_parts(segment.data.cast::<u8>().cast_const(), segment.length) }
    };
    raw[..usize::from(n)].iter().map(bytes).collect()
}
