//! Ethernet II and 802.3 (LLC) headers.

use core::fmt;

use crate::bytes::{array_at, set_array_at, set_u16_at, u16_at};
use crate::error::{WireError, require};
use crate::mac::MacAddr;

/// What follows an Ethernet header or a VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A customer VLAN tag (802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// LACP and the other slow protocols.
    pub const SLOW: Self = Self(0x8809);
    /// MPLS unicast.
    pub const MPLS: Self = Self(0x8847);
    /// MPLS multicast.
    pub const MPLS_MULTICAST: Self = Self(0x8848);
    /// A service VLAN tag (802.1ad).
    pub const QINQ: Self = Self(0x88a8);
    /// LLDP.
    pub const LLDP: Self = Self(0x88cc);

    /// The least number that is a type: below it the field is the length of an
    /// 802.3 frame, whose payload begins with LLC.
    pub const FIRST: Self = Self(0x0600);

    /// Whether the field is a length, not a type.
    #[inline]
    #[must_use]
    pub const fn is_length(self) -> bool {
        self.0 < Self::FIRST.0
    }

    /// Whether a VLAN tag follows.
    #[inline]
    #[must_use]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::QINQ)
    }
}

impl From<u16> for EtherType {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl From<EtherType> for u16 {
    fn from(ethertype: EtherType) -> Self {
        ethertype.0
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::IPV4 => "ipv4",
            Self::ARP => "arp",
            Self::VLAN => "vlan",
            Self::IPV6 => "ipv6",
            Self::SLOW => "slow",
            Self::MPLS => "mpls",
            Self::MPLS_MULTICAST => "mpls-multicast",
            Self::QINQ => "qinq",
            Self::LLDP => "lldp",
            Self(number) => return write!(f, "{number:#06x}"),
        })
    }
}

mod field {
    pub(super) const DST: usize = 0;
    pub(super) const SRC: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
}

/// Length of the header.
pub const HEADER_LEN: usize = 14;

/// A view of an Ethernet frame.
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

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> MacAddr {
        MacAddr(array_at(self.buffer.as_ref(), field::DST))
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> MacAddr {
        MacAddr(array_at(self.buffer.as_ref(), field::SRC))
    }

    /// Type, or length if [`EtherType::is_length`].
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16_at(self.buffer.as_ref(), field::ETHERTYPE))
    }

    /// Everything after the header, padding included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, mac: MacAddr) {
        set_array_at(self.buffer.as_mut(), field::DST, mac.0);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, mac: MacAddr) {
        set_array_at(self.buffer.as_mut(), field::SRC, mac.0);
    }

    /// Sets type or length.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        set_u16_at(self.buffer.as_mut(), field::ETHERTYPE, ethertype.0);
    }

    /// Everything after the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// An Ethernet header as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// Type, or length if [`EtherType::is_length`].
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self { dst: packet.dst(), src: packet.src(), ethertype: packet.ethertype() })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_dst(self.dst);
        packet.set_src(self.src);
        packet.set_ethertype(self.ethertype);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dst, src, ethertype } = self;
        write!(f, "eth {src} > {dst} {ethertype}")
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "eth ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use std::string::ToString;

    // raw(Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01', type=0x0800)/b'\xaa\xbb')
    const GOLDEN: &str = "020000000002 020000000001 0800 aabb";
    // raw(Dot3(dst='01:80:c2:00:00:00', src='02:00:00:00:00:01')/LLC(dsap=0x42, ssap=0x42, ctrl=3)/STP())
    const GOLDEN_LLC: &str = "0180c2000000 020000000001 0026 424203
        0000000000000000000000000000000000000000000000000000000100140002000f00";

    #[test]
    fn a_golden_frame_reads_field_by_field() {
        let bytes = hex(GOLDEN);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!(packet.dst(), MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(packet.src(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(packet.ethertype(), EtherType::IPV4);
        assert_eq!(packet.payload(), [0xaa, 0xbb]);
        assert_eq!(packet.to_string(), "eth 02:00:00:00:00:01 > 02:00:00:00:00:02 ipv4");
    }

    #[test]
    fn a_length_is_not_a_type() {
        let bytes = hex(GOLDEN_LLC);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert!(packet.ethertype().is_length());
        assert_eq!(usize::from(packet.ethertype().0), packet.payload().len());
        assert!(!EtherType(0x0600).is_length());
        assert!(EtherType(0x05ff).is_length());
    }

    #[test]
    fn a_short_frame_is_refused_with_both_lengths() {
        let error = Packet::new_checked([0; 13]).unwrap_err();
        assert_eq!(error, WireError::Truncated { needed: 14, have: 13 });
        assert!(Packet::new_unchecked([0; 13]).to_string().contains("truncated"));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(dst: [u8; 6], src: [u8; 6], ethertype: u16) {
            let repr =
                Repr { dst: MacAddr(dst), src: MacAddr(src), ethertype: EtherType(ethertype) };
            let mut bytes = [0; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes[..]));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                let _ = (packet.dst(), packet.src(), packet.ethertype(), packet.payload().len());
            }
        }
    }
}
