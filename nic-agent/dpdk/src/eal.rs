//! The environment abstraction layer: started once in a process, cleaned up
//! when the last handle goes.

use core::ffi::{CStr, c_char, c_int};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::errno::Errno;
use crate::lcore;

/// DPDK starts at most once in a process, also after a failure or a clean-up.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Arguments of [`Eal::init`], in EAL's own words.
#[derive(Clone, Debug)]
pub struct EalArgs {
    program: String,
    args: Vec<String>,
    main_cpus: Option<Vec<usize>>,
}

impl EalArgs {
    /// No arguments but the program's name, which EAL's log lines carry.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), args: Vec::new(), main_cpus: None }
    }

    /// What a process without hugepages, cards or files of its own runs with:
    /// tests, and the software E-Switch on a laptop.
    pub fn without_hardware(program: impl Into<String>, file_prefix: &str) -> Self {
        Self::new(program)
            .no_huge()
            .no_pci()
            .no_shared_config()
            .no_telemetry()
            .iova_va()
            .file_prefix(file_prefix)
    }

    /// Uses ordinary memory in place of hugepages.
    #[must_use]
    pub fn no_huge(self) -> Self {
        self.arg("--no-huge")
    }

    /// Does not look for PCI devices.
    #[must_use]
    pub fn no_pci(self) -> Self {
        self.arg("--no-pci")
    }

    /// Keeps hugepages without files, and shares nothing with other processes.
    /// DPDK refuses it together with [`EalArgs::no_huge`].
    #[must_use]
    pub fn in_memory(self) -> Self {
        self.arg("--in-memory")
    }

    /// Shares EAL with no other process, and leaves no files for that behind.
    /// Where another process may share it, no thread can be registered
    /// ([`Eal::register_thread`]) while one does.
    #[must_use]
    pub fn no_shared_config(self) -> Self {
        self.arg("--no-shconf")
    }

    /// Opens no telemetry socket.
    #[must_use]
    pub fn no_telemetry(self) -> Self {
        self.arg("--no-telemetry")
    }

    /// I/O addresses are virtual addresses: needs no access to physical ones.
    #[must_use]
    pub fn iova_va(self) -> Self {
        self.arg("--iova-mode=va")
    }

    /// Keeps this process's run-time files apart from other DPDK processes.
    #[must_use]
    pub fn file_prefix(self, prefix: &str) -> Self {
        self.arg(format!("--file-prefix={prefix}"))
    }

    /// Memory to reserve at start, in megabytes.
    #[must_use]
    pub fn memory_mb(self, megabytes: u32) -> Self {
        self.arg("-m").arg(megabytes.to_string())
    }

    /// Creates a virtual device, such as `net_null0` or `net_pcap0,iface=eth0`.
    #[must_use]
    pub fn vdev(self, devargs: &str) -> Self {
        self.arg(format!("--vdev={devargs}"))
    }

    /// Takes a PCI device, and with it no other that is not named too.
    #[must_use]
    pub fn allow_pci(self, devargs: &str) -> Self {
        self.arg("-a").arg(devargs)
    }

    /// Loads a driver from a shared library.
    #[must_use]
    pub fn driver(self, library: &str) -> Self {
        self.arg("-d").arg(library)
    }

    /// Sets EAL's log level, such as `error` or `pmd.net.null:debug`.
    #[must_use]
    pub fn log_level(self, level: &str) -> Self {
        self.arg(format!("--log-level={level}"))
    }

    /// The CPUs that EAL's own thread may run on; without this, those that the
    /// calling thread of [`Eal::init`] may run on.
    #[must_use]
    pub fn main_cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.main_cpus = Some(cpus.into_iter().collect());
        self
    }

    /// One more argument as EAL reads it. Not for `-l`, `-c` or `--lcores`:
    /// there is one lcore of EAL's, workers register themselves.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The whole command line, with the lcore map.
    fn argv(&self) -> Result<Vec<CString>, EalError> {
        let cpus = match &self.main_cpus {
            Some(cpus) => cpus.clone(),
            None => lcore::allowed_cpus().map_err(EalError::Affinity)?,
        };
        if cpus.is_empty() {
            return Err(EalError::NoCpus);
        }
        let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
        let lcores = format!("--lcores=0@({})", list.join(","));
        [&self.program, &lcores]
            .into_iter()
            .chain(&self.args)
            .map(|arg| {
                CString::new(arg.as_str()).map_err(|_| EalError::NulInArgument { argument: arg.clone() })
            })
            .collect()
    }
}

/// Why EAL did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EalError {
    /// DPDK was started before in this process; it cannot be started again.
    #[error("DPDK was started before in this process and starts only once")]
    AlreadyStarted,
    /// An argument holds a zero byte.
    #[error("the EAL argument {argument:?} holds a zero byte")]
    NulInArgument {
        /// The argument.
        argument: String,
    },
    /// The set of CPUs for EAL's thread is empty.
    #[error("the set of CPUs for EAL's own thread is empty")]
    NoCpus,
    /// The CPUs that this thread may use could not be read.
    #[error("the allowed CPUs of this thread could not be read")]
    Affinity(#[source] io::Error),
    /// EAL's own thread could not be created.
    #[error("EAL's own thread could not be created")]
    Thread(#[source] io::Error),
    /// EAL refused to start; its log lines on standard error say more.
    #[error("EAL did not start: {0}")]
    Refused(Errno),
}

/// A handle to the running EAL. Cheap to clone; every other handle of this
/// crate that needs EAL holds one.
#[derive(Clone)]
pub struct Eal(Arc<Inner>);

/// What the last handle takes down.
struct Inner {
    main: Option<MainThread>,
    /// Ports that a `Port` owns, one bit a DPDK port number. Locked for every
    /// control call on any port: DPDK does not order them itself.
    ports: Mutex<u128>,
    /// Every pool created; they live as long as EAL does.
    pools: Mutex<Vec<PoolPtr>>,
}

/// The thread that ran `rte_eal_init` and will run `rte_eal_cleanup`.
struct MainThread {
    cleanup: Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct PoolPtr(NonNull<dpdk_sys::rte_mempool>);

// SAFETY: mempools are shared between threads by design; the pointer is only
// used to count objects, on whichever thread drops the last handle.
unsafe impl Send for PoolPtr {}

impl Eal {
    /// Starts DPDK. `rte_eal_init` runs on a thread of its own, which becomes
    /// EAL's main lcore and sleeps until clean-up: the calling thread keeps its
    /// affinity, and no thread of the caller is one of EAL's.
    ///
    /// Drivers that are linked into this program must be registered before.
    pub fn init(args: &EalArgs) -> Result<Self, EalError> {
        let argv = args.argv()?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        let (started_tx, started) = channel();
        let (cleanup, cleanup_rx) = channel();
        let thread = thread::Builder::new()
            .name("eal-main".to_owned())
            .spawn(move || main_thread(argv, &started_tx, &cleanup_rx))
            .map_err(EalError::Thread)?;
        match started.recv() {
            Ok(Ok(())) => Ok(Self(Arc::new(Inner {
                main: Some(MainThread { cleanup, thread }),
                ports: Mutex::new(0),
                pools: Mutex::new(Vec::new()),
            }))),
            Ok(Err(errno)) => Err(EalError::Refused(errno)),
            // The thread cannot end before it has sent; if it did, EAL is not up.
            Err(_) => Err(EalError::Refused(Errno::EINVAL)),
        }
    }

    /// The version of DPDK that runs, such as `DPDK 22.11.11`.
    pub fn version(&self) -> String {
        // SAFETY: gives a pointer to a static string.
        let text = unsafe { dpdk_sys::rte_version() };
        // SAFETY: the string is static and ends with a zero byte.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    }

    /// Marks a port as owned if `exists` says that it is there; gives `None` if
    /// it is not, false if it is owned already.
    pub(crate) fn claim_port(&self, number: u16, exists: impl FnOnce() -> bool) -> Option<bool> {
        let mut claimed = self.control_ports();
        if !exists() {
            return None;
        }
        let bit = 1_u128 << (number % 128);
        let free = *claimed & bit == 0;
        *claimed |= bit;
        Some(free)
    }

    /// Closes an owned port by `close` and ends the ownership.
    pub(crate) fn close_port(&self, number: u16, close: impl FnOnce()) {
        let mut claimed = self.control_ports();
        close();
        *claimed &= !(1_u128 << (number % 128));
    }

    /// No other thread makes a control call on a port while the guard is held.
    pub(crate) fn control_ports(&self) -> MutexGuard<'_, u128> {
        unpoisoned(&self.0.ports)
    }

    /// Remembers a pool for the check at clean-up.
    pub(crate) fn keep_pool(&self, pool: NonNull<dpdk_sys::rte_mempool>) {
        unpoisoned(&self.0.pools).push(PoolPtr(pool));
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(MainThread { cleanup, thread }) = self.main.take() else {
            return;
        };
        // An mbuf that is still out would dangle after clean-up: then DPDK stays
        // as it is, and the operating system takes all of it back at exit. The
        // count is exact: no handle is left that could allocate; a registered
        // thread holds a handle, so no per-lcore cache is in use by anybody; and
        // all other threads free straight into the pool's ring, whose count only
        // ever lags behind.
        let all_home = unpoisoned(&self.pools).iter().all(|pool| {
            // SAFETY: pools are never freed while EAL runs.
            unsafe { dpdk_sys::rte_mempool_in_use_count(pool.0.as_ptr()) == 0 }
        });
        if all_home {
            // The thread waits for this as long as it lives; if it is gone,
            // there is nobody left to clean up.
            let _ = cleanup.send(());
        } else {
            drop(cleanup);
        }
        // A panic of that thread has nothing more to tell.
        drop(thread.join());
    }
}

/// The life of EAL's main thread: start, sleep, clean up if told to.
fn main_thread(argv: Vec<CString>, started: &Sender<Result<(), Errno>>, cleanup: &Receiver<()>) {
    let mut pointers: Vec<*mut c_char> = argv.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    // argv ends with a null pointer that argc does not count.
    let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
    pointers.push(core::ptr::null_mut());
    // SAFETY: argc strings and a null pointer, all alive until this thread ends.
    // EAL permutes the pointers but writes to no string. `STARTED` makes this the
    // only call in the process.
    let result = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    if result < 0 {
        let _ = started.send(Err(Errno::last()));
        return;
    }
    // The receiver waits for exactly this message.
    let _ = started.send(Ok(()));
    if cleanup.recv().is_ok() {
        let runtime_dir = runtime_dir();
        // SAFETY: the same thread that started EAL; no handle is left and every
        // mbuf is back in its pool, so nothing points into EAL's memory.
        unsafe { dpdk_sys::rte_eal_cleanup() };
        // EAL makes this folder and leaves it. If it is not empty, it is in use.
        let _ = std::fs::remove_dir(runtime_dir);
    }
}

/// The folder for this EAL's run-time files.
fn runtime_dir() -> PathBuf {
    // SAFETY: EAL runs; gives a pointer to a static buffer.
    let path = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    // SAFETY: a string with a zero byte at its end, which stays as it is.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// A lock whose data stays consistent whatever its holders do: none of them can
/// panic between two writes.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
