//! Checksums from the standards (RFC 791, 768, 9293, 4443, 8200), slowly, by a reading of frames of
//! their own: whether they hold is asked before and after a rewrite.

/// The EtherType behind all tags, and where its header begins.
pub(super) fn network(frame: &[u8]) -> (u16, usize) {
    let mut at = 12;
    loop {
        let Some(kind) = frame.get(at..at + 2) else { return (0, at) };
        let kind = u16::from_be_bytes([kind[0], kind[1]]);
        at += 2;
        if !matches!(kind, 0x8100 | 0x88a8) {
            return (kind, at);
        }
        at += 2;
    }
}

/// The ones' complement sum of all.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The parts of a whole packet without extension headers.
struct Parts {
    /// The IPv4 header.
    v4: Option<std::ops::Range<usize>>,
    /// The addresses.
    addresses: std::ops::Range<usize>,
    proto: u8,
    /// What layer 4 has; empty in a fragment.
    load: std::ops::Range<usize>,
    /// Where the checksum stands in it, if there is one.
    field: Option<usize>,
}

fn parts(frame: &[u8]) -> Option<Parts> {
    let (kind, at) = network(frame);
    let ip = frame.get(at..)?;
    let word = |at: usize| ip.get(at..at + 2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
    let (v4, addresses, proto, load) = match (kind, ip.first()? >> 4) {
        (0x0800, 4) => {
            let header = usize::from(ip[0] & 0xf) * 4;
            let whole = word(6)? & 0x3fff == 0;
            let end = if whole { word(2)? } else { header };
            (Some(at..at + header), at + 12..at + 20, *ip.get(9)?, header..end)
        }
        (0x86dd, 6) => (None, at + 8..at + 40, *ip.get(6)?, 40..40 + word(4)?),
        _ => return None,
    };
    if load.start < 20 || load.start > load.end || load.end > ip.len() {
        return None;
    }
    let load = at + load.start..at + load.end;
    let field = match proto {
        6 => Some(16),
        17 => Some(6),
        58 if v4.is_none() => Some(2),
        _ => None,
    };
    let field = field.map(|field| load.start + field).filter(|field| field + 2 <= load.end);
    Some(Parts { v4, addresses, proto, load, field })
}

fn layer4(frame: &[u8], parts: &Parts) -> u16 {
    let length = (parts.load.len() as u32).to_be_bytes();
    sum(&[&frame[parts.addresses.clone()], &length, &[0, parts.proto], &frame[parts.load.clone()]])
}

/// Makes the checksums of a frame hold.
pub(super) fn complete(frame: &mut [u8]) {
    let Some(parts) = parts(frame) else { return };
    if let Some(header) = parts.v4.clone() {
        frame[header.start + 10..header.start + 12].fill(0);
        let checksum = !sum(&[&frame[header.clone()]]);
        frame[header.start + 10..header.start + 12].copy_from_slice(&checksum.to_be_bytes());
    }
    if let Some(at) = parts.field {
        frame[at..at + 2].fill(0);
        let checksum = match !layer4(frame, &parts) {
            0 if parts.proto == 17 => 0xffff,
            checksum => checksum,
        };
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Whether all checksums of a frame hold; `None` for one that has none here.
pub(super) fn hold(frame: &[u8]) -> Option<bool> {
    let parts = parts(frame)?;
    let v4 = parts.v4.clone().map(|header| sum(&[&frame[header]]) == 0xffff);
    let layer4 = parts.field.map(|_| layer4(frame, &parts) == 0xffff);
    match (v4, layer4) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(true) && other.unwrap_or(true)),
    }
}
