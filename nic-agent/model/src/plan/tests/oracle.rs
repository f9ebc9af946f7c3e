//! Any transactions, compared with a plain map that is searched through for every rule.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use nic_flow::PortId;

use super::*;
use crate::check_whole;
use crate::fdb_entry::StationPlace;

fn one_of(texts: &[&'static str]) -> prop::sample::Select<&'static str> {
    prop::sample::select(texts.to_vec())
}

const BRIDGES: &[&str] = &["bridges/k", "bridges/l", "bridges/m"];
const NO_OR_BRIDGE: &[&str] = &["", "bridges/k", "bridges/l", "bridges/m"];

fn any_port() -> impl Strategy<Value = Desired> {
    let trunks = prop::collection::vec((1u32..4, one_of(BRIDGES)), 0..3);
    let mtu = prop::sample::select(vec![0u32, 1600]);
    let devices = one_of(&["p0", "p1", "pf0vf0", "pf0vf1", "pf0vf2"]);
    let fields = (devices, mtu, one_of(NO_OR_BRIDGE), trunks);
    (one_of(&["a", "b", "c", "d"]), fields).prop_filter_map(
        "a bridge twice",
        |(id_text, (device, mtu, bridge, trunks))| {
            // Uplinks carry more, or hardly any overlay would be valid.
            let mtu = if PortId::is_uplink(device.parse().expect("a device")) { mtu + 1560 } else { mtu };
            let trunks: Vec<TrunkFields<'_>> =
                trunks.iter().map(|&(vlan, bridge)| TrunkFields { vlan, bridge }).collect();
            let fields = PortFields { device, mtu, bridge, trunks: &trunks, ..PortFields::default() };
            PortSpec::parse(&fields).ok().map(|spec| desired(id_text, Spec::Port(spec)))
        },
    )
}

fn any_bridge() -> impl Strategy<Value = Desired> {
    let overlay = (one_of(&["", "vteps/v", "vteps/w", "vteps/v"]), 1u32..4);
    (one_of(&["k", "l", "m"]), overlay)
        .prop_map(|(id, (vtep, vni))| bridge(id, vtep, if vtep.is_empty() { 0 } else { vni }))
}

fn any_vtep() -> impl Strategy<Value = Desired> {
    let addresses =
        one_of(&["192.0.2.1/24", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.200/25", "2001:db8::1/64"]);
    let macs = one_of(&["", "02:00:00:00:00:01"]);
    let ports = one_of(&["ports/a", "ports/a", "ports/b", "ports/c"]);
    (one_of(&["v", "w"]), ports, 0u32..2, addresses, macs).prop_map(
        |(id, port, vlan, address, mac_address)| {
            vtep(id, &VtepFields { port, vlan, address, mac_address, ..VtepFields::default() })
        },
    )
}

fn any_peer() -> impl Strategy<Value = Desired> {
    let addresses =
        one_of(&["192.0.2.7", "192.0.2.7", "192.0.2.2", "192.0.2.127", "192.0.2.128", "2001:db8::7"]);
    let bridges = prop::sample::subsequence(vec!["k", "l", "m"], 0..3);
    (one_of(&["f", "g"]), one_of(&["vteps/v", "vteps/v", "vteps/w"]), addresses, bridges)
        .prop_map(|(id, vtep, address, bridges)| peer(id, vtep, address, &bridges))
}

fn any_entry() -> impl Strategy<Value = Desired> {
    let places = prop_oneof![
        one_of(&["ports/a", "ports/b", "ports/c", "ports/d"]).prop_map(|port| (port, "")),
        one_of(&["tunnelPeers/f", "tunnelPeers/g"]).prop_map(|peer| ("", peer)),
    ];
    let macs = one_of(&["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"]);
    (one_of(&["q", "r", "s"]), one_of(BRIDGES), macs, places).prop_map(
        |(id, bridge, mac_address, (port, tunnel_peer))| {
            entry(id, &FdbEntryFields { bridge, mac_address, port, tunnel_peer, addresses: &[] })
        },
    )
}

fn any_rule() -> impl Strategy<Value = Desired> {
    let ports = one_of(&["a", "b", "c"]);
    let flows = (ports.clone(), ports, 0u8..2, prop::bool::ANY).prop_map(|(from, to, n, any)| match any {
        true => format!("priority={n},actions=output:{to}"),
        false => format!("priority={n},in_port={from},actions=output:{to}"),
    });
    (one_of(&["r", "s", "t", "u"]), flows).prop_map(|(id, flow)| rule(id, &flow))
}

/// Few ids and values, so that transactions collide.
fn any_desired() -> impl Strategy<Value = Desired> {
    let etag = prop_oneof![9 => Just(None), 1 => Just(Some("1.1".to_owned()))];
    let resource = prop_oneof![any_port(), any_bridge(), any_vtep(), any_peer(), any_entry(), any_rule()];
    (resource, etag).prop_map(|(desired, etag)| Desired { etag, ..desired })
}

/// Something of everything, for transactions that would hardly ever build it.
fn lab() -> Vec<Desired> {
    let with =
        |id, device, bridge, mtu| port_with(id, &PortFields { device, bridge, mtu, ..PortFields::default() });
    let underlay = VtepFields { port: "ports/a", address: "192.0.2.1/24", ..VtepFields::default() };
    let station =
        FdbEntryFields { bridge: "bridges/k", mac_address: "02:00:00:00:00:01", ..FdbEntryFields::default() };
    vec![
        with("a", "p0", "", 1560),
        with("b", "p1", "", 1560),
        with("c", "pf0vf0", "bridges/k", 0),
        with("d", "pf0vf1", "bridges/l", 0),
        bridge("k", "vteps/v", 1),
        bridge("l", "vteps/v", 2),
        bridge("m", "", 0),
        vtep("v", &underlay),
        peer("f", "vteps/v", "192.0.2.7", &["k", "l"]),
        entry("q", &FdbEntryFields { port: "ports/c", ..station }),
        entry(
            "r",
            &FdbEntryFields { mac_address: "02:00:00:00:00:02", tunnel_peer: "tunnelPeers/f", ..station },
        ),
        rule("r", "in_port=a,actions=b"),
    ]
}

/// Whether resources fit together, by looking at all pairs of them.
fn fits(all: &BTreeMap<Name, &Spec>) -> bool {
    all.iter().all(|(name, spec)| {
        let others = || all.iter().filter(|(other, _)| *other != name).map(|(_, spec)| *spec);
        match spec {
            Spec::Bridge(bridge) => bridge.vtep().is_none_or(|vtep| {
                let twin = |other: &Spec| {
                    matches!(other, Spec::Bridge(other) if other.vtep() == Some(vtep) && other.vni() == bridge.vni())
                };
                get_vtep(all, vtep).is_some() && !others().any(twin)
            }),
            Spec::FdbEntry(entry) => {
                let twin = |other: &Spec| {
                    matches!(other, Spec::FdbEntry(other)
                        if other.bridge() == entry.bridge() && other.mac_address() == entry.mac_address())
                };
                let member = match entry.place() {
                    StationPlace::Port(id) => get_port(all, id).is_some_and(|port| is_in(port, entry.bridge())),
                    StationPlace::TunnelPeer(id) => {
                        get_peer(all, id).is_some_and(|peer| peer.bridges().contains(entry.bridge()))
                    }
                };
                get_bridge(all, entry.bridge()).is_some() && member && !others().any(twin)
            }
            Spec::FlowRule(rule) => {
                rule.flow().references().into_iter().all(|port| get_port(all, port).is_some())
            }
            Spec::Port(port) => port_fits(all, port) && {
                !others().any(|other| matches!(other, Spec::Port(other) if other.device() == port.device()))
            },
            Spec::TunnelPeer(peer) => peer_fits(all, peer) && {
                let twin = |other: &Spec| {
                    matches!(other, Spec::TunnelPeer(other)
                        if other.vtep() == peer.vtep() && other.address() == peer.address())
                };
                !others().any(twin)
            },
            Spec::Vtep(vtep) => {
                let twin = |other: &Spec| {
                    matches!(other, Spec::Vtep(other) if other.port() == vtep.port()
                        && (other.mac_address() == vtep.mac_address()
                            || (other.vlan(), other.address()) == (vtep.vlan(), vtep.address())))
                };
                let uplink = |port: &PortSpec| ["p0", "p1"].contains(&port.device().to_string().as_str());
                get_port(all, vtep.port()).is_some_and(uplink) && !others().any(twin)
            }
        }
    })
}

fn is_in(port: &PortSpec, bridge: &ResourceId) -> bool {
    port.bridge() == Some(bridge) || port.trunks().iter().any(|trunk| trunk.bridge == *bridge)
}

fn port_fits(all: &BTreeMap<Name, &Spec>, port: &PortSpec) -> bool {
    let bridges = port.bridge().into_iter().chain(port.trunks().iter().map(|trunk| &trunk.bridge));
    bridges.into_iter().all(|bridge| {
        let Some(bridge) = get_bridge(all, bridge) else { return false };
        let Some(vtep) = bridge.vtep() else { return true };
        let Some(vtep) = get_vtep(all, vtep) else { return false };
        let Some(uplink) = get_port(all, vtep.port()) else { return false };
        port.mtu() + if vtep.address().is_ipv4() { 50 } else { 70 } <= uplink.mtu()
    })
}

fn peer_fits(all: &BTreeMap<Name, &Spec>, peer: &TunnelPeerSpec) -> bool {
    let Some(vtep) = get_vtep(all, peer.vtep()) else { return false };
    let address = match (vtep.address(), peer.address()) {
        // The ends of the two networks that are used here.
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let ends: &[u8] = if vtep.cidr().prefix_length() == 25 { &[128, 255] } else { &[0, 255] };
            own != other && !ends.contains(&other.octets()[3])
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => own != other,
        _ => false,
    };
    let mut bridges = peer.bridges().iter();
    address && bridges.all(|id| get_bridge(all, id).is_some_and(|bridge| bridge.vtep() == Some(peer.vtep())))
}

fn get_bridge<'a>(all: &BTreeMap<Name, &'a Spec>, id: &ResourceId) -> Option<&'a BridgeSpec> {
    all.get(&Kind::Bridge.name(id.clone())).and_then(|spec| match spec {
        Spec::Bridge(bridge) => Some(bridge),
        _ => None,
    })
}

fn get_port<'a>(all: &BTreeMap<Name, &'a Spec>, id: &ResourceId) -> Option<&'a PortSpec> {
    all.get(&Kind::Port.name(id.clone())).and_then(|spec| match spec {
        Spec::Port(port) => Some(port),
        _ => None,
    })
}

fn get_peer<'a>(all: &BTreeMap<Name, &'a Spec>, id: &ResourceId) -> Option<&'a TunnelPeerSpec> {
    all.get(&Kind::TunnelPeer.name(id.clone())).and_then(|spec| match spec {
        Spec::TunnelPeer(peer) => Some(peer),
        _ => None,
    })
}

fn get_vtep<'a>(all: &BTreeMap<Name, &'a Spec>, id: &ResourceId) -> Option<&'a VtepSpec> {
    all.get(&Kind::Vtep.name(id.clone())).and_then(|spec| match spec {
        Spec::Vtep(vtep) => Some(vtep),
        _ => None,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let sets = prop::sample::select(vec!["x", "y"]);
    let flags = (prop::bool::weighted(0.3), prop::bool::ANY);
    let apply = (sets, prop::collection::vec(any_desired(), 0..5), flags).prop_map(
        |(name, resources, (prune, take_over))| {
            Operation::Apply(Apply { set: set(name), resources, prune, take_over })
        },
    );
    // The lab again, with few things in it changed: most of these are valid.
    let changed = prop::collection::vec(any_desired(), 1..3).prop_map(|resources| {
        let kept =
            lab().into_iter().filter(|kept| resources.iter().all(|changed| changed.name() != kept.name()));
        let resources = kept.collect::<Vec<_>>().into_iter().chain(resources.clone()).collect();
        Operation::Apply(Apply { take_over: true, ..super::apply("x", resources) })
    });
    prop_oneof![
        4 => changed,
        2 => any_desired().prop_map(Operation::Create),
        4 => any_desired().prop_map(Operation::Update),
        2 => any_desired().prop_map(|desired| Operation::Delete { name: desired.name(), etag: desired.etag }),
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
        fits(&next.iter().map(|(name, (spec, _))| (name.clone(), spec)).collect()).then_some(next)
    }

    fn take(state: &State) -> Oracle {
        let entry = |resource: &Resource| {
            let spec = match resource {
                Resource::Bridge(stored) => Spec::Bridge(stored.spec.clone()),
                Resource::FdbEntry(stored) => Spec::FdbEntry(stored.spec.clone()),
                Resource::FlowRule(stored) => Spec::FlowRule(stored.spec.clone()),
                Resource::Port(stored) => Spec::Port(stored.spec.clone()),
                Resource::TunnelPeer(stored) => Spec::TunnelPeer(stored.spec.clone()),
                Resource::Vtep(stored) => Spec::Vtep(stored.spec.clone()),
            };
            (resource.name(), (spec, resource.meta().apply_set.clone(), resource.meta().etag()))
        };
        Oracle { resources: state.resources().map(entry).collect() }
    }
}

/// Every index says what a search through all resources says.
fn check_indexes(state: &State) -> Result<(), TestCaseError> {
    let all: Vec<&Resource> = state.resources().collect();
    for resource in &all {
        let name = resource.name();
        let found: Vec<Name> = state.referrers(&name).cloned().collect();
        let refers = |by: &&&Resource| by.references().iter().any(|(_, to)| *to == name);
        let expected: Vec<Name> = all.iter().filter(refers).map(|by| by.name()).collect();
        prop_assert_eq!(&found, &expected);
        for &kind in Kind::ALL {
            let found: Vec<&ResourceId> = state.referrers_of(&name, kind).collect();
            let expected = expected.iter().filter(|by| by.kind == kind).map(|by| &by.id);
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
        for claim in resource.claims() {
            prop_assert_eq!(state.holders(&claim).collect::<Vec<_>>(), [resource.id()]);
        }
        prop_assert!(state.object(resource).is_some());
    }
    for &kind in Kind::ALL {
        prop_assert_eq!(state.count(kind), all.iter().filter(|resource| resource.kind() == kind).count());
    }
    for bridge in state.after::<BridgeSpec>(None) {
        prop_assert_eq!(state.bridge_of_policy(bridge.policy_id()), Some(bridge));
    }
    let rules: Vec<_> = state.flow_rules_after(None).collect();
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

/// What came of the transactions of all runs.
#[derive(Debug, Default)]
struct Reached {
    accepted: BTreeMap<(Kind, &'static str), usize>,
    refused: BTreeSet<&'static str>,
}

impl Reached {
    fn count(&mut self, changes: &[Change]) {
        for change in changes {
            let action = match change.action() {
                Action::Create => "create",
                Action::Update => "update",
                Action::Delete => "delete",
                Action::Unchanged => "nothing",
            };
            if let Some(name) = change.name() {
                *self.accepted.entry((name.kind, action)).or_default() += 1;
            }
        }
    }

    fn refused(&mut self, rejection: &Rejection) {
        self.refused.extend(rejection.violations.iter().map(|violation| match &violation.reason {
            Reason::NoReference(_) => "no reference",
            Reason::Referenced { .. } => "referenced",
            Reason::DeviceInUse(_) => "device",
            Reason::InUse { what, .. } => what,
            Reason::Unfit { why, .. } => why,
            Reason::Mtu { .. } => "mtu",
            _ => "other",
        }));
    }
}

fn run(operations: Vec<Operation>, reached: &mut Reached) -> Result<(), TestCaseError> {
    let mut state = State::default();
    let mut uids = BTreeSet::new();
    for operation in operations {
        let expected = Oracle::take(&state).step(&operation);
        let outcome = match step(&state, operation.clone()) {
            Err(rejection) => {
                prop_assert!(expected.is_none(), "refused for {}: {:?}", rejection, operation);
                prop_assert!(!rejection.violations.is_empty());
                reached.refused(&rejection);
                continue;
            }
            Ok(outcome) => outcome,
        };
        let Some(expected) = expected else {
            return Err(TestCaseError::fail(format!("accepted: {operation:?}")));
        };
        let found = Oracle::take(&outcome.state).resources;
        let found: BTreeMap<_, _> = found.into_iter().map(|(n, (spec, set, _))| (n, (spec, set))).collect();
        prop_assert_eq!(found, expected);
        for change in outcome.changes.iter().filter(|change| change.action() == Action::Create) {
            let resource = change.after.as_ref().expect("created");
            prop_assert!(uids.insert(resource.meta().uid), "a uid was handed out twice");
        }
        reached.count(&outcome.changes);
        check_indexes(&outcome.state)?;
        prop_assert_eq!(check_whole(&outcome.state), Ok(()));
        state = outcome.state;
    }
    let restored = State::restore(state.revision(), state.last_uid(), state.resources().cloned());
    check_indexes(&restored)
}

#[test]
fn any_sequence_of_transactions_does_what_a_plain_map_does() {
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let reached = RefCell::new(Reached::default());
    let sequences =
        (any::<bool>(), prop::collection::vec(operation(), 1..24)).prop_map(|(built, mut operations)| {
            if built {
                operations.insert(0, Operation::Apply(apply("x", lab())));
            }
            operations
        });
    let done = runner.run(&sequences, |operations| run(operations, &mut reached.borrow_mut()));
    done.unwrap_or_else(|error| panic!("{error}"));
    let reached = reached.into_inner();
    for &kind in Kind::ALL {
        for action in ["create", "update", "delete"] {
            let count = reached.accepted.get(&(kind, action)).copied().unwrap_or_default();
            assert!(count >= 10, "{kind:?} {action}: {count} in {:?}", reached.accepted);
        }
    }
    // Every rule refused something: references, six claims, the four places, the mtu.
    assert!(reached.refused.len() >= 15, "{:?}", reached.refused);
}
