//! The shim between real gRPC clients and a real gRPC server.

mod card;
mod process;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use host_shim::{CardAddress, Config, allow};
use nic_process::socket;
use nic_proto::v1::config_service_client::ConfigServiceClient;
use nic_proto::v1::flow_service_client::FlowServiceClient;
use nic_proto::v1::status_service_client::StatusServiceClient;
use nic_proto::v1::{
    ApplyHeader, ApplyRequest, FlushFlowsRequest, GetStatusRequest, ListFlowsRequest, apply_request,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use card::{Card, ENDLESS, FAILING};

/// A shim in front of where a card may be, and a client of it.
struct Lab {
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    shim: JoinHandle<()>,
}

impl Lab {
    fn new() -> Lab {
        Lab::with_grace(Duration::from_secs(5))
    }

    fn with_grace(grace: Duration) -> Lab {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = Config {
            card: CardAddress::Unix(directory.path().join("card.sock")),
            connect_timeout: Duration::from_secs(2),
            keepalive: Duration::from_secs(10),
            grace,
        };
        let (listener, file) = socket::listen(&directory.path().join("host.sock"), 0o600).expect("a socket");
        let (stop, stopped) = oneshot::channel::<()>();
        let shim = tokio::spawn(host_shim::serve(listener, config, async move {
            let _ = stopped.await;
            drop(file);
        }));
        Lab { directory, stop: Some(stop), shim }
    }

    fn card_socket(&self) -> PathBuf {
        self.directory.path().join("card.sock")
    }

    fn host_socket(&self) -> PathBuf {
        self.directory.path().join("host.sock")
    }

    async fn client(&self) -> Channel {
        connect(&self.host_socket()).await
    }
}

/// A client of the shim on that socket.
pub(crate) async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).expect("an address");
    endpoint.connect().await.expect("a connection to the shim")
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Waits until a condition holds that other tasks bring about.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_unary_call_passes_with_its_metadata_and_its_deadline() {
    let lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let mut request = Request::new(GetStatusRequest {});
    request.metadata_mut().insert("x-test", "as sent".parse().expect("a header value"));
    request.set_timeout(Duration::from_secs(7));
    let response = StatusServiceClient::new(lab.client().await).get_status(request).await.expect("an answer");
    assert_eq!(response.metadata().get("x-answer").expect("the card's metadata"), "head");
    assert_eq!(response.get_ref().store_uuid, "as sent");
    assert_eq!(response.get_ref().version, "7000000u");
}

#[tokio::test]
async fn a_client_stream_passes_whole() {
    let lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let header = ApplyHeader { apply_set: "x".repeat(10_000), ..ApplyHeader::default() };
    let message = ApplyRequest { message: Some(apply_request::Message::Header(header)) };
    let requests = tokio_stream::iter(std::iter::repeat_n(message, 1000));
    let response = ConfigServiceClient::new(lab.client().await).apply(requests).await.expect("an answer");
    assert_eq!(response.get_ref().revision, 1000);
}

#[tokio::test]
async fn a_server_stream_passes_whole_and_in_order() {
    let lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let mut stream = client.list_flows(ListFlowsRequest::default()).await.expect("a stream").into_inner();
    for n in 0..1000 {
        let message = stream.message().await.expect("a message").expect("not the end");
        assert_eq!(message.flows[0].shape, n.to_string());
    }
    assert!(stream.message().await.expect("the end").is_none());
}

#[tokio::test]
async fn a_server_stream_arrives_message_by_message() {
    let lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let request = ListFlowsRequest { in_port: ENDLESS.into(), ..ListFlowsRequest::default() };
    let mut stream = client.list_flows(request).await.expect("a stream").into_inner();
    let first = stream.message().await.expect("a message").expect("not the end");
    assert_eq!(first.flows[0].shape, "first");
}

#[tokio::test]
async fn an_error_passes_with_its_details_with_and_without_a_body_before_it() {
    let lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let channel = lab.client().await;

    let status = ConfigServiceClient::new(channel.clone())
        .apply(tokio_stream::empty())
        .await
        .expect_err("an empty stream is refused");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "two faults, ü"));
    let violations = status.get_details_bad_request().expect("violations").field_violations;
    assert_eq!(violations[0].field, "resources[0].spec.device");

    let request = ListFlowsRequest { in_port: FAILING.into(), ..ListFlowsRequest::default() };
    let response = FlowServiceClient::new(channel).list_flows(request).await.expect("a stream");
    let mut stream = response.into_inner();
    for _ in 0..2 {
        stream.message().await.expect("a message").expect("not the end");
    }
    let status = stream.message().await.expect_err("the stream fails");
    assert_eq!((status.code(), status.message()), (Code::Aborted, "walk interrupted"));
    assert_eq!(reason(&status), "ETAG_MISMATCH");
}

#[tokio::test]
async fn a_call_that_the_client_cancels_ends_on_the_card() {
    let lab = Lab::new();
    let card = Card::default();
    let _serving = card.serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let request = ListFlowsRequest { in_port: ENDLESS.into(), ..ListFlowsRequest::default() };
    let mut stream = client.list_flows(request).await.expect("a stream").into_inner();
    stream.message().await.expect("a message").expect("not the end");
    assert_eq!(card.open_streams.load(Ordering::SeqCst), 1);
    drop(stream);
    until("the card still streams", || card.open_streams.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_card_that_is_away_is_named_and_found_again_when_it_is_back() {
    let lab = Lab::new();
    let mut client = StatusServiceClient::new(lab.client().await);
    for _ in 0..2 {
        let status = client.get_status(GetStatusRequest {}).await.expect_err("there is no card");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "CARD_UNREACHABLE"));
        assert!(status.message().contains("card.sock"), "{}", status.message());
    }
    for _ in 0..3 {
        let card = Card::default().serve(&lab.card_socket());
        client.get_status(GetStatusRequest {}).await.expect("the card is back");
        card.die().await;
        std::fs::remove_file(lab.card_socket()).expect("the card's socket");
    }
    let _card = Card::default().serve(&lab.card_socket());
    client.get_status(GetStatusRequest {}).await.expect("the card is back once more");
}

#[tokio::test]
async fn a_card_that_takes_connections_and_says_nothing_is_given_up() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("card.sock");
    let silent = tokio::net::UnixListener::bind(&path).expect("a socket");
    let config = Config {
        card: CardAddress::Unix(path),
        connect_timeout: Duration::from_secs(2),
        keepalive: Duration::from_millis(50),
        grace: Duration::from_secs(1),
    };
    let host = directory.path().join("host.sock");
    let (listener, _file) = socket::listen(&host, 0o600).expect("a socket");
    tokio::spawn(host_shim::serve(listener, config, std::future::pending()));
    let _held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let start = Instant::now();
    let status = StatusServiceClient::new(connect(&host).await)
        .get_status(GetStatusRequest {})
        .await
        .expect_err("the card is silent");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "CARD_UNREACHABLE"));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_card_that_dies_during_a_stream_ends_it_as_unavailable() {
    let lab = Lab::new();
    let card = Card::default().serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let request = ListFlowsRequest { in_port: ENDLESS.into(), ..ListFlowsRequest::default() };
    let mut stream = client.list_flows(request).await.expect("a stream").into_inner();
    stream.message().await.expect("a message").expect("not the end");
    card.die().await;
    let status = stream.message().await.expect_err("the card is gone");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "CARD_UNREACHABLE"));
}

#[tokio::test]
async fn a_method_that_is_not_on_the_list_never_reaches_the_card() {
    let lab = Lab::new();
    let mut grpc = tonic::client::Grpc::new(lab.client().await);
    grpc.ready().await.expect("a connection");
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/nic.datapath.v1.Datapath/FlushFlows");
    let codec = tonic_prost::ProstCodec::<FlushFlowsRequest, FlushFlowsRequest>::default();
    let status = grpc
        .unary(Request::new(FlushFlowsRequest::default()), path, codec)
        .await
        .expect_err("the datapath's own service is none of the host's business");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "METHOD_NOT_FORWARDED"));
    assert!(status.message().contains("/nic.datapath.v1.Datapath/FlushFlows"), "{}", status.message());
}

#[test]
fn the_list_has_every_service_of_nic_v1_and_the_reasons_are_the_api_s() {
    let set: prost_types::FileDescriptorSet =
        prost::Message::decode(nic_proto::FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let mut services: Vec<String> = set
        .file
        .iter()
        .filter(|file| file.package() == "nic.v1")
        .flat_map(|file| file.service.iter().map(|service| format!("nic.v1.{}", service.name())))
        .collect();
    services.sort();
    let ours: Vec<&str> = allow::SERVICES.iter().copied().filter(|name| name.starts_with("nic.")).collect();
    assert_eq!(ours, services);
    for reason in ["CARD_UNREACHABLE", "METHOD_NOT_FORWARDED"] {
        assert!(nic_proto::v1::ErrorReason::from_str_name(reason).is_some(), "{reason}");
    }
}

#[tokio::test]
async fn open_calls_finish_after_the_shim_was_told_to_stop() {
    let mut lab = Lab::new();
    let _card = Card::default().serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let mut stream = client.list_flows(ListFlowsRequest::default()).await.expect("a stream").into_inner();
    stream.message().await.expect("a message").expect("not the end");
    lab.stop.take().expect("not stopped yet").send(()).expect("the shim runs");
    let mut messages = 1;
    while stream.message().await.expect("a message").is_some() {
        messages += 1;
    }
    assert_eq!(messages, 1000);
    lab.shim.await.expect("the shim ends");
}

#[tokio::test]
async fn calls_that_never_end_do_not_keep_the_shim_from_stopping() {
    let mut lab = Lab::with_grace(Duration::from_millis(100));
    let _card = Card::default().serve(&lab.card_socket());
    let mut client = FlowServiceClient::new(lab.client().await);
    let call = tokio::spawn(async move { client.flush_flows(FlushFlowsRequest::default()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    lab.stop.take().expect("not stopped yet").send(()).expect("the shim runs");
    let start = Instant::now();
    (&mut lab.shim).await.expect("the shim ends");
    assert!(start.elapsed() < Duration::from_secs(2));
    call.abort();
}
