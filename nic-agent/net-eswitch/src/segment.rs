//! What a sender leaves to its card: layer-4 checksums (RFC 1071) and the cutting of one large
//! TCP or UDP packet into packets of the size of the wire.
//!
//! A VF driver hands its card packets of up to 64 KiB with one prototype header, and the card cuts
//! them before its switch sees them. A veth pair carries such packets whole, so the driver, in the
//! place of the card, does what the card would do.

use nic_wire::IpProto;
use nic_wire::checksum::{Pseudo, Sum};

/// What the sender left to the card, as `struct virtio_net_hdr` says it. Offsets count from the start
/// of the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Where the sum starts and where the checksum lies, if it is to be completed.
    pub(crate) checksum: Option<(usize, usize)>,
    /// How the packet is to be cut.
    pub(crate) cut: Option<Cut>,
}

/// Into what a packet is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    /// Payload bytes in each packet but the last.
    pub(crate) size: usize,
}

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
}

/// The headers are not those that the offload speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotOffloadable;

/// Completes a checksum of which the field holds the pseudo header's sum.
pub(crate) fn complete_checksum(frame: &mut [u8], start: usize, at: usize) -> Result<(), NotOffloadable> {
    if start > at || at + 2 > frame.len() {
        return Err(NotOffloadable);
    }
    let sum = Sum::new().bytes(&frame[start..]).checksum();
    // Zero means "no checksum" to UDP over IPv4, and 0xffff is the same number to all others.
    let sum = if sum == 0 { 0xffff } else { sum };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Where the headers of a packet lie.
#[derive(Debug, Clone, Copy)]
struct Layout {
    l3: usize,
    v6: bool,
    l4: usize,
    payload: usize,
}

/// Cuts a packet. `emit` gets each packet's headers, finished, and its payload.
pub(crate) fn cut(
    packet: &[u8],
    cut: Cut,
    mut emit: impl FnMut(&[u8], &[u8]),
) -> Result<usize, NotOffloadable> {
    let layout = layout(packet, cut.kind).ok_or(NotOffloadable)?;
    if cut.size == 0 {
        return Err(NotOffloadable);
    }
    let (headers, payload) = packet.split_at(layout.payload);
    // Three VLAN tags would not fit the switch's frames: `layout` knows two at most, IPv4 and TCP
    // headers have at most 60 bytes each.
    let mut buffer = [0; 22 + 60 + 60];
    let buffer = buffer.get_mut(..headers.len()).ok_or(NotOffloadable)?;
    let pieces = payload.len().div_ceil(cut.size);
    for (index, piece) in payload.chunks(cut.size).enumerate() {
        buffer.copy_from_slice(headers);
        finish(buffer, layout, cut, index, index + 1 == pieces, piece);
        emit(buffer, piece);
    }
    Ok(pieces)
}

/// Finds the headers; `None` if they are not the plain ones that the kind asks for.
fn layout(packet: &[u8], kind: Kind) -> Option<Layout> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let mut l3 = 14;
    while l3 < 22 && matches!(word(l3 - 2)?, 0x8100 | 0x88a8) {
        l3 += 4;
    }
    let proto = match kind {
        Kind::Tcp => IpProto::TCP.0,
        Kind::Udp => IpProto::UDP.0,
    };
    let (v6, l4, found) = match word(l3 - 2)? {
        0x0800 => (false, l3 + usize::from(packet.get(l3)? & 0x0f) * 4, *packet.get(l3 + 9)?),
        0x86dd => (true, l3 + 40, *packet.get(l3 + 6)?),
        _ => return None,
    };
    if found != proto || (!v6 && l4 < l3 + 20) {
        return None;
    }
    let payload = match kind {
        Kind::Tcp => l4 + usize::from(packet.get(l4 + 12)? >> 4) * 4,
        Kind::Udp => l4 + 8,
    };
    let whole = payload <= packet.len() && (kind == Kind::Udp || payload >= l4 + 20);
    whole.then_some(Layout { l3, v6, l4, payload })
}

/// Sets what differs from packet to packet: lengths, identification, sequence, flags, checksums.
fn finish(headers: &mut [u8], layout: Layout, cut: Cut, index: usize, last: bool, piece: &[u8]) {
    let Layout { l3, v6, l4, .. } = layout;
    let l4_length = headers.len() - l4 + piece.len();
    let pseudo = if v6 {
        put(headers, l3 + 4, l4_length as u16);
        let src = <[u8; 16]>::try_from(&headers[l3 + 8..l3 + 24]).expect("16 bytes");
        let dst = <[u8; 16]>::try_from(&headers[l3 + 24..l3 + 40]).expect("16 bytes");
        Pseudo::V6 { src: src.into(), dst: dst.into() }
    } else {
        put(headers, l3 + 2, (l4 - l3 + l4_length) as u16);
        let ident = u16::from_be_bytes([headers[l3 + 4], headers[l3 + 5]]);
        put(headers, l3 + 4, ident.wrapping_add(index as u16));
        put(headers, l3 + 10, 0);
        let sum = Sum::new().bytes(&headers[l3..l4]).checksum();
        put(headers, l3 + 10, sum);
        let src = <[u8; 4]>::try_from(&headers[l3 + 12..l3 + 16]).expect("4 bytes");
        let dst = <[u8; 4]>::try_from(&headers[l3 + 16..l3 + 20]).expect("4 bytes");
        Pseudo::V4 { src: src.into(), dst: dst.into() }
    };
    let (proto, checksum_at) = match cut.kind {
        Kind::Tcp => {
            let sequence =
                u32::from_be_bytes([headers[l4 + 4], headers[l4 + 5], headers[l4 + 6], headers[l4 + 7]]);
            let sequence = sequence.wrapping_add((index * cut.size) as u32);
            headers[l4 + 4..l4 + 8].copy_from_slice(&sequence.to_be_bytes());
            if !last {
                headers[l4 + 13] &= !(FIN | PSH);
            }
            if index > 0 {
                headers[l4 + 13] &= !CWR;
            }
            (IpProto::TCP, l4 + 16)
        }
        Kind::Udp => {
            put(headers, l4 + 4, l4_length as u16);
            (IpProto::UDP, l4 + 6)
        }
    };
    put(headers, checksum_at, 0);
    // Both headers have an even length, so the payload starts on a word of the sum.
    let sum = pseudo.sum(proto, l4_length).bytes(&headers[l4..]).bytes(piece).checksum();
    put(headers, checksum_at, if sum == 0 { 0xffff } else { sum });
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, `tags` VLAN tags, IP, layer 4, payload 0, 1, 2, ...
    fn packet(tags: usize, v6: bool, kind: Kind, payload: usize) -> Vec<u8> {
        let mut bytes = vec![2; 12];
        for _ in 0..tags {
            bytes.extend([0x81, 0x00, 0x00, 0x05]);
        }
        let (proto, l4): (u8, Vec<u8>) = match kind {
            Kind::Tcp => {
                (6, [&[0, 1, 0, 2, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 0x60, 0x99][..], &[0; 10]].concat())
            }
            Kind::Udp => (17, vec![0, 1, 0, 2, 0, 0, 0, 0]),
        };
        if v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, proto, 64]);
            bytes.extend([1; 16]);
            bytes.extend([3; 16]);
        } else {
            bytes.extend([
                0x08, 0x00, 0x45, 0, 0, 0, 0xff, 0xff, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ]);
        }
        bytes.extend(l4);
        bytes.extend((0..payload).map(|n| n as u8));
        bytes
    }

    /// The independent check: every word that a receiver sums, summed one by one.
    fn ones_complement(parts: &[&[u8]]) -> u16 {
        let all: Vec<u8> = parts.concat();
        let mut sum = 0u32;
        for pair in all.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn a_large_packet_becomes_whole_packets_with_right_checksums_and_all_its_payload() {
        for (tags, v6, kind, payload, size) in [
            (0, false, Kind::Tcp, 5000, 1448),
            (1, true, Kind::Tcp, 2897, 1448),
            (2, false, Kind::Udp, 101, 50),
            (0, true, Kind::Udp, 100, 50),
        ] {
            let whole = packet(tags, v6, kind, payload);
            let mut pieces: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let n = cut(&whole, Cut { kind, size }, |h, p| pieces.push((h.to_vec(), p.to_vec()))).unwrap();
            assert_eq!((n, pieces.len()), (payload.div_ceil(size), payload.div_ceil(size)));
            let joined: Vec<u8> = pieces.iter().flat_map(|(_, p)| p.clone()).collect();
            assert_eq!(joined, (0..payload).map(|n| n as u8).collect::<Vec<_>>());
            let l3 = 14 + 4 * tags;
            for (index, (headers, piece)) in pieces.iter().enumerate() {
                let l4 = l3 + if v6 { 40 } else { 20 };
                let l4_length = (headers.len() - l4 + piece.len()) as u16;
                let addresses = if v6 { &headers[l3 + 8..l3 + 40] } else { &headers[l3 + 12..l3 + 20] };
                let proto = if kind == Kind::Tcp { 6 } else { 17 };
                let pseudo = [&[0, proto][..], &l4_length.to_be_bytes()].concat();
                assert_eq!(ones_complement(&[addresses, &pseudo, &headers[l4..], piece]), 0xffff);
                if !v6 {
                    assert_eq!(ones_complement(&[&headers[l3..l4]]), 0xffff);
                    assert_eq!(headers[l3 + 4..l3 + 6], 0xffffu16.wrapping_add(index as u16).to_be_bytes());
                    assert_eq!(headers[l3 + 2..l3 + 4], (l4_length + 20).to_be_bytes());
                }
                if kind == Kind::Tcp {
                    let sequence = 0xffff_fff0u32.wrapping_add((index * size) as u32);
                    assert_eq!(headers[l4 + 4..l4 + 8], sequence.to_be_bytes());
                    let flags = headers[l4 + 13];
                    assert_eq!(flags & CWR != 0, index == 0);
                    assert_eq!(flags & (FIN | PSH) != 0, index + 1 == n);
                }
            }
        }
    }

    #[test]
    fn headers_of_another_kind_are_not_cut() {
        let tcp = packet(0, false, Kind::Tcp, 100);
        for bad in [
            (tcp.clone(), Cut { kind: Kind::Udp, size: 10 }),
            (tcp.clone(), Cut { kind: Kind::Tcp, size: 0 }),
            (tcp[..50].to_vec(), Cut { kind: Kind::Tcp, size: 10 }),
            (vec![0; 13], Cut { kind: Kind::Tcp, size: 10 }),
            (packet(3, false, Kind::Tcp, 100), Cut { kind: Kind::Tcp, size: 10 }),
        ] {
            assert_eq!(cut(&bad.0, bad.1, |_, _| {}), Err(NotOffloadable));
        }
    }

    #[test]
    fn a_checksum_left_to_the_card_is_completed() {
        let mut frame = packet(0, false, Kind::Udp, 33);
        let pseudo = ones_complement(&[&frame[26..34], &[0, 17, 0, 41]]);
        frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
        complete_checksum(&mut frame, 34, 40).unwrap();
        assert_eq!(ones_complement(&[&frame[26..34], &[0, 17, 0, 41], &frame[34..]]), 0xffff);
        assert_eq!(complete_checksum(&mut frame, 34, 1000), Err(NotOffloadable));
        assert_eq!(complete_checksum(&mut frame, 41, 40), Err(NotOffloadable));
    }
}
