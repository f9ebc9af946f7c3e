//! ARP (RFC 826), with requests and announcements as RFC 5227 has them.

use core::net::Ipv4Addr;

use nic_flow::MacAddr;
use nic_wire::arp::{HEADER_LEN, Operation, Packet, Repr};
use nic_wire::{EtherType, ethernet};

use crate::discovery::{Answer, Message, OwnFrame, envelope};

/// What the ARP message says.
pub(crate) fn parse(message: &[u8]) -> Option<Message> {
    let arp = Repr::parse(&Packet::new_checked(message).ok()?).ok()?;
    if !arp.sender_mac.is_unicast() || arp.sender_mac.is_zero() {
        return None;
    }
    let gratuitous = arp.sender_ip == arp.target_ip;
    let told = |solicited| {
        let address = arp.sender_ip.into();
        Message::Answer(Answer {
            address,
            mac: Some(arp.sender_mac),
            solicited,
            replace: true,
            router: false,
        })
    };
    match arp.operation {
        Operation::REQUEST if gratuitous => Some(told(false)),
        Operation::REQUEST => {
            // A probe (RFC 5227 section 2.1.1) asks from no address.
            let sender = (!arp.sender_ip.is_unspecified()).then_some(arp.sender_ip.into());
            Some(Message::Request { sender, mac: Some(arp.sender_mac), target: arp.target_ip.into() })
        }
        Operation::REPLY => Some(told(!gratuitous)),
        _ => None,
    }
}

/// Asks everybody, or one.
pub(crate) fn request(
    tags: &[u8],
    mac: MacAddr,
    from: Ipv4Addr,
    target: Ipv4Addr,
    to: Option<MacAddr>,
) -> Option<OwnFrame> {
    let message = Repr {
        operation: Operation::REQUEST,
        sender_mac: mac,
        sender_ip: from,
        target_mac: MacAddr::ZERO,
        target_ip: target,
    };
    emit(tags, to.unwrap_or(MacAddr::BROADCAST), &message)
}

/// Tells one who asked that `address` is at `mac`.
pub(crate) fn answer(
    tags: &[u8],
    address: Ipv4Addr,
    mac: MacAddr,
    to_mac: MacAddr,
    to: Ipv4Addr,
) -> Option<OwnFrame> {
    let message = Repr {
        operation: Operation::REPLY,
        sender_mac: mac,
        sender_ip: address,
        target_mac: to_mac,
        target_ip: to,
    };
    emit(tags, to_mac, &message)
}

/// Tells everybody that `address` is at `mac` (RFC 5227 section 2.3).
pub(crate) fn announce(tags: &[u8], address: Ipv4Addr, mac: MacAddr) -> Option<OwnFrame> {
    request(tags, mac, address, address, None)
}

fn emit(tags: &[u8], to: MacAddr, message: &Repr) -> Option<OwnFrame> {
    let (mut frame, start) = envelope(to, message.sender_mac, tags, EtherType::ARP, HEADER_LEN)?;
    debug_assert!(start >= ethernet::HEADER_LEN);
    message.emit(&mut Packet::new_unchecked(&mut frame[start..]));
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);

    #[test]
    fn a_golden_request_is_built_octet_by_octet() {
        let frame = request(&[0x81, 0, 0, 9], A, [192, 0, 2, 1].into(), [192, 0, 2, 2].into(), None);
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0xa, 0x81, 0, 0, 9, 8,
            6, // Ethernet, tag
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
        ];
        assert_eq!(frame.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn a_probe_has_no_sender_and_a_group_cannot_have_an_address() {
        let probe = request(&[], A, [0; 4].into(), [192, 0, 2, 2].into(), None).expect("a frame");
        let message = parse(&probe[14..]);
        let expected = Message::Request { sender: None, mac: Some(A), target: [192, 0, 2, 2].into() };
        assert_eq!(message, Some(expected));
        for bad in [MacAddr::BROADCAST, MacAddr::ZERO] {
            let claim = announce(&[], [192, 0, 2, 1].into(), bad).expect("a frame");
            assert_eq!(parse(&claim[14..]), None);
        }
    }
}
