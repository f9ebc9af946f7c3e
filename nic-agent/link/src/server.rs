//! nic-datapath's end.
//!
//! The service fences writers and reads every Sync whole before it asks the [`Backend`] to publish
//! it, so half a stream, an unknown field or a stale writer changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use nic_flow::PortId;
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    Alarm, AuditReport, BridgeId, CapabilityTable, Delta, Device, FdbView, FlowView, NeighborView, Network,
    Revision, Stats, VtepId,
};
use nic_proto::datapath::v1 as pb;
use nic_proto::datapath::v1::datapath_server::{Datapath, DatapathServer};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::SCHEMA_VERSIONS;
use crate::applied::{Applied, Publication};
use crate::calls::Calls;
use crate::convert::{
    Schema, alarm_to, audit_to, capabilities_to, change_from, device_to, fdb_to, flow_to, key_from,
    neighbor_to, stats_to, trace_to,
};
use crate::error::Rejection;

/// Flows in one message of a list.
const FLOWS_A_MESSAGE: usize = 64;
/// Leases that are given out and not used, at most; older ones are forgotten.
const MAX_OFFERED: usize = 16;
/// MAC addresses or neighbours in one message of a list.
const LEARNED_A_MESSAGE: usize = 512;

/// The policy that the datapath translates by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InForce {
    /// The store that it came from; `None` while there is no policy.
    pub store: Option<Uuid>,
    /// Its revision.
    pub revision: Revision,
}

/// What the service asks of the process that it runs in.
#[tonic::async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Names this run of the process.
    fn instance(&self) -> Uuid;

    /// The process's version.
    fn version(&self) -> String;

    /// The devices, and when they change.
    fn devices(&self) -> watch::Receiver<Vec<Device>>;

    /// The capability table.
    fn capabilities(&self) -> CapabilityTable;

    /// The policy in force.
    fn in_force(&self) -> InForce;

    /// The newest revision of which no stale flow and no stale rule is left and that a restart would begin
    /// with, and when it changes.
    fn applied(&self) -> watch::Receiver<Revision>;

    /// The alarms that stand, and when they change.
    fn alarms(&self) -> watch::Receiver<Vec<Alarm>>;

    /// Hears whether an agent that holds the lease listens to events, when that changes. Before the first call
    /// none does.
    fn attended(&self, by_agent: bool);

    /// Puts a policy in force, whole or not at all. Returns how many objects differed.
    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection>;

    /// An agent has shaken hands whose policy is the one in force: same store, same revision.
    fn confirmed(&self);

    /// Follows a packet through the policy in force.
    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, Rejection>;

    /// The flow table, or what of it entered by one port.
    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, Rejection>;

    /// Removes those flows and returns how many there were.
    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, Rejection>;

    /// Holds flows against the rules of the E-Switch, and puts right what differs if that is asked for.
    async fn audit(&self, repair: bool) -> Result<AuditReport, Rejection>;

    /// The MAC addresses that all bridges know, or those of one.
    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, Rejection>;

    /// The neighbours of all networks, or those of one.
    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, Rejection>;

    /// Forgets the MAC addresses that all bridges learned, or those of one, and returns how many there were.
    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, Rejection>;

    /// All counters.
    async fn stats(&self) -> Result<Stats, Rejection>;
}

/// The gRPC service over a backend.
pub fn service<B: Backend>(backend: Arc<B>) -> DatapathServer<impl Datapath> {
    let attendance = Attendance { backend: Arc::clone(&backend), listeners: Mutex::default() };
    DatapathServer::new(Service {
        backend,
        attendance: Arc::new(attendance),
        lease: watch::Sender::new(None),
        offered: Mutex::default(),
        turn: Arc::default(),
        syncs: AtomicU64::new(0),
        applied: OnceLock::new(),
    })
}

struct Service<B> {
    backend: Arc<B>,
    attendance: Arc<Attendance<B>>,
    /// The greatest lease that was used and what its handshake declared.
    lease: watch::Sender<Option<Writer>>,
    /// Greater ones that were given out and not used yet, the oldest first. A lease fences those before it
    /// when it is used: a handshake may be read after its agent died, and after that of the next one.
    offered: Mutex<Vec<Writer>>,
    /// Held by whoever looks at what is in force, until what follows from that is done.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Numbers the Syncs, for the log.
    syncs: AtomicU64,
    /// Says in the log when they are applied; from the first one on.
    applied: OnceLock<Applied>,
}

/// The writer that holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Writer {
    lease: u64,
    store: Uuid,
    adopt: bool,
    schema: Schema,
}

/// Who listens to events.
struct Attendance<B> {
    backend: Arc<B>,
    /// The greatest lease that listened, and how many streams of it are open.
    listeners: Mutex<(u64, usize)>,
}

impl<B: Backend> Attendance<B> {
    fn enter(self: &Arc<Self>, lease: u64) -> Listener<B> {
        self.change(|listeners| match *listeners {
            (latest, open) if latest == lease => *listeners = (lease, open + 1),
            (latest, _) if latest < lease => *listeners = (lease, 1),
            // Fenced already.
            _ => {}
        });
        Listener { attendance: Arc::clone(self), lease }
    }

    fn change(&self, change: impl FnOnce(&mut (u64, usize))) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = listeners.1 > 0;
        change(&mut listeners);
        let now = listeners.1 > 0;
        if before != now {
            self.backend.attended(now);
        }
    }
}

/// One open stream of events.
struct Listener<B: Backend> {
    attendance: Arc<Attendance<B>>,
    lease: u64,
}

impl<B: Backend> Drop for Listener<B> {
    fn drop(&mut self) {
        self.attendance.change(|(latest, open)| {
            if *latest == self.lease {
                *open = open.saturating_sub(1);
            }
        });
    }
}

impl<B: Backend> Service<B> {
    /// The writer, if the lease is the latest.
    fn writer(&self, lease: u64) -> Result<Writer, Rejection> {
        self.take_lease(lease);
        match *self.lease.borrow() {
            Some(writer) if writer.lease == lease => Ok(writer),
            Some(writer) if writer.lease > lease => {
                Err(Rejection::LeaseFenced { lease, latest: writer.lease })
            }
            _ => Err(Rejection::LeaseUnknown { lease }),
        }
    }

    fn shake(&self, request: &pb::HandshakeRequest) -> Result<pb::HandshakeResponse, Rejection> {
        let schema_version = request
            .schema_versions
            .iter()
            .copied()
            .filter(|version| SCHEMA_VERSIONS.contains(version))
            .max()
            .ok_or_else(|| Rejection::Schema {
                ours: SCHEMA_VERSIONS,
                theirs: request.schema_versions.clone(),
            })?;
        let store = store_uuid(&request.store_uuid)?;
        let in_force = self.backend.in_force();
        check_store(in_force, store, request.revision, request.adopt)?;
        let schema = Schema(schema_version);
        let lease = self.offer_lease(Writer { lease: request.lease, store, adopt: request.adopt, schema })?;
        if in_force == (InForce { store: Some(store), revision: Revision(request.revision) }) {
            self.backend.confirmed();
        }
        tracing::info!(%store, revision = request.revision, lease, adopt = request.adopt,
            version = request.version, "a writer was given a lease");
        Ok(pb::HandshakeResponse {
            store_uuid: in_force.store.map(|uuid| uuid.as_bytes().to_vec()).unwrap_or_default(),
            revision: in_force.revision.0,
            schema_version,
            instance_uuid: self.backend.instance().as_bytes().to_vec(),
            version: self.backend.version(),
            devices: self.backend.devices().borrow().iter().map(device_to).collect(),
            capabilities: Some(capabilities_to(&self.backend.capabilities())),
            lease,
        })
    }

    /// Gives out a lease, unless a later one is used already.
    fn offer_lease(&self, mut writer: Writer) -> Result<u64, Rejection> {
        let mut offered = self.offered();
        let latest = self.lease.borrow().map_or(0, |current| current.lease);
        if writer.lease == 0 {
            let last = offered.iter().fold(latest, |latest, other| latest.max(other.lease));
            // Behind the last number there is no next one: who took that keeps it.
            let Some(next) = last.checked_add(1) else {
                return Err(Rejection::LeaseFenced { lease: writer.lease, latest: last });
            };
            writer.lease = next;
        } else if latest > writer.lease {
            return Err(Rejection::LeaseFenced { lease: writer.lease, latest });
        }
        if latest == writer.lease {
            self.lease.send_replace(Some(writer));
            return Ok(writer.lease);
        }
        offered.retain(|other| other.lease != writer.lease);
        if offered.len() == MAX_OFFERED {
            offered.remove(0);
        }
        offered.push(writer);
        Ok(writer.lease)
    }

    /// A lease is used: if it was given out and none after it was used, its writer is the one that may
    /// write.
    fn take_lease(&self, lease: u64) {
        let mut offered = self.offered();
        if let Some(writer) = offered.iter().copied().find(|writer| writer.lease == lease) {
            offered.retain(|other| other.lease > lease);
            self.lease.send_replace(Some(writer));
        }
    }

    fn offered(&self) -> MutexGuard<'_, Vec<Writer>> {
        // The list is whole after each of its own steps.
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when a later writer takes the lease.
    fn fenced(&self, lease: u64) -> impl Future<Output = Status> + Send + use<B> {
        let mut latest = self.lease.subscribe();
        async move {
            let taken = latest.wait_for(|writer| writer.is_some_and(|writer| writer.lease > lease)).await;
            match taken.ok().and_then(|writer| *writer) {
                Some(writer) => Rejection::LeaseFenced { lease, latest: writer.lease }.into(),
                None => Rejection::ShuttingDown.into(),
            }
        }
    }
}

fn store_uuid(bytes: &[u8]) -> Result<Uuid, Rejection> {
    Uuid::from_slice(bytes).map_err(|_| Rejection::StoreUuid(bytes.len()))
}

/// A policy of another store or an older one takes the place of the one in force only on purpose.
fn check_store(in_force: InForce, store: Uuid, revision: u64, adopt: bool) -> Result<(), Rejection> {
    match in_force.store {
        _ if adopt => Ok(()),
        None => Ok(()),
        Some(other) if other != store => Err(Rejection::StoreMismatch { in_force: other }),
        Some(_) if revision < in_force.revision.0 => {
            Err(Rejection::RevisionRegression { in_force: in_force.revision.0, offered: revision })
        }
        Some(_) => Ok(()),
    }
}

/// Reads a Sync to its end.
async fn read_sync(mut stream: Streaming<pb::SyncRequest>) -> Result<(pb::SyncHeader, Delta), Status> {
    use pb::sync_request::Message;
    let Some(Message::Header(header)) = stream.message().await?.and_then(|first| first.message) else {
        return Err(Rejection::SyncStream("the first message is not a header").into());
    };
    let mut delta = Delta {
        revision: Revision(header.revision),
        replace_all: matches!(header.base, Some(pb::sync_header::Base::Full(_))),
        changes: Vec::new(),
    };
    let mut ids = std::collections::HashSet::new();
    loop {
        let next = stream.message().await?.ok_or(Rejection::SyncStream("it ended without its end"))?;
        let message = next.message.ok_or(Rejection::SyncStream("a message of unknown kind"))?;
        match change_from(&message).map_err(Rejection::from)? {
            Some(change) if ids.insert(change.id()) => delta.changes.push(change),
            Some(_) => return Err(Rejection::SyncStream("an object comes twice").into()),
            None if matches!(message, Message::End(_)) => break,
            None => return Err(Rejection::SyncStream("a second header").into()),
        }
    }
    match stream.message().await? {
        None => Ok((header, delta)),
        Some(_) => Err(Rejection::SyncStream("something follows the end").into()),
    }
}

/// A list as a stream of messages, each made when the one before is on its way.
fn in_chunks<T: Send + 'static, M: 'static>(
    list: Vec<T>,
    size: usize,
    message: impl Fn(&[T]) -> M + Send + 'static,
) -> BoxStream<'static, Result<M, Status>> {
    let starts = (0..list.len()).step_by(size);
    let part = move |start: usize| Ok(message(&list[start..list.len().min(start + size)]));
    futures::stream::iter(starts.map(part)).boxed()
}

#[tonic::async_trait]
impl<B: Backend> Datapath for Service<B> {
    type EventsStream = BoxStream<'static, Result<pb::Event, Status>>;
    type ListFlowsStream = BoxStream<'static, Result<pb::ListFlowsResponse, Status>>;
    type ListFdbStream = BoxStream<'static, Result<pb::ListFdbResponse, Status>>;
    type ListNeighborsStream = BoxStream<'static, Result<pb::ListNeighborsResponse, Status>>;

    async fn handshake(
        &self,
        request: Request<pb::HandshakeRequest>,
    ) -> Result<Response<pb::HandshakeResponse>, Status> {
        // What is being published is in force before the next writer hears what is.
        let _turn = self.turn.lock().await;
        Ok(Response::new(self.shake(request.get_ref())?))
    }

    async fn sync(
        &self,
        request: Request<Streaming<pb::SyncRequest>>,
    ) -> Result<Response<pb::SyncResponse>, Status> {
        let calls = Calls::read(request.metadata());
        let (header, delta) = read_sync(request.into_inner()).await?;
        let store = store_uuid(&header.store_uuid)?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let writer = self.writer(header.lease)?;
        let in_force = self.backend.in_force();
        check_store(in_force, store, header.revision, writer.adopt && writer.store == store)?;
        match header.base {
            None => return Err(Rejection::SyncStream("the header says neither full nor from where").into()),
            Some(pb::sync_header::Base::FromRevision(from)) => {
                if in_force.store != Some(store) || in_force.revision.0 != from {
                    return Err(Rejection::RevisionGap { in_force: in_force.revision.0, from }.into());
                }
            }
            Some(pb::sync_header::Base::Full(_)) => {}
        }
        let (revision, changes, full) = (delta.revision.0, delta.changes.len(), delta.replace_all);
        let before = *self.backend.applied().borrow();
        // A call ends with its connection, wherever it is. What the worker has begun to go by must be in
        // force all the same, or the next Sync would lead from another policy than the worker's.
        let backend = Arc::clone(&self.backend);
        let publishing = tokio::spawn(async move {
            let published = backend.publish(store, delta).await;
            drop(turn);
            published
        });
        let changed = publishing.await.map_err(|_| Rejection::ShuttingDown)??;
        let number = self.syncs.fetch_add(1, Ordering::Relaxed);
        tracing::info!(number, revision, full, changes, changed, calls = calls.shown(), "policy in force");
        let applied = self.applied.get_or_init(|| Applied::new(self.backend.applied(), log_applied));
        applied.published(Publication { revision: Revision(revision), calls, before });
        Ok(Response::new(pb::SyncResponse { revision, changed }))
    }

    async fn events(
        &self,
        request: Request<pb::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        use pb::event::Kind;
        let lease = request.get_ref().lease;
        let schema = self.writer(lease)?.schema;
        // Before it is told of alarms: it shall not hear that it is away.
        let listener = self.attendance.enter(lease);
        let applied = WatchStream::new(self.backend.applied())
            .map(|revision| Kind::Applied(pb::Applied { revision: revision.0 }));
        let devices = WatchStream::new(self.backend.devices()).map(|devices| {
            Kind::Inventory(pb::Inventory { devices: devices.iter().map(device_to).collect() })
        });
        let alarms = WatchStream::new(self.backend.alarms())
            .map(|alarms| Kind::Alarms(pb::Alarms { alarms: alarms.iter().map(alarm_to).collect() }));
        let events = futures::stream::select(futures::stream::select(applied, devices), alarms)
            .filter(move |kind| futures::future::ready(schema.knows(kind)))
            .map(|kind| Ok(pb::Event { kind: Some(kind) }));
        let end = futures::stream::once(self.fenced(lease)).map(Err);
        // The stream of events never ends by itself; the fence, once it falls, is the last word.
        let all = futures::stream::select(events, end).scan(Some(listener), |listener, event| {
            let go_on = listener.is_some();
            if event.is_err() {
                *listener = None;
            }
            futures::future::ready(go_on.then_some(event))
        });
        Ok(Response::new(all.boxed()))
    }

    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<pb::TraceResponse>, Status> {
        let request = request.into_inner();
        let port = u16::try_from(request.in_port).map(PortId::from_bits);
        let port = port.map_err(|_| Status::invalid_argument("in_port: out of range"))?;
        let packet = match request.packet {
            Some(pb::trace_request::Packet::Frame(frame)) => TracePacket::Frame(port, frame),
            Some(pb::trace_request::Packet::Key(key)) => {
                let mut key = key_from("packet", &key.fields).map_err(Rejection::Packet)?;
                key.set(nic_flow::Field::InPort, port.bits().into());
                TracePacket::Key(key)
            }
            None => return Err(Status::invalid_argument("packet: not set")),
        };
        let report = self.backend.trace(packet).await?;
        Ok(Response::new(trace_to(&report)))
    }

    async fn list_flows(
        &self,
        request: Request<pb::ListFlowsRequest>,
    ) -> Result<Response<Self::ListFlowsStream>, Status> {
        let flows = self.backend.flows(in_port(request.get_ref().in_port)?).await?;
        Ok(Response::new(in_chunks(flows, FLOWS_A_MESSAGE, |flows| pb::ListFlowsResponse {
            flows: flows.iter().map(flow_to).collect(),
        })))
    }

    async fn flush_flows(
        &self,
        request: Request<pb::FlushFlowsRequest>,
    ) -> Result<Response<pb::FlushFlowsResponse>, Status> {
        self.writer(request.get_ref().lease)?;
        let flushed = self.backend.flush(in_port(request.get_ref().in_port)?).await?;
        Ok(Response::new(pb::FlushFlowsResponse { flushed }))
    }

    async fn audit_rules(
        &self,
        request: Request<pb::AuditRulesRequest>,
    ) -> Result<Response<pb::AuditRulesResponse>, Status> {
        let &pb::AuditRulesRequest { lease, repair } = request.get_ref();
        if repair {
            self.writer(lease)?;
        }
        Ok(Response::new(audit_to(&self.backend.audit(repair).await?)))
    }

    async fn list_fdb(
        &self,
        request: Request<pb::ListFdbRequest>,
    ) -> Result<Response<Self::ListFdbStream>, Status> {
        let entries = self.backend.fdb(request.get_ref().bridge.map(BridgeId)).await?;
        Ok(Response::new(in_chunks(entries, LEARNED_A_MESSAGE, |entries| pb::ListFdbResponse {
            entries: entries.iter().map(fdb_to).collect(),
        })))
    }

    async fn list_neighbors(
        &self,
        request: Request<pb::ListNeighborsRequest>,
    ) -> Result<Response<Self::ListNeighborsStream>, Status> {
        use pb::list_neighbors_request::Network as Kind;
        let network = request.get_ref().network.map(|network| match network {
            Kind::Underlay(vtep) => Network::Underlay(VtepId(vtep)),
            Kind::Bridge(bridge) => Network::Bridge(BridgeId(bridge)),
        });
        let neighbors = self.backend.neighbors(network).await?;
        Ok(Response::new(in_chunks(neighbors, LEARNED_A_MESSAGE, |neighbors| pb::ListNeighborsResponse {
            neighbors: neighbors.iter().map(neighbor_to).collect(),
        })))
    }

    async fn flush_fdb(
        &self,
        request: Request<pb::FlushFdbRequest>,
    ) -> Result<Response<pb::FlushFdbResponse>, Status> {
        self.writer(request.get_ref().lease)?;
        let flushed = self.backend.flush_fdb(request.get_ref().bridge.map(BridgeId)).await?;
        Ok(Response::new(pb::FlushFdbResponse { flushed }))
    }

    async fn get_capabilities(
        &self,
        _: Request<pb::GetCapabilitiesRequest>,
    ) -> Result<Response<pb::GetCapabilitiesResponse>, Status> {
        let capabilities = Some(capabilities_to(&self.backend.capabilities()));
        Ok(Response::new(pb::GetCapabilitiesResponse { capabilities }))
    }

    async fn get_stats(
        &self,
        _: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        let stats = self.backend.stats().await?;
        Ok(Response::new(stats_to(&stats)))
    }
}

fn log_applied(publication: Publication) {
    let Publication { revision, calls, .. } = publication;
    tracing::info!(revision = revision.0, calls = calls.shown(), "policy applied");
}

fn in_port(bits: Option<u32>) -> Result<Option<PortId>, Status> {
    let port = bits.map(|bits| u16::try_from(bits).map(PortId::from_bits)).transpose();
    port.map_err(|_| Status::invalid_argument("in_port: out of range"))
}
