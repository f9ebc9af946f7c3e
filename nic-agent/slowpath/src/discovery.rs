//! ARP and neighbour discovery as one: who asks for whose hardware address, and who has it.
//!
//! [`arp`] and [`nd`] know the messages; this knows where in a frame they are.

use core::net::IpAddr;

use nic_flow::MacAddr;
use nic_flow::seam::ChecksumState;
use nic_wire::{EtherType, ethernet, vlan};

use crate::{arp, nd};

/// The longest frame of the agent's own: Ethernet, two tags, IPv6, a neighbour message with an option.
const LONGEST: usize = ethernet::HEADER_LEN + 2 * vlan::HEADER_LEN + 40 + 32;

/// A frame of the agent's own.
pub(crate) type OwnFrame = heapless::Vec<u8, LONGEST>;

/// A message in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard<'a> {
    pub(crate) eth_dst: MacAddr,
    pub(crate) eth_src: MacAddr,
    /// The VLAN tags in front of it, as they stand in the frame.
    pub(crate) tags: &'a [u8],
    pub(crate) message: Message,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Who has the target?
    Request {
        /// Who asks; `None` if it has no address yet.
        sender: Option<IpAddr>,
        /// Its hardware address, if it says so.
        mac: Option<MacAddr>,
        target: IpAddr,
    },
    /// Who has the address is told.
    Answer(Answer),
}

/// An answer, or a claim that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) address: IpAddr,
    pub(crate) mac: Option<MacAddr>,
    /// It says that it was asked for.
    pub(crate) solicited: bool,
    /// It is to replace what is known.
    pub(crate) replace: bool,
    /// It says that it is a router. ARP does not.
    pub(crate) router: bool,
}

/// The message in a frame, if there is a sound one.
pub(crate) fn parse(frame: &[u8], checksum: ChecksumState) -> Option<Heard<'_>> {
    let ethernet = ethernet::Packet::new_checked(frame).ok()?;
    let (eth_dst, eth_src) = (ethernet.dst(), ethernet.src());
    let mut ethertype = ethernet.ethertype();
    let mut rest = ethernet::HEADER_LEN;
    for _ in 0..2 {
        if ethertype.is_vlan() {
            ethertype = vlan::Packet::new_checked(&frame[rest..]).ok()?.ethertype();
            rest += vlan::HEADER_LEN;
        }
    }
    let message = match ethertype {
        EtherType::ARP => arp::parse(&frame[rest..])?,
        EtherType::IPV6 => nd::parse(&frame[rest..], checksum)?,
        _ => return None,
    };
    // The EtherType of what follows stands last: the tags lie between the addresses and it.
    Some(Heard { eth_dst, eth_src, tags: &frame[12..rest - 2], message })
}

/// Asks for an address: everybody, or one that is thought to have it.
pub(crate) fn request(
    tags: &[u8],
    mac: MacAddr,
    from: IpAddr,
    target: IpAddr,
    to: Option<MacAddr>,
) -> Option<OwnFrame> {
    match (from, target) {
        (IpAddr::V4(from), IpAddr::V4(target)) => arp::request(tags, mac, from, target, to),
        (IpAddr::V6(from), IpAddr::V6(target)) => nd::request(tags, mac, from, target, to),
        _ => None,
    }
}

/// Tells who asked. `to` is the address it asked from, if it has one.
pub(crate) fn answer(tags: &[u8], answer: &Answer, to_mac: MacAddr, to: Option<IpAddr>) -> Option<OwnFrame> {
    let mac = answer.mac?;
    match (answer.address, to) {
        (IpAddr::V4(address), None) => arp::answer(tags, address, mac, to_mac, [0; 4].into()),
        (IpAddr::V4(address), Some(IpAddr::V4(to))) => arp::answer(tags, address, mac, to_mac, to),
        (IpAddr::V6(_), None) => nd::answer(tags, answer, mac, to_mac, None),
        (IpAddr::V6(_), Some(IpAddr::V6(to))) => nd::answer(tags, answer, mac, to_mac, Some(to)),
        _ => None,
    }
}

/// Tells everybody, without being asked.
pub(crate) fn announce(tags: &[u8], address: IpAddr, mac: MacAddr) -> Option<OwnFrame> {
    match address {
        IpAddr::V4(address) => arp::announce(tags, address, mac),
        IpAddr::V6(address) => {
            let claim = Answer {
                address: address.into(),
                mac: Some(mac),
                solicited: false,
                replace: true,
                router: false,
            };
            nd::answer(tags, &claim, mac, nd::multicast_mac(nd::ALL_NODES), None)
        }
    }
}

/// A tag as it stands in a frame; no octets for none.
pub(crate) fn tag(vid: Option<u16>) -> heapless::Vec<u8, 4> {
    let mut tag = heapless::Vec::new();
    if let Some(vid) = vid {
        let [t0, t1] = EtherType::VLAN.0.to_be_bytes();
        let [v0, v1] = vid.to_be_bytes();
        let _ = tag.extend_from_slice(&[t0, t1, v0, v1]);
    }
    tag
}

/// A frame with room for `payload` octets behind its header, and where they begin.
pub(crate) fn envelope(
    dst: MacAddr,
    src: MacAddr,
    tags: &[u8],
    ethertype: EtherType,
    payload: usize,
) -> Option<(OwnFrame, usize)> {
    let mut frame = OwnFrame::new();
    frame.extend_from_slice(&dst.0).ok()?;
    frame.extend_from_slice(&src.0).ok()?;
    frame.extend_from_slice(tags).ok()?;
    frame.extend_from_slice(&ethertype.0.to_be_bytes()).ok()?;
    let start = frame.len();
    frame.resize(start + payload, 0).ok()?;
    Some((frame, start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

    fn heard(frame: &OwnFrame) -> Heard<'_> {
        parse(frame, ChecksumState::Complete).expect("a sound message")
    }

    fn pair(ipv6: bool) -> (IpAddr, IpAddr) {
        if ipv6 {
            ("fd00::1".parse().expect("an address"), "fd00::12:3456".parse().expect("an address"))
        } else {
            ([192, 0, 2, 1].into(), [192, 0, 2, 2].into())
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), ipv6: bool, at in 0usize..100, value: u8) {
            let _ = parse(&bytes, ChecksumState::Complete);
            // Nor does a sound message with one octet changed or its end cut off.
            let (from, target) = pair(ipv6);
            let mut frame = request(&tag(Some(7)), A, from, target, None).expect("one family");
            let at = at % frame.len();
            frame[at] = value;
            let _ = parse(&frame, ChecksumState::Complete);
            let _ = parse(&frame[..at], ChecksumState::Complete);
        }
    }

    #[test]
    fn what_is_asked_and_answered_is_heard_with_its_tag() {
        for ipv6 in [false, true] {
            let (from, target) = pair(ipv6);
            for (vid, to) in [(None, None), (Some(9), Some(B))] {
                let tags = tag(vid);
                let frame = request(&tags, A, from, target, to).expect("one family");
                let heard = heard(&frame);
                assert_eq!((heard.eth_src, heard.tags), (A, &tags[..]));
                assert_eq!(heard.eth_dst.is_multicast(), to.is_none());
                let expected = Message::Request { sender: Some(from), mac: Some(A), target };
                assert_eq!(heard.message, expected);
            }
            let told =
                Answer { address: target, mac: Some(B), solicited: true, replace: true, router: false };
            let frame = answer(&tag(Some(9)), &told, A, Some(from)).expect("one family");
            assert_eq!(heard(&frame).eth_dst, A);
            assert_eq!(heard(&frame).message, Message::Answer(told));
        }
    }

    #[test]
    fn an_announcement_goes_to_everybody_and_says_that_nobody_asked() {
        for ipv6 in [false, true] {
            let (address, _) = pair(ipv6);
            let frame = announce(&[], address, A).expect("a frame");
            let heard = heard(&frame);
            assert!(heard.eth_dst.is_multicast());
            let expected = Answer { address, mac: Some(A), solicited: false, replace: true, router: false };
            assert_eq!(heard.message, Message::Answer(expected));
        }
    }

    #[test]
    fn families_are_not_mixed() {
        let (v4, v6) = (pair(false).0, pair(true).0);
        assert_eq!(request(&[], A, v4, v6, None), None);
        let told = Answer { address: v6, mac: Some(B), solicited: true, replace: true, router: false };
        assert_eq!(answer(&[], &told, A, Some(v4)), None);
    }
}
