//! Pools of packet buffers.

use core::fmt;
use core::ptr::NonNull;
use std::ffi::CString;
use std::sync::Arc;

use crate::burst::Burst;
use crate::eal::Eal;
use crate::errno::Errno;
use crate::mbuf::Mbuf;

/// Bytes free before a packet that was just received, made or copied.
pub const HEADROOM: usize = dpdk_sys::SHIM_MBUF_HEADROOM as usize;

/// What a pool is to be.
#[derive(Clone, Debug)]
pub struct MempoolConfig {
    /// A name that no other pool has; at most 25 bytes.
    pub name: String,
    /// How many mbufs it holds. One less than a power of two wastes least.
    pub mbufs: u32,
    /// How many mbufs each registered thread may keep for itself; at most 512
    /// and at most two thirds of `mbufs`.
    pub cache: u32,
    /// Bytes of packet in one mbuf, not counting the headroom.
    pub data_room: u16,
    /// The NUMA node, any where `None`.
    pub socket: Option<u16>,
}

impl MempoolConfig {
    /// A pool of `mbufs` ordinary mbufs (2048 bytes) with a cache for each thread.
    pub fn new(name: impl Into<String>, mbufs: u32) -> Self {
        let cache = if mbufs >= 1024 { 256 } else { 0 };
        Self { name: name.into(), mbufs, cache, data_room: 2048, socket: None }
    }
}

/// Why a pool was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// The name holds a zero byte.
    #[error("the mempool name {0:?} holds a zero byte")]
    NulInName(String),
    /// Packet room and headroom together do not fit 16 bits.
    #[error("a data room of {0} bytes is too large")]
    DataRoom(u16),
    /// DPDK refused: the name is taken or too long, memory is short, or the
    /// cache is too large for the pool.
    #[error("mempool {name:?} was not created: {errno}")]
    Refused {
        /// The pool's name.
        name: String,
        /// DPDK's reason.
        errno: Errno,
    },
}

/// A pool of mbufs. Cheap to clone, shared by threads. The pool itself lives
/// until EAL is cleaned up, so that no mbuf can outlive it.
#[derive(Clone)]
pub struct Mempool(Arc<Inner>);

struct Inner {
    pool: NonNull<dpdk_sys::rte_mempool>,
    /// EAL must run as long as anybody may allocate.
    eal: Eal,
}

// SAFETY: a mempool's operations are safe on any number of threads (its ring is
// multi-producer and multi-consumer, its caches belong to one lcore each).
unsafe impl Send for Inner {}
// SAFETY: see above.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Creates a pool.
    pub fn create(eal: &Eal, config: &MempoolConfig) -> Result<Self, MempoolError> {
        let name =
            CString::new(config.name.as_str()).map_err(|_| MempoolError::NulInName(config.name.clone()))?;
        let room = config
            .data_room
            .checked_add(dpdk_sys::SHIM_MBUF_HEADROOM)
            .ok_or(MempoolError::DataRoom(config.data_room))?;
        // SOCKET_ID_ANY is -1.
        let socket = config.socket.map_or(-1, i32::from);
        // SAFETY: EAL runs and the name is a string that is copied.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), config.mbufs, config.cache, 0, room, socket)
        };
        let pool = NonNull::new(pool)
            .ok_or_else(|| MempoolError::Refused { name: config.name.clone(), errno: Errno::last() })?;
        eal.keep_pool(pool);
        Ok(Self(Arc::new(Inner { pool, eal: eal.clone() })))
    }

    /// One empty mbuf, or `None` when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as EAL, which `self` keeps running.
        let mbuf = unsafe { dpdk_sys::shim_pktmbuf_alloc(self.as_ptr()) };
        // SAFETY: a fresh mbuf with one reference, ours.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// A packet of exactly these bytes, with [`HEADROOM`] before it; `None` when
    /// the pool is exhausted or an mbuf is too small for them.
    pub fn packet(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.alloc()?;
        mbuf.set_data(bytes).ok()?;
        Some(mbuf)
    }

    /// `count` empty mbufs behind those that the burst holds. All or none:
    /// false, and nothing done, where the pool or the burst has no room for all.
    #[inline]
    pub fn alloc_burst(&self, burst: &mut Burst, count: usize) -> bool {
        let spare = burst.spare();
        let Some(spare) = spare.get_mut(..count) else {
            return false;
        };
        let first = spare.as_mut_ptr().cast();
        // `count` is at most the capacity of a burst.
        let n = count as core::ffi::c_uint;
        // SAFETY: the pool lives, and `first` has room for `count` pointers.
        let result = unsafe { dpdk_sys::shim_pktmbuf_alloc_bulk(self.as_ptr(), first, n) };
        if result != 0 {
            return false;
        }
        // SAFETY: the call filled `count` places with mbufs of ours.
        unsafe { burst.extend_initialised(count) };
        true
    }

    /// How many mbufs the pool was made with.
    pub fn size(&self) -> u32 {
        // SAFETY: the pool lives as long as EAL, which `self` keeps running.
        unsafe { dpdk_sys::shim_mempool_size(self.as_ptr()) }
    }

    /// How many mbufs are free, per-thread caches included. Walks all caches,
    /// and is exact only while no other thread allocates or frees.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as EAL, which `self` keeps running.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// How many mbufs are out; as exact as [`Mempool::available`].
    pub fn in_use(&self) -> u32 {
        self.size().saturating_sub(self.available())
    }

    /// Bytes of packet in one mbuf, not counting the headroom.
    pub fn data_room(&self) -> u16 {
        // SAFETY: the pool lives as long as EAL, which `self` keeps running.
        let room = unsafe { dpdk_sys::shim_mempool_data_room(self.as_ptr()) };
        room.saturating_sub(dpdk_sys::SHIM_MBUF_HEADROOM)
    }

    /// The EAL that the pool belongs to.
    pub fn eal(&self) -> &Eal {
        &self.0.eal
    }

    /// DPDK's own pointer, for a driver in the same process.
    pub fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.0.pool.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool").field("size", &self.size()).finish_non_exhaustive()
    }
}
