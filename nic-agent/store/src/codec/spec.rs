//! What clients want, as storage messages.

use nic_model::{
    BridgeFields, BridgeSpec, FdbEntryFields, FdbEntrySpec, FlowRuleSpec, Kind, PortFields, PortSpec,
    Resource, ResourceId, Spec, StationPlace, TrunkFields, TunnelPeerFields, TunnelPeerSpec, Violation,
    VtepFields, VtepSpec,
};
use nic_proto::storage::v1 as pb;
use pb::resource::Spec as Message;

pub(super) fn message(resource: &Resource) -> Message {
    match resource {
        Resource::Bridge(bridge) => Message::Bridge(bridge_message(&bridge.spec)),
        Resource::FdbEntry(entry) => Message::FdbEntry(entry_message(&entry.spec)),
        Resource::FlowRule(rule) => {
            let priority = rule.spec.set_priority().map(u32::from);
            Message::FlowRule(pb::FlowRuleSpec { flow: rule.spec.text().to_owned(), priority })
        }
        Resource::Port(port) => Message::Port(port_message(&port.spec)),
        Resource::TunnelPeer(peer) => Message::TunnelPeer(peer_message(&peer.spec)),
        Resource::Vtep(vtep) => Message::Vtep(vtep_message(&vtep.spec)),
    }
}

/// Parses a spec as if a client had sent it.
pub(super) fn parse(message: &Message) -> Result<Spec, Vec<Violation>> {
    match message {
        Message::Bridge(bridge) => parse_bridge(bridge).map(Spec::Bridge),
        Message::FdbEntry(entry) => parse_entry(entry).map(Spec::FdbEntry),
        Message::FlowRule(rule) => FlowRuleSpec::parse(&rule.flow, rule.priority).map(Spec::FlowRule),
        Message::Port(port) => parse_port(port).map(Spec::Port),
        Message::TunnelPeer(peer) => parse_peer(peer).map(Spec::TunnelPeer),
        Message::Vtep(vtep) => parse_vtep(vtep).map(Spec::Vtep),
    }
}

fn reference(kind: Kind, id: &ResourceId) -> String {
    kind.name(id.clone()).to_string()
}

/// A reference that may be missing: empty then.
fn optional(kind: Kind, id: Option<&ResourceId>) -> String {
    id.map(|id| reference(kind, id)).unwrap_or_default()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn port_message(spec: &PortSpec) -> pb::PortSpec {
    let trunks = spec
        .trunks()
        .iter()
        .map(|trunk| pb::Trunk { vlan: trunk.vlan.into(), bridge: reference(Kind::Bridge, &trunk.bridge) });
    pb::PortSpec {
        device: spec.device().to_string(),
        enabled: spec.enabled(),
        mtu: spec.mtu().into(),
        mac_addresses: texts(spec.mac_addresses()),
        anti_spoof: spec.anti_spoof(),
        bridge: optional(Kind::Bridge, spec.bridge()),
        trunks: trunks.collect(),
        disable_learning: spec.disable_learning(),
        mac_limit: spec.mac_limit(),
        flood_budget: spec.flood_budget(),
    }
}

fn parse_port(port: &pb::PortSpec) -> Result<PortSpec, Vec<Violation>> {
    let trunks: Vec<TrunkFields<'_>> =
        port.trunks.iter().map(|trunk| TrunkFields { vlan: trunk.vlan, bridge: &trunk.bridge }).collect();
    PortSpec::parse(&PortFields {
        device: &port.device,
        enabled: port.enabled,
        mtu: port.mtu,
        mac_addresses: &port.mac_addresses,
        anti_spoof: port.anti_spoof,
        bridge: &port.bridge,
        trunks: &trunks,
        disable_learning: port.disable_learning,
        mac_limit: port.mac_limit,
        flood_budget: port.flood_budget,
    })
}

fn bridge_message(spec: &BridgeSpec) -> pb::BridgeSpec {
    pb::BridgeSpec {
        vtep: optional(Kind::Vtep, spec.vtep()),
        vni: spec.vni().unwrap_or_default(),
        drop_unknown: !spec.flood_unknown(),
        ageing_time: spec.ageing_time(),
        suppression: spec.suppression(),
    }
}

fn parse_bridge(bridge: &pb::BridgeSpec) -> Result<BridgeSpec, Vec<Violation>> {
    BridgeSpec::parse(&BridgeFields {
        vtep: &bridge.vtep,
        vni: bridge.vni,
        flood_unknown: !bridge.drop_unknown,
        ageing_time: bridge.ageing_time,
        suppression: bridge.suppression,
    })
}

fn vtep_message(spec: &VtepSpec) -> pb::VtepSpec {
    pb::VtepSpec {
        port: reference(Kind::Port, spec.port()),
        vlan: spec.vlan().unwrap_or_default().into(),
        address: spec.cidr().to_string(),
        gateway: spec.gateway().map(|gateway| gateway.to_string()).unwrap_or_default(),
        mac_address: spec.set_mac_address().map(|mac| mac.to_string()).unwrap_or_default(),
        ttl: spec.ttl().into(),
        dscp: spec.dscp().into(),
    }
}

fn parse_vtep(vtep: &pb::VtepSpec) -> Result<VtepSpec, Vec<Violation>> {
    VtepSpec::parse(&VtepFields {
        port: &vtep.port,
        vlan: vtep.vlan,
        address: &vtep.address,
        gateway: &vtep.gateway,
        mac_address: &vtep.mac_address,
        ttl: vtep.ttl,
        dscp: vtep.dscp,
    })
}

fn peer_message(spec: &TunnelPeerSpec) -> pb::TunnelPeerSpec {
    pb::TunnelPeerSpec {
        vtep: reference(Kind::Vtep, spec.vtep()),
        address: spec.address().to_string(),
        bridges: spec.bridges().iter().map(|bridge| reference(Kind::Bridge, bridge)).collect(),
        disable_learning: spec.disable_learning(),
        mac_limit: spec.mac_limit(),
    }
}

fn parse_peer(peer: &pb::TunnelPeerSpec) -> Result<TunnelPeerSpec, Vec<Violation>> {
    TunnelPeerSpec::parse(&TunnelPeerFields {
        vtep: &peer.vtep,
        address: &peer.address,
        bridges: &peer.bridges,
        disable_learning: peer.disable_learning,
        mac_limit: peer.mac_limit,
    })
}

fn entry_message(spec: &FdbEntrySpec) -> pb::FdbEntrySpec {
    let place = spec.place().name().to_string();
    let (port, tunnel_peer) = match spec.place() {
        StationPlace::Port(_) => (place, String::new()),
        StationPlace::TunnelPeer(_) => (String::new(), place),
    };
    pb::FdbEntrySpec {
        bridge: reference(Kind::Bridge, spec.bridge()),
        mac_address: spec.mac_address().to_string(),
        port,
        tunnel_peer,
        addresses: texts(spec.addresses()),
    }
}

fn parse_entry(entry: &pb::FdbEntrySpec) -> Result<FdbEntrySpec, Vec<Violation>> {
    FdbEntrySpec::parse(&FdbEntryFields {
        bridge: &entry.bridge,
        mac_address: &entry.mac_address,
        port: &entry.port,
        tunnel_peer: &entry.tunnel_peer,
        addresses: &entry.addresses,
    })
}
