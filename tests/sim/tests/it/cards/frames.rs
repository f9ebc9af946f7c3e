//! Frames and policy objects, in few words.

use std::net::IpAddr;

use nic_flow::execute::execute;
use nic_flow::field::{Field, L3, L4};
use nic_flow::key::{ip_to_bits, mac_to_bits};
use nic_flow::seam::PacketBuf;
use nic_flow::{Action, FlowKey, MacAddr, PortId, VxlanEncap};
use nic_policy::{
    Attachment, Bridge, BridgeId, Change, FdbEntry, Object, Overlay, Place, Port, Trunk, TunnelPeer, Vtep,
    VtepId,
};
use sim::frame::{self, Frame};

pub(crate) const UPLINK: PortId = PortId::from_bits(0);
pub(crate) const VF0: PortId = PortId::from_bits(0x8000);
pub(crate) const VF1: PortId = PortId::from_bits(0x8001);
pub(crate) const VF2: PortId = PortId::from_bits(0x8002);
pub(crate) const VF3: PortId = PortId::from_bits(0x8003);
pub(crate) const PORTS: [PortId; 5] = [UPLINK, VF0, VF1, VF2, VF3];

pub(crate) const RED: BridgeId = BridgeId(1);
pub(crate) const VTEP: VtepId = VtepId(7);
pub(crate) const VNI: u32 = 100;

/// The address of the n-th station.
pub(crate) const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A UDP packet between two stations.
pub(crate) fn udp(from: MacAddr, to: MacAddr, vid: Option<u16>) -> FlowKey {
    let key = FlowKey::ZERO
        .with(Field::EthDst, mac_to_bits(to))
        .with(Field::EthSrc, mac_to_bits(from))
        .with(Field::EthType, 0x0800)
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpSrc, 0x0a00_0001)
        .with(Field::IpDst, 0x0a00_0002)
        .with(Field::IpTtl, 64)
        .with(Field::IpProto, 17)
        .with(Field::L4, L4::Ok as u128)
        .with(Field::L4Src, 1000)
        .with(Field::L4Dst, 53);
    tagged(key, vid)
}

pub(crate) fn tagged(key: FlowKey, vid: Option<u16>) -> FlowKey {
    match vid {
        None => key,
        Some(vid) => {
            key.with(Field::VlanCount, 1).with(Field::VlanTpid, 0x8100).with(Field::VlanTci, vid.into())
        }
    }
}

pub(crate) fn bytes(from: MacAddr, to: MacAddr, serial: u64) -> Vec<u8> {
    frame::build(&udp(from, to, None), serial)
}

/// An ARP message; `operation` is 1 for a question, 2 for an answer.
pub(crate) fn arp(operation: u8, from: (MacAddr, &str), to: (MacAddr, &str), eth_dst: MacAddr) -> FlowKey {
    FlowKey::ZERO
        .with(Field::EthDst, mac_to_bits(eth_dst))
        .with(Field::EthSrc, mac_to_bits(from.0))
        .with(Field::EthType, 0x0806)
        .with(Field::L3, L3::Ok as u128)
        .with(Field::IpProto, operation.into())
        .with(Field::ArpSha, mac_to_bits(from.0))
        .with(Field::IpSrc, ip_to_bits(ip(from.1)))
        .with(Field::ArpTha, mac_to_bits(to.0))
        .with(Field::IpDst, ip_to_bits(ip(to.1)))
}

/// A frame in a VXLAN packet from a peer at 192.0.2.`from` to the VTEP.
pub(crate) fn from_peer(inner: &[u8], from: u8, vni: u32) -> Vec<u8> {
    let encap = VxlanEncap {
        eth_dst: vtep_mac(),
        eth_src: peer_mac(from),
        vlan: None,
        src: [192, 0, 2, from].into(),
        dst: [192, 0, 2, 1].into(),
        tos: 0,
        ttl: 64,
        vni,
    };
    let mut packet = Frame::new(inner);
    let mut out = Vec::new();
    let actions = [Action::EncapVxlan(encap), Action::Output(UPLINK)];
    execute(&actions, &mut packet, |_, packet: &Frame| out = packet.data().to_vec()).expect("headroom");
    out
}

pub(crate) const fn vtep_mac() -> MacAddr {
    MacAddr([2, 0x4e, 192, 0, 2, 1])
}

pub(crate) const fn peer_mac(n: u8) -> MacAddr {
    MacAddr([2, 0x4e, 192, 0, 2, n])
}

pub(crate) fn put(object: Object) -> Change {
    Change::Put(object)
}

pub(crate) fn plain(id: PortId) -> Port {
    Port {
        id,
        enabled: true,
        source_macs: None,
        bridges: Attachment::default(),
        learning: true,
        mac_limit: 1000,
        flood_budget: 10_000,
    }
}

pub(crate) fn access(id: PortId, bridge: BridgeId) -> Port {
    Port { bridges: Attachment { access: Some(bridge), trunk: Vec::new() }, ..plain(id) }
}

pub(crate) fn trunk(id: PortId, vids: &[(u16, BridgeId)]) -> Port {
    let trunk = vids.iter().map(|&(vid, bridge)| Trunk { vid, bridge }).collect();
    Port { bridges: Attachment { access: None, trunk }, ..plain(id) }
}

pub(crate) fn port(port: Port) -> Change {
    put(Object::Port(port))
}

pub(crate) fn bridge(id: BridgeId) -> Bridge {
    Bridge { id, overlay: None, flood_unknown: true, ageing_time: 300, suppression: false }
}

pub(crate) fn overlay(id: BridgeId, vni: u32) -> Bridge {
    Bridge { overlay: Some(Overlay { vtep: VTEP, vni }), ..bridge(id) }
}

pub(crate) fn vtep() -> Vtep {
    Vtep {
        id: VTEP,
        uplink: UPLINK,
        vlan: None,
        mac: vtep_mac(),
        address: ip("192.0.2.1"),
        prefix_length: 24,
        gateway: None,
        ttl: 64,
        dscp: 0,
    }
}

pub(crate) fn peer(address: IpAddr, bridges: &[BridgeId]) -> TunnelPeer {
    TunnelPeer { vtep: VTEP, address, bridges: bridges.to_vec(), learning: true, mac_limit: 1000 }
}

pub(crate) fn fixed(bridge: BridgeId, mac: MacAddr, place: Place, addresses: &[&str]) -> Change {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    put(Object::FdbEntry(FdbEntry { bridge, mac, place, addresses }))
}
