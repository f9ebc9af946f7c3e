//! A tap device: the kernel's network stack is at the other end (Documentation/networking/tuntap.rst).
//!
//! The kernel is asked for no offloads, so it completes checksums and cuts large packets itself, and
//! leaves VLAN tags in the frame.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use nic_flow::seam::PacketBuf;

use super::{BackingCounters, MAX_BATCH, MAX_PIECES, Piece, SendError, Source, interface};
use crate::frame::{Frame, MAX_FRAME, Pool};

const CONTROL: &str = "/dev/net/tun";

/// Why a tap device cannot stand behind a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{0:?} is not the name of an interface")]
    Name(String),
    #[error("{CONTROL} does not open: {0}")]
    Control(io::Error),
    #[error("the kernel does not give the tap device {name}: {why}")]
    Refused { name: String, why: io::Error },
}

/// A tap device. The kernel takes it away with its last descriptor, unless it was made to stay.
#[derive(Debug)]
pub(crate) struct Tap {
    file: File,
    name: CString,
    if_index: u32,
    /// Only for questions about the interface.
    socket: OwnedFd,
}

impl Tap {
    pub(crate) fn open(name: &str) -> Result<Tap, OpenError> {
        let c_name = interface::name(name).ok_or_else(|| OpenError::Name(name.into()))?;
        let refused = |why| OpenError::Refused { name: name.into(), why };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(CONTROL)
            .map_err(OpenError::Control)?;
        let mut request = interface::request(&c_name);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request is an ifreq, which TUNSETIFF reads and writes.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
        if done < 0 {
            return Err(refused(io::Error::last_os_error()));
        }
        let if_index = interface::index(&c_name);
        let socket = UnixDatagram::unbound().map_err(refused)?.into();
        Ok(Tap { file, name: c_name, if_index, socket })
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) const fn if_index(&self) -> u32 {
        self.if_index
    }

    pub(crate) fn link_up(&self) -> bool {
        interface::is_up(self.socket.as_fd(), &self.name)
    }

    pub(crate) fn mtu(&self) -> Option<u32> {
        interface::mtu(self.socket.as_fd(), &self.name)
    }

    pub(crate) fn receive(
        &self,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        frames: &mut Vec<Frame>,
    ) -> Source {
        for _ in 0..MAX_BATCH {
            match self.next(pool, counters) {
                Ok(frame) => frames.extend(frame),
                Err(why) => match why.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => return Source::Open,
                    // Somebody took the device away.
                    Some(libc::EBADFD) => return Source::Ended,
                    _ => {
                        BackingCounters::count(&counters.receive_errors);
                        return Source::Open;
                    }
                },
            }
        }
        Source::Open
    }

    /// Reads one frame; `None` if it was counted instead. What does not fit into the buffers is cut off
    /// by the kernel, so a byte behind the longest frame tells longer ones.
    fn next(&self, pool: &Arc<Pool>, counters: &BackingCounters) -> io::Result<Option<Frame>> {
        let mut behind = [0];
        let Some(mut frame) = pool.take() else {
            // However little is read of it, the kernel lets the frame go.
            let _ = (&self.file).read(&mut behind)?;
            BackingCounters::count(&counters.no_buffer);
            return Ok(None);
        };
        let mut parts = [IoSliceMut::new(frame.data_mut()), IoSliceMut::new(&mut behind)];
        let length = (&self.file).read_vectored(&mut parts)?;
        if length > MAX_FRAME {
            BackingCounters::count(&counters.oversized);
            return Ok(None);
        }
        frame.truncate(length);
        Ok(Some(frame))
    }

    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        for (sent, frame) in frames.iter().enumerate() {
            let parts: heapless::Vec<IoSlice<'_>, MAX_PIECES> =
                frame.iter().take(MAX_PIECES).map(|piece| IoSlice::new(piece)).collect();
            if parts.len() < frame.len() {
                return (sent, Some(SendError::Refused));
            }
            if let Err(why) = (&self.file).write_vectored(&parts) {
                let error = match why.raw_os_error() {
                    Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => SendError::Full,
                    Some(libc::EIO | libc::EBADFD) => SendError::Down,
                    _ => SendError::Refused,
                };
                return (sent, Some(error));
            }
        }
        (frames.len(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::super::AfPacket;
    use super::*;

    #[test]
    fn a_name_that_no_interface_has_is_refused() {
        for name in ["", "tap%d", "a/b", "longer-than-fifteen"] {
            assert!(matches!(Tap::open(name), Err(OpenError::Name(_))), "{name}");
        }
    }

    fn ip(arguments: &str) {
        let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }

    /// In a network namespace that ends with the thread.
    fn in_a_namespace(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace (needs root)");
            body();
        })
        .join()
        .unwrap();
    }

    /// What the kernel sends next to the made-up address, of its own it sends some to others.
    fn next(tap: &Tap, pool: &Arc<Pool>, counters: &BackingCounters) -> Option<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..1000 {
            assert_eq!(tap.receive(pool, counters, &mut frames), Source::Open);
            if let Some(frame) = frames.iter().find(|frame| frame.data().starts_with(&[2, 7, 7, 7, 7, 7])) {
                return Some(frame.data().to_vec());
            }
            frames.clear();
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    #[test]
    fn the_kernel_answers_on_a_tap_device() {
        in_a_namespace(|| {
            let (pool, counters) = (Pool::new(256), BackingCounters::default());
            let tap = Tap::open("nes0").unwrap();
            assert_eq!(tap.if_index(), interface::index(c"nes0"));
            assert!(!tap.link_up());
            // In pieces, as an application's buffers have them.
            let request = [
                &[0xff; 6][..],
                &[2, 7, 7, 7, 7, 7, 0x08, 0x06],
                &[0, 1, 8, 0, 6, 4, 0, 1, 2, 7, 7, 7, 7, 7, 192, 0, 2, 2],
                &[0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
            ];
            // Down: the kernel takes nothing.
            assert_eq!(tap.send(&[&request]), (0, Some(SendError::Down)));
            ip("link set nes0 up");
            ip("addr add 192.0.2.1/24 dev nes0");
            while !tap.link_up() {
                std::thread::yield_now();
            }
            assert_eq!(tap.send(&[&request]), (1, None));
            let answer = next(&tap, &pool, &counters).expect("an ARP reply");
            assert_eq!((&answer[12..14], &answer[20..22]), (&[8, 6][..], &[0, 2][..]));
            assert_eq!(tap.send(&[&[b"short"]]), (0, Some(SendError::Refused)));
            assert_eq!(counters.receive_errors.load(Relaxed), 0);
        });
    }

    #[test]
    fn frames_of_any_length_keep_their_tags_and_too_long_ones_are_counted() {
        in_a_namespace(|| {
            let (pool, counters) = (Pool::new(256), BackingCounters::default());
            let tap = Tap::open("nes2").unwrap();
            assert_eq!(tap.mtu(), Some(1500));
            ip("link set nes2 mtu 20000 up");
            assert_eq!(tap.mtu(), Some(20000));
            let other = AfPacket::open("nes2").unwrap();
            while !tap.link_up() {
                std::thread::yield_now();
            }
            let frame = |length: usize| {
                let tags = [0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0xa0, 0x05, 0x08, 0x00];
                let mut frame = [&[2, 7, 7, 7, 7, 7, 2, 8, 8, 8, 8, 8][..], &tags].concat();
                frame.resize(length, 0x5a);
                frame
            };
            for length in [MAX_FRAME + 1, 60, MAX_FRAME] {
                let sent = frame(length);
                assert_eq!(other.send(&[&[&sent]]), (1, None));
                if length <= MAX_FRAME {
                    assert_eq!(next(&tap, &pool, &counters), Some(sent));
                }
            }
            assert_eq!(counters.oversized.load(Relaxed), 1);
        });
    }

    #[test]
    fn frames_without_a_buffer_are_counted_and_a_device_that_goes_away_ends_the_source() {
        in_a_namespace(|| {
            let counters = BackingCounters::default();
            let tap = Tap::open("nes1").unwrap();
            ip("link set nes1 up");
            let other = AfPacket::open("nes1").unwrap();
            while !tap.link_up() {
                std::thread::yield_now();
            }
            let (none, mut frames) = (Pool::new(1), Vec::new());
            let held = none.take().unwrap();
            assert_eq!(other.send(&[&[&[2; 60]]]), (1, None));
            for _ in 0..2000 {
                assert_eq!(tap.receive(&none, &counters, &mut frames), Source::Open);
                if counters.no_buffer.load(Relaxed) > 0 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(counters.no_buffer.load(Relaxed) > 0 && frames.is_empty());
            drop(held);
            ip("link delete nes1");
            assert_eq!(tap.receive(&none, &counters, &mut frames), Source::Ended);
            assert!(!tap.link_up());
            assert_eq!(tap.send(&[&[&[0; 60]]]), (0, Some(SendError::Down)));
        });
    }
}
