//! Packet buffers: owned, freed when dropped.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};

use dpdk_sys as sys;

use crate::ethdev::DevId;
use crate::mempool::Mempool;
use crate::offload::{Checksum, L4, RxMeta, TxMeta};

/// Why a packet could not be read or changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MbufError {
    /// The packet lies in several segments; [`Mbuf::linearize`] joins them.
    #[error("the packet lies in {0} segments")]
    Segmented(u16),
    /// Somebody else reads the same bytes; copy the packet to change it.
    #[error("the packet's bytes are shared")]
    Shared,
    /// No room before or behind the packet.
    #[error("{wanted} bytes wanted where there is room for {room}")]
    NoRoom {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes there are.
        room: usize,
    },
    /// The packet is shorter than what was to be taken off.
    #[error("{wanted} bytes to take off a packet of {len}")]
    TooShort {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes there are.
        len: usize,
    },
}

/// One packet, owned. Given away by moving it: into a burst, to another thread;
/// dropped, it goes back to its pool.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf has one owner, and DPDK lets any thread free it. It is not
// `Sync`: its reference count and offload fields are plain memory.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of a raw mbuf.
    ///
    /// # Safety
    /// `mbuf` is a valid packet (every segment initialised) whose reference the
    /// caller owns and gives up, from a pool that lives as long as EAL runs.
    #[inline]
    pub unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// Gives up ownership; who takes the pointer must free it.
    #[inline]
    pub fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    /// DPDK's own pointer; ownership stays.
    #[inline]
    pub fn as_ptr(&self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }

    /// Reads a field at one of the `SHIM_MBUF_*` offsets.
    ///
    /// # Safety
    /// `T` is the type that `dpdk_shim.c` asserts for the field at `offset`.
    #[inline]
    unsafe fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the offset lies within the mbuf.
        let field = unsafe { self.0.as_ptr().cast::<u8>().add(offset) };
        // SAFETY: aligned and initialised as DPDK's struct has it, of type `T`
        // by the caller's word, and read by the mbuf's only owner.
        unsafe { field.cast::<T>().read() }
    }

    /// Writes a field at one of the `SHIM_MBUF_*` offsets.
    ///
    /// # Safety
    /// As for [`Mbuf::field`], and the mbuf stays valid with that value.
    #[inline]
    unsafe fn set_field<T: Copy>(&mut self, offset: usize, value: T) {
        // SAFETY: the offset lies within the mbuf.
        let field = unsafe { self.0.as_ptr().cast::<u8>().add(offset) };
        // SAFETY: aligned, of type `T`, and written by the mbuf's only owner.
        unsafe { field.cast::<T>().write(value) }
    }

    /// Bytes of the packet over all segments.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: pkt_len is a u32.
        let len = unsafe { self.field::<u32>(sys::SHIM_MBUF_PKT_LEN) };
        len as usize
    }

    /// Whether the packet has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many segments the packet lies in.
    #[inline]
    pub fn segments(&self) -> u16 {
        // SAFETY: nb_segs is a u16.
        unsafe { self.field::<u16>(sys::SHIM_MBUF_NB_SEGS) }
    }

    #[inline]
    fn segment_start(&self) -> *mut u8 {
        // SAFETY: buf_addr is a pointer.
        let buffer = unsafe { self.field::<*mut u8>(sys::SHIM_MBUF_BUF_ADDR) };
        // SAFETY: data_off is a u16.
        let offset = unsafe { self.field::<u16>(sys::SHIM_MBUF_DATA_OFF) };
        // SAFETY: DPDK keeps the data within the buffer.
        unsafe { buffer.add(usize::from(offset)) }
    }

    #[inline]
    fn segment_len(&self) -> usize {
        // SAFETY: data_len is a u16.
        usize::from(unsafe { self.field::<u16>(sys::SHIM_MBUF_DATA_LEN) })
    }

    /// The bytes of the first segment: the whole packet where it has one.
    #[inline]
    pub fn first_segment(&self) -> &[u8] {
        // SAFETY: `segment_len` bytes from there on are the segment's data; pool
        // memory is always initialised, and nobody writes while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(self.segment_start(), self.segment_len()) }
    }

    /// The whole packet, if it lies in one segment.
    #[inline]
    pub fn data(&self) -> Result<&[u8], MbufError> {
        match self.segments() {
            1 => Ok(self.first_segment()),
            n => Err(MbufError::Segmented(n)),
        }
    }

    /// The whole packet to write to, if it lies in one segment that is ours alone.
    #[inline]
    pub fn data_mut(&mut self) -> Result<&mut [u8], MbufError> {
        self.check_exclusive()?;
        // SAFETY: the segment's data, in a buffer that nobody else refers to, and
        // `self` is borrowed for as long as the slice lives.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.segment_start(), self.segment_len()) })
    }

    /// One segment, one reference, a buffer of its own.
    #[inline]
    fn check_exclusive(&self) -> Result<(), MbufError> {
        let segments = self.segments();
        if segments != 1 {
            return Err(MbufError::Segmented(segments));
        }
        if self.is_shared() { Err(MbufError::Shared) } else { Ok(()) }
    }

    /// Whether somebody else may refer to the first segment's buffer.
    #[inline]
    fn is_shared(&self) -> bool {
        // SAFETY: refcnt is a u16.
        let references = unsafe { self.field::<u16>(sys::SHIM_MBUF_REFCNT) };
        let foreign = sys::SHIM_MBUF_INDIRECT | sys::SHIM_MBUF_EXTERNAL;
        references != 1 || self.ol_flags() & foreign != 0
    }

    /// Joins all segments in the first one.
    pub fn linearize(&mut self) -> Result<(), MbufError> {
        if self.segments() == 1 {
            return Ok(());
        }
        if self.is_shared() {
            return Err(MbufError::Shared);
        }
        let wanted = self.len() - self.segment_len();
        let room = self.segment_room_behind();
        // SAFETY: a valid packet of ours; on failure it stays as it was.
        if unsafe { sys::shim_pktmbuf_linearize(self.as_ptr()) } == 0 {
            Ok(())
        } else {
            Err(MbufError::NoRoom { wanted, room })
        }
    }

    /// Copies bytes from anywhere in the packet, over segment borders; false if
    /// the packet does not reach that far.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> bool {
        let (Ok(from), Ok(len)) = (u32::try_from(offset), u32::try_from(out.len())) else {
            return false;
        };
        if offset.checked_add(out.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        // SAFETY: `out` has room for `len` bytes, which the packet holds from `from` on.
        let found = unsafe { sys::shim_pktmbuf_read(self.as_ptr(), from, len, out.as_mut_ptr().cast()) };
        if found.is_null() {
            return false;
        }
        if found != out.as_ptr().cast() {
            // SAFETY: `found` points to `len` bytes within one segment, apart from `out`.
            unsafe { ptr::copy_nonoverlapping(found.cast(), out.as_mut_ptr(), out.len()) };
        }
        true
    }

    /// Bytes free before the packet.
    #[inline]
    pub fn headroom(&self) -> usize {
        // SAFETY: data_off is a u16.
        usize::from(unsafe { self.field::<u16>(sys::SHIM_MBUF_DATA_OFF) })
    }

    /// Bytes free behind the packet, if it lies in one segment; else none.
    #[inline]
    pub fn tailroom(&self) -> usize {
        if self.segments() == 1 { self.segment_room_behind() } else { 0 }
    }

    /// Bytes free behind the first segment's data.
    fn segment_room_behind(&self) -> usize {
        // SAFETY: buf_len is a u16.
        let buffer = usize::from(unsafe { self.field::<u16>(sys::SHIM_MBUF_BUF_LEN) });
        buffer.saturating_sub(self.headroom() + self.segment_len())
    }

    /// Grows the packet by `len` bytes at its front and gives them, zeroed:
    /// what another packet left in the buffer never shows.
    pub fn prepend(&mut self, len: usize) -> Result<&mut [u8], MbufError> {
        self.check_exclusive()?;
        let refused = MbufError::NoRoom { wanted: len, room: self.headroom() };
        let count = u16::try_from(len).map_err(|_| refused)?;
        // SAFETY: a valid packet of ours; null and unchanged where there is no room.
        let start = unsafe { sys::shim_pktmbuf_prepend(self.as_ptr(), count) };
        self.fresh(start.cast(), len).ok_or(refused)
    }

    /// Grows the packet by `len` bytes at its end and gives them, zeroed.
    pub fn append(&mut self, len: usize) -> Result<&mut [u8], MbufError> {
        self.check_exclusive()?;
        let refused = MbufError::NoRoom { wanted: len, room: self.tailroom() };
        let count = u16::try_from(len).map_err(|_| refused)?;
        // SAFETY: a valid packet of ours; null and unchanged where there is no room.
        let start = unsafe { sys::shim_pktmbuf_append(self.as_ptr(), count) };
        self.fresh(start.cast(), len).ok_or(refused)
    }

    /// Bytes just added to the packet, zeroed.
    fn fresh(&mut self, start: *mut u8, len: usize) -> Option<&mut [u8]> {
        let start = NonNull::new(start)?;
        // SAFETY: DPDK found room for `len` bytes from there on in our buffer.
        unsafe { start.as_ptr().write_bytes(0, len) };
        // SAFETY: the same bytes, now initialised, borrowed with `self`.
        Some(unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Makes this a packet of exactly these bytes, in an empty mbuf or in place
    /// of what it held.
    pub fn set_data(&mut self, bytes: &[u8]) -> Result<(), MbufError> {
        let len = self.len();
        if bytes.len() > len {
            self.append(bytes.len() - len)?;
        } else {
            self.trim(len - bytes.len())?;
        }
        self.data_mut()?.copy_from_slice(bytes);
        Ok(())
    }

    /// Takes `len` bytes off the front; they must lie in the first segment.
    pub fn adj(&mut self, len: usize) -> Result<(), MbufError> {
        let refused = MbufError::TooShort { wanted: len, len: self.segment_len() };
        let count = u16::try_from(len).map_err(|_| refused)?;
        // SAFETY: a valid packet of ours; null and unchanged where it is too short.
        let start = unsafe { sys::shim_pktmbuf_adj(self.as_ptr(), count) };
        if start.is_null() { Err(refused) } else { Ok(()) }
    }

    /// Takes `len` bytes off the end; they must lie in the last segment.
    pub fn trim(&mut self, len: usize) -> Result<(), MbufError> {
        let refused = MbufError::TooShort { wanted: len, len: self.len() };
        let count = u16::try_from(len).map_err(|_| refused)?;
        // SAFETY: a valid packet of ours; unchanged where it is too short.
        let result = unsafe { sys::shim_pktmbuf_trim(self.as_ptr(), count) };
        if result == 0 { Ok(()) } else { Err(refused) }
    }

    /// A copy with its own bytes in `pool`, metadata included; `None` when the
    /// pool is exhausted.
    pub fn copy(&self, pool: &Mempool) -> Option<Self> {
        // SAFETY: a valid packet and a living pool; the length is cut to the packet's.
        let copy = unsafe { sys::rte_pktmbuf_copy(self.as_ptr(), pool.as_ptr(), 0, u32::MAX) };
        // SAFETY: a fresh packet with one reference, ours.
        NonNull::new(copy).map(|copy| unsafe { Self::from_raw(copy) })
    }

    /// Puts `tail` behind this packet as further segments; gives it back where
    /// the packet would have too many.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let raw = tail.into_raw();
        // SAFETY: two valid packets of ours; on success the tail's reference is
        // the chain's, on failure both are unchanged.
        let result = unsafe { sys::shim_pktmbuf_chain(self.as_ptr(), raw.as_ptr()) };
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the reference given up above, which the chain did not take.
        Err(unsafe { Self::from_raw(raw) })
    }

    #[inline]
    fn ol_flags(&self) -> u64 {
        // SAFETY: ol_flags is a u64.
        unsafe { self.field::<u64>(sys::SHIM_MBUF_OL_FLAGS) }
    }

    /// The port that the packet came in on; meaningless for a packet made here.
    #[inline]
    pub fn rx_port(&self) -> DevId {
        // SAFETY: port is a u16.
        DevId::from_raw(unsafe { self.field::<u16>(sys::SHIM_MBUF_PORT) })
    }

    /// What the receiving port found out about the packet.
    #[inline]
    pub fn rx_meta(&self) -> RxMeta {
        let flags = self.ol_flags();
        // SAFETY: vlan_tci is a u16.
        let tci = unsafe { self.field::<u16>(sys::SHIM_MBUF_VLAN_TCI) };
        // SAFETY: hash.rss is a u32.
        let hash = unsafe { self.field::<u32>(sys::SHIM_MBUF_HASH_RSS) };
        RxMeta {
            stripped_vlan: (flags & sys::SHIM_RX_VLAN_STRIPPED != 0).then_some(tci),
            ip_checksum: match flags & sys::SHIM_RX_IP_CKSUM_MASK {
                sys::SHIM_RX_IP_CKSUM_BAD => Checksum::Bad,
                sys::SHIM_RX_IP_CKSUM_GOOD => Checksum::Good,
                sys::SHIM_RX_IP_CKSUM_NONE => Checksum::NotFilled,
                _ => Checksum::Unknown,
            },
            l4_checksum: match flags & sys::SHIM_RX_L4_CKSUM_MASK {
                sys::SHIM_RX_L4_CKSUM_BAD => Checksum::Bad,
                sys::SHIM_RX_L4_CKSUM_GOOD => Checksum::Good,
                sys::SHIM_RX_L4_CKSUM_NONE => Checksum::NotFilled,
                _ => Checksum::Unknown,
            },
            rss_hash: (flags & sys::SHIM_RX_RSS_HASH != 0).then_some(hash),
        }
    }

    /// Forgets what the receiving port said, after the packet was changed: a
    /// stripped tag is not put back, checksums count as unknown.
    #[inline]
    pub fn clear_rx_meta(&mut self) {
        let mask = sys::SHIM_RX_VLAN
            | sys::SHIM_RX_VLAN_STRIPPED
            | sys::SHIM_RX_IP_CKSUM_MASK
            | sys::SHIM_RX_L4_CKSUM_MASK
            | sys::SHIM_RX_RSS_HASH;
        let flags = self.ol_flags() & !mask;
        // SAFETY: ol_flags is a u64; these bits describe, they own nothing.
        unsafe { self.set_field(sys::SHIM_MBUF_OL_FLAGS, flags) };
    }

    /// Asks the transmitting port to finish the packet. The port must have been
    /// started with the offloads that this needs.
    #[inline]
    pub fn set_tx_meta(&mut self, meta: &TxMeta) {
        let mask = sys::SHIM_TX_VLAN
            | sys::SHIM_TX_IPV4
            | sys::SHIM_TX_IPV6
            | sys::SHIM_TX_IP_CKSUM
            | sys::SHIM_TX_L4_MASK;
        let mut flags = self.ol_flags() & !mask;
        if let Some(tci) = meta.insert_vlan {
            flags |= sys::SHIM_TX_VLAN;
            // SAFETY: vlan_tci is a u16, free to set.
            unsafe { self.set_field(sys::SHIM_MBUF_VLAN_TCI, tci) };
        }
        if meta.ipv4_checksum {
            flags |= sys::SHIM_TX_IP_CKSUM;
        }
        if meta.ipv4_checksum || meta.l4_checksum != L4::None {
            flags |= if meta.ipv6 { sys::SHIM_TX_IPV6 } else { sys::SHIM_TX_IPV4 };
        }
        flags |= match meta.l4_checksum {
            L4::None => 0,
            L4::Tcp => sys::SHIM_TX_TCP_CKSUM,
            L4::Udp => sys::SHIM_TX_UDP_CKSUM,
        };
        // SAFETY: ol_flags is a u64; these bits describe, they own nothing.
        unsafe { self.set_field(sys::SHIM_MBUF_OL_FLAGS, flags) };
        // SAFETY: a valid packet of ours; the lengths are bit fields that C packs.
        unsafe {
            sys::shim_mbuf_set_tx_lens(self.as_ptr(), meta.l2_len.into(), meta.l3_len, meta.l4_len.into());
        }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: our reference, given up here; the pool lives as long as EAL,
        // which is not cleaned up while an mbuf is out.
        unsafe { sys::shim_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf").field("len", &self.len()).field("segments", &self.segments()).finish()
    }
}
