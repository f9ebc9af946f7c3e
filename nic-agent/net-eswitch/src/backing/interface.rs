//! What is asked of network interfaces of the kernel, whatever way they are used.

use std::ffi::{CStr, CString, c_int};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The name of an interface, if it can be one.
pub(super) fn name(text: &str) -> Option<CString> {
    // The kernel makes a name of its own where it finds a percent sign.
    let possible = !text.is_empty() && text.len() < libc::IFNAMSIZ && !text.contains(['/', '%', ' ']);
    CString::new(text).ok().filter(|_| possible)
}

/// The index of an interface, 0 if there is none of that name.
pub(super) fn index(name: &CStr) -> u32 {
    // SAFETY: the name is a C string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// A request about an interface.
pub(super) fn request(name: &CStr) -> libc::ifreq {
    // SAFETY: all zeroes is a value of this struct.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request
}

/// What the interface takes of a packet behind its Ethernet header, if it says so. Any socket of its
/// namespace will do.
pub(super) fn mtu(socket: BorrowedFd<'_>, name: &CStr) -> Option<u32> {
    let mut request = request(name);
    // SAFETY: the request is an ifreq, which SIOCGIFMTU reads and writes.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &mut request) };
    // SAFETY: SIOCGIFMTU filled the MTU in, or it is zero.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    if done == 0 { u32::try_from(mtu).ok() } else { None }
}

/// True if the interface is up and has a carrier. Any socket of its namespace will do.
pub(super) fn is_up(socket: BorrowedFd<'_>, name: &CStr) -> bool {
    let mut request = request(name);
    // SAFETY: the request is an ifreq, which SIOCGIFFLAGS reads and writes.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) };
    // SAFETY: SIOCGIFFLAGS filled the flags in, or they are zero.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    done == 0 && flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0
}
