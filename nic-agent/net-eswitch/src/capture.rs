//! Capture files: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) are read, pcap
//! is written. Only Ethernet, without frame check sequence.

use std::io::{self, Read};
use std::time::Duration;

/// `LINKTYPE_ETHERNET`, with nothing in the bits that speak of a frame check sequence.
const ETHERNET: u32 = 1;
/// Longer blocks are taken for garbage.
const MAX_BLOCK: u32 = 16 << 20;
/// Interfaces of a pcapng section that are remembered.
const MAX_INTERFACES: usize = 4096;

/// Why a capture is not read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is neither pcap nor pcapng")]
    Format,
    #[error("its link type is {0}, and Ethernet is 1")]
    LinkType(u32),
    #[error("a record of {0} bytes cannot be")]
    Length(u32),
    #[error("a packet of interface {0}, which was not described")]
    Interface(u32),
    #[error("it describes more than {MAX_INTERFACES} interfaces")]
    TooManyInterfaces,
}

/// What stands next in a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// A frame of this length; it lies in the caller's room.
    Frame(usize),
    /// A frame that is longer than the caller's room.
    Oversized,
    /// A frame of which the capture has only the front, or one that is not Ethernet's.
    Unusable,
    /// Nothing.
    End,
}

/// Reads a capture once, from its beginning.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    input: R,
    order: Order,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Pcap,
    /// Whether each interface of the section is an Ethernet, and the length at which it cuts frames.
    Pcapng(Vec<(bool, u32)>),
}

/// The order of bytes, which is that of the machine that captured.
#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(magic: [u8; 4], number: u32) -> Option<Order> {
        if u32::from_le_bytes(magic) == number {
            Some(Order::Little)
        } else {
            (u32::from_be_bytes(magic) == number).then_some(Order::Big)
        }
    }

    fn u32(self, bytes: &[u8]) -> u32 {
        let bytes = bytes[..4].try_into().expect("4 bytes");
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    fn u16(self, bytes: &[u8]) -> u16 {
        let bytes = bytes[..2].try_into().expect("2 bytes");
        match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        }
    }
}

const PCAP_MICROSECONDS: u32 = 0xa1b2_c3d4;
const PCAP_NANOSECONDS: u32 = 0xa1b2_3c4d;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Block types of pcapng.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub(crate) fn new(mut input: R) -> Result<Reader<R>, CaptureError> {
        let magic = array(&mut input)?;
        if magic == SECTION_HEADER {
            let order = section(&mut input)?;
            return Ok(Reader { input, order, format: Format::Pcapng(Vec::new()) });
        }
        let order = Order::of(magic, PCAP_MICROSECONDS)
            .or_else(|| Order::of(magic, PCAP_NANOSECONDS))
            .ok_or(CaptureError::Format)?;
        // Version (2.4 since 1998), two fields without use, the snap length, the link type.
        let header: [u8; 20] = array(&mut input)?;
        if order.u16(&header) != 2 {
            return Err(CaptureError::Format);
        }
        match order.u32(&header[16..]) {
            ETHERNET => Ok(Reader { input, order, format: Format::Pcap }),
            other => Err(CaptureError::LinkType(other)),
        }
    }

    /// Reads up to the next frame, into `room`.
    pub(crate) fn next(&mut self, room: &mut [u8]) -> Result<Record, CaptureError> {
        match self.format {
            Format::Pcap => self.next_of_pcap(room),
            Format::Pcapng(_) => loop {
                if let Some(record) = self.block(room)? {
                    return Ok(record);
                }
            },
        }
    }

    fn next_of_pcap(&mut self, room: &mut [u8]) -> Result<Record, CaptureError> {
        if start(&mut self.input)?.is_none() {
            return Ok(Record::End);
        }
        // The seconds stand there; the fraction and the two lengths follow.
        let rest: [u8; 12] = array(&mut self.input)?;
        let (captured, original) = (self.order.u32(&rest[4..]), self.order.u32(&rest[8..]));
        if captured > MAX_BLOCK {
            return Err(CaptureError::Length(captured));
        }
        self.frame(captured, captured >= original, room)
    }

    /// Reads a frame of that length, or over it.
    fn frame(&mut self, length: u32, usable: bool, room: &mut [u8]) -> Result<Record, CaptureError> {
        let fits = room.get_mut(..length as usize);
        let record = match fits {
            Some(room) if usable => {
                self.input.read_exact(room)?;
                return Ok(Record::Frame(length as usize));
            }
            None if usable => Record::Oversized,
            _ => Record::Unusable,
        };
        skip(&mut self.input, length)?;
        Ok(record)
    }

    /// Reads a block of pcapng; `None` if it has no frame.
    fn block(&mut self, room: &mut [u8]) -> Result<Option<Record>, CaptureError> {
        let Some(kind) = start(&mut self.input)? else { return Ok(Some(Record::End)) };
        if kind == SECTION_HEADER {
            self.order = section(&mut self.input)?;
            self.format = Format::Pcapng(Vec::new());
            return Ok(None);
        }
        let length = self.order.u32(&array::<4>(&mut self.input)?);
        // Type and length stand in front, the length once more at the end.
        let body = length
            .checked_sub(12)
            .filter(|body| *body <= MAX_BLOCK && body % 4 == 0)
            .ok_or(CaptureError::Length(length))?;
        let header = match self.order.u32(&kind) {
            INTERFACE_DESCRIPTION => 8,
            ENHANCED_PACKET | OBSOLETE_PACKET => 20,
            SIMPLE_PACKET => 4,
            _ => {
                skip(&mut self.input, body + 4)?;
                return Ok(None);
            }
        };
        let rest = body.checked_sub(header).ok_or(CaptureError::Length(length))?;
        let mut fields = [0; 20];
        self.input.read_exact(&mut fields[..header as usize])?;
        match self.order.u32(&kind) {
            INTERFACE_DESCRIPTION => {
                self.describe(&fields)?;
                skip(&mut self.input, rest + 4)?;
                Ok(None)
            }
            kind => self.packet(kind, &fields, rest, room).map(Some),
        }
    }

    fn describe(&mut self, fields: &[u8; 20]) -> Result<(), CaptureError> {
        let (link, snap) = (self.order.u16(fields), self.order.u32(&fields[4..]));
        let Format::Pcapng(interfaces) = &mut self.format else { return Ok(()) };
        if interfaces.len() == MAX_INTERFACES {
            return Err(CaptureError::TooManyInterfaces);
        }
        interfaces.push((u32::from(link) == ETHERNET, if snap == 0 { u32::MAX } else { snap }));
        Ok(())
    }

    /// Reads the rest of a block with a packet: the frame, padding, options, the length once more.
    fn packet(
        &mut self,
        kind: u32,
        fields: &[u8; 20],
        rest: u32,
        room: &mut [u8],
    ) -> Result<Record, CaptureError> {
        let interface = match kind {
            SIMPLE_PACKET => 0,
            OBSOLETE_PACKET => self.order.u16(fields).into(),
            _ => self.order.u32(fields),
        };
        let Format::Pcapng(interfaces) = &self.format else { return Err(CaptureError::Format) };
        let &(ethernet, snap) =
            interfaces.get(interface as usize).ok_or(CaptureError::Interface(interface))?;
        let (captured, original) = match kind {
            SIMPLE_PACKET => {
                let original = self.order.u32(fields);
                (original.min(snap), original)
            }
            _ => (self.order.u32(&fields[12..]), self.order.u32(&fields[16..])),
        };
        let behind = rest.checked_sub(captured).ok_or(CaptureError::Length(captured))?;
        let record = self.frame(captured, ethernet && captured >= original, room)?;
        skip(&mut self.input, behind + 4)?;
        Ok(record)
    }
}

/// The rest of a section header, behind its type: gives the section's order of bytes.
fn section(input: &mut impl Read) -> Result<Order, CaptureError> {
    let length: [u8; 4] = array(input)?;
    let order = Order::of(array(input)?, BYTE_ORDER_MAGIC).ok_or(CaptureError::Format)?;
    let version: [u8; 4] = array(input)?;
    if order.u16(&version) != 1 {
        return Err(CaptureError::Format);
    }
    let length = order.u32(&length);
    // Type, length, magic, version; the length of the section, options and the length once more follow.
    let rest = length.checked_sub(16).filter(|rest| (12..=MAX_BLOCK).contains(rest) && rest % 4 == 0);
    skip(input, rest.ok_or(CaptureError::Length(length))?)?;
    Ok(order)
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The first four bytes of a record; `None` at the end of the file.
fn start(input: &mut impl Read) -> io::Result<Option<[u8; 4]>> {
    let mut bytes = [0; 4];
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(Some(bytes))
}

fn skip(input: &mut impl Read, length: u32) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(length.into()), &mut io::sink())?;
    if skipped == u64::from(length) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The header of a pcap file with timestamps in nanoseconds. `longest` is the longest frame.
pub(crate) fn header(longest: u32) -> Vec<u8> {
    let version = [2u16.to_ne_bytes(), 4u16.to_ne_bytes()].concat();
    let words = [longest.to_ne_bytes(), ETHERNET.to_ne_bytes()].concat();
    [&PCAP_NANOSECONDS.to_ne_bytes()[..], &version, &[0; 8], &words].concat()
}

/// Puts a frame behind what is in `file`. `since` is the time since 1970.
pub(crate) fn frame(file: &mut Vec<u8>, since: Duration, frame: &[&[u8]]) {
    let length = frame.iter().map(|piece| piece.len()).sum::<usize>() as u32;
    // Seconds have 32 bits in pcap, and wrap in 2106.
    for word in [since.as_secs() as u32, since.subsec_nanos(), length, length] {
        file.extend(word.to_ne_bytes());
    }
    frame.iter().for_each(|piece| file.extend(*piece));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], room: usize) -> Result<Vec<Result<Vec<u8>, Record>>, CaptureError> {
        let mut reader = Reader::new(bytes)?;
        let mut room = vec![0; room];
        let mut records = Vec::new();
        loop {
            match reader.next(&mut room)? {
                Record::End => return Ok(records),
                Record::Frame(length) => records.push(Ok(room[..length].to_vec())),
                other => records.push(Err(other)),
            }
        }
    }

    /// A word in the order of the file.
    fn word(big: bool, value: u32) -> [u8; 4] {
        if big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn pcap(big: bool, magic: u32, link: u32, records: &[(u32, &[u8])]) -> Vec<u8> {
        let version = if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        let mut file = [word(big, magic), version, [0; 4], [0; 4]].concat();
        file.extend([word(big, 65535), word(big, link)].concat());
        for (original, frame) in records {
            file.extend([[9; 4], [9; 4], word(big, frame.len() as u32), word(big, *original)].concat());
            file.extend(*frame);
        }
        file
    }

    fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0xee);
        let length = word(big, 12 + body.len() as u32);
        [&word(big, kind)[..], &length, &body, &length].concat()
    }

    fn section_block(big: bool) -> Vec<u8> {
        let version = if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] };
        block(big, 0x0a0d_0d0a, &[&word(big, BYTE_ORDER_MAGIC)[..], &version, &[0xff; 8]].concat())
    }

    fn interface(big: bool, link: u8, snap: u32) -> Vec<u8> {
        let link = if big { [0, link, 0, 0] } else { [link, 0, 0, 0] };
        block(big, 1, &[link, word(big, snap)].concat())
    }

    fn enhanced(big: bool, interface: u32, original: u32, frame: &[u8]) -> Vec<u8> {
        let fields = [interface, 1, 2, frame.len() as u32, original].map(|field| word(big, field));
        block(big, 6, &[&fields.concat(), frame].concat())
    }

    #[test]
    fn frames_of_both_orders_and_both_clocks_are_read() {
        for big in [false, true] {
            for magic in [PCAP_MICROSECONDS, PCAP_NANOSECONDS] {
                let file = pcap(big, magic, 1, &[(3, b"one"), (9, b"cut"), (5, b"twotw"), (6, b"toolon")]);
                let expected = [
                    Ok(b"one".to_vec()),
                    Err(Record::Unusable),
                    Ok(b"twotw".to_vec()),
                    Err(Record::Oversized),
                ];
                assert_eq!(all(&file, 5).unwrap(), expected);
            }
        }
    }

    #[test]
    fn blocks_of_pcapng_are_read_and_those_without_frames_passed_over() {
        for big in [false, true] {
            let file = [
                section_block(big),
                interface(big, 1, 4),
                interface(big, 101, 0),
                block(big, 0x0bad, b"a block of another kind"),
                enhanced(big, 0, 3, b"one"),
                enhanced(big, 1, 3, b"raw"),
                block(big, 3, &[&word(big, 3)[..], b"two"].concat()),
                block(big, 3, &[&word(big, 5)[..], b"thre"].concat()),
                // Another section, with other interfaces and another order.
                section_block(!big),
                interface(!big, 1, 0),
                enhanced(!big, 0, 4, b"four"),
                enhanced(!big, 0, 6, b"toolon"),
            ];
            let expected = [
                Ok(b"one".to_vec()),
                Err(Record::Unusable),
                Ok(b"two".to_vec()),
                Err(Record::Unusable),
                Ok(b"four".to_vec()),
                Err(Record::Oversized),
            ];
            assert_eq!(all(&file.concat(), 5).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_capture_is_named() {
        let refused = |bytes: &[u8]| all(bytes, 100).unwrap_err().to_string();
        assert_eq!(refused(b"GIF89a.."), "it is neither pcap nor pcapng");
        assert_eq!(
            refused(&pcap(false, PCAP_MICROSECONDS, 113, &[])),
            "its link type is 113, and Ethernet is 1"
        );
        let fcs = pcap(true, PCAP_MICROSECONDS, 0x4400_0001, &[]);
        assert_eq!(refused(&fcs), "its link type is 1140850689, and Ethernet is 1");
        let mut long = pcap(false, PCAP_MICROSECONDS, 1, &[(1, b"x")]);
        long[32..36].fill(0xff);
        assert_eq!(refused(&long), "a record of 4294967295 bytes cannot be");
        let unknown = [section_block(false), enhanced(false, 7, 1, b"x")].concat();
        assert_eq!(refused(&unknown), "a packet of interface 7, which was not described");
        let whole = pcap(false, PCAP_MICROSECONDS, 1, &[(3, b"one")]);
        assert!(refused(&whole[..whole.len() - 1]).starts_with("it cannot be read"));
        assert!(refused(&whole[..10]).starts_with("it cannot be read"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = header(9238);
        let since = Duration::from_nanos(1_700_000_000_123_456_789);
        frame(&mut file, since, &[b"in ", b"pieces"]);
        assert_eq!(all(&file, 100).unwrap(), [Ok(b"in pieces".to_vec())]);
        assert_eq!(u32::from_ne_bytes(file[28..32].try_into().unwrap()), 123_456_789);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_broken_file_ends_with_an_error_or_an_end(
            big in any::<bool>(), at in 0usize..200, octets in prop::collection::vec(any::<u8>(), 1..5),
        ) {
            let ng = [section_block(big), interface(big, 1, 0), enhanced(big, 0, 30, &[7; 30])].concat();
            let old = pcap(big, PCAP_MICROSECONDS, 1, &[(30, &[7; 30]), (30, &[8; 30])]);
            for mut file in [ng, old] {
                for (place, octet) in file.iter_mut().skip(at).zip(&octets) {
                    *place = *octet;
                }
                // Whatever it comes to, it comes to an end.
                prop_assert!(all(&file, 64).map_or(true, |records| records.len() < 100));
            }
        }
    }
}
