//! Frames: built from a key, and held in memory.

use std::rc::Rc;

use nic_flow::field::{Field, Frag, L3, L4, Tunnel};
use nic_flow::seam::{ChecksumState, NoHeadroom, PacketBuf};
use nic_flow::{FlowKey, PortId};

use crate::oracle::inner;

const HEADROOM: usize = 128;

/// A packet in memory, with some headroom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    store: Vec<u8>,
    start: usize,
    /// Clones are buffers of the same pool.
    pool: Pool,
}

/// Where frames come from: it knows how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool(Rc<()>);

impl Pool {
    /// A packet with these bytes.
    pub fn frame(&self, bytes: &[u8]) -> Frame {
        let mut store = vec![0; HEADROOM];
        store.extend_from_slice(bytes);
        Frame { store, start: HEADROOM, pool: self.clone() }
    }

    /// Frames of this pool that are still in somebody's hands.
    pub fn in_use(&self) -> usize {
        Rc::strong_count(&self.0) - 1
    }
}

impl Frame {
    /// A packet with these bytes.
    pub fn new(bytes: &[u8]) -> Frame {
        Pool::default().frame(bytes)
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

    fn set_checksum_complete(&mut self) {}
}

/// A frame that looks as much like `key` as a frame can, with `serial` as its last eight octets, behind
/// all that headers speak of, in a tunnel as well. Its true key is what extraction says.
pub fn build(key: &FlowKey, serial: u64) -> Vec<u8> {
    let ip = matches!(key.eth_type(), 0x0800 | 0x86dd) && key.get(Field::VlanCount) < 3;
    if ip && key.tunnel() == Tunnel::Vxlan && key.get(Field::IpProto) == 17 && key.l4() == L4::Ok {
        let mut vxlan = vec![0x08, 0, 0, 0];
        push(&mut vxlan, key.get(Field::Vni) << 8, 4);
        vxlan.extend(build(&inner(key), serial));
        return headers(key, &vxlan);
    }
    let mut frame = headers(key, &[]);
    frame.resize(frame.len().max(60), 0);
    frame.extend_from_slice(&serial.to_be_bytes());
    frame
}

/// The headers of a frame, and what UDP carries.
fn headers(key: &FlowKey, payload: &[u8]) -> Vec<u8> {
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
        0x0800 if tags < 3 => ipv4(&mut frame, key, payload),
        0x86dd if tags < 3 => ipv6(&mut frame, key, payload),
        0x0806 if tags < 3 => arp(&mut frame, key),
        // A length stands where the key has its name for one.
        0x05ff => push(&mut frame, 46, 2),
        other => push(&mut frame, other.into(), 2),
    }
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

fn ipv4(frame: &mut Vec<u8>, key: &FlowKey, payload: &[u8]) {
    let l4 = layer4(key, payload);
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

fn ipv6(frame: &mut Vec<u8>, key: &FlowKey, payload: &[u8]) {
    let l4 = layer4(key, payload);
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

fn layer4(key: &FlowKey, payload: &[u8]) -> Vec<u8> {
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
            push(&mut bytes, 8 + payload.len() as u128, 2);
            push(&mut bytes, 0, 2);
            bytes.extend_from_slice(payload);
        }
        1 | 58 => {
            push(&mut bytes, source & 0xff, 1);
            push(&mut bytes, destination & 0xff, 1);
            push(&mut bytes, 0, 6);
            // Neighbour discovery has a target.
            if matches!(source, 135 | 136) {
                push(&mut bytes, key.get(Field::IpDst), 16);
            }
        }
        _ => push(&mut bytes, 0, 8),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::scenario;

    #[test]
    fn a_frame_built_from_a_key_with_a_tunnel_has_that_key() {
        let mut random = Random::new(1);
        let mut tunnels = 0;
        while tunnels < 2000 {
            let wanted = scenario::packet(&mut random);
            if wanted.tunnel() != Tunnel::Vxlan {
                continue;
            }
            tunnels += 1;
            let bytes = build(&wanted, 7);
            assert_eq!(serial(&bytes), Some(7));
            let found = key(&bytes, wanted.in_port());
            for &field in Field::ALL {
                // What lies behind tags that are nested too deep is not built, and of an ICMP type and
                // code only as much as there is room for.
                let deep = wanted.get(Field::TunVlanCount) == 3 && field.name().starts_with("tun_");
                let icmp = matches!(field, Field::TunL4Src | Field::TunL4Dst);
                assert!(
                    deep || icmp || found.get(field) == wanted.get(field),
                    "{field}: {found:?} {wanted:?}"
                );
            }
        }
    }
}
