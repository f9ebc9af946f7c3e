//! Streams: what is written is read, here and elsewhere, and nothing else is.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};

use nic_image_formats::bfb::{self, Header, Image, ReadError, Reader, WriteError};
use proptest::prelude::*;

use crate::{default_bfb, found, id, image, read_bfb, stream, version};

type Payloads = BTreeMap<(u8, u8), Vec<u8>>;
/// In the order of a stream.
type Row = Vec<((u8, u8), Vec<u8>)>;

fn payloads() -> impl Strategy<Value = Payloads> {
    let bytes = prop::collection::vec(any::<u8>(), 0..100);
    prop::collection::btree_map((0..=63_u8, 0..=15_u8), bytes, 1..12)
}

fn images(payloads: &Payloads) -> Vec<Image<'_>> {
    payloads.iter().map(|(&(number, of), bytes)| image(number, of, bytes)).collect()
}

/// All that our reader finds, in its order.
fn read(bytes: &[u8]) -> Result<(Row, Vec<u8>), ReadError> {
    let mut reader = Reader::new(bytes);
    let mut payloads = Row::new();
    while let Some(header) = reader.next_image()? {
        let mut payload = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match reader.read_image(&mut buffer)? {
                0 => break,
                read => payload.extend_from_slice(&buffer[..read]),
            }
        }
        payloads.push(((header.id.number(), header.version.number()), payload));
    }
    Ok((payloads, reader.trailer()?))
}

/// The bytes of an image with the zeros behind it, as its CRC has them.
fn padded((_, bytes): &((u8, u8), Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.clone();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read(payloads in payloads(), bf_cfg in "[ -~\n]{0,40}") {
        let bytes = stream(images(&payloads), bf_cfg.as_bytes());
        let (again, trailer) = read(&bytes).expect("a sound stream");
        prop_assert_eq!(again.into_iter().collect::<Payloads>(), payloads);
        prop_assert_eq!(trailer, bf_cfg.as_bytes());
    }

    #[test]
    fn no_byte_of_an_image_changes_without_notice(
        payloads in payloads(),
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let sound = stream(images(&payloads), b"");
        let mut bytes = sound.clone();
        bytes[at.index(sound.len())] ^= 1 << bit;
        // Headers have no checksum: what an image is for may change, and how many of the zeros at its end are
        // its own, which is what manifests are for.
        if let Ok((again, trailer)) = read(&bytes) {
            let before = read(&sound).expect("a sound stream").0;
            prop_assert!(again.iter().map(padded).eq(before.iter().map(padded)));
            prop_assert!(trailer.is_empty());
        }
    }

    #[test]
    fn a_stream_that_was_cut_is_refused(payloads in payloads(), at: prop::sample::Index) {
        let bytes = stream(images(&payloads), b"");
        let cut = at.index(bytes.len());
        prop_assert!(read(&bytes[..cut]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_reader_of_another_hand_finds_the_same(payloads in payloads()) {
        let bytes = stream(images(&payloads), b"NAME=value\n");
        let there: Payloads = found(&bytes)
            .into_iter()
            .map(|(number, of, payload)| ((number as u8, of as u8), payload))
            .collect();
        prop_assert_eq!(there, payloads);
    }
}

#[test]
fn images_stand_in_the_order_in_which_a_card_wants_them() {
    let images =
        [(63, 0), (62, 0), (50, 0), (59, 2), (59, 0), (1, 1), (1, 0), (6, 0), (36, 2), (51, 0), (20, 0)];
    let images = images.into_iter().map(|(number, of)| image(number, of, b"x")).collect();
    let order: Vec<(u64, u64)> =
        found(&stream(images, b"")).into_iter().map(|(number, of, _)| (number, of)).collect();
    let wanted =
        [(36, 2), (6, 0), (1, 0), (1, 1), (59, 0), (59, 2), (50, 0), (62, 0), (63, 0), (51, 0), (20, 0)];
    assert_eq!(order, wanted);
}

#[test]
fn bf_cfg_stands_behind_the_last_image_as_it_is() {
    let text = b"ubuntu_PASSWORD=none\nNIC_HOSTNAME=card-7\n";
    let bytes = stream(vec![image(62, 0, b"kernel")], text);
    assert!(bytes.ends_with(text));
    assert_eq!(crate::unhex(read_bfb(&bytes)["trailer"].as_str().expect("text")), text);
    assert_eq!(read(&bytes).expect("sound").1, text);
}

#[test]
fn each_fault_of_a_stream_has_its_name() {
    let sound = default_bfb();
    let told = |bytes: &[u8]| read(bytes).expect_err("a fault").to_string();
    let with = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        told(&bytes)
    };
    assert!(told(b"").contains("it is empty"));
    assert!(told(b"\xd0\x0d\xfe\xed and more").contains("a device tree"));
    assert!(told(&[0; 4096]).contains("zeroes"));
    assert!(with(4, 0x22).contains("at byte 0"), "{}", with(4, 0x22));
    let damaged = with(Header::SIZE + 3, b'!');
    assert!(damaged.starts_with("image 6 (bl2-cert) v0 is damaged"), "{damaged}");
    assert!(with(16, sound[16] ^ 0x80).contains("announces"), "{}", with(16, sound[16] ^ 0x80));
    let short = told(&sound[..sound.len() - 8]);
    assert!(short.starts_with("it ends within image 59 (boot-args) v2"), "{short}");
    assert!(told(&sound[..Header::SIZE + 24]).contains("images were to follow"));
    assert!(told(&sound[..Header::SIZE + 30]).contains("within the header"));
    assert!(told(&[&*sound, &*sound].concat()).contains("behind the last"));
    let long = vec![b'#'; bfb::MAX_TRAILER + 1];
    assert!(matches!(read(&[&*sound, &*long].concat()), Err(ReadError::Trailer)));
}

#[test]
fn the_same_image_twice_is_refused_by_both() {
    let twice = vec![image(62, 0, b"a"), image(62, 0, b"b")];
    assert!(matches!(bfb::write(twice, b"", &mut Vec::new()), Err(WriteError::Twice { .. })));
    let mut bytes = stream(vec![image(61, 0, b"a"), image(62, 0, b"b")], b"");
    bytes[7] = 62;
    assert!(matches!(read(&bytes), Err(ReadError::Twice { .. })));
}

#[test]
fn what_has_no_place_in_a_stream_is_refused_and_nothing_is_written() {
    let mut out = Vec::new();
    assert!(matches!(bfb::write(Vec::new(), b"", &mut out), Err(WriteError::Empty)));
    let long = vec![b'#'; bfb::MAX_TRAILER + 1];
    let refused = bfb::write(vec![image(62, 0, b"a")], &long, &mut out);
    assert!(matches!(refused, Err(WriteError::Trailer(_))));
    assert!(out.is_empty());
}

/// Zeroes without end in sight, and what lies behind the room of a header.
struct Huge {
    length: u64,
    at: u64,
}

impl Read for Huge {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = (self.length - self.at).min(buffer.len() as u64) as usize;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Huge {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        assert_eq!(to, SeekFrom::Start(0));
        self.at = 0;
        Ok(0)
    }
}

/// Grows whenever it is read anew.
struct Growing(Cursor<Vec<u8>>);

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Growing {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.get_mut().push(0);
        self.0.seek(to)
    }
}

#[test]
fn an_image_that_changes_while_it_is_read_is_noticed() {
    let source = Box::new(Growing(Cursor::new(vec![1; 10])));
    let images = vec![Image { id: id(62), version: version(0), source }];
    let refused = bfb::write(images, b"", &mut Vec::new());
    assert!(matches!(refused, Err(WriteError::Changed(_))), "{refused:?}");
}

#[test]
fn a_long_image_is_never_held_whole() {
    let length = 40 * 1024 * 1024;
    let source = Box::new(Huge { length, at: 0 });
    let images = vec![Image { id: id(63), version: version(0), source }];
    let mut counted = Counting(0);
    let written = bfb::write(images, b"", &mut counted).expect("a stream");
    assert_eq!((written, counted.0), (length + Header::SIZE as u64, written));
}

struct Counting(u64);

impl std::io::Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        assert!(bytes.len() <= 64 * 1024, "{} bytes at once", bytes.len());
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
