//! The FdbEntry resource.

use std::net::IpAddr;

use nic_flow::MacAddr;
use nic_policy::{BridgeId, Place};

use crate::address::{mac_address, station_address};
use crate::name::{Kind, Name, ResourceId};
use crate::violation::{Faults, Part, Reason, Violation};

/// IP addresses of a station, at most.
pub const MAX_STATION_ADDRESSES: usize = 16;

/// What a client wants of an FDB entry. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbEntrySpec {
    bridge: ResourceId,
    mac: MacAddr,
    place: StationPlace,
    addresses: Vec<IpAddr>,
}

/// Where a station is, by the resource there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StationPlace {
    /// Behind a Port.
    Port(ResourceId),
    /// Behind a TunnelPeer.
    TunnelPeer(ResourceId),
}

/// An FDB entry's spec as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct FdbEntryFields<'a> {
    /// The name of the Bridge.
    pub bridge: &'a str,
    /// The station's MAC address.
    pub mac_address: &'a str,
    /// The name of the Port that it is behind; empty if it is behind a TunnelPeer.
    pub port: &'a str,
    /// The name of the TunnelPeer that it is behind; empty if it is behind a Port.
    pub tunnel_peer: &'a str,
    /// The station's IP addresses.
    pub addresses: &'a [String],
}

impl StationPlace {
    /// The name of the resource.
    pub fn name(&self) -> Name {
        match self {
            StationPlace::Port(port) => Kind::Port.name(port.clone()),
            StationPlace::TunnelPeer(peer) => Kind::TunnelPeer.name(peer.clone()),
        }
    }

    /// The field that names it.
    pub(crate) const fn part(&self) -> Part {
        match self {
            StationPlace::Port(_) => Part::Port,
            StationPlace::TunnelPeer(_) => Part::TunnelPeer,
        }
    }
}

impl FdbEntrySpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &FdbEntryFields<'_>) -> Result<FdbEntrySpec, Vec<Violation>> {
        let mut faults = Faults::default();
        let bridge = faults.check(Part::Bridge, Kind::Bridge.required(fields.bridge));
        let mac = match fields.mac_address {
            "" => Err(Reason::Required),
            text => mac_address(text),
        };
        let mac = faults.check(Part::Mac, mac);
        let place = place(fields, &mut faults);
        let addresses = addresses(fields.addresses, &mut faults);
        let spec = bridge.zip(mac).zip(place).map(|((bridge, mac), place)| FdbEntrySpec {
            bridge,
            mac,
            place,
            addresses,
        });
        faults.finish(spec)
    }

    /// The Bridge.
    pub const fn bridge(&self) -> &ResourceId {
        &self.bridge
    }

    /// The station's MAC address.
    pub const fn mac_address(&self) -> MacAddr {
        self.mac
    }

    /// Where the station is.
    pub const fn place(&self) -> &StationPlace {
        &self.place
    }

    /// The station's IP addresses, as sent.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The policy that this spec becomes; `None` if the Bridge or the place is not known.
    pub fn policy(
        &self,
        bridge: impl Fn(&ResourceId) -> Option<BridgeId>,
        place: impl Fn(&StationPlace) -> Option<Place>,
    ) -> Option<nic_policy::FdbEntry> {
        Some(nic_policy::FdbEntry {
            bridge: bridge(&self.bridge)?,
            mac: self.mac,
            place: place(&self.place)?,
            addresses: self.addresses.clone(),
        })
    }
}

fn place(fields: &FdbEntryFields<'_>, faults: &mut Faults) -> Option<StationPlace> {
    match (fields.port, fields.tunnel_peer) {
        ("", "") => {
            faults.push(Part::Port, Reason::Conflict("one of port and tunnelPeer is required"));
            None
        }
        (port, "") => faults.check(Part::Port, Kind::Port.required(port)).map(StationPlace::Port),
        ("", peer) => {
            faults.check(Part::TunnelPeer, Kind::TunnelPeer.required(peer)).map(StationPlace::TunnelPeer)
        }
        _ => {
            faults.push(Part::TunnelPeer, Reason::Conflict("a station is at one place: port is set too"));
            None
        }
    }
}

fn addresses(texts: &[String], faults: &mut Faults) -> Vec<IpAddr> {
    if texts.len() > MAX_STATION_ADDRESSES {
        faults.push(Part::Addresses, Reason::OutOfRange { min: 0, max: MAX_STATION_ADDRESSES as u64 });
        return Vec::new();
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match station_address(text) {
            Ok(address) if addresses.contains(&address) => {
                faults.push(Part::AddressAt(index), Reason::Conflict("it is in the list twice"));
            }
            Ok(address) => addresses.push(address),
            Err(reason) => faults.push(Part::AddressAt(index), reason),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: FdbEntryFields<'static> = FdbEntryFields {
        bridge: "bridges/b",
        mac_address: "02:00:00:00:00:01",
        port: "ports/vm1",
        tunnel_peer: "",
        addresses: &[],
    };

    fn faults(fields: &FdbEntryFields<'_>) -> Vec<String> {
        let violations = FdbEntrySpec::parse(fields).expect_err("the spec is invalid");
        violations.iter().map(Violation::field).collect()
    }

    #[test]
    fn a_station_is_at_exactly_one_place() {
        assert!(FdbEntrySpec::parse(&FIELDS).is_ok());
        let peer = FdbEntryFields { port: "", tunnel_peer: "tunnelPeers/p", ..FIELDS };
        let peer = FdbEntrySpec::parse(&peer).expect("valid");
        assert_eq!(peer.place().name().to_string(), "tunnelPeers/p");
        assert_eq!(faults(&FdbEntryFields { port: "", ..FIELDS }), ["spec.port"]);
        assert_eq!(faults(&FdbEntryFields { tunnel_peer: "tunnelPeers/p", ..FIELDS }), ["spec.tunnelPeer"]);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let addresses = ["192.0.2.1", "fe80::1", "192.0.2.1", "::", "x"].map(str::to_owned);
        let fields = FdbEntryFields {
            bridge: "ports/b",
            mac_address: "ff:ff:ff:ff:ff:ff",
            port: "vm1",
            tunnel_peer: "",
            addresses: &addresses,
        };
        let expected = ["bridge", "macAddress", "port", "addresses[2]", "addresses[3]", "addresses[4]"]
            .map(|f| format!("spec.{f}"));
        assert_eq!(faults(&fields), expected);
        assert_eq!(faults(&FdbEntryFields { mac_address: "", ..FIELDS }), ["spec.macAddress"]);
        let many = vec!["192.0.2.1".to_owned(); 17];
        assert_eq!(faults(&FdbEntryFields { addresses: &many, ..FIELDS }), ["spec.addresses"]);
    }
}
