//! Rules as the slow path offers them and rules that only look so, and the packets that meet them.

use nic_flow::action::{Flood, VXLAN_PORT, VxlanEncap};
use nic_flow::extract::extract;
use nic_flow::field::{Field, Frag, L3, L4, TUNNELLED, Tunnel};
use nic_flow::{Action, ActionList, FlowKey, FlowMask, MacAddr, Match, PortId, Rule, Shape};
use sim::random::Random;
use sim::scenario;

use super::frames::frame;

/// A port that no device has.
pub(super) const ABSENT: PortId = PortId::from_bits(0x83ff);

/// A rule, and the shape that its match was cut to, if one of the catalogue.
pub(super) struct Candidate {
    pub(super) rule: Rule,
    pub(super) shape: Option<Shape>,
}

/// The key of a real frame that enters by one of the ports; often one with a tunnel.
fn packet(random: &mut Random, ports: &[PortId]) -> FlowKey {
    let mut key = scenario::packet(random);
    if random.chance(35) {
        key = into_tunnel(random, &key);
    }
    let port =
        if key.tunnel() == Tunnel::Vxlan && random.chance(60) { uplink(ports) } else { random.pick(ports) };
    extract(&frame(random, &key), port)
}

/// The port that the underlay network is behind.
fn uplink(ports: &[PortId]) -> PortId {
    ports.iter().copied().find(|port| port.is_uplink()).unwrap_or(ports[0])
}

/// A packet's key as that of the frame in a tunnel, which now and then is malformed.
fn into_tunnel(random: &mut Random, frame: &FlowKey) -> FlowKey {
    let mut key = FlowKey::ZERO;
    while !matches!(key.eth_type(), 0x0800 | 0x86dd) || key.l3() != L3::Ok {
        key = scenario::packet(random);
    }
    key.set(Field::IpFrag, if random.chance(95) { Frag::No } else { Frag::First } as u128);
    key.set(Field::IpProto, 17);
    key.set(Field::IpTos, random.pick(&[0, 0, 1, 2, 3, 0xba]));
    key.set(Field::TcpFlags, 0);
    key.set(Field::L4, L4::Ok as u128);
    key.set(Field::L4Src, 49_152 + random.below(4) as u128);
    key.set(Field::L4Dst, VXLAN_PORT.into());
    let status = if random.chance(95) { Tunnel::Vxlan } else { Tunnel::Malformed };
    key.set(Field::Tunnel, status as u128);
    key.set(Field::Vni, random.pick(&VNIS));
    for &(plain, behind) in TUNNELLED {
        key.set(behind, frame.get(plain));
    }
    key
}

const VNIS: [u128; 4] = [0, 1, 100, 0xff_ffff];

/// A packet's key cut to a shape or to something wider than any, with a list of actions.
pub(super) fn candidate(random: &mut Random, ports: &[PortId]) -> Candidate {
    let key = packet(random, ports);
    let shapes = &Shape::ALL[..Shape::FullKey.index()];
    let shape = random.chance(75).then(|| match key.tunnel() {
        Tunnel::Vxlan if random.chance(70) => random.pick(&[Shape::TunnelL2, Shape::TunnelEcn]),
        _ => random.pick(shapes),
    });
    let mask = shape.map_or_else(|| other_mask(random, &key), Shape::mask);
    let matches = Match::new(key, mask);
    let actions = actions(random, &matches, ports);
    Candidate { rule: Rule { matches, actions }, shape }
}

/// A mask with prefixes, or with fields that no shape but the full key has.
fn other_mask(random: &mut Random, key: &FlowKey) -> FlowMask {
    let mut mask = headers_mask(random, key.eth_type());
    if key.tunnel() != Tunnel::None && random.chance(60) {
        mask = mask.with(Field::Tunnel, u128::MAX).with_prerequisites();
        if random.chance(80) {
            mask = mask.with(Field::Vni, if random.chance(90) { u128::MAX } else { random.wide() });
        }
        let behind = headers_mask(random, key.get(Field::TunEthType) as u16);
        for &(plain, tunnelled) in TUNNELLED.iter().filter(|_| random.chance(97)) {
            mask = mask.with(tunnelled, behind.get(plain));
        }
    }
    if random.chance(95) { mask.with_prerequisites() } else { mask }
}

/// Such a mask of one frame's headers.
fn headers_mask(random: &mut Random, eth_type: u16) -> FlowMask {
    let mut mask = Shape::L2Pair.mask().with(Field::L3, u128::MAX);
    let width = if eth_type == 0x86dd { 128 } else { 32 };
    for field in [Field::IpSrc, Field::IpDst] {
        if random.chance(60) {
            let tail = random.below(width + 1) as u32;
            mask = mask.with(field, u128::MAX.checked_shl(tail).unwrap_or(0));
        }
    }
    if random.chance(30) {
        mask = mask.with(Field::VlanTci, random.pick(&[0x0fff, 0xefff, 0x1000]));
    }
    if random.chance(30) {
        mask = mask.with(random.pick(&[Field::EthSrc, Field::EthDst]), random.pick(&[0, 0xff_ffff << 24]));
    }
    if random.chance(20) {
        mask = mask.with(Field::IpTos, random.pick(&[1, 2, 3]));
    }
    for field in
        [Field::IpProto, Field::IpTos, Field::IpTtl, Field::IpFrag, Field::L4, Field::ArpSha, Field::ArpTha]
    {
        if random.chance(15) {
            mask = mask.with(field, if random.chance(85) { u128::MAX } else { random.wide() });
        }
    }
    if mask.get(Field::L4) == Field::L4.max() || random.chance(10) {
        for field in [Field::IpProto, Field::L4Src, Field::L4Dst, Field::TcpFlags] {
            if random.chance(60) {
                mask = mask.with(field, if random.chance(80) { u128::MAX } else { random.wide() });
            }
        }
    }
    mask
}

fn actions(random: &mut Random, matches: &Match, ports: &[PortId]) -> ActionList {
    let mut list = Vec::new();
    if random.chance(12) {
        return ActionList::new();
    }
    let mut key = *matches.key();
    let out_of_tunnel = key.tunnel() == Tunnel::Vxlan && random.chance(60);
    if out_of_tunnel || random.chance(2) {
        list.push(Action::DecapVxlan);
        Action::DecapVxlan.rewrite(&mut key);
    }
    if random.chance(55) {
        rewrites(random, &key, &mut list);
    }
    let into_tunnel = random.chance(if out_of_tunnel { 5 } else { 25 });
    if into_tunnel {
        list.push(Action::EncapVxlan(encap(random)));
    }
    if random.chance(3) && !list.is_empty() {
        // In an order that no card has.
        let at = random.below(list.len() as u64) as usize;
        list.rotate_left(at);
    }
    if random.chance(2) {
        list.push(Action::SetIpEcn(random.below(4) as u8));
    }
    let destination = match random.below(100) {
        0..3 => ABSENT,
        3..80 if into_tunnel => uplink(ports),
        _ => random.pick(ports),
    };
    list.push(Action::Output(destination));
    match random.below(100) {
        0..5 => list.push(Action::Output(random.pick(ports))),
        5..7 => list.push(Action::Flood(Flood { list: 1, from_tunnel: random.chance(50) })),
        _ => {}
    }
    list.into_iter().collect()
}

fn encap(random: &mut Random) -> VxlanEncap {
    let [src, dst] = if random.chance(50) {
        [1, 2].map(|last| std::net::Ipv4Addr::new(192, 0, 2, last).into())
    } else {
        [1, 2].map(|last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into())
    };
    VxlanEncap {
        eth_dst: MacAddr([2, 0, 0, 0, 8, random.below(4) as u8]),
        eth_src: MacAddr([2, 0, 0, 0, 8, 0xff]),
        vlan: random.chance(30).then(|| random.below(1 << 16) as u16),
        src,
        dst,
        tos: random.below(256) as u8,
        ttl: 1 + random.below(255) as u8,
        vni: random.pick(&VNIS) as u32,
    }
}

/// What a pipeline does to such a packet, and now and then what the packet has no place for.
fn rewrites(random: &mut Random, key: &FlowKey, list: &mut Vec<Action>) {
    let whole = key.l3() == L3::Ok || random.chance(10);
    let v4 = |random: &mut Random| {
        std::net::Ipv4Addr::from_bits(0x0a09_0000 | random.below(1 << 16) as u32).into()
    };
    let v6 = |random: &mut Random| {
        std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | random.below(1 << 16) as u128).into()
    };
    let family = if random.chance(5) { 0x0800 } else { key.eth_type() };
    if whole && random.chance(60) {
        let address: std::net::IpAddr = if family == 0x86dd { v6(random) } else { v4(random) };
        list.push(if random.chance(50) { Action::SetIpSrc(address) } else { Action::SetIpDst(address) });
    }
    if whole && random.chance(35) {
        let port = random.below(1 << 16) as u16;
        list.push(if random.chance(50) { Action::SetL4Src(port) } else { Action::SetL4Dst(port) });
    }
    if whole && random.chance(20) {
        list.push(Action::DecIpTtl);
    }
    if random.chance(25) && (key.get(Field::VlanCount) > 0 || random.chance(10)) {
        list.push(Action::PopVlan);
    } else if random.chance(25) {
        let tpid = if random.chance(90) { 0x8100 } else { 0x88a8 };
        let tci = random.below(1 << 16) as u16 & if random.chance(90) { 0xefff } else { 0xffff };
        list.push(Action::PushVlan { tpid, tci });
    }
    if random.chance(8) {
        list.push(match random.below(6) {
            0 => Action::SetVlanVid(random.below(4096) as u16),
            1 => Action::SetVlanPcp(random.below(8) as u8),
            2 => Action::SetEthSrc(MacAddr([2, 0, 0, 0, 9, 1])),
            3 => Action::SetEthDst(MacAddr([2, 0, 0, 0, 9, 2])),
            4 => Action::SetIpDscp(46),
            _ => Action::SetIpTtl(9),
        });
    }
}

/// A key that agrees with `key` in the bits of `mask`, also as to what is in its tunnel.
fn within(random: &mut Random, key: &FlowKey, mask: &FlowMask) -> FlowKey {
    let mut other = scenario::within(random, key, mask);
    if key.tunnel() == Tunnel::None {
        return other;
    }
    let frame = scenario::packet(random);
    for &(plain, behind) in TUNNELLED {
        let bits = mask.get(behind);
        other.set(behind, (key.get(behind) & bits) | (frame.get(plain) & !bits));
    }
    if mask.get(Field::Tunnel) == 0 {
        other.set(Field::Tunnel, key.get(Field::Tunnel));
    }
    other
}

/// Frames that meet a rule, that nearly meet it and that do not: each with the port that it enters by.
pub(super) fn frames(random: &mut Random, rule: &Rule, ports: &[PortId]) -> Vec<(PortId, Vec<u8>)> {
    let (key, mask) = (rule.matches.key(), rule.matches.mask());
    let outside = FlowMask::ALL.without(mask);
    let mut keys = vec![within(random, key, mask)];
    for _ in 0..3 {
        let hit = within(random, key, mask);
        keys.push(hit);
        keys.push(scenario::flipped(random, &hit, mask));
        keys.push(scenario::flipped(random, &hit, &outside));
    }
    keys.push(scenario::near(random, key));
    let mut frames = Vec::new();
    for key in keys {
        let port = if ports.contains(&key.in_port()) { key.in_port() } else { random.pick(ports) };
        let frame = frame(random, &key);
        frames.push((port, frame));
    }
    frames
}
