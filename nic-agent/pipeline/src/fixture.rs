//! What the tests of the stages share: policies and packets in text.

use core::net::IpAddr;

use nic_flow::{FlowKey, FlowMask, MacAddr, Match, PortId, text};
use nic_policy::{
    Attachment, Bridge, BridgeId, Change, Delta, FdbEntry, FlowRule, FlowRuleId, Object, Overlay, Place,
    Port, Stage, Trunk, TunnelPeer, Verdict, Vtep, VtepId,
};

use crate::state::{Limits, Neighbor};
use crate::{Snapshot, State, Translation, translate};

pub(crate) fn port(name: &str) -> PortId {
    name.parse().expect("a device name")
}

pub(crate) fn mac(text: &str) -> MacAddr {
    text.parse().expect("a MAC address")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

/// A port that is open and attached to nothing.
pub(crate) fn port_policy(name: &str) -> Port {
    Port {
        id: port(name),
        enabled: true,
        source_macs: None,
        bridges: Attachment::default(),
        learning: true,
        mac_limit: 16,
        flood_budget: 1000,
    }
}

pub(crate) fn open(name: &str) -> Object {
    Object::Port(port_policy(name))
}

pub(crate) fn disabled(name: &str) -> Object {
    Object::Port(Port { enabled: false, ..port_policy(name) })
}

pub(crate) fn restricted(name: &str, macs: &[&str]) -> Object {
    let macs = macs.iter().map(|text| mac(text)).collect();
    Object::Port(Port { source_macs: Some(macs), ..port_policy(name) })
}

/// A port whose untagged frames are of a bridge.
pub(crate) fn access(name: &str, bridge: u64) -> Port {
    let bridges = Attachment { access: Some(BridgeId(bridge)), trunk: Vec::new() };
    Port { bridges, ..port_policy(name) }
}

/// A port whose tagged frames are of bridges, by VLAN.
pub(crate) fn trunk(name: &str, vlans: &[(u16, u64)]) -> Port {
    let trunk = vlans.iter().map(|&(vid, bridge)| Trunk { vid, bridge: BridgeId(bridge) }).collect();
    Port { bridges: Attachment { access: None, trunk }, ..port_policy(name) }
}

pub(crate) fn rule(id: u64, priority: u16, matches: &str, actions: &str) -> Object {
    Object::FlowRule(FlowRule {
        id: FlowRuleId(id),
        priority,
        matches: matches.parse().expect("a match"),
        actions: text::parse_actions(actions).expect("actions"),
    })
}

/// A bridge of this card alone.
pub(crate) fn bridge(id: u64) -> Bridge {
    Bridge { id: BridgeId(id), overlay: None, flood_unknown: true, ageing_time: 300, suppression: false }
}

/// A bridge that is a VNI of a VTEP.
pub(crate) fn overlay(id: u64, vtep: u64, vni: u32) -> Bridge {
    Bridge { overlay: Some(Overlay { vtep: VtepId(vtep), vni }), ..bridge(id) }
}

/// A VTEP with the MAC address `02:4e:00:00:00:<id>`.
pub(crate) fn vtep(id: u8, uplink: &str, address: &str) -> Vtep {
    let (address, prefix_length) = address.split_once('/').expect("a prefix");
    Vtep {
        id: VtepId(id.into()),
        uplink: port(uplink),
        vlan: None,
        mac: MacAddr([0x02, 0x4e, 0, 0, 0, id]),
        address: ip(address),
        prefix_length: prefix_length.parse().expect("a length"),
        gateway: None,
        ttl: 64,
        dscp: 0,
    }
}

pub(crate) fn peer(vtep: u64, address: &str, bridges: &[u64]) -> TunnelPeer {
    TunnelPeer {
        vtep: VtepId(vtep),
        address: ip(address),
        bridges: bridges.iter().map(|&id| BridgeId(id)).collect(),
        learning: true,
        mac_limit: 16,
    }
}

pub(crate) fn fixed(bridge: u64, address: &str, place: Place) -> Object {
    Object::FdbEntry(FdbEntry { bridge: BridgeId(bridge), mac: mac(address), place, addresses: Vec::new() })
}

pub(crate) fn at(name: &str) -> Place {
    Place::Port(port(name))
}

pub(crate) fn behind(address: &str) -> Place {
    Place::Peer(ip(address))
}

/// Bridge 5 is VNI 100 of VTEP 1, `192.0.2.1` on `p0`; its members are `pf0vf0`, VLAN 7 of `pf0vf1`, a
/// peer on the link and one behind the gateway.
pub(crate) fn overlay_network() -> Vec<Object> {
    vec![
        open("p0"),
        Object::Port(access("pf0vf0", 5)),
        Object::Port(trunk("pf0vf1", &[(7, 5)])),
        Object::Bridge(overlay(5, 1, 100)),
        Object::Vtep(Vtep { gateway: Some(ip("192.0.2.254")), ..vtep(1, "p0", "192.0.2.1/24") }),
        Object::TunnelPeer(peer(1, "192.0.2.9", &[5])),
        Object::TunnelPeer(peer(1, "198.51.100.9", &[5])),
    ]
}

/// A policy in which the devices `p0`, `pf0vf0` and `pf0vf1` are there.
pub(crate) fn policy(objects: &[Object]) -> Snapshot {
    let changes = objects.iter().cloned().map(Change::Put).collect();
    let delta = Delta { changes, ..Delta::default() };
    let (snapshot, _) = Snapshot::empty().apply(&delta).expect("each id once");
    snapshot.with_devices(&[port("p0"), port("pf0vf0"), port("pf0vf1")]).0
}

/// Stations of bridge 5 as they were learned, and what is known of the next hops of VTEP 1.
pub(crate) fn state(stations: &[(&str, Place)], next_hops: &[(&str, Neighbor)]) -> State {
    let mut state = State::default();
    let limits = Limits { place: 16, total: 16 };
    for &(address, place) in stations {
        state.fdb.learn(BridgeId(5), mac(address), place, 0, limits).expect("there is room");
    }
    for &(address, neighbor) in next_hops {
        state.neighbors.set(VtepId(1), ip(address), Some(neighbor));
    }
    state
}

/// A packet with these fields; the others are zero.
pub(crate) fn packet(fields: &str) -> FlowKey {
    *fields.parse::<Match>().expect("a match").key()
}

pub(crate) fn translated(fields: &str, policy: &Snapshot) -> Translation {
    translated_in(fields, policy, &State::default())
}

pub(crate) fn translated_in(fields: &str, policy: &Snapshot, state: &State) -> Translation {
    translate(&packet(fields), policy, state, &mut [Default::default(); Stage::COUNT])
}

/// What is done to a packet, or what else becomes of it, in text.
pub(crate) fn fate(fields: &str, policy: &Snapshot) -> String {
    fate_in(fields, policy, &State::default())
}

pub(crate) fn fate_in(fields: &str, policy: &Snapshot, state: &State) -> String {
    let translation = translated_in(fields, policy, state);
    match translation.verdict {
        Verdict::Drop(reason) => reason.name().to_owned(),
        Verdict::Pass => text::actions(&translation.actions).to_string(),
        Verdict::Local => "local".to_owned(),
        Verdict::Wait => "wait".to_owned(),
    }
}

/// The names of the fields of which bits were read.
pub(crate) fn fields(mask: &FlowMask) -> Vec<&'static str> {
    mask.fields().map(|field| field.name()).collect()
}
