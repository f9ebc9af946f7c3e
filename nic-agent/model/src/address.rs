//! Addresses as clients write them.

use std::fmt;
use std::net::IpAddr;

use nic_flow::MacAddr;

use crate::violation::Reason;

/// A host's address with the prefix of the network that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// Reads an address as `192.0.2.1/24`: of a host, so neither the network's own nor its broadcast
    /// address (RFC 1122 section 3.2.1.3), nor the anycast address of its routers (RFC 4291 section
    /// 2.6.1). Networks of two or one address have none of these (RFC 3021, RFC 6164).
    ///
    /// # Errors
    /// Why it is no such address.
    pub(crate) fn parse(text: &str) -> Result<Cidr, Reason> {
        if text.is_empty() {
            return Err(Reason::Required);
        }
        let form =
            || Reason::Malformed("an address and a prefix length such as 192.0.2.1/24 or 2001:db8::1/64");
        let (address, length) = text.split_once('/').ok_or_else(form)?;
        // `parse` would take a sign, which no other reader of this form does.
        if !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form());
        }
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let length: u8 = length.parse().map_err(|_| form())?;
        if length == 0 || length > width(address) {
            return Err(Reason::Malformed(
                "a prefix length of at most 32 for IPv4 or 128 for IPv6, and not 0",
            ));
        }
        host(address)?;
        let cidr = Cidr { address, length };
        if cidr.has_host(address) { Ok(cidr) } else { Err(NOT_A_HOST) }
    }

    /// The host's address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the address that the network shares.
    pub const fn prefix_length(self) -> u8 {
        self.length
    }

    /// True if an address is inside the network.
    pub fn contains(self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4() && self.network(self.address) == self.network(other)
    }

    /// True if an address inside the network is that of a host, or one outside.
    pub(crate) fn has_host(self, other: IpAddr) -> bool {
        let free = width(self.address) - self.length;
        if !self.contains(other) || free < 2 {
            return true;
        }
        let low = bits(other) & ((1 << free) - 1);
        low != 0 && !(other.is_ipv4() && low == (1 << free) - 1)
    }

    fn network(self, address: IpAddr) -> u128 {
        bits(address).checked_shr(u32::from(width(address) - self.length)).unwrap_or(0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

const NOT_A_HOST: Reason =
    Reason::Malformed("the address of one host: not its network's own or broadcast address");

/// Reads the address of a host that others reach by it alone, without a link.
///
/// # Errors
/// Why it is no such address.
pub(crate) fn host_address(text: &str) -> Result<IpAddr, Reason> {
    let address = station_address(text)?;
    host(address)?;
    Ok(address)
}

/// Reads the address of a station on a link: also one that means something only there.
///
/// # Errors
/// Why it is no such address.
pub(crate) fn station_address(text: &str) -> Result<IpAddr, Reason> {
    if text.is_empty() {
        return Err(Reason::Required);
    }
    let address: IpAddr =
        text.parse().map_err(|_| Reason::Malformed("an address such as 192.0.2.1 or 2001:db8::1"))?;
    unicast(address)?;
    Ok(address)
}

fn host(address: IpAddr) -> Result<(), Reason> {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Err(Reason::Malformed("an address that is not of one link alone (fe80::/10)"))
        }
        address => unicast(address),
    }
}

fn unicast(address: IpAddr) -> Result<(), Reason> {
    let unicast = match address {
        // 0.0.0.0/8 and 240.0.0.0/4, the broadcast address among them, are no hosts' (RFC 6890).
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first < 240 && !v4.is_multicast() && !v4.is_loopback()
        }
        IpAddr::V6(v6) => {
            !v6.is_multicast() && !v6.is_loopback() && !v6.is_unspecified() && v6.to_ipv4_mapped().is_none()
        }
    };
    let reason =
        Reason::Malformed("the address of one host: not multicast, broadcast, loopback or unspecified");
    if unicast { Ok(()) } else { Err(reason) }
}

/// Reads the MAC address of one station.
///
/// # Errors
/// Why it is none.
pub(crate) fn mac_address(text: &str) -> Result<MacAddr, Reason> {
    match text.parse::<MacAddr>() {
        Ok(mac) if mac.is_unicast() => Ok(mac),
        Ok(_) => Err(Reason::Malformed("the address of one station: neither a group address nor zero")),
        Err(_) => Err(Reason::Malformed("a MAC address such as 02:00:00:00:00:01")),
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_host_is_read_and_written_alike() {
        let hosts = [
            "192.0.2.1/24",
            "192.0.2.254/24",
            "10.0.0.0/31",
            "10.0.0.1/31",
            "10.0.0.0/32",
            "169.254.1.1/16",
            "2001:db8::1/64",
            "2001:db8::ffff:ffff:ffff:ffff/64",
            "2001:db8::/127",
            "2001:db8::/128",
            "fd00::1/1",
        ];
        for text in hosts {
            assert_eq!(Cidr::parse(text).map(|cidr| cidr.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_host_s_address_is_refused() {
        let others = [
            "",
            "192.0.2.1",
            "192.0.2.1/",
            "192.0.2.1/+24",
            "192.0.2.1/0",
            "192.0.2.1/33",
            "192.0.2.1/256",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "0.0.0.0/8",
            "0.1.2.3/8",
            "127.0.0.1/8",
            "224.0.0.5/24",
            "255.255.255.255/32",
            "2001:db8::/64",
            "2001:db8::1/129",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "fe80::1/64",
            "::ffff:192.0.2.1/120",
            "2001:db8::1%eth0/64",
        ];
        for text in others {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        let cidr = Cidr::parse("192.0.2.130/25").expect("valid");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(cidr.contains(address("192.0.2.128")) && !cidr.contains(address("192.0.2.127")));
        assert!(!cidr.contains(address("::c000:282")));
        assert!(!cidr.has_host(address("192.0.2.128")) && !cidr.has_host(address("192.0.2.255")));
        assert!(cidr.has_host(address("192.0.2.129")) && cidr.has_host(address("192.0.2.127")));
    }
}
