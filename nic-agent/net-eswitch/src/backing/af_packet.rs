//! A network interface of the kernel, by a packet socket (packet(7)).
//!
//! Three things that a packet socket hides are put right here:
//! * A VLAN tag that the kernel took out of the frame (`PACKET_AUXDATA`) is put back.
//! * Checksums and segmentation that the sender left to its card (`PACKET_VNET_HDR`) are done: see
//!   [`crate::segment`]. Frames of a veth's other end are of that kind unless its offloads are off.
//! * Frames that this process sent are not received again (`PACKET_IGNORE_OUTGOING`).

use std::ffi::{CString, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::{io, mem, ptr};

use nic_flow::seam::PacketBuf;

use super::{BackingCounters, MAX_BATCH, MAX_PIECES, Piece, SendError, interface};
use crate::frame::{Frame, MAX_FRAME, Pool};
use crate::segment::{self, Cut, Kind, Offload};

/// Bytes of `struct virtio_net_hdr`, in front of every frame that is received or sent.
const VNET_HDR: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Behind what fits into a frame of the switch there is room for a packet of 64 KiB.
const OVERFLOW: usize = 0x1_0000 + 256;
/// One slot of [`Scratch::large`]: room to copy the frame's bytes in front of the overflow.
const SLOT: usize = MAX_FRAME + OVERFLOW;
/// Room for one `tpacket_auxdata` with its header.
const CONTROL: usize = 64;
/// Receive buffer of the socket: what the kernel keeps while the switch is busy elsewhere.
const RECEIVE_BUFFER: c_int = 8 << 20;

/// Why an interface cannot stand behind a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{0:?} is not the name of an interface")]
    Name(String),
    #[error("there is no interface {name}: {why}")]
    NoInterface { name: String, why: io::Error },
    #[error("the packet socket for {name} was refused at {step}: {why}")]
    Refused { name: String, step: &'static str, why: io::Error },
}

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct AfPacket {
    socket: OwnedFd,
    name: CString,
    if_index: u32,
}

impl AfPacket {
    pub(crate) fn open(name: &str) -> Result<AfPacket, OpenError> {
        let c_name = interface::name(name).ok_or_else(|| OpenError::Name(name.into()))?;
        let if_index = interface::index(&c_name);
        if if_index == 0 {
            return Err(OpenError::NoInterface { name: name.into(), why: io::Error::last_os_error() });
        }
        let refused = |step| move |why| OpenError::Refused { name: name.into(), step, why };
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0 receives nothing until the socket is bound to its interface.
        // SAFETY: plain numbers.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if raw < 0 {
            return Err(refused("socket")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just made and is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let fd = socket.as_fd();
        set(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32).map_err(refused("PACKET_VNET_HDR"))?;
        set(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32).map_err(refused("PACKET_AUXDATA"))?;
        set(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)
            .map_err(refused("PACKET_IGNORE_OUTGOING"))?;
        // Beyond the system's limit where that is allowed, else up to it.
        if set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER).is_err() {
            set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER).map_err(refused("SO_RCVBUF"))?;
        }
        let promiscuous = libc::packet_mreq {
            mr_ifindex: if_index as c_int,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)
            .map_err(refused("PACKET_MR_PROMISC"))?;
        bind(fd, if_index).map_err(refused("bind"))?;
        Ok(AfPacket { socket, name: c_name, if_index })
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
        scratch: &mut Scratch,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        frames: &mut Vec<Frame>,
    ) {
        let received = match scratch.receive(self.socket.as_fd(), pool) {
            Ok(received) => received,
            Err(why) if matches!(why.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => 0,
            Err(_) => {
                // The interface went down, or the kernel had a packet of which it cannot tell what
                // its sender left to the card.
                BackingCounters::count(&counters.receive_errors);
                0
            }
        };
        for index in 0..received {
            scratch.unpack(index, pool, counters, frames);
        }
        if received < MAX_BATCH {
            counters.kernel_drops.fetch_add(self.kernel_drops(), Relaxed);
        }
    }

    /// What the kernel dropped since this was last asked.
    fn kernel_drops(&self) -> u64 {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `stats` has `length` bytes and any bytes are a value of it.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &mut length,
            )
        };
        if done == 0 { stats.tp_drops.into() } else { 0 }
    }

    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        // One header of zeroes serves all frames: nothing is left to do for whoever takes them.
        let no_offload = [0u8; VNET_HDR];
        let mut parts = [EMPTY; MAX_BATCH * 2];
        let mut messages: [libc::mmsghdr; MAX_BATCH] = NO_MESSAGES;
        let (mut used, mut filled) = (0, 0);
        for frame in frames.iter().take(MAX_BATCH) {
            let n = 1 + frame.len();
            if used + n > parts.len() && filled > 0 {
                break;
            }
            if frame.len() > MAX_PIECES {
                break;
            }
            let room = &mut parts[used..used + n];
            room[0] = part(&no_offload);
            for (to, piece) in room[1..].iter_mut().zip(*frame) {
                *to = part(piece);
            }
            messages[filled].msg_hdr.msg_iov = room.as_mut_ptr();
            messages[filled].msg_hdr.msg_iovlen = n as _;
            used += n;
            filled += 1;
        }
        if filled == 0 {
            return (0, (!frames.is_empty()).then_some(SendError::Refused));
        }
        // SAFETY: `filled` messages point to parts, and these to bytes, that outlive the call; the
        // kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                filled as u32,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent >= 0 {
            // The next call says why the next frame did not go.
            return (sent as usize, None);
        }
        let error = match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => SendError::Full,
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => SendError::Down,
            _ => SendError::Refused,
        };
        (0, Some(error))
    }
}

/// The number is the kernel's (linux/if_packet.h); the libc crate does not have it.
const PACKET_IGNORE_OUTGOING: c_int = 23;
const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
const NO_MESSAGES: [libc::mmsghdr; MAX_BATCH] = {
    // SAFETY: all zeroes is a message without parts.
    unsafe { mem::zeroed() }
};

fn part(bytes: &[u8]) -> libc::iovec {
    // The kernel does not write to what is sent.
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let bytes: *const c_void = ptr::from_ref(value).cast();
    // SAFETY: the value has this many bytes, and the kernel only reads them.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, bytes, size_of::<T>() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(socket: BorrowedFd<'_>, if_index: u32) -> io::Result<()> {
    // SAFETY: all zeroes is a value of this struct.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = if_index as c_int;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address has `length` bytes.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a batch of receptions needs besides the frames; one serves all interfaces of a thread.
pub(crate) struct Scratch {
    headers: [[u8; VNET_HDR]; MAX_BATCH],
    control: Box<[Control; MAX_BATCH]>,
    frames: [Option<Frame>; MAX_BATCH],
    /// Length of each message, and its flags.
    results: [(usize, c_int); MAX_BATCH],
    /// A slot for each message: see [`SLOT`].
    large: Box<[u8]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch {
            headers: [[0; VNET_HDR]; MAX_BATCH],
            control: Box::new([Control([0; CONTROL]); MAX_BATCH]),
            frames: [const { None }; MAX_BATCH],
            results: [(0, 0); MAX_BATCH],
            large: vec![0; SLOT * MAX_BATCH].into_boxed_slice(),
        }
    }

    /// Receives one batch into frames of the pool. A message for which no frame is left goes to its
    /// slot, so that it can be counted.
    fn receive(&mut self, socket: BorrowedFd<'_>, pool: &Arc<Pool>) -> io::Result<usize> {
        let mut parts = [[EMPTY; 3]; MAX_BATCH];
        let mut messages: [libc::mmsghdr; MAX_BATCH] = NO_MESSAGES;
        for (index, slot) in self.large.chunks_exact_mut(SLOT).enumerate() {
            if self.frames[index].is_none() {
                self.frames[index] = pool.take();
            }
            let (reserve, overflow) = slot.split_at_mut(MAX_FRAME);
            let front = self.frames[index].as_mut().map_or(reserve, Frame::data_mut);
            parts[index] = [room(&mut self.headers[index]), room(front), room(overflow)];
            let header = &mut messages[index].msg_hdr;
            header.msg_iov = parts[index].as_mut_ptr();
            header.msg_iovlen = 3;
            header.msg_control = self.control[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: every message points to three parts and to its control bytes, all of which are
        // exclusively ours, outlive the call and may hold any bytes.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                MAX_BATCH as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let received = received as usize;
        for (index, message) in messages[..received].iter().enumerate() {
            // Without auxiliary data the length is zero, and what was there before must not count.
            if message.msg_hdr.msg_controllen < CONTROL {
                self.control[index].0[message.msg_hdr.msg_controllen..].fill(0);
            }
            self.results[index] = (message.msg_len as usize, message.msg_hdr.msg_flags);
        }
        Ok(received)
    }

    /// Makes frames of one message.
    fn unpack(
        &mut self,
        index: usize,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        frames: &mut Vec<Frame>,
    ) {
        let (length, flags) = self.results[index];
        let Some(mut frame) = self.frames[index].take() else {
            return BackingCounters::count(&counters.no_buffer);
        };
        let length = length.saturating_sub(VNET_HDR);
        let Some(offload) = offload(&self.headers[index]) else {
            return BackingCounters::count(&counters.not_offloadable);
        };
        let tag = vlan_tag(&self.control[index].0);
        if flags & libc::MSG_TRUNC != 0 {
            return BackingCounters::count(&counters.oversized);
        }
        if let Some(cut) = offload.cut {
            let slot = &mut self.large[index * SLOT..][..SLOT];
            slot[..MAX_FRAME].copy_from_slice(frame.data());
            let cutting = CutInto { pool, counters, frames, tag };
            if !cutting.cut(&slot[..length], cut) {
                BackingCounters::count(&counters.not_offloadable);
            }
            self.frames[index] = Some(frame);
            return;
        }
        if length > MAX_FRAME {
            return BackingCounters::count(&counters.oversized);
        }
        frame.truncate(length);
        if let Some((start, at)) = offload.checksum
            && segment::complete_checksum(frame.data_mut(), start, at).is_err()
        {
            return BackingCounters::count(&counters.not_offloadable);
        }
        if restore_tag(&mut frame, tag) {
            frames.push(frame);
        } else {
            BackingCounters::count(&counters.oversized);
        }
    }
}

/// Where the packets go into which a large one is cut.
struct CutInto<'a> {
    pool: &'a Arc<Pool>,
    counters: &'a BackingCounters,
    frames: &'a mut Vec<Frame>,
    tag: Option<[u8; 4]>,
}

impl CutInto<'_> {
    fn cut(self, packet: &[u8], how: Cut) -> bool {
        let done = segment::cut(packet, how, |headers, payload| {
            let length = headers.len() + payload.len();
            if length > MAX_FRAME {
                return BackingCounters::count(&self.counters.oversized);
            }
            let Some(mut frame) = self.pool.take() else {
                return BackingCounters::count(&self.counters.no_buffer);
            };
            frame.truncate(length);
            let (front, back) = frame.data_mut().split_at_mut(headers.len());
            front.copy_from_slice(headers);
            back.copy_from_slice(payload);
            if restore_tag(&mut frame, self.tag) {
                self.frames.push(frame);
            } else {
                BackingCounters::count(&self.counters.oversized);
            }
        });
        if done.is_ok() {
            BackingCounters::count(&self.counters.cut);
        }
        done.is_ok()
    }
}

fn room(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// Reads a `struct virtio_net_hdr` in the byte order of the machine; `None` if it asks for what the
/// driver does not do.
fn offload(header: &[u8; VNET_HDR]) -> Option<Offload> {
    let word = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (start, offset) = (word(6), word(8));
    let checksum = (header[0] & NEEDS_CSUM != 0).then_some((start, start + offset));
    let kind = match header[1] & !GSO_ECN {
        0 => return Some(Offload { checksum, cut: None }),
        GSO_TCPV4 | GSO_TCPV6 => Kind::Tcp,
        GSO_UDP_L4 => Kind::Udp,
        _ => return None,
    };
    Some(Offload { checksum, cut: Some(Cut { kind, size: word(4) }) })
}

/// The VLAN tag that the kernel took out of the frame, from the auxiliary data of the message: one
/// `struct cmsghdr` with one `struct tpacket_auxdata` in it.
fn vlan_tag(control: &[u8; CONTROL]) -> Option<[u8; 4]> {
    const DATA: usize = size_of::<libc::cmsghdr>();
    let int = |at: usize| u32::from_ne_bytes(control[at..at + 4].try_into().expect("4 bytes"));
    let word = |at: usize| u16::from_ne_bytes([control[at], control[at + 1]]);
    let (level, kind) = (int(DATA - 8), int(DATA - 4));
    if level != libc::SOL_PACKET as u32 || kind != libc::PACKET_AUXDATA as u32 {
        return None;
    }
    // tp_status, tp_len, tp_snaplen (32 bits each), tp_mac, tp_net, tp_vlan_tci, tp_vlan_tpid.
    let status = int(DATA);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { word(DATA + 18) } else { 0x8100 };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), word(DATA + 16).to_be_bytes());
    Some([a, b, c, d])
}

/// Puts a tag back behind the MAC addresses; false if the frame is too short or has no room.
fn restore_tag(frame: &mut Frame, tag: Option<[u8; 4]>) -> bool {
    let Some(tag) = tag else { return true };
    if frame.data().len() < 12 || frame.prepend(4).is_err() {
        return false;
    }
    let data = frame.data_mut();
    data.copy_within(4..16, 0);
    data[12..16].copy_from_slice(&tag);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_vlan_tag_is_put_back_behind_the_addresses() {
        let mut control = [0; CONTROL];
        control[8..12].copy_from_slice(&(libc::SOL_PACKET as u32).to_ne_bytes());
        control[12..16].copy_from_slice(&(libc::PACKET_AUXDATA as u32).to_ne_bytes());
        let status = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
        control[16..20].copy_from_slice(&status.to_ne_bytes());
        control[32..34].copy_from_slice(&0x6007u16.to_ne_bytes());
        control[34..36].copy_from_slice(&0x88a8u16.to_ne_bytes());
        let tag = vlan_tag(&control);
        assert_eq!(tag, Some([0x88, 0xa8, 0x60, 0x07]));
        let mut frame = Pool::new(1).copy_of(b"aaaaaabbbbbbTTpayload").unwrap();
        assert!(restore_tag(&mut frame, tag));
        assert_eq!(frame.data(), b"aaaaaabbbbbb\x88\xa8\x60\x07TTpayload");
        assert_eq!(vlan_tag(&[0; CONTROL]), None);
    }

    #[test]
    fn an_offload_that_the_driver_does_not_know_is_not_taken_for_another() {
        assert_eq!(offload(&[0; 10]), Some(Offload { checksum: None, cut: None }));
        let udp_fragments = [0, 3, 0, 0, 100, 0, 0, 0, 0, 0];
        assert_eq!(offload(&udp_fragments), None);
        let tcp = [1, GSO_TCPV4 | GSO_ECN, 54, 0, 0xa8, 0x05, 34, 0, 16, 0];
        let expected = Offload { checksum: Some((34, 50)), cut: Some(Cut { kind: Kind::Tcp, size: 1448 }) };
        assert_eq!(offload(&tcp).filter(|_| cfg!(target_endian = "little")), Some(expected));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = AfPacket::open("no-such-if").unwrap_err();
        assert!(error.to_string().contains("no-such-if"), "{error}");
        assert!(matches!(AfPacket::open(""), Err(OpenError::Name(_))));
    }

    /// Two sockets on the ends of a veth pair, in a network namespace that ends with the thread.
    fn veth() -> (AfPacket, AfPacket) {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace (needs root)");
        for arguments in ["link add one type veth peer name two", "link set one up", "link set two up"] {
            let done = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
            assert!(done.success(), "ip {arguments}");
        }
        (AfPacket::open("one").unwrap(), AfPacket::open("two").unwrap())
    }

    /// What comes next, of frames between made-up addresses: the kernel sends some of its own.
    fn next(socket: &AfPacket, counters: &BackingCounters) -> Option<Vec<u8>> {
        let (mut scratch, pool, mut frames) = (Scratch::new(), Pool::new(256), Vec::new());
        for _ in 0..1000 {
            socket.receive(&mut scratch, &pool, counters, &mut frames);
            if let Some(frame) = frames.iter().find(|frame| frame.data().starts_with(&[2, 7, 7, 7, 7, 7])) {
                return Some(frame.data().to_vec());
            }
            frames.clear();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        None
    }

    fn frame(middle: &[u8], length: usize) -> Vec<u8> {
        let mut frame = [&[2, 7, 7, 7, 7, 7, 2, 8, 8, 8, 8, 8][..], middle].concat();
        frame.resize(length, 0x5a);
        frame
    }

    #[test]
    fn frames_cross_a_veth_pair_unchanged_with_all_their_tags() {
        std::thread::spawn(|| {
            let (one, two) = veth();
            let counters = BackingCounters::default();
            // The kernel says that a link is up a moment after it is.
            while !(one.link_up() && two.link_up()) {
                std::thread::yield_now();
            }
            assert_ne!(one.if_index(), two.if_index());
            for sent in [
                frame(&[0x08, 0x00, 0x45], 60),
                frame(&[0x81, 0x00, 0xa0, 0x05, 0x08, 0x00], 64),
                frame(&[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05, 0x08, 0x00], 1400),
                frame(&[0x88, 0xb5], 1514),
            ] {
                let (front, back) = sent.split_at(20);
                assert_eq!(one.send(&[&[front, back]]), (1, None));
                assert_eq!(next(&two, &counters).as_ref(), Some(&sent));
            }
            // What is too long for the interface is refused, never cut.
            assert_eq!(one.send(&[&[&frame(&[0x88, 0xb5], 1600)]]), (0, Some(SendError::Refused)));
            assert_eq!(one.send(&[&[b"short"]]), (0, Some(SendError::Refused)));
            let many = frame(&[0x88, 0xb5], 100);
            let pieces: [&[u8]; 1] = [&many];
            assert_eq!(two.send(&[&pieces[..]; MAX_BATCH]), (MAX_BATCH, None));
            assert_eq!(next(&one, &counters), Some(many.clone()));
            assert_eq!(counters.receive_errors.load(Relaxed), 0);
        })
        .join()
        .unwrap();
    }
}
