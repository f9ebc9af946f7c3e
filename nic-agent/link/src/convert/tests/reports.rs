//! What the datapath tells: to an agent of this version, and to one of the version before.

use std::time::Duration;

use nic_policy::{Attachment, Bridge, BridgeId, FdbView, NeighborState, NeighborView, Network, VtepId};

use super::*;

fn any_duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn any_counters() -> impl Strategy<Value = Counters> {
    any::<[u64; 2]>().prop_map(|[packets, bytes]| Counters { packets, bytes })
}

fn any_mask() -> impl Strategy<Value = FlowMask> {
    any_match().prop_map(|matches| *matches.mask())
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Local),
        Just(Verdict::Wait),
        proptest::sample::select(DropReason::ALL).prop_map(Verdict::Drop),
    ]
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        proptest::sample::select(Field::ALL).prop_map(Refusal::Field),
        proptest::sample::select(ActionKind::ALL).prop_map(Refusal::Action),
        proptest::sample::select(Shape::ALL).prop_map(Refusal::Shape),
        any_port().prop_map(Refusal::NoPort),
        any::<(u16, i32)>().prop_map(|(index, errno)| Refusal::DriverItem { index, errno: Errno(errno) }),
        any::<(u16, i32)>().prop_map(|(index, errno)| Refusal::DriverAction { index, errno: Errno(errno) }),
        any::<i32>().prop_map(|errno| Refusal::Driver(Errno(errno))),
        Just(Refusal::ManyOutputs),
        Just(Refusal::Full),
        Just(Refusal::Busy),
        Just(Refusal::Exists),
    ]
}

fn any_offload() -> impl Strategy<Value = Offload> {
    prop_oneof![
        Just(Offload::Pending),
        Just(Offload::Hardware),
        Just(Offload::Software(SoftwareReason::Quota)),
        Just(Offload::Software(SoftwareReason::Overlap)),
        Just(Offload::Software(SoftwareReason::Disabled)),
        any_refusal().prop_map(|refusal| Offload::Software(SoftwareReason::Refused(refusal))),
    ]
}

fn any_objects() -> impl Strategy<Value = Vec<ObjectId>> {
    proptest::collection::vec(bridging::any_id(), 0..3)
}

fn any_flow() -> impl Strategy<Value = FlowView> {
    let actions = proptest::collection::vec(any_action(), 0..4);
    let dropped = proptest::option::of(proptest::sample::select(DropReason::ALL));
    let shape = proptest::sample::select(Shape::ALL);
    let times = (any_duration(), any_duration());
    let counters = (any_counters(), any_counters());
    (any_match(), actions, dropped, shape, any_offload(), counters, times, any_objects()).prop_map(
        |(matches, actions, dropped, shape, offload, (software, hardware), (age, idle), objects)| FlowView {
            matches,
            actions: actions.into_iter().collect(),
            dropped,
            shape,
            offload,
            software,
            hardware,
            age,
            idle,
            objects,
        },
    )
}

fn any_trace() -> impl Strategy<Value = TraceReport> {
    let step = (proptest::sample::select(Stage::ALL), any_objects(), any_mask(), any_verdict())
        .prop_map(|(stage, objects, read, verdict)| Step { stage, objects, read, verdict });
    let steps = proptest::collection::vec(step, 0..5);
    let actions = proptest::collection::vec(any_action(), 0..4);
    let shape = proptest::sample::select(Shape::ALL);
    let key =
        any::<[u64; nic_flow::field::WORDS]>().prop_map(|words| FlowKey::from_words(words) & FlowMask::ALL);
    (any::<u64>(), key, steps, actions, any_mask(), shape, any_offload(), any_verdict()).prop_map(
        |(revision, key, steps, actions, read, shape, offload, verdict)| TraceReport {
            revision: Revision(revision),
            trace: Trace {
                key,
                steps,
                actions: actions.into_iter().collect(),
                read,
                shape,
                offload,
                verdict,
            },
        },
    )
}

fn any_stats() -> impl Strategy<Value = Stats> {
    let stage = any::<[u64; 3]>();
    let stages = proptest::collection::vec(stage, Stage::COUNT).prop_map(|stages| {
        let stage =
            |at: usize| StageStats { passed: stages[at][0], dropped: stages[at][1], held: stages[at][2] };
        std::array::from_fn(stage)
    });
    let drops = proptest::collection::vec(any::<u64>(), DropReason::COUNT);
    let port = (any_port(), any::<bool>(), any_counters(), any_counters(), any::<[u64; 8]>(), drops)
        .prop_map(|(port, present, slow_path, hardware, n, drops)| PortStats {
            present,
            slow_path,
            hardware,
            sent: hardware,
            upcalls: n[0],
            cache_hits: n[1],
            flows: n[2],
            rules: n[3],
            evicted: n[4],
            rules_evicted: n[5],
            busy: Duration::from_nanos(n[6]),
            flooded: n[7],
            drops: std::array::from_fn(|at| drops[at]),
            ..PortStats::new(port)
        });
    (proptest::collection::vec(port, 0..3), stages, any::<[u64; 15]>()).prop_map(|(ports, stages, n)| Stats {
        ports,
        stages,
        flows: n[0],
        flows_in_hardware: n[1],
        rules_created: n[2],
        rules_destroyed: n[3],
        rules_refused: n[4],
        revalidated: n[5],
        cache_full: n[6],
        fdb_entries: n[7],
        fdb_learned: n[8],
        fdb_moved: n[9],
        fdb_aged: n[10],
        fdb_refused: n[11],
        flooded: n[12],
        answered: n[13],
        solicited: n[14],
    })
}

fn any_fdb() -> impl Strategy<Value = FdbView> {
    (any::<u64>(), any_mac(), bridging::any_place(), proptest::option::of(any_duration()))
        .prop_map(|(bridge, mac, place, idle)| FdbView { bridge: BridgeId(bridge), mac, place, idle })
}

fn any_neighbor() -> impl Strategy<Value = NeighborView> {
    let network = any::<(u64, bool)>().prop_map(|(id, underlay)| {
        if underlay { Network::Underlay(VtepId(id)) } else { Network::Bridge(BridgeId(id)) }
    });
    let state = proptest::sample::select(NeighborState::ALL);
    (network, any::<IpAddr>(), proptest::option::of(any_mac()), state, any_duration())
        .prop_map(|(network, address, mac, state, age)| NeighborView { network, address, mac, state, age })
}

fn any_table() -> impl Strategy<Value = CapabilityTable> {
    let row = (
        proptest::sample::select(Shape::ALL),
        proptest::sample::select(ActionKind::ALL),
        any::<bool>(),
        proptest::option::of(any_refusal()),
    )
        .prop_map(|(shape, action, ipv6, refused)| Capability { shape, action, ipv6, refused });
    proptest::collection::vec(row, 0..20)
        .prop_map(|rows| CapabilityTable { rows, ..CapabilityTable::default() })
}

proptest! {
    #[test]
    fn a_flow_arrives_as_it_was(flow in any_flow()) {
        prop_assert_eq!(flow_from(&Schema::NEWEST.flow(flow_to(&flow))), Ok(flow));
    }

    #[test]
    fn a_trace_arrives_as_it_was(report in any_trace()) {
        let told = trace_from(&Schema::NEWEST.trace(trace_to(&report)));
        prop_assert_eq!(told, Ok(report));
    }

    #[test]
    fn counters_arrive_as_they_were(stats in any_stats()) {
        prop_assert_eq!(stats_from(&Schema::NEWEST.stats(stats_to(&stats))), Ok(stats));
    }

    #[test]
    fn what_was_learned_arrives_as_it_was(entry in any_fdb(), neighbor in any_neighbor()) {
        prop_assert_eq!(fdb_from(&fdb_to(&entry)), Ok(entry));
        prop_assert_eq!(neighbor_from(&neighbor_to(&neighbor)), Ok(neighbor));
    }

    #[test]
    fn a_capability_table_arrives_as_it_was(table in any_table()) {
        prop_assert_eq!(capabilities_from(&Schema::NEWEST.capabilities(capabilities_to(&table))), Ok(table));
    }

    #[test]
    fn an_agent_of_version_1_reads_no_name_that_it_does_not_know(
        report in any_trace(),
        flow in any_flow(),
        stats in any_stats(),
        table in any_table(),
    ) {
        let first = Schema(1);
        let trace = first.trace(trace_to(&report));
        for part in trace.read.iter().chain(&trace.megaflow).chain(trace.steps.iter().flat_map(|step| &step.read)) {
            prop_assert!(FIELDS.contains(&part.field.as_str()), "{}", part.field);
        }
        prop_assert!(trace.key.iter().all(|part| FIELDS.contains(&part.field.as_str())));
        prop_assert!(trace.steps.iter().all(|step| STAGES.contains(&step.stage.as_str())));
        prop_assert!(SHAPES.contains(&trace.shape.as_str()));
        let told = trace_from(&trace);
        prop_assert!(told.is_ok(), "{told:?}");
        let flow = first.flow(flow_to(&flow));
        prop_assert!(flow.r#match.iter().all(|part| FIELDS.contains(&part.field.as_str())));
        prop_assert!(SHAPES.contains(&flow.shape.as_str()));
        let stats = first.stats(stats_to(&stats));
        prop_assert!(stats.stages.iter().all(|stage| STAGES.contains(&stage.stage.as_str())));
        let table = first.capabilities(capabilities_to(&table));
        prop_assert!(table.rows.iter().all(|row| SHAPES.contains(&row.shape.as_str())));
        prop_assert!(table.rows.iter().all(|row| ACTIONS.contains(&row.action.as_str())));
    }
}

/// The names of version 1, as it was released: never to be changed.
const STAGES: &[&str] = &["ingress", "flow_rules", "egress"];
const FIELDS: &[&str] = &[
    "in_port",
    "eth_src",
    "eth_dst",
    "vlan_count",
    "vlan_tpid",
    "vlan_tci",
    "inner_vlan_tpid",
    "inner_vlan_tci",
    "eth_type",
    "l3",
    "ip_src",
    "ip_dst",
    "ip_proto",
    "ip_tos",
    "ip_ttl",
    "ip_frag",
    "l4",
    "l4_src",
    "l4_dst",
    "tcp_flags",
    "arp_sha",
    "arp_tha",
];
const SHAPES: &[&str] = &[
    "port",
    "l2-destination",
    "l2-pair",
    "l3-destination-64",
    "l3-source-64",
    "l3-destination-16",
    "l3-source-16",
    "l3-destination-24",
    "l3-source-24",
    "l3-pair",
    "l3-protocol",
    "5-tuple",
    "full-key",
];
const ACTIONS: &[&str] = &[
    "output",
    "push_vlan",
    "pop_vlan",
    "set_vlan_vid",
    "set_vlan_pcp",
    "set_eth_src",
    "set_eth_dst",
    "set_ip_src",
    "set_ip_dst",
    "set_ip_dscp",
    "set_ip_ttl",
    "dec_ip_ttl",
    "set_l4_src",
    "set_l4_dst",
];

#[test]
fn a_datapath_of_version_1_is_told_only_what_it_knows() {
    let first = Schema(1);
    let port = Port {
        id: PortId::from_bits(1),
        enabled: true,
        source_macs: None,
        bridges: Attachment::default(),
        learning: true,
        mac_limit: 8,
        flood_budget: 8,
    };
    let attached = Attachment { access: Some(BridgeId(7)), trunk: Vec::new() };
    let rule = |matches, action| {
        let actions = [action].into_iter().collect();
        Change::Put(Object::FlowRule(FlowRule { id: FlowRuleId(1), priority: 1, matches, actions }))
    };
    let vni = Match::ANY.is(Field::Vni, 16);
    let bridge =
        Bridge { id: BridgeId(7), overlay: None, flood_unknown: true, ageing_time: 300, suppression: false };
    for (change, said) in [
        (Change::Put(Object::Port(port.clone())), true),
        (Change::Put(Object::Port(Port { bridges: attached, ..port })), false),
        (rule(Match::ANY, Action::DecIpTtl), true),
        (rule(Match::ANY, Action::SetIpEcn(1)), false),
        (rule(vni, Action::DecIpTtl), false),
        (Change::Put(Object::Bridge(bridge)), false),
    ] {
        assert_eq!(first.can_say(&change), said, "{change:?}");
        assert!(Schema::NEWEST.can_say(&change));
    }
    let gone = ObjectId::Bridge(BridgeId(7));
    assert!(first.can_say(&Change::Remove(gone)) && !first.may_have(gone) && Schema::NEWEST.may_have(gone));
    assert!(first.may_have(ObjectId::FlowRule(FlowRuleId(1))));
}

#[test]
fn what_a_datapath_of_version_1_says_of_a_packet_is_understood() {
    let drop = pb::TraceResponse {
        drop_reason: "port.disabled".to_owned(),
        steps: vec![
            pb::TraceStep { stage: "ingress".to_owned(), ..pb::TraceStep::default() },
            pb::TraceStep {
                stage: "egress".to_owned(),
                drop_reason: "port.disabled".to_owned(),
                ..pb::TraceStep::default()
            },
        ],
        shape: "port".to_owned(),
        offload: Some(pb::Offload { state: pb::offload::State::Pending.into(), ..pb::Offload::default() }),
        ..pb::TraceResponse::default()
    };
    let trace = trace_from(&drop).unwrap().trace;
    assert_eq!(trace.verdict, Verdict::Drop(DropReason::PortDisabled));
    let verdicts: Vec<_> = trace.steps.iter().map(|step| step.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Drop(DropReason::PortDisabled)]);
    let pass = pb::TraceResponse { drop_reason: String::new(), ..drop };
    assert_eq!(trace_from(&pass).unwrap().trace.verdict, Verdict::Pass);
}

#[test]
fn a_verdict_that_contradicts_its_reason_is_refused() {
    let with = |verdict: pb::Verdict, reason: &str| {
        let step = pb::TraceStep {
            stage: "ingress".to_owned(),
            verdict: verdict.into(),
            drop_reason: reason.to_owned(),
            ..pb::TraceStep::default()
        };
        let response = pb::TraceResponse { steps: vec![step], ..pb::TraceResponse::default() };
        trace_from(&response).unwrap_err().problem
    };
    assert_eq!(with(pb::Verdict::Drop, ""), Problem::Missing);
    assert_eq!(with(pb::Verdict::Local, "port.disabled"), Problem::Misplaced("port.disabled"));
    assert_eq!(with(pb::Verdict::Pass, "no.reason"), Problem::Unknown("no.reason".to_owned()));
}
