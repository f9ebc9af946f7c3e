//! The Vtep resource.

use std::net::IpAddr;

use nic_flow::{MacAddr, PortId};
use nic_policy::VtepId;

use crate::address::{Cidr, host_address, mac_address};
use crate::name::{Kind, ResourceId};
use crate::port::MAX_VLAN;
use crate::violation::{Faults, Part, Reason, Violation, number};

/// Time to live or hop limit of a VTEP that names none (RFC 1700).
pub const DEFAULT_TTL: u8 = 64;
/// The largest differentiated services code point (RFC 2474 section 3).
pub const MAX_DSCP: u8 = 63;

/// What a client wants of a VTEP. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VtepSpec {
    port: ResourceId,
    vlan: Option<u16>,
    cidr: Cidr,
    gateway: Option<IpAddr>,
    mac: Option<MacAddr>,
    ttl: u8,
    dscp: u8,
}

/// A VTEP's spec as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct VtepFields<'a> {
    /// The name of the Port.
    pub port: &'a str,
    /// 0 for untagged.
    pub vlan: u32,
    /// Address and prefix length.
    pub address: &'a str,
    /// Empty for none.
    pub gateway: &'a str,
    /// Empty for one derived from the address.
    pub mac_address: &'a str,
    /// 0 means [`DEFAULT_TTL`].
    pub ttl: u32,
    /// Differentiated services code point.
    pub dscp: u32,
}

impl VtepSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &VtepFields<'_>) -> Result<VtepSpec, Vec<Violation>> {
        let mut faults = Faults::default();
        let port = faults.check(Part::Port, Kind::Port.required(fields.port));
        let vlan = faults.check(Part::Vlan, number(fields.vlan, 1..=MAX_VLAN, 0));
        let cidr = faults.check(Part::Address, Cidr::parse(fields.address));
        let gateway = faults.check(Part::Gateway, gateway(fields.gateway, cidr));
        let mac = match fields.mac_address {
            "" => Some(None),
            text => faults.check(Part::Mac, mac_address(text)).map(Some),
        };
        let ttl = faults.check(Part::Ttl, number(fields.ttl, 1..=u8::MAX, DEFAULT_TTL));
        let dscp = faults.check(Part::Dscp, number(fields.dscp, 0..=MAX_DSCP, 0));
        let spec = (|| {
            Some(VtepSpec {
                port: port?,
                vlan: vlan.filter(|&vlan| vlan != 0),
                cidr: cidr?,
                gateway: gateway?,
                mac: mac?,
                ttl: ttl?,
                dscp: dscp?,
            })
        })();
        faults.finish(spec)
    }

    /// The Port to the underlay network.
    pub const fn port(&self) -> &ResourceId {
        &self.port
    }

    /// The VLAN there; `None` for untagged.
    pub const fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// The address, with its network.
    pub const fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// The address.
    pub const fn address(&self) -> IpAddr {
        self.cidr.address()
    }

    /// The next hop towards peers outside the network.
    pub const fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The MAC address as set; `None` if it is derived.
    pub const fn set_mac_address(&self) -> Option<MacAddr> {
        self.mac
    }

    /// The MAC address that counts.
    pub fn mac_address(&self) -> MacAddr {
        self.mac.unwrap_or_else(|| derived_mac(self.address()))
    }

    /// Time to live or hop limit of what it sends.
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Differentiated services code point of what it sends.
    pub const fn dscp(&self) -> u8 {
        self.dscp
    }

    /// Octets that a tunnel of this VTEP adds to a layer 3 packet: the inner Ethernet header, VXLAN, UDP
    /// and IP (RFC 7348 section 5).
    pub const fn overhead(&self) -> u16 {
        match self.address() {
            IpAddr::V4(_) => 14 + 8 + 8 + 20,
            IpAddr::V6(_) => 14 + 8 + 8 + 40,
        }
    }

    /// The policy that this spec becomes; `None` if `device` does not know the Port.
    pub fn policy(
        &self,
        id: VtepId,
        device: impl Fn(&ResourceId) -> Option<PortId>,
    ) -> Option<nic_policy::Vtep> {
        Some(nic_policy::Vtep {
            id,
            uplink: device(&self.port)?,
            vlan: self.vlan,
            mac: self.mac_address(),
            address: self.address(),
            prefix_length: self.cidr.prefix_length(),
            gateway: self.gateway,
            ttl: self.ttl,
            dscp: self.dscp,
        })
    }
}

fn gateway(text: &str, cidr: Option<Cidr>) -> Result<Option<IpAddr>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    let gateway = host_address(text)?;
    match cidr {
        Some(cidr) if !cidr.contains(gateway) || !cidr.has_host(gateway) => {
            Err(Reason::Conflict("it must be the address of a host in the network of spec.address"))
        }
        Some(cidr) if cidr.address() == gateway => {
            Err(Reason::Conflict("it is spec.address itself: a VTEP is not its own gateway"))
        }
        _ => Ok(Some(gateway)),
    }
}

/// A locally administered address that stays the same as long as the IP address does: the octets of
/// an IPv4 address, or 40 bits of the FNV-1a hash of an IPv6 address.
fn derived_mac(address: IpAddr) -> MacAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            MacAddr([0x02, 0x4e, a, b, c, d])
        }
        IpAddr::V6(v6) => {
            let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            let hash = v6.octets().into_iter().fold(0xcbf2_9ce4_8422_2325, fnv);
            // The low bits of FNV depend on fewer input bits than the high ones, so both are used.
            let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
            MacAddr([0x02, a ^ f, b ^ g, c ^ h, d, e])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: VtepFields<'static> = VtepFields {
        port: "ports/p0",
        vlan: 0,
        address: "192.0.2.1/24",
        gateway: "",
        mac_address: "",
        ttl: 0,
        dscp: 0,
    };

    fn faults(fields: &VtepFields<'_>) -> Vec<String> {
        let violations = VtepSpec::parse(fields).expect_err("the spec is invalid");
        violations.iter().map(Violation::field).collect()
    }

    #[test]
    fn a_spec_with_what_is_required_has_the_documented_defaults() {
        let spec = VtepSpec::parse(&FIELDS).expect("valid");
        assert_eq!((spec.vlan(), spec.gateway(), spec.ttl(), spec.dscp()), (None, None, 64, 0));
        assert_eq!((spec.set_mac_address(), spec.overhead()), (None, 50));
    }

    #[test]
    fn a_derived_mac_address_is_that_of_one_station_and_follows_the_address() {
        let mac = |address| VtepSpec::parse(&VtepFields { address, ..FIELDS }).expect("valid").mac_address();
        assert_eq!(mac("192.0.2.1/24").to_string(), "02:4e:c0:00:02:01");
        assert_eq!(mac("192.0.2.1/25"), mac("192.0.2.1/24"));
        let (one, two) = (mac("2001:db8::1/64"), mac("2001:db8::2/64"));
        assert!(one != two && one.is_unicast() && one.0[0] == 2 && two.0[0] == 2);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let fields = VtepFields {
            port: "p0",
            vlan: 4095,
            address: "192.0.2.0/24",
            gateway: "gw",
            mac_address: "01:00:5e:00:00:01",
            ttl: 256,
            dscp: 64,
        };
        let expected = ["port", "vlan", "address", "gateway", "macAddress", "ttl", "dscp"];
        assert_eq!(faults(&fields), expected.map(|field| format!("spec.{field}")));
        assert_eq!(faults(&VtepFields::default()), ["spec.port", "spec.address"]);
    }

    #[test]
    fn the_gateway_is_another_host_of_the_network() {
        let gateway = |gateway| VtepSpec::parse(&VtepFields { gateway, ..FIELDS }).is_ok();
        assert!(gateway("192.0.2.254"));
        for other in ["192.0.2.1", "192.0.2.0", "192.0.2.255", "192.0.3.1", "2001:db8::1", "127.0.0.1"] {
            assert!(!gateway(other), "{other}");
        }
    }

    #[test]
    fn the_edges_of_the_ranges_are_as_documented() {
        let vlan = |vlan| VtepSpec::parse(&VtepFields { vlan, ..FIELDS }).map(|spec| spec.vlan());
        assert_eq!((vlan(1), vlan(4094)), (Ok(Some(1)), Ok(Some(4094))));
        let dscp = |dscp| VtepSpec::parse(&VtepFields { dscp, ..FIELDS }).map(|spec| spec.dscp());
        assert_eq!((dscp(0), dscp(63)), (Ok(0), Ok(63)));
        let ttl = |ttl| VtepSpec::parse(&VtepFields { ttl, ..FIELDS }).map(|spec| spec.ttl());
        assert_eq!((ttl(1), ttl(255)), (Ok(1), Ok(255)));
    }
}
