//! What the datapath learned from packets.

use std::time::Duration;

use nic_policy::{BridgeId, FdbView, NeighborState, NeighborView, Network, Place, VtepId};
use nic_proto::datapath::v1 as pb;

use super::{Bad, ObjectError, Problem, ip, ip_octets, mac, port};

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn place_to(place: Place) -> pb::Place {
    let kind = match place {
        Place::Port(port) => pb::place::Kind::Port(port.bits().into()),
        Place::Peer(address) => pb::place::Kind::Peer(ip_octets(address)),
    };
    pb::Place { kind: Some(kind) }
}

pub(super) fn read_place(place: Option<&pb::Place>) -> Result<Place, Bad> {
    let kind = place.and_then(|place| place.kind.as_ref());
    match kind.ok_or(Bad::new("place", Problem::Missing))? {
        pb::place::Kind::Port(bits) => Ok(Place::Port(port("place.port", *bits)?)),
        pb::place::Kind::Peer(octets) => Ok(Place::Peer(ip("place.peer", octets)?)),
    }
}

/// A MAC address that a bridge knows.
pub fn fdb_to(entry: &FdbView) -> pb::FdbEntry {
    pb::FdbEntry {
        bridge: entry.bridge.0,
        mac_address: entry.mac.octets().to_vec(),
        place: Some(place_to(entry.place)),
        idle_ns: entry.idle.map(nanos),
    }
}

/// A MAC address that a bridge knows, from its message.
pub fn fdb_from(entry: &pb::FdbEntry) -> Result<FdbView, ObjectError> {
    let read = || -> Result<FdbView, Bad> {
        Ok(FdbView {
            bridge: BridgeId(entry.bridge),
            mac: mac("mac_address", &entry.mac_address)?,
            place: read_place(entry.place.as_ref())?,
            idle: entry.idle_ns.map(Duration::from_nanos),
        })
    };
    read().map_err(|bad| bad.in_object(format!("FDB entry of bridge {}", entry.bridge)))
}

/// What is known of a neighbour.
pub fn neighbor_to(neighbor: &NeighborView) -> pb::Neighbor {
    use pb::neighbor::{Network as Kind, State};
    let network = match neighbor.network {
        Network::Underlay(vtep) => Kind::Underlay(vtep.0),
        Network::Bridge(bridge) => Kind::Bridge(bridge.0),
    };
    let state = match neighbor.state {
        NeighborState::Incomplete => State::Incomplete,
        NeighborState::Reachable => State::Reachable,
        NeighborState::Probe => State::Probe,
        NeighborState::Failed => State::Failed,
    };
    pb::Neighbor {
        network: Some(network),
        address: ip_octets(neighbor.address),
        mac_address: neighbor.mac.map(|mac| mac.octets().to_vec()).unwrap_or_default(),
        state: state.into(),
        age_ns: nanos(neighbor.age),
    }
}

/// What is known of a neighbour, from its message.
pub fn neighbor_from(neighbor: &pb::Neighbor) -> Result<NeighborView, ObjectError> {
    use pb::neighbor::{Network as Kind, State};
    let read = || -> Result<NeighborView, Bad> {
        let octets = &neighbor.mac_address;
        Ok(NeighborView {
            network: match neighbor.network.ok_or(Bad::new("network", Problem::Missing))? {
                Kind::Underlay(vtep) => Network::Underlay(VtepId(vtep)),
                Kind::Bridge(bridge) => Network::Bridge(BridgeId(bridge)),
            },
            address: ip("address", &neighbor.address)?,
            mac: if octets.is_empty() { None } else { Some(mac("mac_address", octets)?) },
            state: match neighbor.state() {
                State::Unspecified => return Err(Bad::new("state", Problem::Missing)),
                State::Incomplete => NeighborState::Incomplete,
                State::Reachable => NeighborState::Reachable,
                State::Probe => NeighborState::Probe,
                State::Failed => NeighborState::Failed,
            },
            age: Duration::from_nanos(neighbor.age_ns),
        })
    };
    read().map_err(|bad| bad.in_object("neighbour"))
}
