//! nic-agent's end.
//!
//! [`run`] is the whole of it: connect, shake hands, bring the datapath to the store's revision, send
//! each later revision as a delta, and start again after any error. What the datapath says in between
//! stands in a [`State`] that anyone may watch; questions go through a [`Client`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use nic_flow::{FlowKey, PortId};
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    Alarm, AuditReport, BridgeId, CapabilityTable, Delta, Device, FdbView, FlowView, NeighborView, Network,
    Revision, Stats,
};
use nic_proto::datapath::v1 as pb;
use nic_proto::datapath::v1::datapath_client::DatapathClient;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Uri};
use uuid::Uuid;

use crate::SCHEMA_VERSIONS;
use crate::calls::Calls;
use crate::convert::{
    alarm_from, audit_from, capabilities_from, change_to, device_from, fdb_from, flow_from, key_to,
    neighbor_from, stats_from, trace_from,
};
use crate::error::LinkError;

/// The first pause before another attempt to connect; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long one call may take. Syncs are bounded by it too.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Changes that wait for the socket.
const SYNC_QUEUE: usize = 64;

/// Where the policy comes from.
pub trait PolicySource: Send + Sync + 'static {
    /// The store.
    fn store(&self) -> Uuid;

    /// The whole policy at the newest revision.
    fn full(&self) -> Delta;

    /// What leads from `revision` to the newest one, if that is still known.
    fn since(&self, revision: Revision) -> Option<Delta>;

    /// The newest revision, and when it changes.
    fn newest(&self) -> watch::Receiver<Revision>;

    /// The calls of the API that the revisions behind `after` and up to `to` came from, for the logs. A source
    /// that knows of none has none.
    fn calls(&self, after: Revision, to: Revision) -> Calls {
        let _ = (after, to);
        Calls::default()
    }
}

/// How the agent presents itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// nic-datapath's socket.
    pub socket: PathBuf,
    /// Replace whatever policy is in force.
    pub adopt: bool,
    /// The agent's version, for people.
    pub version: String,
}

/// What is known of the datapath.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The connection, or why there is none.
    pub connection: Connection,
    /// Since when it is up or down; `None` before the first try.
    pub since: Option<SystemTime>,
    /// The schema version that both ends speak; 0 before the first handshake.
    pub schema_version: u32,
    /// The newest revision that was sent and accepted.
    pub sent: Option<Revision>,
    /// The newest revision that is applied: no stale flow, no stale rule is left.
    pub applied: Option<Revision>,
    /// Why the newest revision was not accepted; until one is, or the datapath is gone.
    pub refused: Option<String>,
    /// nic-datapath's version.
    pub version: String,
    /// This run of nic-datapath.
    pub instance: Option<Uuid>,
    /// The devices that it drives.
    pub devices: Vec<Device>,
    /// The alarms that it tells; none while it is away, for then nobody knows.
    pub alarms: Vec<Alarm>,
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Connected, and this agent holds the lease.
    Up,
    /// Not connected, or refused; why.
    Down(String),
}

impl Default for Connection {
    fn default() -> Connection {
        Connection::Down("not tried yet".to_owned())
    }
}

/// Asks the datapath questions. Cheap to clone; every call fails at once while there is no connection.
#[derive(Debug, Clone)]
pub struct Client {
    channel: DatapathClient<Channel>,
    /// What the last handshake gave; 0 before the first.
    lease: Arc<AtomicU64>,
    state: watch::Receiver<State>,
}

impl Client {
    /// What is known of the datapath, and when it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Follows a packet through the policy in force.
    ///
    /// # Errors
    /// There is no connection, or the packet cannot be read.
    pub async fn trace(&self, packet: TracePacket) -> Result<TraceReport, LinkError> {
        let (in_port, packet) = match packet {
            TracePacket::Frame(port, frame) => (port, pb::trace_request::Packet::Frame(frame)),
            TracePacket::Key(key) => (key.in_port(), key_packet(key)),
        };
        let request = pb::TraceRequest { in_port: in_port.bits().into(), packet: Some(packet) };
        Ok(trace_from(self.channel.clone().trace(request).await?.get_ref())?)
    }

    /// The flow table, or what of it entered by one port.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, LinkError> {
        let request = pb::ListFlowsRequest { in_port: in_port.map(|port| port.bits().into()) };
        let mut stream = self.channel.clone().list_flows(request).await?.into_inner();
        let mut flows = Vec::new();
        while let Some(message) = stream.message().await? {
            for flow in &message.flows {
                flows.push(flow_from(flow)?);
            }
        }
        Ok(flows)
    }

    /// Removes those flows and returns how many there were.
    ///
    /// # Errors
    /// There is no connection, or another agent holds the lease.
    pub async fn flush(&self, in_port: Option<PortId>) -> Result<u64, LinkError> {
        let in_port = in_port.map(|port| port.bits().into());
        let request = pb::FlushFlowsRequest { lease: self.lease.load(Ordering::Relaxed), in_port };
        Ok(self.channel.clone().flush_flows(request).await?.get_ref().flushed)
    }

    /// Holds flows against the rules of the E-Switch, and puts right what differs if that is asked for.
    ///
    /// # Errors
    /// There is no connection, nic-datapath is too old, or, with `repair`, another agent holds the lease.
    pub async fn audit(&self, repair: bool) -> Result<AuditReport, LinkError> {
        let request = pb::AuditRulesRequest { lease: self.lease.load(Ordering::Relaxed), repair };
        let answer = self.channel.clone().audit_rules(request).await.map_err(|status| match status.into() {
            LinkError::TooOld(_) => LinkError::TooOld("audits of rules".to_owned()),
            other => other,
        });
        Ok(audit_from(answer?.get_ref())?)
    }

    /// The MAC addresses that all bridges know, or those of one.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, LinkError> {
        let request = pb::ListFdbRequest { bridge: bridge.map(|bridge| bridge.0) };
        let mut stream = self.channel.clone().list_fdb(request).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(message) = stream.message().await? {
            for entry in &message.entries {
                entries.push(fdb_from(entry)?);
            }
        }
        Ok(entries)
    }

    /// The neighbours of all networks, or those of one.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, LinkError> {
        use pb::list_neighbors_request::Network as Kind;
        let network = network.map(|network| match network {
            Network::Underlay(vtep) => Kind::Underlay(vtep.0),
            Network::Bridge(bridge) => Kind::Bridge(bridge.0),
        });
        let request = pb::ListNeighborsRequest { network };
        let mut stream = self.channel.clone().list_neighbors(request).await?.into_inner();
        let mut neighbors = Vec::new();
        while let Some(message) = stream.message().await? {
            for neighbor in &message.neighbors {
                neighbors.push(neighbor_from(neighbor)?);
            }
        }
        Ok(neighbors)
    }

    /// Forgets the MAC addresses that all bridges learned, or those of one, and returns how many there were.
    ///
    /// # Errors
    /// There is no connection, or another agent holds the lease.
    pub async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, LinkError> {
        let lease = self.lease.load(Ordering::Relaxed);
        let request = pb::FlushFdbRequest { lease, bridge: bridge.map(|bridge| bridge.0) };
        Ok(self.channel.clone().flush_fdb(request).await?.get_ref().flushed)
    }

    /// All counters.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn stats(&self) -> Result<Stats, LinkError> {
        Ok(stats_from(self.channel.clone().get_stats(pb::GetStatsRequest {}).await?.get_ref())?)
    }

    /// What the card can do.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn capabilities(&self) -> Result<CapabilityTable, LinkError> {
        let answer = self.channel.clone().get_capabilities(pb::GetCapabilitiesRequest {}).await?;
        Ok(capabilities_from(&answer.get_ref().capabilities.clone().unwrap_or_default())?)
    }
}

fn key_packet(key: FlowKey) -> pb::trace_request::Packet {
    let fields = key_to(&key).into_iter().filter(|part| part.field != nic_flow::Field::InPort.name());
    pb::trace_request::Packet::Key(pb::PacketKey { fields: fields.collect() })
}

/// A lazy connection to a unix socket: the first call connects, and so does the first after a loss.
fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    // The URI is never resolved; HTTP/2 wants an authority.
    Endpoint::from_static("http://nic-datapath").timeout(CALL_TIMEOUT).connect_with_connector_lazy(
        tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }),
    )
}

/// Makes the client and the task that keeps the datapath at the source's revision. The task never ends
/// by itself; it must be spawned.
pub fn run<S: PolicySource>(config: Config, source: Arc<S>) -> (Client, impl Future<Output = ()> + Send) {
    let (state, watched) = watch::channel(State::default());
    let channel = DatapathClient::new(channel(&config.socket));
    let lease = Arc::new(AtomicU64::new(0));
    let client = Client { channel: channel.clone(), lease: Arc::clone(&lease), state: watched };
    let session = Session { config, source, channel, lease, state, not_taken: None };
    (client, session.forever())
}

struct Session<S> {
    config: Config,
    source: Arc<S>,
    channel: DatapathClient<Channel>,
    lease: Arc<AtomicU64>,
    state: watch::Sender<State>,
    /// The revision that was not taken last, and why.
    not_taken: Option<(u64, String)>,
}

impl<S: PolicySource> Session<S> {
    async fn forever(mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            let error = match self.once(&mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            // Of a datapath that cannot be asked nobody knows what it refuses.
            let forget = matches!(error, LinkError::Disconnected(_));
            let text = match error {
                // Whoever shows it says in front of it that there is no connection.
                LinkError::Disconnected(why) => why,
                other => other.to_string(),
            };
            let told = self.state.send_if_modified(|state| {
                let down = Connection::Down(text.clone());
                let news = state.connection != down;
                if state.connection == Connection::Up || state.since.is_none() {
                    state.since = Some(SystemTime::now());
                }
                state.connection = down;
                state.alarms.clear();
                state.refused.take_if(|_| forget);
                news
            });
            if told {
                tracing::warn!(error = text, "nic-datapath is away; it goes on by its last policy");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// One connection, from the handshake to its loss.
    async fn once(&mut self, pause: &mut Duration) -> Result<std::convert::Infallible, LinkError> {
        let mut newest = self.source.newest();
        let mut in_force = self.shake().await?;
        let request = pb::EventsRequest { lease: self.lease.load(Ordering::Relaxed) };
        let mut events = self.channel.events(request).await?.into_inner();
        tracing::info!(?in_force, "connected to nic-datapath");
        loop {
            let revision = *newest.borrow_and_update();
            if in_force != Some(revision) {
                in_force = Some(self.bring(in_force).await?);
            }
            self.state.send_if_modified(|state| state.refused.take().is_some());
            // A policy that is refused is refused again: that is not tried as often as a connection is.
            *pause = MIN_PAUSE;
            tokio::select! {
                changed = newest.changed() => {
                    changed.map_err(|_| LinkError::Disconnected("the store is closed".to_owned()))?;
                }
                event = events.message() => {
                    let lost = || LinkError::Disconnected("nic-datapath closed the connection".to_owned());
                    self.heed(event?.ok_or_else(lost)?)?;
                }
            }
        }
    }

    /// Shakes hands; returns the revision in force if it is of our store.
    async fn shake(&mut self) -> Result<Option<Revision>, LinkError> {
        let store = self.source.store();
        let revision = self.source.newest().borrow().0;
        let answer = self
            .channel
            .handshake(pb::HandshakeRequest {
                store_uuid: store.as_bytes().to_vec(),
                revision,
                schema_versions: SCHEMA_VERSIONS.to_vec(),
                lease: self.lease.load(Ordering::Relaxed),
                adopt: self.config.adopt,
                version: self.config.version.clone(),
            })
            .await?
            .into_inner();
        let devices = answer.devices.iter().map(device_from).collect::<Result<_, _>>()?;
        self.lease.store(answer.lease, Ordering::Relaxed);
        let ours = answer.store_uuid == store.as_bytes();
        let in_force = ours.then_some(Revision(answer.revision));
        self.state.send_modify(|state| {
            state.connection = Connection::Up;
            state.since = Some(SystemTime::now());
            state.schema_version = answer.schema_version;
            state.sent = in_force;
            state.applied = None;
            state.version = answer.version;
            state.instance = Uuid::from_slice(&answer.instance_uuid).ok();
            state.devices = devices;
        });
        Ok(in_force)
    }

    /// Sends what leads from the revision in force to the newest, or everything.
    async fn bring(&mut self, in_force: Option<Revision>) -> Result<Revision, LinkError> {
        let delta = in_force.and_then(|from| self.source.since(from).map(|delta| (from, delta)));
        let result = match delta {
            Some((from, delta)) => self.send(Some(from), delta).await,
            None => self.send(None, self.source.full()).await,
        };
        let result = match result {
            Err(error) if error.is(pb::LinkErrorReason::RevisionGap) => {
                self.send(None, self.source.full()).await
            }
            other => other,
        };
        self.state.send_modify(|state| match &result {
            Ok(revision) => state.sent = Some(*revision),
            Err(error) => state.refused = Some(error.to_string()),
        });
        result
    }

    async fn send(&mut self, from: Option<Revision>, delta: Delta) -> Result<Revision, LinkError> {
        use pb::sync_header::Base;
        use pb::sync_request::Message;
        let revision = delta.revision.0;
        let calls = self.source.calls(from.unwrap_or_default(), delta.revision).bounded();
        let header = Message::Header(pb::SyncHeader {
            lease: self.lease.load(Ordering::Relaxed),
            store_uuid: self.source.store().as_bytes().to_vec(),
            revision: delta.revision.0,
            base: Some(match from {
                Some(from) => Base::FromRevision(from.0),
                None => Base::Full(pb::FullPolicy {}),
            }),
        });
        let (queue, stream) = tokio::sync::mpsc::channel(SYNC_QUEUE);
        let feed = async move {
            let wrap = |message| pb::SyncRequest { message: Some(message) };
            let messages = std::iter::once(header)
                .chain(delta.changes.iter().map(change_to))
                .chain(std::iter::once(Message::End(pb::SyncEnd {})));
            for message in messages {
                // The other end hung up; its answer says why.
                if queue.send(wrap(message)).await.is_err() {
                    break;
                }
            }
        };
        let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(stream));
        calls.write(request.metadata_mut());
        let (answer, ()) = tokio::join!(self.channel.sync(request), feed);
        let full = from.is_none();
        match answer {
            Ok(answer) => {
                tracing::info!(revision, full, calls = calls.shown(), "policy sent");
                self.not_taken = None;
                Ok(Revision(answer.get_ref().revision))
            }
            Err(status) => {
                // It is tried again and again; that it fails alike is said once.
                let why = Some((revision, status.message().to_owned()));
                if self.not_taken != why {
                    let error = status.message();
                    tracing::warn!(revision, full, calls = calls.shown(), error, "policy not taken");
                    self.not_taken = why;
                }
                Err(status.into())
            }
        }
    }

    fn heed(&self, event: pb::Event) -> Result<(), LinkError> {
        match event.kind {
            Some(pb::event::Kind::Applied(applied)) => {
                self.state.send_modify(|state| state.applied = Some(Revision(applied.revision)));
            }
            Some(pb::event::Kind::Inventory(inventory)) => {
                let devices = inventory.devices.iter().map(device_from).collect::<Result<_, _>>()?;
                self.state.send_modify(|state| state.devices = devices);
            }
            Some(pb::event::Kind::Alarms(alarms)) => {
                let alarms = alarms.alarms.iter().map(alarm_from).collect::<Result<_, _>>()?;
                self.state.send_modify(|state| state.alarms = alarms);
            }
            // A kind that a newer datapath added.
            None => {}
        }
        Ok(())
    }
}
