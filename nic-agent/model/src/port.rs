//! The Port resource.

use std::collections::BTreeSet;

use nic_flow::{MacAddr, PortId};
use nic_policy::object::MAX_PORT_MACS;
use nic_policy::{Attachment, BridgeId};

use crate::address::mac_address;
use crate::name::{Kind, ResourceId};
use crate::violation::{Faults, Part, Reason, Violation, number};

/// The smallest MTU: every IPv4 link carries this much (RFC 791 section 3.2).
pub const MIN_MTU: u16 = 68;
/// The largest MTU.
pub const MAX_MTU: u16 = 9216;
/// The MTU of a port that names none.
pub const DEFAULT_MTU: u16 = 1500;
/// The largest VLAN (IEEE 802.1Q clause 9.6).
pub const MAX_VLAN: u16 = 4094;
/// MAC addresses that may be learned from one place, at most.
pub const MAX_MAC_LIMIT: u32 = 1 << 16;
/// MAC addresses that are learned from a port that names no limit, at most.
pub const DEFAULT_MAC_LIMIT: u32 = 1024;
/// The largest budget of flooded copies a second.
pub const MAX_FLOOD_BUDGET: u32 = 1_000_000;
/// Flooded copies a second of a port that names no budget, at most.
pub const DEFAULT_FLOOD_BUDGET: u32 = 10_000;

/// What a client wants of a port. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    device: PortId,
    enabled: bool,
    mtu: u16,
    macs: Vec<MacAddr>,
    anti_spoof: bool,
    bridge: Option<ResourceId>,
    trunks: Vec<Trunk>,
    disable_learning: bool,
    mac_limit: u32,
    flood_budget: u32,
}

/// One VLAN of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    /// 1 to [`MAX_VLAN`].
    pub vlan: u16,
    /// The Bridge of frames with that tag.
    pub bridge: ResourceId,
}

/// A port's spec as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct PortFields<'a> {
    /// The device's stable name.
    pub device: &'a str,
    /// Whether packets pass.
    pub enabled: bool,
    /// 0 means [`DEFAULT_MTU`].
    pub mtu: u32,
    /// Source MAC addresses of the port.
    pub mac_addresses: &'a [String],
    /// Whether others are dropped.
    pub anti_spoof: bool,
    /// The name of the Bridge of untagged frames; empty for none.
    pub bridge: &'a str,
    /// The Bridges of tagged frames.
    pub trunks: &'a [TrunkFields<'a>],
    /// Whether source addresses are not learned.
    pub disable_learning: bool,
    /// 0 means [`DEFAULT_MAC_LIMIT`].
    pub mac_limit: u32,
    /// 0 means [`DEFAULT_FLOOD_BUDGET`].
    pub flood_budget: u32,
}

/// One VLAN of a port as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct TrunkFields<'a> {
    /// The VLAN.
    pub vlan: u32,
    /// The name of the Bridge.
    pub bridge: &'a str,
}

impl Default for PortFields<'_> {
    fn default() -> Self {
        PortFields {
            device: "",
            enabled: true,
            mtu: 0,
            mac_addresses: &[],
            anti_spoof: false,
            bridge: "",
            trunks: &[],
            disable_learning: false,
            mac_limit: 0,
            flood_budget: 0,
        }
    }
}

impl PortSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(fields: &PortFields<'_>) -> Result<PortSpec, Vec<Violation>> {
        let mut faults = Faults::default();
        let device = faults.check(Part::Device, device(fields.device));
        let mtu = faults.check(Part::Mtu, number(fields.mtu, MIN_MTU..=MAX_MTU, DEFAULT_MTU));
        let macs = mac_addresses(fields.mac_addresses, &mut faults);
        if fields.anti_spoof && fields.mac_addresses.is_empty() {
            let reason = "antiSpoof needs at least one MAC address: without one nothing may enter";
            faults.push(Part::MacAddresses, Reason::Conflict(reason));
        }
        let bridge = faults.check(Part::Bridge, Kind::Bridge.reference(fields.bridge)).flatten();
        let trunks = trunks(bridge.as_ref(), fields.trunks, &mut faults);
        let mac_limit =
            faults.check(Part::MacLimit, number(fields.mac_limit, 1..=MAX_MAC_LIMIT, DEFAULT_MAC_LIMIT));
        let budget = number(fields.flood_budget, 1..=MAX_FLOOD_BUDGET, DEFAULT_FLOOD_BUDGET);
        let flood_budget = faults.check(Part::FloodBudget, budget);
        let spec = (|| {
            Some(PortSpec {
                device: device?,
                enabled: fields.enabled,
                mtu: mtu?,
                macs,
                anti_spoof: fields.anti_spoof,
                bridge,
                trunks,
                disable_learning: fields.disable_learning,
                mac_limit: mac_limit?,
                flood_budget: flood_budget?,
            })
        })();
        faults.finish(spec)
    }

    /// The device that the port stands for.
    pub const fn device(&self) -> PortId {
        self.device
    }

    /// False if no packet comes in or goes out.
    pub const fn enabled(&self) -> bool {
        self.enabled
    }

    /// The largest layer-3 packet, in octets.
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The port's source MAC addresses, as sent.
    pub fn mac_addresses(&self) -> &[MacAddr] {
        &self.macs
    }

    /// Whether packets from other source MAC addresses are dropped.
    pub const fn anti_spoof(&self) -> bool {
        self.anti_spoof
    }

    /// The Bridge of untagged frames.
    pub const fn bridge(&self) -> Option<&ResourceId> {
        self.bridge.as_ref()
    }

    /// The Bridges of tagged frames, as sent.
    pub fn trunks(&self) -> &[Trunk] {
        &self.trunks
    }

    /// Every Bridge that the port is in, with the field that names it.
    pub(crate) fn bridges(&self) -> impl Iterator<Item = (Part, &ResourceId)> {
        let trunks = self.trunks.iter().enumerate();
        let trunks = trunks.map(|(index, trunk)| (Part::TrunkBridge(index), &trunk.bridge));
        self.bridge.iter().map(|bridge| (Part::Bridge, bridge)).chain(trunks)
    }

    /// Whether source addresses that enter here are not learned.
    pub const fn disable_learning(&self) -> bool {
        self.disable_learning
    }

    /// MAC addresses that are learned from the port, at most.
    pub const fn mac_limit(&self) -> u32 {
        self.mac_limit
    }

    /// Copies a second that floods of frames from this port may make.
    pub const fn flood_budget(&self) -> u32 {
        self.flood_budget
    }

    /// The policy that this spec becomes; `None` if a Bridge is not known.
    pub fn policy(&self, bridge: impl Fn(&ResourceId) -> Option<BridgeId>) -> Option<nic_policy::Port> {
        let trunk = |trunk: &Trunk| {
            let bridge = bridge(&trunk.bridge)?;
            Some(nic_policy::Trunk { vid: trunk.vlan, bridge })
        };
        let mut trunk: Vec<nic_policy::Trunk> = self.trunks.iter().map(trunk).collect::<Option<_>>()?;
        trunk.sort_unstable_by_key(|trunk| trunk.vid);
        let access = match &self.bridge {
            None => None,
            Some(access) => Some(bridge(access)?),
        };
        // The length was checked, so every address fits.
        let source_macs = self.anti_spoof.then(|| self.macs.iter().copied().take(MAX_PORT_MACS).collect());
        Some(nic_policy::Port {
            id: self.device,
            enabled: self.enabled,
            source_macs,
            bridges: Attachment { access, trunk },
            learning: !self.disable_learning,
            mac_limit: self.mac_limit,
            flood_budget: self.flood_budget,
        })
    }
}

fn device(text: &str) -> Result<PortId, Reason> {
    if text.is_empty() {
        return Err(Reason::Required);
    }
    let device = text.parse().map_err(|error| match error {
        nic_flow::port::ParsePortError::Form => {
            Reason::Malformed("an uplink as p0, a host function as pf0hpf or a virtual function as pf0vf3")
        }
        nic_flow::port::ParsePortError::PfRange => {
            Reason::Malformed("a device of an uplink or physical function from 0 to 15")
        }
        nic_flow::port::ParsePortError::VfRange => Reason::Malformed("a virtual function from 0 to 1023"),
    })?;
    if device == PortId::MANAGEMENT {
        return Err(Reason::Conflict("the port of the card's own management is no policy's"));
    }
    Ok(device)
}

fn mac_addresses(texts: &[String], faults: &mut Faults) -> Vec<MacAddr> {
    if texts.len() > MAX_PORT_MACS {
        faults.push(Part::MacAddresses, Reason::OutOfRange { min: 0, max: MAX_PORT_MACS as u64 });
        return Vec::new();
    }
    let mut macs = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match mac_address(text) {
            Ok(mac) if macs.contains(&mac) => {
                faults.push(Part::MacAddress(index), Reason::Conflict("it is in the list twice"));
            }
            Ok(mac) => macs.push(mac),
            Err(reason) => faults.push(Part::MacAddress(index), reason),
        }
    }
    macs
}

fn trunks(access: Option<&ResourceId>, fields: &[TrunkFields<'_>], faults: &mut Faults) -> Vec<Trunk> {
    // A longer list has some VLAN twice; to find out more about it would only take long.
    if fields.len() > usize::from(MAX_VLAN) {
        faults.push(Part::Trunks, Reason::OutOfRange { min: 0, max: MAX_VLAN.into() });
        return Vec::new();
    }
    let mut vlans = BTreeSet::new();
    let mut bridges: BTreeSet<ResourceId> = access.into_iter().cloned().collect();
    let mut trunks = Vec::with_capacity(fields.len());
    for (index, fields) in fields.iter().enumerate() {
        let vlan = match u16::try_from(fields.vlan) {
            Ok(vlan) if !(1..=MAX_VLAN).contains(&vlan) => None,
            other => other.ok(),
        };
        match vlan {
            None => faults.push(Part::TrunkVlan(index), Reason::OutOfRange { min: 1, max: MAX_VLAN.into() }),
            Some(vlan) if !vlans.insert(vlan) => {
                faults.push(
                    Part::TrunkVlan(index),
                    Reason::Conflict("this port has a trunk of the VLAN already"),
                );
            }
            Some(_) => {}
        }
        let bridge = faults.check(Part::TrunkBridge(index), Kind::Bridge.required(fields.bridge));
        if let Some(bridge) = &bridge
            && !bridges.insert(bridge.clone())
        {
            faults.push(Part::TrunkBridge(index), Reason::Conflict("this port is in the bridge already"));
        }
        trunks.extend(vlan.zip(bridge).map(|(vlan, bridge)| Trunk { vlan, bridge }));
    }
    trunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: PortFields<'static> = PortFields {
        device: "pf0vf0",
        enabled: true,
        mtu: 0,
        mac_addresses: &[],
        anti_spoof: false,
        bridge: "",
        trunks: &[],
        disable_learning: false,
        mac_limit: 0,
        flood_budget: 0,
    };

    fn faults(fields: &PortFields<'_>) -> Vec<(String, Reason)> {
        let violations = PortSpec::parse(fields).expect_err("the spec is invalid");
        violations.into_iter().map(|v| (v.field(), v.reason)).collect()
    }

    #[test]
    fn a_spec_with_only_a_device_has_the_documented_defaults() {
        let spec = PortSpec::parse(&FIELDS).expect("valid");
        assert_eq!((spec.mtu(), spec.enabled(), spec.anti_spoof()), (1500, true, false));
        assert_eq!((spec.bridge(), spec.trunks()), (None, &[][..]));
        assert_eq!((spec.disable_learning(), spec.mac_limit(), spec.flood_budget()), (false, 1024, 10_000));
        let policy = spec.policy(|_| None).expect("no reference");
        assert_eq!(
            (policy.source_macs, policy.bridges, policy.learning),
            (None, Attachment::default(), true)
        );
    }

    #[test]
    fn the_policy_has_its_trunks_by_vlan() {
        let trunks =
            [TrunkFields { vlan: 20, bridge: "bridges/b" }, TrunkFields { vlan: 10, bridge: "bridges/c" }];
        let spec =
            PortSpec::parse(&PortFields { bridge: "bridges/a", trunks: &trunks, ..FIELDS }).expect("valid");
        let id = |bridge: &ResourceId| Some(BridgeId(bridge.as_str().bytes().map(u64::from).sum()));
        let found = spec.policy(id).expect("known").bridges;
        let vids: Vec<(u16, u64)> = found.trunk.iter().map(|trunk| (trunk.vid, trunk.bridge.0)).collect();
        assert_eq!((found.access, vids), (Some(BridgeId(97)), vec![(10, 99), (20, 98)]));
        let known = |bridge: &ResourceId| (bridge.as_str() != "c").then_some(BridgeId(1));
        assert_eq!(spec.policy(known), None);
    }

    #[test]
    fn a_port_has_no_vlan_and_no_bridge_twice() {
        let trunk = |vlan, bridge| TrunkFields { vlan, bridge };
        let trunks = [
            trunk(0, "bridges/b"),
            trunk(4094, "bridges/c"),
            trunk(4094, "bridges/d"),
            trunk(4095, "ports/e"),
            trunk(65_537, ""),
            trunk(7, "bridges/a"),
            trunk(8, "bridges/c"),
        ];
        let found = faults(&PortFields { bridge: "bridges/a", trunks: &trunks, ..FIELDS });
        let found: Vec<String> = found.into_iter().map(|(field, _)| field).collect();
        let expected = [
            "[0].vlan",
            "[2].vlan",
            "[3].vlan",
            "[3].bridge",
            "[4].vlan",
            "[4].bridge",
            "[5].bridge",
            "[6].bridge",
        ];
        assert_eq!(found, expected.map(|field| format!("spec.trunks{field}")));
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let macs = ["02:00:00:00:00:01", "x", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01"].map(str::to_owned);
        let fields = PortFields { device: "eth0", mtu: 9217, mac_addresses: &macs, ..FIELDS };
        let fields: Vec<String> = faults(&fields).into_iter().map(|(field, _)| field).collect();
        let expected = [
            "spec.device",
            "spec.mtu",
            "spec.macAddresses[1]",
            "spec.macAddresses[2]",
            "spec.macAddresses[3]",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_edges_of_the_ranges_are_as_documented() {
        let mtu = |mtu| PortSpec::parse(&PortFields { mtu, ..FIELDS }).is_ok();
        assert!(mtu(68) && mtu(9216));
        assert!(!mtu(67) && !mtu(9217) && !mtu(65_536 + 1500));
        let limit = |mac_limit| PortSpec::parse(&PortFields { mac_limit, ..FIELDS }).is_ok();
        assert!(limit(1) && limit(65_536) && !limit(65_537));
        let budget = |flood_budget| PortSpec::parse(&PortFields { flood_budget, ..FIELDS }).is_ok();
        assert!(budget(1) && budget(1_000_000) && !budget(1_000_001));
        let macs: Vec<String> = (0..=MAX_PORT_MACS).map(|n| format!("02:00:00:00:00:{n:02x}")).collect();
        assert!(PortSpec::parse(&PortFields { mac_addresses: &macs[1..], ..FIELDS }).is_ok());
        assert_eq!(
            faults(&PortFields { mac_addresses: &macs, ..FIELDS }),
            [("spec.macAddresses".to_owned(), Reason::OutOfRange { min: 0, max: 16 })]
        );
    }

    #[test]
    fn anti_spoof_without_an_address_is_refused_because_it_would_close_the_port() {
        let found = faults(&PortFields { anti_spoof: true, ..FIELDS });
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "spec.macAddresses");
    }
}
