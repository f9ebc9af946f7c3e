use std::time::Duration;

use nic_api::Role;
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, ActionList, Counters, Field, FlowKey, FlowMask, MacAddr, Match, PortId, Shape};
use nic_policy::capability::SoftwareReason;
use nic_policy::{
    Alarm, AlarmReason, AuditFinding, AuditReport, BridgeId, Capability, CapabilityTable, Device,
    Discrepancy, DropReason, FlowRuleId, FlowView, ObjectId, Offload, PortStats, Revision, Stage, Step,
    Trace, TracePacket, TraceReport, Verdict,
};
use nic_proto::v1 as pb;
use pb::alarm::Severity;
use pb::capability_service_client::CapabilityServiceClient;
use pb::flow_service_client::FlowServiceClient;
use pb::stats_service_client::StatsServiceClient;
use pb::status_service_client::StatusServiceClient;
use pb::trace_service_client::TraceServiceClient;
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::lab::{Lab, failure};

fn device(name: &str) -> PortId {
    name.parse().expect("a device")
}

fn connect(lab: &Lab) {
    lab.datapath.view.lock().expect("not poisoned").connected = true;
}

/// A flow from `p0` by the rule `out`, whose policy id is 3.
fn flow(offload: Offload) -> FlowView {
    let key = FlowKey::ZERO.with(Field::InPort, device("p0").bits().into());
    FlowView {
        matches: Match::new(key, Shape::Port.mask()),
        actions: ActionList::from_slice(&[Action::Output(device("pf0vf0"))]).expect("fits"),
        dropped: None,
        shape: Shape::Port,
        offload,
        software: Counters { packets: 1, bytes: 60 },
        hardware: Counters { packets: 9, bytes: 540 },
        age: Duration::from_millis(1500),
        idle: Duration::from_millis(20),
        objects: vec![ObjectId::Port(device("p0")), ObjectId::FlowRule(FlowRuleId(3))],
    }
}

async fn flows(lab: &Lab, request: pb::ListFlowsRequest) -> Vec<pb::Flow> {
    let mut client = FlowServiceClient::new(lab.channel.clone());
    let mut stream = client.list_flows(request).await.expect("listed").into_inner();
    let mut flows = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        flows.extend(message.flows);
    }
    flows
}

#[tokio::test]
async fn flows_are_listed_with_names_of_resources_and_flushed() {
    let lab = Lab::with_ports().await;
    lab.create_rule("out", "in_port=pf0,actions=vm1").await.expect("created");
    connect(&lab);
    *lab.datapath.flows.lock().expect("not poisoned") =
        vec![flow(Offload::Hardware), flow(Offload::Software(SoftwareReason::Refused(Refusal::Full)))];
    let all = flows(&lab, pb::ListFlowsRequest::default()).await;
    assert_eq!(all.len(), 2);
    let first = &all[0];
    assert_eq!((first.packets, first.bytes, first.hardware_packets), (10, 600, 9));
    assert_eq!((first.r#match.as_str(), first.actions.as_str()), ("in_port=p0", "output(pf0vf0)"));
    assert_eq!(first.resources, ["ports/pf0", "flowRules/out"]);
    assert_eq!((first.in_port.as_str(), first.tier()), ("ports/pf0", pb::FlowTier::Hardware));
    assert_eq!(first.age, Some(pbjson_types::Duration { seconds: 1, nanos: 500_000_000 }));
    let software =
        pb::ListFlowsRequest { tier: pb::FlowTier::Software.into(), in_port: "ports/pf0".to_owned() };
    let software = flows(&lab, software).await;
    assert_eq!(software.len(), 1);
    assert_eq!(software[0].software_reason, "card_full");
    let mut client = FlowServiceClient::new(lab.channel.clone());
    let elsewhere = pb::FlushFlowsRequest { in_port: "ports/vm1".to_owned() };
    assert_eq!(client.flush_flows(elsewhere).await.expect("flushed").into_inner().flushed, 0);
    assert_eq!(
        client.flush_flows(pb::FlushFlowsRequest::default()).await.expect("flushed").into_inner().flushed,
        2
    );
    let unknown = pb::FlushFlowsRequest { in_port: "ports/vm7".to_owned() };
    assert_eq!(failure(client.flush_flows(unknown).await).0, Code::NotFound);
}

#[tokio::test]
async fn an_audit_tells_what_differs_and_how_much_remains() {
    let lab = Lab::with_ports().await;
    let mut client = FlowServiceClient::new(lab.channel.clone());
    let unavailable = failure(client.audit_flows(pb::AuditFlowsRequest::default()).await).0;
    assert_eq!(unavailable, Code::Unavailable);
    connect(&lab);
    let clean = client.audit_flows(pb::AuditFlowsRequest::default()).await.expect("audited").into_inner();
    assert_eq!(clean, pb::AuditFlowsResponse::default());
    let mut report = AuditReport {
        rules: 3,
        findings: vec![AuditFinding {
            discrepancy: Discrepancy::Missing,
            matches: Some(flow(Offload::Hardware).matches),
            repaired: false,
        }],
        last_reinstalled: Some(Duration::from_secs(5)),
        ..AuditReport::default()
    };
    report.counts[Discrepancy::Missing.index()].found = 2;
    *lab.datapath.audit.lock().expect("not poisoned") = report;
    let told = client.audit_flows(pb::AuditFlowsRequest::default()).await.expect("audited").into_inner();
    assert_eq!((told.rules, told.remaining, told.counts.len()), (3, 2, 1));
    assert_eq!((told.counts[0].discrepancy.as_str(), told.counts[0].found), ("missing", 2));
    assert_eq!(told.findings[0].r#match, "in_port=p0");
    assert!(told.last_reinstalled.is_some());
    let repair = pb::AuditFlowsRequest { repair: true };
    let told = client.audit_flows(repair).await.expect("audited").into_inner();
    assert_eq!((told.remaining, told.counts[0].repaired), (0, 2));
}

#[tokio::test]
async fn a_viewer_audits_and_repairs_nothing() {
    let lab = Lab::with_role(Role::Viewer).await;
    connect(&lab);
    let mut client = FlowServiceClient::new(lab.channel.clone());
    client.audit_flows(pb::AuditFlowsRequest::default()).await.expect("audited");
    let (code, reason, _) = failure(client.audit_flows(pb::AuditFlowsRequest { repair: true }).await);
    assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "ROLE_NOT_PERMITTED"));
}

#[tokio::test]
async fn a_trace_tells_every_step_in_the_names_of_resources() {
    let lab = Lab::with_ports().await;
    lab.create_rule("out", "in_port=pf0,tcp,tp_dst=80,actions=vm1").await.expect("created");
    connect(&lab);
    let key = FlowKey::ZERO.with(Field::InPort, device("p0").bits().into());
    let read = FlowMask::exact(Field::InPort);
    let step = |stage, object, verdict| Step { stage, objects: vec![object], read, verdict };
    let trace = Trace {
        key,
        steps: vec![
            step(Stage::Ingress, ObjectId::Port(device("p0")), Verdict::Pass),
            step(Stage::FlowRules, ObjectId::FlowRule(FlowRuleId(3)), Verdict::Drop(DropReason::RuleDrop)),
        ],
        actions: ActionList::new(),
        read,
        shape: Shape::Port,
        offload: Offload::Hardware,
        verdict: Verdict::Drop(DropReason::RuleDrop),
    };
    *lab.datapath.trace.lock().expect("not poisoned") = Some(TraceReport { revision: Revision(3), trace });
    let mut client = TraceServiceClient::new(lab.channel.clone());
    let key = "tcp,nw_src=10.0.0.1,tp_dst=80".to_owned();
    let request = |packet| pb::TraceRequest { in_port: "ports/pf0".to_owned(), packet: Some(packet) };
    let answer =
        client.trace(request(pb::trace_request::Packet::Key(key))).await.expect("traced").into_inner();
    assert_eq!(
        (answer.verdict(), answer.drop_reason.as_str()),
        (pb::trace_response::Verdict::Drop, "flow_rules.drop")
    );
    assert_eq!(answer.steps[0].resources, ["ports/pf0"]);
    assert_eq!(
        (answer.steps[1].stage.as_str(), answer.steps[1].resources[0].as_str()),
        ("flow_rules", "flowRules/out")
    );
    assert_eq!(
        (answer.mask.as_str(), answer.megaflow.as_str(), answer.shape.as_str()),
        ("in_port=p0", "in_port=p0", "port")
    );
    let Some(TracePacket::Key(key)) = lab.datapath.traced.lock().expect("not poisoned").clone() else {
        panic!("a key")
    };
    assert_eq!(
        (key.in_port(), key.get(Field::L4Dst), key.get(Field::IpSrc)),
        (device("p0"), 80, 0x0a00_0001)
    );
    let bad = pb::trace_request::Packet::Key("tp_dst=80".to_owned());
    let found = failure(client.trace(request(bad)).await);
    assert_eq!(found.2, [("key".to_owned(), "PACKET_INVALID".to_owned())]);
    let nothing = pb::TraceRequest { in_port: "ports/pf0".to_owned(), packet: None };
    assert_eq!(failure(client.trace(nothing).await).2, [("packet".to_owned(), "FIELD_REQUIRED".to_owned())]);
}

#[tokio::test]
async fn a_trace_of_what_waits_or_is_for_the_agent_names_no_megaflow() {
    let lab = Lab::with_overlay().await;
    connect(&lab);
    let bridge = ObjectId::Bridge(BridgeId(lab.uid_of("bridges/red").await));
    for (stage, verdict, expected) in [
        (Stage::Tunnel, Verdict::Local, pb::trace_response::Verdict::Local),
        (Stage::Bridge, Verdict::Wait, pb::trace_response::Verdict::Wait),
    ] {
        let read = FlowMask::exact(Field::InPort);
        let trace = Trace {
            key: FlowKey::ZERO,
            steps: vec![Step { stage, objects: vec![bridge], read, verdict }],
            actions: ActionList::new(),
            read,
            shape: Shape::Port,
            offload: Offload::Hardware,
            verdict,
        };
        *lab.datapath.trace.lock().expect("not poisoned") =
            Some(TraceReport { revision: Revision(1), trace });
        let packet = Some(pb::trace_request::Packet::Frame(vec![0; 60]));
        let request = pb::TraceRequest { in_port: "ports/vm1".to_owned(), packet };
        let mut client = TraceServiceClient::new(lab.channel.clone());
        let answer = client.trace(request).await.expect("traced").into_inner();
        assert_eq!((answer.verdict(), answer.drop_reason.as_str()), (expected, ""));
        assert_eq!((answer.megaflow.as_str(), answer.tier()), ("", pb::FlowTier::Unspecified));
        assert_eq!((answer.steps[0].stage.as_str(), answer.mask.is_empty()), (stage.name(), false));
        assert_eq!(answer.steps[0].resources, ["bridges/red"]);
    }
}

#[tokio::test]
async fn without_the_datapath_its_questions_are_unavailable_and_the_status_says_why() {
    let lab = Lab::with_ports().await;
    lab.datapath.view.lock().expect("not poisoned").error = Some("no such socket".to_owned());
    let unavailable = (Code::Unavailable, "DATAPATH_UNAVAILABLE".to_owned(), vec![]);
    let channel = || lab.channel.clone();
    assert_eq!(
        failure(StatsServiceClient::new(channel()).get_stats(pb::GetStatsRequest {}).await),
        unavailable
    );
    let capabilities =
        CapabilityServiceClient::new(channel()).get_capabilities(pb::GetCapabilitiesRequest {}).await;
    assert_eq!(failure(capabilities), unavailable);
    let flows = FlowServiceClient::new(channel()).flush_flows(pb::FlushFlowsRequest::default()).await;
    assert_eq!(failure(flows), unavailable);
    let status = StatusServiceClient::new(channel())
        .get_status(pb::GetStatusRequest {})
        .await
        .expect("answers")
        .into_inner();
    assert_eq!((status.version.as_str(), status.revision, status.applied_revision), ("1.2.3", 2, 0));
    let datapath = status.datapath.expect("a datapath");
    assert_eq!((datapath.connected, datapath.last_error.as_str()), (false, "no such socket"));
    let devices: Vec<_> =
        status.devices.iter().map(|d| (d.device.as_str(), d.present, d.port.as_str())).collect();
    assert_eq!(devices, [("p0", false, "ports/pf0"), ("pf0vf0", false, "ports/vm1")]);
}

#[tokio::test]
async fn alarms_of_both_processes_stand_together_with_names_of_resources() {
    let lab = Lab::with_ports().await;
    let status = async || {
        let answer = StatusServiceClient::new(lab.channel.clone()).get_status(pb::GetStatusRequest {}).await;
        answer.expect("answers").into_inner()
    };
    let told = |status: &pb::SystemStatus| -> Vec<(String, String)> {
        status.alarms.iter().map(|alarm| (alarm.reason.clone(), alarm.object.clone())).collect()
    };
    let of = |reason: &str, object: &str| (reason.to_owned(), object.to_owned());

    lab.datapath.view.lock().expect("not poisoned").error = Some("no such socket".to_owned());
    let away = status().await;
    assert_eq!((told(&away), away.healthy), (vec![of("datapath.away", "")], false));
    assert_eq!(
        (away.alarms[0].severity(), away.alarms[0].text.as_str()),
        (Severity::Critical, "no such socket")
    );
    assert_eq!(status().await.alarms, away.alarms, "it is as old as before");

    // A datapath that says itself which devices are absent, and one that is not in step yet.
    let alarm = |reason, port: Option<&str>| Alarm {
        reason,
        port: port.map(device),
        since: Duration::from_secs(1_700_000_000),
        text: "as told".to_owned(),
    };
    connect(&lab);
    {
        let mut view = lab.datapath.view.lock().expect("not poisoned");
        view.error = None;
        view.devices.clear();
        view.alarms = vec![
            alarm(AlarmReason::DeviceAbsent, Some("pf0vf0")),
            alarm(AlarmReason::RulesLost, None),
            alarm(AlarmReason::DeviceAbsent, Some("pf0vf9")),
            alarm(AlarmReason::PolicyFromDisk, None),
        ];
    }
    let absent = status().await;
    let expected = [
        of("rules.lost", ""),
        of("device.absent", "ports/vm1"),
        of("device.absent", "pf0vf9"),
        of("port.absent", "ports/pf0"),
        of("policy.from_disk", ""),
    ];
    assert_eq!((told(&absent).as_slice(), absent.healthy), (expected.as_slice(), false));
    assert_eq!(absent.alarms[0].since.as_ref().map(|since| since.seconds), Some(1_700_000_000));

    // Information leaves the card healthy; a refused policy is no loss of the datapath.
    lab.datapath.view.lock().expect("not poisoned").alarms = vec![alarm(AlarmReason::PolicyFromDisk, None)];
    let devices =
        ["p0", "pf0vf0"].map(|name| Device { port: device(name), link_up: true, mtu: 0, mac: MacAddr::ZERO });
    lab.datapath.view.lock().expect("not poisoned").devices = devices.to_vec();
    let well = status().await;
    assert_eq!((told(&well), well.healthy), (vec![of("policy.from_disk", "")], true));
    {
        let mut view = lab.datapath.view.lock().expect("not poisoned");
        (view.connected, view.refused) = (false, Some("object 7".to_owned()));
        view.alarms.clear();
    }
    assert_eq!(told(&status().await), [of("datapath.refused", "")]);
}

#[tokio::test]
async fn counters_and_capabilities_are_told_by_their_stable_names() {
    let lab = Lab::with_ports().await;
    connect(&lab);
    {
        let mut stats = lab.datapath.stats.lock().expect("not poisoned");
        for (name, packets) in [("p0", 5), ("pf0vf7", 7)] {
            let mut port = PortStats::new(device(name));
            port.slow_path = Counters { packets, bytes: packets * 60 };
            port.drops[DropReason::NoRule.index()] = 1;
            (port.flows, port.rules, port.evicted, port.rules_evicted) = (2, 1, 21, 22);
            (port.busy, port.flooded) = (Duration::from_micros(packets), 23);
            stats.ports.push(port);
        }
        stats.flows = 3;
        stats.stages[Stage::FlowRules.index()].dropped = 2;
        stats.stages[Stage::Bridge.index()].held = 4;
        (stats.fdb_entries, stats.fdb_moved, stats.flooded, stats.solicited) = (11, 12, 13, 14);
    }
    *lab.datapath.capabilities.lock().expect("not poisoned") = CapabilityTable {
        driver: "net_eswitch".to_owned(),
        dpdk_version: "DPDK 22.11".to_owned(),
        rows: vec![Capability {
            shape: Shape::FiveTuple,
            action: ActionKind::PushVlan,
            ipv6: true,
            refused: Some(Refusal::Action(ActionKind::PushVlan)),
        }],
    };
    let mut client = StatsServiceClient::new(lab.channel.clone());
    let stats = client.get_stats(pb::GetStatsRequest {}).await.expect("counted").into_inner();
    assert_eq!((stats.ports[0].port.as_str(), stats.ports[1].port.as_str()), ("ports/pf0", ""));
    assert_eq!(stats.slow_path.map(|sum| (sum.packets, sum.bytes)), Some((12, 720)));
    let port = &stats.ports[1];
    assert_eq!((port.flows, port.rules, port.evicted, port.rules_evicted), (2, 1, 21, 22));
    assert_eq!((port.busy_nanoseconds, port.flooded), (7000, 23));
    assert_eq!(stats.drops, [pb::DropCount { reason: "flow_rules.no_match".to_owned(), packets: 2 }]);
    assert_eq!((stats.stages[2].stage.as_str(), stats.stages[2].dropped), ("flow_rules", 2));
    assert_eq!((stats.stages[3].stage.as_str(), stats.stages[3].held), ("bridge", 4));
    let bridges = stats.bridges.expect("bridges");
    assert_eq!((bridges.fdb_entries, bridges.moved, bridges.flooded), (11, 12, 13));
    assert_eq!(stats.neighbors.map(|neighbors| neighbors.solicited), Some(14));
    let mut client = CapabilityServiceClient::new(lab.channel.clone());
    let table = client.get_capabilities(pb::GetCapabilitiesRequest {}).await.expect("told").into_inner();
    let row = &table.rows[0];
    assert_eq!(
        (row.shape.as_str(), row.action.as_str(), row.ip_version, row.supported),
        ("5-tuple", "push_vlan", 6, false)
    );
    assert!(!row.reason.is_empty());
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    let lab = Lab::new().await;
    let mut health = HealthClient::new(lab.channel.clone());
    for service in ["", "nic.v1.PortService", "nic.v1.StatusService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let mut reflection = ServerReflectionClient::new(lab.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut stream =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.expect("answers").into_inner();
    let answer = stream.message().await.expect("a message").and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("a list: {answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"nic.v1.ConfigService".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("datapath")), "{names:?}");
}
