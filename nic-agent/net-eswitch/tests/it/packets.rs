//! Frames made by hand, byte by byte, with checksums of their own.

/// The sum that every checksum below is the complement of.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

pub(crate) fn ethernet(tags: &[u16], eth_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [MAC_B, MAC_A].concat();
    for tci in tags {
        frame.extend([0x81, 0x00]);
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(eth_type.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn ipv4(src: [u8; 4], dst: [u8; 4], proto: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 7, 0x40, 0, 64, proto, 0, 0]);
    header.extend(src);
    header.extend(dst);
    let checksum = !sum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header.extend(payload);
    header
}

pub(crate) fn udp4(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut udp = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    udp.extend(payload);
    let checksum = !sum(&[&src, &dst, &[0, 17], &length.to_be_bytes(), &udp]);
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ipv4(src, dst, 17, &udp)
}

/// True if the IPv4 and UDP checksums of an untagged frame are right.
pub(crate) fn checksums_hold(frame: &[u8]) -> bool {
    let (ip, udp) = (&frame[14..34], &frame[34..]);
    let length = (udp.len() as u16).to_be_bytes();
    sum(&[ip]) == 0xffff && sum(&[&ip[12..20], &[0, 17], &length, udp]) == 0xffff
}

/// A small untagged UDP frame from 10.0.0.1:1000 to 10.0.0.2:53, the payload its own.
pub(crate) fn plain(payload: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x0800, &udp4([10, 0, 0, 1], [10, 0, 0, 2], (1000, 53), payload))
}
