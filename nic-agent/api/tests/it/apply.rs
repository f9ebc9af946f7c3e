use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nic_proto::v1 as pb;
use pb::apply_request::Message;
use pb::change::Action;
use pb::resource::Kind;
use tonic::Code;

use crate::lab::{Lab, failure, metadata, port, rule};

fn header(set: &str) -> pb::ApplyHeader {
    pb::ApplyHeader { apply_set: set.to_owned(), ..pb::ApplyHeader::default() }
}

/// The tutorial's rules, before the ports that they refer to.
fn tutorial() -> Vec<Kind> {
    let rules = [
        "in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1",
        "in_port=vm1,action=output:pf0",
        "in_port=pf0,ip,nw_src=10.10.1.1/255.255.255.0,action=output:vm2",
        "in_port=vm2,action=output:pf0",
    ];
    let rules =
        rules.iter().enumerate().map(|(n, flow)| Kind::FlowRule(rule(&format!("flowRules/r{n}"), flow)));
    let ports = [("pf0", "p0"), ("vm1", "pf0vf0"), ("vm2", "pf0vf1")];
    rules.chain(ports.map(|(id, device)| Kind::Port(port(&format!("ports/{id}"), device)))).collect()
}

fn actions(response: &pb::ApplyResponse) -> Vec<(&str, Action)> {
    response.changes.iter().map(|change| (change.name.as_str(), change.action())).collect()
}

async fn revision(lab: &Lab) -> u64 {
    lab.ports().list_ports(pb::ListPortsRequest::default()).await.expect("a page").into_inner().revision
}

#[tokio::test]
async fn a_tutorial_is_applied_as_one_revision_and_again_changes_nothing() {
    let lab = Lab::new().await;
    let dry = pb::ApplyHeader { dry_run: true, ..header("lab") };
    let plan = lab.apply(dry, tutorial()).await.expect("valid");
    assert_eq!((plan.revision, plan.dry_run, plan.changes.len()), (0, true, 7));
    assert_eq!(revision(&lab).await, 0);
    let done = lab.apply(header("lab"), tutorial()).await.expect("applied");
    assert_eq!((done.revision, done.dry_run), (1, false));
    assert_eq!(done.changes, plan.changes);
    assert!(done.changes.iter().all(|change| change.action() == Action::Create));
    let again = lab.apply(header("lab"), tutorial()).await.expect("applied");
    assert_eq!(again.revision, 1);
    assert!(
        again.changes.iter().all(|change| change.action() == Action::Unchanged && change.diff.is_empty())
    );
}

#[tokio::test]
async fn prune_deletes_what_was_not_sent_and_the_difference_names_fields() {
    let lab = Lab::new().await;
    lab.apply(header("lab"), tutorial()).await.expect("applied");
    lab.create_port("other", "pf0vf9").await.expect("created");
    let mut changed = port("ports/vm1", "pf0vf4");
    if let Some(spec) = &mut changed.spec {
        spec.mtu = 9000;
    }
    let resources = vec![
        Kind::Port(port("ports/pf0", "p0")),
        Kind::Port(changed),
        Kind::FlowRule(rule("flowRules/r1", "in_port=vm1,action=output:pf0")),
    ];
    let prune = pb::ApplyHeader { prune: true, ..header("lab") };
    let done = lab.apply(prune, resources).await.expect("applied");
    let expected = [
        ("ports/pf0", Action::Unchanged),
        ("ports/vm1", Action::Update),
        ("flowRules/r1", Action::Unchanged),
        ("flowRules/r0", Action::Delete),
        ("flowRules/r2", Action::Delete),
        ("flowRules/r3", Action::Delete),
        ("ports/vm2", Action::Delete),
    ];
    assert_eq!(actions(&done), expected);
    let diff = done.changes[1]
        .diff
        .iter()
        .map(|field| (field.path.as_str(), field.before.as_str(), field.after.as_str()));
    let expected = [("spec.device", "\"pf0vf0\"", "\"pf0vf4\""), ("spec.mtu", "1500", "9000")];
    assert_eq!(diff.collect::<Vec<_>>(), expected);
    let ports =
        lab.ports().list_ports(pb::ListPortsRequest::default()).await.expect("a page").into_inner().ports;
    assert_eq!(
        ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(),
        ["ports/other", "ports/pf0", "ports/vm1"]
    );
}

#[tokio::test]
async fn another_set_s_resource_is_a_conflict_unless_asked_for() {
    let lab = Lab::new().await;
    lab.apply(header("lab"), tutorial()).await.expect("applied");
    let take = || vec![Kind::Port(port("ports/vm1", "pf0vf0"))];
    let refused = lab.apply(header("mine"), take()).await;
    assert_eq!(metadata(&refused, "apply_set").as_deref(), Some("lab"));
    assert_eq!(metadata(&refused, "resource").as_deref(), Some("ports/vm1"));
    assert_eq!(failure(refused), (Code::Aborted, "APPLY_SET_CONFLICT".to_owned(), vec![]));
    let over = pb::ApplyHeader { take_over: true, ..header("mine") };
    let done = lab.apply(over, take()).await.expect("applied");
    assert_eq!(actions(&done), [("ports/vm1", Action::Update)]);
    assert_eq!(done.changes[0].diff[0].path, "metadata.applySet");
}

#[tokio::test]
async fn without_the_commit_nothing_happens() {
    let lab = Lab::new().await;
    let resource = || Message::Resource(pb::Resource { kind: Some(Kind::Port(port("ports/pf0", "p0"))) });
    let start = || Message::Header(header("lab"));
    let commit = || Message::Commit(pb::ApplyCommit {});
    for messages in [
        vec![],
        vec![start()],
        vec![start(), resource()],
        vec![resource(), commit()],
        vec![start(), start(), commit()],
        vec![start(), commit(), resource()],
    ] {
        let found = failure(lab.apply_messages(messages.clone()).await);
        assert_eq!(
            (found.0, found.1.as_str()),
            (Code::InvalidArgument, "APPLY_STREAM_INVALID"),
            "{messages:?}"
        );
    }
    assert_eq!(revision(&lab).await, 0);
    assert_eq!(lab.apply_messages(vec![start(), commit()]).await.expect("nothing to do").revision, 0);
}

#[tokio::test]
async fn an_apply_without_end_is_refused_at_its_limit_and_nothing_is_applied() {
    let lab = Lab::new().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let endless = (0_u64..).map(move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        Message::Resource(pb::Resource { kind: Some(Kind::Port(port(&format!("ports/p{n}"), "p0"))) })
    });
    let messages = iter::once(Message::Header(header("lab"))).chain(endless);
    let found = failure(lab.apply_messages(messages).await);
    assert_eq!((found.0, found.1.as_str()), (Code::ResourceExhausted, "RESOURCE_LIMIT"));
    // What is on its way meanwhile is bounded by the connection's window.
    let sent = sent.load(Ordering::Relaxed);
    assert!((100_001..200_000).contains(&sent), "{sent} resources were taken");
    assert_eq!(revision(&lab).await, 0);
}

#[tokio::test]
async fn every_fault_is_named_with_the_resource_s_place_and_nothing_is_applied() {
    let lab = Lab::new().await;
    let resources = vec![
        Kind::Port(port("ports/pf0", "p0")),
        Kind::Port(port("pf1", "p99")),
        Kind::FlowRule(rule("flowRules/r", "in_port=pf0,actions=flood")),
        Kind::FlowRule(pb::FlowRule::default()),
    ];
    let found = failure(lab.apply(header("No Set"), resources).await);
    let expected = [
        ("header.applySet", "NAME_INVALID"),
        ("resources[1].name", "NAME_INVALID"),
        ("resources[1].spec.device", "FIELD_MALFORMED"),
        ("resources[2].spec.flow", "FLOW_UNSUPPORTED"),
        ("resources[3].name", "FIELD_REQUIRED"),
        ("resources[3].spec", "FIELD_REQUIRED"),
    ];
    assert_eq!(found.2, expected.map(|(field, reason)| (field.to_owned(), reason.to_owned())));
    let dangling =
        vec![Kind::Port(port("ports/pf0", "p0")), Kind::FlowRule(rule("flowRules/r", "actions=vm1"))];
    let found = failure(lab.apply(header("lab"), dangling).await);
    assert_eq!(found.2, [("resources[1].spec.flow".to_owned(), "REFERENCE_NOT_FOUND".to_owned())]);
    assert_eq!(revision(&lab).await, 0);
    let many = (0..500).map(|n| Kind::Port(port(&format!("ports/a{n}"), "nonsense"))).collect();
    let found = failure(lab.apply(header("lab"), many).await);
    assert_eq!((found.0, found.2.len()), (Code::InvalidArgument, 20));
}
