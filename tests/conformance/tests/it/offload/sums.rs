//! Checksums from the standards (RFC 791, 768, 9293, 4443, 8200), slowly, by a reading of frames of
//! their own: whether they hold is asked before and after a rewrite. In a tunnel (RFC 7348), those of
//! the frame in it are asked too.

/// UDP's port for VXLAN, as it stands in a header.
const VXLAN_PORT: [u8; 2] = [0x12, 0xb5];

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
    fragment: bool,
    /// What layer 4 has; empty in a fragment.
    load: std::ops::Range<usize>,
    /// Where the checksum stands in it, if there is one.
    field: Option<usize>,
}

fn parts(frame: &[u8]) -> Option<Parts> {
    let (kind, at) = network(frame);
    let ip = frame.get(at..)?;
    let word = |at: usize| ip.get(at..at + 2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
    let (v4, addresses, proto, fragment, load) = match (kind, ip.first()? >> 4) {
        (0x0800, 4) => {
            let header = usize::from(ip[0] & 0xf) * 4;
            let whole = word(6)? & 0x3fff == 0;
            let end = if whole { word(2)? } else { header };
            (Some(at..at + header), at + 12..at + 20, *ip.get(9)?, !whole, header..end)
        }
        (0x86dd, 6) => (None, at + 8..at + 40, *ip.get(6)?, false, 40..40 + word(4)?),
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
    Some(Parts { v4, addresses, proto, fragment, load, field })
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

/// Where the UDP datagram of a whole packet without options or extension headers ends.
pub(super) fn datagram_end(frame: &[u8]) -> Option<usize> {
    let parts = parts(frame)?;
    let fresh = parts.load.len() == 8 && !parts.fragment;
    (parts.proto == 17 && fresh).then_some(parts.load.end)
}

/// Makes the lengths of IP and UDP those of a datagram that grew at its end. There are no extension headers.
pub(super) fn fit_datagram(frame: &mut [u8]) {
    let Some(Parts { v4, addresses, load, .. }) = parts(frame) else { return };
    let end = frame.len();
    let (field, length) = match v4 {
        Some(header) => (header.start + 2, end - header.start),
        // The length of IPv6 begins behind the fixed header, which the addresses end.
        None => (addresses.start - 4, end - addresses.end),
    };
    frame[field..field + 2].copy_from_slice(&(length as u16).to_be_bytes());
    let datagram = end - load.start;
    frame[load.start + 4..load.start + 6].copy_from_slice(&(datagram as u16).to_be_bytes());
}

/// As [`complete`], with a datagram that has no checksum.
pub(super) fn complete_without_datagram(frame: &mut [u8]) {
    complete(frame);
    if let Some(Parts { proto: 17, field: Some(at), .. }) = parts(frame) {
        frame[at..at + 2].fill(0);
    }
}

/// The frame in a VXLAN packet.
fn inside<'a>(frame: &'a [u8], parts: &Parts) -> Option<&'a [u8]> {
    let datagram = frame.get(parts.load.clone())?;
    let is_tunnel = parts.proto == 17 && !parts.fragment && datagram.get(2..4)? == VXLAN_PORT;
    let valid = datagram.get(8)? & 0x08 != 0;
    if is_tunnel && valid { datagram.get(16..) } else { None }
}

/// Whether a frame is a datagram without checksum.
pub(super) fn is_bare(frame: &[u8]) -> bool {
    let Some(Parts { proto: 17, field: Some(at), .. }) = parts(frame) else { return false };
    frame[at..at + 2] == [0, 0]
}

/// Whether all checksums of a frame hold; `None` for one that has none here.
pub(super) fn hold(frame: &[u8]) -> Option<bool> {
    let parts = parts(frame)?;
    let inner = inside(frame, &parts);
    let v4 = parts.v4.clone().map(|header| sum(&[&frame[header]]) == 0xffff);
    // A tunnel's datagram may go without (RFC 7348 section 5, RFC 6935 section 5).
    let field = parts.field.filter(|&at| inner.is_none() || frame[at..at + 2] != [0, 0]);
    let layer4 = field.map(|_| layer4(frame, &parts) == 0xffff);
    let checks = [v4, layer4, inner.and_then(hold)];
    let mut known = checks.into_iter().flatten().peekable();
    known.peek()?;
    Some(known.all(|holds| holds))
}
