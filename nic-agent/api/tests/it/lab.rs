//! A server with its store, and what it takes to speak with it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use nic_api::{
    CommitError, Committed, Configuration, Datapath, DatapathError, DatapathView, FollowError, Followed,
    Gate, Health, News, NoSlots, Observer, RequestKey, Role, Slots, routes, serve,
};
use nic_flow::PortId;
use nic_model::{State, Transaction};
use nic_policy::{
    AuditReport, BridgeId, CallId, CapabilityTable, FdbView, FlowView, NeighborView, Network, Revision,
    Stats, TracePacket, TraceReport,
};
use nic_proto::v1::config_service_client::ConfigServiceClient;
use nic_proto::v1::flow_rule_service_client::FlowRuleServiceClient;
use nic_proto::v1::port_service_client::PortServiceClient;
use nic_proto::v1::watch_event::Event as Seen;
use nic_proto::v1::watch_service_client::WatchServiceClient;
use nic_proto::v1::{self as pb, apply_request, resource};
use nic_store::{Commit, Event, Fingerprint, Request, RequestId, Store, SubmitError};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The store behind the seam.
struct Kept(Arc<Store>);

#[tonic::async_trait]
impl Configuration for Kept {
    fn store_uuid(&self) -> u128 {
        self.0.id().0.as_u128()
    }

    fn state(&self) -> Arc<State> {
        self.0.state()
    }

    fn failing(&self) -> Option<String> {
        self.0.failing()
    }

    async fn submit(
        &self,
        transaction: Transaction,
        key: Option<RequestKey>,
        call: Option<CallId>,
    ) -> Result<Committed, CommitError> {
        let request = key.map(|key| Request {
            id: RequestId::from_u128(key.id),
            fingerprint: Fingerprint::new().with(&key.content),
        });
        match self.0.submit_for(call, transaction, request).await {
            Ok(committed) => Ok(Committed { revision: committed.revision, changes: committed.changes }),
            Err(SubmitError::Rejected(rejection)) => Err(CommitError::Rejected(rejection)),
            Err(SubmitError::RequestIdReused) => Err(CommitError::RequestIdReused),
            Err(SubmitError::Full) => Err(CommitError::Full),
            Err(error) => Err(CommitError::Unavailable(error.to_string())),
        }
    }

    fn follow(&self, from: Option<Revision>) -> Result<Followed, FollowError> {
        let subscription = self.0.subscribe();
        let now = Arc::clone(subscription.state());
        let mut missed = match from {
            None => Vec::new(),
            Some(from) => self.0.changes_since(from).map_err(|compacted| {
                if compacted.asked < compacted.oldest { FollowError::Compacted } else { FollowError::Ahead }
            })?,
        };
        missed.retain(|commit| commit.after.revision() <= now.revision());
        let state = missed.first().map_or(now, |commit| Arc::clone(&commit.before));
        let later = stream::unfold(subscription, |mut subscription| async move {
            let event = subscription.next().await?;
            Some((event, subscription))
        });
        let later = later.map(|event| match event {
            Event::Commit(commit) => news(&commit),
            Event::Reset(state) => News { after: state, changes: None },
        });
        let missed: Vec<News> = missed.iter().map(|commit| news(commit)).collect();
        Ok(Followed { state, news: stream::iter(missed).chain(later).boxed() })
    }
}

fn news(commit: &Commit) -> News {
    News { after: Arc::clone(&commit.after), changes: Some(Arc::clone(&commit.changes)) }
}

/// A datapath that says what the test tells it to.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) view: Mutex<DatapathView>,
    pub(crate) flows: Mutex<Vec<FlowView>>,
    pub(crate) fdb: Mutex<Vec<FdbView>>,
    pub(crate) neighbors: Mutex<Vec<NeighborView>>,
    pub(crate) trace: Mutex<Option<TraceReport>>,
    pub(crate) traced: Mutex<Option<TracePacket>>,
    pub(crate) audit: Mutex<AuditReport>,
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

    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, DatapathError> {
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

    async fn audit(&self, repair: bool) -> Result<AuditReport, DatapathError> {
        self.here()?;
        let mut report = self.audit.lock().expect("not poisoned").clone();
        for count in report.counts.iter_mut().filter(|_| repair) {
            count.repaired = count.found;
        }
        Ok(report)
    }

    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, DatapathError> {
        self.here()?;
        let fdb = self.fdb.lock().expect("not poisoned");
        Ok(fdb.iter().filter(|entry| bridge.is_none_or(|bridge| entry.bridge == bridge)).copied().collect())
    }

    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, DatapathError> {
        self.here()?;
        let neighbors = self.neighbors.lock().expect("not poisoned");
        let of_network = |neighbor: &&NeighborView| network.is_none_or(|network| neighbor.network == network);
        Ok(neighbors.iter().filter(of_network).copied().collect())
    }

    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, DatapathError> {
        self.here()?;
        let mut fdb = self.fdb.lock().expect("not poisoned");
        let before = fdb.len();
        fdb.retain(|entry| entry.idle.is_none() || bridge.is_some_and(|bridge| entry.bridge != bridge));
        Ok((before - fdb.len()) as u64)
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

/// Remembers how calls ended.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<(String, Code)>>);

impl Observer for Heard {
    fn called(&self, method: &str, code: Code, _: Duration) {
        self.0.lock().expect("not poisoned").push((method.to_owned(), code));
    }
}

fn no_slots() -> Arc<dyn Slots> {
    Arc::new(NoSlots("the test says so".to_owned()))
}

/// A server that runs until this is dropped.
pub(crate) struct Lab {
    pub(crate) channel: Channel,
    pub(crate) store: Arc<Store>,
    pub(crate) heard: Arc<Heard>,
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
        Lab::at(tempfile::tempdir().expect("a directory"), role, no_slots()).await
    }

    /// A server of a card with slots.
    pub(crate) async fn with_slots(role: Role, slots: Arc<dyn Slots>) -> Lab {
        Lab::at(tempfile::tempdir().expect("a directory"), role, slots).await
    }

    /// A server with a copy of this one's store, as if it had been killed now and started again.
    pub(crate) async fn reopened(&self) -> Lab {
        let directory = tempfile::tempdir().expect("a directory");
        let (from, to) = (self.directory().join("store.redb"), directory.path().join("store.redb"));
        std::fs::copy(from, to).expect("copied");
        Lab::at(directory, Role::Owner, no_slots()).await
    }

    async fn at(directory: tempfile::TempDir, role: Role, slots: Arc<dyn Slots>) -> Lab {
        let store = Arc::new(Store::open(&directory.path().join("store.redb")).expect("a store"));
        let datapath = Arc::new(Told::default());
        let told: Arc<dyn Datapath> = Arc::clone(&datapath) as Arc<dyn Datapath>;
        let kept: Arc<dyn Configuration> = Arc::new(Kept(Arc::clone(&store)));
        let health = Arc::new(Health::new(Arc::clone(&kept), Arc::clone(&told)));
        let routes = routes(kept, told, health, slots, "1.2.3".to_owned(), SystemTime::now());
        let routes = routes.await.expect("the description of nic.v1 is whole");
        let path = directory.path().join("nic.sock");
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).expect("a socket"));
        let heard = Arc::new(Heard::default());
        let gate = Gate::new(role).observed_by(Arc::clone(&heard) as Arc<dyn Observer>);
        let server = tokio::spawn(async move {
            serve(routes, gate, incoming, std::future::pending()).await.expect("served");
        });
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // A small window, so that a client that does not read is soon sent nothing more.
        let endpoint = Endpoint::from_static("http://card").initial_stream_window_size(1 << 16);
        let channel = endpoint.connect_with_connector(connector).await.expect("connected");
        Lab { channel, store, heard, datapath, directory, server }
    }

    /// A server with a Port on each of `p0` and `pf0vf0`.
    pub(crate) async fn with_ports() -> Lab {
        let lab = Lab::new().await;
        lab.create_port("pf0", "p0").await.expect("created");
        lab.create_port("vm1", "pf0vf0").await.expect("created");
        lab
    }

    /// A server with everything of [`overlay`].
    pub(crate) async fn with_overlay() -> Lab {
        let lab = Lab::new().await;
        let header = pb::ApplyHeader { apply_set: "lab".to_owned(), ..pb::ApplyHeader::default() };
        lab.apply(header, overlay()).await.expect("applied");
        lab
    }

    /// The number that the store gave a Bridge or Vtep: the first part of its etag.
    pub(crate) async fn uid_of(&self, name: &str) -> u64 {
        let mut stream = self.watch(&[], &[]).await.expect("a stream");
        loop {
            let event = stream.message().await.expect("an event").expect("the list goes on").event;
            let etag = match event.expect("of a kind") {
                Seen::Put(pb::Resource { kind: Some(resource::Kind::Bridge(it)) }) if it.name == name => {
                    it.etag
                }
                Seen::Put(pb::Resource { kind: Some(resource::Kind::Vtep(it)) }) if it.name == name => {
                    it.etag
                }
                Seen::Put(_) => continue,
                other => panic!("no {name}: {other:?}"),
            };
            let (uid, _) = etag.split_once('.').expect("two parts");
            return u64::from_str_radix(uid, 16).expect("a number");
        }
    }

    pub(crate) async fn watch(
        &self,
        resume_token: &[u8],
        kinds: &[&str],
    ) -> Result<tonic::Streaming<pb::WatchEvent>, Status> {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let request = pb::WatchRequest { resume_token: resume_token.to_vec(), kinds };
        let mut client = WatchServiceClient::new(self.channel.clone());
        client.watch(request).await.map(tonic::Response::into_inner)
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
        self.create_rule_of(id.to_owned(), rule("", flow)).await
    }

    pub(crate) async fn create_rule_of(
        &self,
        flow_rule_id: String,
        rule: pb::FlowRule,
    ) -> Result<pb::CreateFlowRuleResponse, Status> {
        let flow_rule = Some(rule);
        let request = pb::CreateFlowRuleRequest { flow_rule_id, flow_rule, request_id: String::new() };
        self.rules().create_flow_rule(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn apply_messages(
        &self,
        messages: impl IntoIterator<Item = apply_request::Message, IntoIter: Send + 'static>,
    ) -> Result<pb::ApplyResponse, Status> {
        let messages = messages.into_iter().map(|message| pb::ApplyRequest { message: Some(message) });
        let stream = tokio_stream::iter(messages);
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

pub(crate) fn bridge(name: &str, vtep: &str, vni: u32) -> pb::Bridge {
    let spec = pb::BridgeSpec { vtep: vtep.to_owned(), vni, ..pb::BridgeSpec::default() };
    pb::Bridge { name: name.to_owned(), spec: Some(spec), ..pb::Bridge::default() }
}

pub(crate) fn vtep(name: &str, port: &str, address: &str) -> pb::Vtep {
    let spec = pb::VtepSpec { port: port.to_owned(), address: address.to_owned(), ..pb::VtepSpec::default() };
    pb::Vtep { name: name.to_owned(), spec: Some(spec), ..pb::Vtep::default() }
}

/// A peer of the VTEP `v0`.
pub(crate) fn tunnel_peer(name: &str, address: &str, bridges: &[&str]) -> pb::TunnelPeer {
    let spec = pb::TunnelPeerSpec {
        vtep: "vteps/v0".to_owned(),
        address: address.to_owned(),
        bridges: bridges.iter().map(|bridge| (*bridge).to_owned()).collect(),
        ..pb::TunnelPeerSpec::default()
    };
    pb::TunnelPeer { name: name.to_owned(), spec: Some(spec), ..pb::TunnelPeer::default() }
}

/// A station of the bridge `red` behind the peer `far`.
pub(crate) fn fdb_entry(name: &str, mac_address: &str) -> pb::FdbEntry {
    let spec = pb::FdbEntrySpec {
        bridge: "bridges/red".to_owned(),
        mac_address: mac_address.to_owned(),
        tunnel_peer: "tunnelPeers/far".to_owned(),
        ..pb::FdbEntrySpec::default()
    };
    pb::FdbEntry { name: name.to_owned(), spec: Some(spec), ..pb::FdbEntry::default() }
}

/// One resource of each kind, and the uplink: a VM in a bridge that a tunnel leads on.
pub(crate) fn overlay() -> Vec<resource::Kind> {
    let (mut pf0, mut vm1) = (port("ports/pf0", "p0"), port("ports/vm1", "pf0vf0"));
    pf0.spec.as_mut().expect("a spec").mtu = 9000;
    vm1.spec.as_mut().expect("a spec").bridge = "bridges/red".to_owned();
    vec![
        resource::Kind::FdbEntry(fdb_entry("fdbEntries/far-vm", "02:00:00:00:00:02")),
        resource::Kind::TunnelPeer(tunnel_peer("tunnelPeers/far", "192.0.2.2", &["bridges/red"])),
        resource::Kind::Bridge(bridge("bridges/red", "vteps/v0", 16)),
        resource::Kind::Vtep(vtep("vteps/v0", "ports/pf0", "192.0.2.1/24")),
        resource::Kind::FlowRule(rule("flowRules/up", "in_port=vm1,arp,actions=drop")),
        resource::Kind::Port(vm1),
        resource::Kind::Port(pf0),
    ]
}

/// The gRPC code, the reason, and the fields at fault with their reasons.
pub(crate) fn failure<T: std::fmt::Debug>(
    result: Result<T, Status>,
) -> (Code, String, Vec<(String, String)>) {
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
