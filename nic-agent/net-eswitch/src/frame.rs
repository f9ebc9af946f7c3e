//! The switch's own packet buffers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;
use nic_flow::seam::{ChecksumState, NoHeadroom, PacketBuf};

/// The longest frame: an MTU of 9216 behind an Ethernet header and two VLAN tags.
pub(crate) const MAX_FRAME: usize = MAX_MTU as usize + MAX_OVERHEAD;
/// The smallest MTU: what every hop of IPv4 takes.
pub(crate) const MIN_MTU: u16 = 68;
/// The MTU where nothing behind a port says another.
pub(crate) const DEFAULT_MTU: u16 = 1500;
/// The largest MTU.
pub(crate) const MAX_MTU: u16 = 9216;
/// Ethernet header and two VLAN tags.
pub(crate) const MAX_OVERHEAD: usize = 14 + 8;
/// Room in front of a frame as it was received, for the headers that rules add.
const HEADROOM: usize = 128;

/// A fixed number of buffers. Memory is taken from the system when a buffer is first needed.
pub(crate) struct Pool {
    free: ArrayQueue<Box<[u8]>>,
    unmade: AtomicUsize,
}

impl Pool {
    pub(crate) fn new(buffers: usize) -> Arc<Pool> {
        Arc::new(Pool { free: ArrayQueue::new(buffers), unmade: AtomicUsize::new(buffers) })
    }

    /// A buffer of [`MAX_FRAME`] bytes that hold anything.
    pub(crate) fn take(self: &Arc<Pool>) -> Option<Frame> {
        let memory = match self.free.pop() {
            Some(memory) => memory,
            None => {
                self.unmade.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()?;
                vec![0; HEADROOM + MAX_FRAME].into_boxed_slice()
            }
        };
        Some(Frame { memory, start: HEADROOM, end: HEADROOM + MAX_FRAME, pool: Arc::clone(self) })
    }

    /// A buffer with a copy of these bytes; `None` if no buffer is left or they are too many.
    pub(crate) fn copy_of(self: &Arc<Pool>, bytes: &[u8]) -> Option<Frame> {
        if bytes.len() > MAX_FRAME {
            return None;
        }
        let mut frame = self.take()?;
        frame.truncate(bytes.len());
        frame.data_mut().copy_from_slice(bytes);
        Some(frame)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("free", &self.free.len()).field("unmade", &self.unmade).finish()
    }
}

/// A buffer of a [`Pool`] with a frame in it; it goes back when it is dropped. A frame to which rules have
/// added headers may be longer than [`MAX_FRAME`].
#[derive(Debug)]
pub(crate) struct Frame {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    pool: Arc<Pool>,
}

impl Frame {
    /// A copy with the same room in front; `None` if no buffer is left.
    pub(crate) fn copy(&self) -> Option<Frame> {
        let mut copy = self.pool.take()?;
        (copy.start, copy.end) = (self.start, self.end);
        copy.data_mut().copy_from_slice(self.data());
        Some(copy)
    }

    /// Cuts the frame off behind `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }
}

impl PacketBuf for Frame {
    #[inline]
    fn data(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom> {
        self.start = self.start.checked_sub(n).ok_or(NoHeadroom)?;
        Ok(())
    }

    fn trim_front(&mut self, n: usize) {
        self.start = self.end.min(self.start + n);
    }

    /// Checksums that a sender left to the card are completed where the frame enters.
    #[inline]
    fn checksum(&self) -> ChecksumState {
        ChecksumState::Complete
    }

    #[inline]
    fn set_checksum_complete(&mut self) {}
}

impl Drop for Frame {
    fn drop(&mut self) {
        // The pool made this buffer, so there is room for it.
        let _ = self.pool.free.push(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_no_more_buffers_than_it_has_and_takes_them_back() {
        let pool = Pool::new(2);
        let (one, two) = (pool.take(), pool.take());
        assert!(one.is_some() && two.is_some() && pool.take().is_none());
        drop(one);
        assert!(pool.take().is_some());
    }

    #[test]
    fn the_longest_frame_can_be_encapsulated_and_copied() {
        let pool = Pool::new(2);
        let mut frame = pool.copy_of(&[7; MAX_FRAME]).unwrap();
        let overhead = nic_flow::action::vxlan_overhead(true, true);
        frame.prepend(overhead).unwrap();
        frame.data_mut()[..overhead].fill(8);
        let mut copy = frame.copy().unwrap();
        assert_eq!(copy.data(), frame.data());
        assert!(frame.copy().is_none(), "no buffer is left");
        // Room for a tag or two is left, in the copy too.
        copy.prepend(8).unwrap();
    }

    #[test]
    fn headroom_is_bounded() {
        let mut frame = Pool::new(1).copy_of(b"abc").unwrap();
        frame.prepend(HEADROOM).unwrap();
        assert_eq!(frame.data().len(), HEADROOM + 3);
        assert_eq!(frame.prepend(1), Err(NoHeadroom));
        frame.trim_front(HEADROOM + 1);
        assert_eq!(frame.data(), b"bc");
        assert!(Pool::new(1).copy_of(&[0; MAX_FRAME + 1]).is_none());
    }
}
