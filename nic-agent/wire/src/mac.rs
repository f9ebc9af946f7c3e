//! The Ethernet hardware address.

use core::fmt;
use core::str::FromStr;

/// An Ethernet hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`, which no station owns.
    pub const ZERO: Self = Self([0; 6]);

    /// The six bytes in the order of the wire.
    #[inline]
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address as a number: the first byte of the wire is the highest.
    #[inline]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address whose number is the low 48 bits of `bits`.
    #[inline]
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Whether the group bit is set; true of broadcast too.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether the address can name one station: neither a group nor zero.
    #[inline]
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !self.is_zero()
    }

    /// Whether every bit is set.
    #[inline]
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.to_u64() == Self::BROADCAST.to_u64()
    }

    /// Whether no bit is set.
    #[inline]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.to_u64() == 0
    }

    /// Whether the address was given out locally instead of by a manufacturer.
    #[inline]
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl From<MacAddr> for [u8; 6] {
    fn from(mac: MacAddr) -> Self {
        mac.0
    }
}

/// Why text is not a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacParseError {
    /// Not six groups.
    GroupCount(usize),
    /// The group at this place, from 0, is not one or two hexadecimal digits.
    BadGroup(usize),
}

impl fmt::Display for MacParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GroupCount(count) => write!(f, "a MAC address has 6 groups, not {count}"),
            Self::BadGroup(index) => {
                write!(f, "group {} is not one or two hexadecimal digits", index + 1)
            }
        }
    }
}

impl core::error::Error for MacParseError {}

impl FromStr for MacAddr {
    type Err = MacParseError;

    /// Reads `02:00:00:00:00:01`; `-` may stand for `:`.
    fn from_str(text: &str) -> Result<Self, MacParseError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let count = text.split(separator).count();
        if count != 6 {
            return Err(MacParseError::GroupCount(count));
        }
        let mut octets = [0; 6];
        for (index, (octet, group)) in octets.iter_mut().zip(text.split(separator)).enumerate() {
            // from_str_radix alone would also take a sign.
            let digits = group.bytes().all(|b| b.is_ascii_hexdigit());
            if !digits || !(1..=2).contains(&group.len()) {
                return Err(MacParseError::BadGroup(index));
            }
            *octet = u8::from_str_radix(group, 16).map_err(|_| MacParseError::BadGroup(index))?;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn an_address_reads_with_colons_or_dashes() {
        let mac = MacAddr([0x02, 0xab, 0, 0, 0, 0x1f]);
        assert_eq!("02:ab:00:00:00:1f".parse(), Ok(mac));
        assert_eq!("02-AB-0-00-00-1F".parse(), Ok(mac));
    }

    #[test]
    fn bad_text_names_the_group() {
        assert_eq!("02:00".parse::<MacAddr>(), Err(MacParseError::GroupCount(2)));
        assert_eq!("".parse::<MacAddr>(), Err(MacParseError::GroupCount(1)));
        assert_eq!("02:00:00:0g:00:00".parse::<MacAddr>(), Err(MacParseError::BadGroup(3)));
        assert_eq!("+2:00:00:00:00:00".parse::<MacAddr>(), Err(MacParseError::BadGroup(0)));
        assert_eq!("002:00:00:00:00:00".parse::<MacAddr>(), Err(MacParseError::BadGroup(0)));
        assert_eq!("02:00:00::00:00".parse::<MacAddr>(), Err(MacParseError::BadGroup(3)));
    }

    #[test]
    fn group_bits_are_told_apart() {
        assert!(MacAddr::BROADCAST.is_broadcast() && MacAddr::BROADCAST.is_multicast());
        assert!(!MacAddr::ZERO.is_unicast());
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_unicast() && MacAddr([2, 0, 0, 0, 0, 1]).is_local());
    }

    proptest! {
        #[test]
        fn text_and_number_round_trip(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = text.parse::<MacAddr>();
        }
    }
}
