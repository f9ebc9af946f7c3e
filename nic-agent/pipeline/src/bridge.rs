//! Bridge: one broadcast domain, of ports and tunnels, which learns where stations are.
//!
//! * **Reads:** MAC addresses and VLAN tag; for a frame that goes into a tunnel the EtherType and, of IP,
//!   the ECN codepoint; in a bridge with suppression what tells ARP and neighbour discovery.
//! * **Consults:** the ingress port, bridges, stations by bridge and MAC address (source and
//!   destination), the port or the tunnel peer of the destination, VTEPs and their next hops; for a flood
//!   the bridge's members.
//! * **Drops:** `bridge.vlan`, `bridge.source_mac`, `bridge.reserved`, `bridge.static_moved`,
//!   `bridge.same_place`, `bridge.split_horizon`, `bridge.unknown_unicast`, `bridge.no_member`,
//!   `tunnel.no_route`, `neighbor.unresolved`; `malformed.vlan` for a tag that cannot be taken off.
//!
//! A frame over which a flow rule decides is let by. Inside a bridge a frame has no tag of the port it
//! came from: a trunk's is taken off on the way in, and put on again on the way out. Frames of an overlay
//! have no tag at all (RFC 7348 section 6.1).

use nic_flow::{Action, Field, Flood, MacAddr};
use nic_policy::{DropReason, Verdict};

use crate::effect::Effect;
use crate::plan::{Ingress, Plan};
use crate::probe::Probe;
use crate::snapshot::Member;

mod destination;
mod ingress;
mod suppression;
#[cfg(test)]
mod tests;

/// Addresses that bridges do not forward: 01-80-C2-00-00-00 to -0F (IEEE 802.1Q clause 8.6.3).
const RESERVED: u64 = 0x0180_c200_0000;

/// The stage.
pub(crate) fn run<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Verdict {
    if plan.decided {
        return Verdict::Pass;
    }
    match forward(probe, plan) {
        Ok(()) => Verdict::Pass,
        Err(verdict) => verdict,
    }
}

/// A frame ends its way at the first `Err`.
fn forward<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Result<(), Verdict> {
    let ingress = ingress::enter(probe, plan).map_err(Verdict::Drop)?;
    let (from, to) = addresses(probe).map_err(Verdict::Drop)?;
    check_source(probe, plan, &ingress, from).map_err(Verdict::Drop)?;
    if ingress.bridge.suppression {
        plan.inspect.extend(suppression::inspection(probe, &ingress));
    }
    if to.is_multicast() {
        return flood(probe, plan, &ingress).map_err(Verdict::Drop);
    }
    let found = destination::find(probe, ingress.bridge, to).map_err(Verdict::Drop)?;
    match found {
        Some(found) => destination::send(probe, plan, &ingress, &found),
        None if ingress.bridge.flood_unknown => flood(probe, plan, &ingress).map_err(Verdict::Drop),
        None => Err(Verdict::Drop(DropReason::BridgeUnknown)),
    }
}

/// Source and destination, if they are such as a bridge forwards.
fn addresses(probe: &mut Probe<'_>) -> Result<(MacAddr, MacAddr), DropReason> {
    let (from, to) = (probe.mac(Field::EthSrc), probe.mac(Field::EthDst));
    if !from.is_unicast() {
        Err(DropReason::BridgeSource)
    } else if to.to_u64() & !0xf == RESERVED {
        Err(DropReason::BridgeReserved)
    } else {
        Ok((from, to))
    }
}

/// Whether the frame may come from where it comes from, and what that teaches.
fn check_source(
    probe: &mut Probe<'_>,
    plan: &mut Plan<'_>,
    ingress: &Ingress<'_>,
    mac: MacAddr,
) -> Result<(), DropReason> {
    let (bridge, place) = (ingress.bridge.id, ingress.place);
    let station = probe.station(bridge, mac);
    match (station.fixed, station.learned) {
        (Some(fixed), _) if fixed.place != place => return Err(DropReason::BridgeStaticMoved),
        (Some(_), _) => {}
        (None, _) if !ingress.learning => {}
        (None, Some(learned)) if learned == place => plan.source = Some((bridge, mac, place)),
        (None, _) => plan.effects.push(Effect::Learn { bridge, mac, place }),
    }
    Ok(())
}

/// To every member but where the frame came from.
fn flood(probe: &mut Probe<'_>, plan: &mut Plan<'_>, ingress: &Ingress<'_>) -> Result<(), DropReason> {
    let (in_port, from_tunnel) = (probe.in_port(), ingress.is_tunnel());
    let mut members = probe.members(ingress.bridge);
    let other = members.any(|member| match member {
        Member::Port { port, .. } => port != in_port,
        Member::Peer { .. } => !from_tunnel,
    });
    if !other {
        return Err(DropReason::BridgeNoMember);
    }
    plan.act(probe, Action::Flood(Flood { list: ingress.bridge.id.0, from_tunnel }));
    Ok(())
}
