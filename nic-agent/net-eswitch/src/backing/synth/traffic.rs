//! What a synthetic source sends: from text to values, and from a sequence number to a frame.
//!
//! A frame is a function of the source's words and of its number, so that two programs under test get
//! the same packets.

use std::fmt;
use std::str::FromStr;

use nic_flow::PortId;
use nic_wire::checksum::checksum;

/// Bytes of a frame, without frame check sequence.
pub(crate) const FRAME: usize = 64;
/// Bytes of the stamp, the last of a frame: magic, source, run, sequence, time.
pub(crate) const STAMP: usize = 22;
/// Packets a second, at most: more do not come out of one thread.
pub(crate) const MAX_RATE: u32 = 10_000_000;
/// Flows that stay, at most.
const MAX_FIXED: u32 = 65_536;

/// What the policy of an explosion of masks speaks of: a source address, a source port and a destination
/// port.
const REFERENCE: (u32, u16, u16) = (0x0a00_0001, 12345, 80);
/// 10.0.0.0/8, to 192.168.0.0/16.
const FROM: u32 = 0x0a00_0000;
const TO: u32 = 0xc0a8_0000;

const MAGIC: u32 = 0x6e65_7379;

/// Ethernet, IPv4 and UDP without checksum; what is 0 is filled in.
const TEMPLATE: [u8; 42] = [
    0x02, 0, 0, 0, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0, 0x08, 0x00, // to, from, IPv4
    0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0, // 50 bytes, don't fragment, UDP
    0, 0, 0, 0, 0, 0, 0, 0, // addresses
    0, 0, 0, 0, 0, 30, 0, 0, // ports, 30 bytes
];

/// Which packets follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flows {
    /// So many 5-tuples in turn.
    Fixed(u32),
    /// Addresses and ports at random.
    Random,
    /// Each field shares a random number of its first bits with [`REFERENCE`], and no more: rules that ask
    /// for those values are told apart by prefixes of every length, in every combination.
    Masks,
}

/// What a source sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Packets a second; 0 for as many as are taken.
    pub(crate) rate: u32,
    pub(crate) flows: Flows,
    pub(crate) seed: u64,
}

/// A word of the text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: words joined by / are needed, of rate:<0 to {MAX_RATE}>, flows:<1 to {MAX_FIXED}>, flows:random or flows:masks, seed:<n>, each at most once"
)]
pub(crate) struct TrafficError(String);

impl FromStr for Traffic {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Traffic, TrafficError> {
        let (mut rate, mut flows, mut seed) = (None, None, None);
        for word in text.split('/') {
            let wrong = || TrafficError(word.into());
            let (name, value) = word.split_once(':').ok_or_else(wrong)?;
            let number = |max: u64| value.parse().ok().filter(|n: &u64| *n <= max).ok_or_else(wrong);
            let twice = match name {
                "rate" => rate.replace(number(MAX_RATE.into())? as u32).is_some(),
                "seed" => seed.replace(number(u64::MAX)?).is_some(),
                "flows" => {
                    let kind = match value {
                        "random" => Flows::Random,
                        "masks" => Flows::Masks,
                        _ => match number(MAX_FIXED.into())? as u32 {
                            0 => return Err(wrong()),
                            n => Flows::Fixed(n),
                        },
                    };
                    flows.replace(kind).is_some()
                }
                _ => return Err(wrong()),
            };
            if twice {
                return Err(wrong());
            }
        }
        Ok(Traffic {
            rate: rate.unwrap_or(0),
            flows: flows.unwrap_or(Flows::Fixed(1)),
            seed: seed.unwrap_or(0),
        })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rate:{}/flows:", self.rate)?;
        match self.flows {
            Flows::Fixed(n) => write!(f, "{n}")?,
            Flows::Random => f.write_str("random")?,
            Flows::Masks => f.write_str("masks")?,
        }
        write!(f, "/seed:{}", self.seed)
    }
}

/// Which packet of which source this is, and when it was due, in nanoseconds of the system's monotonic
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) source: PortId,
    /// Grows with each start of the source, and wraps.
    pub(crate) run: u16,
    /// 48 bits of it are kept.
    pub(crate) sequence: u64,
    pub(crate) due: u64,
}

impl Stamp {
    fn bytes(&self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.source.bits().to_be_bytes());
        bytes[6..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        bytes[14..].copy_from_slice(&self.due.to_be_bytes());
        bytes
    }

    /// The stamp at the end of a frame.
    pub(crate) fn read(bytes: &[u8; STAMP]) -> Option<Stamp> {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
        };
        (number(0..4) == MAGIC.into()).then(|| Stamp {
            source: PortId::from_bits(number(4..6) as u16),
            run: number(6..8) as u16,
            sequence: number(8..14),
            due: number(14..22),
        })
    }
}

impl Traffic {
    /// The frame of a stamp.
    pub(crate) fn frame(&self, stamp: &Stamp) -> [u8; FRAME] {
        let (from, to, source, destination) = self.tuple(stamp.sequence);
        let mut frame = [0; FRAME];
        frame[..TEMPLATE.len()].copy_from_slice(&TEMPLATE);
        frame[10..12].copy_from_slice(&stamp.source.bits().to_be_bytes());
        frame[26..30].copy_from_slice(&from.to_be_bytes());
        frame[30..34].copy_from_slice(&to.to_be_bytes());
        frame[34..36].copy_from_slice(&source.to_be_bytes());
        frame[36..38].copy_from_slice(&destination.to_be_bytes());
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[FRAME - STAMP..].copy_from_slice(&stamp.bytes());
        frame
    }

    /// Addresses and ports, from and to.
    fn tuple(&self, sequence: u64) -> (u32, u32, u16, u16) {
        let mut random = Random(self.seed ^ Random(sequence).next());
        match self.flows {
            Flows::Fixed(n) => {
                let flow = (sequence % u64::from(n)) as u32;
                (FROM | 1 << 16 | flow, TO | 1, 5000, 5001)
            }
            Flows::Random => {
                let (hosts, ports) = (random.next(), random.next());
                let from = FROM | (hosts as u32 & 0x00ff_ffff);
                (from, TO | (hosts >> 48) as u32, ports as u16, (ports >> 16) as u16)
            }
            Flows::Masks => {
                let from = random.near(REFERENCE.0, 32);
                let source = random.near(REFERENCE.1.into(), 16) as u16;
                (from, TO | 1, source, random.near(REFERENCE.2.into(), 16) as u16)
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number of `width` bits that has with `value` a random number of first bits in common, 0 to all of
    /// them, and differs in the next.
    fn near(&mut self, value: u32, width: u32) -> u32 {
        let common = (self.next() % u64::from(width + 1)) as u32;
        let behind = width - common;
        if behind == 0 {
            return value;
        }
        let differing = 1 << (behind - 1);
        let random = self.next() as u32 & (differing - 1);
        (value ^ differing) & !(differing - 1) | random
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nic_flow::Field;
    use nic_flow::extract::extract;
    use proptest::prelude::*;

    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { source: PortId::uplink(0).unwrap(), run: 7, sequence, due: 1 << 60 }
    }

    fn traffic(text: &str) -> Traffic {
        text.parse().unwrap()
    }

    #[test]
    fn words_are_read_in_any_order_and_written_whole() {
        let read = traffic("seed:9/flows:masks");
        assert_eq!(read, Traffic { rate: 0, flows: Flows::Masks, seed: 9 });
        assert_eq!(read.to_string(), "rate:0/flows:masks/seed:9");
        assert_eq!(traffic("rate:10000").to_string(), "rate:10000/flows:1/seed:0");
        for wrong in [
            "",
            "rate",
            "rate:",
            "rate:-1",
            "rate:10000001",
            "rate:1/rate:1",
            "flows:0",
            "flows:65537",
            "flows:all",
            "colour:1",
            "rate:1/",
        ] {
            assert!(wrong.parse::<Traffic>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written(run: u16, sequence in 0u64..1 << 48, due: u64, port: u16) {
            let stamp = Stamp { source: PortId::from_bits(port), run, sequence, due };
            let frame = traffic("flows:random").frame(&stamp);
            prop_assert_eq!(Stamp::read(frame.last_chunk().unwrap()), Some(stamp));
        }

        #[test]
        fn a_number_near_another_differs_right_behind_what_they_share(seed: u64, value: u16) {
            let mut random = Random(seed);
            let common = (Random(seed).next() % 17) as u32;
            let near = random.near(value.into(), 16);
            prop_assert_eq!((near ^ u32::from(value)).leading_zeros(), 16 + common);
        }
    }

    #[test]
    fn frames_are_whole_and_of_as_many_flows_as_were_asked_for() {
        let tuples = |text: &str, packets: u64| {
            let traffic = traffic(text);
            let tuple = |sequence| {
                let frame = traffic.frame(&stamp(sequence));
                let ip = nic_wire::ipv4::Packet::new_checked(&frame[14..]).unwrap();
                assert!(ip.verify_checksum());
                assert_eq!(ip.payload().len(), usize::from(ip.total_len()) - 20);
                let key = extract(&frame, stamp(0).source);
                [Field::IpSrc, Field::IpDst, Field::L4Src, Field::L4Dst].map(|field| key.get(field))
            };
            (0..packets).map(tuple).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(tuples("flows:1", 100), 1);
        assert_eq!(tuples("flows:64", 1000), 64);
        assert_eq!(tuples("flows:random", 10_000), 10_000);
        assert!(tuples("flows:masks", 10_000) > 9_000);
    }

    #[test]
    fn another_seed_makes_other_packets_and_the_same_seed_the_same() {
        let [one, same, other] = ["flows:random", "flows:random/seed:0", "flows:random/seed:1"].map(|text| {
            let traffic = traffic(text);
            traffic.frame(&stamp(3))
        });
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
