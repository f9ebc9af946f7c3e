//! Frames as hosts send them, and as they should not.

use nic_flow::FlowKey;
use nic_flow::field::{Field, TUNNELLED, Tunnel};
use sim::frame::build;
use sim::random::Random;

use super::sums;

/// Behind all that headers speak of.
const TRAILER: usize = 8;

/// A frame that looks like `key`: at times with options or extension headers, with checksums that hold,
/// at times cut off or with a bit turned over. Its true key is what extraction says.
pub(super) fn frame(random: &mut Random, key: &FlowKey) -> Vec<u8> {
    let mut frame = match key.tunnel() {
        Tunnel::None => single(random, key),
        status => tunnelled(random, key, status),
    };
    if random.chance(8) {
        frame.truncate(random.below(frame.len() as u64 - TRAILER as u64) as usize + 1);
    }
    if random.chance(10) {
        let at = random.below(frame.len().min(70) as u64) as usize;
        frame[at] ^= 1 << random.below(8);
    }
    frame
}

fn single(random: &mut Random, key: &FlowKey) -> Vec<u8> {
    let mut frame = build(key, random.bits());
    if random.chance(20) {
        lengthen(random, &mut frame);
    }
    sums::complete(&mut frame);
    frame
}

/// The key of the frame in a tunnel, as of one that came out of it.
fn inner(key: &FlowKey) -> FlowKey {
    let move_out = |frame: FlowKey, &(plain, behind): &(Field, Field)| frame.with(plain, key.get(behind));
    TUNNELLED.iter().fold(FlowKey::ZERO, move_out)
}

/// The key of a packet without what is in its tunnel.
fn outer(key: &FlowKey) -> FlowKey {
    let without = TUNNELLED.iter().fold(*key, |key, &(_, behind)| key.with(behind, 0));
    without.with(Field::Tunnel, 0).with(Field::Vni, 0)
}

/// A frame in the datagram of another one, where the other one is a datagram.
fn tunnelled(random: &mut Random, key: &FlowKey, status: Tunnel) -> Vec<u8> {
    let mut packet = build(&outer(key), random.bits());
    let Some(end) = sums::datagram_end(&packet) else { return single(random, &outer(key)) };
    packet.truncate(end);
    // Whoever receives looks at no reserved bit (RFC 7348 section 5).
    let reserved = if random.chance(20) { random.bits() & 0xf7_ff_ff_ff_00_00_00_ff } else { 0 };
    let valid = if status == Tunnel::Malformed { 0 } else { 0x08 << 56 };
    let header = valid | (key.get(Field::Vni) as u64) << 8 | reserved;
    packet.extend_from_slice(&header.to_be_bytes());
    packet.extend_from_slice(&single(random, &inner(key)));
    sums::fit_datagram(&mut packet);
    if random.chance(15) {
        lengthen(random, &mut packet);
    }
    if random.chance(30) {
        sums::complete(&mut packet);
    } else {
        sums::complete_without_datagram(&mut packet);
    }
    packet
}

/// Puts IPv4 options or IPv6 extension headers behind the fixed header.
fn lengthen(random: &mut Random, frame: &mut Vec<u8>) {
    let (kind, at) = sums::network(frame);
    match kind {
        0x0800 if frame[at] == 0x45 => {
            let words = 1 + random.below(10) as u8;
            frame[at] += words;
            // No operation, as often as there is room.
            let options = vec![1; usize::from(words) * 4];
            add_length(&mut frame[at + 2..], options.len());
            frame.splice(at + 20..at + 20, options);
        }
        0x86dd if frame[at] >> 4 == 6 => {
            for _ in 0..=random.below(3) {
                let before = frame[at + 6];
                let (number, header) = extension(random, before);
                frame[at + 6] = number;
                add_length(&mut frame[at + 4..], header.len());
                frame.splice(at + 40..at + 40, header);
            }
        }
        _ => {}
    }
}

fn add_length(field: &mut [u8], more: usize) {
    let length = u16::from_be_bytes([field[0], field[1]]).wrapping_add(more as u16);
    field[..2].copy_from_slice(&length.to_be_bytes());
}

/// A header that has `next` behind it, and the number by which the header before it names it.
fn extension(random: &mut Random, next: u8) -> (u8, Vec<u8>) {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let number = random.pick(&[HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION]);
    let units = random.below(3) as u8;
    let mut header = vec![next, units];
    let length = match number {
        AUTHENTICATION => (usize::from(units) + 2) * 4,
        _ => (usize::from(units) + 1) * 8,
    };
    header.resize(length, 0);
    if number == ROUTING && random.chance(50) {
        header[3] = 1;
    }
    if random.chance(5) {
        // Longer than all that follows.
        header[1] = 200;
    }
    (number, header)
}
