//! A client that errs in every way: messages, descriptors and memory are the fuzzer's.

use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;

use nix::fcntl::SealFlag;
use nix::sys::eventfd::EfdFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, connect, recv, sendmsg};

use super::*;

const SIZE: u64 = 0x2000;

/// Steps of an operation and its argument: messages with or without a descriptor, writes to the shared memory,
/// frames in both directions. The first byte says whether the client begins as it should.
pub fn memif(input: &[u8]) {
    let Some((&start, mut steps)) = input.split_first() else { return };
    let mut far = Far::new();
    if start & 1 == 0 {
        far.begin();
    }
    for _ in 0..128 {
        let Some((&operation, rest)) = steps.split_first() else { break };
        steps = rest;
        far.step(operation, &mut steps);
    }
    far.receive();
    let left: Vec<_> = std::iter::from_fn(|| far.pool.take()).collect();
    assert_eq!(left.len(), BUFFERS, "buffers are lost");
}

const BUFFERS: usize = 16;

/// The far end, and this end.
struct Far {
    memif: Memif,
    pool: Arc<Pool>,
    counters: BackingCounters,
    socket: OwnedFd,
    memory: File,
    unsealed: File,
    event: EventFd,
}

fn memory(sealed: bool) -> File {
    let memory: File = memfd_create(c"region", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd").into();
    memory.set_len(SIZE).expect("a length");
    if sealed {
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).expect("sealed");
    }
    memory
}

impl Far {
    fn new() -> Far {
        let thread = std::thread::current().id();
        let path = std::env::temp_dir().join(format!("nes-fuzz-{}-{thread:?}.sock", std::process::id()));
        let memif = Memif::open(&path.to_string_lossy()).expect("a socket");
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK).expect("an event");
        Far {
            socket: dial(&memif),
            memif,
            pool: Pool::new(BUFFERS),
            counters: BackingCounters::default(),
            memory: memory(true),
            unsealed: memory(false),
            event,
        }
    }

    /// What a client that does not err says: a region, and a ring of eight buffers for each direction.
    fn begin(&mut self) {
        for ring in [0u64, 512] {
            self.write(ring, &0x03e3_1f20u32.to_ne_bytes());
        }
        let ring = |flags: u16, offset: u32| {
            [&flags.to_ne_bytes()[..], &[0; 4], &offset.to_ne_bytes(), &[3], &[0; 2]].concat()
        };
        self.say(3, &[0, 2], 0);
        self.say(4, &[&[0; 2][..], &SIZE.to_ne_bytes()].concat(), 1);
        self.say(5, &ring(1, 0), 2);
        self.say(5, &ring(0, 512), 2);
        self.say(6, b"fuzz", 0);
        assert!(self.memif.link_up());
    }

    fn step(&mut self, operation: u8, input: &mut &[u8]) {
        let mut take = |n: usize| input.split_off(..n.min(input.len())).unwrap_or_default();
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        match operation & 7 {
            0 => {
                let kind = take(1).first().copied().unwrap_or(0);
                let length = number(take(1)) as usize;
                self.say(kind.into(), take(length), operation >> 3);
            }
            1 | 2 => {
                let place = number(take(2)) % SIZE;
                let length = number(take(1)) % (SIZE - place + 1);
                self.write(place, take(length as usize));
            }
            // The head of a ring, in its usual place.
            3 => self.write([6, 518][usize::from(operation >> 7)], take(2)),
            4 => self.receive(),
            5 => {
                let frame = vec![operation; number(take(2)) as usize % (MAX_FRAME + 1)];
                let (sent, error) = self.memif.send(&[&[&frame], &[&frame[..frame.len() / 2], &[], &frame]]);
                assert!(sent == 2 || error.is_some());
            }
            6 => self.socket = dial(&self.memif),
            _ => drop(self.event.write(1)),
        }
    }

    fn write(&self, place: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, place).expect("the place lies in the region");
    }

    /// Says something, lets the switch hear it, and hears the answer. It fails once the switch has hung up.
    fn say(&self, kind: u16, rest: &[u8], descriptor: u8) {
        let mut bytes = [&kind.to_ne_bytes(), rest].concat();
        if descriptor & 8 == 0 {
            bytes.resize(message::LENGTH, 0);
        }
        let fd = match descriptor & 7 {
            1 => Some(self.memory.as_raw_fd()),
            2 => Some(self.event.as_raw_fd()),
            3 => Some(self.unsealed.as_raw_fd()),
            4 => Some(self.socket.as_raw_fd()),
            _ => None,
        };
        let fds: Vec<_> = fd.into_iter().collect();
        let control = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &control[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let _ = sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &[IoSlice::new(&bytes)], control, flags, None);
        self.receive();
        while recv(self.socket.as_raw_fd(), &mut [0; message::LENGTH], MsgFlags::MSG_DONTWAIT)
            .is_ok_and(|n| n > 0)
        {}
    }

    fn receive(&self) {
        let mut frames = Vec::new();
        for _ in 0..3 {
            self.memif.receive(&self.pool, &self.counters, &mut frames);
        }
        assert!(frames.iter().all(|frame| frame.data().len() <= MAX_FRAME));
    }
}

fn dial(memif: &Memif) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
    // The queue of those who wait may be full; then nobody hears what this client says.
    let _ = UnixAddr::new(&memif.path).map(|address| connect(socket.as_raw_fd(), &address));
    socket
}
