//! What is sent to a VTEP.

use std::net::{IpAddr, Ipv6Addr};

use nic_flow::field::{Field, L3, L4, Tunnel};
use nic_flow::{Action, FlowKey, MacAddr};
use nic_policy::{BridgeId, DropReason, Network, Object, ObjectId, Place, TunnelPeer, Vtep};

use super::{Arrival, Fate, Outcome, Policy};

/// What happens to the inner codepoint (a row) under the outer one (a column), in the order Not-ECT,
/// ECT(1), ECT(0), CE: the table of RFC 6040 section 4.2. `None` drops.
const ECN: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(2), Some(1), Some(2), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

/// The frame in a VXLAN packet.
pub(crate) fn inner(packet: &FlowKey) -> FlowKey {
    let mut frame = FlowKey::ZERO.with(Field::InPort, packet.get(Field::InPort));
    for &field in Field::ALL {
        if let Some(plain) = field.name().strip_prefix("tun_").and_then(Field::from_name) {
            frame.set(plain, packet.get(field));
        }
    }
    frame
}

/// The ECN codepoint of a frame; `None` if it carries no IP.
pub(super) fn ecn(frame: &FlowKey) -> Option<u8> {
    match frame.eth_type() {
        0x0800 | 0x86dd if frame.l3() == L3::Ok => Some(frame.get(Field::IpTos) as u8 & 3),
        0x0800 | 0x86dd => Some(0),
        _ => None,
    }
}

impl Policy {
    /// A packet for a VTEP, out of its tunnel; `None` for any other packet.
    pub(super) fn tunnel(
        &self,
        packet: &FlowKey,
        outcome: &mut Outcome,
    ) -> Result<Option<Arrival<'_>>, Fate> {
        for vtep in self.vteps().filter(|vtep| vtep.uplink == packet.in_port() && has_tag(packet, vtep)) {
            let own = packet.mac(Field::EthDst) == vtep.mac;
            if own && is_vxlan(packet, vtep).map_err(Fate::Drop)? {
                return self.decapsulated(packet, vtep).map(Some).map_err(Fate::Drop);
            }
            if own || is_asked(packet, vtep) {
                outcome.inspect.push((Network::Underlay(vtep.id), Place::Port(vtep.uplink), false));
                return Err(Fate::Local);
            }
        }
        let mut neighbors = self.vteps().filter(|vtep| {
            vtep.uplink == packet.in_port() && has_tag(packet, vtep) && is_announced(packet, vtep)
        });
        let first =
            neighbors.next().map(|vtep| (Network::Underlay(vtep.id), Place::Port(vtep.uplink), false));
        outcome.inspect.extend(first);
        Ok(None)
    }

    fn decapsulated(&self, packet: &FlowKey, vtep: &Vtep) -> Result<Arrival<'_>, DropReason> {
        if packet.tunnel() != Tunnel::Vxlan {
            return Err(DropReason::TunnelMalformed);
        }
        let from = packet.ip(Field::IpSrc);
        let Some(peer) = self.peers().find(|peer| peer.vtep == vtep.id && peer.address == from) else {
            return Err(DropReason::TunnelPeerUnknown);
        };
        let vni = packet.get(Field::Vni);
        let bridge = self.bridges().find(|bridge| {
            bridge.overlay.is_some_and(|overlay| overlay.vtep == vtep.id && u128::from(overlay.vni) == vni)
        });
        let bridge = bridge.filter(|bridge| peer.bridges.contains(&bridge.id));
        let bridge = bridge.ok_or(DropReason::TunnelVniUnknown)?;
        let mut frame = inner(packet);
        let mut plan = vec![Action::DecapVxlan];
        if frame.get(Field::VlanCount) == 0
            && let Some(own) = ecn(&frame)
        {
            let outer = packet.get(Field::IpTos) as usize & 3;
            let new = ECN[usize::from(own)][outer].ok_or(DropReason::TunnelCongestion)?;
            if new != own {
                frame.set(Field::IpTos, frame.get(Field::IpTos) & 0xfc | u128::from(new));
                plan.push(Action::SetIpEcn(new));
            }
        }
        Ok(Arrival { frame, bridge, place: Place::Peer(from), learning: peer.learning, plan })
    }

    /// The VTEP and the peer behind which a bridge has stations at that address.
    pub(super) fn tunnel_to(&self, bridge: BridgeId, address: IpAddr) -> Option<(&Vtep, u32, &TunnelPeer)> {
        let overlay = self.bridges().find(|other| other.id == bridge)?.overlay?;
        let vtep = self.vteps().find(|vtep| vtep.id == overlay.vtep)?;
        let peer = match self.objects.get(&ObjectId::TunnelPeer(vtep.id, address)) {
            Some(Object::TunnelPeer(peer)) if peer.bridges.contains(&bridge) => peer,
            _ => return None,
        };
        Some((vtep, overlay.vni, peer))
    }
}

fn has_tag(packet: &FlowKey, vtep: &Vtep) -> bool {
    let tag = (packet.get(Field::VlanTpid), packet.get(Field::VlanTci) & 0xfff);
    match (packet.get(Field::VlanCount), vtep.vlan) {
        (0, None) => true,
        (1, Some(vid)) => tag == (0x8100, vid.into()),
        _ => false,
    }
}

/// Whether a packet to the VTEP's MAC address is for the tunnel, or else a question; an error if neither.
fn is_vxlan(packet: &FlowKey, vtep: &Vtep) -> Result<bool, DropReason> {
    let v4 = vtep.address.is_ipv4();
    let is_arp = packet.eth_type() == 0x0806;
    match packet.eth_type() {
        0x0806 | 0x0800 if v4 => {}
        0x86dd if !v4 => {}
        _ => return Err(DropReason::TunnelNotOurs),
    }
    if packet.l3() == L3::Malformed {
        return Err(DropReason::MalformedL3);
    }
    if is_arp {
        return Ok(false);
    }
    let proto = packet.get(Field::IpProto);
    let discovery = !v4 && proto == 58;
    let datagram = proto == 17 && packet.ip(Field::IpDst) == vtep.address;
    if !discovery && !datagram {
        return Err(DropReason::TunnelNotOurs);
    }
    match packet.l4() {
        L4::Malformed => Err(DropReason::MalformedL4),
        L4::Ok if discovery && matches!(packet.get(Field::L4Src), 135 | 136) => Ok(false),
        L4::Ok if !discovery && packet.get(Field::L4Dst) == 4789 => Ok(true),
        _ => Err(DropReason::TunnelNotOurs),
    }
}

/// Whether a packet to a group asks for the VTEP.
fn is_asked(packet: &FlowKey, vtep: &Vtep) -> bool {
    match vtep.address {
        IpAddr::V4(_) => is_arp_to_all(packet) && packet.ip(Field::IpDst) == vtep.address,
        IpAddr::V6(address) => {
            let [.., x, y, z] = address.octets();
            let solicited =
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));
            icmp(packet) == Some(135)
                && packet.mac(Field::EthDst) == MacAddr([0x33, 0x33, 0xff, x, y, z])
                && packet.ip(Field::IpDst) == IpAddr::V6(solicited)
        }
    }
}

/// Whether a packet tells everybody, the neighbours of the VTEP among them, where its sender is.
fn is_announced(packet: &FlowKey, vtep: &Vtep) -> bool {
    let to_ipv6_group = packet.get(Field::EthDst) >> 32 == 0x3333;
    if vtep.address.is_ipv4() { is_arp_to_all(packet) } else { to_ipv6_group && icmp(packet) == Some(136) }
}

fn is_arp_to_all(packet: &FlowKey) -> bool {
    packet.eth_type() == 0x0806 && packet.l3() == L3::Ok && packet.mac(Field::EthDst).is_broadcast()
}

/// The type of an ICMPv6 message.
fn icmp(packet: &FlowKey) -> Option<u128> {
    let whole = packet.eth_type() == 0x86dd && packet.l3() == L3::Ok && packet.l4() == L4::Ok;
    (whole && packet.get(Field::IpProto) == 58).then(|| packet.get(Field::L4Src))
}
