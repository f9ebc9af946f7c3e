//! Where a frame to one station goes.

use core::net::IpAddr;

use nic_flow::field::L3;
use nic_flow::{Action, Field, MacAddr, PortId};
use nic_policy::{Bridge, DropReason, Place, Port, Verdict, Vtep};
use nic_wire::EtherType;

use crate::effect::Effect;
use crate::plan::{Ingress, Plan};
use crate::probe::Probe;
use crate::state::Neighbor;
use crate::tunnel::{encapsulation, next_hop};

/// A place that a bridge reaches.
pub(super) enum Found<'s> {
    /// By a port, in this VLAN.
    Port(PortId, Option<u16>),
    /// Through a tunnel.
    Peer { vtep: &'s Vtep, vni: u32, address: IpAddr },
}

/// Where the station is; `None` if that is not known. What was learned of a place that the bridge no
/// longer reaches is not knowledge. A station that the configuration puts there is reached by no other
/// way, so frames to it are dropped.
pub(super) fn find<'s>(
    probe: &mut Probe<'s>,
    bridge: &Bridge,
    mac: MacAddr,
) -> Result<Option<Found<'s>>, DropReason> {
    let station = probe.station(bridge.id, mac);
    match (station.fixed, station.learned) {
        (Some(fixed), _) => reach(probe, bridge, fixed.place).map(Some).ok_or(DropReason::BridgeUnknown),
        (None, Some(learned)) => Ok(reach(probe, bridge, learned)),
        (None, None) => Ok(None),
    }
}

fn reach<'s>(probe: &mut Probe<'s>, bridge: &Bridge, place: Place) -> Option<Found<'s>> {
    match place {
        Place::Port(id) => {
            let port = probe.port(id)?;
            vlan(port, bridge).map(|vid| Found::Port(id, vid))
        }
        Place::Peer(address) => {
            let overlay = bridge.overlay?;
            let peer = probe.tunnel_peer(overlay.vtep, address)?;
            if !peer.bridges.contains(&bridge.id) {
                return None;
            }
            let vtep = probe.vtep(overlay.vtep)?;
            Some(Found::Peer { vtep, vni: overlay.vni, address })
        }
    }
}

/// The VLAN that a bridge has on a port, if the port is attached to it; the first, as a flood takes it.
fn vlan(port: &Port, bridge: &Bridge) -> Option<Option<u16>> {
    if port.bridges.access == Some(bridge.id) {
        return Some(None);
    }
    let vids = port.bridges.trunk.iter().filter(|trunk| trunk.bridge == bridge.id).map(|trunk| trunk.vid);
    vids.min().map(Some)
}

/// Sends the frame there.
pub(super) fn send(
    probe: &mut Probe<'_>,
    plan: &mut Plan<'_>,
    ingress: &Ingress<'_>,
    to: &Found<'_>,
) -> Result<(), Verdict> {
    match *to {
        Found::Port(port, _) if ingress.place == Place::Port(port) => {
            Err(Verdict::Drop(DropReason::BridgeSamePlace))
        }
        // A second tag of a trunk's frame would be the first one there, and may be that of another bridge
        // or of an underlay. Nor does the port let such a frame in.
        Found::Port(_, None) if probe.read(Field::VlanCount) != 0 => {
            Err(Verdict::Drop(DropReason::BridgeVlan))
        }
        Found::Port(port, vid) => {
            if let Some(vid) = vid {
                plan.act(probe, Action::PushVlan { tpid: EtherType::VLAN.0, tci: vid });
            }
            plan.act(probe, Action::Output(port));
            Ok(())
        }
        Found::Peer { .. } if ingress.is_tunnel() => Err(Verdict::Drop(DropReason::BridgeSplitHorizon)),
        Found::Peer { vtep, vni, address } => {
            let next_hop_mac = resolve(probe, plan, vtep, address)?;
            let ecn = ecn(probe);
            let headers = encapsulation(vtep, vni, address, next_hop_mac, ecn);
            plan.act(probe, Action::EncapVxlan(headers));
            plan.act(probe, Action::Output(vtep.uplink));
            Ok(())
        }
    }
}

/// The MAC address of the next hop to a peer.
fn resolve(
    probe: &mut Probe<'_>,
    plan: &mut Plan<'_>,
    vtep: &Vtep,
    peer: IpAddr,
) -> Result<MacAddr, Verdict> {
    let address = next_hop(vtep, peer).ok_or(Verdict::Drop(DropReason::TunnelNoRoute))?;
    match probe.neighbor(vtep.id, address) {
        Some(Neighbor::Known(mac)) => Ok(mac),
        Some(Neighbor::Failed) => Err(Verdict::Drop(DropReason::NeighborUnresolved)),
        None => {
            plan.effects.push(Effect::Resolve { vtep: vtep.id, address });
            Err(Verdict::Wait)
        }
    }
}

/// The ECN codepoint of the frame; 0, Not-ECT, if it has none that can be read.
fn ecn(probe: &mut Probe<'_>) -> u8 {
    let ip = matches!(probe.eth_type(), EtherType::IPV4 | EtherType::IPV6);
    if ip && L3::from_bits(probe.read(Field::L3)) == L3::Ok {
        probe.read_bits(Field::IpTos, 3) as u8
    } else {
        0
    }
}
