use nic_api::Role;
use nic_flow::{FlowKey, MacAddr, Match, Shape};
use nic_policy::capability::SoftwareReason;
use nic_policy::{Device, FlowRuleId, FlowView, ObjectId, Offload, Revision};
use nic_proto::v1 as pb;
use pb::condition::Status as Condition;
use pbjson_types::FieldMask;
use tonic::Code;

use crate::lab::{Lab, condition, failure, metadata, port, rule};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn violation(field: &str, reason: &str) -> (String, String) {
    (field.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_port_is_created_read_changed_and_deleted() {
    let lab = Lab::new().await;
    let created = lab.create_port("vm1", "pf0vf0").await.expect("created");
    let port = created.port.expect("a port");
    assert_eq!((created.revision, port.name.as_str()), (1, "ports/vm1"));
    let spec = port.spec.clone().expect("a spec");
    assert_eq!((spec.mtu, spec.admin_state()), (1500, pb::port_spec::AdminState::Enabled));
    let get = pb::GetPortRequest { name: "ports/vm1".to_owned() };
    let read = lab.ports().get_port(get.clone()).await.expect("there").into_inner();
    assert_eq!(read, port);

    let wanted = pb::PortSpec { mtu: 9000, device: "p9".to_owned(), ..pb::PortSpec::default() };
    let update = pb::UpdatePortRequest {
        port: Some(pb::Port { spec: Some(wanted), etag: port.etag.clone(), ..port.clone() }),
        update_mask: mask(&["spec.mtu"]),
        request_id: String::new(),
    };
    let updated = lab.ports().update_port(update.clone()).await.expect("changed").into_inner();
    let changed = updated.port.expect("a port");
    assert_eq!(updated.revision, 2);
    assert_eq!(changed.spec.as_ref().map(|spec| (spec.mtu, spec.device.as_str())), Some((9000, "pf0vf0")));
    assert_eq!(changed.metadata.as_ref().map(|meta| (meta.generation, meta.revision)), Some((2, 2)));
    let stale = lab.ports().update_port(update).await;
    assert_eq!(metadata(&stale, "resource").as_deref(), Some("ports/vm1"));
    assert_eq!(failure(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned(), vec![]));

    let delete =
        pb::DeletePortRequest { name: "ports/vm1".to_owned(), etag: changed.etag, request_id: String::new() };
    assert_eq!(lab.ports().delete_port(delete).await.expect("deleted").into_inner().revision, 3);
    assert_eq!(
        failure(lab.ports().get_port(get).await),
        (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned(), vec![])
    );
}

#[tokio::test]
async fn faults_are_named_by_field_and_reason() {
    let lab = Lab::with_ports().await;
    let bad = |spec: pb::PortSpec, id: &str| pb::CreatePortRequest {
        port_id: id.to_owned(),
        port: Some(pb::Port { spec: Some(spec), ..pb::Port::default() }),
        request_id: String::new(),
    };
    let spec = pb::PortSpec {
        device: "eth0".to_owned(),
        admin_state: 9,
        mtu: 12,
        mac_addresses: vec!["02:00:00:00:00:01".to_owned(), "nonsense".to_owned()],
        ..pb::PortSpec::default()
    };
    let expected = [
        violation("spec.device", "FIELD_MALFORMED"),
        violation("spec.mtu", "FIELD_OUT_OF_RANGE"),
        violation("spec.macAddresses[1]", "FIELD_MALFORMED"),
        violation("spec.adminState", "FIELD_MALFORMED"),
    ];
    let found = failure(lab.ports().create_port(bad(spec.clone(), "x")).await);
    assert_eq!(found, (Code::InvalidArgument, "FIELD_MALFORMED".to_owned(), expected.to_vec()));
    let found = failure(lab.ports().create_port(bad(spec, "Bad Id")).await);
    assert_eq!(found.2, [violation("portId", "NAME_INVALID")]);
    let found = failure(lab.create_port("", "p1").await);
    assert_eq!(found.2, [violation("portId", "FIELD_REQUIRED")]);
    let found = failure(lab.create_port("again", "p0").await);
    assert_eq!(found.2, [violation("spec.device", "DEVICE_IN_USE")]);
    assert_eq!(failure(lab.create_port("pf0", "p5").await).0, Code::AlreadyExists);
    let nothing = pb::CreatePortRequest { port_id: "x".to_owned(), ..pb::CreatePortRequest::default() };
    assert_eq!(failure(lab.ports().create_port(nothing).await).2, [violation("spec", "FIELD_REQUIRED")]);
    let elsewhere = pb::GetPortRequest { name: "flowRules/pf0".to_owned() };
    assert_eq!(failure(lab.ports().get_port(elsewhere).await).2, [violation("name", "NAME_INVALID")]);
    for (flow, reason) in [
        ("in_port=pf0,ip,nw_src=10.0.0.256,actions=vm1", "FLOW_SYNTAX"),
        ("in_port=pf0,actions=normal", "FLOW_UNSUPPORTED"),
        ("in_port=pf0,nw_src=10.0.0.1,actions=vm1", "FLOW_PREREQUISITE"),
        ("ip,arp,actions=vm1", "FIELD_CONFLICT"),
        ("in_port=pf9,actions=vm1", "REFERENCE_NOT_FOUND"),
        ("", "FIELD_REQUIRED"),
    ] {
        let result = lab.create_rule("bad", flow).await;
        assert_eq!(failure(result).2, [violation("spec.flow", reason)], "{flow}");
    }
    let missing = lab.create_rule("bad", "in_port=pf9,actions=vm1").await;
    assert_eq!(metadata(&missing, "reference").as_deref(), Some("ports/pf9"));
}

#[tokio::test]
async fn an_update_mask_that_names_no_field_is_refused_and_a_missing_one_replaces_all() {
    let lab = Lab::with_ports().await;
    let update = |paths: &[&str]| pb::UpdatePortRequest {
        port: Some(port("ports/vm1", "pf0vf3")),
        update_mask: mask(paths),
        request_id: String::new(),
    };
    let found =
        failure(lab.ports().update_port(update(&["spec.mtu", "spec.nonsense", "status", "name"])).await);
    let expected = [1, 2, 3].map(|n| violation(&format!("updateMask.paths[{n}]"), "UPDATE_MASK_INVALID"));
    assert_eq!(found, (Code::InvalidArgument, "UPDATE_MASK_INVALID".to_owned(), expected.to_vec()));
    let unchanged = lab.ports().update_port(update(&["spec.mtu"])).await.expect("the mtu is so").into_inner();
    assert_eq!(unchanged.revision, 2);
    let replaced = lab.ports().update_port(update(&[])).await.expect("changed").into_inner();
    assert_eq!(replaced.port.and_then(|port| port.spec).map(|spec| spec.device), Some("pf0vf3".to_owned()));
    lab.create_rule("out", "in_port=vm1,actions=pf0").await.expect("created");
    let flow_rule = pb::FlowRule {
        spec: Some(pb::FlowRuleSpec { flow: String::new(), priority: Some(7) }),
        ..rule("flowRules/out", "")
    };
    let update = pb::UpdateFlowRuleRequest {
        flow_rule: Some(flow_rule),
        update_mask: mask(&["spec.priority"]),
        request_id: String::new(),
    };
    let updated = lab.rules().update_flow_rule(update).await.expect("changed").into_inner().flow_rule;
    let effective = updated.and_then(|rule| rule.status).map(|status| status.effective);
    assert_eq!(effective.as_deref(), Some("priority=7,in_port=vm1,actions=output:pf0"));
}

#[tokio::test]
async fn updates_of_different_fields_at_the_same_time_all_come_through() {
    let lab = Lab::with_ports().await;
    let update = |path: &'static str, mtu, admin_state| {
        let spec = pb::PortSpec { mtu, admin_state, ..pb::PortSpec::default() };
        let port = pb::Port { spec: Some(spec), ..port("ports/vm1", "") };
        pb::UpdatePortRequest { port: Some(port), update_mask: mask(&[path]), request_id: String::new() }
    };
    for round in 0..10 {
        let (mut one, mut two) = (lab.ports(), lab.ports());
        let (mtu, state) = (2000 + round, i32::try_from(1 + round % 2).expect("small"));
        let (a, b) = tokio::join!(
            one.update_port(update("spec.mtu", mtu, 0)),
            two.update_port(update("spec.admin_state", 0, state))
        );
        a.expect("changed");
        b.expect("changed");
        let get = pb::GetPortRequest { name: "ports/vm1".to_owned() };
        let spec = lab.ports().get_port(get).await.expect("there").into_inner().spec.expect("a spec");
        assert_eq!((spec.mtu, spec.admin_state), (mtu, state));
    }
}

#[tokio::test]
async fn what_is_referenced_is_not_deleted_and_the_referrer_is_named() {
    let lab = Lab::with_ports().await;
    lab.create_rule("out", "in_port=vm1,actions=pf0").await.expect("created");
    let delete =
        |name: &str| pb::DeletePortRequest { name: name.to_owned(), ..pb::DeletePortRequest::default() };
    let refused = lab.ports().delete_port(delete("ports/vm1")).await;
    assert_eq!(metadata(&refused, "referrer").as_deref(), Some("flowRules/out"));
    assert_eq!(failure(refused), (Code::FailedPrecondition, "RESOURCE_REFERENCED".to_owned(), vec![]));
    let rule = pb::DeleteFlowRuleRequest {
        name: "flowRules/out".to_owned(),
        ..pb::DeleteFlowRuleRequest::default()
    };
    lab.rules().delete_flow_rule(rule).await.expect("deleted");
    lab.ports().delete_port(delete("ports/vm1")).await.expect("deleted");
}

#[tokio::test]
async fn lists_come_in_pages_whose_tokens_belong_to_them() {
    let lab = Lab::with_ports().await;
    for n in 0..7 {
        lab.create_rule(&format!("r{n}"), "actions=drop").await.expect("created");
    }
    let list = |token: &str| pb::ListFlowRulesRequest { page_size: 3, page_token: token.to_owned() };
    let (mut token, mut names) = (String::new(), Vec::new());
    for size in [3, 3, 1] {
        let page = lab.rules().list_flow_rules(list(&token)).await.expect("a page").into_inner();
        assert_eq!((page.flow_rules.len(), page.revision), (size, 9));
        names.extend(page.flow_rules.into_iter().map(|rule| rule.name));
        token = page.next_page_token;
    }
    assert!(token.is_empty());
    assert_eq!(names, (0..7).map(|n| format!("flowRules/r{n}")).collect::<Vec<_>>());
    let foreign = pb::ListPortsRequest { page_size: 1, page_token: String::new() };
    let token = lab.ports().list_ports(foreign).await.expect("a page").into_inner().next_page_token;
    for token in [token.as_str(), "r3", "00000000.r3"] {
        assert_eq!(failure(lab.rules().list_flow_rules(list(token)).await).1, "PAGE_TOKEN_INVALID");
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let lab = Lab::new().await;
    let request = |device: &str| pb::CreatePortRequest {
        port_id: "vm1".to_owned(),
        port: Some(port("", device)),
        request_id: "8e8a33f2-3c63-4b2c-9a38-0a8c9d1f7a11".to_owned(),
    };
    let first = lab.ports().create_port(request("p1")).await.expect("created").into_inner();
    let again = lab.ports().create_port(request("p1")).await.expect("repeated").into_inner();
    assert_eq!(first, again);
    assert_eq!(
        failure(lab.ports().create_port(request("p2")).await).2,
        [violation("requestId", "REQUEST_ID_REUSED")]
    );
    let bad = pb::CreatePortRequest { request_id: "1".to_owned(), ..request("p1") };
    assert_eq!(failure(lab.ports().create_port(bad).await).2, [violation("requestId", "FIELD_MALFORMED")]);
}

fn flow(rule: u64, offload: Offload) -> FlowView {
    FlowView {
        matches: Match::new(FlowKey::ZERO, Shape::Port.mask()),
        actions: nic_flow::ActionList::new(),
        dropped: None,
        shape: Shape::Port,
        offload,
        software: nic_flow::Counters::default(),
        hardware: nic_flow::Counters::default(),
        age: std::time::Duration::ZERO,
        idle: std::time::Duration::ZERO,
        objects: vec![ObjectId::FlowRule(FlowRuleId(rule))],
    }
}

#[tokio::test]
async fn conditions_tell_how_far_a_resource_has_come() {
    let lab = Lab::with_ports().await;
    lab.create_rule("wide", "in_port=pf0,ip,actions=drop").await.expect("created");
    lab.create_rule("out", "in_port=pf0,ip,nw_src=10.0.0.0/8,actions=vm1").await.expect("created");
    let read = |id: &'static str| {
        let mut rules = lab.rules();
        async move {
            let request = pb::GetFlowRuleRequest { name: format!("flowRules/{id}") };
            let rule = rules.get_flow_rule(request).await.expect("there").into_inner();
            rule.status.expect("a status").conditions
        }
    };
    let ports = || async {
        let request = pb::GetPortRequest { name: "ports/vm1".to_owned() };
        lab.ports().get_port(request).await.expect("there").into_inner().status.expect("a status")
    };
    let is = |status, reason: &str| (status, reason.to_owned());
    let conditions = read("out").await;
    assert_eq!(condition(&conditions, "Accepted"), is(Condition::True, "Overlaps"));
    assert_eq!(condition(&conditions, "Programmed"), is(Condition::Unknown, "DatapathUnavailable"));
    assert_eq!(condition(&conditions, "Offloaded"), is(Condition::Unknown, "DatapathUnavailable"));
    assert_eq!(
        condition(&ports().await.conditions, "Present"),
        is(Condition::Unknown, "DatapathUnavailable")
    );
    {
        let mut view = lab.datapath.view.lock().expect("not poisoned");
        view.connected = true;
        view.applied = Revision(3);
        let port = "pf0vf0".parse().expect("a device");
        view.devices = vec![Device { port, link_up: true, mtu: 9000, mac: MacAddr([2, 0, 0, 0, 0, 9]) }];
    }
    *lab.datapath.flows.lock().expect("not poisoned") = vec![
        flow(3, Offload::Hardware),
        flow(4, Offload::Hardware),
        flow(4, Offload::Software(SoftwareReason::Quota)),
    ];
    let conditions = read("out").await;
    assert_eq!(condition(&conditions, "Programmed"), is(Condition::False, "Pending"));
    assert_eq!(condition(&conditions, "Offloaded"), is(Condition::False, "QuotaUsedUp"));
    let conditions = read("wide").await;
    assert_eq!(condition(&conditions, "Programmed"), is(Condition::True, "Applied"));
    assert_eq!(condition(&conditions, "Offloaded"), is(Condition::True, "InHardware"));
    let status = ports().await;
    assert_eq!(condition(&status.conditions, "Present"), is(Condition::True, "Present"));
    assert_eq!(condition(&status.conditions, "Programmed"), is(Condition::True, "Applied"));
    assert_eq!(
        (status.device_mtu, status.device_mac_address.as_str(), status.link_up),
        (9000, "02:00:00:00:00:09", true)
    );
}

#[tokio::test]
async fn a_viewer_may_read_and_not_write() {
    let lab = Lab::with_role(Role::Viewer).await;
    assert_eq!(
        failure(lab.create_port("vm1", "p0").await),
        (Code::PermissionDenied, "ROLE_NOT_PERMITTED".to_owned(), vec![])
    );
    lab.ports().list_ports(pb::ListPortsRequest::default()).await.expect("allowed");
    assert!(lab.directory().join("store.redb").exists());
}

#[test]
fn a_viewer_may_call_what_only_reads_and_an_owner_everything() {
    let set: prost_types::FileDescriptorSet =
        prost::Message::decode(nic_proto::FILE_DESCRIPTOR_SET).expect("a description");
    let services = set.file.iter().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| service.method.iter().map(move |method| (service, method)));
    let system = ["Install", "Activate", "Rollback", "Reboot", "FactoryReset"];
    let changes = ["Create", "Update", "Delete", "Apply", "Flush"].into_iter().chain(system);
    let changes: Vec<&str> = changes.collect();
    let mut refused = 0;
    for (service, method) in methods {
        let path = format!("/nic.v1.{}/{}", service.name(), method.name());
        let expected = !changes.iter().any(|verb| method.name().starts_with(verb));
        assert_eq!(Role::Viewer.may(&path), expected, "{path}");
        assert!(Role::Owner.may(&path));
        refused += usize::from(!expected);
    }
    assert_eq!(refused, 6 * 3 + 3 + 5);
    for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
    {
        assert!(Role::Viewer.may(path), "{path}");
    }
    assert!(!Role::Viewer.may("/nic.v1.PortService/Reset") && !Role::Viewer.may("nonsense"));
}
