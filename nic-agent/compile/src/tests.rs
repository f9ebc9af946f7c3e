use std::collections::BTreeMap;

use nic_flow::{Field, PortId};
use nic_model::{
    Apply, Desired, FlowRuleSpec, Operation, PortFields, PortSpec, Spec, Time, Transaction, plan,
};
use nic_policy::{FlowRuleId, Revision};
use proptest::prelude::*;

use super::*;

fn port(id: &str, device: &str, enabled: bool) -> Desired {
    let fields = PortFields { device, enabled, mtu: 0, mac_addresses: &[], anti_spoof: false };
    let spec = Spec::Port(PortSpec::parse(&fields).expect("a valid port"));
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
}

fn rule(id: &str, flow: &str) -> Desired {
    let spec = Spec::FlowRule(FlowRuleSpec::parse(flow, None).expect("a valid flow"));
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
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

fn desired() -> impl Strategy<Value = Desired> {
    let ports = prop::sample::select(vec!["a", "b", "c"]);
    let devices = prop::sample::select(vec!["p0", "pf0vf0", "pf0vf1"]);
    let flow = (ports.clone(), ports.clone(), 0u8..2)
        .prop_map(|(a, b, n)| format!("priority={n},in_port={a},actions={b}"));
    prop_oneof![
        (ports, devices, any::<bool>()).prop_map(|(id, device, enabled)| port(id, device, enabled)),
        (prop::sample::select(vec!["r", "s", "t"]), flow).prop_map(|(id, flow)| rule(id, &flow)),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => desired().prop_map(Operation::Create),
        2 => desired().prop_map(Operation::Update),
        1 => desired().prop_map(|desired| Operation::Delete { name: desired.name(), etag: None }),
        3 => (prop::collection::vec(desired(), 0..6), prop::bool::weighted(0.2)).prop_map(|(r, prune)| apply(r, prune)),
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

proptest! {
    #[test]
    fn deltas_lead_to_the_same_policy_as_a_full_compile(operations in prop::collection::vec(operation(), 1..24)) {
        let (mut state, mut policy) = (State::default(), BTreeMap::new());
        for operation in operations {
            let Some((after, delta)) = step(&state, operation) else { continue };
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
            prop_assert_eq!(delta.revision, after.revision());
            state = after;
        }
    }
}
