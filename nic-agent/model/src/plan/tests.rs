use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::name::ResourceId;
use crate::port::{PortFields, PortSpec};
use crate::resource::Spec;

fn id(text: &str) -> ResourceId {
    text.parse().expect("a valid id")
}

fn set(text: &str) -> ApplySet {
    text.parse().expect("a valid set")
}

fn port(id_text: &str, device: &str) -> Desired {
    let fields = PortFields { device, enabled: true, mtu: 0, mac_addresses: &[], anti_spoof: false };
    let spec = Spec::Port(PortSpec::parse(&fields).expect("a valid port"));
    Desired { id: id(id_text), spec, etag: None }
}

fn rule(id_text: &str, flow: &str) -> Desired {
    let spec = Spec::FlowRule(FlowRuleSpec::parse(flow, None).expect("a valid flow"));
    Desired { id: id(id_text), spec, etag: None }
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
    assert_eq!(state.referrers(&id("pf0")).map(ResourceId::as_str).collect::<Vec<_>>(), ["in", "out"]);
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

/// Few ids and devices, so that transactions collide.
fn desired() -> impl Strategy<Value = Desired> {
    let ports = prop::sample::select(vec!["a", "b", "c"]);
    let devices = prop::sample::select(vec!["p0", "pf0vf0", "pf0vf1", "pf0vf2"]);
    let flows =
        (ports.clone(), ports.clone(), 0u8..2, prop::bool::ANY).prop_map(|(from, to, n, any)| match any {
            true => format!("priority={n},actions=output:{to}"),
            false => format!("priority={n},in_port={from},actions=output:{to}"),
        });
    let etag = prop_oneof![9 => Just(None), 1 => Just(Some("1.1".to_owned()))];
    let resource = prop_oneof![
        (ports, devices).prop_map(|(id, device)| port(id, device)),
        (prop::sample::select(vec!["r", "s", "t", "u"]), flows).prop_map(|(id, flow)| rule(id, &flow)),
    ];
    (resource, etag).prop_map(|(desired, etag)| Desired { etag, ..desired })
}

fn operation() -> impl Strategy<Value = Operation> {
    let sets = prop::sample::select(vec!["x", "y"]);
    let flags = (prop::bool::weighted(0.3), prop::bool::ANY);
    let apply = (sets, prop::collection::vec(desired(), 0..6), flags).prop_map(
        |(name, resources, (prune, take_over))| {
            Operation::Apply(Apply { set: set(name), resources, prune, take_over })
        },
    );
    prop_oneof![
        2 => desired().prop_map(Operation::Create),
        2 => desired().prop_map(Operation::Update),
        2 => desired().prop_map(|desired| Operation::Delete { name: desired.name(), etag: desired.etag }),
        4 => apply,
    ]
}

/// The state as a plain map, changed without any index.
#[derive(Debug, Clone, Default)]
struct Oracle {
    resources: BTreeMap<Name, (Spec, Option<ApplySet>, String)>,
}

impl Oracle {
    /// What the operation leads to; `None` if it is to be refused.
    fn step(&self, operation: &Operation) -> Option<BTreeMap<Name, (Spec, Option<ApplySet>)>> {
        let mut next: BTreeMap<_, _> = self
            .resources
            .iter()
            .map(|(name, (spec, set, _))| (name.clone(), (spec.clone(), set.clone())))
            .collect();
        let etag_fits = |name: &Name, etag: &Option<String>| match (etag, self.resources.get(name)) {
            (None, _) => true,
            (Some(etag), Some((_, _, current))) => etag == current,
            (Some(_), None) => false,
        };
        match operation {
            Operation::Create(desired) => {
                if next.insert(desired.name(), (desired.spec.clone(), None)).is_some() {
                    return None;
                }
            }
            Operation::Update(desired) => {
                let entry = next.get_mut(&desired.name())?;
                entry.0 = desired.spec.clone();
                if !etag_fits(&desired.name(), &desired.etag) {
                    return None;
                }
            }
            Operation::Delete { name, etag } => {
                next.remove(name)?;
                if !etag_fits(name, etag) {
                    return None;
                }
            }
            Operation::Apply(apply) => {
                let names: BTreeSet<Name> = apply.resources.iter().map(Desired::name).collect();
                if names.len() < apply.resources.len() {
                    return None;
                }
                if apply.prune {
                    next.retain(|name, (_, set)| *set != Some(apply.set.clone()) || names.contains(name));
                }
                for desired in &apply.resources {
                    let before = next.insert(desired.name(), (desired.spec.clone(), Some(apply.set.clone())));
                    let foreign = before.and_then(|(_, set)| set).is_some_and(|set| set != apply.set);
                    if (foreign && !apply.take_over) || !etag_fits(&desired.name(), &desired.etag) {
                        return None;
                    }
                }
            }
        }
        let mut devices = BTreeSet::new();
        let whole = next.values().all(|(spec, _)| match spec {
            Spec::Port(port) => devices.insert(port.device()),
            Spec::FlowRule(rule) => {
                let references = rule.flow().references();
                references.into_iter().all(|port| next.contains_key(&Kind::Port.name(port.clone())))
            }
        });
        whole.then_some(next)
    }

    fn take(state: &State) -> Oracle {
        let ports = state.ports_after(None).cloned().map(Resource::Port);
        let rules = state.flow_rules_after(None).cloned().map(Resource::FlowRule);
        let entry = |resource: Resource| {
            let spec = match &resource {
                Resource::Port(port) => Spec::Port(port.spec.clone()),
                Resource::FlowRule(rule) => Spec::FlowRule(rule.spec.clone()),
            };
            (resource.name(), (spec, resource.meta().apply_set.clone(), resource.meta().etag()))
        };
        Oracle { resources: ports.chain(rules).map(entry).collect() }
    }
}

/// Every index says what a search through all resources says.
fn check_indexes(state: &State) -> Result<(), TestCaseError> {
    let rules: Vec<_> = state.flow_rules_after(None).collect();
    for port in state.ports_after(None) {
        let referrers: Vec<_> = state.referrers(&port.id).cloned().collect();
        let found = rules.iter().filter(|rule| rule.spec.flow().references().contains(&&port.id));
        prop_assert_eq!(referrers, found.map(|rule| rule.id.clone()).collect::<Vec<_>>());
        prop_assert_eq!(state.port_of_device(port.spec.device()), Some(port));
    }
    for rule in &rules {
        prop_assert_eq!(state.flow_rule_of_policy(rule.policy_id()), Some(*rule));
        let own = state.policy(rule).expect("references resolve");
        let overlaps = rules.iter().filter_map(|other| state.policy(other)).filter(|other| {
            other.id != own.id && other.priority == own.priority && other.matches.overlaps(&own.matches)
        });
        let wins: Vec<bool> = overlaps.map(|other| other.rank() > own.rank()).collect();
        let expected = (!wins.is_empty()).then(|| wins.contains(&true));
        prop_assert_eq!(state.overlap(rule).map(|overlap| overlap.other_wins), expected);
    }
    for name in ["x", "y"] {
        let set = set(name);
        let resources = Oracle::take(state).resources;
        let found = resources.into_iter().filter(|(_, (_, owner, _))| *owner == Some(set.clone()));
        let members: Vec<Name> = state.members(&set).cloned().collect();
        prop_assert_eq!(members, found.map(|(name, _)| name).collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_transactions_does_what_a_plain_map_does(operations in prop::collection::vec(operation(), 1..24)) {
        let mut state = State::default();
        let mut uids = BTreeSet::new();
        for operation in operations {
            let expected = Oracle::take(&state).step(&operation);
            let outcome = match step(&state, operation.clone()) {
                Err(rejection) => {
                    prop_assert!(expected.is_none(), "refused for {}: {:?}", rejection, operation);
                    prop_assert!(!rejection.violations.is_empty());
                    continue;
                }
                Ok(outcome) => outcome,
            };
            let Some(expected) = expected else {
                return Err(TestCaseError::fail(format!("accepted: {operation:?}")));
            };
            let found = Oracle::take(&outcome.state).resources;
            prop_assert_eq!(found.into_iter().map(|(n, (spec, set, _))| (n, (spec, set))).collect::<BTreeMap<_, _>>(), expected);
            for change in outcome.changes.iter().filter(|change| change.action() == Action::Create) {
                let resource = change.after.as_ref().expect("created");
                prop_assert!(uids.insert(resource.meta().uid), "a uid was handed out twice");
            }
            check_indexes(&outcome.state)?;
            state = outcome.state;
        }
        let ports = state.ports_after(None).cloned().map(Resource::Port);
        let rules = state.flow_rules_after(None).cloned().map(Resource::FlowRule);
        let restored = State::restore(state.revision(), state.last_uid(), rules.chain(ports));
        check_indexes(&restored)?;
    }
}
