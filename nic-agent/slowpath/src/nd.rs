//! Neighbour solicitation and advertisement (RFC 4861 sections 4.3, 4.4 and 7.1).

use core::net::{IpAddr, Ipv6Addr};

use nic_flow::MacAddr;
use nic_flow::seam::ChecksumState;
use nic_wire::checksum::Pseudo;
use nic_wire::icmpv6::{AdvertFlags, Packet, Repr};
use nic_wire::{EtherType, IpProto, ipv6};

use crate::discovery::{Answer, Message, OwnFrame, envelope};

/// Every node on the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The hop limit of what no router has forwarded.
const HOP_LIMIT: u8 = 255;

/// What the message in an IPv6 packet says, if the packet is as RFC 4861 section 7.1 wants it.
pub(crate) fn parse(packet: &[u8], checksum: ChecksumState) -> Option<Message> {
    let ip = ipv6::Packet::new_checked(packet).ok()?;
    if ip.hop_limit() != HOP_LIMIT || ip.next_header() != IpProto::ICMPV6 {
        return None;
    }
    let (src, dst) = (ip.src(), ip.dst());
    let icmp = Packet::new_checked(ip.payload()).ok()?;
    let complete = checksum == ChecksumState::Complete;
    if icmp.code() != 0 || (complete && !icmp.verify_checksum(Pseudo::V6 { src, dst })) {
        return None;
    }
    let usable = |mac: &MacAddr| mac.is_unicast() && !mac.is_zero();
    match Repr::parse(&icmp).ok()? {
        Repr::NeighborSolicit { target, link } => {
            let nameless = src.is_unspecified();
            // Who asks without an address asks everybody who may have it, and does not say where it is.
            let unsound = nameless && (link.is_some() || dst != solicited_node(target));
            if target.is_multicast() || unsound || link.is_some_and(|mac| !usable(&mac)) {
                return None;
            }
            let sender = (!nameless).then_some(IpAddr::V6(src));
            Some(Message::Request { sender, mac: link, target: target.into() })
        }
        Repr::NeighborAdvert { flags, target, link } => {
            let unsound = flags.solicited && dst.is_multicast();
            if target.is_multicast() || unsound || link.is_some_and(|mac| !usable(&mac)) {
                return None;
            }
            let AdvertFlags { router, solicited, replace } = flags;
            Some(Message::Answer(Answer { address: target.into(), mac: link, solicited, replace, router }))
        }
        _ => None,
    }
}

/// Asks those who may have the address, or one.
pub(crate) fn request(
    tags: &[u8],
    mac: MacAddr,
    from: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<MacAddr>,
) -> Option<OwnFrame> {
    let group = solicited_node(target);
    let (to_mac, to) = to.map_or((multicast_mac(group), group), |mac| (mac, target));
    let message = Repr::NeighborSolicit { target, link: Some(mac) };
    emit(tags, (to_mac, to), (mac, from), &message)
}

/// Tells one, or, if who asked has no address, every node.
pub(crate) fn answer(
    tags: &[u8],
    answer: &Answer,
    mac: MacAddr,
    to_mac: MacAddr,
    to: Option<Ipv6Addr>,
) -> Option<OwnFrame> {
    let IpAddr::V6(target) = answer.address else { return None };
    let (to_mac, to) = to.map_or((multicast_mac(ALL_NODES), ALL_NODES), |to| (to_mac, to));
    let solicited = answer.solicited && !to.is_multicast();
    let flags = AdvertFlags { router: answer.router, solicited, replace: answer.replace };
    emit(tags, (to_mac, to), (mac, target), &Repr::NeighborAdvert { flags, target, link: Some(mac) })
}

/// The group that has every node with such an address (RFC 4291 section 2.7.1).
pub(crate) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The hardware address of a group (RFC 2464 section 7).
pub(crate) const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

fn emit(
    tags: &[u8],
    (to_mac, dst): (MacAddr, Ipv6Addr),
    (mac, src): (MacAddr, Ipv6Addr),
    message: &Repr<'_>,
) -> Option<OwnFrame> {
    let length = message.buffer_len();
    let (mut frame, start) = envelope(to_mac, mac, tags, EtherType::IPV6, ipv6::HEADER_LEN + length)?;
    let header = ipv6::Repr {
        src,
        dst,
        next_header: IpProto::ICMPV6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(length).ok()?,
    };
    header.emit(&mut ipv6::Packet::new_unchecked(&mut frame[start..]));
    let payload = &mut frame[start + ipv6::HEADER_LEN..];
    message.emit(&mut Packet::new_unchecked(payload), Pseudo::V6 { src, dst });
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    fn solicitation() -> OwnFrame {
        request(&[], A, address("fd00::1"), address("fd00::12:3456"), None).expect("a frame")
    }

    /// Changes the IPv6 packet of a solicitation, and rights the checksum.
    fn changed(change: impl Fn(&mut [u8])) -> Option<Message> {
        let mut frame = solicitation();
        let packet = &mut frame[14..];
        change(packet);
        let ip = ipv6::Packet::new_unchecked(&packet[..]);
        let pseudo = Pseudo::V6 { src: ip.src(), dst: ip.dst() };
        Packet::new_unchecked(&mut packet[40..]).fill_checksum(pseudo);
        parse(packet, ChecksumState::Complete)
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target() {
        let frame = solicitation();
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let ip = ipv6::Packet::new_unchecked(&frame[14..]);
        assert_eq!((ip.dst(), ip.hop_limit()), (address("ff02::1:ff12:3456"), 255));
        // The option that says where the sender is (RFC 4861 section 4.6.1).
        assert_eq!(frame[14 + 40 + 24..], [1, 1, 2, 0, 0, 0, 0, 0xa]);
    }

    #[test]
    fn a_message_from_beyond_a_router_or_with_damage_says_nothing() {
        assert!(changed(|_| ()).is_some());
        assert_eq!(changed(|packet| packet[7] = 254), None, "hop limit");
        assert_eq!(changed(|packet| packet[41] = 1), None, "code");
        assert_eq!(changed(|packet| packet[65] = 0), None, "an option of no length");
        assert_eq!(changed(|packet| packet[66] = 1), None, "a group as a hardware address");
        assert_eq!(changed(|packet| packet[48] = 0xff), None, "a group as a target");
        assert_eq!(changed(|packet| packet[8..24].fill(0)), None, "an address of a sender without one");
        let mut frame = solicitation();
        frame[14 + 42] ^= 1;
        assert_eq!(parse(&frame[14..], ChecksumState::Complete), None, "checksum");
        assert!(parse(&frame[14..], ChecksumState::Partial).is_some(), "who completes it comes later");
    }

    #[test]
    fn who_has_no_address_is_told_by_telling_everybody() {
        let told = Answer {
            address: address("fd00::2").into(),
            mac: Some(B),
            solicited: true,
            replace: true,
            router: false,
        };
        let frame = answer(&[], &told, B, A, None).expect("a frame");
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        let heard = parse(&frame[14..], ChecksumState::Complete);
        assert_eq!(heard, Some(Message::Answer(Answer { solicited: false, ..told })));
    }
}
