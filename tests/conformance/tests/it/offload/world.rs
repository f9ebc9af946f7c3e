//! Rules as the slow path offers them and rules that only look so, and the packets that meet them.

use nic_flow::extract::extract;
use nic_flow::field::{Field, L3};
use nic_flow::{Action, ActionList, FlowKey, FlowMask, Match, PortId, Rule, Shape};
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

/// The key of a real frame that enters by one of the ports.
fn packet(random: &mut Random, ports: &[PortId]) -> FlowKey {
    let key = scenario::packet(random);
    extract(&frame(random, &key), random.pick(ports))
}

/// A packet's key cut to a shape or to something wider than any, with a list of actions.
pub(super) fn candidate(random: &mut Random, ports: &[PortId]) -> Candidate {
    let key = packet(random, ports);
    let shapes = &Shape::ALL[..Shape::FullKey.index()];
    let shape = random.chance(75).then(|| random.pick(shapes));
    let mask = shape.map_or_else(|| other_mask(random, &key), Shape::mask);
    Candidate { rule: Rule { matches: Match::new(key, mask), actions: actions(random, &key, ports) }, shape }
}

/// A mask with prefixes, or with fields that no shape but the full key has.
fn other_mask(random: &mut Random, key: &FlowKey) -> FlowMask {
    let mut mask = Shape::L2Pair.mask().with(Field::L3, u128::MAX);
    let width = if key.eth_type() == 0x86dd { 128 } else { 32 };
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
    if random.chance(95) { mask.with_prerequisites() } else { mask }
}

fn actions(random: &mut Random, key: &FlowKey, ports: &[PortId]) -> ActionList {
    let mut list = Vec::new();
    if random.chance(12) {
        return ActionList::new();
    }
    if random.chance(55) {
        rewrites(random, key, &mut list);
    }
    let destination = if random.chance(3) { ABSENT } else { random.pick(ports) };
    list.push(Action::Output(destination));
    if random.chance(5) {
        list.push(Action::Output(random.pick(ports)));
    }
    list.into_iter().collect()
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
            2 => Action::SetEthSrc(nic_flow::MacAddr([2, 0, 0, 0, 9, 1])),
            3 => Action::SetEthDst(nic_flow::MacAddr([2, 0, 0, 0, 9, 2])),
            4 => Action::SetIpDscp(46),
            _ => Action::SetIpTtl(9),
        });
    }
}

/// Frames that meet a rule, that nearly meet it and that do not: each with the port that it enters by.
pub(super) fn frames(random: &mut Random, rule: &Rule, ports: &[PortId]) -> Vec<(PortId, Vec<u8>)> {
    let (key, mask) = (rule.matches.key(), rule.matches.mask());
    let outside = FlowMask::ALL.without(mask);
    let mut keys = vec![scenario::within(random, key, mask)];
    for _ in 0..3 {
        let hit = scenario::within(random, key, mask);
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
