//! What the datapath tells: to an agent of this version, and to one of the version before.

use std::time::Duration;

use nic_policy::{
    Alarm, AlarmReason, AuditCount, AuditFinding, AuditReport, BridgeId, Discrepancy, FdbView, NeighborState,
    NeighborView, Network, RuleStats, VtepId,
};

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
    (proptest::collection::vec(port, 0..3), stages, any::<[u64; 24]>()).prop_map(|(ports, stages, n)| Stats {
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
        rules: RuleStats {
            lost_hits: n[15],
            reinstalled: n[16],
            postponed: n[17],
            destroy_failures: n[18],
            query_failures: n[19],
            strays_removed: n[20],
            waiting: n[21],
            stuck: n[22],
            unreadable: n[23],
        },
    })
}

fn any_audit() -> impl Strategy<Value = AuditReport> {
    let count = (1u64.., any::<u64>()).prop_map(|(found, repaired)| AuditCount { found, repaired });
    let count = prop_oneof![Just(AuditCount::default()), count];
    let counts = proptest::collection::vec(count, Discrepancy::COUNT);
    let finding =
        (proptest::sample::select(Discrepancy::ALL), proptest::option::of(any_match()), any::<bool>())
            .prop_map(|(discrepancy, matches, repaired)| AuditFinding { discrepancy, matches, repaired });
    let findings = proptest::collection::vec(finding, 0..4);
    (counts, findings, any::<[u64; 4]>(), proptest::option::of(any_duration())).prop_map(
        |(counts, findings, [flows, rules, lost_rule_hits, rules_reinstalled], last_reinstalled)| {
            AuditReport {
                flows,
                rules,
                counts: std::array::from_fn(|at| counts[at]),
                findings,
                lost_rule_hits,
                rules_reinstalled,
                last_reinstalled,
            }
        },
    )
}

fn any_alarm() -> impl Strategy<Value = Alarm> {
    let reason = proptest::sample::select(AlarmReason::ALL);
    (reason, proptest::option::of(any_port()), any_duration(), any::<String>())
        .prop_map(|(reason, port, since, text)| Alarm { reason, port, since, text })
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
        prop_assert_eq!(flow_from(&flow_to(&flow)), Ok(flow));
    }

    #[test]
    fn a_trace_arrives_as_it_was(report in any_trace()) {
        let told = trace_from(&trace_to(&report));
        prop_assert_eq!(told, Ok(report));
    }

    #[test]
    fn counters_arrive_as_they_were(stats in any_stats()) {
        prop_assert_eq!(stats_from(&stats_to(&stats)), Ok(stats));
    }

    #[test]
    fn what_an_audit_found_arrives_as_it_was(report in any_audit()) {
        prop_assert_eq!(audit_from(&audit_to(&report)), Ok(report));
    }

    #[test]
    fn what_was_learned_arrives_as_it_was(entry in any_fdb(), neighbor in any_neighbor()) {
        prop_assert_eq!(fdb_from(&fdb_to(&entry)), Ok(entry));
        prop_assert_eq!(neighbor_from(&neighbor_to(&neighbor)), Ok(neighbor));
    }

    #[test]
    fn a_capability_table_arrives_as_it_was(table in any_table()) {
        prop_assert_eq!(capabilities_from(&capabilities_to(&table)), Ok(table));
    }

    #[test]
    fn an_alarm_arrives_as_it_was(alarm in any_alarm()) {
        prop_assert_eq!(alarm_from(&alarm_to(&alarm)), Ok(alarm));
    }
}

#[test]
fn an_alarm_of_an_unknown_reason_is_refused() {
    let unknown = pb::Alarm { reason: "moon.full".to_owned(), ..pb::Alarm::default() };
    let error = alarm_from(&unknown).unwrap_err();
    assert_eq!((error.field, error.problem), ("reason", Problem::Unknown("moon.full".to_owned())));
    let far = pb::Alarm { reason: "device.absent".to_owned(), port: Some(1 << 16), ..pb::Alarm::default() };
    assert_eq!(alarm_from(&far).unwrap_err().problem, Problem::Range);
}

#[test]
fn only_an_agent_that_knows_alarms_is_told_of_them() {
    let alarms = pb::event::Kind::Alarms(pb::Alarms::default());
    assert!(Schema(3).knows(&alarms) && !Schema(2).knows(&alarms));
    assert!(Schema(2).knows(&pb::event::Kind::Applied(pb::Applied::default())));
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
    assert_eq!(with(pb::Verdict::Unspecified, ""), Problem::Missing);
    assert_eq!(with(pb::Verdict::Local, "port.disabled"), Problem::Misplaced("port.disabled"));
    assert_eq!(with(pb::Verdict::Pass, "no.reason"), Problem::Unknown("no.reason".to_owned()));
}
