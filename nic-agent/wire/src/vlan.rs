//! VLAN tags (802.1Q, 802.1ad).
//!
//! The view covers the four bytes *after* the type that announced the tag: the
//! tag control information and the type of what follows.

use core::fmt;

use crate::bytes::{set_u16_at, u16_at};
use crate::error::{WireError, require};
use crate::ethernet::EtherType;

/// Tag control information: priority, drop eligibility, VLAN id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tci(pub u16);

impl Tci {
    /// The greatest VLAN id.
    pub const MAX_VID: u16 = 0xfff;
    /// The greatest priority.
    pub const MAX_PCP: u8 = 7;

    /// Tag control information of the three; `None` if a value does not fit.
    #[must_use]
    pub const fn new(pcp: u8, dei: bool, vid: u16) -> Option<Self> {
        if pcp > Self::MAX_PCP || vid > Self::MAX_VID {
            return None;
        }
        Some(Self((pcp as u16) << 13 | (dei as u16) << 12 | vid))
    }

    /// Priority code point, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    #[must_use]
    pub const fn dei(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// VLAN id, 0 to 4095; 0 means that the tag carries a priority only.
    #[inline]
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.0 & Self::MAX_VID
    }

    /// The same with the low twelve bits of `vid` as VLAN id.
    #[inline]
    #[must_use]
    pub const fn with_vid(self, vid: u16) -> Self {
        Self(self.0 & !Self::MAX_VID | vid & Self::MAX_VID)
    }

    /// The same with the low three bits of `pcp` as priority.
    #[inline]
    #[must_use]
    pub const fn with_pcp(self, pcp: u8) -> Self {
        Self(self.0 & 0x1fff | (pcp as u16) << 13)
    }
}

impl fmt::Display for Tci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vid {} pcp {}", self.vid(), self.pcp())?;
        if self.dei() { f.write_str(" dei") } else { Ok(()) }
    }
}

mod field {
    pub(super) const TCI: usize = 0;
    pub(super) const ETHERTYPE: usize = 2;
}

/// Length of a tag.
pub const HEADER_LEN: usize = 4;

/// A view of a VLAN tag and what it carries.
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

    /// A view of bytes that hold the whole tag.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// Whether the bytes hold the whole tag.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        require(self.buffer.as_ref().len(), HEADER_LEN)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Tag control information.
    #[inline]
    pub fn tci(&self) -> Tci {
        Tci(u16_at(self.buffer.as_ref(), field::TCI))
    }

    /// What follows the tag.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16_at(self.buffer.as_ref(), field::ETHERTYPE))
    }

    /// Everything after the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the tag control information.
    #[inline]
    pub fn set_tci(&mut self, tci: Tci) {
        set_u16_at(self.buffer.as_mut(), field::TCI, tci.0);
    }

    /// Sets the type of what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        set_u16_at(self.buffer.as_mut(), field::ETHERTYPE, ethertype.0);
    }

    /// Everything after the tag.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// A VLAN tag as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Tag control information.
    pub tci: Tci,
    /// What follows the tag.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads a tag.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self { tci: packet.tci(), ethertype: packet.ethertype() })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the tag.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_tci(self.tci);
        packet.set_ethertype(self.ethertype);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vlan {} {}", self.tci, self.ethertype)
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "vlan ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet;
    use crate::testing::hex;
    use proptest::prelude::*;
    use std::string::ToString;

    // raw(Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01', type=0x88a8)/
    //     Dot1Q(vlan=100, prio=5, dei=1, type=0x8100)/Dot1Q(vlan=4094, prio=0, type=0x0806)/b'\x01')
    const GOLDEN: &str = "020000000002 020000000001 88a8 b0648100 0ffe0806 01";

    #[test]
    fn a_golden_double_tag_reads_field_by_field() {
        let bytes = hex(GOLDEN);
        let frame = ethernet::Packet::new_checked(&bytes).unwrap();
        assert_eq!(frame.ethertype(), EtherType::QINQ);
        let outer = Packet::new_checked(frame.payload()).unwrap();
        assert_eq!(outer.tci(), Tci::new(5, true, 100).unwrap());
        assert_eq!(outer.ethertype(), EtherType::VLAN);
        assert_eq!(outer.to_string(), "vlan vid 100 pcp 5 dei vlan");
        let inner = Packet::new_checked(outer.payload()).unwrap();
        assert_eq!((inner.tci().pcp(), inner.tci().dei(), inner.tci().vid()), (0, false, 4094));
        assert_eq!(inner.ethertype(), EtherType::ARP);
        assert_eq!(inner.payload(), [1]);
    }

    #[test]
    fn values_out_of_range_make_no_tag() {
        assert_eq!(Tci::new(8, false, 0), None);
        assert_eq!(Tci::new(0, false, 4096), None);
        assert_eq!(Packet::new_checked([0; 3]), Err(WireError::Truncated { needed: 4, have: 3 }));
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(tci: u16, ethertype: u16) {
            let repr = Repr { tci: Tci(tci), ethertype: EtherType(ethertype) };
            let mut bytes = [0; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes[..]));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }

        #[test]
        fn every_word_is_made_of_its_three_parts(bits: u16, vid in 0u16..4096, pcp in 0u8..8) {
            let tci = Tci(bits);
            prop_assert_eq!(Tci::new(tci.pcp(), tci.dei(), tci.vid()), Some(tci));
            prop_assert_eq!(tci.with_vid(vid), Tci::new(tci.pcp(), tci.dei(), vid).unwrap());
            prop_assert_eq!(tci.with_pcp(pcp), Tci::new(pcp, tci.dei(), tci.vid()).unwrap());
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                let _ = (packet.tci(), packet.ethertype(), packet.payload().len());
            }
        }
    }
}
