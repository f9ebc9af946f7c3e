//! Frames as hosts send them, and as they should not.

use nic_flow::FlowKey;
use sim::frame::build;
use sim::random::Random;

use super::sums;

/// Behind all that headers speak of.
const TRAILER: usize = 8;

/// A frame that looks like `key`: at times with options or extension headers, with checksums that hold,
/// at times cut off or with a bit turned over. Its true key is what extraction says.
pub(super) fn frame(random: &mut Random, key: &FlowKey) -> Vec<u8> {
    let mut frame = build(key, random.bits());
    if random.chance(20) {
        lengthen(random, &mut frame);
    }
    sums::complete(&mut frame);
    if random.chance(8) {
        frame.truncate(random.below(frame.len() as u64 - TRAILER as u64) as usize + 1);
    }
    if random.chance(10) {
        let at = random.below(frame.len().min(70) as u64) as usize;
        frame[at] ^= 1 << random.below(8);
    }
    frame
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
