//! A fixed container of packets: what queues fill and empty.

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

use crate::mbuf::Mbuf;

/// How many packets a burst holds, and a queue is asked for at once.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets, owned, in order, without allocation. Reads as a
/// slice of [`Mbuf`].
pub struct Burst {
    /// The first `len` places are initialised.
    places: [MaybeUninit<Mbuf>; BURST],
    len: usize,
}

impl Burst {
    /// An empty burst.
    #[inline]
    pub const fn new() -> Self {
        Self { places: [const { MaybeUninit::uninit() }; BURST], len: 0 }
    }

    /// Whether there is room for no more.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len == BURST
    }

    /// How many more packets fit.
    #[inline]
    pub const fn room(&self) -> usize {
        BURST - self.len
    }

    /// Puts a packet at the end; gives it back where there is no room.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(place) = self.places.get_mut(self.len) else {
            return Err(mbuf);
        };
        place.write(mbuf);
        self.len += 1;
        Ok(())
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        let last = self.len.checked_sub(1)?;
        let place = self.places.get(last)?;
        // SAFETY: places below `len` are initialised; `len` goes down with it, so
        // the packet is read once.
        let mbuf = unsafe { place.assume_init_read() };
        self.len = last;
        Some(mbuf)
    }

    /// Takes the packet at `index`; the last one takes its place.
    pub fn swap_remove(&mut self, index: usize) -> Option<Mbuf> {
        let last = self.len.checked_sub(1)?;
        if index > last {
            return None;
        }
        self.swap(index, last);
        self.pop()
    }

    /// Takes all packets in order; those not taken from the iterator are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = self.len;
        // The iterator owns them from here on, also if it is leaked.
        self.len = 0;
        Drain { burst: self, next: 0, end }
    }

    /// Frees all packets.
    #[inline]
    pub fn clear(&mut self) {
        let count = self.len;
        self.len = 0;
        // `count` is at most `BURST`.
        let n = count as core::ffi::c_uint;
        // SAFETY: the first `count` places hold mbufs of ours, which `len` no
        // longer covers; an `Mbuf` is one pointer.
        unsafe { dpdk_sys::rte_pktmbuf_free_bulk(self.places.as_mut_ptr().cast(), n) };
    }

    /// The places behind the last packet.
    #[inline]
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<Mbuf>] {
        // `len` never passes the end.
        self.places.get_mut(self.len..).unwrap_or_default()
    }

    /// Counts packets that were written to the spare places.
    ///
    /// # Safety
    /// The first `count` spare places are initialised.
    #[inline]
    pub(crate) unsafe fn extend_initialised(&mut self, count: usize) {
        debug_assert!(count <= self.room());
        self.len += count;
    }

    /// Drops the first `count` packets from the burst without freeing them: a
    /// queue took them.
    ///
    /// # Safety
    /// Ownership of the first `count` packets has passed to somebody else.
    #[inline]
    pub(crate) unsafe fn forget_front(&mut self, count: usize) {
        let count = count.min(self.len);
        for (to, from) in (count..self.len).enumerate() {
            self.places.swap(to, from);
        }
        self.len -= count;
    }

    /// Pointer to the first place, as DPDK's burst calls take it.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut *mut dpdk_sys::rte_mbuf {
        self.places.as_mut_ptr().cast()
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Burst {
    type Target = [Mbuf];

    #[inline]
    fn deref(&self) -> &[Mbuf] {
        // SAFETY: the first `len` places are initialised.
        unsafe { core::slice::from_raw_parts(self.places.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Burst {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: the first `len` places are initialised.
        unsafe { core::slice::from_raw_parts_mut(self.places.as_mut_ptr().cast(), self.len) }
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The packets of a burst, taken one by one.
pub struct Drain<'a> {
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let place = self.burst.places.get(self.next)?;
        self.next += 1;
        // SAFETY: the places up to `end` were initialised when the iterator was
        // made, and each is read once.
        Some(unsafe { place.assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl fmt::Debug for Drain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &(self.end - self.next)).finish()
    }
}
