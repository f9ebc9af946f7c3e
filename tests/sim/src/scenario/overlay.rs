//! Bridges, VTEPs, peers and stations, the packets that meet them, and what packets taught.

use std::net::IpAddr;

use nic_flow::field::{Field, Frag, L3, L4, Tunnel};
use nic_flow::key::{ip_to_bits, mac_to_bits};
use nic_flow::{FlowKey, MacAddr};
use nic_policy::{
    Attachment, Bridge, BridgeId, Change, FdbEntry, Object, Overlay, Place, Port, Trunk, TunnelPeer, Vtep,
    VtepId,
};

use super::{IPV4, MACS, PORTS, packet};
use crate::oracle::{Memory, Policy};
use crate::random::Random;

/// The VLANs of the world, of trunks and of underlays.
const VIDS: [u16; 2] = [0x64, 0x65];
/// VNIs: each VTEP has two, and there is one that none has.
const VNIS: [u32; 3] = [100, 200, 300];
const BRIDGES: [BridgeId; 4] = [BridgeId(1), BridgeId(2), BridgeId(3), BridgeId(4)];
const VTEPS: [VtepId; 2] = [VtepId(1), VtepId(2)];
/// The stations' addresses, and one that nobody has.
const STATIONS: [u64; 4] = [MACS[0], MACS[1], MACS[2], 0x02_00_00_00_02_02];
/// Next hops' addresses.
const NEXT_HOPS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 9, 1]), MacAddr([2, 0, 0, 0, 9, 2])];

fn text(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

/// The VTEP's own address, its peers' on the link and elsewhere, and its gateway's.
fn addresses(vtep: VtepId) -> [IpAddr; 4] {
    match vtep {
        VtepId(1) => ["192.0.2.1", "192.0.2.9", "198.51.100.9", "192.0.2.254"].map(text),
        _ => ["2001:db8:f::1", "2001:db8:f::9", "2001:db8:e::9", "2001:db8:f::fe"].map(text),
    }
}

fn vtep(random: &mut Random, id: VtepId) -> Vtep {
    let [address, _, _, gateway] = addresses(id);
    Vtep {
        id,
        uplink: random.pick(&[PORTS[0], PORTS[0], PORTS[1]]),
        vlan: random.chance(30).then(|| random.pick(&VIDS)),
        mac: MacAddr([2, 0x4e, 0, 0, 0, id.0 as u8]),
        address,
        prefix_length: if address.is_ipv4() { 24 } else { 64 },
        gateway: random.chance(60).then_some(gateway),
        ttl: random.pick(&[64, 255]),
        dscp: random.pick(&[0, 46]),
    }
}

fn bridge(random: &mut Random, id: BridgeId) -> Bridge {
    let (vtep, vni) = match id.0 {
        1 => (VtepId(1), 100),
        2 => (VtepId(1), 200),
        3 => (VtepId(2), 100),
        _ => (random.pick(&VTEPS), random.pick(&VNIS)),
    };
    let overlay = random.chance(if id.0 == 4 { 15 } else { 95 }).then_some(Overlay { vtep, vni });
    Bridge { id, overlay, flood_unknown: random.chance(60), ageing_time: 300, suppression: random.chance(40) }
}

fn peer(random: &mut Random, vtep: VtepId) -> TunnelPeer {
    let [_, near, far, _] = addresses(vtep);
    let address =
        if random.chance(96) { random.pick(&[near, near, far]) } else { addresses(VtepId(3 - vtep.0))[1] };
    TunnelPeer {
        vtep,
        address,
        bridges: BRIDGES.into_iter().filter(|_| random.chance(75)).collect(),
        learning: random.chance(85),
        mac_limit: 8,
    }
}

/// A place that a station may be at, most often one that bridges reach.
fn place(random: &mut Random) -> Place {
    if random.chance(50) {
        Place::Port(random.pick(&PORTS))
    } else {
        let vtep = random_vtep(random);
        Place::Peer(random.pick(&addresses(vtep)[1..3]))
    }
}

fn random_vtep(random: &mut Random) -> VtepId {
    random.pick(&VTEPS)
}

fn station(random: &mut Random) -> MacAddr {
    MacAddr::from_u64(random.pick(&STATIONS))
}

/// How a port takes part in bridges.
pub(super) fn attachment(random: &mut Random) -> Attachment {
    let access = random.chance(50).then(|| random.pick(&BRIDGES));
    let mut trunk = Vec::new();
    for vid in VIDS {
        if random.chance(35) {
            trunk.push(Trunk { vid, bridge: random.pick(&BRIDGES) });
        }
    }
    Attachment { access, trunk }
}

/// A change of one object of a bridge or a tunnel.
pub(super) fn change(random: &mut Random) -> Change {
    let gone = random.chance(20);
    let object = match random.below(8) {
        0 | 1 => {
            let id = random.pick(&BRIDGES);
            Object::Bridge(bridge(random, id))
        }
        2 => {
            let id = random_vtep(random);
            Object::Vtep(vtep(random, id))
        }
        3 | 4 => {
            let vtep = random_vtep(random);
            Object::TunnelPeer(peer(random, vtep))
        }
        _ => Object::FdbEntry(FdbEntry {
            bridge: random.pick(&BRIDGES),
            mac: station(random),
            place: place(random),
            addresses: Vec::new(),
        }),
    };
    if gone { Change::Remove(object.id()) } else { Change::Put(object) }
}

/// Bridges, VTEPs, peers and fixed addresses.
pub(super) fn objects(random: &mut Random, policy: &mut Policy) {
    let mut objects = Vec::new();
    for id in BRIDGES.into_iter().filter(|_| random.chance(95)).collect::<Vec<_>>() {
        objects.push(Object::Bridge(bridge(random, id)));
    }
    for id in VTEPS {
        if random.chance(95) {
            objects.push(Object::Vtep(vtep(random, id)));
        }
        for _ in 0..random.below(4) {
            objects.push(Object::TunnelPeer(peer(random, id)));
        }
    }
    for _ in 0..random.below(3) {
        let (bridge, mac, place) = (random.pick(&BRIDGES), station(random), place(random));
        objects.push(Object::FdbEntry(FdbEntry { bridge, mac, place, addresses: Vec::new() }));
    }
    policy.objects.extend(objects.into_iter().map(|object| (object.id(), object)));
}

/// What packets taught: of most stations where they are, of most next hops what their address is.
pub fn memory(random: &mut Random, policy: &Policy) -> Memory {
    let mut memory = Memory::default();
    for id in BRIDGES {
        for mac in STATIONS[..3].iter().map(|&bits| MacAddr::from_u64(bits)) {
            if random.chance(75) {
                memory.stations.insert((id, mac), likely_place(random, policy, id));
            }
        }
    }
    for id in VTEPS {
        for next_hop in addresses(id) {
            match random.below(8) {
                0 => {}
                1 => drop(memory.next_hops.insert((id, next_hop), None)),
                _ => drop(memory.next_hops.insert((id, next_hop), Some(random.pick(&NEXT_HOPS)))),
            }
        }
    }
    memory
}

/// Most often a place that the bridge reaches.
fn likely_place(random: &mut Random, policy: &Policy, bridge: BridgeId) -> Place {
    let attached = policy.ports().filter(|port| {
        let trunk = port.bridges.trunk.iter().map(|trunk| trunk.bridge);
        port.bridges.access.into_iter().chain(trunk).any(|id| id == bridge)
    });
    let peers = policy.peers().filter(|peer| peer.bridges.contains(&bridge));
    let ports = attached.map(|port| Place::Port(port.id));
    let places: Vec<Place> = ports.chain(peers.map(|peer| Place::Peer(peer.address))).collect();
    if places.is_empty() || random.chance(10) { place(random) } else { random.pick(&places) }
}

/// One change to what packets taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// A station is there, or nobody knows where.
    Station(BridgeId, MacAddr, Option<Place>),
    /// Of a next hop this is known: its address, that nobody answers (`Some(None)`), or nothing.
    NextHop(VtepId, IpAddr, Option<Option<MacAddr>>),
}

/// One lesson.
pub fn lesson(random: &mut Random, policy: &Policy) -> Lesson {
    if random.chance(65) {
        let bridge = random.pick(&BRIDGES);
        let place = random.chance(70).then(|| likely_place(random, policy, bridge));
        Lesson::Station(bridge, station(random), place)
    } else {
        let vtep = random_vtep(random);
        let known = random.chance(80).then(|| random.chance(70).then(|| random.pick(&NEXT_HOPS)));
        Lesson::NextHop(vtep, random.pick(&addresses(vtep)[1..]), known)
    }
}

impl Memory {
    /// Learns it.
    pub fn learn(&mut self, lesson: &Lesson) {
        match *lesson {
            Lesson::Station(bridge, mac, Some(place)) => {
                self.stations.insert((bridge, mac), place);
            }
            Lesson::Station(bridge, mac, None) => {
                self.stations.remove(&(bridge, mac));
            }
            Lesson::NextHop(vtep, address, Some(known)) => {
                self.next_hops.insert((vtep, address), known);
            }
            Lesson::NextHop(vtep, address, None) => {
                self.next_hops.remove(&(vtep, address));
            }
        }
    }
}

/// Makes a UDP packet one that carries VXLAN, or something that claims to be it.
pub(super) fn fill_tunnel(random: &mut Random, key: &mut FlowKey) {
    key.set(Field::L4Dst, 4789);
    if key.frag() != Frag::No {
        return;
    }
    if random.chance(10) {
        key.set(Field::Tunnel, Tunnel::Malformed as u128);
        return;
    }
    key.set(Field::Tunnel, Tunnel::Vxlan as u128);
    key.set(Field::Vni, random.pick(&VNIS).into());
    let mut inner = loop {
        let inner = packet(random);
        if inner.tunnel() == Tunnel::None {
            break inner;
        }
    };
    if random.chance(70) {
        bridged(random, &mut inner);
        if random.chance(80) {
            untag(&mut inner);
        }
    }
    for &field in Field::ALL {
        if let Some(plain) = field.name().strip_prefix("tun_").and_then(Field::from_name) {
            key.set(field, inner.get(plain));
        }
    }
}

fn untag(key: &mut FlowKey) {
    if key.get(Field::VlanCount) == 3 {
        // What lies behind was not parsed.
        return;
    }
    for field in
        [Field::VlanCount, Field::VlanTpid, Field::VlanTci, Field::InnerVlanTpid, Field::InnerVlanTci]
    {
        key.set(field, 0);
    }
}

fn tag(random: &mut Random, key: &mut FlowKey, vid: u16) {
    untag(key);
    if key.get(Field::VlanCount) == 0 {
        key.set(Field::VlanCount, 1);
        key.set(Field::VlanTpid, 0x8100);
        key.set(Field::VlanTci, u128::from(vid) | random.pick(&[0, 0, 0x6000]));
    }
}

/// Addresses such as frames in bridges have.
fn bridged(random: &mut Random, key: &mut FlowKey) {
    const GROUPS: [u64; 5] =
        [0xffff_ffff_ffff, 0x0180_c200_000e, 0x0180_c200_0010, 0x3333_0000_0001, 0x3333_ff00_0001];
    let from =
        if random.chance(96) { station(random) } else { MacAddr::from_u64(random.pick(&[0, GROUPS[0]])) };
    let to = if random.chance(75) { station(random) } else { MacAddr::from_u64(random.pick(&GROUPS)) };
    key.set(Field::EthSrc, mac_to_bits(from));
    key.set(Field::EthDst, mac_to_bits(to));
    if key.eth_type() == 0x86dd && key.l3() == L3::Ok && random.chance(30) {
        discovery(random, key);
    }
}

/// Makes a packet ICMPv6 for IPv6 neighbours, or nearly.
fn discovery(random: &mut Random, key: &mut FlowKey) {
    key.set(Field::IpProto, 58);
    key.set(Field::IpFrag, 0);
    key.set(Field::TcpFlags, 0);
    key.set(Field::L4, L4::Ok as u128);
    key.set(Field::L4Src, random.pick(&[135, 135, 136, 136, 128]));
    key.set(Field::L4Dst, 0);
    for &field in Field::ALL {
        if field.name().starts_with("tun_") || matches!(field, Field::Tunnel | Field::Vni) {
            key.set(field, 0);
        }
    }
}

/// A packet for some bridge or VTEP of the policy.
pub(super) fn packet_for(random: &mut Random, policy: &Policy) -> FlowKey {
    let vteps: Vec<&Vtep> = policy.vteps().collect();
    if !vteps.is_empty() && random.chance(55) {
        let vtep = random.pick(&vteps);
        return to_vtep(random, policy, vtep);
    }
    let attached: Vec<&Port> = policy
        .ports()
        .filter(|port| port.bridges.access.is_some() || !port.bridges.trunk.is_empty())
        .collect();
    let mut key = packet(random);
    if attached.is_empty() {
        return key;
    }
    let port = random.pick(&attached);
    key.set(Field::InPort, port.id.bits().into());
    bridged(random, &mut key);
    if random.chance(85) {
        match (port.bridges.access, port.bridges.trunk.as_slice()) {
            (Some(_), []) => untag(&mut key),
            (Some(_), _) if random.chance(50) => untag(&mut key),
            (_, trunk) => {
                let vid = random.pick(trunk).vid;
                tag(random, &mut key, vid);
            }
        }
    }
    key
}

/// A packet that a VTEP may be meant by.
fn to_vtep(random: &mut Random, policy: &Policy, vtep: &Vtep) -> FlowKey {
    let mut key = packet(random);
    let uplink = if random.chance(97) { vtep.uplink } else { random.pick(&PORTS) };
    set(&mut key, Field::InPort, uplink.bits());
    key.set(Field::EthDst, mac_to_bits(vtep.mac));
    if random.chance(95) {
        match vtep.vlan {
            None => untag(&mut key),
            Some(vid) => tag(random, &mut key, vid),
        }
    }
    if key.get(Field::VlanCount) == 3 {
        return key;
    }
    match random.below(12) {
        0 => {}
        1 | 2 => question(random, vtep, &mut key),
        _ => vxlan(random, policy, vtep, &mut key),
    }
    key
}

fn set(key: &mut FlowKey, field: Field, value: u16) {
    key.set(field, value.into());
}

/// A whole IP header, without what was behind another.
fn header(random: &mut Random, key: &mut FlowKey, v6: bool, from: IpAddr, to: IpAddr) {
    for &field in Field::ALL {
        if field.name().starts_with("tun_") || field.prerequisites().contains(&Field::L4) {
            key.set(field, 0);
        }
    }
    for field in [Field::ArpSha, Field::ArpTha, Field::Tunnel, Field::Vni, Field::IpFrag, Field::L4] {
        key.set(field, 0);
    }
    key.set(Field::EthType, if v6 { 0x86dd } else { 0x0800 });
    key.set(Field::L3, L3::Ok as u128);
    key.set(Field::IpSrc, ip_to_bits(from));
    key.set(Field::IpDst, ip_to_bits(to));
    key.set(Field::IpTos, random.pick(&[0, 0, 0, 2, 0xb8, 0xba, 1, 3, 0xb9, 0xbb]));
    key.set(Field::IpTtl, 64);
}

fn vxlan(random: &mut Random, policy: &Policy, vtep: &Vtep, key: &mut FlowKey) {
    let peers: Vec<IpAddr> =
        policy.peers().filter(|peer| peer.vtep == vtep.id).map(|peer| peer.address).collect();
    let from = if peers.is_empty() || random.chance(4) { addresses(vtep.id)[1] } else { random.pick(&peers) };
    let to = if random.chance(97) { vtep.address } else { addresses(vtep.id)[2] };
    header(random, key, vtep.address.is_ipv6(), from, to);
    if random.chance(2) {
        key.set(Field::L3, L3::Malformed as u128);
    }
    key.set(Field::IpProto, if random.chance(97) { 17 } else { 6 });
    let frag = if random.chance(4) { random.pick(&[Frag::First, Frag::Later]) } else { Frag::No };
    key.set(Field::IpFrag, frag as u128);
    let l4 = match frag {
        Frag::Later => L4::LaterFragment,
        _ if random.chance(2) => L4::Malformed,
        _ => L4::Ok,
    };
    key.set(Field::L4, l4 as u128);
    if l4 != L4::Ok {
        return;
    }
    set(key, Field::L4Src, random.pick(&[50_000, 60_000]));
    set(key, Field::L4Dst, 53);
    if key.get(Field::IpProto) == 17 && random.chance(97) {
        fill_tunnel(random, key);
    }
    let own: Vec<u32> = policy
        .bridges()
        .filter_map(|bridge| bridge.overlay.filter(|overlay| overlay.vtep == vtep.id))
        .map(|overlay| overlay.vni)
        .collect();
    if key.tunnel() == Tunnel::Vxlan && !own.is_empty() && random.chance(85) {
        key.set(Field::Vni, random.pick(&own).into());
    }
}

/// ARP or neighbour discovery about the VTEP's address, or nearly.
fn question(random: &mut Random, vtep: &Vtep, key: &mut FlowKey) {
    let [_, near, _, gateway] = addresses(vtep.id);
    let from = random.pick(&[near, gateway]);
    let group = random.chance(60);
    let IpAddr::V6(address) = vtep.address else {
        header(random, key, false, from, vtep.address);
        key.set(Field::EthType, 0x0806);
        key.set(Field::IpTos, 0);
        key.set(Field::IpTtl, 0);
        key.set(Field::IpProto, random.pick(&[1, 2]));
        if group {
            key.set(Field::EthDst, mac_to_bits(MacAddr::BROADCAST));
        }
        match random.below(100) {
            0..=14 => key.set(Field::IpDst, random.pick(&IPV4)),
            15..=39 => key.set(Field::IpDst, key.get(Field::IpSrc)),
            _ => {}
        }
        if random.chance(10) {
            key.set(Field::L3, L3::Malformed as u128);
        }
        return;
    };
    let asked = ip_to_bits(text("ff02::1:ff00:0")) | address.to_bits() & 0xff_ffff;
    header(random, key, true, from, vtep.address);
    discovery(random, key);
    if group && random.chance(60) {
        key.set(Field::EthDst, 0x3333_ff00_0000 | address.to_bits() & 0xff_ffff);
        key.set(Field::IpDst, asked);
    } else if group {
        // All nodes, all routers.
        let number = random.pick(&[1, 1, 2]);
        key.set(Field::EthDst, 0x3333_0000_0000 | number);
        key.set(Field::IpDst, ip_to_bits(text("ff02::")) | number);
    }
}
