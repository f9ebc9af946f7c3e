//! ICMP and ICMPv6 echo.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};

/// Types of the messages: request, answer.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

/// How many octets follow the header of a request.
const DATA: usize = 48;

struct Echo {
    socket: OwnedFd,
    to: IpAddr,
    id: u16,
}

impl Echo {
    fn open(to: IpAddr) -> nix::Result<Echo> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Other pings in the namespace have other process ids.
        let id = (std::process::id() & 0xffff) as u16;
        Ok(Echo { socket, to, id })
    }

    fn send(&self, number: u16) -> nix::Result<()> {
        let kind = if self.to.is_ipv4() { V4.0 } else { V6.0 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(self.id.to_be_bytes());
        message.extend(number.to_be_bytes());
        message.extend((0..DATA).map(|n| n as u8));
        let fd = self.socket.as_raw_fd();
        match self.to {
            IpAddr::V4(address) => {
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
                sendto(fd, &message, &to, MsgFlags::empty())?;
            }
            // The kernel fills in the checksum of a raw ICMPv6 socket.
            IpAddr::V6(address) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, 0));
                sendto(fd, &message, &to, MsgFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Waits for the answer to one request.
    fn answered(&self, number: u16, wait: Duration) -> nix::Result<bool> {
        let end = Instant::now() + wait;
        let mut buffer = [0; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(micros))?;
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) if self.is_answer(&buffer[..length], number) => return Ok(true),
                Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_answer(&self, packet: &[u8], number: u16) -> bool {
        // A raw IPv4 socket gives the IP header, too.
        let (header, kind) = match self.to {
            IpAddr::V4(_) => (packet.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4), V4.1),
            IpAddr::V6(_) => (0, V6.1),
        };
        let Some([found, _, _, _, id0, id1, n0, n1, ..]) = packet.get(header..) else { return false };
        *found == kind && [*id0, *id1] == self.id.to_be_bytes() && [*n0, *n1] == number.to_be_bytes()
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends `count` requests, each after the answer to the one before or the end of the wait for it.
pub(crate) fn ping(to: IpAddr, count: u16, wait: Duration, pause: Duration) -> io::Result<Value> {
    let echo = Echo::open(to)?;
    let (mut answered, mut unsent) = (0u32, 0u32);
    let mut times = Vec::new();
    for number in 0..count {
        if number > 0 {
            std::thread::sleep(pause);
        }
        let start = Instant::now();
        match echo.send(number) {
            Ok(()) => {}
            Err(nix::Error::EHOSTUNREACH | nix::Error::ENETUNREACH | nix::Error::EPERM) => {
                unsent += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        if echo.answered(number, wait)? {
            answered += 1;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(json!({
        "sent": u32::from(count) - unsent,
        "answered": answered,
        "first_us": times.first(),
        "fastest_us": times.iter().copied().reduce(f64::min),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_to_nothing() {
        let mut message = vec![8, 0, 0, 0, 1, 2, 3, 4, 5];
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&message), 0);
    }
}
