//! Receive and transmit queues: one user each.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use std::sync::Arc;

use dpdk_sys as sys;

use super::DevId;
use super::port::PortInner;
use crate::burst::Burst;

/// The right to use one queue of a running port.
struct Handle {
    port: Arc<PortInner>,
    queue: u16,
    /// `Send`, not `Sync`: DPDK allows one user of a queue at a time.
    _not_sync: PhantomData<Cell<()>>,
}

impl Handle {
    fn new(port: &Arc<PortInner>, queue: u16) -> Self {
        port.held.fetch_add(1, Ordering::Relaxed);
        Self { port: Arc::clone(port), queue, _not_sync: PhantomData }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Pairs with the load in `Port::stop`: all use of the queue is before it.
        self.port.held.fetch_sub(1, Ordering::Release);
    }
}

/// A receive queue of a running port.
pub struct RxQueue(Handle);

/// A transmit queue of a running port.
pub struct TxQueue(Handle);

impl RxQueue {
    pub(super) fn new(port: &Arc<PortInner>, queue: u16) -> Self {
        Self(Handle::new(port, queue))
    }

    /// Receives packets into the free places of the burst, behind those it
    /// holds; gives how many came. Never waits, never allocates on the heap. Some
    /// drivers receive nothing into fewer than four free places, so hand in an
    /// empty burst.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let spare = burst.spare();
        if spare.is_empty() {
            return 0;
        }
        // A burst holds 32, so the length fits.
        let room = spare.len() as u16;
        let places = spare.as_mut_ptr().cast();
        // SAFETY: the port runs while this queue is held, `&mut self` makes this the
        // only user of the queue, and there are `room` places for pointers.
        let count = unsafe { sys::shim_eth_rx_burst(self.dev().get(), self.0.queue, places, room) };
        let count = usize::from(count);
        // SAFETY: the driver filled `count` places with packets that it gave up.
        unsafe { burst.extend_initialised(count) };
        count
    }

    /// The port's number.
    #[inline]
    pub fn dev(&self) -> DevId {
        self.0.port.id
    }

    /// The queue's number on its port.
    #[inline]
    pub fn index(&self) -> u16 {
        self.0.queue
    }
}

impl TxQueue {
    pub(super) fn new(port: &Arc<PortInner>, queue: u16) -> Self {
        Self(Handle::new(port, queue))
    }

    /// Sends the packets of the burst in order; gives how many the port took.
    /// Those have left the burst; the others, the tail, are now at its front: send
    /// them again, or drop them and count them.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        if burst.is_empty() {
            return 0;
        }
        // A burst holds 32, so the length fits.
        let len = burst.len() as u16;
        let first = burst.as_raw();
        // SAFETY: the port runs while this queue is held, `&mut self` makes this the
        // only user of the queue, and the first `len` places hold packets of ours.
        let count = unsafe { sys::shim_eth_tx_burst(self.dev().get(), self.0.queue, first, len) };
        let count = usize::from(count);
        // SAFETY: the driver now owns the first `count` packets.
        unsafe { burst.forget_front(count) };
        count
    }

    /// Lets the driver check packets that ask for offloads, and fix what it needs
    /// fixed; gives how many from the front are fit to be sent.
    #[inline]
    pub fn prepare(&mut self, burst: &mut Burst) -> usize {
        // A burst holds 32, so the length fits.
        let len = burst.len() as u16;
        let first = burst.as_raw();
        // SAFETY: as for `send`; no ownership passes.
        usize::from(unsafe { sys::shim_eth_tx_prepare(self.dev().get(), self.0.queue, first, len) })
    }

    /// The port's number.
    #[inline]
    pub fn dev(&self) -> DevId {
        self.0.port.id
    }

    /// The queue's number on its port.
    #[inline]
    pub fn index(&self) -> u16 {
        self.0.queue
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RxQueue({}, queue {})", self.dev(), self.0.queue)
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TxQueue({}, queue {})", self.dev(), self.0.queue)
    }
}
