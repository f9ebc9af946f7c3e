//! ICMP for IPv6, neighbour discovery included.
//!
//! Neighbour discovery trusts only messages that arrive with a hop limit of 255
//! and code 0; who has the IPv6 header checks that.

use core::fmt;
use core::net::Ipv6Addr;

use crate::bytes::{array_at, set_array_at, set_u16_at, set_u32_at, u16_at, u32_at};
use crate::checksum::Pseudo;
use crate::error::{WireError, require};
use crate::{IpProto, MacAddr};

/// Type of an ICMPv6 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Kind(pub u8);

impl Kind {
    /// A packet could not be delivered.
    pub const DST_UNREACHABLE: Self = Self(1);
    /// A packet was too big for the next hop.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// A packet's hop limit ran out.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(129);
    /// Who has the target address?
    pub const NEIGHBOR_SOLICIT: Self = Self(135);
    /// The sender has the target address.
    pub const NEIGHBOR_ADVERT: Self = Self(136);

    /// Whether bytes 8 to 24 of the message are a target address.
    #[inline]
    #[must_use]
    pub const fn is_neighbor(self) -> bool {
        matches!(self, Self::NEIGHBOR_SOLICIT | Self::NEIGHBOR_ADVERT)
    }
}

/// Flags of a neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AdvertFlags {
    /// The sender is a router.
    pub router: bool,
    /// The message answers a solicitation.
    pub solicited: bool,
    /// The address replaces what a cache holds.
    pub replace: bool,
}

mod field {
    pub(super) const KIND: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: usize = 2;
    pub(super) const REST: usize = 4;
    pub(super) const ECHO_IDENT: usize = 4;
    pub(super) const ECHO_SEQ: usize = 6;
    pub(super) const MTU: usize = 4;
    pub(super) const ADVERT_FLAGS: usize = 4;
    pub(super) const TARGET: usize = 8;
}

/// Length of a neighbour message without its options.
pub const NEIGHBOR_LEN: usize = 24;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const REPLACE: u8 = 0x20;

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
const OPTION_LINK_LEN: usize = 8;

/// Length of the part that all messages have.
pub const HEADER_LEN: usize = 8;

/// A view of an ICMPv6 message.
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

    /// Whether the bytes hold the whole header, of a neighbour message with its
    /// target address.
    #[inline]
    pub fn check_len(&self) -> Result<(), WireError> {
        let have = self.buffer.as_ref().len();
        require(have, HEADER_LEN)?;
        if self.kind().is_neighbor() {
            require(have, NEIGHBOR_LEN)?;
        }
        Ok(())
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

    /// MTU of the hop that a packet was too big for.
    #[inline]
    pub fn mtu(&self) -> u32 {
        u32_at(self.buffer.as_ref(), field::MTU)
    }

    /// Flags of a neighbour advertisement.
    #[inline]
    pub fn advert_flags(&self) -> AdvertFlags {
        let bits = self.buffer.as_ref()[field::ADVERT_FLAGS];
        AdvertFlags {
            router: bits & ROUTER != 0,
            solicited: bits & SOLICITED != 0,
            replace: bits & REPLACE != 0,
        }
    }

    /// Target address, if this is a neighbour message.
    #[inline]
    pub fn target(&self) -> Option<Ipv6Addr> {
        if !self.kind().is_neighbor() {
            return None;
        }
        Some(array_at::<16>(self.buffer.as_ref(), field::TARGET).into())
    }

    /// The hardware address that a neighbour message tells in its source (of a
    /// solicitation) or target (of an advertisement) link-layer option.
    pub fn link_address(&self) -> Result<Option<MacAddr>, WireError> {
        let wanted = match self.kind() {
            Kind::NEIGHBOR_ADVERT => OPTION_TARGET_LINK,
            _ => OPTION_SOURCE_LINK,
        };
        let bytes = self.buffer.as_ref();
        let mut at = NEIGHBOR_LEN;
        while at < bytes.len() {
            require(bytes.len(), at + 2)?;
            let (kind, length) = (bytes[at], usize::from(bytes[at + 1]) * 8);
            if length == 0 || kind == wanted && length != OPTION_LINK_LEN {
                return Err(WireError::BadOption(kind));
            }
            require(bytes.len(), at + length)?;
            if kind == wanted {
                return Ok(Some(MacAddr(array_at(bytes, at + 2))));
            }
            at += length;
        }
        Ok(None)
    }

    /// What follows the first eight bytes.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }

    /// Whether the checksum is right; the bytes must end where IP's payload does.
    pub fn verify_checksum(&self, pseudo: Pseudo) -> bool {
        let message = self.buffer.as_ref();
        pseudo.sum(IpProto::ICMPV6, message.len()).bytes(message).checksum() == 0
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
    pub fn set_mtu(&mut self, mtu: u32) {
        set_u32_at(self.buffer.as_mut(), field::MTU, mtu);
    }

    /// Sets the flags of a neighbour advertisement.
    #[inline]
    pub fn set_advert_flags(&mut self, flags: AdvertFlags) {
        let bit = |set, bit| if set { bit } else { 0 };
        self.buffer.as_mut()[field::ADVERT_FLAGS] =
            bit(flags.router, ROUTER) | bit(flags.solicited, SOLICITED) | bit(flags.replace, REPLACE);
    }

    /// Sets the target address of a neighbour message.
    #[inline]
    pub fn set_target(&mut self, target: Ipv6Addr) {
        set_array_at(self.buffer.as_mut(), field::TARGET, target.octets());
    }

    /// What follows the first eight bytes.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }

    /// Computes the checksum and sets it; the bytes must end where IP's payload
    /// does.
    pub fn fill_checksum(&mut self, pseudo: Pseudo) {
        self.set_checksum(0);
        let message = self.buffer.as_ref();
        let sum = pseudo.sum(IpProto::ICMPV6, message.len()).bytes(message).checksum();
        self.set_checksum(sum);
    }
}

/// An ICMPv6 message as values.
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
        /// The packet, or its beginning.
        original: &'a [u8],
    },
    /// A packet was too big for the next hop.
    PacketTooBig {
        /// MTU of the next hop.
        mtu: u32,
        /// The packet, or its beginning.
        original: &'a [u8],
    },
    /// A packet's hop limit ran out.
    TimeExceeded {
        /// In transit or in reassembly.
        code: u8,
        /// The packet, or its beginning.
        original: &'a [u8],
    },
    /// Who has the target address?
    NeighborSolicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// Hardware address of who asks.
        link: Option<MacAddr>,
    },
    /// The sender has the target address.
    NeighborAdvert {
        /// Flags.
        flags: AdvertFlags,
        /// The address told about.
        target: Ipv6Addr,
        /// Its hardware address.
        link: Option<MacAddr>,
    },
}

impl<'a> Repr<'a> {
    /// Reads a message.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, WireError> {
        packet.check_len()?;
        let (ident, seq, code) = (packet.echo_ident(), packet.echo_seq(), packet.code());
        let rest = packet.payload();
        if let Some(target) = packet.target() {
            let link = packet.link_address()?;
            return Ok(match packet.kind() {
                Kind::NEIGHBOR_SOLICIT => Self::NeighborSolicit { target, link },
                _ => Self::NeighborAdvert { flags: packet.advert_flags(), target, link },
            });
        }
        Ok(match packet.kind() {
            Kind::ECHO_REQUEST => Self::EchoRequest { ident, seq, data: rest },
            Kind::ECHO_REPLY => Self::EchoReply { ident, seq, data: rest },
            Kind::DST_UNREACHABLE => Self::DstUnreachable { code, original: rest },
            Kind::PACKET_TOO_BIG => Self::PacketTooBig { mtu: packet.mtu(), original: rest },
            Kind::TIME_EXCEEDED => Self::TimeExceeded { code, original: rest },
            Kind(kind) => return Err(WireError::UnknownType(kind)),
        })
    }

    /// Bytes that [`Repr::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self {
            Self::EchoRequest { data, .. } | Self::EchoReply { data, .. } => HEADER_LEN + data.len(),
            Self::DstUnreachable { original, .. }
            | Self::PacketTooBig { original, .. }
            | Self::TimeExceeded { original, .. } => HEADER_LEN + original.len(),
            Self::NeighborSolicit { link, .. } | Self::NeighborAdvert { link, .. } => {
                if link.is_some() {
                    NEIGHBOR_LEN + OPTION_LINK_LEN
                } else {
                    NEIGHBOR_LEN
                }
            }
        }
    }

    /// Writes the message, checksum included, into exactly
    /// [`Repr::buffer_len`] bytes.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, pseudo: Pseudo) {
        packet.set_kind(self.kind());
        packet.set_code(0);
        packet.clear_rest();
        match *self {
            Self::EchoRequest { ident, seq, data } | Self::EchoReply { ident, seq, data } => {
                packet.set_echo_ident(ident);
                packet.set_echo_seq(seq);
                packet.payload_mut().copy_from_slice(data);
            }
            Self::DstUnreachable { code, original } | Self::TimeExceeded { code, original } => {
                packet.set_code(code);
                packet.payload_mut().copy_from_slice(original);
            }
            Self::PacketTooBig { mtu, original } => {
                packet.set_mtu(mtu);
                packet.payload_mut().copy_from_slice(original);
            }
            Self::NeighborSolicit { target, link } => {
                emit_neighbor(packet, target, OPTION_SOURCE_LINK, link);
            }
            Self::NeighborAdvert { flags, target, link } => {
                packet.set_advert_flags(flags);
                emit_neighbor(packet, target, OPTION_TARGET_LINK, link);
            }
        }
        packet.fill_checksum(pseudo);
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::EchoRequest { .. } => Kind::ECHO_REQUEST,
            Self::EchoReply { .. } => Kind::ECHO_REPLY,
            Self::DstUnreachable { .. } => Kind::DST_UNREACHABLE,
            Self::PacketTooBig { .. } => Kind::PACKET_TOO_BIG,
            Self::TimeExceeded { .. } => Kind::TIME_EXCEEDED,
            Self::NeighborSolicit { .. } => Kind::NEIGHBOR_SOLICIT,
            Self::NeighborAdvert { .. } => Kind::NEIGHBOR_ADVERT,
        }
    }
}

fn emit_neighbor<T: AsRef<[u8]> + AsMut<[u8]>>(
    packet: &mut Packet<T>,
    target: Ipv6Addr,
    option: u8,
    link: Option<MacAddr>,
) {
    packet.set_target(target);
    if let Some(mac) = link {
        let bytes = &mut packet.buffer.as_mut()[NEIGHBOR_LEN..];
        set_array_at(bytes, 0, [option, (OPTION_LINK_LEN / 8) as u8]);
        set_array_at(bytes, 2, mac.0);
    }
}

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match self {
            Self::EchoRequest { ident, seq, .. } => {
                return write!(f, "icmp6 echo request ident {ident} seq {seq}");
            }
            Self::EchoReply { ident, seq, .. } => {
                return write!(f, "icmp6 echo reply ident {ident} seq {seq}");
            }
            Self::DstUnreachable { code, .. } => {
                return write!(f, "icmp6 unreachable code {code}");
            }
            Self::PacketTooBig { mtu, .. } => return write!(f, "icmp6 too big mtu {mtu}"),
            Self::TimeExceeded { code, .. } => {
                return write!(f, "icmp6 time exceeded code {code}");
            }
            Self::NeighborSolicit { target, link } => {
                write!(f, "icmp6 neighbor solicit {target}")?;
                link
            }
            Self::NeighborAdvert { target, link, .. } => {
                write!(f, "icmp6 neighbor advert {target}")?;
                link
            }
        };
        link.map_or(Ok(()), |mac| write!(f, " from {mac}"))
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Repr::parse(self) {
            Ok(repr) => repr.fmt(f),
            Err(error) => write!(f, "icmp6 ({error})"),
        }
    }
}

#[cfg(test)]
mod tests;
