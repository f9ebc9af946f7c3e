//! A card for tests: a few services of nic.v1 with answers that show what arrived.

use std::future::pending;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nic_proto::v1::config_service_server::{ConfigService, ConfigServiceServer};
use nic_proto::v1::flow_service_server::{FlowService, FlowServiceServer};
use nic_proto::v1::status_service_server::{StatusService, StatusServiceServer};
use nic_proto::v1::{
    ApplyRequest, ApplyResponse, AuditFlowsRequest, AuditFlowsResponse, Flow, FlushFlowsRequest,
    FlushFlowsResponse, GetStatusRequest, ListFlowsRequest, ListFlowsResponse, SystemStatus,
};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// The request for which `ListFlows` sends one message and then waits for ever.
pub(crate) const ENDLESS: &str = "ports/endless";
/// The request for which `ListFlows` sends two messages and then fails.
pub(crate) const FAILING: &str = "ports/failing";

/// The services, and how many endless streams are open.
#[derive(Clone, Default)]
pub(crate) struct Card {
    pub(crate) open_streams: Arc<AtomicUsize>,
}

/// Counts as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl StatusService for Card {
    /// Answers with the deadline and the request id as they arrived.
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<SystemStatus>, Status> {
        let text = |key: &str| {
            let value = request.metadata().get(key).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let mut response = Response::new(SystemStatus {
            version: text("grpc-timeout"),
            store_uuid: text("x-test"),
            ..SystemStatus::default()
        });
        response.metadata_mut().insert("x-answer", "head".parse().expect("a header value"));
        Ok(response)
    }
}

#[tonic::async_trait]
impl ConfigService for Card {
    /// Counts the messages; a stream of none fails with details.
    async fn apply(
        &self,
        request: Request<Streaming<ApplyRequest>>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let mut stream = request.into_inner();
        let mut revision = 0;
        while stream.message().await?.is_some() {
            revision += 1;
        }
        if revision == 0 {
            let mut details = ErrorDetails::new();
            details.add_bad_request_violation("resources[0].spec.device", "is required");
            return Err(Status::with_error_details(Code::InvalidArgument, "two faults, ü", details));
        }
        Ok(Response::new(ApplyResponse { revision, ..ApplyResponse::default() }))
    }
}

type FlowStream = Pin<Box<dyn Stream<Item = Result<ListFlowsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FlowService for Card {
    type ListFlowsStream = FlowStream;

    async fn list_flows(&self, request: Request<ListFlowsRequest>) -> Result<Response<FlowStream>, Status> {
        let answer = |shape: &str| ListFlowsResponse {
            flows: vec![Flow { shape: shape.to_owned(), ..Flow::default() }],
        };
        let stream: FlowStream = match request.get_ref().in_port.as_str() {
            ENDLESS => {
                self.open_streams.fetch_add(1, Ordering::SeqCst);
                let open = Open(Arc::clone(&self.open_streams));
                let first = tokio_stream::once(Ok(answer("first")));
                let rest = tokio_stream::once(()).then(move |()| {
                    let _counted = &open;
                    pending()
                });
                Box::pin(first.chain(rest))
            }
            FAILING => Box::pin(tokio_stream::iter([
                Ok(answer("first")),
                Ok(answer("second")),
                Err(Status::with_error_details(
                    Code::Aborted,
                    "walk interrupted",
                    ErrorDetails::with_error_info(
                        "ETAG_MISMATCH",
                        "nic.v1",
                        [("resource".into(), "a".into())],
                    ),
                )),
            ])),
            _ => Box::pin(tokio_stream::iter((0..1000).map(move |n| Ok(answer(&n.to_string()))))),
        };
        Ok(Response::new(stream))
    }

    async fn audit_flows(
        &self,
        _: Request<AuditFlowsRequest>,
    ) -> Result<Response<AuditFlowsResponse>, Status> {
        pending().await
    }

    async fn flush_flows(
        &self,
        _: Request<FlushFlowsRequest>,
    ) -> Result<Response<FlushFlowsResponse>, Status> {
        pending().await
    }
}

/// A card that serves. It has a runtime of its own, so that its connections end with it.
pub(crate) struct Serving(Option<Runtime>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Serving {
    /// Dies as a killed process does; returns when nothing of it is left.
    pub(crate) async fn die(mut self) {
        let runtime = self.0.take().expect("it serves");
        let stop = move || runtime.shutdown_timeout(Duration::from_secs(5));
        tokio::task::spawn_blocking(stop).await.expect("it died");
    }
}

impl Card {
    /// Serves on a unix socket.
    pub(crate) fn serve(&self, socket: &Path) -> Serving {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let server = Server::builder()
            .add_service(StatusServiceServer::new(self.clone()))
            .add_service(ConfigServiceServer::new(self.clone()))
            .add_service(FlowServiceServer::new(self.clone()));
        let entered = runtime.enter();
        let listener = UnixListener::bind(socket).expect("a socket for the card");
        drop(entered);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Serving(Some(runtime))
    }
}
