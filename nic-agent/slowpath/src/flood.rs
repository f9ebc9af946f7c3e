//! Floods: one packet to every member of a bridge but where it came from.
//!
//! The list of members is the snapshot's of the moment, so a flow that floods depends on no member. Each
//! copy is an output of its own: sent, dropped for a reason of its own, or held until it is known where
//! a tunnel peer is.

use core::net::IpAddr;

use nic_flow::extract::extract;
use nic_flow::field::L3;
use nic_flow::seam::{PacketBuf, PacketIo};
use nic_flow::{Action, Field, Flood, PortId};
use nic_pipeline::snapshot::Member;
use nic_pipeline::state::Neighbor;
use nic_pipeline::{Snapshot, encapsulation, next_hop};
use nic_policy::{BridgeId, DropReason, Vtep};
use nic_wire::{EtherType, ethernet};

use crate::underlay::{ToPeer, Towards, Waiting};
use crate::worker::Worker;

impl<Io: PacketIo> Worker<Io> {
    /// Does what the lists that ran left to flood.
    #[inline]
    pub(crate) fn flood_all(&mut self, from: u16, now: u64) {
        while let Some((flood, packet)) = self.transmit.floods.pop() {
            self.flood(from, flood, packet, now);
        }
    }

    fn flood(&mut self, from: u16, flood: Flood, packet: Io::Buf, now: u64) {
        let bridge = BridgeId(flood.list);
        let ingress = self.megaflows.ports.get(from).stats.port;
        let mut members = core::mem::take(&mut self.members);
        members.clear();
        members.extend(members_of(&self.megaflows.snapshot, bridge, flood.from_tunnel, ingress));
        let rate = self.megaflows.snapshot.port(ingress).map_or(0, |port| port.flood_budget);
        let Some((&last, others)) = members.split_last() else {
            self.megaflows.ports.dropped(from, DropReason::BridgeNoMember, 1);
            self.members = members;
            return;
        };
        self.transmit.copies += others.len() as u64;
        // Each costs the port's share what a packet does, sent or not.
        self.megaflows.ports.get_mut(from).deficit -= others.len() as i64;
        for &member in others {
            if self.may_copy(from, rate, now) {
                match self.io.copy(&packet) {
                    Some(copy) => self.send_to_member(from, bridge, member, copy, now),
                    None => self.megaflows.ports.dropped(from, DropReason::NoBuffer, 1),
                }
            }
        }
        if self.may_copy(from, rate, now) {
            self.send_to_member(from, bridge, last, packet, now);
        }
        self.members = members;
    }

    /// Whether the port has a copy left of its budget; the copy is dropped if not.
    fn may_copy(&mut self, from: u16, rate: u32, now: u64) -> bool {
        let left = self.megaflows.ports.get_mut(from).flood.take(rate, now);
        if !left {
            self.megaflows.ports.dropped(from, DropReason::FloodBudget, 1);
        }
        left
    }

    fn send_to_member(&mut self, from: u16, bridge: BridgeId, member: Member, packet: Io::Buf, now: u64) {
        self.megaflows.counters.flooded += 1;
        self.megaflows.ports.get_mut(from).stats.flooded += 1;
        let ports = &mut self.megaflows.ports;
        match member {
            // As in the bridge stage: its second tag would be the first one there.
            Member::Port { vid: None, .. } if is_tagged(packet.data()) => {
                ports.dropped(from, DropReason::BridgeVlan, 1);
            }
            Member::Port { port, vid: None } => self.transmit.output(&mut self.io, ports, from, port, packet),
            Member::Port { port, vid: Some(vid) } => {
                let actions = [Action::PushVlan { tpid: EtherType::VLAN.0, tci: vid }, Action::Output(port)];
                self.transmit.run(&mut self.io, ports, from, &actions, packet);
            }
            Member::Peer { address, .. } => {
                self.send_to_peer(from, ToPeer { bridge, address, own: false }, packet, now);
            }
        }
    }

    /// Sends a frame of a bridge to a tunnel peer, now or when it is known where that is.
    pub(crate) fn send_to_peer(&mut self, from: u16, to: ToPeer, packet: Io::Buf, now: u64) {
        let snapshot = &self.megaflows.snapshot;
        let ingress = (!to.own).then_some(self.megaflows.ports.get(from).stats.port);
        let way = way_to_peer(snapshot, to.bridge, to.address).and_then(|way| {
            may_leave(snapshot, ingress, way.0.uplink)?;
            Ok(way)
        });
        let (vtep, vni, hop) = match way {
            Ok(way) => way,
            Err(reason) => return self.megaflows.ports.dropped(from, reason, 1),
        };
        let (id, uplink) = (vtep.id, vtep.uplink);
        match self.megaflows.state.neighbors.get(id, hop) {
            Some(Neighbor::Known(mac)) => {
                let actions = [
                    Action::EncapVxlan(encapsulation(vtep, vni, to.address, mac, ecn(packet.data()))),
                    Action::Output(uplink),
                ];
                self.underlay.neighbors.used((id, hop), now);
                self.transmit.run(&mut self.io, &mut self.megaflows.ports, from, &actions, packet);
            }
            Some(Neighbor::Failed) => {
                self.megaflows.ports.dropped(from, DropReason::NeighborUnresolved, 1);
            }
            None => {
                self.underlay.want((id, hop), now);
                let waiting = Waiting { from, packet, towards: Towards::Peer(to) };
                if self.underlay.wait((id, hop), waiting).is_err() {
                    self.megaflows.ports.dropped(from, DropReason::NeighborQueueFull, 1);
                }
            }
        }
    }
}

/// Whether the frame has a VLAN tag.
fn is_tagged(frame: &[u8]) -> bool {
    ethernet::Packet::new_checked(frame).is_ok_and(|frame| frame.ethertype().is_vlan())
}

/// Who gets a copy. Ports that are closed or absent are no members for now.
fn members_of(
    snapshot: &Snapshot,
    bridge: BridgeId,
    from_tunnel: bool,
    ingress: PortId,
) -> impl Iterator<Item = Member> + '_ {
    snapshot.members(bridge).filter(move |member| match *member {
        Member::Port { port, .. } => may_leave(snapshot, Some(ingress), port).is_ok(),
        Member::Peer { .. } => !from_tunnel,
    })
}

/// The VTEP, the VNI and the next hop by which a bridge reaches a tunnel peer.
fn way_to_peer(
    snapshot: &Snapshot,
    bridge: BridgeId,
    address: IpAddr,
) -> Result<(&Vtep, u32, IpAddr), DropReason> {
    let overlay = snapshot.bridge(bridge).and_then(|bridge| bridge.overlay);
    let overlay = overlay.ok_or(DropReason::BridgeNoMember)?;
    // While the packet waited, the peer may have left the bridge.
    let member = snapshot.peer(overlay.vtep, address).is_some_and(|peer| peer.bridges.contains(&bridge));
    let vtep = snapshot.vtep(overlay.vtep).filter(|_| member).ok_or(DropReason::BridgeNoMember)?;
    let hop = next_hop(vtep, address).ok_or(DropReason::TunnelNoRoute)?;
    Ok((vtep, overlay.vni, hop))
}

/// The egress stage's rule, for what leaves by a list.
fn may_leave(snapshot: &Snapshot, ingress: Option<PortId>, egress: PortId) -> Result<(), DropReason> {
    let port = snapshot.port(egress);
    if ingress == Some(egress) {
        Err(DropReason::OutputIngress)
    } else if port.is_none() {
        Err(DropReason::OutputUnconfigured)
    } else if !port.is_some_and(|port| port.enabled) {
        Err(DropReason::OutputDisabled)
    } else if !snapshot.has_device(egress) {
        Err(DropReason::OutputAbsent)
    } else {
        Ok(())
    }
}

/// The codepoint of a frame for the header around it; a frame without a whole IP header has none.
fn ecn(frame: &[u8]) -> u8 {
    let key = extract(frame, PortId::from_bits(0));
    let ip = matches!(EtherType(key.eth_type()), EtherType::IPV4 | EtherType::IPV6) && key.l3() == L3::Ok;
    if ip { key.get(Field::IpTos) as u8 & 3 } else { 0 }
}
