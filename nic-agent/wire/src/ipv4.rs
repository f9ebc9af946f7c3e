//! IPv4 headers.

use core::fmt;
use core::net::Ipv4Addr;

use crate::IpProto;
use crate::bytes::{array_at, set_array_at, set_u16_at, u16_at};
use crate::checksum;
use crate::error::{WireError, require};

mod field {
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LEN: usize = 2;
    pub(super) const IDENT: usize = 4;
    pub(super) const FLAGS_OFFSET: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const SRC: usize = 12;
    pub(super) const DST: usize = 16;
}

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A view of an IPv4 packet.
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

    /// Whether the version is 4, the header length is at least five words, and
    /// the bytes hold header and total length.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let have = self.buffer.as_ref().len();
        require(have, HEADER_LEN)?;
        if self.version() != 4 {
            return Err(WireError::BadVersion(self.version()));
        }
        let header = self.header_len();
        if header < HEADER_LEN {
            return Err(WireError::BadLength { stated: header, minimum: HEADER_LEN });
        }
        let total = usize::from(self.total_len());
        if total < header {
            return Err(WireError::BadLength { stated: total, minimum: header });
        }
        require(have, total)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// IP version.
    #[inline]
    pub fn version(&self) -> u8 {
        self.buffer.as_ref()[field::VERSION_IHL] >> 4
    }

    /// Length of the header with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::VERSION_IHL] & 0x0f) * 4
    }

    /// The type of service byte: DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.buffer.as_ref()[field::TOS]
    }

    /// Differentiated services code point.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.tos() >> 2
    }

    /// Explicit congestion notification.
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.tos() & 3
    }

    /// Length of header and payload.
    #[inline]
    pub fn total_len(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::TOTAL_LEN)
    }

    /// Identification, common to the fragments of one packet.
    #[inline]
    pub fn ident(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::IDENT)
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        u16_at(self.buffer.as_ref(), field::FLAGS_OFFSET) & DONT_FRAGMENT != 0
    }

    /// Whether fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        u16_at(self.buffer.as_ref(), field::FLAGS_OFFSET) & MORE_FRAGMENTS != 0
    }

    /// Where the payload belongs in the whole packet's payload, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (u16_at(self.buffer.as_ref(), field::FLAGS_OFFSET) & OFFSET_MASK) << 3
    }

    /// Whether the packet is one of several fragments.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.buffer.as_ref(), field::FLAGS_OFFSET) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[field::TTL]
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> IpProto {
        IpProto(self.buffer.as_ref()[field::PROTOCOL])
    }

    /// Header checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        array_at::<4>(self.buffer.as_ref(), field::SRC).into()
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        array_at::<4>(self.buffer.as_ref(), field::DST).into()
    }

    /// The options, empty in most packets.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What the packet carries, without link-layer padding.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..usize::from(self.total_len())]
    }

    /// Whether the header checksum is right.
    pub fn verify_checksum(&self) -> bool {
        checksum::checksum(&self.buffer.as_ref()[..self.header_len()]) == 0
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets version 4 and the length of the header in bytes, a multiple of 4.
    #[inline]
    pub fn set_version_and_header_len(&mut self, header_len: usize) {
        self.buffer.as_mut()[field::VERSION_IHL] = 0x40 | (header_len / 4) as u8 & 0x0f;
    }

    /// Sets the type of service byte: DSCP and ECN.
    #[inline]
    pub fn set_tos(&mut self, tos: u8) {
        self.buffer.as_mut()[field::TOS] = tos;
    }

    /// Sets the length of header and payload.
    #[inline]
    pub fn set_total_len(&mut self, length: u16) {
        set_u16_at(self.buffer.as_mut(), field::TOTAL_LEN, length);
    }

    /// Sets the identification.
    #[inline]
    pub fn set_ident(&mut self, ident: u16) {
        set_u16_at(self.buffer.as_mut(), field::IDENT, ident);
    }

    /// Sets both fragment flags and the offset in bytes, a multiple of 8.
    #[inline]
    pub fn set_fragment(&mut self, dont_fragment: bool, more_fragments: bool, offset: u16) {
        let mut word = offset >> 3;
        if dont_fragment {
            word |= DONT_FRAGMENT;
        }
        if more_fragments {
            word |= MORE_FRAGMENTS;
        }
        set_u16_at(self.buffer.as_mut(), field::FLAGS_OFFSET, word);
    }

    /// Sets the time to live.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.buffer.as_mut()[field::TTL] = ttl;
    }

    /// Sets what the payload is.
    #[inline]
    pub fn set_protocol(&mut self, protocol: IpProto) {
        self.buffer.as_mut()[field::PROTOCOL] = protocol.0;
    }

    /// Sets the header checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        set_u16_at(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv4Addr) {
        set_array_at(self.buffer.as_mut(), field::SRC, src.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        set_array_at(self.buffer.as_mut(), field::DST, dst.octets());
    }

    /// Computes the header checksum and sets it.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let sum = checksum::checksum(&self.buffer.as_ref()[..self.header_len()]);
        self.set_checksum(sum);
    }

    /// The options.
    #[inline]
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }

    /// What the packet carries.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..usize::from(self.total_len());
        &mut self.buffer.as_mut()[range]
    }
}

/// An IPv4 header without options as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: IpProto,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub ident: u16,
    /// Whether routers must not fragment the packet.
    pub dont_fragment: bool,
    /// Whether fragments follow this one.
    pub more_fragments: bool,
    /// Where the payload belongs, in bytes, a multiple of 8.
    pub fragment_offset: u16,
    /// Length of the payload.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header; options are passed over.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            tos: packet.tos(),
            ident: packet.ident(),
            dont_fragment: packet.dont_fragment(),
            more_fragments: packet.more_fragments(),
            fragment_offset: packet.fragment_offset(),
            payload_len: packet.total_len() - packet.header_len() as u16,
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header, checksum included.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_version_and_header_len(HEADER_LEN);
        packet.set_tos(self.tos);
        packet.set_total_len(self.payload_len + HEADER_LEN as u16);
        packet.set_ident(self.ident);
        packet.set_fragment(self.dont_fragment, self.more_fragments, self.fragment_offset);
        packet.set_ttl(self.ttl);
        packet.set_protocol(self.protocol);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
        packet.fill_checksum();
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, protocol, ttl, payload_len, .. } = self;
        write!(f, "ipv4 {src} > {dst} {protocol} ttl {ttl} len {payload_len}")?;
        if self.tos != 0 {
            write!(f, " tos {:#04x}", self.tos)?;
        }
        if self.dont_fragment {
            f.write_str(" df")?;
        }
        if self.more_fragments || self.fragment_offset != 0 {
            write!(f, " frag {:#06x}@{}", self.ident, self.fragment_offset)?;
            f.write_str(if self.more_fragments { "+" } else { "" })?;
        }
        Ok(())
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "ipv4 ({error})"),
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

    // raw(IP(src='10.10.1.1', dst='10.10.1.2', tos=0xb9, id=0x1234, flags='DF', ttl=63, proto=17)/b'\xde\xad')
    const GOLDEN: &str = "45b90016123440003f1112d4 0a0a0101 0a0a0102 dead";
    // raw(IP(src='192.0.2.1', dst='198.51.100.2', ttl=2, proto=6, flags='MF', frag=185,
    //     options=[IPOption_Router_Alert(), IPOption_NOP()])/b'\x01\x02\x03')
    const GOLDEN_OPTIONS: &str = "4700001f000120b9020614e4 c0000201 c6336402 9404000001000000 010203";

    #[test]
    fn a_golden_packet_reads_field_by_field_and_emits_the_same_bytes() {
        let bytes = hex(GOLDEN);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert!(packet.verify_checksum());
        assert_eq!((packet.dscp(), packet.ecn()), (46, 1));
        assert_eq!(packet.payload(), [0xde, 0xad]);
        assert!(packet.options().is_empty() && !packet.is_fragment());
        let repr = Repr::parse(&packet).unwrap();
        assert_eq!(
            repr,
            Repr {
                src: [10, 10, 1, 1].into(),
                dst: [10, 10, 1, 2].into(),
                protocol: IpProto::UDP,
                ttl: 63,
                tos: 0xb9,
                ident: 0x1234,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                payload_len: 2,
            }
        );
        assert_eq!(repr.to_string(), "ipv4 10.10.1.1 > 10.10.1.2 udp ttl 63 len 2 tos 0xb9 df");
        let mut out = [0xff; HEADER_LEN];
        repr.emit(&mut Packet::new_unchecked(&mut out[..]));
        assert_eq!(out[..], bytes[..HEADER_LEN]);
    }

    #[test]
    fn options_and_fragments_are_found() {
        let mut bytes = hex(GOLDEN_OPTIONS);
        bytes.extend([0; 14]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert!(packet.verify_checksum());
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.options(), [0x94, 4, 0, 0, 1, 0, 0, 0]);
        assert_eq!(packet.payload(), [1, 2, 3], "padding is no payload");
        assert!(packet.is_fragment() && packet.more_fragments() && !packet.dont_fragment());
        assert_eq!(packet.fragment_offset(), 1480);
        assert!(packet.to_string().ends_with("frag 0x0001@1480+"));
    }

    #[test]
    fn bad_headers_are_refused_with_the_reason() {
        let golden = hex(GOLDEN);
        let refused = |change: &dyn Fn(&mut vec::Vec<u8>)| {
            let mut bytes = golden.clone();
            change(&mut bytes);
            Packet::new_checked(bytes).unwrap_err()
        };
        let truncated = |needed, have| WireError::Truncated { needed, have };
        assert_eq!(refused(&|b| b.truncate(19)), truncated(20, 19));
        assert_eq!(refused(&|b| b.truncate(21)), truncated(22, 21));
        assert_eq!(refused(&|b| b[0] = 0x65), WireError::BadVersion(6));
        let short = WireError::BadLength { stated: 16, minimum: 20 };
        assert_eq!(refused(&|b| b[0] = 0x44), short);
        let inside = WireError::BadLength { stated: 22, minimum: 24 };
        assert_eq!(refused(&|b| b[0] = 0x46), inside);
        assert_eq!(refused(&|b| b[3] = 0xff), truncated(255, 22));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(
            src: [u8; 4], dst: [u8; 4], protocol: u8, ttl: u8, tos: u8, ident: u16,
            dont_fragment: bool, more_fragments: bool, offset in 0u16..0x2000,
            payload_len in 0u16..200,
        ) {
            let repr = Repr {
                src: src.into(),
                dst: dst.into(),
                protocol: IpProto(protocol),
                ttl, tos, ident, dont_fragment, more_fragments,
                fragment_offset: offset << 3,
                payload_len,
            };
            let mut bytes = vec![0xff; HEADER_LEN + usize::from(payload_len)];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(
            mut bytes in prop::collection::vec(any::<u8>(), 0..90), likely: bool,
        ) {
            // Half of the cases get past the version and length checks.
            if likely && bytes.len() >= HEADER_LEN {
                bytes[0] = 0x40 | bytes[0] & 0x0f;
                bytes[2] = 0;
            }
            if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
                let _ = (packet.version(), packet.header_len(), packet.dscp(), packet.ecn());
                let _ = (packet.ident(), packet.dont_fragment(), packet.more_fragments());
                let _ = (packet.fragment_offset(), packet.is_fragment(), packet.ttl());
                let _ = (packet.protocol(), packet.checksum(), packet.src(), packet.dst());
                let _ = (packet.options().len(), packet.payload().len(), packet.to_string());
                let _ = packet.options_mut().len() + packet.payload_mut().len();
                packet.fill_checksum();
                prop_assert!(packet.verify_checksum());
            }
        }
    }
}
