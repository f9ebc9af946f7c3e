//! Threads: making one known to EAL, and the CPUs it may use.

use core::marker::PhantomData;
use core::mem::{MaybeUninit, size_of};
use std::io;

use crate::eal::Eal;
use crate::errno::Errno;

/// Why a thread was not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// EAL knows the thread already, as this lcore.
    #[error("this thread is lcore {0} already")]
    AlreadyRegistered(u32),
    /// EAL has no lcore left, or another process shares it.
    #[error("EAL did not register this thread: {0}")]
    Refused(Errno),
}

/// The calling thread is an lcore of EAL's for as long as this lives: it then
/// has its own cache in every mempool. Stays on its thread.
#[derive(Debug)]
pub struct RegisteredThread {
    id: u32,
    /// Clean-up waits for every registered thread; see `Eal`'s drop.
    _eal: Eal,
    _not_send: PhantomData<*const ()>,
}

impl Eal {
    /// Makes the calling thread known to EAL. Pin it before: EAL notes the CPUs
    /// of a thread when it is registered.
    pub fn register_thread(&self) -> Result<RegisteredThread, RegisterError> {
        // SAFETY: reads a thread-local integer.
        let id = unsafe { dpdk_sys::shim_lcore_id() };
        if id != dpdk_sys::SHIM_LCORE_ANY {
            return Err(RegisterError::AlreadyRegistered(id));
        }
        // SAFETY: EAL runs (`self`) and the thread is not registered.
        let result = unsafe { dpdk_sys::rte_thread_register() };
        if result < 0 {
            return Err(RegisterError::Refused(Errno::last()));
        }
        // SAFETY: reads a thread-local integer.
        let id = unsafe { dpdk_sys::shim_lcore_id() };
        Ok(RegisteredThread { id, _eal: self.clone(), _not_send: PhantomData })
    }
}

impl RegisteredThread {
    /// EAL's number of this thread.
    pub fn lcore(&self) -> u32 {
        self.id
    }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this value never left the thread that it registered, and EAL
        // runs, for the value holds a handle.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// The CPUs that the calling thread may run on, in rising order.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = affinity()?;
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    Ok((0..limit)
        .filter(|&cpu| {
            // SAFETY: the set is initialised and `cpu` is below its size.
            unsafe { libc::CPU_ISSET(cpu, &set) }
        })
        .collect())
}

/// The calling thread runs on chosen CPUs until this is dropped, then on those
/// that it ran on before. Stays on its thread.
#[derive(Debug)]
pub struct Pinned {
    before: libc::cpu_set_t,
    _not_send: PhantomData<*const ()>,
}

/// Binds the calling thread to `cpus`, all of which must be allowed to it.
pub fn pin_current_thread(cpus: &[usize]) -> io::Result<Pinned> {
    let before = affinity()?;
    // SAFETY: a CPU set is an array of integers, for which zero is a value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    for &cpu in cpus {
        if cpu >= limit {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: `cpu` is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set_affinity(&set)?;
    Ok(Pinned { before, _not_send: PhantomData })
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Only fails if those CPUs were taken from the process meanwhile; the
        // kernel has then moved the thread already.
        drop(set_affinity(&self.before));
    }
}

fn affinity() -> io::Result<libc::cpu_set_t> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer is to a set of the size given; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written by the kernel.
    Ok(unsafe { set.assume_init() })
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the pointer is to a set of the size given; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
