//! Frames: built from a key, and held in memory.

use nic_flow::field::{Field, Frag, L3, L4};
use nic_flow::seam::{ChecksumState, NoHeadroom, PacketBuf};
use nic_flow::{FlowKey, PortId};

const HEADROOM: usize = 64;

/// A packet in memory, with some headroom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    store: Vec<u8>,
    start: usize,
}

impl Frame {
    /// A packet with these bytes.
    pub fn new(bytes: &[u8]) -> Frame {
        let mut store = vec![0; HEADROOM];
        store.extend_from_slice(bytes);
        Frame { store, start: HEADROOM }
    }
}

impl PacketBuf for Frame {
    fn data(&self) -> &[u8] {
        &self.store[self.start..]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.store[self.start..]
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom> {
        self.start = self.start.checked_sub(n).ok_or(NoHeadroom)?;
        Ok(())
    }

    fn trim_front(&mut self, n: usize) {
        self.start += n;
    }

    fn checksum(&self) -> ChecksumState {
        ChecksumState::Complete
    }
}

/// A frame that looks as much like `key` as a frame can, with `serial` as its last eight octets, behind
/// all that headers speak of. Its true key is what extraction says.
pub fn build(key: &FlowKey, serial: u64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    push(&mut frame, key.get(Field::EthDst), 6);
    push(&mut frame, key.get(Field::EthSrc), 6);
    let tags = key.get(Field::VlanCount);
    let tag = |frame: &mut Vec<u8>, tpid: u128, tci: u128| {
        push(frame, if tpid == 0 { 0x8100 } else { tpid }, 2);
        push(frame, tci, 2);
    };
    if tags > 0 {
        tag(&mut frame, key.get(Field::VlanTpid), key.get(Field::VlanTci));
    }
    if tags > 1 {
        tag(&mut frame, key.get(Field::InnerVlanTpid), key.get(Field::InnerVlanTci));
    }
    if tags > 2 {
        tag(&mut frame, 0x8100, 7);
    }
    match key.eth_type() {
        0x0800 if tags < 3 => ipv4(&mut frame, key),
        0x86dd if tags < 3 => ipv6(&mut frame, key),
        0x0806 if tags < 3 => arp(&mut frame, key),
        // A length stands where the key has its name for one.
        0x05ff => push(&mut frame, 46, 2),
        other => push(&mut frame, other.into(), 2),
    }
    frame.resize(frame.len().max(60), 0);
    frame.extend_from_slice(&serial.to_be_bytes());
    frame
}

/// The serial number of a frame, whatever was done to its headers.
pub fn serial(frame: &[u8]) -> Option<u64> {
    frame.last_chunk().map(|last| u64::from_be_bytes(*last))
}

/// The key that a frame has when it enters by a port.
pub fn key(frame: &[u8], port: PortId) -> FlowKey {
    nic_flow::extract::extract(frame, port)
}

fn push(frame: &mut Vec<u8>, value: u128, octets: usize) {
    frame.extend_from_slice(&value.to_be_bytes()[16 - octets..]);
}

fn arp(frame: &mut Vec<u8>, key: &FlowKey) {
    push(frame, 0x0806, 2);
    push(frame, 1, 2);
    push(frame, 0x0800, 2);
    push(frame, if key.l3() == L3::Malformed { 5 } else { 6 }, 1);
    push(frame, 4, 1);
    push(frame, key.get(Field::IpProto), 2);
    push(frame, key.get(Field::ArpSha), 6);
    push(frame, key.get(Field::IpSrc), 4);
    push(frame, key.get(Field::ArpTha), 6);
    push(frame, key.get(Field::IpDst), 4);
}

fn ipv4(frame: &mut Vec<u8>, key: &FlowKey) {
    let l4 = layer4(key);
    push(frame, 0x0800, 2);
    push(frame, if key.l3() == L3::Malformed { 0x43 } else { 0x45 }, 1);
    push(frame, key.get(Field::IpTos), 1);
    push(frame, 20 + l4.len() as u128, 2);
    push(frame, 1, 2);
    let fragment = match key.frag() {
        Frag::No => 0,
        Frag::First => 0x2000,
        Frag::Later => 8,
    };
    push(frame, fragment, 2);
    push(frame, key.get(Field::IpTtl), 1);
    push(frame, key.get(Field::IpProto), 1);
    push(frame, 0, 2);
    push(frame, key.get(Field::IpSrc), 4);
    push(frame, key.get(Field::IpDst), 4);
    frame.extend_from_slice(&l4);
}

fn ipv6(frame: &mut Vec<u8>, key: &FlowKey) {
    let l4 = layer4(key);
    push(frame, 0x86dd, 2);
    let version = if key.l3() == L3::Malformed { 5 } else { 6 };
    push(frame, version << 28 | key.get(Field::IpTos) << 20, 4);
    let fragment = match key.frag() {
        Frag::No => None,
        Frag::First => Some(1),
        Frag::Later => Some(8),
    };
    let extension = if fragment.is_some() { 8 } else { 0 };
    push(frame, extension + l4.len() as u128, 2);
    push(frame, if fragment.is_some() { 44 } else { key.get(Field::IpProto) }, 1);
    push(frame, key.get(Field::IpTtl), 1);
    push(frame, key.get(Field::IpSrc), 16);
    push(frame, key.get(Field::IpDst), 16);
    if let Some(offset) = fragment {
        push(frame, key.get(Field::IpProto), 1);
        push(frame, 0, 1);
        push(frame, offset, 2);
        push(frame, 1, 4);
    }
    frame.extend_from_slice(&l4);
}

fn layer4(key: &FlowKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    if key.l4() == L4::Malformed {
        return vec![0; 2];
    }
    let (source, destination) = (key.get(Field::L4Src), key.get(Field::L4Dst));
    match key.get(Field::IpProto) {
        6 => {
            push(&mut bytes, source, 2);
            push(&mut bytes, destination, 2);
            push(&mut bytes, 0, 8);
            push(&mut bytes, 0x50, 1);
            push(&mut bytes, key.get(Field::TcpFlags), 1);
            push(&mut bytes, 0, 6);
        }
        17 => {
            push(&mut bytes, source, 2);
            push(&mut bytes, destination, 2);
            push(&mut bytes, 8, 2);
            push(&mut bytes, 0, 2);
        }
        1 | 58 => {
            push(&mut bytes, source & 0xff, 1);
            push(&mut bytes, destination & 0xff, 1);
            push(&mut bytes, 0, 6);
        }
        _ => push(&mut bytes, 0, 8),
    }
    bytes
}
