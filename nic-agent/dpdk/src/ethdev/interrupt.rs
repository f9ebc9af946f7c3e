//! Sleeping until a packet comes, where the driver can wake somebody.

use std::os::fd::BorrowedFd;

use dpdk_sys as sys;

use super::{DevId, RxQueue};
use crate::errno::Errno;

/// Why a receive queue cannot wake a sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterruptError {
    /// The driver has no receive interrupts, or the port was started without
    /// them: poll, and back off when nothing comes.
    #[error("{0} has no receive interrupts: poll it")]
    Unsupported(DevId),
    /// The driver refused.
    #[error("{port} refused its receive interrupt: {errno}")]
    Refused {
        /// The port.
        port: DevId,
        /// The driver's reason.
        errno: Errno,
    },
}

impl RxQueue {
    /// The descriptor that becomes readable when a packet comes while the
    /// interrupt is armed. It belongs to the driver: wait on it (`poll`, `epoll`),
    /// never close it, and forget it when the queue is dropped. Where it is an
    /// eventfd, read its eight bytes after waking, or it stays readable.
    ///
    /// To sleep: arm, receive once more (a packet may have come before), and only
    /// if that gives nothing wait; then disarm.
    pub fn interrupt_fd(&self) -> Result<BorrowedFd<'_>, InterruptError> {
        // SAFETY: the port runs while this queue is held.
        let fd = unsafe { sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.dev().get(), self.index()) };
        if fd < 0 {
            return Err(InterruptError::Unsupported(self.dev()));
        }
        // SAFETY: not negative, and the driver keeps it open while the port runs, which
        // it does while this queue is held.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Has the next packet wake whoever waits on the descriptor.
    pub fn arm_interrupt(&mut self) -> Result<(), InterruptError> {
        // SAFETY: the port runs while this queue is held, and the queue is ours alone.
        let result = unsafe { sys::rte_eth_dev_rx_intr_enable(self.dev().get(), self.index()) };
        self.interrupt_result(result)
    }

    /// Wakes nobody any longer.
    pub fn disarm_interrupt(&mut self) -> Result<(), InterruptError> {
        // SAFETY: the port runs while this queue is held, and the queue is ours alone.
        let result = unsafe { sys::rte_eth_dev_rx_intr_disable(self.dev().get(), self.index()) };
        self.interrupt_result(result)
    }

    fn interrupt_result(&self, result: i32) -> Result<(), InterruptError> {
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(errno) if errno.is_unsupported() => Err(InterruptError::Unsupported(self.dev())),
            Err(errno) => Err(InterruptError::Refused { port: self.dev(), errno }),
        }
    }
}
