//! The exception port: a tap device by which the card's own kernel is reached through an uplink.
//!
//! What belongs to it the pipeline decides, before any policy; here its frames are read and written, so many
//! a second. Frames that the kernel sends beyond that wait in the kernel's queue; those that come for it are
//! given back, and dropped and counted by whoever wanted to send them.

use std::fs::{self, File};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dpdk::Mempool;
use dpdk::tap::{self, TapError};
use nic_flow::execute::complete_checksum;
use nic_flow::port::ParsePortError;
use nic_flow::seam::{BURST, Burst, ChecksumState, PacketBuf};
use nic_flow::{MacAddr, PortId};
use nic_policy::{Device, Management};

use crate::io::Packet;
use crate::ports::{self, Started};

/// Two MAC addresses: what stands before a tag.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
/// 802.1Q's.
const TPID: [u8; 2] = [0x81, 0x00];
/// The longest frame of the kernel's, without a tag.
const MAX_FRAME: usize = 16_384;
/// The kernel is not asked again so soon after it had nothing: each time is a system call, and the worker
/// comes by as often as it can.
const QUIET: Duration = Duration::from_micros(20);
/// Frames a second in each direction, if nothing else is said.
const DEFAULT_RATE: u32 = 20_000;

/// What is wanted, in words as `p0,name=mgmt0,mac=02:00:00:00:00:01,vlan=7,rate=20000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    uplink: PortId,
    name: String,
    mac: Option<MacAddr>,
    vlan: Option<u16>,
    rate: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Port(#[from] ParsePortError),
    #[error("{0} is not an uplink")]
    NotUplink(PortId),
    #[error("{0:?} is none of name=, mac=, vlan= and rate=")]
    Word(String),
    #[error("name= is the name of an interface, of at most 15 characters")]
    Name,
    #[error("mac= is the address of one station, and not zero")]
    Mac,
    #[error("vlan= is 1 to 4094")]
    Vlan,
    #[error("rate= is 100 to 10000000 frames a second")]
    Rate,
}

impl Settings {
    /// Reads the words.
    pub(crate) fn parse(text: &str) -> Result<Settings, SettingsError> {
        let mut words = text.split(',');
        let uplink: PortId = words.next().unwrap_or_default().parse()?;
        if !uplink.is_uplink() {
            return Err(SettingsError::NotUplink(uplink));
        }
        let mut settings =
            Settings { uplink, name: "mgmt0".to_owned(), mac: None, vlan: None, rate: DEFAULT_RATE };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| SettingsError::Word(word.to_owned()))?;
            match key {
                "name" => settings.name = name(value).ok_or(SettingsError::Name)?,
                "mac" => settings.mac = Some(station(value).ok_or(SettingsError::Mac)?),
                "vlan" => settings.vlan = Some(within(value, 1..=4094).ok_or(SettingsError::Vlan)? as u16),
                "rate" => settings.rate = within(value, 100..=10_000_000).ok_or(SettingsError::Rate)?,
                _ => return Err(SettingsError::Word(word.to_owned())),
            }
        }
        Ok(settings)
    }
}

fn name(text: &str) -> Option<String> {
    let possible = (1..=15).contains(&text.len()) && !text.contains(['/', '%', ' ']);
    possible.then(|| text.to_owned())
}

fn station(text: &str) -> Option<MacAddr> {
    text.parse().ok().filter(|mac: &MacAddr| mac.is_unicast() && !mac.is_zero())
}

fn within(text: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// Why the card's management is not reached in band.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("--management names {0}, and the E-Switch has no such port")]
    NoPort(PortId),
    #[error("--management: {0}")]
    Tap(#[from] TapError),
}

/// The exception port, for the worker.
pub(crate) struct Exception {
    tap: File,
    vlan: Option<u16>,
    incoming: Bucket,
    outgoing: Bucket,
    /// When the kernel is asked again, if it had nothing.
    quiet: Option<Instant>,
    /// Room for a frame, behind room for a tag.
    frame: Box<[u8]>,
    lost: Arc<AtomicU64>,
}

/// What the control thread knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    name: String,
    mac: MacAddr,
    /// Frames of the kernel's for which there was no buffer.
    pub(crate) lost: Arc<AtomicU64>,
}

/// Makes the exception port to one of these ports.
pub(crate) fn open(
    settings: &Settings,
    started: &[Started],
) -> Result<(Management, Exception, Seen), OpenError> {
    let &Settings { uplink, ref name, mac, vlan, rate } = settings;
    let port = started.iter().find(|port| port.id == uplink).ok_or(OpenError::NoPort(uplink))?;
    let mac = mac.unwrap_or_else(|| beside(ports::device(uplink, &port.port).mac));
    let tap = tap::open(name, mac.octets())?;
    tracing::info!(%uplink, interface = name, %mac, vlan, rate, "the card's management is in band");
    let lost = Arc::new(AtomicU64::new(0));
    let exception = Exception {
        tap,
        vlan,
        incoming: Bucket::new(rate),
        outgoing: Bucket::new(rate),
        quiet: None,
        frame: vec![0; TAG + MAX_FRAME].into_boxed_slice(),
        lost: Arc::clone(&lost),
    };
    Ok((Management { uplink, mac, vlan }, exception, Seen { name: name.clone(), mac, lost }))
}

/// The address of a station beside the one with this address: locally administered, and always the same.
fn beside(mac: MacAddr) -> MacAddr {
    let mut octets = mac.octets();
    // A local address is not made another by being made local.
    octets[0] = if mac.is_local() { octets[0] ^ 0x04 } else { octets[0] | 0x02 };
    MacAddr(octets)
}

impl Exception {
    /// Readable when the kernel has sent something.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    /// Receives what the kernel sent, up to a burst, and no more than its rate.
    pub(crate) fn receive(&mut self, pool: &Mempool, burst: &mut Burst<Packet>) {
        let now = Instant::now();
        if self.quiet.is_some_and(|until| now < until) {
            return;
        }
        for _ in 0..BURST {
            if burst.is_full() || !self.incoming.has(now) {
                return;
            }
            // A tap device that is down, or gone, has nothing either.
            let Ok(length) = self.tap.read(&mut self.frame[TAG..]) else {
                self.quiet = Some(now + QUIET);
                return;
            };
            self.incoming.take();
            match pool.packet(tagged(&mut self.frame, length, self.vlan)) {
                // The room was looked at above.
                Some(mbuf) => drop(burst.push(Packet::own(mbuf))),
                None => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Gives frames to the kernel. Those that it does not take, or that are beyond their rate, stay.
    pub(crate) fn send(&mut self, burst: &mut Burst<Packet>) -> usize {
        let (now, all) = (Instant::now(), burst.len());
        let mut left = Burst::new();
        for mut packet in core::mem::take(burst) {
            let taken = left.is_empty() && self.outgoing.has(now) && self.give(&mut packet);
            if !taken {
                // As many as came, at most.
                let _ = left.push(packet);
            }
        }
        *burst = left;
        all - burst.len()
    }

    fn give(&mut self, packet: &mut Packet) -> bool {
        self.outgoing.take();
        if packet.checksum() == ChecksumState::Partial {
            complete_checksum(packet.data_mut());
            packet.set_checksum_complete();
        }
        let parts = untagged(packet.data(), self.vlan).map(IoSlice::new);
        self.tap.write_vectored(&parts).is_ok()
    }
}

/// The frame that was read behind the room for a tag, with its tag if it gets one.
fn tagged(frame: &mut [u8], length: usize, vlan: Option<u16>) -> &[u8] {
    let end = (TAG + length).min(frame.len());
    match vlan {
        Some(vid) if length >= ADDRESSES => {
            frame.copy_within(TAG..TAG + ADDRESSES, 0);
            frame[ADDRESSES..ADDRESSES + 2].copy_from_slice(&TPID);
            frame[ADDRESSES + 2..ADDRESSES + TAG].copy_from_slice(&vid.to_be_bytes());
            &frame[..end]
        }
        _ => &frame[TAG..end],
    }
}

/// The parts of a frame without its tag. In a VLAN, only frames with one come here.
fn untagged(frame: &[u8], vlan: Option<u16>) -> [&[u8]; 2] {
    match (vlan, frame.split_at_checked(ADDRESSES)) {
        (Some(_), Some((addresses, rest))) => [addresses, rest.get(TAG..).unwrap_or_default()],
        _ => [frame, &[]],
    }
}

impl Seen {
    /// What is told about it.
    pub(crate) fn device(&self) -> Device {
        let told = |of: &str| fs::read_to_string(format!("/sys/class/net/{}/{of}", self.name)).ok();
        let mtu = told("mtu").and_then(|mtu| mtu.trim().parse().ok()).unwrap_or(0);
        // An interface that is down tells nothing of its carrier.
        let link_up = told("carrier").is_some_and(|carrier| carrier.trim() == "1");
        Device { port: PortId::MANAGEMENT, link_up, mtu, mac: self.mac }
    }
}

/// So many frames a second, and a tenth of a second's at once.
struct Bucket {
    rate: u32,
    /// Billionths of a frame.
    left: u64,
    at: Option<Instant>,
}

impl Bucket {
    const FRAME: u64 = 1_000_000_000;

    const fn new(rate: u32) -> Bucket {
        Bucket { rate, left: 0, at: None }
    }

    /// Whether there is one.
    fn has(&mut self, now: Instant) -> bool {
        let full = u64::from(self.rate) * Self::FRAME / 10;
        let since = self.at.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.left = nanos.saturating_mul(self.rate.into()).saturating_add(self.left).min(full);
        self.left >= Self::FRAME
    }

    /// Takes it.
    const fn take(&mut self) {
        self.left = self.left.saturating_sub(Self::FRAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_of_one_uplink_and_each_may_be_left_out() {
        let plain = Settings::parse("p0").expect("an uplink is enough");
        assert_eq!((plain.name.as_str(), plain.mac, plain.vlan, plain.rate), ("mgmt0", None, None, 20_000));
        let all =
            Settings::parse("p1,rate=500,vlan=4094,mac=02:00:00:00:00:07,name=oob9").expect("all words");
        assert_eq!(all.mac, Some(MacAddr([2, 0, 0, 0, 0, 7])));
        assert_eq!((all.uplink.to_string().as_str(), all.name.as_str()), ("p1", "oob9"));
        assert_eq!((all.vlan, all.rate), (Some(4094), 500));
    }

    #[test]
    fn each_word_that_is_wrong_is_named() {
        for (text, why) in [
            ("", "a device is named like p0, pf0hpf or pf0vf3"),
            ("pf0vf1", "pf0vf1 is not an uplink"),
            ("mgmt", "mgmt is not an uplink"),
            ("p0,mac", "\"mac\" is none of name=, mac=, vlan= and rate="),
            ("p0,mtu=9", "\"mtu=9\" is none of name=, mac=, vlan= and rate="),
            ("p0,name=", "name= is the name of an interface, of at most 15 characters"),
            ("p0,name=a/b", "name= is the name of an interface, of at most 15 characters"),
            ("p0,mac=01:00:00:00:00:01", "mac= is the address of one station, and not zero"),
            ("p0,mac=00:00:00:00:00:00", "mac= is the address of one station, and not zero"),
            ("p0,vlan=0", "vlan= is 1 to 4094"),
            ("p0,vlan=4095", "vlan= is 1 to 4094"),
            ("p0,rate=99", "rate= is 100 to 10000000 frames a second"),
        ] {
            assert_eq!(Settings::parse(text).expect_err(text).to_string(), why);
        }
    }

    #[test]
    fn the_address_beside_an_uplinks_is_another_stations() {
        for mac in ["b8:ce:f6:00:00:01", "02:00:00:00:01:01", "06:00:00:00:01:01"] {
            let uplink: MacAddr = mac.parse().expect("an address");
            let own = beside(uplink);
            assert!(own != uplink && own.is_unicast() && own.is_local(), "{own}");
            assert_eq!(own, beside(uplink));
        }
    }

    #[test]
    fn a_frame_gets_its_tag_on_the_way_out_and_loses_it_on_the_way_in() {
        let frame: Vec<u8> = (1..=60).collect();
        let mut buffer = vec![0; TAG];
        buffer.extend(&frame);
        assert_eq!(tagged(&mut buffer.clone(), 60, None), frame);
        let with = tagged(&mut buffer, 60, Some(7)).to_vec();
        assert_eq!(
            (&with[..12], &with[12..16], &with[16..]),
            (&frame[..12], &[0x81, 0, 0, 7][..], &frame[12..])
        );
        assert_eq!(untagged(&with, Some(7)).concat(), frame);
        assert_eq!(untagged(&frame, None).concat(), frame);
        assert_eq!(tagged(&mut [0; 9], 5, Some(7)), [0; 5], "what has no addresses gets no tag");
    }

    #[test]
    fn no_more_frames_pass_than_the_rate_and_a_tenth_of_a_second_at_once() {
        let mut bucket = Bucket::new(1000);
        let start = Instant::now();
        let mut passed = |at: u64| {
            let now = start + Duration::from_millis(at);
            let mut frames = 0;
            while bucket.has(now) {
                bucket.take();
                frames += 1;
            }
            frames
        };
        assert_eq!([0, 0, 10, 11, 500, 500].map(&mut passed), [100, 0, 10, 1, 100, 0]);
    }
}
