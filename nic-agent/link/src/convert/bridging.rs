//! The policy objects of bridges and tunnels.

use std::net::IpAddr;

use nic_policy::{Bridge, BridgeId, FdbEntry, Overlay, TunnelPeer, Vtep, VtepId};
use nic_proto::datapath::v1 as pb;

use super::learned::{place_to, read_place};
use super::{Bad, Problem, ip, ip_octets, port, station, within};

pub(super) fn bridge_to(bridge: &Bridge) -> pb::BridgePolicy {
    pb::BridgePolicy {
        id: bridge.id.0,
        overlay: bridge.overlay.map(|overlay| pb::Overlay { vtep: overlay.vtep.0, vni: overlay.vni }),
        flood_unknown: bridge.flood_unknown,
        ageing_time: bridge.ageing_time,
        suppression: bridge.suppression,
    }
}

pub(super) fn bridge_from(bridge: &pb::BridgePolicy) -> Result<Bridge, Bad> {
    let overlay = |overlay: &pb::Overlay| -> Result<Overlay, Bad> {
        Ok(Overlay { vtep: VtepId(overlay.vtep), vni: within("overlay.vni", overlay.vni, 1..=0xff_ffff)? })
    };
    Ok(Bridge {
        id: BridgeId(bridge.id),
        overlay: bridge.overlay.as_ref().map(overlay).transpose()?,
        flood_unknown: bridge.flood_unknown,
        ageing_time: within("ageing_time", bridge.ageing_time, 1..=u32::MAX)?,
        suppression: bridge.suppression,
    })
}

pub(super) fn vtep_to(vtep: &Vtep) -> pb::VtepPolicy {
    pb::VtepPolicy {
        id: vtep.id.0,
        uplink: vtep.uplink.bits().into(),
        vlan: vtep.vlan.map(u32::from),
        mac_address: vtep.mac.octets().to_vec(),
        address: ip_octets(vtep.address),
        prefix_length: vtep.prefix_length.into(),
        gateway: vtep.gateway.map(ip_octets).unwrap_or_default(),
        ttl: vtep.ttl.into(),
        dscp: vtep.dscp.into(),
    }
}

pub(super) fn vtep_from(vtep: &pb::VtepPolicy) -> Result<Vtep, Bad> {
    let address = endpoint("address", &vtep.address)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length: u8 = within("prefix_length", vtep.prefix_length, 0..=longest)?;
    let gateway = if vtep.gateway.is_empty() { None } else { Some(endpoint("gateway", &vtep.gateway)?) };
    if gateway.is_some_and(|gateway| !share_prefix(address, gateway, prefix_length)) {
        return Err(Bad::new("gateway", Problem::Network));
    }
    Ok(Vtep {
        id: VtepId(vtep.id),
        uplink: port("uplink", vtep.uplink)?,
        vlan: vtep.vlan.map(|vid| within("vlan", vid, 1..=4094)).transpose()?,
        mac: station("mac_address", &vtep.mac_address)?,
        address,
        prefix_length,
        gateway,
        ttl: within("ttl", vtep.ttl, 1..=255)?,
        dscp: within("dscp", vtep.dscp, 0..=63)?,
    })
}

pub(super) fn tunnel_peer_to(peer: &TunnelPeer) -> pb::TunnelPeerPolicy {
    pb::TunnelPeerPolicy {
        vtep: peer.vtep.0,
        address: ip_octets(peer.address),
        bridges: peer.bridges.iter().map(|bridge| bridge.0).collect(),
        learning: peer.learning,
        mac_limit: peer.mac_limit,
    }
}

pub(super) fn tunnel_peer_from(peer: &pb::TunnelPeerPolicy) -> Result<TunnelPeer, Bad> {
    if !peer.bridges.is_sorted_by(|one, next| one < next) {
        return Err(Bad::new("bridges", Problem::Order));
    }
    Ok(TunnelPeer {
        vtep: VtepId(peer.vtep),
        address: endpoint("address", &peer.address)?,
        bridges: peer.bridges.iter().copied().map(BridgeId).collect(),
        learning: peer.learning,
        mac_limit: peer.mac_limit,
    })
}

pub(super) fn fdb_entry_to(entry: &FdbEntry) -> pb::FdbEntryPolicy {
    pb::FdbEntryPolicy {
        bridge: entry.bridge.0,
        mac_address: entry.mac.octets().to_vec(),
        place: Some(place_to(entry.place)),
        addresses: entry.addresses.iter().copied().map(ip_octets).collect(),
    }
}

pub(super) fn fdb_entry_from(entry: &pb::FdbEntryPolicy) -> Result<FdbEntry, Bad> {
    Ok(FdbEntry {
        bridge: BridgeId(entry.bridge),
        mac: station("mac_address", &entry.mac_address)?,
        place: read_place(entry.place.as_ref())?,
        addresses: entry.addresses.iter().map(|octets| ip("addresses", octets)).collect::<Result<_, _>>()?,
    })
}

/// The address of one station of a network.
fn endpoint(field: &'static str, octets: &[u8]) -> Result<IpAddr, Bad> {
    let address = ip(field, octets)?;
    let group = matches!(address, IpAddr::V4(ip) if ip.is_broadcast()) || address.is_multicast();
    if group || address.is_unspecified() { Err(Bad::new(field, Problem::Range)) } else { Ok(address) }
}

/// True if both addresses are of one family and have their first bits in common.
fn share_prefix(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let differ = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= bits.into()
}
