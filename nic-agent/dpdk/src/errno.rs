//! Error numbers as DPDK gives them: positive, named, printable.

use core::fmt;

/// A positive error number of the operating system or of DPDK.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Table or memory full.
    pub const ENOSPC: Self = Self(libc::ENOSPC);
    /// Try again later.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// No such object.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// The same object exists.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// Out of memory.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// Invalid argument.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// No such device.
    pub const ENODEV: Self = Self(libc::ENODEV);
    /// Busy.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Valid but not supported.
    pub const ENOTSUP: Self = Self(libc::ENOTSUP);
    /// The driver has no such operation.
    pub const ENOSYS: Self = Self(libc::ENOSYS);

    /// From a number of either sign, as DPDK returns `-errno`.
    pub fn new(number: i32) -> Self {
        Self(number.saturating_abs())
    }

    /// `rte_errno` of the calling thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer; valid at any time on any thread.
        Self::new(unsafe { dpdk_sys::shim_errno() })
    }

    /// `Err` for a negative result, `Ok` with the number otherwise.
    pub(crate) fn check(result: i32) -> Result<i32, Self> {
        if result < 0 { Err(Self::new(result)) } else { Ok(result) }
    }

    /// The positive number.
    pub fn get(self) -> i32 {
        self.0
    }

    /// Whether this number may go away when the call is repeated later.
    pub fn is_transient(self) -> bool {
        self == Self::EAGAIN || self == Self::EBUSY || self.0 == libc::EINTR
    }

    /// Whether the driver cannot do what was asked, however often it is asked.
    pub fn is_unsupported(self) -> bool {
        self == Self::ENOTSUP || self == Self::ENOSYS
    }

    /// The symbolic name of the numbers that DPDK drivers use.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::E2BIG => "E2BIG",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::ENOSPC => "ENOSPC",
            libc::ERANGE => "ERANGE",
            libc::ENOSYS => "ENOSYS",
            libc::EPROTO => "EPROTO",
            libc::ENOTSUP => "ENOTSUP",
            libc::ENOBUFS => "ENOBUFS",
            libc::EALREADY => "EALREADY",
            libc::ETIMEDOUT => "ETIMEDOUT",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}
