//! ICMP for IPv4.

use core::fmt;

use crate::bytes::{set_u16_at, set_u32_at, u16_at};
use crate::checksum;
use crate::error::{WireError, require};

/// Type of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Kind(pub u8);

impl Kind {
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// A packet could not be delivered.
    pub const DST_UNREACHABLE: Self = Self(3);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(8);
    /// A packet's time to live ran out.
    pub const TIME_EXCEEDED: Self = Self(11);
}

mod field {
    pub(super) const KIND: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: usize = 2;
    pub(super) const REST: usize = 4;
    pub(super) const ECHO_IDENT: usize = 4;
    pub(super) const ECHO_SEQ: usize = 6;
    pub(super) const NEXT_HOP_MTU: usize = 6;
}

/// Length of the part that all messages have.
pub const HEADER_LEN: usize = 8;

/// A view of an ICMP message.
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

    /// A view of bytes that hold the whole header.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Whether the bytes hold the whole header.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        require(self.buffer.as_ref().len(), HEADER_LEN)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Type of the message.
    #[inline]
    pub fn kind(&self) -> Kind {
        Kind(self.buffer.as_ref()[field::KIND])
    }

    /// Code, whose meaning depends on the type.
    #[inline]
    pub fn code(&self) -> u8 {
        self.buffer.as_ref()[field::CODE]
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Identifier of an echo.
    #[inline]
    pub fn echo_ident(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::ECHO_IDENT)
    }

    /// Sequence number of an echo.
    #[inline]
    pub fn echo_seq(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::ECHO_SEQ)
    }

    /// MTU of the hop that a packet was too big for (RFC 1191).
    #[inline]
    pub fn next_hop_mtu(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::NEXT_HOP_MTU)
    }

    /// What follows the first eight bytes.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }

    /// Whether the checksum is right; the bytes must end where IP's payload does.
    pub fn verify_checksum(&self) -> bool {
        checksum::checksum(self.buffer.as_ref()) == 0
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the type of the message.
    #[inline]
    pub fn set_kind(&mut self, kind: Kind) {
        self.buffer.as_mut()[field::KIND] = kind.0;
    }

    /// Sets the code.
    #[inline]
    pub fn set_code(&mut self, code: u8) {
        self.buffer.as_mut()[field::CODE] = code;
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        set_u16_at(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the identifier of an echo.
    #[inline]
    pub fn set_echo_ident(&mut self, ident: u16) {
        set_u16_at(self.buffer.as_mut(), field::ECHO_IDENT, ident);
    }

    /// Sets the sequence number of an echo.
    #[inline]
    pub fn set_echo_seq(&mut self, seq: u16) {
        set_u16_at(self.buffer.as_mut(), field::ECHO_SEQ, seq);
    }

    /// Sets the second word of the header to zero.
    #[inline]
    pub fn clear_rest(&mut self) {
        set_u32_at(self.buffer.as_mut(), field::REST, 0);
    }

    /// Sets the MTU of the hop that a packet was too big for.
    #[inline]
    pub fn set_next_hop_mtu(&mut self, mtu: u16) {
        set_u16_at(self.buffer.as_mut(), field::NEXT_HOP_MTU, mtu);
    }

    /// What follows the first eight bytes.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }

    /// Computes the checksum and sets it; the bytes must end where IP's payload
    /// does.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::checksum(self.buffer.as_ref());
        self.set_checksum(sum);
    }
}

/// An ICMP message as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repr<'a> {
    /// Asks for an echo.
    EchoRequest {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
        /// What is to be sent back.
        data: &'a [u8],
    },
    /// Answers one.
    EchoReply {
        /// Identifier of the request.
        ident: u16,
        /// Sequence number of the request.
        seq: u16,
        /// What the request carried.
        data: &'a [u8],
    },
    /// A packet could not be delivered.
    DstUnreachable {
        /// Why.
        code: u8,
        /// MTU of the next hop, where the code is fragmentation needed.
        next_hop_mtu: u16,
        /// The packet, or its beginning.
        original: &'a [u8],
    },
    /// A packet's time to live ran out.
    TimeExceeded {
        /// In transit or in reassembly.
        code: u8,
        /// The packet, or its beginning.
        original: &'a [u8],
    },
}

impl<'a> Repr<'a> {
    /// Reads a message.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        let (ident, seq, code) = (packet.echo_ident(), packet.echo_seq(), packet.code());
        let rest = packet.payload();
        match packet.kind() {
            Kind::ECHO_REQUEST => Ok(Self::EchoRequest { ident, seq, data: rest }),
            Kind::ECHO_REPLY => Ok(Self::EchoReply { ident, seq, data: rest }),
            Kind::DST_UNREACHABLE => {
                let next_hop_mtu = packet.next_hop_mtu();
                Ok(Self::DstUnreachable { code, next_hop_mtu, original: rest })
            }
            Kind::TIME_EXCEEDED => Ok(Self::TimeExceeded { code, original: rest }),
            Kind(kind) => Err(WireError::UnknownType(kind)),
        }
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.rest().len()
    }

    /// Writes the message, checksum included, into exactly
    /// [`Repr::buffer_len`] bytes.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.clear_rest();
        packet.set_code(0);
        match *self {
            Self::EchoRequest { ident, seq, .. } | Self::EchoReply { ident, seq, .. } => {
                packet.set_echo_ident(ident);
                packet.set_echo_seq(seq);
            }
            Self::DstUnreachable { code, next_hop_mtu, .. } => {
                packet.set_code(code);
                packet.set_next_hop_mtu(next_hop_mtu);
            }
            Self::TimeExceeded { code, .. } => packet.set_code(code),
        }
        packet.set_kind(self.kind());
        packet.payload_mut().copy_from_slice(self.rest());
        packet.fill_checksum();
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::EchoRequest { .. } => Kind::ECHO_REQUEST,
            Self::EchoReply { .. } => Kind::ECHO_REPLY,
            Self::DstUnreachable { .. } => Kind::DST_UNREACHABLE,
            Self::TimeExceeded { .. } => Kind::TIME_EXCEEDED,
        }
    }

    const fn rest(&self) -> &'a [u8] {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } => data,
            Self::DstUnreachable { original, .. } | Self::TimeExceeded { original, .. } => original,
        }
    }
}

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoRequest { ident, seq, .. } => {
                write!(f, "icmp echo request ident {ident} seq {seq}")
            }
            Self::EchoReply { ident, seq, .. } => {
                write!(f, "icmp echo reply ident {ident} seq {seq}")
            }
            Self::DstUnreachable { code, next_hop_mtu, .. } => {
                write!(f, "icmp unreachable code {code} mtu {next_hop_mtu}")
            }
            Self::TimeExceeded { code, .. } => write!(f, "icmp time exceeded code {code}"),
        }
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "icmp ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;

    // raw(ICMP(type=8, id=0x1234, seq=5)/b'ping')
    const GOLDEN_ECHO: &str = "080006f6 12340005 70696e67";
    // raw(ICMP(type=3, code=4, nexthopmtu=1450)/IP(src='10.0.0.1', dst='10.0.0.2')/UDP(sport=1, dport=2))
    const GOLDEN_TOO_BIG: &str = "03040b6e 000005aa
        4500001c00010000401166ce0a0000010a000002000100020008ebd8";
    // raw(ICMP(type=11, code=0)/b'original')
    const GOLDEN_TTL: &str = "0b00514b 00000000 6f726967696e616c";

    fn reads_and_emits(text: &str, expected: Repr<'_>) {
        let bytes = hex(text);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert!(packet.verify_checksum());
        assert_eq!(Repr::parse(&packet), Ok(expected));
        let mut out = vec![0xff; expected.buffer_len()];
        expected.emit(&mut Packet::new_unchecked(&mut out));
        assert_eq!(out, bytes);
    }

    #[test]
    fn golden_messages_read_and_emit_the_same_bytes() {
        let echo = Repr::EchoRequest { ident: 0x1234, seq: 5, data: b"ping" };
        reads_and_emits(GOLDEN_ECHO, echo);
        assert_eq!(echo.to_string(), "icmp echo request ident 4660 seq 5");
        let original = &hex(GOLDEN_TOO_BIG)[8..];
        let too_big = Repr::DstUnreachable { code: 4, next_hop_mtu: 1450, original };
        reads_and_emits(GOLDEN_TOO_BIG, too_big);
        reads_and_emits(GOLDEN_TTL, Repr::TimeExceeded { code: 0, original: b"original" });
    }

    #[test]
    fn short_and_unknown_messages_are_refused() {
        let short = Packet::new_checked([8; 7]);
        assert_eq!(short, Err(WireError::Truncated { needed: 8, have: 7 }));
        let timestamp = Packet::new_checked([13; 20]).unwrap();
        assert_eq!(Repr::parse(&timestamp), Err(WireError::UnknownType(13)));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(
            which in 0u8..4, code: u8, a: u16, b: u16,
            data in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let data = &data[..];
            let repr = match which {
                0 => Repr::EchoRequest { ident: a, seq: b, data },
                1 => Repr::EchoReply { ident: a, seq: b, data },
                2 => Repr::DstUnreachable { code, next_hop_mtu: a, original: data },
                _ => Repr::TimeExceeded { code, original: data },
            };
            let mut bytes = vec![0xff; repr.buffer_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(
            mut bytes in prop::collection::vec(any::<u8>(), 0..40),
            kind in prop::sample::select(vec![0u8, 3, 8, 11, 13]),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(packet) = Packet::new_checked(&bytes) {
                let _ = (packet.kind(), packet.code(), packet.checksum(), packet.echo_ident());
                let _ = (packet.echo_seq(), packet.next_hop_mtu(), packet.payload().len());
                let _ = (packet.verify_checksum(), packet.to_string());
            }
        }
    }
}
