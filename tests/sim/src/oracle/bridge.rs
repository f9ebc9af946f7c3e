//! Bridges.

use std::net::IpAddr;

use nic_flow::field::{Field, L3, L4};
use nic_flow::{Action, Flood, FlowKey, MacAddr, VxlanEncap};
use nic_policy::{BridgeId, DropReason, Network, Place, Port, Vtep};

use super::tunnel::ecn;
use super::{Arrival, Fate, Memory, Outcome, Policy};

impl Policy {
    /// The bridge of a packet's port and tag.
    pub(super) fn attachment(&self, packet: &FlowKey) -> Result<Arrival<'_>, DropReason> {
        let port = self.port(packet.in_port()).ok_or(DropReason::PortUnconfigured)?;
        let attached = &port.bridges;
        if attached.access.is_none() && attached.trunk.is_empty() {
            return Err(DropReason::NoRule);
        }
        let mut frame = *packet;
        let mut plan = Vec::new();
        let tags = packet.get(Field::VlanCount);
        let bridge = if tags == 3 {
            return Err(DropReason::MalformedVlan);
        } else if tags == 0 {
            attached.access
        } else {
            plan.push(Action::PopVlan);
            frame.set(Field::VlanCount, tags - 1);
            let vid = packet.get(Field::VlanTci) & 0xfff;
            let ours = attached.trunk.iter().filter(|trunk| u128::from(trunk.vid) == vid);
            ours.map(|trunk| trunk.bridge).next().filter(|_| packet.get(Field::VlanTpid) == 0x8100)
        };
        let bridge = self.bridges().find(|other| Some(other.id) == bridge).ok_or(DropReason::BridgeVlan)?;
        Ok(Arrival { frame, bridge, place: Place::Port(port.id), learning: port.learning, plan })
    }

    /// Whether a bridge takes a frame, and what that teaches.
    fn admit(&self, arrival: &Arrival<'_>, memory: &Memory, outcome: &mut Outcome) -> Result<(), DropReason> {
        let Arrival { frame, bridge, place, learning, .. } = arrival;
        let (from, to) = (frame.mac(Field::EthSrc), frame.mac(Field::EthDst));
        if bridge.overlay.is_some() && frame.get(Field::VlanCount) > 0 {
            return Err(DropReason::BridgeVlan);
        }
        if from.is_multicast() || from.is_zero() {
            return Err(DropReason::BridgeSource);
        }
        if to.octets()[..5] == [0x01, 0x80, 0xc2, 0, 0] && to.octets()[5] < 16 {
            return Err(DropReason::BridgeReserved);
        }
        match self.fdb_entry(bridge.id, from) {
            Some(fixed) if fixed.place != *place => return Err(DropReason::BridgeStaticMoved),
            Some(_) => {}
            None if !learning => {}
            None if memory.stations.get(&(bridge.id, from)) == Some(place) => {
                outcome.source = Some((bridge.id, from, *place));
            }
            None => outcome.learn = Some((bridge.id, from, *place)),
        }
        let from_tunnel = matches!(place, Place::Peer(_));
        if bridge.suppression && asks_or_answers(frame, from_tunnel) {
            outcome.inspect.push((Network::Bridge(bridge.id), *place, from_tunnel));
        }
        Ok(())
    }

    /// What a bridge does with a frame.
    pub(super) fn bridge(
        &self,
        arrival: Arrival<'_>,
        memory: &Memory,
        outcome: &mut Outcome,
    ) -> Result<Vec<Action>, Fate> {
        self.admit(&arrival, memory, outcome).map_err(Fate::Drop)?;
        let Arrival { frame, bridge, place, mut plan, .. } = arrival;
        let drop = |reason| Err(Fate::Drop(reason));
        let from_tunnel = matches!(place, Place::Peer(_));
        let to = frame.mac(Field::EthDst);
        let known =
            if to.is_multicast() { None } else { self.station(bridge.id, to, memory).map_err(Fate::Drop)? };
        match known {
            Some(there) if there == place => {
                drop(if from_tunnel { DropReason::BridgeSplitHorizon } else { DropReason::BridgeSamePlace })
            }
            Some(Place::Port(port)) => {
                let attached = self.port(port).map(|port| vlan(port, bridge.id));
                match attached.flatten().flatten() {
                    Some(vid) => plan.push(Action::push_ctag(vid)),
                    None if frame.get(Field::VlanCount) > 0 => return drop(DropReason::BridgeVlan),
                    None => {}
                }
                plan.push(Action::Output(port));
                Ok(plan)
            }
            Some(Place::Peer(_)) if from_tunnel => drop(DropReason::BridgeSplitHorizon),
            Some(Place::Peer(address)) => {
                let Some((vtep, vni, _)) = self.tunnel_to(bridge.id, address) else {
                    unreachable!("the place was looked at")
                };
                let encap = encapsulate(vtep, vni, address, &frame, memory, outcome)?;
                plan.extend([Action::EncapVxlan(encap), Action::Output(vtep.uplink)]);
                Ok(plan)
            }
            None if !to.is_multicast() && !bridge.flood_unknown => drop(DropReason::BridgeUnknown),
            None => {
                let other = |port: &Port| port.id != frame.in_port() && vlan(port, bridge.id).is_some();
                let peer = || self.peers().any(|peer| self.tunnel_to(bridge.id, peer.address).is_some());
                if !self.ports().any(other) && (from_tunnel || !peer()) {
                    return drop(DropReason::BridgeNoMember);
                }
                plan.push(Action::Flood(Flood { list: bridge.id.0, from_tunnel }));
                Ok(plan)
            }
        }
    }

    /// Where a station is, if the bridge reaches it there.
    fn station(&self, bridge: BridgeId, mac: MacAddr, memory: &Memory) -> Result<Option<Place>, DropReason> {
        let reaches = |place: &Place| match *place {
            Place::Port(port) => self.port(port).is_some_and(|port| vlan(port, bridge).is_some()),
            Place::Peer(address) => self.tunnel_to(bridge, address).is_some(),
        };
        match self.fdb_entry(bridge, mac) {
            Some(fixed) if reaches(&fixed.place) => Ok(Some(fixed.place)),
            Some(_) => Err(DropReason::BridgeUnknown),
            None => Ok(memory.stations.get(&(bridge, mac)).copied().filter(reaches)),
        }
    }
}

/// The tag that a bridge's frames have on a port, if the port takes part in it.
fn vlan(port: &Port, bridge: BridgeId) -> Option<Option<u16>> {
    let untagged = port.bridges.access.filter(|&access| access == bridge).map(|_| None);
    let tagged = port.bridges.trunk.iter().find(|trunk| trunk.bridge == bridge).map(|trunk| Some(trunk.vid));
    untagged.or(tagged)
}

fn encapsulate(
    vtep: &Vtep,
    vni: u32,
    peer: IpAddr,
    frame: &FlowKey,
    memory: &Memory,
    outcome: &mut Outcome,
) -> Result<VxlanEncap, Fate> {
    let width = if vtep.address.is_ipv4() { 32 } else { 128 };
    let network = |address: IpAddr| {
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        (0..u32::from(vtep.prefix_length)).map(|n| bits >> (width - 1 - n) & 1).collect::<Vec<_>>()
    };
    let next_hop = if vtep.address.is_ipv4() != peer.is_ipv4() {
        None
    } else if network(vtep.address) == network(peer) {
        Some(peer)
    } else {
        vtep.gateway
    };
    let next_hop = next_hop.ok_or(Fate::Drop(DropReason::TunnelNoRoute))?;
    match memory.next_hops.get(&(vtep.id, next_hop)) {
        None => {
            outcome.resolve = Some((vtep.id, next_hop));
            Err(Fate::Wait)
        }
        Some(None) => Err(Fate::Drop(DropReason::NeighborUnresolved)),
        Some(Some(mac)) => Ok(VxlanEncap {
            eth_dst: *mac,
            eth_src: vtep.mac,
            vlan: vtep.vlan,
            src: vtep.address,
            dst: peer,
            tos: vtep.dscp * 4 + ecn(frame).unwrap_or(0),
            ttl: vtep.ttl,
            vni,
        }),
    }
}

/// Whether a frame is ARP or neighbour discovery that suppression looks into: of what came out of a
/// tunnel, neighbour discovery to one station is not.
fn asks_or_answers(frame: &FlowKey, from_tunnel: bool) -> bool {
    let whole = frame.get(Field::VlanCount) == 0 && frame.l3() == L3::Ok;
    let to_one = !frame.mac(Field::EthDst).is_multicast();
    let discovery = frame.get(Field::IpProto) == 58
        && frame.l4() == L4::Ok
        && matches!(frame.get(Field::L4Src), 135 | 136);
    match frame.eth_type() {
        0x0806 => whole,
        0x86dd => whole && discovery && !(from_tunnel && to_one),
        _ => false,
    }
}
