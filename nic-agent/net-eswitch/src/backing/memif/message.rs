//! The messages of the control channel: one packet of 128 bytes each, fields in the machine's order, packed.

/// Bytes of every message.
pub(super) const LENGTH: usize = 128;
/// Version 2.0, the only one.
const VERSION: u16 = 0x0200;

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;

/// The longest ring is of 2^14 buffers.
const MAX_LOG2_SIZE: u8 = 14;
/// Regions that are mapped.
pub(super) const MAX_REGIONS: u16 = 64;

/// What the client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Init,
    /// A file of this size comes with it.
    AddRegion {
        index: u16,
        size: u64,
    },
    /// An event comes with it.
    AddRing(RingPlace),
    Connect,
    Disconnect,
}

/// Where a ring lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RingPlace {
    /// From the client to here.
    pub(super) to_here: bool,
    pub(super) region: u16,
    pub(super) offset: u32,
    pub(super) log2_size: u8,
}

/// Why the connection ends, in the words that the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

fn u16_at(bytes: &[u8; LENGTH], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

fn u32_at(bytes: &[u8; LENGTH], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Reads a message. A ring must be the first of its direction: no more are offered.
pub(super) fn read(bytes: &[u8; LENGTH]) -> Result<Message, Fault> {
    match u16_at(bytes, 0) {
        INIT if u16_at(bytes, 2) != VERSION => Err(Fault("another version")),
        INIT if u32_at(bytes, 4) != 0 => Err(Fault("the interface id is 0")),
        INIT if bytes[8] != 0 => Err(Fault("only Ethernet")),
        INIT => Ok(Message::Init),
        ADD_REGION => {
            let size = u64::from_ne_bytes(bytes[4..12].try_into().expect("8 bytes"));
            Ok(Message::AddRegion { index: u16_at(bytes, 2), size })
        }
        ADD_RING => {
            let (flags, index, private) = (u16_at(bytes, 2), u16_at(bytes, 4), u16_at(bytes, 13));
            let place = RingPlace {
                to_here: flags & 1 != 0,
                region: u16_at(bytes, 6),
                offset: u32_at(bytes, 8),
                log2_size: bytes[12],
            };
            match place {
                _ if index != 0 => Err(Fault("one ring for each direction")),
                _ if private != 0 => Err(Fault("no private headers")),
                RingPlace { log2_size: 15.., .. } => Err(Fault("the ring is too long")),
                _ => Ok(Message::AddRing(place)),
            }
        }
        CONNECT => Ok(Message::Connect),
        DISCONNECT => Ok(Message::Disconnect),
        _ => Err(Fault("an unexpected message")),
    }
}

fn message(kind: u16, parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..2].copy_from_slice(&kind.to_ne_bytes());
    let mut at = 2;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes
}

/// A name in 32 bytes, with a zero at its end.
fn name(text: &str) -> [u8; 32] {
    let mut name = [0; 32];
    for (to, from) in name[..31].iter_mut().zip(text.bytes()) {
        *to = from;
    }
    name
}

/// What is offered: the greatest indices of regions and rings, and the longest ring.
pub(super) fn hello() -> [u8; LENGTH] {
    let version = VERSION.to_ne_bytes();
    let regions = (MAX_REGIONS - 1).to_ne_bytes();
    let parts: [&[u8]; 7] =
        [&name("net_eswitch"), &version, &version, &regions, &[0; 2], &[0; 2], &[MAX_LOG2_SIZE]];
    message(HELLO, &parts)
}

pub(super) fn ack() -> [u8; LENGTH] {
    message(ACK, &[])
}

pub(super) fn connected() -> [u8; LENGTH] {
    message(CONNECTED, &[&name("net_eswitch")])
}

pub(super) fn disconnect(fault: Fault) -> [u8; LENGTH] {
    let text = &fault.0.as_bytes()[..fault.0.len().min(95)];
    message(DISCONNECT, &[&[0; 4], text])
}
