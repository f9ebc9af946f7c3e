//! The card's own management in band, among ports that behave and ports that do not.

use nic_flow::field::Field;
use nic_flow::{Action, FlowKey, MacAddr, PortId};
use nic_policy::{Delta, DropReason, Management, Revision};
use nic_slowpath::{Config, InstallerConfig};
use sim::frame;

use super::scenarios::{UPLINK, VF0, VF1, from, open, rule, udp};
use super::world::World;

const MAC: u64 = 0x02_00_00_00_00_99;

/// A VF that is open to the uplink, and the management there.
fn world() -> World {
    let ports = [UPLINK, VF0, VF1, PortId::MANAGEMENT];
    let mut world = World::new(&ports, Config::default(), InstallerConfig::default());
    world.manage(Management { uplink: UPLINK, mac: MacAddr::from_u64(MAC), vlan: None });
    let mut changes: Vec<_> = [UPLINK, VF0, VF1].map(open).into();
    changes.push(rule(1, from(VF0).and(Field::L4Src, 0, 1), &[Action::Output(UPLINK)]));
    changes.push(rule(2, from(VF0), &[Action::Output(UPLINK)]));
    world.publish(&Delta { revision: Revision(1), replace_all: true, changes }, &ports[..3]);
    world
}

fn to_management() -> FlowKey {
    udp(UPLINK, 1, 2, 1000).with(Field::EthDst, MAC.into())
}

fn from_management() -> FlowKey {
    udp(PortId::MANAGEMENT, 2, 1, 1000).with(Field::EthSrc, MAC.into())
}

/// Frames that left by a port and entered by another.
fn came_through(world: &World, port: PortId, serials: std::ops::Range<u64>) -> usize {
    let sent = world.card.take_sent();
    let is = |bytes: &[u8]| frame::serial(bytes).is_some_and(|serial| serials.contains(&serial));
    sent.iter().filter(|sent| sent.port == port && is(&sent.bytes)).count()
}

#[test]
fn what_the_management_does_not_take_is_dropped_for_a_reason_of_its_own() {
    let mut world = world();
    world.card.set_room(PortId::MANAGEMENT, 2);
    for serial in 0..5 {
        world.card.miss(UPLINK, &frame::build(&to_management(), serial));
    }
    world.worker.poll(world.now);
    assert_eq!(came_through(&world, PortId::MANAGEMENT, 0..5), 2);
    assert_eq!(world.drops().into_iter().collect::<Vec<_>>(), [((UPLINK, DropReason::ManagementFull), 3)]);
}

#[test]
fn a_storm_of_misses_keeps_the_management_no_longer_waiting_than_any_other_port() {
    let mut world = world();
    for serial in 0..2000 {
        let source_port = 1000 + serial as u16;
        world.card.miss(VF0, &frame::build(&udp(VF0, 1, 2, source_port), serial));
    }
    for serial in 2000..2010 {
        world.card.miss(PortId::MANAGEMENT, &frame::build(&from_management(), serial));
        world.card.miss(UPLINK, &frame::build(&to_management(), serial + 10));
    }
    world.worker.poll(world.now);
    let left = world.card.waiting();
    assert!(left[&VF0].len() > 1900, "the storm is not over");
    assert!(left[&UPLINK].is_empty() && left[&PortId::MANAGEMENT].is_empty(), "{:?}", left.keys());
    assert_eq!(world.drops(), std::collections::BTreeMap::new());
}

#[test]
fn a_management_that_sends_without_end_leaves_others_their_turn() {
    let mut world = world();
    for serial in 0..2000 {
        world.card.miss(PortId::MANAGEMENT, &frame::build(&from_management(), serial));
    }
    for serial in 2000..2010 {
        world.card.miss(VF0, &frame::build(&udp(VF0, 1, 2, 1000), serial));
    }
    world.worker.poll(world.now);
    assert_eq!(came_through(&world, UPLINK, 2000..2010), 10);
    assert!(world.card.waiting()[&PortId::MANAGEMENT].len() > 1900);
}
