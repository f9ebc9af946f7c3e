//! IPv6 headers and the walk over extension headers.

use core::fmt;
use core::net::Ipv6Addr;

use crate::IpProto;
use crate::bytes::{array_at, set_array_at, set_u16_at, set_u32_at, u16_at, u32_at};
use crate::error::{WireError, require};

mod field {
    pub(super) const VERSION_CLASS_FLOW: usize = 0;
    pub(super) const PAYLOAD_LEN: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SRC: usize = 8;
    pub(super) const DST: usize = 24;
}

/// Length of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Extension headers that a walk follows before it gives up.
pub const MAX_EXTENSIONS: usize = 8;

const FLOW_LABEL_MASK: u32 = 0x000f_ffff;

/// A view of an IPv6 packet.
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

    /// Whether the version is 6 and the bytes hold header and payload length.
    ///
    /// A jumbogram states a payload of 0 and reads as an empty packet.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let have = self.buffer.as_ref().len();
        require(have, HEADER_LEN)?;
        if self.version() != 6 {
            return Err(WireError::BadVersion(self.version()));
        }
        require(have, self.total_len())
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// IP version.
    #[inline]
    pub fn version(&self) -> u8 {
        self.buffer.as_ref()[field::VERSION_CLASS_FLOW] >> 4
    }

    /// The traffic class byte: DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (u16_at(self.buffer.as_ref(), field::VERSION_CLASS_FLOW) >> 4) as u8
    }

    /// Differentiated services code point.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Explicit congestion notification.
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// Flow label.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::VERSION_CLASS_FLOW) & FLOW_LABEL_MASK
    }

    /// Length of what follows the fixed header.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        u16_at(self.buffer.as_ref(), field::PAYLOAD_LEN)
    }

    /// Length of fixed header and payload.
    #[inline]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + usize::from(self.payload_len())
    }

    /// What follows the fixed header: an extension or the payload.
    #[inline]
    pub fn next_header(&self) -> IpProto {
        IpProto(self.buffer.as_ref()[field::NEXT_HEADER])
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_LIMIT]
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        array_at::<16>(self.buffer.as_ref(), field::SRC).into()
    }

    /// Destination address; with a routing header, of the next stop.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        array_at::<16>(self.buffer.as_ref(), field::DST).into()
    }

    /// What follows the fixed header, without link-layer padding.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.total_len()]
    }

    /// Walks the extension headers.
    #[inline]
    pub fn extensions(&self) -> Result<Extensions, WireError> {
        Extensions::walk(self.next_header(), self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets version 6, the traffic class and the flow label.
    #[inline]
    pub fn set_version_class_flow(&mut self, traffic_class: u8, flow_label: u32) {
        let word = 6 << 28 | u32::from(traffic_class) << 20 | flow_label & FLOW_LABEL_MASK;
        set_u32_at(self.buffer.as_mut(), field::VERSION_CLASS_FLOW, word);
    }

    /// Sets the length of what follows the fixed header.
    #[inline]
    pub fn set_payload_len(&mut self, length: u16) {
        set_u16_at(self.buffer.as_mut(), field::PAYLOAD_LEN, length);
    }

    /// Sets what follows the fixed header.
    #[inline]
    pub fn set_next_header(&mut self, next_header: IpProto) {
        self.buffer.as_mut()[field::NEXT_HEADER] = next_header.0;
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.buffer.as_mut()[field::HOP_LIMIT] = hop_limit;
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv6Addr) {
        set_array_at(self.buffer.as_mut(), field::SRC, src.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv6Addr) {
        set_array_at(self.buffer.as_mut(), field::DST, dst.octets());
    }

    /// What follows the fixed header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.total_len();
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }
}

/// What a fragment header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Where the fragment belongs, in bytes.
    pub offset: u16,
    /// Whether fragments follow this one.
    pub more: bool,
    /// Identification, common to the fragments of one packet.
    pub ident: u32,
}

impl Fragment {
    /// Whether the packet is whole in spite of its fragment header (RFC 6946).
    #[inline]
    #[must_use]
    pub const fn is_atomic(self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Where a walk over extension headers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extensions {
    /// What the payload is. In a fragment after the first: what the fragment
    /// header says, though the bytes there are the middle of something.
    pub proto: IpProto,
    /// Where the payload begins, counted from the end of the fixed header.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Fragment>,
    /// Whether a routing header sends the packet on to other stops: the address
    /// that transport checksums cover is then not the fixed header's.
    pub routed: bool,
}

impl Extensions {
    /// Walks the extension headers of `payload`, the first being `first`.
    ///
    /// Follows hop-by-hop, routing, fragment, authentication and
    /// destination-option headers, at most [`MAX_EXTENSIONS`], and stops at
    /// anything else and after the header of a later fragment.
    pub fn walk(first: IpProto, payload: &[u8]) -> Result<Self, WireError> {
        let mut at = Self { proto: first, offset: 0, fragment: None, routed: false };
        for _ in 0..MAX_EXTENSIONS {
            if !at.step(payload)? {
                return Ok(at);
            }
        }
        if is_extension(at.proto) && !at.is_later_fragment() {
            return Err(WireError::TooManyExtensions);
        }
        Ok(at)
    }

    /// Whether the payload is a fragment other than the first.
    #[inline]
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    /// Passes over one extension header; false if none is there.
    fn step(&mut self, payload: &[u8]) -> Result<bool, WireError> {
        if !is_extension(self.proto) || self.is_later_fragment() {
            return Ok(false);
        }
        require(payload.len(), self.offset + 8)?;
        let header = &payload[self.offset..];
        let length = match self.proto {
            IpProto::FRAGMENT => 8,
            IpProto::AH => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        require(payload.len(), self.offset + length)?;
        match self.proto {
            IpProto::FRAGMENT if self.fragment.is_some() => {
                return Err(WireError::RepeatedFragment);
            }
            IpProto::FRAGMENT => {
                let word = u16_at(header, 2);
                self.fragment =
                    Some(Fragment { offset: word & 0xfff8, more: word & 1 != 0, ident: u32_at(header, 4) });
            }
            // Byte 3 counts the stops that are left.
            IpProto::ROUTING => self.routed |= header[3] != 0,
            _ => {}
        }
        self.proto = IpProto(header[0]);
        self.offset += length;
        Ok(true)
    }
}

const fn is_extension(proto: IpProto) -> bool {
    matches!(
        proto,
        IpProto::HOP_BY_HOP | IpProto::ROUTING | IpProto::FRAGMENT | IpProto::AH | IpProto::DST_OPTS
    )
}

/// An IPv6 fixed header as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows the fixed header.
    pub next_header: IpProto,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Length of what follows the fixed header.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a fixed header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            payload_len: packet.payload_len(),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the fixed header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_version_class_flow(self.traffic_class, self.flow_label);
        packet.set_payload_len(self.payload_len);
        packet.set_next_header(self.next_header);
        packet.set_hop_limit(self.hop_limit);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, next_header, hop_limit, payload_len, .. } = self;
        write!(f, "ipv6 {src} > {dst} {next_header} hlim {hop_limit} len {payload_len}")?;
        if self.traffic_class != 0 {
            write!(f, " class {:#04x}", self.traffic_class)?;
        }
        Ok(())
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "ipv6 ({error})"),
        }
    }
}

#[cfg(test)]
mod tests;
