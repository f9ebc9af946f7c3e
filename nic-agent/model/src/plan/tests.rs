use super::*;
use crate::bridge::{BridgeFields, BridgeSpec};
use crate::fdb_entry::{FdbEntryFields, FdbEntrySpec};
use crate::flow_rule::FlowRuleSpec;
use crate::name::ResourceId;
use crate::port::{PortFields, PortSpec, TrunkFields};
use crate::resource::Spec;
use crate::tunnel_peer::{TunnelPeerFields, TunnelPeerSpec};
use crate::vtep::{VtepFields, VtepSpec};

mod oracle;
mod overlay;
mod scale;

fn id(text: &str) -> ResourceId {
    text.parse().expect("a valid id")
}

fn set(text: &str) -> ApplySet {
    text.parse().expect("a valid set")
}

fn desired(id_text: &str, spec: Spec) -> Desired {
    Desired { id: id(id_text), spec, etag: None }
}

fn port_with(id_text: &str, fields: &PortFields<'_>) -> Desired {
    desired(id_text, Spec::Port(PortSpec::parse(fields).expect("a valid port")))
}

fn port(id_text: &str, device: &str) -> Desired {
    port_with(id_text, &PortFields { device, ..PortFields::default() })
}

fn rule(id_text: &str, flow: &str) -> Desired {
    desired(id_text, Spec::FlowRule(FlowRuleSpec::parse(flow, None).expect("a valid flow")))
}

fn bridge(id_text: &str, vtep: &str, vni: u32) -> Desired {
    let fields = BridgeFields { vtep, vni, ..BridgeFields::default() };
    desired(id_text, Spec::Bridge(BridgeSpec::parse(&fields).expect("a valid bridge")))
}

fn vtep(id_text: &str, fields: &VtepFields<'_>) -> Desired {
    desired(id_text, Spec::Vtep(VtepSpec::parse(fields).expect("a valid vtep")))
}

fn peer(id_text: &str, vtep: &str, address: &str, bridges: &[&str]) -> Desired {
    let bridges: Vec<String> = bridges.iter().map(|bridge| format!("bridges/{bridge}")).collect();
    let fields = TunnelPeerFields { vtep, address, bridges: &bridges, ..TunnelPeerFields::default() };
    desired(id_text, Spec::TunnelPeer(TunnelPeerSpec::parse(&fields).expect("a valid peer")))
}

fn entry(id_text: &str, fields: &FdbEntryFields<'_>) -> Desired {
    desired(id_text, Spec::FdbEntry(FdbEntrySpec::parse(fields).expect("a valid entry")))
}

fn step(state: &State, operation: Operation) -> Result<Outcome, Rejection> {
    plan(state, &Transaction { time: Time(state.revision().0 * 1_000_000), operation })
}

fn apply(set_text: &str, resources: Vec<Desired>) -> Apply {
    Apply { set: set(set_text), resources, prune: false, take_over: false }
}

fn after(state: &State, operation: Operation) -> State {
    step(state, operation).expect("the transaction is valid").state
}

fn faults(state: &State, operation: Operation) -> Vec<(String, Reason)> {
    let rejection = step(state, operation).expect_err("the transaction is invalid");
    rejection.violations.into_iter().map(|violation| (violation.field(), violation.reason)).collect()
}

fn actions(outcome: &Outcome) -> Vec<(String, Action)> {
    let name = |change: &Change| change.name().map(|name| name.to_string()).unwrap_or_default();
    outcome.changes.iter().map(|change| (name(change), change.action())).collect()
}

/// Two ports, and two rules between them, in the set `lab`.
fn lab() -> State {
    let resources = vec![
        rule("out", "in_port=vm1,actions=pf0"),
        rule("in", "in_port=pf0,ip,actions=vm1"),
        port("pf0", "p0"),
        port("vm1", "pf0vf0"),
    ];
    after(&State::default(), Operation::Apply(apply("lab", resources)))
}

#[test]
fn references_resolve_at_the_end_of_the_transaction() {
    let state = lab();
    assert_eq!(state.revision(), Revision(1));
    let name = Kind::Port.name(id("pf0"));
    let referrers: Vec<String> = state.referrers(&name).map(ToString::to_string).collect();
    assert_eq!(referrers, ["flowRules/in", "flowRules/out"]);
    let lonely = apply("lab", vec![port("vm2", "pf0vf1"), rule("lonely", "in_port=vm3,actions=vm4")]);
    let missing =
        |text| ("resources[1].spec.flow".to_owned(), Reason::NoReference(Kind::Port.name(id(text))));
    assert_eq!(faults(&state, Operation::Apply(lonely)), [missing("vm3"), missing("vm4")]);
}

#[test]
fn what_is_so_already_is_left_alone_and_makes_no_revision() {
    let state = lab();
    let again =
        Operation::Apply(apply("lab", vec![port("pf0", "p0"), rule("out", "in_port=vm1,actions=pf0")]));
    let outcome = step(&state, again).expect("valid");
    assert!(outcome.is_unchanged(&state));
    assert!(outcome.changes.iter().all(|change| change.action() == Action::Unchanged));
}

#[test]
fn a_change_of_the_spec_counts_a_generation_and_changes_the_etag() {
    let state = lab();
    let before = state.get(&Kind::Port.name(id("vm1"))).expect("exists");
    let state = after(&state, Operation::Update(port("vm1", "pf0vf5")));
    let port = state.get(&Kind::Port.name(id("vm1"))).expect("exists");
    assert_eq!((port.meta().generation, port.meta().uid), (2, before.meta().uid));
    assert_eq!((port.meta().created_at, port.meta().changed_at), (Revision(1), Revision(2)));
    assert_eq!(port.meta().apply_set, Some(set("lab")));
    assert_ne!(port.meta().etag(), before.meta().etag());
    assert!(port.meta().update_time > port.meta().create_time);
}

#[test]
fn prune_deletes_members_of_the_set_and_no_others() {
    let state = after(&lab(), Operation::Create(port("own", "pf0vf7")));
    let state = after(&state, Operation::Apply(apply("other", vec![port("theirs", "pf0vf8")])));
    let pruned = Apply {
        prune: true,
        ..apply("lab", vec![port("pf0", "p0"), rule("in", "in_port=pf0,actions=drop")])
    };
    let outcome = step(&state, Operation::Apply(pruned)).expect("valid");
    let expected = [
        ("ports/pf0", Action::Unchanged),
        ("flowRules/in", Action::Update),
        ("flowRules/out", Action::Delete),
        ("ports/vm1", Action::Delete),
    ];
    assert_eq!(actions(&outcome), expected.map(|(name, action)| (name.to_owned(), action)));
    assert!(outcome.state.port(&id("own")).is_some() && outcome.state.port(&id("theirs")).is_some());
}

#[test]
fn what_is_referenced_cannot_go_and_the_referrer_is_named() {
    let state = lab();
    let name = Kind::Port.name(id("vm1"));
    let referenced = |by: &str| Reason::Referenced { name: name.clone(), by: Kind::FlowRule.name(id(by)) };
    let delete = Operation::Delete { name: name.clone(), etag: None };
    assert_eq!(faults(&state, delete), [(String::new(), referenced("in"))]);
    let rules = vec![port("pf0", "p0"), rule("out", "in_port=vm1,actions=pf0")];
    let pruned = faults(&state, Operation::Apply(Apply { prune: true, ..apply("lab", rules) }));
    assert!(pruned.contains(&("ports/vm1".to_owned(), referenced("out"))), "{pruned:?}");
}

#[test]
fn another_set_s_resource_is_taken_only_when_asked_for() {
    let state = lab();
    let other = apply("other", vec![port("vm1", "pf0vf0"), port("free", "pf0vf9")]);
    let name = Kind::Port.name(id("vm1"));
    let conflict = Reason::OtherSet { name, set: set("lab") };
    assert_eq!(faults(&state, Operation::Apply(other.clone())), [("resources[0]".to_owned(), conflict)]);
    let state = after(&state, Operation::Apply(Apply { take_over: true, ..other }));
    let taken = state.port(&id("vm1")).expect("exists");
    assert_eq!((taken.meta.generation, taken.meta.apply_set.clone()), (1, Some(set("other"))));
    assert_eq!(state.members(&set("other")).count(), 2);
    // A resource of no set is adopted without a word.
    let state = after(&state, Operation::Create(port("plain", "pf0vf11")));
    let state = after(&state, Operation::Apply(apply("lab", vec![port("plain", "pf0vf11")])));
    assert_eq!(state.port(&id("plain")).expect("exists").meta.apply_set, Some(set("lab")));
}

#[test]
fn an_old_etag_is_refused() {
    let state = lab();
    let name = Kind::Port.name(id("vm1"));
    let etag = state.get(&name).expect("exists").meta().etag();
    let with = |etag: &str| Desired { etag: Some(etag.to_owned()), ..port("vm1", "pf0vf3") };
    let state = after(&state, Operation::Update(with(&etag)));
    let mismatch = |field: &str| vec![(field.to_owned(), Reason::EtagMismatch(name.clone()))];
    assert_eq!(faults(&state, Operation::Update(with(&etag))), mismatch("etag"));
    let delete = Operation::Delete { name: name.clone(), etag: Some(etag.clone()) };
    assert_eq!(faults(&state, delete), mismatch("etag"));
    let stale = Operation::Apply(apply("lab", vec![with(&etag)]));
    assert_eq!(faults(&state, stale), mismatch("resources[0].etag"));
}

#[test]
fn two_ports_cannot_have_one_device_but_may_swap_theirs() {
    let state = lab();
    let in_use = |by: &str| Reason::DeviceInUse(Kind::Port.name(id(by)));
    let create = Operation::Create(port("again", "p0"));
    assert_eq!(faults(&state, create), [("spec.device".to_owned(), in_use("pf0"))]);
    let both = Operation::Apply(apply("lab", vec![port("a", "pf0vf1"), port("b", "pf0vf1")]));
    assert_eq!(faults(&state, both), [("resources[1].spec.device".to_owned(), in_use("a"))]);
    let swap = Operation::Apply(apply("lab", vec![port("pf0", "pf0vf0"), port("vm1", "p0")]));
    let state = after(&state, swap);
    assert_eq!(
        state.port_of_device("p0".parse().expect("a device")).map(|port| port.id.clone()),
        Some(id("vm1"))
    );
}

#[test]
fn names_are_there_or_not_as_the_operation_needs_and_once_in_an_apply() {
    let state = lab();
    let name = Kind::Port.name(id("vm1"));
    let missing = Kind::Port.name(id("vm2"));
    assert_eq!(faults(&state, Operation::Create(port("vm1", "p3")))[0].1, Reason::Exists(name));
    assert_eq!(faults(&state, Operation::Update(port("vm2", "p3")))[0].1, Reason::NotFound(missing.clone()));
    let delete = Operation::Delete { name: missing.clone(), etag: None };
    assert_eq!(faults(&state, delete)[0].1, Reason::NotFound(missing));
    let twice = Operation::Apply(apply("lab", vec![port("a", "p3"), port("a", "p4")]));
    assert_eq!(faults(&state, twice), [("resources[1].name".to_owned(), Reason::Repeated { first: 0 })]);
}

#[test]
fn rules_of_equal_priority_that_overlap_know_who_wins() {
    let tutorial = vec![
        port("pf0", "p0"),
        port("vm1", "pf0vf0"),
        rule("one", "in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1"),
        rule("three", "in_port=pf0,ip,nw_src=10.10.1.1/255.255.255.0,action=output:vm1"),
        rule("wide", "ip,actions=drop"),
        rule("higher", "priority=40000,in_port=pf0,actions=drop"),
        rule("elsewhere", "in_port=vm1,arp,actions=pf0"),
    ];
    let state = after(&State::default(), Operation::Apply(apply("lab", tutorial)));
    let overlap = |rule: &str| {
        let found = state.overlap(state.flow_rule(&id(rule)).expect("exists"));
        found.map(|overlap| (overlap.other.to_string(), overlap.other_wins))
    };
    assert_eq!(overlap("one"), Some(("three".to_owned(), false)));
    assert_eq!(overlap("three"), Some(("one".to_owned(), true)));
    assert_eq!(overlap("wide"), Some(("one".to_owned(), true)));
    assert_eq!(overlap("higher"), None);
    assert_eq!(overlap("elsewhere"), None);
}
