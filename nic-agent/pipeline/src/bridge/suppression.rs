//! Which frames of a bridge with suppression the slow path looks into: ARP and neighbour discovery.
//!
//! ARP has an EtherType of its own, which every flow may match. Neighbour discovery is told by the ICMPv6
//! type alone, and asking for that would make a megaflow of every connection. So of frames that came out
//! of a tunnel only those to a group are asked: flows of frames to one station then stay what an
//! E-Switch can match. What such a frame would have told is asked for when it is needed.

use nic_flow::Field;
use nic_flow::field::{L3, L4};
use nic_policy::Network;
use nic_wire::{EtherType, IpProto};

use crate::effect::Inspection;
use crate::plan::Ingress;
use crate::probe::Probe;
use crate::tunnel::{NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION};

/// Whether the frame is to be looked into. One that is malformed tells nothing.
pub(super) fn inspection(probe: &mut Probe<'_>, ingress: &Ingress<'_>) -> Option<Inspection> {
    let asks = probe.read(Field::VlanCount) == 0
        && match probe.eth_type() {
            EtherType::ARP => L3::from_bits(probe.read(Field::L3)) == L3::Ok,
            EtherType::IPV6 => is_discovery(probe, ingress),
            _ => false,
        };
    let network = Network::Bridge(ingress.bridge.id);
    asks.then_some(Inspection { network, place: ingress.place, tunnelled: ingress.is_tunnel() })
}

fn is_discovery(probe: &mut Probe<'_>, ingress: &Ingress<'_>) -> bool {
    if ingress.is_tunnel() && !probe.mac(Field::EthDst).is_multicast() {
        return false;
    }
    L3::from_bits(probe.read(Field::L3)) == L3::Ok
        && probe.read(Field::IpProto) == IpProto::ICMPV6.0.into()
        && L4::from_bits(probe.read(Field::L4)) == L4::Ok
        && matches!(probe.read(Field::L4Src), NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT)
}
