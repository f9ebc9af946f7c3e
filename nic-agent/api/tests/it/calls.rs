//! The id of a call: where it comes from, and everywhere that it goes.

use std::time::Duration;

use nic_api::{REQUEST_ID, Role};
use nic_policy::Revision;
use nic_proto::v1 as pb;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::lab::{Lab, port};

/// A message of a call with that id.
fn called<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(REQUEST_ID, id.parse().expect("ASCII"));
    request
}

fn create(id: &str, device: &str) -> pb::CreatePortRequest {
    pb::CreatePortRequest { port_id: id.to_owned(), port: Some(port("", device)), request_id: String::new() }
}

fn told<T>(response: &Response<T>) -> String {
    response.metadata().get(REQUEST_ID).expect("it is told").to_str().expect("ASCII").to_owned()
}

/// The id in an error's details; it must stand in its metadata as well.
fn told_by(status: &Status) -> String {
    let info = status.get_error_details().request_info().expect("it is told").clone();
    assert_eq!(status.metadata().get(REQUEST_ID).expect("it is told"), info.request_id.as_str());
    info.request_id
}

/// The calls that the store's revisions came from, the first one first.
fn committed(lab: &Lab) -> Vec<String> {
    let (calls, more) = lab.store.calls(Revision(0), lab.store.state().revision(), 1000);
    assert_eq!(more, 0);
    calls.into_iter().rev().map(String::from).collect()
}

/// How calls ended, when as many have.
async fn heard(lab: &Lab, count: usize) -> Vec<(String, Code)> {
    for _ in 0..1000 {
        let heard = lab.heard.0.lock().expect("not poisoned").clone();
        if heard.len() >= count {
            return heard;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("only {:?}", lab.heard.0);
}

#[tokio::test]
async fn an_id_that_the_caller_gave_comes_back_and_goes_with_the_revision() {
    let lab = Lab::new().await;
    let answer = lab.ports().create_port(called("ticket-1", create("a", "p0"))).await.expect("created");
    assert_eq!(told(&answer), "ticket-1");
    // What reads has one too, and makes no revision.
    let answer =
        lab.ports().list_ports(called("look", pb::ListPortsRequest::default())).await.expect("listed");
    assert_eq!(told(&answer), "look");
    let update = pb::UpdatePortRequest { port: Some(port("ports/a", "p1")), ..Default::default() };
    lab.ports().update_port(called("ticket-2", update)).await.expect("updated");
    let delete = pb::DeletePortRequest { name: "ports/a".to_owned(), ..Default::default() };
    lab.ports().delete_port(called("ticket-3", delete)).await.expect("deleted");
    assert_eq!(committed(&lab), ["ticket-1", "ticket-2", "ticket-3"]);
}

#[tokio::test]
async fn a_call_without_a_valid_id_gets_one_of_its_own() {
    let lab = Lab::new().await;
    let mut made = Vec::new();
    for request in [
        Request::new(create("a", "p0")),
        called("no good", create("b", "p1")),
        called(&"x".repeat(65), create("c", "pf0vf0")),
    ] {
        made.push(told(&lab.ports().create_port(request).await.expect("created")));
    }
    assert!(made.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()), "{made:?}");
    assert!(made[0] != made[1] && made[1] != made[2], "{made:?}");
    assert_eq!(committed(&lab), made);
}

#[tokio::test]
async fn a_repeated_mutation_is_another_call_of_the_same_request() {
    let lab = Lab::new().await;
    let request = pb::CreatePortRequest {
        request_id: "6e1bd9c4-6f0c-4c5e-9e0b-0a7a6a1d7a01".to_owned(),
        ..create("a", "p0")
    };
    let first = lab.ports().create_port(called("try-1", request.clone())).await.expect("created");
    let again = lab.ports().create_port(called("try-2", request)).await.expect("repeated");
    assert_eq!((told(&first), told(&again)), ("try-1".to_owned(), "try-2".to_owned()));
    assert_eq!(first.get_ref(), again.get_ref());
    assert_eq!(committed(&lab), ["try-1"], "the second one made no revision");
}

#[tokio::test]
async fn every_error_names_its_call_and_keeps_what_else_it_says() {
    let lab = Lab::new().await;
    let missing = pb::GetPortRequest { name: "ports/missing".to_owned() };
    let status = lab.ports().get_port(called("q-1", missing)).await.expect_err("there is none");
    assert_eq!((status.code(), told_by(&status).as_str()), (Code::NotFound, "q-1"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("it is there").reason, "RESOURCE_NOT_FOUND");
    let status = lab.ports().create_port(called("q-2", create("", "p0"))).await.expect_err("no id");
    assert_eq!((status.code(), told_by(&status).as_str()), (Code::InvalidArgument, "q-2"));
    assert!(!status.get_error_details().bad_request().expect("it is there").field_violations.is_empty());
    // One that is not let in, and one of a method that there is not.
    let watched = Lab::with_role(Role::Viewer).await;
    let status = watched.ports().create_port(called("q-3", create("a", "p0"))).await.expect_err("a viewer");
    assert_eq!((status.code(), told_by(&status).as_str()), (Code::PermissionDenied, "q-3"));
    let mut raw = tonic::client::Grpc::new(lab.channel.clone());
    raw.ready().await.expect("connected");
    let path = http::uri::PathAndQuery::from_static("/nic.v1.PortService/Polish");
    let codec = tonic_prost::ProstCodec::<pb::GetPortRequest, pb::Port>::default();
    let request = called("q-4", pb::GetPortRequest::default());
    let status = raw.unary(request, path, codec).await.expect_err("there is no such method");
    assert_eq!((status.code(), told_by(&status).as_str()), (Code::Unimplemented, "q-4"));
    assert_eq!(committed(&lab), [""; 0]);
}

#[tokio::test]
async fn calls_at_the_same_time_keep_their_ids_apart() {
    let lab = Lab::new().await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..50_u16 {
        let mut ports = lab.ports();
        calls.spawn(async move {
            let create = create(&format!("p{n}"), &format!("pf0vf{n}"));
            let answer = ports.create_port(called(&format!("call-{n}"), create)).await.expect("created");
            (told(&answer), n, answer.into_inner().revision)
        });
    }
    let mut by_revision = vec![String::new(); 50];
    while let Some(answer) = calls.join_next().await {
        let (id, n, revision) = answer.expect("answered");
        assert_eq!(id, format!("call-{n}"));
        by_revision[usize::try_from(revision).expect("small") - 1] = id;
    }
    assert_eq!(committed(&lab), by_revision);
}

#[tokio::test]
async fn the_observer_hears_once_how_each_call_ended() {
    let lab = Lab::new().await;
    lab.create_port("a", "p0").await.expect("created");
    lab.create_port("a", "p0").await.expect_err("it exists");
    let mut stream = lab.watch(&[], &[]).await.expect("a stream");
    stream.message().await.expect("an event");
    lab.watch(b"?", &[]).await.expect_err("no token");
    // A watch is over when its reader goes.
    drop(stream);
    let mut ended = heard(&lab, 4).await;
    ended.sort_by_key(|(method, code)| (method.clone(), *code as i32));
    let of = |method: &str, code| (method.to_owned(), code);
    let expected = [
        of("/nic.v1.PortService/CreatePort", Code::Ok),
        of("/nic.v1.PortService/CreatePort", Code::AlreadyExists),
        of("/nic.v1.WatchService/Watch", Code::Cancelled),
        of("/nic.v1.WatchService/Watch", Code::InvalidArgument),
    ];
    assert_eq!(ended, expected);
    let viewer = Lab::with_role(Role::Viewer).await;
    viewer.create_port("a", "p0").await.expect_err("a viewer");
    let expected = [of("/nic.v1.PortService/CreatePort", Code::PermissionDenied)];
    assert_eq!(heard(&viewer, 1).await, expected);
}
