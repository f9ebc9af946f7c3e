//! UDP headers.

use core::fmt;

use crate::IpProto;
use crate::bytes::{set_u16_at, u16_at};
use crate::checksum::Pseudo;
use crate::error::{WireError, require};

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const LENGTH: usize = 4;
    pub(super) const CHECKSUM: usize = 6;
}

/// Length of the header.
pub const HEADER_LEN: usize = 8;

/// A view of a UDP datagram.
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

    /// Whether the bytes hold header and stated length.
    ///
    /// The first fragment of a longer datagram fails here, though its header is
    /// whole: see [`Packet::check_header_len`].
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        self.check_header_len()?;
        let stated = usize::from(self.length());
        if stated < HEADER_LEN {
            return Err(WireError::BadLength { stated, minimum: HEADER_LEN });
        }
        require(self.buffer.as_ref().len(), stated)
    }

    /// Whether the bytes hold the header: enough for every getter but
    /// [`Packet::payload`] and [`Packet::verify_checksum`].
    #[inline]
    pub fn check_header_len(&self) -> Result<(), WireError> {
        require(self.buffer.as_ref().len(), HEADER_LEN)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::SRC_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::DST_PORT)
    }

    /// Length of header and payload.
    #[inline]
    pub fn length(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::LENGTH)
    }

    /// Checksum; 0 means that the sender computed none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// What the datagram carries.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..usize::from(self.length())]
    }

    /// Whether the checksum is right, or absent where that is allowed (IPv4).
    pub fn verify_checksum(&self, pseudo: Pseudo) -> bool {
        if self.checksum() == 0 {
            return matches!(pseudo, Pseudo::V4 { .. });
        }
        let datagram = &self.buffer.as_ref()[..usize::from(self.length())];
        pseudo.sum(IpProto::UDP, datagram.len()).bytes(datagram).checksum() == 0
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        set_u16_at(self.buffer.as_mut(), field::SRC_PORT, port);
    }

    /// Sets the destination port.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        set_u16_at(self.buffer.as_mut(), field::DST_PORT, port);
    }

    /// Sets the length of header and payload.
    #[inline]
    pub fn set_length(&mut self, length: u16) {
        set_u16_at(self.buffer.as_mut(), field::LENGTH, length);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        set_u16_at(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Computes the checksum over header and payload and sets it.
    pub fn fill_checksum(&mut self, pseudo: Pseudo) {
        self.set_checksum(0);
        let datagram = &self.buffer.as_ref()[..usize::from(self.length())];
        let sum = pseudo.sum(IpProto::UDP, datagram.len()).bytes(datagram).checksum();
        // 0 would say that there is none; its equal in one's complement does not.
        self.set_checksum(if sum == 0 { 0xffff } else { sum });
    }

    /// What the datagram carries.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = usize::from(self.length());
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }
}

/// A UDP header as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of the payload.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            payload_len: packet.length() - HEADER_LEN as u16,
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with no checksum; [`Packet::fill_checksum`] follows
    /// once the payload is there.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_length(self.payload_len + HEADER_LEN as u16);
        packet.set_checksum(0);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp {} > {} len {}", self.src_port, self.dst_port, self.payload_len)
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "udp ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use crate::{ipv4, ipv6};
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    // raw(IP(src='10.10.1.1', dst='10.10.1.2')/UDP(sport=49152, dport=4789)/b'hello')
    const GOLDEN_V4: &str = "4500002100010000401164b50a0a01010a0a0102 c00012b5000dd335 68656c6c6f";
    // raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/UDP(sport=53, dport=5353)/b'odd')
    const GOLDEN_V6: &str = "60000000000b1140 20010db8000000000000000000000001
        20010db8000000000000000000000002 003514e9000bbbe0 6f6464";

    #[test]
    fn a_golden_datagram_over_ipv4_reads_and_emits() {
        let bytes = hex(GOLDEN_V4);
        let ip = ipv4::Packet::new_checked(&bytes).unwrap();
        let packet = Packet::new_checked(ip.payload()).unwrap();
        let pseudo = Pseudo::V4 { src: ip.src(), dst: ip.dst() };
        assert!(packet.verify_checksum(pseudo));
        let repr = Repr::parse(&packet).unwrap();
        assert_eq!(repr, Repr { src_port: 49152, dst_port: 4789, payload_len: 5 });
        assert_eq!(repr.to_string(), "udp 49152 > 4789 len 5");
        let mut out = [0xff; 13];
        out[8..].copy_from_slice(b"hello");
        let mut written = Packet::new_unchecked(&mut out[..]);
        repr.emit(&mut written);
        written.fill_checksum(pseudo);
        assert_eq!(out[..], ip.payload()[..]);
    }

    #[test]
    fn a_golden_datagram_over_ipv6_verifies_and_needs_its_checksum() {
        let mut bytes = hex(GOLDEN_V6);
        let ip = ipv6::Packet::new_checked(&mut bytes).unwrap();
        let pseudo = Pseudo::V6 { src: ip.src(), dst: ip.dst() };
        let mut packet = Packet::new_checked(ip.payload().to_vec()).unwrap();
        assert!(packet.verify_checksum(pseudo));
        packet.set_checksum(0);
        assert!(!packet.verify_checksum(pseudo), "IPv6 has no absent checksum");
        let v4 = Pseudo::V4 { src: [0; 4].into(), dst: [0; 4].into() };
        assert!(packet.verify_checksum(v4), "IPv4 has");
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        let mut bytes = [0; 10];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        Repr { src_port: 0, dst_port: 0, payload_len: 2 }.emit(&mut packet);
        // Pseudo header 17 + 10, length 10, and a payload that makes the sum 0xffff.
        packet.payload_mut().copy_from_slice(&(0xffffu16 - 37).to_be_bytes());
        let pseudo = Pseudo::V4 { src: [0; 4].into(), dst: [0; 4].into() };
        packet.fill_checksum(pseudo);
        assert_eq!(packet.checksum(), 0xffff);
        assert!(packet.verify_checksum(pseudo));
    }

    #[test]
    fn bad_lengths_are_refused() {
        let refused = |bytes: &[u8]| Packet::new_checked(bytes).unwrap_err();
        assert_eq!(refused(&[0; 7]), WireError::Truncated { needed: 8, have: 7 });
        assert_eq!(refused(&[0; 8]), WireError::BadLength { stated: 0, minimum: 8 });
        let beyond = [0, 1, 0, 2, 0, 9, 0, 0];
        assert_eq!(refused(&beyond), WireError::Truncated { needed: 9, have: 8 });
        assert_eq!(Packet::new_unchecked(&beyond).check_header_len(), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(
            src_port: u16, dst_port: u16, payload in prop::collection::vec(any::<u8>(), 0..100),
            src: [u8; 16], dst: [u8; 16],
        ) {
            let repr = Repr { src_port, dst_port, payload_len: payload.len() as u16 };
            let mut bytes = vec![0xff; HEADER_LEN + payload.len()];
            let mut packet = Packet::new_unchecked(&mut bytes);
            repr.emit(&mut packet);
            packet.payload_mut().copy_from_slice(&payload);
            let pseudo = Pseudo::V6 { src: src.into(), dst: dst.into() };
            packet.fill_checksum(pseudo);
            prop_assert!(packet.verify_checksum(pseudo));
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
            prop_assert_eq!(packet.payload(), payload);
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(
            mut bytes in prop::collection::vec(any::<u8>(), 0..40), likely: bool,
        ) {
            if likely && bytes.len() >= HEADER_LEN {
                bytes[4] = 0;
            }
            let pseudo = Pseudo::V4 { src: [1; 4].into(), dst: [2; 4].into() };
            if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
                let _ = (packet.src_port(), packet.dst_port(), packet.length());
                let _ = (packet.checksum(), packet.payload().len(), packet.to_string());
                let _ = (packet.verify_checksum(pseudo), packet.payload_mut().len());
                packet.fill_checksum(pseudo);
                prop_assert!(packet.verify_checksum(pseudo));
            }
        }
    }
}
