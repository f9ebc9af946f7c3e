//! A server with its store, and what it takes to speak with it.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use nic_api::{
    CommitError, Committed, Configuration, Datapath, DatapathError, DatapathView, Packet, RequestKey, Role,
    TraceResult, routes, serve,
};
use nic_flow::PortId;
use nic_model::{State, Transaction};
use nic_policy::{CapabilityTable, FlowView, Stats};
use nic_proto::v1::config_service_client::ConfigServiceClient;
use nic_proto::v1::flow_rule_service_client::FlowRuleServiceClient;
use nic_proto::v1::port_service_client::PortServiceClient;
use nic_proto::v1::{self as pb, apply_request, resource};
use nic_store::{Fingerprint, Request, RequestId, Store, SubmitError};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_types::StatusExt;

/// The store behind the seam.
struct Kept(Store);

#[tonic::async_trait]
impl Configuration for Kept {
    fn store_uuid(&self) -> u128 {
        self.0.id().0.as_u128()
    }

    fn state(&self) -> Arc<State> {
        self.0.state()
    }

    async fn submit(
        &self,
        transaction: Transaction,
        key: Option<RequestKey>,
    ) -> Result<Committed, CommitError> {
        let request = key.map(|key| Request {
            id: RequestId::from_u128(key.id),
            fingerprint: Fingerprint::new().with(&key.content),
        });
        match self.0.submit(transaction, request).await {
            Ok(committed) => Ok(Committed { revision: committed.revision, changes: committed.changes }),
            Err(SubmitError::Rejected(rejection)) => Err(CommitError::Rejected(rejection)),
            Err(SubmitError::RequestIdReused) => Err(CommitError::RequestIdReused),
            Err(SubmitError::Full) => Err(CommitError::Full),
            Err(error) => Err(CommitError::Unavailable(error.to_string())),
        }
    }
}

/// A datapath that says what the test tells it to.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) view: Mutex<DatapathView>,
    pub(crate) flows: Mutex<Vec<FlowView>>,
    pub(crate) trace: Mutex<Option<TraceResult>>,
    pub(crate) traced: Mutex<Option<Packet>>,
    pub(crate) stats: Mutex<Stats>,
    pub(crate) capabilities: Mutex<CapabilityTable>,
}

impl Told {
    fn here(&self) -> Result<(), DatapathError> {
        let connected = self.view.lock().expect("not poisoned").connected;
        if connected { Ok(()) } else { Err(DatapathError::Away("the test says so".to_owned())) }
    }
}

#[tonic::async_trait]
impl Datapath for Told {
    fn view(&self) -> DatapathView {
        self.view.lock().expect("not poisoned").clone()
    }

    async fn trace(&self, packet: Packet) -> Result<TraceResult, DatapathError> {
        self.here()?;
        *self.traced.lock().expect("not poisoned") = Some(packet);
        let trace = self.trace.lock().expect("not poisoned").clone();
        trace.ok_or_else(|| DatapathError::Packet("the test gave no answer".to_owned()))
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, DatapathError> {
        self.here()?;
        let flows = self.flows.lock().expect("not poisoned");
        let entered = |flow: &&FlowView| in_port.is_none_or(|port| flow.matches.key().in_port() == port);
        Ok(flows.iter().filter(entered).cloned().collect())
    }

    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, DatapathError> {
        let flushed = self.flows(in_port).await?.len() as u64;
        let mut flows = self.flows.lock().expect("not poisoned");
        flows.retain(|flow| in_port.is_some_and(|port| flow.matches.key().in_port() != port));
        Ok(flushed)
    }

    async fn stats(&self) -> Result<Stats, DatapathError> {
        self.here()?;
        Ok(self.stats.lock().expect("not poisoned").clone())
    }

    async fn capabilities(&self) -> Result<CapabilityTable, DatapathError> {
        self.here()?;
        Ok(self.capabilities.lock().expect("not poisoned").clone())
    }
}

/// A server that runs until this is dropped.
pub(crate) struct Lab {
    pub(crate) channel: Channel,
    pub(crate) datapath: Arc<Told>,
    directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Lab {
    pub(crate) async fn new() -> Lab {
        Lab::with_role(Role::Owner).await
    }

    pub(crate) async fn with_role(role: Role) -> Lab {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
        let datapath = Arc::new(Told::default());
        let told: Arc<dyn Datapath> = Arc::clone(&datapath) as Arc<dyn Datapath>;
        let routes = routes(Arc::new(Kept(store)), told, "1.2.3".to_owned(), SystemTime::now());
        let routes = routes.await.expect("the description of nic.v1 is whole");
        let path = directory.path().join("nic.sock");
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).expect("a socket"));
        let server = tokio::spawn(async move {
            serve(routes, role, incoming, std::future::pending()).await.expect("served");
        });
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://card").connect_with_connector(connector).await.expect("connected");
        Lab { channel, datapath, directory, server }
    }

    /// A server with a Port on each of `p0` and `pf0vf0`.
    pub(crate) async fn with_ports() -> Lab {
        let lab = Lab::new().await;
        lab.create_port("pf0", "p0").await.expect("created");
        lab.create_port("vm1", "pf0vf0").await.expect("created");
        lab
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn ports(&self) -> PortServiceClient<Channel> {
        PortServiceClient::new(self.channel.clone())
    }

    pub(crate) fn rules(&self) -> FlowRuleServiceClient<Channel> {
        FlowRuleServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn create_port(&self, id: &str, device: &str) -> Result<pb::CreatePortResponse, Status> {
        let port = Some(port("", device));
        let request = pb::CreatePortRequest { port_id: id.to_owned(), port, request_id: String::new() };
        self.ports().create_port(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn create_rule(
        &self,
        id: &str,
        flow: &str,
    ) -> Result<pb::CreateFlowRuleResponse, Status> {
        let flow_rule = Some(rule("", flow));
        let request =
            pb::CreateFlowRuleRequest { flow_rule_id: id.to_owned(), flow_rule, request_id: String::new() };
        self.rules().create_flow_rule(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn apply_messages(
        &self,
        messages: Vec<apply_request::Message>,
    ) -> Result<pb::ApplyResponse, Status> {
        let messages = messages.into_iter().map(|message| pb::ApplyRequest { message: Some(message) });
        let stream = tokio_stream::iter(messages.collect::<Vec<_>>());
        let mut client = ConfigServiceClient::new(self.channel.clone());
        client.apply(stream).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn apply(
        &self,
        header: pb::ApplyHeader,
        resources: Vec<resource::Kind>,
    ) -> Result<pb::ApplyResponse, Status> {
        let mut messages = vec![apply_request::Message::Header(header)];
        let resources = resources.into_iter().map(|kind| pb::Resource { kind: Some(kind) });
        messages.extend(resources.map(apply_request::Message::Resource));
        messages.push(apply_request::Message::Commit(pb::ApplyCommit {}));
        self.apply_messages(messages).await
    }
}

pub(crate) fn port(name: &str, device: &str) -> pb::Port {
    let spec = pb::PortSpec { device: device.to_owned(), ..pb::PortSpec::default() };
    pb::Port { name: name.to_owned(), spec: Some(spec), ..pb::Port::default() }
}

pub(crate) fn rule(name: &str, flow: &str) -> pb::FlowRule {
    let spec = pb::FlowRuleSpec { flow: flow.to_owned(), priority: None };
    pb::FlowRule { name: name.to_owned(), spec: Some(spec), ..pb::FlowRule::default() }
}

/// The gRPC code, the reason, and the fields at fault with their reasons.
pub(crate) fn failure<T: std::fmt::Debug>(
    result: Result<T, Status>,
) -> (tonic::Code, String, Vec<(String, String)>) {
    let status = result.expect_err("the call fails");
    let details = status.get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(info.domain, "nic.v1");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let violations = violations.into_iter().map(|violation| {
        assert!(!violation.description.is_empty());
        (violation.field, violation.reason)
    });
    (status.code(), info.reason.clone(), violations.collect())
}

pub(crate) fn metadata<T: std::fmt::Debug>(result: &Result<T, Status>, key: &str) -> Option<String> {
    let details = result.as_ref().expect_err("the call fails").get_error_details();
    details.error_info().and_then(|info| info.metadata.get(key).cloned())
}

/// A condition's status and reason.
pub(crate) fn condition(conditions: &[pb::Condition], kind: &str) -> (pb::condition::Status, String) {
    let found =
        conditions.iter().find(|condition| condition.r#type == kind).expect("there is such a condition");
    (found.status(), found.reason.clone())
}
