//! What deltas touch, and what they leave alone.

use super::*;
use crate::fixture::{
    at, disabled, fixed, ip, mac, open, overlay, overlay_network, peer, policy, port, rule, translated,
    trunk, vtep,
};

fn put(objects: &[Object]) -> Delta {
    Delta {
        revision: Revision(2),
        replace_all: false,
        changes: objects.iter().cloned().map(Change::Put).collect(),
    }
}

#[test]
fn a_snapshot_goes_to_other_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&Snapshot::empty());
}

#[test]
fn a_delta_that_names_an_object_twice_is_refused_whole() {
    let before = policy(&[open("p0")]);
    let delta = put(&[open("pf0vf0"), disabled("p0"), open("p0")]);
    assert_eq!(before.apply(&delta).err(), Some(ApplyError::ChangedTwice(ObjectId::Port(port("p0")))));
    assert_eq!((before.len(), before.revision()), (1, Revision(0)));
}

#[test]
fn a_state_is_not_changed_by_those_made_from_it() {
    let before = policy(&[open("p0"), open("pf0vf0"), rule(1, 1, "in_port=p0", "output(pf0vf0)")]);
    let flow = translated("in_port=p0", &before);
    let (after, _) = before.apply(&put(&[rule(1, 1, "in_port=p0", "drop")])).expect("each id once");
    assert_eq!(translated("in_port=p0", &before), flow);
    assert_ne!(translated("in_port=p0", &after), flow);
}

#[test]
fn what_stays_the_same_is_not_touched() {
    let objects = [open("p0"), rule(1, 1, "in_port=p0", "drop"), rule(2, 1, "eth_type=0x0800", "drop")];
    let before = policy(&objects);
    assert_eq!(before.apply(&put(&objects)).expect("each id once").1, []);
    let sync = Delta { replace_all: true, ..put(&objects[..2]) };
    let (after, touched) = before.apply(&sync).expect("each id once");
    let gone = Touched::FlowRules("eth_type=0x0800".parse().expect("a match"));
    assert_eq!((touched, after.len()), (vec![gone], 2));
}

#[test]
fn a_rule_that_moves_touches_where_it_was_and_where_it_is() {
    let before = policy(&[rule(1, 1, "in_port=p0", "drop")]);
    let touched = |object| before.apply(&put(&[object])).expect("each id once").1.len();
    assert_eq!(touched(rule(1, 1, "in_port=pf0vf0", "drop")), 2);
    assert_eq!(touched(rule(1, 2, "in_port=p0", "output(p0)")), 1);
}

#[test]
fn flows_of_malformed_packets_depend_on_the_rules_that_read_them() {
    let before = policy(&[open("p0"), rule(1, 1, "in_port=p0,eth_type=0x0800,l3=1,ip_src=10.0.0.1", "drop")]);
    let flow = translated("in_port=p0,eth_type=0x0800,l3=2", &before);
    assert_eq!(flow.dropped(), Some(nic_policy::DropReason::MalformedL3));
    let removal =
        Delta { changes: vec![Change::Remove(ObjectId::FlowRule(FlowRuleId(1)))], ..Delta::default() };
    let (_, touched) = before.apply(&removal).expect("each id once");
    assert!(flow.dependencies.iter().any(|dependency| dependency.is_touched_by(&touched[0])));
}

/// What changes of one object touch.
fn touched(before: &Snapshot, change: Change) -> HashSet<Touched, FxBuildHasher> {
    let delta = Delta { changes: vec![change], ..Delta::default() };
    before.apply(&delta).expect("each id once").1.into_iter().collect()
}

fn set<const N: usize>(touched: [Touched; N]) -> HashSet<Touched, FxBuildHasher> {
    touched.into_iter().collect()
}

#[test]
fn a_port_that_joins_or_leaves_touches_the_bridges_it_joins_and_leaves_and_no_other() {
    let before = policy(&[Object::Port(trunk("pf0vf0", &[(7, 5), (8, 6)]))]);
    let this = Touched::Port(port("pf0vf0"));
    let put = |port: Port| touched(&before, Change::Put(Object::Port(port)));
    let bridge = |id| Touched::Bridge(BridgeId(id));
    assert_eq!(put(trunk("pf0vf0", &[(7, 5), (8, 9)])), set([this, bridge(6), bridge(9)]));
    assert_eq!(put(trunk("pf0vf0", &[(7, 5), (9, 6)])), set([this, bridge(6)]));
    assert_eq!(put(Port { learning: false, ..trunk("pf0vf0", &[(7, 5), (8, 6)]) }), set([this]));
    let gone = touched(&before, Change::Remove(ObjectId::Port(port("pf0vf0"))));
    assert_eq!(gone, set([this, bridge(5), bridge(6)]));
}

#[test]
fn objects_of_a_tunnel_touch_what_finds_them() {
    let before = policy(&overlay_network());
    let (one, far) = (VtepId(1), ip("198.51.100.9"));
    let bridge = |id| Touched::Bridge(BridgeId(id));
    let put = |object| touched(&before, Change::Put(object));
    assert_eq!(
        put(Object::Vtep(vtep(1, "p1", "192.0.2.1/24"))),
        set([Touched::Vtep(one), Touched::Vteps(port("p0")), Touched::Vteps(port("p1"))])
    );
    assert_eq!(
        put(Object::Bridge(overlay(5, 1, 200))),
        set([bridge(5), Touched::Vni(one, 100), Touched::Vni(one, 200)])
    );
    assert_eq!(put(Object::Bridge(Bridge { ageing_time: 20, ..overlay(5, 1, 100) })), set([bridge(5)]));
    let moved = put(Object::TunnelPeer(peer(1, "198.51.100.9", &[6])));
    assert_eq!(moved, set([Touched::TunnelPeer(one, far), bridge(5), bridge(6)]));
    let gone = touched(&before, Change::Remove(ObjectId::TunnelPeer(one, far)));
    assert_eq!(gone, set([Touched::TunnelPeer(one, far), bridge(5)]));
    let station = put(fixed(5, "02:00:00:00:00:0a", at("pf0vf0")));
    assert_eq!(station, set([Touched::Fdb(BridgeId(5), mac("02:00:00:00:00:0a"))]));
}

#[test]
fn the_members_of_a_bridge_are_its_ports_and_the_peers_of_its_own_vtep() {
    let mut objects = overlay_network();
    objects.push(Object::TunnelPeer(peer(2, "203.0.113.9", &[5])));
    let (vtep, [near, far]) = (VtepId(1), ["192.0.2.9", "198.51.100.9"].map(ip));
    let expected = [
        Member::Port { port: port("pf0vf0"), vid: None },
        Member::Port { port: port("pf0vf1"), vid: Some(7) },
        Member::Peer { vtep, address: near },
        Member::Peer { vtep, address: far },
    ];
    let members = |objects: &[Object]| policy(objects).members(BridgeId(5)).collect::<Vec<Member>>();
    assert_eq!(members(&objects), expected);
    objects.retain(|object| object.id() != ObjectId::Vtep(vtep));
    assert_eq!(members(&objects), expected[..2], "its VTEP is not there");
    objects.retain(|object| object.id() != ObjectId::Bridge(BridgeId(5)));
    assert_eq!(members(&objects), [], "it is not there itself");
}

#[test]
fn a_vni_that_two_bridges_have_is_the_older_ones() {
    let before = policy(&[Object::Bridge(overlay(5, 1, 100)), Object::Bridge(overlay(3, 1, 100))]);
    assert_eq!(before.bridge_of(VtepId(1), 100), Some(BridgeId(3)));
    let gone = Delta { changes: vec![Change::Remove(ObjectId::Bridge(BridgeId(3)))], ..Delta::default() };
    let (after, touched) = before.apply(&gone).expect("each id once");
    assert_eq!(after.bridge_of(VtepId(1), 100), Some(BridgeId(5)));
    assert!(touched.contains(&Touched::Vni(VtepId(1), 100)));
}

#[test]
fn a_station_is_found_by_the_addresses_that_it_has_now() {
    let station = |addresses: &[&str]| {
        Object::FdbEntry(FdbEntry {
            bridge: BridgeId(5),
            mac: mac("02:00:00:00:00:0a"),
            place: at("pf0vf0"),
            addresses: addresses.iter().map(|address| ip(address)).collect(),
        })
    };
    let before = policy(&[station(&["10.0.0.1", "fe80::1"])]);
    let (after, _) = before.apply(&put(&[station(&["10.0.0.2"])])).expect("each id once");
    let found = |policy: &Snapshot, address| policy.static_address(BridgeId(5), ip(address)).is_some();
    assert_eq!(["10.0.0.1", "10.0.0.2", "fe80::1"].map(|ip| found(&before, ip)), [true, false, true]);
    assert_eq!(["10.0.0.1", "10.0.0.2", "fe80::1"].map(|ip| found(&after, ip)), [false, true, false]);
    assert_eq!(before.static_address(BridgeId(6), ip("10.0.0.1")), None);
}
