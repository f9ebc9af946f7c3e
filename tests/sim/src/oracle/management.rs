//! The card's own management in band, from the meaning: its frames are its alone, and nobody else's look like
//! them.

use nic_flow::field::{Field, L3, L4};
use nic_flow::{Action, FlowKey, MacAddr, PortId};
use nic_policy::DropReason;

use super::{Fate, Policy};

/// What the management has to do with a packet.
pub(crate) enum Concern {
    /// Nothing.
    None,
    /// It gets a copy.
    Copy,
    /// This is the packet's end.
    Whole(Fate),
}

impl Policy {
    pub(crate) fn management_of(&self, packet: &FlowKey) -> Concern {
        let Some(management) = self.management else { return Concern::None };
        let in_vlan = match management.vlan {
            None => packet.get(Field::VlanCount) == 0,
            Some(vid) => {
                let tag = (packet.get(Field::VlanTpid), packet.get(Field::VlanTci) & 0xfff);
                packet.get(Field::VlanCount) == 1 && tag == (0x8100, u128::from(vid))
            }
        };
        let claims = packet.mac(Field::EthSrc) == management.mac;
        let forward = |to| Concern::Whole(Fate::Forward(vec![Action::Output(to)]));
        let foreign = Concern::Whole(Fate::Drop(DropReason::ManagementSource));
        match packet.in_port() {
            PortId::MANAGEMENT if claims && in_vlan => forward(management.uplink),
            PortId::MANAGEMENT => foreign,
            port if port == management.uplink => match packet.mac(Field::EthDst) {
                to if to == management.mac && in_vlan => forward(PortId::MANAGEMENT),
                to if in_vlan && is_needed(packet, to) => Concern::Copy,
                _ => Concern::None,
            },
            port if claims && !port.is_uplink() => foreign,
            _ => Concern::None,
        }
    }

    /// Whether a list sends a packet that looks like the management's where the management is.
    pub(crate) fn forges(&self, packet: &FlowKey, plan: &[Action]) -> bool {
        let Some(management) = self.management else { return false };
        let mut source = packet.mac(Field::EthSrc);
        let mut inner = packet.mac(Field::TunEthSrc);
        let mut forged = false;
        for action in plan {
            match action {
                Action::SetEthSrc(mac) => source = *mac,
                Action::EncapVxlan(headers) => (inner, source) = (source, headers.eth_src),
                Action::DecapVxlan => source = inner,
                Action::Output(port) => forged |= *port == management.uplink && source == management.mac,
                Action::Flood(_) => forged |= source == management.mac,
                _ => {}
            }
        }
        forged && packet.in_port() != management.uplink
    }
}

fn is_needed(packet: &FlowKey, group: MacAddr) -> bool {
    let whole = packet.l3() == L3::Ok;
    let protocol = packet.get(Field::IpProto);
    let everybody = group == MacAddr::BROADCAST;
    match packet.eth_type() {
        0x0806 => everybody,
        0x0800 => {
            let udp = whole && protocol == 17 && packet.get(Field::L4) == L4::Ok as u128;
            everybody && udp && packet.get(Field::L4Dst) == 68
        }
        0x86dd => group.0[..2] == [0x33, 0x33] && whole && protocol == 58,
        _ => false,
    }
}
