//! The card's own management in band, and packets near it.

use nic_flow::field::{Field, L3, L4};
use nic_flow::key::mac_to_bits;
use nic_flow::{FlowKey, MacAddr, PortId};
use nic_policy::Management;

use super::{MACS, PORTS, mac, packet};
use crate::random::Random;

/// A management that shares its uplink with tenants, whose addresses are much like its own.
pub fn management(random: &mut Random) -> Management {
    Management {
        uplink: PORTS[0],
        mac: MacAddr::from_u64(random.pick(&MACS[..3])),
        vlan: random.pick(&[None, None, Some(0x64)]),
    }
}

/// A packet that the management is likely to be concerned with.
pub(super) fn packet_of(random: &mut Random, management: Management) -> FlowKey {
    let tags = u128::from(management.vlan.is_some());
    let tagged = random.chance(80);
    let in_vlan = |key: &FlowKey| !tagged || key.get(Field::VlanCount) == tags;
    let mut key = match random.below(6) {
        0 => group(random, &in_vlan),
        _ => like(random, &in_vlan),
    };
    if tagged && let Some(vid) = management.vlan {
        key.set(Field::VlanTpid, 0x8100);
        key.set(Field::VlanTci, random.pick(&[0, 0x6000]) | u128::from(vid));
    }
    if key.get(Field::EthDst) >> 40 & 1 == 0 && random.chance(70) {
        key.set(Field::EthDst, mac_to_bits(management.mac));
    }
    let source = if random.chance(60) { management.mac } else { mac(random) };
    key.set(Field::EthSrc, mac_to_bits(source));
    let uplink = management.uplink;
    let port = random.pick(&[uplink, uplink, PortId::MANAGEMENT, PORTS[1], PORTS[2], PORTS[3]]);
    key.with(Field::InPort, port.bits().into())
}

/// One to a group, of those that the management needs, or nearly.
fn group(random: &mut Random, also: &dyn Fn(&FlowKey) -> bool) -> FlowKey {
    const BROADCAST: u128 = 0xffff_ffff_ffff;
    let (kind, protocol, to) = random.pick(&[
        (0x0806, 1, BROADCAST),
        (0x0800, 17, BROADCAST),
        (0x86dd, 58, 0x3333_0000_0001),
        (0x86dd, 58, BROADCAST),
    ]);
    let is = |key: &FlowKey| {
        let whole = key.l3() == L3::Ok && key.get(Field::IpProto) == protocol;
        u128::from(key.eth_type()) == kind && whole && key.get(Field::Tunnel) == 0 && also(key)
    };
    let mut key = like(random, &is);
    if is(&key) && protocol == 17 && key.get(Field::L4) == L4::Ok as u128 {
        key.set(Field::L4Dst, random.pick(&[67, 68, 68]));
    }
    key.with(Field::EthDst, to)
}

fn like(random: &mut Random, wanted: &dyn Fn(&FlowKey) -> bool) -> FlowKey {
    let mut key = packet(random);
    for _ in 0..100 {
        if wanted(&key) {
            break;
        }
        key = packet(random);
    }
    key
}
