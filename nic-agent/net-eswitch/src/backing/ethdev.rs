//! Another DPDK port, such as a virtual function that the process drives past the kernel: its queues are what
//! is behind a port of the switch. It is looked at every millisecond, so no driver needs interrupts for it.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dpdk_sys::{rte_mbuf, rte_mempool};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::{BackingCounters, MAX_BATCH, Piece, SendError};
use crate::ffi;
use crate::frame::{DEFAULT_MTU, Frame, MAX_FRAME, MAX_OVERHEAD, Pool};

/// Between two looks at the receive queue.
const TICK: Duration = Duration::from_millis(1);
/// Between two looks at what the port says that it lost.
const STATISTICS: Duration = Duration::from_secs(1);
/// Frames that wait in a queue of the port, if its driver lets them.
const DESCRIPTORS: u16 = 512;
/// Buffers of the port: both queues full, and some under way.
const BUFFERS: u32 = 4 * DESCRIPTORS as u32;
/// The least room of a buffer that drivers expect.
const USUAL_ROOM: u16 = 2048;
/// Any socket's memory.
const ANY_SOCKET: i32 = -1;

/// Why a port cannot stand behind a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{name}: there is no DPDK port of that name; EAL must have been told of it, as by --pci")]
    Absent { name: String },
    #[error("{name}: {step} (errno {errno})")]
    Refused { name: String, step: &'static str, errno: i32 },
    #[error("{name}: a timer: {why}")]
    Timer { name: String, why: nix::Error },
}

/// A port of another driver.
pub(crate) struct Ethdev {
    name: String,
    port: u16,
    pool: *mut rte_mempool,
    timer: TimerFd,
    /// Transmit queues are for one thread at a time: the switch's and the application's send here.
    sending: Mutex<()>,
    lost: Mutex<Lost>,
    /// Bytes that one buffer of the pool takes.
    room: usize,
}

/// What was heard of the port's own losses.
#[derive(Debug)]
struct Lost {
    asked: Instant,
    missed: u64,
    errors: u64,
}

// SAFETY: the pool is DPDK's, which allows any thread; everything else that the pointer leads to is used under
// the rules of ethdev: receiving by the switch's thread alone, sending under `sending`.
unsafe impl Send for Ethdev {}
// SAFETY: as above.
unsafe impl Sync for Ethdev {}

impl Ethdev {
    /// Takes the port of that name and starts it.
    pub(crate) fn open(name: &str) -> Result<Ethdev, OpenError> {
        let absent = || OpenError::Absent { name: name.into() };
        let text = CString::new(name).map_err(|_| absent())?;
        let mut port = 0;
        // SAFETY: a C string, and a number to write to.
        if unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(text.as_ptr(), &raw mut port) } != 0 {
            return Err(absent());
        }
        let timer = timer().map_err(|why| OpenError::Timer { name: name.into(), why })?;
        let pool = start(port).map_err(|(step, errno)| {
            let errno = errno.abs();
            OpenError::Refused { name: name.into(), step, errno }
        })?;
        // SAFETY: the pool was just made.
        let room = unsafe { dpdk_sys::shim_mempool_data_room(pool) } - dpdk_sys::SHIM_MBUF_HEADROOM;
        Ok(Ethdev {
            name: name.into(),
            port,
            pool,
            timer,
            sending: Mutex::default(),
            lost: Mutex::new(Lost { asked: Instant::now(), missed: 0, errors: 0 }),
            room: room.into(),
        })
    }

    /// Readable when the queue is to be looked at.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    pub(crate) fn receive(&self, pool: &Arc<Pool>, counters: &BackingCounters, frames: &mut Vec<Frame>) {
        let mut mbufs = [ptr::null_mut::<rte_mbuf>(); MAX_BATCH];
        // SAFETY: the port runs, has a receive queue, and only the switch's thread receives; the array has as
        // many places as it says.
        let count =
            unsafe { dpdk_sys::shim_eth_rx_burst(self.port, 0, mbufs.as_mut_ptr(), MAX_BATCH as u16) };
        for &mbuf in &mbufs[..usize::from(count)] {
            match copied(mbuf, pool) {
                Ok(frame) => frames.push(frame),
                Err(Uncopied::NoBuffer) => BackingCounters::count(&counters.no_buffer),
                Err(Uncopied::TooLong) => BackingCounters::count(&counters.oversized),
            }
            // SAFETY: the packet came from the port and is nobody else's.
            unsafe { dpdk_sys::shim_pktmbuf_free(mbuf) };
        }
        if usize::from(count) < MAX_BATCH {
            // What comes from now on is seen at the next tick.
            let _ = self.timer.wait();
            self.account(counters);
        }
    }

    /// Counts what the port lost before it could be received.
    fn account(&self, counters: &BackingCounters) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.asked.elapsed() < STATISTICS {
            return;
        }
        lost.asked = Instant::now();
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port is one, and there is room for the answer.
        if unsafe { dpdk_sys::rte_eth_stats_get(self.port, &raw mut stats) } == 0 {
            let missed = stats.imissed + stats.rx_nombuf;
            counters.kernel_drops.fetch_add(missed.saturating_sub(lost.missed), Relaxed);
            counters.receive_errors.fetch_add(stats.ierrors.saturating_sub(lost.errors), Relaxed);
            (lost.missed, lost.errors) = (missed, stats.ierrors);
        }
    }

    /// Sends the frames at the front: how many went, and why the next did not.
    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        let _alone = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        for (done, frame) in frames.iter().enumerate() {
            let mut mbuf = match self.packet(&frame.concat()) {
                Ok(mbuf) => mbuf,
                Err(why) => return (done, Some(why)),
            };
            // SAFETY: the port runs, has a transmit queue, and the lock keeps others from it; one packet.
            if unsafe { dpdk_sys::shim_eth_tx_burst(self.port, 0, &raw mut mbuf, 1) } == 0 {
                // SAFETY: the packet was not taken.
                unsafe { dpdk_sys::shim_pktmbuf_free(mbuf) };
                return (done, Some(SendError::Full));
            }
        }
        (frames.len(), None)
    }

    /// A packet of the port's own buffers.
    fn packet(&self, octets: &[u8]) -> Result<*mut rte_mbuf, SendError> {
        if octets.len() > self.room {
            return Err(SendError::Refused);
        }
        // SAFETY: the pool lives as long as this.
        let mbuf = unsafe { dpdk_sys::shim_pktmbuf_alloc(self.pool) };
        if mbuf.is_null() {
            return Err(SendError::Full);
        }
        // SAFETY: the buffer is fresh and has room for these octets, which are `length` long.
        unsafe { ffi::nes_mbuf_fill(mbuf, self.port, octets.as_ptr().cast(), octets.len() as u32) };
        Ok(mbuf)
    }

    pub(crate) fn link_up(&self) -> bool {
        let mut link = dpdk_sys::shim_eth_link::default();
        // SAFETY: the port is one, and there is room for the answer.
        unsafe { dpdk_sys::shim_eth_link_get_nowait(self.port, &raw mut link) == 0 && link.up == 1 }
    }

    pub(crate) fn mtu(&self) -> Option<u32> {
        mtu(self.port).map(u32::from)
    }
}

impl Drop for Ethdev {
    fn drop(&mut self) {
        // SAFETY: the switch's thread has ended. At the end of EAL the port may be closed already, and the
        // call says so by an error.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.port) };
    }
}

impl fmt::Debug for Ethdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ethdev").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

fn mtu(port: u16) -> Option<u16> {
    let mut mtu = 0;
    // SAFETY: a number to write to.
    let done = unsafe { dpdk_sys::rte_eth_dev_get_mtu(port, &raw mut mtu) };
    (done == 0).then_some(mtu)
}

fn timer() -> nix::Result<TimerFd> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    timer.set(Expiration::Interval(TICK.into()), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// Configures and starts a port with one queue each way: its buffers, or the step that failed and why.
fn start(port: u16) -> Result<*mut rte_mempool, (&'static str, i32)> {
    let check = |step, done: i32| if done == 0 { Ok(()) } else { Err((step, done)) };
    let mut info = dpdk_sys::shim_eth_info::default();
    // SAFETY: the port is one, and there is room for the answer.
    check("it does not describe itself", unsafe { dpdk_sys::shim_eth_info_get(port, &raw mut info) })?;
    // SAFETY: the port is one; -1 (any) where it is unknown.
    let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(port) };
    let name = CString::new(format!("net_eswitch_{port}")).unwrap_or_default();
    let longest = mtu(port).unwrap_or(DEFAULT_MTU).saturating_add(MAX_OVERHEAD as u16);
    let octets = longest.max(USUAL_ROOM).saturating_add(dpdk_sys::SHIM_MBUF_HEADROOM);
    // SAFETY: EAL runs, for it probes; the name is copied.
    let pool = unsafe { dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), BUFFERS, 0, 0, octets, ANY_SOCKET) };
    if pool.is_null() {
        // SAFETY: reads a variable of the thread.
        return Err(("no buffers", unsafe { dpdk_sys::shim_errno() }));
    }
    let conf = dpdk_sys::shim_eth_conf { rx_queues: 1, tx_queues: 1, ..Default::default() };
    // SAFETY: the port is not started; the configuration is copied.
    check("it is not configured", unsafe { dpdk_sys::shim_eth_configure(port, &raw const conf) })?;
    let fitting = |min: u16, max: u16| DESCRIPTORS.clamp(min, max.max(min));
    let (received, sent) =
        (fitting(info.rx_desc_min, info.rx_desc_max), fitting(info.tx_desc_min, info.tx_desc_max));
    // SAFETY: the port is configured; the pool is never freed before the end of EAL.
    check("its receive queue", unsafe {
        dpdk_sys::shim_eth_rx_queue_setup(port, 0, received, socket, pool)
    })?;
    // SAFETY: the port is configured.
    check("its transmit queue", unsafe { dpdk_sys::shim_eth_tx_queue_setup(port, 0, sent, socket) })?;
    // SAFETY: the port is configured.
    check("it does not start", unsafe { dpdk_sys::rte_eth_dev_start(port) })?;
    // A virtual function may be allowed neither: it then gets what its card gives it.
    // SAFETY: the port runs.
    unsafe { dpdk_sys::rte_eth_promiscuous_enable(port) };
    // SAFETY: as above.
    unsafe { dpdk_sys::rte_eth_allmulticast_enable(port) };
    Ok(pool)
}

/// Why a packet is not copied.
enum Uncopied {
    NoBuffer,
    TooLong,
}

/// A packet in a buffer of the switch.
fn copied(mbuf: *mut rte_mbuf, pool: &Arc<Pool>) -> Result<Frame, Uncopied> {
    const SEGMENTS: usize = 32;
    let mut raw = [ffi::nes_segment { data: ptr::null_mut(), length: 0 }; SEGMENTS];
    // SAFETY: the packet is whole and the caller's, and `raw` has that many places.
    let count = unsafe { ffi::nes_mbuf_segments(mbuf, raw.as_mut_ptr(), SEGMENTS as u16) };
    let octets = |segment: &ffi::nes_segment| {
        // SAFETY: the segment has this many octets from there on, as long as the packet is whole.
        unsafe { std::slice::from_raw_parts(segment.data.cast::<u8>().cast_const(), segment.length) }
    };
    let pieces = &raw[..usize::from(count)];
    let whole: Vec<u8>;
    let bytes = match pieces {
        [] => return Err(Uncopied::TooLong),
        [one] => octets(one),
        many => {
            whole = many.iter().flat_map(octets).copied().collect();
            &whole
        }
    };
    if bytes.len() > MAX_FRAME {
        return Err(Uncopied::TooLong);
    }
    pool.copy_of(bytes).ok_or(Uncopied::NoBuffer)
}
