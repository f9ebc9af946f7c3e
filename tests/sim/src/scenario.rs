//! Policies and packets in a small world: few ports, addresses and numbers, so that a rule drawn at
//! random is hit, nearly hit and missed by packets drawn at random.

use nic_flow::field::{Field, Frag, L3, L4, Tunnel};
use nic_flow::key::mac_to_bits;
use nic_flow::{Action, ActionList, FlowKey, FlowMask, MAX_ACTIONS, MacAddr, Match, PortId};
use nic_policy::{Attachment, Change, Delta, FlowRule, FlowRuleId, Object, ObjectId, Port, Revision};

use crate::oracle::Policy;
use crate::random::Random;

mod management;
mod overlay;

pub use management::management;
pub use overlay::{Lesson, lesson, memory};

/// The ports of the world; the last one never has a device.
pub const PORTS: [PortId; 6] = [
    PortId::from_bits(0x0000),
    PortId::from_bits(0x0100),
    PortId::from_bits(0x8000),
    PortId::from_bits(0x8001),
    PortId::from_bits(0x8002),
    PortId::from_bits(0x83ff),
];

const MACS: [u64; 4] = [0x02_00_00_00_00_01, 0x02_00_00_00_00_02, 0x02_00_00_00_01_01, 0xff_ff_ff_ff_ff_ff];
const IPV4: [u128; 5] = [0x0a0a_0101, 0x0a0a_0102, 0x0a0a_0201, 0x0a0b_0101, 0xc0a8_0101];
const IPV6: [u128; 4] = [
    0x2001_0db8_0000_0001_0000_0000_0000_0001,
    0x2001_0db8_0000_0001_0000_0000_0000_0002,
    0x2001_0db8_0000_0002_0000_0000_0000_0001,
    0xfe80_0000_0000_0000_0000_0000_0000_0001,
];
const L4_PORTS: [u16; 4] = [53, 80, 443, 0x8035];
const TCIS: [u128; 4] = [0x0064, 0x0065, 0x6064, 0x1064];
const TTLS: [u8; 6] = [0, 1, 2, 3, 64, 255];

fn mac(random: &mut Random) -> MacAddr {
    MacAddr::from_u64(random.pick(&MACS))
}

/// A packet as parsing gives it: what lies behind a header that is absent or malformed is zero.
pub fn packet(random: &mut Random) -> FlowKey {
    let mut key = FlowKey::ZERO
        .with(Field::InPort, random.pick(&PORTS).bits().into())
        .with(Field::EthDst, mac_to_bits(mac(random)))
        .with(Field::EthSrc, mac_to_bits(mac(random)));
    let tags = random.pick(&[0, 0, 0, 0, 1, 1, 2, 3]);
    key.set(Field::VlanCount, tags);
    if tags > 0 {
        key.set(Field::VlanTpid, random.pick(&[0x8100, 0x8100, 0x88a8]));
        key.set(Field::VlanTci, random.pick(&TCIS));
    }
    if tags > 1 {
        key.set(Field::InnerVlanTpid, 0x8100);
        key.set(Field::InnerVlanTci, random.pick(&TCIS));
    }
    if tags == 3 {
        key.set(Field::EthType, random.pick(&[0x8100, 0x88a8]));
        key.set(Field::L3, random.pick(&[L3::Other, L3::Malformed]) as u128);
        return key;
    }
    match random.below(10) {
        0 => key.set(Field::EthType, random.pick(&[0x05ff, 0x88cc, 0x8847])),
        1 | 2 => arp(random, &mut key),
        _ => ip(random, &mut key),
    }
    key
}

fn arp(random: &mut Random, key: &mut FlowKey) {
    key.set(Field::EthType, 0x0806);
    if random.chance(15) {
        key.set(Field::L3, L3::Malformed as u128);
        return;
    }
    key.set(Field::L3, L3::Ok as u128);
    key.set(Field::IpProto, random.pick(&[1, 2]));
    let sender = if random.chance(60) { key.get(Field::EthSrc) } else { mac_to_bits(mac(random)) };
    key.set(Field::ArpSha, sender);
    key.set(Field::ArpTha, mac_to_bits(mac(random)));
    key.set(Field::IpSrc, random.pick(&IPV4));
    key.set(Field::IpDst, random.pick(&IPV4));
}

fn ip(random: &mut Random, key: &mut FlowKey) {
    let v6 = random.chance(35);
    key.set(Field::EthType, if v6 { 0x86dd } else { 0x0800 });
    if random.chance(8) {
        key.set(Field::L3, L3::Malformed as u128);
        return;
    }
    key.set(Field::L3, L3::Ok as u128);
    for field in [Field::IpSrc, Field::IpDst] {
        key.set(field, if v6 { random.pick(&IPV6) } else { random.pick(&IPV4) });
    }
    key.set(Field::IpTos, random.pick(&[0, 0, 0x28, 0xb9, 0xba, 0xbb]));
    key.set(Field::IpTtl, random.pick(&TTLS).into());
    let proto = random.pick(&[6, 6, 6, 17, 17, if v6 { 58 } else { 1 }, 132]);
    key.set(Field::IpProto, proto);
    let frag = random.pick(&[Frag::No, Frag::No, Frag::No, Frag::No, Frag::First, Frag::Later]);
    key.set(Field::IpFrag, frag as u128);
    if frag == Frag::Later {
        key.set(Field::L4, L4::LaterFragment as u128);
    } else if proto == 132 {
        key.set(Field::L4, L4::Other as u128);
    } else if random.chance(8) {
        key.set(Field::L4, L4::Malformed as u128);
    } else {
        key.set(Field::L4, L4::Ok as u128);
        key.set(Field::L4Src, random.pick(&L4_PORTS).into());
        key.set(Field::L4Dst, random.pick(&L4_PORTS).into());
        if proto == 6 {
            key.set(Field::TcpFlags, random.pick(&[0x02, 0x10, 0x11]));
        } else if proto == 17 && random.chance(15) {
            overlay::fill_tunnel(random, key);
        }
    }
}

/// A packet that is likely to be of interest to a policy: often one that some rule of it asks for.
pub fn packet_for(random: &mut Random, policy: &Policy) -> FlowKey {
    if let Some(management) = policy.management
        && random.chance(30)
    {
        return management::packet_of(random, management);
    }
    if is_bridged(policy) && random.chance(75) {
        return overlay::packet_for(random, policy);
    }
    let key = packet(random);
    let rule = match random_rule(random, policy) {
        Some(rule) if random.chance(50) => &rule.matches,
        _ => return key,
    };
    let mut asked = key;
    for field in rule.mask().fields() {
        // A header that is malformed stays so: the rule reads it all the same.
        let status = matches!(field, Field::L3 | Field::L4 | Field::Tunnel | Field::TunL3 | Field::TunL4);
        if !status || key.get(field) == L3::Other as u128 {
            asked.set(field, (key.get(field) & !rule.mask().get(field)) | rule.key().get(field));
        }
    }
    asked
}

fn is_bridged(policy: &Policy) -> bool {
    policy.bridges().next().is_some()
}

fn random_rule<'p>(random: &mut Random, policy: &'p Policy) -> Option<&'p FlowRule> {
    let rules: Vec<&FlowRule> = policy.rules().collect();
    if rules.is_empty() { None } else { Some(random.pick(&rules)) }
}

/// A packet that shares some fields with another: near a hit rather than on it.
pub fn near(random: &mut Random, key: &FlowKey) -> FlowKey {
    let other = packet(random);
    let mut near = *key;
    for _ in 0..=random.below(3) {
        let field = random.pick(Field::ALL);
        near.set(field, other.get(field));
    }
    near
}

/// A key that agrees with `key` in the bits of `mask` and is drawn at random outside it.
pub fn within(random: &mut Random, key: &FlowKey, mask: &FlowMask) -> FlowKey {
    let mut other = if random.chance(50) { packet(random) } else { near(random, key) };
    if random.chance(40) {
        for _ in 0..=random.below(6) {
            let field = random.pick(Field::ALL);
            let noise = random.wide() & random.wide();
            other.set(field, other.get(field) ^ noise);
        }
    }
    for &field in Field::ALL {
        let bits = mask.get(field);
        other.set(field, (key.get(field) & bits) | (other.get(field) & !bits));
    }
    other
}

/// `key` with one bit of `mask`, which is not empty, turned over.
pub fn flipped(random: &mut Random, key: &FlowKey, mask: &FlowMask) -> FlowKey {
    let mut words = *key.words();
    let mut nth = random.below(mask.count().into());
    for (word, &bits) in words.iter_mut().zip(mask.words()) {
        for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
            if nth == 0 {
                *word ^= 1 << bit;
                return FlowKey::from_words(words);
            }
            nth -= 1;
        }
    }
    FlowKey::from_words(words)
}

fn port_policy(random: &mut Random, id: PortId) -> Port {
    let source_macs = random.chance(25).then(|| {
        let all: Vec<MacAddr> = MACS[..3].iter().map(|&bits| MacAddr::from_u64(bits)).collect();
        all.into_iter().filter(|_| random.chance(70)).collect()
    });
    Port {
        id,
        enabled: random.chance(92),
        source_macs,
        bridges: Attachment::default(),
        learning: random.chance(85),
        mac_limit: 8,
        flood_budget: 1_000_000,
    }
}

/// A port that takes part in bridges.
fn attached_port(random: &mut Random, id: PortId) -> Port {
    let mut port = port_policy(random, id);
    port.bridges = overlay::attachment(random);
    port.source_macs = port.source_macs.filter(|_| random.chance(30));
    port
}

/// The fields that a rule asks for, as people write rules; the last kind as nobody does.
fn rule_mask(random: &mut Random) -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    let mut exact = |fields: &[Field]| {
        for &field in fields {
            mask = mask.with(field, u128::MAX);
        }
    };
    match random.below(13) {
        0 => {}
        1 => exact(&[Field::EthDst]),
        2 if random.chance(50) => exact(random.pick(&[
            &[Field::Vni][..],
            &[Field::TunEthDst],
            &[Field::TunEthType, Field::TunIpDst],
            &[Field::TunIpProto, Field::TunL4Dst],
        ])),
        2 => exact(random.pick(&[&[Field::EthSrc][..], &[Field::EthSrc, Field::EthDst], &[Field::EthType]])),
        3 => exact(random.pick(&[&[Field::VlanTci, Field::VlanCount][..], &[Field::VlanCount]])),
        4..=6 => {
            exact(&[Field::EthType]);
            let field = random.pick(&[Field::IpSrc, Field::IpDst]);
            let tail = random.pick(&[0, 0, 8, 8, 16, 24, 64, 80]);
            mask = mask.with(field, u128::MAX << tail);
        }
        7 => exact(&[Field::EthType, Field::IpSrc, Field::IpDst]),
        8 | 9 => {
            exact(&[Field::EthType, Field::IpProto]);
            let fields = [Field::IpSrc, Field::IpDst, Field::L4Src, Field::L4Dst, Field::TcpFlags];
            for &field in fields.iter().filter(|_| random.chance(50)) {
                mask = mask.with(field, u128::MAX);
            }
        }
        10 => {
            exact(&[Field::EthType]);
            let field =
                random.pick(&[Field::IpTos, Field::IpTtl, Field::IpFrag, Field::ArpSha, Field::ArpTha]);
            mask = mask.with(field, u128::MAX);
        }
        _ => {
            for _ in 0..=random.below(3) {
                mask.add(random.pick(Field::ALL), random.wide() & random.wide());
            }
        }
    }
    if random.chance(65) {
        mask = mask.with(Field::InPort, u128::MAX);
    }
    if random.chance(15) { mask.with_prerequisites() } else { mask }
}

/// The states of headers, and what they are of whole ones.
const STATES: [(Field, u128); 5] = [
    (Field::L3, L3::Ok as u128),
    (Field::L4, L4::Ok as u128),
    (Field::Tunnel, Tunnel::Vxlan as u128),
    (Field::TunL3, L3::Ok as u128),
    (Field::TunL4, L4::Ok as u128),
];

fn rule_match(random: &mut Random) -> Match {
    let mut key = packet(random);
    let mask = rule_mask(random);
    // A rule asks for whole headers; a few ask for what no packet that they meet can be.
    if random.chance(95) {
        for (status, ok) in STATES {
            key.set(status, ok);
        }
    }
    let mut matches = Match::new(key, mask);
    if random.chance(50) {
        for field in mask.with_prerequisites().fields() {
            if let Some((_, whole)) = STATES.into_iter().find(|&(state, _)| state == field) {
                matches = matches.is(field, whole);
            }
        }
    }
    matches
}

fn rewrite(random: &mut Random) -> Action {
    let ip = |random: &mut Random| {
        if random.chance(70) {
            std::net::Ipv4Addr::from_bits(random.pick(&IPV4) as u32).into()
        } else {
            std::net::Ipv6Addr::from_bits(random.pick(&IPV6)).into()
        }
    };
    match random.below(15) {
        0 => Action::PushVlan { tpid: random.pick(&[0x8100, 0x88a8]), tci: random.pick(&TCIS) as u16 },
        1 | 2 => Action::PopVlan,
        3 => Action::SetVlanVid(random.pick(&[1, 100])),
        4 => Action::SetVlanPcp(random.pick(&[0, 7])),
        5 => Action::SetEthSrc(mac(random)),
        6 => Action::SetEthDst(mac(random)),
        7 => Action::SetIpSrc(ip(random)),
        8 => Action::SetIpDst(ip(random)),
        9 => Action::SetIpDscp(random.pick(&[0, 46])),
        10 => Action::SetIpTtl(random.pick(&TTLS)),
        11 => Action::DecIpTtl,
        12 => Action::SetIpEcn(random.pick(&[0, 3])),
        13 => Action::SetL4Src(random.pick(&L4_PORTS)),
        _ => Action::SetL4Dst(random.pick(&L4_PORTS)),
    }
}

fn action_list(random: &mut Random) -> ActionList {
    let mut list = Vec::new();
    let rewrites = if random.chance(50) { 0 } else { random.below(7) };
    for _ in 0..rewrites {
        list.push(rewrite(random));
    }
    let outputs = random.pick(&[0, 1, 1, 1, 1, 1, 2, 3]);
    for _ in 0..outputs {
        let at = if random.chance(70) { list.len() as u64 } else { random.below(list.len() as u64 + 1) };
        list.insert(at as usize, Action::Output(random.pick(&PORTS)));
    }
    list.into_iter().take(MAX_ACTIONS).collect()
}

/// A match that asks for the same bits as another, and for the same values in most.
fn sibling(random: &mut Random, matches: &Match) -> Match {
    let mut key = *matches.key();
    let other = packet(random);
    for field in matches.mask().fields().filter(|field| !matches!(field, Field::L3 | Field::L4)) {
        if random.chance(20) {
            key.set(field, other.get(field));
        }
    }
    Match::new(key, *matches.mask())
}

/// A flow rule of that id, often one much like another of the policy.
pub fn flow_rule(random: &mut Random, policy: &Policy, id: u64) -> FlowRule {
    let matches = match random_rule(random, policy) {
        Some(rule) if random.chance(35) => sibling(random, &rule.matches),
        _ => rule_match(random),
    };
    FlowRule { id: FlowRuleId(id), priority: random.below(5) as u16, matches, actions: action_list(random) }
}

/// A change of one object, of those that a world of `rules` rules has.
pub fn change(random: &mut Random, policy: &Policy, rules: u64) -> Change {
    if random.chance(25) {
        let id = random.pick(&PORTS);
        if random.chance(20) {
            Change::Remove(ObjectId::Port(id))
        } else if is_bridged(policy) {
            Change::Put(Object::Port(attached_port(random, id)))
        } else {
            Change::Put(Object::Port(port_policy(random, id)))
        }
    } else if is_bridged(policy) && random.chance(75) {
        overlay::change(random)
    } else {
        let id = 1 + random.below(rules.max(1));
        if random.chance(35) {
            Change::Remove(ObjectId::FlowRule(FlowRuleId(id)))
        } else {
            Change::Put(Object::FlowRule(flow_rule(random, policy, id)))
        }
    }
}

/// A delta of one to four changes, now and then a full sync that keeps most of `policy`.
pub fn delta(random: &mut Random, policy: &Policy, revision: u64) -> Delta {
    let mut changes: Vec<Change> = Vec::new();
    for _ in 0..=random.below(4) {
        let change = change(random, policy, 14);
        if changes.iter().all(|other| other.id() != change.id()) {
            changes.push(change);
        }
    }
    let replace_all = random.chance(10);
    if replace_all {
        for object in policy.objects.values().filter(|_| random.chance(85)) {
            if changes.iter().all(|other| other.id() != object.id()) {
                changes.push(Change::Put(object.clone()));
            }
        }
    }
    Delta { revision: Revision(revision), replace_all, changes }
}

/// A set of devices.
pub fn devices(random: &mut Random) -> Vec<PortId> {
    PORTS[..5].iter().copied().filter(|_| random.chance(90)).collect()
}

/// A policy: most ports, and up to fourteen rules; every other one with bridges and tunnels, and then
/// with fewer rules, which would else decide over all packets.
pub fn policy(random: &mut Random) -> Policy {
    let bridged = random.chance(50);
    let mut policy = Policy { devices: devices(random).into_iter().collect(), ..Policy::default() };
    for id in PORTS {
        if random.chance(92) {
            let port = if bridged { attached_port(random, id) } else { port_policy(random, id) };
            policy.objects.insert(ObjectId::Port(id), Object::Port(port));
        }
    }
    if bridged {
        overlay::objects(random, &mut policy);
    }
    let rules = if bridged { random.pick(&[1, 1, 2, 4]) } else { random.below(15) + 1 };
    for id in 1..rules {
        let rule = flow_rule(random, &policy, id);
        policy.objects.insert(ObjectId::FlowRule(rule.id), Object::FlowRule(rule));
    }
    policy.management = random.chance(25).then(|| management(random));
    policy
}

/// What leads from nothing to a policy.
pub fn full(policy: &Policy, revision: u64) -> Delta {
    let changes = policy.objects.values().cloned().map(Change::Put).collect();
    Delta { revision: Revision(revision), replace_all: true, changes }
}
