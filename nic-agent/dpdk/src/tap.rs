//! A tap device: at its other end is the kernel's own network stack (Documentation/networking/tuntap.rst).
//!
//! Nothing of DPDK is in it. DPDK's own driver for such devices wakes its reader by signals, which a program
//! with threads of other kinds does better without; so a program that has DPDK for its card and wants a way
//! to the kernel beside takes this.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

const CONTROL: &str = "/dev/net/tun";

/// Why there is no tap device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// No interface can have that name.
    #[error("{0:?} is not the name of an interface")]
    Name(String),
    /// The kernel has no tap devices, or none for this user.
    #[error("{CONTROL} does not open: {0}")]
    Control(io::Error),
    /// The kernel did not make the device, or did not give it its address.
    #[error("the kernel does not give the tap device {name}: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// The kernel's answer.
        why: io::Error,
    },
}

/// Makes a tap device of that name and address, or takes one that was made to stay. It is down until somebody
/// brings it up; one that was not made to stay goes with the file. Each read takes one frame and each write
/// gives one, and neither waits. The kernel completes checksums and cuts large packets itself.
pub fn open(name: &str, mac: [u8; 6]) -> Result<File, TapError> {
    // The kernel makes a name of its own where it finds a percent sign.
    let possible = !name.is_empty() && name.len() < libc::IFNAMSIZ && !name.contains(['/', '%', ' ']);
    let c_name = CString::new(name).ok().filter(|_| possible).ok_or_else(|| TapError::Name(name.into()))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CONTROL)
        .map_err(TapError::Control)?;
    let refused = || TapError::Refused { name: name.into(), why: io::Error::last_os_error() };

    // SAFETY: all zeroes is a value of this struct.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The name is shorter than its place, so the last byte stays zero.
    for (to, from) in request.ifr_name.iter_mut().zip(c_name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is an ifreq, which TUNSETIFF reads and writes.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) } < 0 {
        return Err(refused());
    }

    // SAFETY: as above.
    let mut address: libc::sockaddr = unsafe { mem::zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: the request is an ifreq with an address, which SIOCSIFHWADDR reads; the kernel takes it for the
    // device behind the file.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::SIOCSIFHWADDR, &mut request) } < 0 {
        return Err(refused());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_interface_has_is_refused() {
        for name in ["", "tap%d", "a/b", "longer-than-fifteen", "nul\0"] {
            assert!(matches!(open(name, [2; 6]), Err(TapError::Name(_))), "{name:?}");
        }
    }
}
