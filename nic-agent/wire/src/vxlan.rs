//! VXLAN headers (RFC 7348 section 5).

use core::fmt;

use crate::bytes::{set_u32_at, u32_at};
use crate::error::{WireError, require};

mod field {
    pub(super) const FLAGS: usize = 0;
    /// With a reserved byte behind it.
    pub(super) const VNI: usize = 4;
}

/// Length of the header.
pub const HEADER_LEN: usize = 8;

/// UDP destination port (RFC 7348 section 8).
pub const PORT: u16 = 4789;

/// The largest VNI.
pub const MAX_VNI: u32 = 0x00ff_ffff;

/// The I flag: the VNI is valid.
const VALID: u8 = 0x08;

/// A view of a VXLAN packet, from the header on.
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

    /// Whether the header says that its VNI is valid, as every header must.
    #[inline]
    pub fn has_vni(&self) -> bool {
        self.buffer.as_ref()[field::FLAGS] & VALID != 0
    }

    /// VXLAN network identifier, 24 bits.
    #[inline]
    pub fn vni(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::VNI) >> 8
    }

    /// The frame in the tunnel, to the end of the buffer.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the flags to the only ones there are: the VNI is valid. What is reserved beside them
    /// becomes zero.
    #[inline]
    pub fn set_flags(&mut self) {
        set_u32_at(self.buffer.as_mut(), field::FLAGS, u32::from(VALID) << 24);
    }

    /// Sets the VNI, of which 24 bits count; the reserved byte behind it becomes zero.
    #[inline]
    pub fn set_vni(&mut self, vni: u32) {
        set_u32_at(self.buffer.as_mut(), field::VNI, vni << 8);
    }

    /// The frame in the tunnel.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// A VXLAN header as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
}

impl Repr {
    /// Reads a header; what is reserved in it is passed over.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        if !packet.has_vni() {
            return Err(WireError::NoVni);
        }
        Ok(Self { vni: packet.vni() })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_flags();
        packet.set_vni(self.vni);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vxlan vni {}", self.vni)
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "vxlan ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;
    use std::string::ToString;

    // raw(VXLAN(flags=0x08, vni=0xabcdef)/b'\x01\x02')
    const GOLDEN: &str = "08000000 abcdef00 0102";

    #[test]
    fn a_golden_header_reads_and_emits() {
        let bytes = hex(GOLDEN);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert!(packet.has_vni());
        assert_eq!(packet.vni(), 0xabcdef);
        assert_eq!(packet.payload(), [1, 2]);
        assert_eq!(packet.to_string(), "vxlan vni 11259375");
        let mut out = [0xff; HEADER_LEN];
        Repr::parse(&packet).unwrap().emit(&mut Packet::new_unchecked(&mut out[..]));
        assert_eq!(out[..], bytes[..HEADER_LEN]);
    }

    #[test]
    fn reserved_bits_are_ignored_and_the_flag_is_not() {
        let bytes = hex("ffffffff 000007ff");
        assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(Repr { vni: 7 }));
        let bytes = hex("f7ffffff 000007ff");
        assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Err(WireError::NoVni));
        let error = Packet::new_checked([8; 7]).unwrap_err();
        assert_eq!(error, WireError::Truncated { needed: 8, have: 7 });
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back_and_has_nothing_reserved(vni in 0..=MAX_VNI) {
            let repr = Repr { vni };
            let mut bytes = [0xff; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes[..]));
            prop_assert_eq!(&bytes[..4], [8, 0, 0, 0]);
            prop_assert_eq!(bytes[7], 0);
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }

        #[test]
        fn no_getter_of_a_checked_view_panics(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                let _ = (packet.has_vni(), packet.vni(), packet.payload().len(), packet.to_string());
            }
        }
    }
}
