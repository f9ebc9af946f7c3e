//! The TunnelPeer resource.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nic_policy::{BridgeId, VtepId};

use crate::address::host_address;
use crate::name::{Kind, ResourceId};
use crate::port::MAX_MAC_LIMIT;
use crate::violation::{Faults, Part, Reason, Violation, number};

/// Bridges that a tunnel peer is a member of, at most.
pub const MAX_PEER_BRIDGES: usize = 4096;
/// MAC addresses that are learned from a tunnel peer that names no limit, at most.
pub const DEFAULT_PEER_MAC_LIMIT: u32 = 16_384;

/// What a client wants of a tunnel peer. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPeerSpec {
    vtep: ResourceId,
    address: IpAddr,
    bridges: Vec<ResourceId>,
    disable_learning: bool,
    mac_limit: u32,
}

/// A tunnel peer's spec as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct TunnelPeerFields<'a> {
    /// The name of the Vtep.
    pub vtep: &'a str,
    /// The peer's address.
    pub address: &'a str,
    /// The names of its bridges.
    pub bridges: &'a [String],
    /// Whether source addresses are not learned.
    pub disable_learning: bool,
    /// 0 means [`DEFAULT_PEER_MAC_LIMIT`].
    pub mac_limit: u32,
}

impl TunnelPeerSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &TunnelPeerFields<'_>) -> Result<TunnelPeerSpec, Vec<Violation>> {
        let mut faults = Faults::default();
        let vtep = faults.check(Part::Vtep, Kind::Vtep.required(fields.vtep));
        let address = faults.check(Part::Address, host_address(fields.address));
        let bridges = bridges(fields.bridges, &mut faults);
        let mac_limit =
            faults.check(Part::MacLimit, number(fields.mac_limit, 1..=MAX_MAC_LIMIT, DEFAULT_PEER_MAC_LIMIT));
        let spec = vtep.zip(address).zip(mac_limit).map(|((vtep, address), mac_limit)| TunnelPeerSpec {
            vtep,
            address,
            bridges,
            disable_learning: fields.disable_learning,
            mac_limit,
        });
        faults.finish(spec)
    }

    /// The Vtep that speaks with it.
    pub const fn vtep(&self) -> &ResourceId {
        &self.vtep
    }

    /// Its address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The bridges that it is a member of, as sent.
    pub fn bridges(&self) -> &[ResourceId] {
        &self.bridges
    }

    /// Whether source addresses that come from it are not learned.
    pub const fn disable_learning(&self) -> bool {
        self.disable_learning
    }

    /// MAC addresses that are learned from it, at most.
    pub const fn mac_limit(&self) -> u32 {
        self.mac_limit
    }

    /// The policy that this spec becomes; `None` if the Vtep or a Bridge is not known.
    pub fn policy(
        &self,
        vtep: impl Fn(&ResourceId) -> Option<VtepId>,
        bridge: impl Fn(&ResourceId) -> Option<BridgeId>,
    ) -> Option<nic_policy::TunnelPeer> {
        let mut bridges: Vec<BridgeId> = self.bridges.iter().map(bridge).collect::<Option<_>>()?;
        bridges.sort_unstable();
        Some(nic_policy::TunnelPeer {
            vtep: vtep(&self.vtep)?,
            address: self.address,
            bridges,
            learning: !self.disable_learning,
            mac_limit: self.mac_limit,
        })
    }
}

fn bridges(names: &[String], faults: &mut Faults) -> Vec<ResourceId> {
    if names.len() > MAX_PEER_BRIDGES {
        faults.push(Part::Bridges, Reason::OutOfRange { min: 0, max: MAX_PEER_BRIDGES as u64 });
        return Vec::new();
    }
    let mut known = BTreeSet::new();
    let mut bridges = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let bridge = faults.check(Part::Member(index), Kind::Bridge.required(name));
        let Some(bridge) = bridge else { continue };
        if known.insert(bridge.clone()) {
            bridges.push(bridge);
        } else {
            faults.push(Part::Member(index), Reason::Conflict("it is in the list twice"));
        }
    }
    bridges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| format!("bridges/{id}")).collect()
    }

    #[test]
    fn a_spec_keeps_the_order_of_its_bridges_and_its_policy_sorts_them() {
        let bridges = names(&["b", "a"]);
        let fields = TunnelPeerFields {
            vtep: "vteps/v",
            address: "2001:db8::2",
            bridges: &bridges,
            ..TunnelPeerFields::default()
        };
        let spec = TunnelPeerSpec::parse(&fields).expect("valid");
        assert_eq!(spec.bridges().iter().map(ResourceId::as_str).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!((spec.mac_limit(), spec.disable_learning()), (16_384, false));
        let id = |bridge: &ResourceId| Some(BridgeId(if bridge.as_str() == "a" { 1 } else { 2 }));
        let policy = spec.policy(|_| Some(VtepId(9)), id).expect("known");
        assert_eq!(policy.bridges, [BridgeId(1), BridgeId(2)]);
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let mut bridges = names(&["a", "A", "a"]);
        bridges.push(String::new());
        let fields = TunnelPeerFields {
            vtep: "",
            address: "224.0.0.1",
            bridges: &bridges,
            mac_limit: 65_537,
            ..TunnelPeerFields::default()
        };
        let found = TunnelPeerSpec::parse(&fields).expect_err("invalid");
        let found: Vec<String> = found.iter().map(Violation::field).collect();
        let expected = ["vtep", "address", "bridges[1]", "bridges[2]", "bridges[3]", "macLimit"]
            .map(|f| format!("spec.{f}"));
        assert_eq!(found, expected);
    }
}
