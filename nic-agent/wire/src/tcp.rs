//! TCP headers.

use core::fmt;

use crate::IpProto;
use crate::bytes::{set_u16_at, set_u32_at, u16_at, u32_at};
use crate::checksum::Pseudo;
use crate::error::{WireError, require};

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const SEQ: usize = 4;
    pub(super) const ACK: usize = 8;
    pub(super) const OFFSET_FLAGS: usize = 12;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = 16;
    pub(super) const URGENT: usize = 18;
}

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;

/// The twelve flag bits, the reserved ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// The sender is done.
    pub const FIN: Self = Self(0x001);
    /// Opens a connection.
    pub const SYN: Self = Self(0x002);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x004);
    /// Deliver without waiting.
    pub const PSH: Self = Self(0x008);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x010);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x020);
    /// ECN echo.
    pub const ECE: Self = Self(0x040);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x080);
    /// Every bit there is.
    pub const MASK: Self = Self(0xfff);

    /// Whether all flags of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        let rest = self.0 >> NAMES.len() << NAMES.len();
        if rest != 0 {
            write!(f, "{separator}{rest:#05x}")?;
        } else if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

/// A view of a TCP segment.
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

    /// Whether the data offset is at least five words and the bytes hold the
    /// header that it states.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let have = self.buffer.as_ref().len();
        require(have, HEADER_LEN)?;
        let stated = self.header_len();
        if stated < HEADER_LEN {
            return Err(WireError::BadLength { stated, minimum: HEADER_LEN });
        }
        require(have, stated)
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

    /// Sequence number.
    #[inline]
    pub fn seq(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::SEQ)
    }

    /// Acknowledgement number.
    #[inline]
    pub fn ack(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::ACK)
    }

    /// Length of the header with its options, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::OFFSET_FLAGS] >> 4) * 4
    }

    /// Flags.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(u16_at(self.buffer.as_ref(), field::OFFSET_FLAGS) & Flags::MASK.0)
    }

    /// Receive window.
    #[inline]
    pub fn window(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::WINDOW)
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Urgent pointer.
    #[inline]
    pub fn urgent(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::URGENT)
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// What the segment carries: the bytes must end where IP's payload does.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }

    /// Whether the checksum is right; the bytes must end where IP's payload does.
    pub fn verify_checksum(&self, pseudo: Pseudo) -> bool {
        let segment = self.buffer.as_ref();
        pseudo.sum(IpProto::TCP, segment.len()).bytes(segment).checksum() == 0
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

    /// Sets the sequence number.
    #[inline]
    pub fn set_seq(&mut self, seq: u32) {
        set_u32_at(self.buffer.as_mut(), field::SEQ, seq);
    }

    /// Sets the acknowledgement number.
    #[inline]
    pub fn set_ack(&mut self, ack: u32) {
        set_u32_at(self.buffer.as_mut(), field::ACK, ack);
    }

    /// Sets the length of the header in bytes, a multiple of 4, and the flags.
    #[inline]
    pub fn set_header_len_and_flags(&mut self, header_len: usize, flags: Flags) {
        let words = (header_len / 4) as u16 & 0x0f;
        set_u16_at(self.buffer.as_mut(), field::OFFSET_FLAGS, words << 12 | flags.0 & 0xfff);
    }

    /// Sets the receive window.
    #[inline]
    pub fn set_window(&mut self, window: u16) {
        set_u16_at(self.buffer.as_mut(), field::WINDOW, window);
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        set_u16_at(self.buffer.as_mut(), field::CHECKSUM, checksum);
    }

    /// Sets the urgent pointer.
    #[inline]
    pub fn set_urgent(&mut self, urgent: u16) {
        set_u16_at(self.buffer.as_mut(), field::URGENT, urgent);
    }

    /// Computes the checksum and sets it; the bytes must end where IP's payload
    /// does.
    pub fn fill_checksum(&mut self, pseudo: Pseudo) {
        self.set_checksum(0);
        let segment = self.buffer.as_ref();
        let sum = pseudo.sum(IpProto::TCP, segment.len()).bytes(segment).checksum();
        self.set_checksum(sum);
    }

    /// The options.
    #[inline]
    pub fn options_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }

    /// What the segment carries.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = self.header_len();
        &mut self.buffer.as_mut()[start..]
    }
}

/// A TCP header without options as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: Flags,
    /// Receive window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
}

impl Repr {
    /// Reads a header; options are passed over.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: packet.seq(),
            ack: packet.ack(),
            flags: packet.flags(),
            window: packet.window(),
            urgent: packet.urgent(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with a checksum of 0; [`Packet::fill_checksum`] follows
    /// once the payload is there.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_seq(self.seq);
        packet.set_ack(self.ack);
        packet.set_header_len_and_flags(HEADER_LEN, self.flags);
        packet.set_window(self.window);
        packet.set_checksum(0);
        packet.set_urgent(self.urgent);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src_port, dst_port, seq, ack, flags, window, .. } = self;
        write!(f, "tcp {src_port} > {dst_port} {flags} seq {seq} ack {ack} win {window}")
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "tcp ({error})"),
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

    // raw(IP(src='10.10.1.1', dst='10.10.1.2')/TCP(sport=40000, dport=443, seq=0x01020304,
    //     ack=0x05060708, flags='SAEC', window=64240, urgptr=9,
    //     options=[('MSS',1460),('NOP',None),('WScale',7)])/b'abc')
    const GOLDEN_V4: &str = "4500003300010000400664ae0a0a01010a0a0102
        9c4001bb 01020304 05060708 70d2faf0 ffc20009 020405b401030307 616263";
    // raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/TCP(sport=1, dport=2, flags='F'))
    const GOLDEN_V6: &str = "6000000000140640 20010db8000000000000000000000001
        20010db8000000000000000000000002 00010002 00000000 00000000 50012000 346c0000";

    #[test]
    fn a_golden_segment_with_options_reads_field_by_field() {
        let bytes = hex(GOLDEN_V4);
        let ip = ipv4::Packet::new_checked(&bytes).unwrap();
        let packet = Packet::new_checked(ip.payload()).unwrap();
        assert!(packet.verify_checksum(Pseudo::V4 { src: ip.src(), dst: ip.dst() }));
        let flags = Flags::SYN | Flags::ACK | Flags::ECE | Flags::CWR;
        let repr = Repr {
            src_port: 40000,
            dst_port: 443,
            seq: 0x0102_0304,
            ack: 0x0506_0708,
            flags,
            window: 64240,
            urgent: 9,
        };
        assert_eq!(Repr::parse(&packet), Ok(repr));
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.options(), [2, 4, 5, 0xb4, 1, 3, 3, 7]);
        assert_eq!(packet.payload(), b"abc");
        assert!(packet.flags().contains(Flags::SYN) && !packet.flags().contains(Flags::RST));
        let text = "tcp 40000 > 443 syn|ack|ece|cwr seq 16909060 ack 84281096 win 64240";
        assert_eq!(packet.to_string(), text);
    }

    #[test]
    fn a_golden_segment_over_ipv6_emits_the_same_bytes() {
        let bytes = hex(GOLDEN_V6);
        let ip = ipv6::Packet::new_checked(&bytes).unwrap();
        let pseudo = Pseudo::V6 { src: ip.src(), dst: ip.dst() };
        let packet = Packet::new_checked(ip.payload()).unwrap();
        assert!(packet.verify_checksum(pseudo));
        let mut out = [0xff; HEADER_LEN];
        let mut written = Packet::new_unchecked(&mut out[..]);
        Repr::parse(&packet).unwrap().emit(&mut written);
        written.fill_checksum(pseudo);
        assert_eq!(out[..], ip.payload()[..]);
    }

    #[test]
    fn flags_read_as_names() {
        assert_eq!(Flags(0).to_string(), "none");
        assert_eq!(Flags(0x111).to_string(), "fin|ack|0x100");
    }

    #[test]
    fn bad_data_offsets_are_refused() {
        let mut bytes = [0; 24];
        let refused = |bytes: &[u8]| Packet::new_checked(bytes).unwrap_err();
        assert_eq!(refused(&bytes[..19]), WireError::Truncated { needed: 20, have: 19 });
        bytes[12] = 0x40;
        assert_eq!(refused(&bytes), WireError::BadLength { stated: 16, minimum: 20 });
        bytes[12] = 0x70;
        assert_eq!(refused(&bytes), WireError::Truncated { needed: 28, have: 24 });
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(
            src_port: u16, dst_port: u16, seq: u32, ack: u32, flags in 0u16..0x1000,
            window: u16, urgent: u16, payload in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let flags = Flags(flags);
            let repr = Repr { src_port, dst_port, seq, ack, flags, window, urgent };
            let mut bytes = vec![0xff; HEADER_LEN];
            bytes.extend(&payload);
            let mut packet = Packet::new_unchecked(&mut bytes);
            repr.emit(&mut packet);
            let pseudo = Pseudo::V4 { src: [1, 2, 3, 4].into(), dst: [5, 6, 7, 8].into() };
            packet.fill_checksum(pseudo);
            prop_assert!(packet.verify_checksum(pseudo));
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
            prop_assert_eq!(packet.payload(), payload);
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            let pseudo = Pseudo::V4 { src: [1; 4].into(), dst: [2; 4].into() };
            if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
                let _ = (packet.src_port(), packet.dst_port(), packet.seq(), packet.ack());
                let _ = (packet.header_len(), packet.flags(), packet.window());
                let _ = (packet.checksum(), packet.urgent(), packet.to_string());
                let _ = (packet.options().len(), packet.payload().len());
                let _ = packet.options_mut().len() + packet.payload_mut().len();
                packet.fill_checksum(pseudo);
                prop_assert!(packet.verify_checksum(pseudo));
            }
        }
    }
}
