//! Why bytes are not the header they were taken for.

use core::fmt;

/// Why bytes are not the header they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireError {
    /// The bytes end before the fixed header, or before the length it states.
    Truncated {
        /// Bytes that the header asks for.
        needed: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The header states a length shorter than itself.
    BadLength {
        /// The length stated, in bytes.
        stated: usize,
        /// The least it may be, in bytes.
        minimum: usize,
    },
    /// The IP version nibble is another protocol's.
    BadVersion(u8),
    /// An ARP message about something else than IPv4 over Ethernet.
    NotEthernetIpv4,
    /// More IPv6 extension headers than a walk follows.
    TooManyExtensions,
    /// A second IPv6 fragment header in one packet.
    RepeatedFragment,
    /// A message type that the `Repr` does not model.
    UnknownType(u8),
    /// A neighbour discovery option of length zero or of the wrong length for
    /// its type.
    BadOption(u8),
    /// A VXLAN header that does not say that its VNI is valid.
    NoVni,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, have } => {
                write!(f, "truncated: {needed} bytes needed, {have} there")
            }
            Self::BadLength { stated, minimum } => {
                write!(f, "length field says {stated} bytes, at least {minimum} needed")
            }
            Self::BadVersion(version) => write!(f, "IP version {version}"),
            Self::NotEthernetIpv4 => f.write_str("ARP for other than IPv4 over Ethernet"),
            Self::TooManyExtensions => f.write_str("too many IPv6 extension headers"),
            Self::RepeatedFragment => f.write_str("second IPv6 fragment header"),
            Self::UnknownType(kind) => write!(f, "message type {kind} not known"),
            Self::BadOption(kind) => write!(f, "option {kind} has a bad length"),
            Self::NoVni => f.write_str("no valid VNI"),
        }
    }
}

impl core::error::Error for WireError {}

/// `Ok` if `have` reaches `needed`.
#[inline]
pub(crate) fn require(have: usize, needed: usize) -> Result<(), WireError> {
    if have < needed {
        return Err(WireError::Truncated { needed, have });
    }
    Ok(())
}
