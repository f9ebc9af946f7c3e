//! ARP for IPv4 over Ethernet.
//!
//! The view has the addresses where IPv4 over Ethernet puts them; whether the
//! message is of that kind is [`Packet::is_ethernet_ipv4`].

use core::fmt;
use core::net::Ipv4Addr;

use crate::bytes::{array_at, set_array_at, set_u16_at, u16_at};
use crate::error::{WireError, require};
use crate::ethernet::EtherType;
use crate::mac::MacAddr;

mod field {
    pub(super) const HARDWARE: usize = 0;
    pub(super) const PROTOCOL: usize = 2;
    pub(super) const HARDWARE_LEN: usize = 4;
    pub(super) const PROTOCOL_LEN: usize = 5;
    pub(super) const OPERATION: usize = 6;
    pub(super) const SENDER_MAC: usize = 8;
    pub(super) const SENDER_IP: usize = 14;
    pub(super) const TARGET_MAC: usize = 18;
    pub(super) const TARGET_IP: usize = 24;
}

/// Length of a message.
pub const HEADER_LEN: usize = 28;

const HARDWARE_ETHERNET: u16 = 1;

/// What an ARP message asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has its address.
    pub const REPLY: Self = Self(2);
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::REQUEST => f.write_str("request"),
            Self::REPLY => f.write_str("reply"),
            Self(number) => write!(f, "op-{number}"),
        }
    }
}

/// A view of an ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of bytes that nobody has checked.
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Self {
        Self { buffer }
    }

    /// A view of bytes that hold what the header states.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Whether the bytes hold a whole message of IPv4 over Ethernet.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        require(self.buffer.as_ref().len(), HEADER_LEN)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Whether the message is about IPv4 over Ethernet.
    #[inline]
    pub fn is_ethernet_ipv4(&self) -> bool {
        let bytes = self.buffer.as_ref();
        u16_at(bytes, field::HARDWARE) == HARDWARE_ETHERNET
            && u16_at(bytes, field::PROTOCOL) == EtherType::IPV4.0
            && bytes[field::HARDWARE_LEN] == 6
            && bytes[field::PROTOCOL_LEN] == 4
    }

    /// Request, reply, or another operation.
    #[inline]
    pub fn operation(&self) -> Operation {
        Operation(u16_at(self.buffer.as_ref(), field::OPERATION))
    }

    /// Hardware address of the sender.
    #[inline]
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(array_at(self.buffer.as_ref(), field::SENDER_MAC))
    }

    /// IPv4 address of the sender.
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        array_at::<4>(self.buffer.as_ref(), field::SENDER_IP).into()
    }

    /// Hardware address of the target; zero in a request.
    #[inline]
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(array_at(self.buffer.as_ref(), field::TARGET_MAC))
    }

    /// IPv4 address of the target.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        array_at::<4>(self.buffer.as_ref(), field::TARGET_IP).into()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes the four fields that say IPv4 over Ethernet.
    #[inline]
    pub fn set_ethernet_ipv4(&mut self) {
        let bytes = self.buffer.as_mut();
        set_u16_at(bytes, field::HARDWARE, HARDWARE_ETHERNET);
        set_u16_at(bytes, field::PROTOCOL, EtherType::IPV4.0);
        bytes[field::HARDWARE_LEN] = 6;
        bytes[field::PROTOCOL_LEN] = 4;
    }

    /// Sets the operation.
    #[inline]
    pub fn set_operation(&mut self, operation: Operation) {
        set_u16_at(self.buffer.as_mut(), field::OPERATION, operation.0);
    }

    /// Sets the hardware address of the sender.
    #[inline]
    pub fn set_sender_mac(&mut self, mac: MacAddr) {
        set_array_at(self.buffer.as_mut(), field::SENDER_MAC, mac.0);
    }

    /// Sets the IPv4 address of the sender.
    #[inline]
    pub fn set_sender_ip(&mut self, ip: Ipv4Addr) {
        set_array_at(self.buffer.as_mut(), field::SENDER_IP, ip.octets());
    }

    /// Sets the hardware address of the target.
    #[inline]
    pub fn set_target_mac(&mut self, mac: MacAddr) {
        set_array_at(self.buffer.as_mut(), field::TARGET_MAC, mac.0);
    }

    /// Sets the IPv4 address of the target.
    #[inline]
    pub fn set_target_ip(&mut self, ip: Ipv4Addr) {
        set_array_at(self.buffer.as_mut(), field::TARGET_IP, ip.octets());
    }
}

/// An ARP message for IPv4 over Ethernet as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Request, reply, or another operation.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// IPv4 address of the sender.
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Reads a message.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        if !packet.is_ethernet_ipv4() {
            return Err(WireError::NotEthernetIpv4);
        }
        Ok(Self {
            operation: packet.operation(),
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the message.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_ethernet_ipv4();
        packet.set_operation(self.operation);
        packet.set_sender_mac(self.sender_mac);
        packet.set_sender_ip(self.sender_ip);
        packet.set_target_mac(self.target_mac);
        packet.set_target_ip(self.target_ip);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, sender_mac, sender_ip, target_mac, target_ip } = self;
        write!(f, "arp {operation} {sender_ip} at {sender_mac} > {target_ip} at {target_mac}")
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "arp ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use std::string::ToString;

    // raw(ARP(op=1, hwsrc='02:00:00:00:00:01', psrc='10.10.1.1', hwdst='00:00:00:00:00:00', pdst='10.10.1.2'))
    const GOLDEN: &str = "0001080006040001 020000000001 0a0a0101 000000000000 0a0a0102";

    #[test]
    fn a_golden_request_reads_field_by_field_and_emits_the_same_bytes() {
        let bytes = hex(GOLDEN);
        let repr = Repr::parse(&Packet::new_checked(&bytes).unwrap()).unwrap();
        let expected = Repr {
            operation: Operation::REQUEST,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: [10, 10, 1, 1].into(),
            target_mac: MacAddr::ZERO,
            target_ip: [10, 10, 1, 2].into(),
        };
        assert_eq!(repr, expected);
        let mut out = [0xff; HEADER_LEN];
        repr.emit(&mut Packet::new_unchecked(&mut out[..]));
        assert_eq!(out[..], bytes[..]);
        let text = "arp request 10.10.1.1 at 02:00:00:00:00:01 > 10.10.1.2 at 00:00:00:00:00:00";
        assert_eq!(repr.to_string(), text);
    }

    #[test]
    fn another_kind_of_address_is_refused() {
        for at in [0, 1, 2, 3, 4, 5] {
            let mut bytes = hex(GOLDEN);
            bytes[at] ^= 0x10;
            let packet = Packet::new_checked(&bytes).unwrap();
            assert_eq!(Repr::parse(&packet), Err(WireError::NotEthernetIpv4));
        }
        let short = Packet::new_checked([0; 27]);
        assert_eq!(short, Err(WireError::Truncated { needed: 28, have: 27 }));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(
            operation: u16, sender_mac: [u8; 6], sender_ip: [u8; 4],
            target_mac: [u8; 6], target_ip: [u8; 4],
        ) {
            let repr = Repr {
                operation: Operation(operation),
                sender_mac: MacAddr(sender_mac),
                sender_ip: sender_ip.into(),
                target_mac: MacAddr(target_mac),
                target_ip: target_ip.into(),
            };
            let mut bytes = [0xff; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes[..]));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                let _ = packet.is_ethernet_ipv4();
                let _ = (packet.operation(), packet.sender_mac(), packet.sender_ip());
                let _ = (packet.target_mac(), packet.target_ip());
            }
        }
    }
}
