//! Ethernet frames as they are.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, sendto, socket,
};
use serde_json::{Value, json};

/// Sends every frame of a file.
pub(crate) fn send(interface: &str, file: &Path, times: u32) -> io::Result<Value> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let frames: Option<Vec<Vec<u8>>> = lines.map(bytes).collect();
    let frames = frames.ok_or_else(|| io::Error::other("a line is not hexadecimal"))?;
    let to = link_address(interface)?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    let mut sent = 0u64;
    for _ in 0..times {
        for frame in &frames {
            sendto(socket.as_raw_fd(), frame, &to, MsgFlags::empty())?;
            sent += 1;
        }
    }
    Ok(json!({ "sent": sent }))
}

/// The address that names an interface to a packet socket.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    let found = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address.filter(|address| address.family() == Some(AddressFamily::Packet)))
        .and_then(|address| address.as_link_addr().copied());
    found.ok_or_else(|| io::Error::other(format!("there is no interface {interface}")))
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        line.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_octets() {
        assert_eq!(bytes("00fFa0"), Some(vec![0, 255, 160]));
        assert_eq!((bytes("0"), bytes("zz")), (None, None));
    }

    #[test]
    fn loopback_has_a_link_address_and_nonsense_has_none() {
        assert!(link_address("lo").is_ok());
        assert!(link_address("no such").is_err());
    }
}
