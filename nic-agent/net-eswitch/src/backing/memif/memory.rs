//! Memory that the client shares: regions, and the rings in them.
//!
//! The client may be wrong, or hostile. It may change any byte at any time, so each is read once, and
//! what is checked is what was read. It cannot take pages away: regions are sealed against that.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::message::{Fault, RingPlace};

/// The first word of a ring.
const COOKIE: u32 = 0x03e3_1f20;
/// Where the parts of a ring lie: cookie, flags, head, tail on a line of its own, descriptors.
const FLAGS: usize = 4;
const HEAD: usize = 6;
const TAIL: usize = 64;
const DESCRIPTORS: usize = 128;
const DESCRIPTOR: usize = 16;
/// A flag of a ring: its reader wants no interrupts.
const MASK_INTERRUPT: u16 = 1;
/// A flag of a descriptor: the frame goes on in the next one.
const NEXT: u16 = 1;
/// More than that is not mapped.
const MAX_REGION: u64 = 1 << 32;

/// Shared memory.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Region {}

impl Region {
    pub(super) fn map(fd: OwnedFd, size: u64) -> Result<Region, Fault> {
        let file = File::from(fd);
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or(0);
        if !SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK) {
            return Err(Fault("a region is not sealed against shrinking"));
        }
        let whole = file.metadata().is_ok_and(|data| data.len() >= size);
        let length = usize::try_from(size).ok().and_then(NonZeroUsize::new);
        let Some(length) = length.filter(|_| whole && size <= MAX_REGION) else {
            return Err(Fault("a region has another size"));
        };
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel finds room.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, file.as_fd(), 0) };
        let start = start.map_err(|_| Fault("a region cannot be mapped"))?;
        Ok(Region { start: start.cast(), size: length.get() })
    }

    /// The bytes from `offset` on, if there are so many.
    fn at(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        // SAFETY: the place lies in the mapping, or right behind it.
        (end <= self.size).then(|| unsafe { self.start.add(offset) })
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> Option<()> {
        let from = self.at(offset, to.len())?;
        // SAFETY: `from` has that many bytes in the mapping, `to` is no part of it, and whatever the
        // client does to the bytes meanwhile, any bytes are a value.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr().cast_const(), to.as_mut_ptr(), to.len()) };
        Some(())
    }

    fn write(&self, offset: usize, from: &[u8]) -> Option<()> {
        let to = self.at(offset, from.len())?;
        // SAFETY: `to` has that many bytes in the mapping, of which `from` is no part.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
        Some(())
    }

    fn u16(&self, offset: usize) -> Option<&AtomicU16> {
        let place = self.at(offset, 2)?.cast::<u16>();
        // SAFETY: the two bytes lie in the mapping, which lives as long as the region, and are only
        // touched as atomics here.
        place.is_aligned().then(|| unsafe { AtomicU16::from_ptr(place.as_ptr()) })
    }

    fn u32(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self.at(offset, 4)?.cast::<u32>();
        // SAFETY: as above, for four bytes.
        place.is_aligned().then(|| unsafe { AtomicU32::from_ptr(place.as_ptr()) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's, and nothing points into it any more.
        let _ = unsafe { munmap(self.start.cast(), self.size) };
    }
}

/// A buffer that a ring speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) goes_on: bool,
    region: u16,
    pub(super) length: u32,
    offset: u32,
}

/// A ring. Its head and its tail count without end; the one that is this side's is kept here, and only
/// told to the client.
#[derive(Debug)]
pub(super) struct Ring {
    place: RingPlace,
    own: u16,
    pub(super) event: EventFd,
}

const BAD: Fault = Fault("a ring or a buffer lies outside of its region");

impl Ring {
    /// A ring in its beginning, which the client has prepared.
    pub(super) fn new(regions: &[Region], place: RingPlace, event: EventFd) -> Result<Ring, Fault> {
        let ring = Ring { place, own: 0, event };
        let region = ring.region(regions)?;
        let length = DESCRIPTORS + (DESCRIPTOR << place.log2_size);
        region.at(place.offset as usize, length).ok_or(BAD)?;
        let cookie = region.u32(place.offset as usize).ok_or(BAD)?;
        if cookie.load(Ordering::Relaxed) != COOKIE {
            return Err(Fault("no ring is there"));
        }
        if place.to_here {
            // Interrupts are wanted: the switch sleeps.
            ring.word(regions, FLAGS)?.store(0, Ordering::SeqCst);
        }
        Ok(ring)
    }

    fn region<'a>(&self, regions: &'a [Region]) -> Result<&'a Region, Fault> {
        regions.get(usize::from(self.place.region)).ok_or(BAD)
    }

    fn word<'a>(&self, regions: &'a [Region], at: usize) -> Result<&'a AtomicU16, Fault> {
        self.region(regions)?.u16(self.place.offset as usize + at).ok_or(BAD)
    }

    /// How many buffers the client has filled, or given to be filled.
    pub(super) fn waiting(&self, regions: &[Region]) -> Result<u16, Fault> {
        let head = self.word(regions, HEAD)?.load(Ordering::Acquire);
        let waiting = head.wrapping_sub(self.own);
        if u32::from(waiting) > 1 << self.place.log2_size {
            return Err(Fault("a ring holds more than it can"));
        }
        Ok(waiting)
    }

    /// Tells the client that it has so many more of them back.
    pub(super) fn advance(&mut self, regions: &[Region], n: u16) -> Result<(), Fault> {
        self.own = self.own.wrapping_add(n);
        self.word(regions, TAIL)?.store(self.own, Ordering::Release);
        Ok(())
    }

    /// Wakes the client, unless it does not want that.
    pub(super) fn wake(&self, regions: &[Region]) -> Result<(), Fault> {
        // The client sees what was published, or this sees that it wants to be woken.
        fence(Ordering::SeqCst);
        if self.word(regions, FLAGS)?.load(Ordering::SeqCst) & MASK_INTERRUPT == 0 {
            self.raise();
        }
        Ok(())
    }

    /// Raises the event, unless it is raised already. The client shares the file, and may have made its
    /// calls wait: one that was raised to the full would keep this thread.
    pub(super) fn raise(&self) {
        let mut file = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
        if poll(&mut file, PollTimeout::ZERO) == Ok(0) {
            let _ = self.event.write(1);
        }
    }

    /// Lowers the event. A call that must not wait, whatever the client made of the file's others.
    pub(super) fn lower(&self) {
        let mut count = [0u8; 8];
        let part = libc::iovec { iov_base: count.as_mut_ptr().cast(), iov_len: count.len() };
        // SAFETY: the one part is of eight bytes that live until the call is over.
        let read = unsafe { libc::preadv2(self.event.as_raw_fd(), &part, 1, -1, libc::RWF_NOWAIT) };
        if read < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) {
            // A kernel before 5.8.
            let _ = self.event.read();
        }
    }

    fn descriptor_at(&self, index: u16) -> usize {
        let index = usize::from(self.own.wrapping_add(index)) & ((1 << self.place.log2_size) - 1);
        self.place.offset as usize + DESCRIPTORS + index * DESCRIPTOR
    }

    /// The buffer that is `index` behind the next one.
    pub(super) fn descriptor(&self, regions: &[Region], index: u16) -> Result<Descriptor, Fault> {
        let (region, at) = (self.region(regions)?, self.descriptor_at(index));
        // As atomics, of which each is read once and no more: what is checked later is what was read here.
        let u16_at = |at| Some(region.u16(at)?.load(Ordering::Relaxed));
        let u32_at = |at| Some(region.u32(at)?.load(Ordering::Relaxed));
        Ok(Descriptor {
            goes_on: u16_at(at).ok_or(BAD)? & NEXT != 0,
            region: u16_at(at + 2).ok_or(BAD)?,
            length: u32_at(at + 4).ok_or(BAD)?,
            offset: u32_at(at + 8).ok_or(BAD)?,
        })
    }

    /// Says how many bytes of a buffer were filled.
    pub(super) fn fill(
        &self,
        regions: &[Region],
        index: u16,
        length: u32,
        goes_on: bool,
    ) -> Result<(), Fault> {
        let (region, at) = (self.region(regions)?, self.descriptor_at(index));
        let flags = if goes_on { NEXT } else { 0 };
        region.u16(at).ok_or(BAD)?.store(flags, Ordering::Relaxed);
        region.u32(at + 4).ok_or(BAD)?.store(length, Ordering::Relaxed);
        Ok(())
    }
}

impl Descriptor {
    /// Copies the front of the buffer.
    pub(super) fn read(&self, regions: &[Region], to: &mut [u8]) -> Result<(), Fault> {
        let region = regions.get(usize::from(self.region)).ok_or(BAD)?;
        region.read(self.offset as usize, to).ok_or(BAD)
    }

    /// Copies bytes into the buffer, `at` behind its front.
    pub(super) fn write(&self, regions: &[Region], at: usize, from: &[u8]) -> Result<(), Fault> {
        let region = regions.get(usize::from(self.region)).ok_or(BAD)?;
        region.write(self.offset as usize + at, from).ok_or(BAD)
    }
}
