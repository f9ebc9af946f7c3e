//! A client made by hand, which may err; the integration tests have DPDK's.

use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;

use nix::fcntl::SealFlag;
use nix::sys::eventfd::EfdFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, Shutdown, connect, recv, sendmsg, shutdown};

use super::*;

const SIZE: u64 = 0x10000;
/// Offsets of the rings, of eight buffers each, and of the buffers, of 256 bytes each.
const RINGS: [u64; 2] = [0, 512];
const BUFFERS: [u32; 2] = [0x1000, 0x2000];
/// Directions.
const TO_SWITCH: usize = 0;
const FROM_SWITCH: usize = 1;

/// The far end, and this end.
struct Pair {
    memif: Memif,
    pool: Arc<Pool>,
    counters: BackingCounters,
    socket: OwnedFd,
    memory: File,
    event: EventFd,
}

fn dial(memif: &Memif) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(&memif.path).unwrap()).unwrap();
    socket
}

/// A message: its type, and bytes behind it.
fn message(kind: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [&kind.to_ne_bytes(), rest].concat();
    bytes.resize(message::LENGTH, 0);
    bytes
}

fn init() -> Vec<u8> {
    message(3, &[&0x0200u16.to_ne_bytes()[..], &[0; 4], &[0]].concat())
}

fn add_region(size: u64) -> Vec<u8> {
    message(4, &[&[0; 2][..], &size.to_ne_bytes()].concat())
}

fn add_ring(direction: usize, offset: u32) -> Vec<u8> {
    let flags = u16::from(direction == TO_SWITCH).to_ne_bytes();
    message(5, &[&flags[..], &[0; 4], &offset.to_ne_bytes(), &[3], &[0; 2]].concat())
}

impl Pair {
    fn new(name: &str) -> Pair {
        let path = std::env::temp_dir().join(format!("nes-{name}-{}.sock", std::process::id()));
        let memif = Memif::open(path.to_str().unwrap()).unwrap();
        let memory: File = memfd_create(c"region", MFdFlags::MFD_ALLOW_SEALING).unwrap().into();
        memory.set_len(SIZE).unwrap();
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).unwrap();
        let pair = Pair {
            socket: dial(&memif),
            memif,
            pool: Pool::new(64),
            counters: BackingCounters::default(),
            memory,
            event,
        };
        for (ring, buffers) in RINGS.into_iter().zip(BUFFERS) {
            pair.memory.write_all_at(&0x03e3_1f20u32.to_ne_bytes(), ring).unwrap();
            for index in 0..8 {
                pair.describe(ring, index, false, 256, buffers + 256 * index);
            }
        }
        pair
    }

    fn describe(&self, ring: u64, index: u32, goes_on: bool, length: u32, offset: u32) {
        let flags = [u16::from(goes_on), 0].map(u16::to_ne_bytes).concat();
        let bytes = [&flags[..], &length.to_ne_bytes(), &offset.to_ne_bytes(), &[0; 4]].concat();
        self.memory.write_all_at(&bytes, ring + 128 + u64::from(index) * 16).unwrap();
    }

    fn head(&self, direction: usize, head: u16) {
        self.memory.write_all_at(&head.to_ne_bytes(), RINGS[direction] + 6).unwrap();
        self.event.write(1).unwrap();
    }

    fn tail(&self, direction: usize) -> u16 {
        let mut bytes = [0; 2];
        self.memory.read_exact_at(&mut bytes, RINGS[direction] + 64).unwrap();
        u16::from_ne_bytes(bytes)
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &control[..] };
        sendmsg::<UnixAddr>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    /// Lets the switch do what there is to do.
    fn receive(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..4 {
            self.memif.receive(&self.pool, &self.counters, &mut frames);
        }
        frames.iter().map(|frame| frame.data().to_vec()).collect()
    }

    /// What the switch says next: the type, and the text of a disconnect.
    fn answer(&self) -> Option<(u16, String)> {
        let mut bytes = [0; message::LENGTH];
        let length = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).ok()?;
        let text = bytes[6..].split(|byte| *byte == 0).next().unwrap();
        let kind = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let text = if kind == 8 { String::from_utf8(text.to_vec()).unwrap() } else { String::new() };
        (length > 0).then_some((kind, text))
    }

    /// All that a client which does not err says.
    fn script(&self) -> Vec<(Vec<u8>, Option<BorrowedFd<'_>>)> {
        let event = Some(self.event.as_fd());
        vec![
            (init(), None),
            (add_region(SIZE), Some(self.memory.as_fd())),
            (add_ring(TO_SWITCH, 0), event),
            (add_ring(FROM_SWITCH, 512), event),
            (message(6, b"test"), None),
        ]
    }

    /// Says all of it, and gives the answers that are no acknowledgements.
    fn say(&self, script: &[(Vec<u8>, Option<BorrowedFd<'_>>)]) -> Vec<(u16, String)> {
        let mut answers = Vec::new();
        self.receive();
        for (bytes, fd) in script {
            self.send(bytes, *fd);
            self.receive();
            answers.extend(std::iter::from_fn(|| self.answer()).filter(|(kind, _)| *kind != 1));
            if answers.iter().any(|(kind, _)| *kind == 8) {
                break;
            }
        }
        answers
    }

    fn connected(name: &str) -> Pair {
        let pair = Pair::new(name);
        let said = pair.say(&pair.script());
        let kinds: Vec<u16> = said.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [2, 7], "hello, connected: {said:?}");
        assert!(pair.memif.link_up());
        pair
    }
}

#[test]
fn frames_cross_in_one_buffer_and_in_several() {
    let pair = Pair::connected("cross");
    pair.memory.write_all_at(&[1; 60], BUFFERS[TO_SWITCH].into()).unwrap();
    pair.memory.write_all_at(&[2; 512], u64::from(BUFFERS[TO_SWITCH]) + 256).unwrap();
    pair.describe(0, 0, false, 60, BUFFERS[TO_SWITCH]);
    pair.describe(0, 1, true, 256, BUFFERS[TO_SWITCH] + 256);
    pair.describe(0, 2, false, 100, BUFFERS[TO_SWITCH] + 512);
    pair.head(TO_SWITCH, 3);
    assert_eq!(pair.receive(), [vec![1; 60], vec![2; 356]]);
    assert_eq!(pair.tail(TO_SWITCH), 3);

    // No buffer is given yet; then eight, of which a frame takes as many as it needs.
    let (short, long) = ([3u8; 60], [4u8; 600]);
    assert_eq!(pair.memif.send(&[&[&short]]), (0, Some(SendError::Full)));
    pair.head(FROM_SWITCH, 8);
    let frames: [&[&[u8]]; 4] =
        [&[&short[..10], &short[10..]], &[&long], &[&long[..1], &[], &long[1..]], &[&long]];
    assert_eq!(pair.memif.send(&frames), (3, Some(SendError::Full)));
    assert_eq!(pair.tail(FROM_SWITCH), 7);
    let mut bytes = [0; 256 * 7];
    pair.memory.read_exact_at(&mut bytes, BUFFERS[FROM_SWITCH].into()).unwrap();
    assert_eq!((&bytes[..60], &bytes[256..856], &bytes[1024..1624]), (&short[..], &long[..], &long[..]));
    let mut lengths = [0; 16 * 7];
    pair.memory.read_exact_at(&mut lengths, RINGS[FROM_SWITCH] + 128).unwrap();
    let descriptors: Vec<(u8, u32)> = lengths
        .chunks(16)
        .map(|bytes| (bytes[0], u32::from_ne_bytes(bytes[4..8].try_into().unwrap())))
        .collect();
    assert_eq!(descriptors, [(0, 60), (1, 256), (1, 256), (0, 88), (1, 256), (1, 256), (0, 88)]);
}

#[test]
fn frames_without_room_are_counted_and_the_ring_goes_on() {
    let pair = Pair::connected("room");
    // One frame of all buffers, each with the whole region in it.
    for index in 0..7 {
        pair.describe(0, index, index < 6, 0x2000, 0x1000);
    }
    pair.memory.write_all_at(&[5; 60], BUFFERS[TO_SWITCH].into()).unwrap();
    pair.describe(0, 7, false, 60, BUFFERS[TO_SWITCH]);
    pair.head(TO_SWITCH, 8);
    assert_eq!(pair.receive(), [vec![5; 60]]);
    assert_eq!(pair.counters.oversized.load(Relaxed), 1);
    let held: Vec<_> = std::iter::from_fn(|| pair.pool.take()).collect();
    pair.describe(0, 0, false, 60, BUFFERS[TO_SWITCH]);
    pair.head(TO_SWITCH, 9);
    assert!(pair.receive().is_empty());
    assert_eq!((pair.counters.no_buffer.load(Relaxed), pair.tail(TO_SWITCH)), (1, 9));
    drop(held);
    assert_eq!(pair.counters.receive_errors.load(Relaxed), 0);
}

#[test]
fn a_client_that_errs_before_it_is_connected_is_told_why() {
    type Change = fn(&mut Vec<(Vec<u8>, Option<BorrowedFd<'_>>)>);
    let cases: &[(Change, &str)] = &[
        (|script| script[0].0[2] = 9, "another version"),
        (|script| script[0].0[4] = 1, "the interface id is 0"),
        (|script| script[0].0[8] = 1, "only Ethernet"),
        (|script| script[0].0.truncate(100), "a message has 128 bytes"),
        (|script| script[0].0[0] = 77, "an unexpected message"),
        (|script| script[1].1 = None, "a descriptor is missing"),
        (|script| script[1].0[2] = 1, "regions come in their order"),
        (|script| script[1].0 = add_region(SIZE + 1), "a region has another size"),
        (|script| script[1].0 = add_region(0), "a region has another size"),
        (|script| script[1].1 = script[2].1, "a region is not sealed against shrinking"),
        (|script| script[2].0 = add_ring(TO_SWITCH, 0xffff), "a ring or a buffer lies outside of its region"),
        (
            |script| script[2].0 = add_ring(TO_SWITCH, u32::MAX),
            "a ring or a buffer lies outside of its region",
        ),
        (|script| script[2].0 = add_ring(TO_SWITCH, 1), "a ring or a buffer lies outside of its region"),
        (|script| script[2].0 = add_ring(TO_SWITCH, 256), "no ring is there"),
        (|script| script[2].0[12] = 15, "the ring is too long"),
        (|script| script[2].0[4] = 1, "one ring for each direction"),
        (|script| script[2].0[13] = 1, "no private headers"),
        (|script| script[2].1 = script[1].1, "the interrupt is no event"),
        (|script| script[3] = script[2].clone(), "one ring for each direction"),
        (|script| drop(script.remove(3)), "a ring is missing"),
        (|script| script.push(script[4].clone()), "connected already"),
    ];
    for (index, (change, text)) in cases.iter().enumerate() {
        let pair = Pair::new(&format!("errs{index}"));
        let mut script = pair.script();
        change(&mut script);
        let told = pair.say(&script);
        assert_eq!(told.last(), Some(&(8, (*text).to_owned())), "case {index}");
        assert!(!pair.memif.link_up());
        assert_eq!(pair.counters.receive_errors.load(Relaxed), 1);
    }
}

#[test]
fn a_client_that_errs_while_it_is_connected_loses_the_connection_and_nothing_else() {
    type Change = fn(&Pair);
    let outside = "a ring or a buffer lies outside of its region";
    let cases: [(Change, &str); 4] = [
        (|pair| pair.head(TO_SWITCH, 9), "a ring holds more than it can"),
        (
            |pair| {
                pair.describe(0, 0, false, 60, 0xffff);
                pair.head(TO_SWITCH, 1);
            },
            outside,
        ),
        (
            |pair| {
                pair.describe(0, 0, false, 60, u32::MAX);
                pair.head(TO_SWITCH, 1);
            },
            outside,
        ),
        (
            |pair| {
                pair.describe(0, 0, true, 60, 0x1000);
                pair.head(TO_SWITCH, 1);
            },
            "a frame has no end",
        ),
    ];
    for (index, (change, text)) in cases.into_iter().enumerate() {
        let pair = Pair::connected(&format!("broken{index}"));
        change(&pair);
        assert!(pair.receive().is_empty());
        assert_eq!(pair.answer(), Some((8, text.to_owned())));
        assert!(!pair.memif.link_up());
        assert_eq!(pair.memif.send(&[&[&[1; 60]]]), (0, Some(SendError::Down)));
        // Its event, which it holds too, wakes nobody any more.
        pair.event.write(1).unwrap();
        let mut events = [EpollEvent::empty(); 1];
        assert_eq!(pair.memif.epoll.wait(&mut events, EpollTimeout::ZERO), Ok(0));
        // The next one is served.
        let next = Pair { socket: dial(&pair.memif), ..pair };
        next.head(TO_SWITCH, 0);
        next.receive();
        assert_eq!(next.answer().map(|(kind, _)| kind), Some(2), "hello");
    }
}

#[test]
fn one_client_is_served_at_a_time_and_a_socket_that_was_left_is_replaced() {
    let mut pair = Pair::connected("one");
    let second = dial(&pair.memif);
    let first = std::mem::replace(&mut pair.socket, second);
    pair.receive();
    assert_eq!(pair.answer(), Some((8, "another client is connected".to_owned())));
    assert!(pair.memif.link_up());
    // By this and not by closing it: a process that another test starts holds all of this one's files
    // until it runs its own program.
    shutdown(first.as_raw_fd(), Shutdown::Both).unwrap();
    pair.receive();
    assert!(!pair.memif.link_up());

    let path = pair.memif.path.clone();
    let text = path.to_str().unwrap().to_owned();
    let again = Memif::open(&text).unwrap();
    drop((pair, again));
    std::fs::write(&path, "no socket").unwrap();
    assert!(matches!(Memif::open(&text), Err(OpenError::Occupied { .. })));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_client_that_makes_calls_on_the_events_wait_keeps_nobody() {
    let pair = Pair::connected("waits");
    // Both directions share the event here, and the file behind it is the client's too.
    fcntl(&pair.event, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    pair.memif.client().as_ref().unwrap().to_here.as_ref().unwrap().lower();
    pair.memif.client().as_ref().unwrap().to_here.as_ref().unwrap().lower();
    pair.event.write(u64::MAX - 1).unwrap();
    pair.memory.write_all_at(&8u16.to_ne_bytes(), RINGS[FROM_SWITCH] + 6).unwrap();
    assert_eq!(pair.memif.send(&[&[&[3; 60]]]), (1, None));
    assert!(pair.receive().is_empty());
    // It was lowered, and a frame raises it again.
    assert_eq!(pair.memif.send(&[&[&[3; 60]]]), (1, None));
    assert_eq!(pair.event.read(), Ok(1));
}
