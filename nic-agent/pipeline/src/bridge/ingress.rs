//! Which bridge a frame enters, and from where.

use nic_flow::{Action, Field};
use nic_policy::{BridgeId, DropReason, Place, Port};
use nic_wire::EtherType;

use crate::plan::{Ingress, Plan};
use crate::probe::{Probe, VLANS_MALFORMED};

/// The bridge of a frame, whose tag is taken off.
pub(super) fn enter<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Result<Ingress<'s>, DropReason> {
    let ingress = match plan.ingress {
        Some(ingress) => ingress,
        None => by_port(probe, plan)?,
    };
    if ingress.bridge.overlay.is_some() && probe.read(Field::VlanCount) != 0 {
        return Err(DropReason::BridgeVlan);
    }
    Ok(ingress)
}

fn by_port<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Result<Ingress<'s>, DropReason> {
    let id = probe.in_port();
    let port = probe.port(id).ok_or(DropReason::PortUnconfigured)?;
    let bridge = match probe.read(Field::VlanCount) {
        0 => port.bridges.access,
        // What would come to light under the outer tag is not known.
        VLANS_MALFORMED => return Err(DropReason::MalformedVlan),
        _ => by_tag(probe, port),
    };
    let bridge = bridge.and_then(|bridge| probe.bridge(bridge)).ok_or(DropReason::BridgeVlan)?;
    if probe.read(Field::VlanCount) != 0 {
        plan.act(probe, Action::PopVlan);
    }
    Ok(Ingress { bridge, place: Place::Port(id), learning: port.learning })
}

/// The bridge of the outer tag, which is a C-VLAN tag (IEEE 802.1Q clause 9.5).
fn by_tag(probe: &mut Probe<'_>, port: &Port) -> Option<BridgeId> {
    if probe.read(Field::VlanTpid) != EtherType::VLAN.0.into() {
        return None;
    }
    let vid = probe.read_bits(Field::VlanTci, 0x0fff);
    port.bridges.trunk.iter().find(|trunk| u128::from(trunk.vid) == vid).map(|trunk| trunk.bridge)
}
