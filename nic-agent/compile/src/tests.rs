use std::collections::BTreeMap;

use nic_flow::{Field, PortId};
use nic_model::{
    Action, Apply, BridgeFields, BridgeSpec, Desired, FdbEntryFields, FdbEntrySpec, FlowRuleSpec, Kind,
    Operation, PortFields, PortSpec, Spec, Time, Transaction, TrunkFields, TunnelPeerFields, TunnelPeerSpec,
    VtepFields, VtepSpec, plan,
};
use nic_policy::{BridgeId, FlowRuleId, Place, Revision, VtepId};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

fn desired(id: &str, spec: Spec) -> Desired {
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
}

fn port(id: &str, device: &str, enabled: bool) -> Desired {
    attached(id, &PortFields { device, enabled, ..PortFields::default() })
}

fn attached(id: &str, fields: &PortFields<'_>) -> Desired {
    desired(id, Spec::Port(PortSpec::parse(fields).expect("a valid port")))
}

fn rule(id: &str, flow: &str) -> Desired {
    desired(id, Spec::FlowRule(FlowRuleSpec::parse(flow, None).expect("a valid flow")))
}

fn bridge(id: &str, vtep: &str, vni: u32) -> Desired {
    let fields = BridgeFields { vtep, vni, ..BridgeFields::default() };
    desired(id, Spec::Bridge(BridgeSpec::parse(&fields).expect("a valid bridge")))
}

fn vtep(id: &str, port: &str, address: &str) -> Desired {
    let fields = VtepFields { port, address, ..VtepFields::default() };
    desired(id, Spec::Vtep(VtepSpec::parse(&fields).expect("a valid VTEP")))
}

fn peer(id: &str, vtep: &str, address: &str, bridges: &[&str]) -> Desired {
    let bridges: Vec<String> = bridges.iter().map(|&bridge| bridge.to_owned()).collect();
    let fields = TunnelPeerFields { vtep, address, bridges: &bridges, ..TunnelPeerFields::default() };
    desired(id, Spec::TunnelPeer(TunnelPeerSpec::parse(&fields).expect("a valid peer")))
}

fn entry(id: &str, bridge: &str, mac_address: &str, port: &str, tunnel_peer: &str) -> Desired {
    let fields = FdbEntryFields { bridge, mac_address, port, tunnel_peer, addresses: &[] };
    desired(id, Spec::FdbEntry(FdbEntrySpec::parse(&fields).expect("a valid entry")))
}

fn apply(resources: Vec<Desired>, prune: bool) -> Operation {
    let set = "lab".parse().expect("a valid set");
    Operation::Apply(Apply { set, resources, prune, take_over: true })
}

/// The next state and the delta that leads to it.
fn step(state: &State, operation: Operation) -> Option<(State, Delta)> {
    let outcome = plan(state, &Transaction { time: Time(0), operation }).ok()?;
    let delta = incremental(state, &outcome.state, &outcome.changes);
    Some((outcome.state, delta))
}

fn lab() -> State {
    let resources = vec![
        port("pf0", "p0", true),
        port("vm1", "pf0vf0", true),
        rule("in", "in_port=pf0,ip,actions=vm1"),
        rule("out", "in_port=vm1,actions=pf0"),
        rule("drop", "priority=1,actions=drop"),
    ];
    step(&State::default(), apply(resources, false)).expect("valid").0
}

fn device(name: &str) -> PortId {
    name.parse().expect("a device")
}

#[test]
fn a_port_that_gets_another_device_compiles_the_rules_that_name_it_again() {
    let (_, delta) = step(&lab(), Operation::Update(port("vm1", "pf0vf5", true))).expect("valid");
    let ids: Vec<ObjectId> = delta.changes.iter().map(PolicyChange::id).collect();
    let expected = [
        ObjectId::Port(device("pf0vf0")),
        ObjectId::Port(device("pf0vf5")),
        ObjectId::FlowRule(FlowRuleId(3)),
        ObjectId::FlowRule(FlowRuleId(4)),
    ];
    assert_eq!(ids, expected);
    assert_eq!(delta.changes[0], PolicyChange::Remove(expected[0]));
    let PolicyChange::Put(Object::FlowRule(out)) = &delta.changes[3] else { panic!("a rule is put") };
    assert_eq!(out.matches.key().get(Field::InPort), u128::from(device("pf0vf5").bits()));
}

#[test]
fn what_compiles_to_the_same_policy_is_not_sent() {
    let state = lab();
    let typed = rule("out", "priority=32768, in_port=vm1  action=output:pf0");
    let (after, delta) = step(&state, Operation::Update(typed)).expect("valid");
    assert_eq!((delta.changes.as_slice(), delta.revision), (&[][..], Revision(2)));
    let (_, delta) = step(&after, Operation::Update(port("vm1", "pf0vf0", false))).expect("valid");
    assert_eq!(delta.changes.len(), 1);
}

#[test]
fn devices_that_two_ports_swap_are_put_and_never_removed() {
    let swap = apply(vec![port("pf0", "pf0vf0", false), port("vm1", "p0", true)], false);
    let (_, delta) = step(&lab(), swap).expect("valid");
    assert!(delta.changes.iter().all(|change| matches!(change, PolicyChange::Put(_))));
}

/// An overlay with something of everything. The uids are 1 to 10 in this order.
fn overlay() -> Vec<Desired> {
    let trunks = [TrunkFields { vlan: 9, bridge: "bridges/l" }];
    let vm = PortFields {
        device: "pf0vf0",
        mtu: 1400,
        bridge: "bridges/k",
        trunks: &trunks,
        ..PortFields::default()
    };
    vec![
        port("a", "p0", true),
        attached("b", &vm),
        bridge("k", "vteps/v", 1),
        bridge("l", "", 0),
        vtep("v", "ports/a", "192.0.2.1/24"),
        peer("f", "vteps/v", "192.0.2.7", &["bridges/k"]),
        entry("q", "bridges/k", "02:00:00:00:00:01", "ports/b", ""),
        entry("r", "bridges/k", "02:00:00:00:00:02", "", "tunnelPeers/f"),
        rule("r", "in_port=a,actions=b"),
        port("c", "pf0vf1", true),
    ]
}

#[test]
fn an_overlay_names_its_parts_by_their_policy_ids() {
    let (state, _) = step(&State::default(), apply(overlay(), false)).expect("valid");
    let objects: BTreeMap<ObjectId, Object> = {
        let mut policy = BTreeMap::new();
        follow(&mut policy, &full(&state));
        policy
    };
    let (k, l, v) = (BridgeId(3), BridgeId(4), VtepId(5));
    let Some(Object::Port(port)) = objects.get(&ObjectId::Port(device("pf0vf0"))) else { panic!("a port") };
    assert_eq!(port.bridges.access, Some(k));
    assert_eq!(port.bridges.trunk, [nic_policy::Trunk { vid: 9, bridge: l }]);
    let Some(Object::Bridge(bridge)) = objects.get(&ObjectId::Bridge(k)) else { panic!("a bridge") };
    assert_eq!(bridge.overlay, Some(nic_policy::Overlay { vtep: v, vni: 1 }));
    let Some(Object::Vtep(vtep)) = objects.get(&ObjectId::Vtep(v)) else { panic!("a VTEP") };
    assert_eq!((vtep.uplink, vtep.prefix_length), (device("p0"), 24));
    let far = "192.0.2.7".parse().expect("an address");
    let Some(Object::TunnelPeer(peer)) = objects.get(&ObjectId::TunnelPeer(v, far)) else { panic!("a peer") };
    assert_eq!(peer.bridges, [k]);
    let place = |mac: &str| match objects.get(&ObjectId::FdbEntry(k, mac.parse().expect("a MAC address"))) {
        Some(Object::FdbEntry(entry)) => entry.place,
        other => panic!("{other:?}"),
    };
    assert_eq!(place("02:00:00:00:00:01"), Place::Port(device("pf0vf0")));
    assert_eq!(place("02:00:00:00:00:02"), Place::Peer(far));
}

#[test]
fn a_place_that_changes_is_followed_by_what_names_it_and_by_nothing_else() {
    let (state, _) = step(&State::default(), apply(overlay(), false)).expect("valid");
    let ids = |delta: Delta| delta.changes.iter().map(|change| change.id()).collect::<Vec<_>>();
    let (k, v) = (BridgeId(3), VtepId(5));
    let mac = |text: &str| text.parse().expect("a MAC address");
    let (_, delta) =
        step(&state, Operation::Update(peer("f", "vteps/v", "192.0.2.8", &["bridges/k"]))).expect("valid");
    let address = |text: &str| text.parse().expect("an address");
    let expected = [
        ObjectId::TunnelPeer(v, address("192.0.2.7")),
        ObjectId::TunnelPeer(v, address("192.0.2.8")),
        ObjectId::FdbEntry(k, mac("02:00:00:00:00:02")),
    ];
    assert_eq!(ids(delta), expected);
    let (_, delta) = step(&state, Operation::Update(port("a", "p3", true))).expect("valid");
    let expected = [
        ObjectId::Port(device("p0")),
        ObjectId::Port(device("p3")),
        ObjectId::FlowRule(FlowRuleId(9)),
        ObjectId::Vtep(v),
    ];
    assert_eq!(ids(delta), expected);
    let (_, delta) = step(&state, Operation::Update(bridge("k", "vteps/v", 2))).expect("valid");
    assert_eq!(ids(delta), [ObjectId::Bridge(k)]);
}

fn one_of(texts: &[&'static str]) -> prop::sample::Select<&'static str> {
    prop::sample::select(texts.to_vec())
}

const BRIDGES: &[&str] = &["bridges/k", "bridges/l", "bridges/m"];

fn any_port() -> impl Strategy<Value = Desired> {
    let trunk = prop::option::of((1u32..3, one_of(BRIDGES)));
    let devices = one_of(&["p0", "p1", "pf0vf0", "pf0vf1"]);
    (one_of(&["a", "b", "c"]), devices, any::<bool>(), one_of(&["", "bridges/k", "bridges/l"]), trunk)
        .prop_filter_map("a bridge twice", |(id, device, enabled, bridge, trunk)| {
            let trunks: Vec<TrunkFields<'_>> =
                trunk.iter().map(|&(vlan, bridge)| TrunkFields { vlan, bridge }).collect();
            let mtu = if device.len() == 2 { 1500 } else { 1400 };
            let fields =
                PortFields { device, enabled, mtu, bridge, trunks: &trunks, ..PortFields::default() };
            PortSpec::parse(&fields).ok().map(|spec| desired(id, Spec::Port(spec)))
        })
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let ports = one_of(&["a", "b", "c"]);
    let flow =
        (ports.clone(), ports, 0u8..2).prop_map(|(a, b, n)| format!("priority={n},in_port={a},actions={b}"));
    let vteps = one_of(&["vteps/v", "vteps/v", "vteps/w"]);
    let bridges = prop::collection::btree_set(one_of(BRIDGES), 0..3);
    let places = prop_oneof![
        one_of(&["ports/a", "ports/b", "ports/c"]).prop_map(|port| (port, "")),
        one_of(&["tunnelPeers/f", "tunnelPeers/g"]).prop_map(|peer| ("", peer)),
    ];
    let macs = one_of(&["02:00:00:00:00:01", "02:00:00:00:00:02"]);
    prop_oneof![
        any_port(),
        (one_of(&["r", "s", "t"]), flow).prop_map(|(id, flow)| rule(id, &flow)),
        (one_of(&["k", "l", "m"]), prop::option::of((vteps.clone(), 1u32..3))).prop_map(|(id, overlay)| {
            let (vtep, vni) = overlay.unwrap_or_default();
            bridge(id, vtep, vni)
        }),
        (one_of(&["v", "w"]), one_of(&["ports/a", "ports/b"]), one_of(&["192.0.2.1/24", "192.0.2.2/24"]))
            .prop_map(|(id, port, address)| vtep(id, port, address)),
        (one_of(&["f", "g"]), vteps, one_of(&["192.0.2.7", "192.0.2.8"]), bridges).prop_map(
            |(id, vtep, address, bridges)| peer(id, vtep, address, &bridges.into_iter().collect::<Vec<_>>())
        ),
        (one_of(&["q", "r"]), one_of(BRIDGES), macs, places)
            .prop_map(|(id, bridge, mac, (port, peer))| entry(id, bridge, mac, port, peer)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    // The overlay again, with few things in it changed: most of these are valid.
    let changed = (prop::collection::vec(any_desired(), 1..3), prop::bool::weighted(0.2)).prop_map(
        |(changed, prune)| {
            let kept =
                overlay().into_iter().filter(|kept| changed.iter().all(|new| new.name() != kept.name()));
            apply(kept.chain(changed.clone()).collect(), prune)
        },
    );
    prop_oneof![
        3 => changed,
        1 => any_desired().prop_map(Operation::Create),
        4 => any_desired().prop_map(Operation::Update),
        2 => any_desired().prop_map(|desired| Operation::Delete { name: desired.name(), etag: None }),
        2 => (prop::collection::vec(any_desired(), 0..6), prop::bool::weighted(0.2)).prop_map(|(r, prune)| apply(r, prune)),
    ]
}

/// What a datapath makes of the deltas.
fn follow(policy: &mut BTreeMap<ObjectId, Object>, delta: &Delta) {
    if delta.replace_all {
        policy.clear();
    }
    for change in &delta.changes {
        match change {
            PolicyChange::Put(object) => policy.insert(object.id(), object.clone()),
            PolicyChange::Remove(id) => policy.remove(id),
        };
    }
}

/// How many changes of each kind of resource the runs had.
type Reached = BTreeMap<(Kind, &'static str), usize>;

fn run(operations: Vec<Operation>, reached: &mut Reached) -> Result<(), TestCaseError> {
    let (mut state, mut policy) = (State::default(), BTreeMap::new());
    for operation in operations {
        let transaction = Transaction { time: Time(0), operation };
        let Ok(outcome) = plan(&state, &transaction) else { continue };
        let after = outcome.state;
        for change in &outcome.changes {
            let action = match change.action() {
                Action::Create => "create",
                Action::Update => "update",
                Action::Delete => "delete",
                Action::Unchanged => "nothing",
            };
            *change.name().map(|name| reached.entry((name.kind, action)).or_default()).expect("a name") += 1;
        }
        let delta = incremental(&state, &after, &outcome.changes);
        let ids: BTreeSet<ObjectId> = delta.changes.iter().map(PolicyChange::id).collect();
        prop_assert_eq!(ids.len(), delta.changes.len());
        for change in &delta.changes {
            // Nothing is sent that is so already.
            match change {
                PolicyChange::Put(object) => prop_assert_ne!(policy.get(&object.id()), Some(object)),
                PolicyChange::Remove(id) => prop_assert!(policy.contains_key(id)),
            }
        }
        follow(&mut policy, &delta);
        let mut expected = BTreeMap::new();
        follow(&mut expected, &full(&after));
        prop_assert_eq!(&policy, &expected);
        prop_assert_eq!(policy.len(), after.resources().count());
        prop_assert_eq!(delta.revision, after.revision());
        state = after;
    }
    Ok(())
}

#[test]
fn deltas_lead_to_the_same_policy_as_a_full_compile() {
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let reached = std::cell::RefCell::new(Reached::default());
    let operations = prop::collection::vec(operation(), 1..24);
    let done = runner.run(&operations, |operations| run(operations, &mut reached.borrow_mut()));
    done.unwrap_or_else(|error| panic!("{error}"));
    let reached = reached.into_inner();
    for &kind in Kind::ALL {
        for action in ["create", "update", "delete"] {
            let count = reached.get(&(kind, action)).copied().unwrap_or_default();
            assert!(count >= 10, "{kind:?} {action}: {count} in {reached:?}");
        }
    }
}
