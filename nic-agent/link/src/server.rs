//! nic-datapath's end.
//!
//! The service fences writers and reads every Sync whole before it asks the [`Backend`] to publish
//! it, so half a stream, an unknown field or a stale writer changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use nic_flow::PortId;
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    BridgeId, CapabilityTable, Delta, Device, FdbView, FlowView, NeighborView, Network, Revision, Stats,
    VtepId,
};
use nic_proto::datapath::v1 as pb;
use nic_proto::datapath::v1::datapath_server::{Datapath, DatapathServer};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::SCHEMA_VERSIONS;
use crate::convert::{
    Schema, capabilities_to, change_from, device_to, fdb_to, flow_to, key_from, neighbor_to, stats_to,
    trace_to,
};
use crate::error::Rejection;

/// Flows in one message of a list.
const FLOWS_A_MESSAGE: usize = 64;
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

    /// The newest revision of which no stale flow and no stale rule is left, and when it changes.
    fn applied(&self) -> watch::Receiver<Revision>;

    /// Puts a policy in force, whole or not at all. Returns how many objects differed.
    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection>;

    /// Follows a packet through the policy in force.
    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, Rejection>;

    /// The flow table, or what of it entered by one port.
    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, Rejection>;

    /// Removes those flows and returns how many there were.
    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, Rejection>;

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
    DatapathServer::new(Service { backend, lease: watch::Sender::new(None), syncs: AtomicU64::new(0) })
}

struct Service<B> {
    backend: Arc<B>,
    /// The greatest lease seen and what its handshake declared.
    lease: watch::Sender<Option<Writer>>,
    /// Numbers the Syncs, for the log.
    syncs: AtomicU64,
}

/// The writer that holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Writer {
    lease: u64,
    store: Uuid,
    adopt: bool,
    schema: Schema,
}

impl<B: Backend> Service<B> {
    /// The writer, if the lease is the latest.
    fn writer(&self, lease: u64) -> Result<Writer, Rejection> {
        match *self.lease.borrow() {
            Some(writer) if writer.lease == lease => Ok(writer),
            Some(writer) if writer.lease > lease => {
                Err(Rejection::LeaseFenced { lease, latest: writer.lease })
            }
            _ => Err(Rejection::LeaseUnknown { lease }),
        }
    }

    /// What the agent speaks. Before the first handshake nobody is there whose words could be missed.
    fn schema(&self) -> Schema {
        self.lease.borrow().map_or(Schema::NEWEST, |writer| writer.schema)
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
        let lease = self.take_lease(Writer { lease: request.lease, store, adopt: request.adopt, schema })?;
        tracing::info!(%store, revision = request.revision, lease, adopt = request.adopt,
            version = request.version, "a writer holds the lease");
        Ok(pb::HandshakeResponse {
            store_uuid: in_force.store.map(|uuid| uuid.as_bytes().to_vec()).unwrap_or_default(),
            revision: in_force.revision.0,
            schema_version,
            instance_uuid: self.backend.instance().as_bytes().to_vec(),
            version: self.backend.version(),
            devices: self.backend.devices().borrow().iter().map(device_to).collect(),
            capabilities: Some(schema.capabilities(capabilities_to(&self.backend.capabilities()))),
            lease,
        })
    }

    /// Makes `writer` the one that may write, unless a later one already may. Returns its lease.
    fn take_lease(&self, mut writer: Writer) -> Result<u64, Rejection> {
        let mut fenced_by = None;
        self.lease.send_if_modified(|current| {
            let latest = current.map_or(0, |current| current.lease);
            // Behind the last number there is no next one: who took that keeps it.
            let next = if writer.lease == 0 { latest.checked_add(1) } else { Some(writer.lease) };
            let Some(lease) = next.filter(|lease| *lease >= latest) else {
                fenced_by = Some(latest);
                return false;
            };
            writer.lease = lease;
            *current = Some(writer);
            true
        });
        match fenced_by {
            Some(latest) => Err(Rejection::LeaseFenced { lease: writer.lease, latest }),
            None => Ok(writer.lease),
        }
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
        Ok(Response::new(self.shake(request.get_ref())?))
    }

    async fn sync(
        &self,
        request: Request<Streaming<pb::SyncRequest>>,
    ) -> Result<Response<pb::SyncResponse>, Status> {
        let (header, delta) = read_sync(request.into_inner()).await?;
        let store = store_uuid(&header.store_uuid)?;
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
        let changed = self.backend.publish(store, delta).await?;
        let number = self.syncs.fetch_add(1, Ordering::Relaxed);
        tracing::info!(number, revision, full, changes, changed, "policy in force");
        Ok(Response::new(pb::SyncResponse { revision, changed }))
    }

    async fn events(
        &self,
        request: Request<pb::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        use pb::event::Kind;
        let lease = request.get_ref().lease;
        self.writer(lease)?;
        let applied = WatchStream::new(self.backend.applied())
            .map(|revision| Kind::Applied(pb::Applied { revision: revision.0 }));
        let devices = WatchStream::new(self.backend.devices()).map(|devices| {
            Kind::Inventory(pb::Inventory { devices: devices.iter().map(device_to).collect() })
        });
        let events = futures::stream::select(applied, devices).map(|kind| Ok(pb::Event { kind: Some(kind) }));
        let end = futures::stream::once(self.fenced(lease)).map(Err);
        // The stream of events never ends by itself; the fence, once it falls, is the last word.
        let all = futures::stream::select(events, end).scan(false, |ended, event| {
            let go_on = !*ended;
            *ended |= event.is_err();
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
        Ok(Response::new(self.schema().trace(trace_to(&report))))
    }

    async fn list_flows(
        &self,
        request: Request<pb::ListFlowsRequest>,
    ) -> Result<Response<Self::ListFlowsStream>, Status> {
        let flows = self.backend.flows(in_port(request.get_ref().in_port)?).await?;
        let schema = self.schema();
        Ok(Response::new(in_chunks(flows, FLOWS_A_MESSAGE, move |flows| pb::ListFlowsResponse {
            flows: flows.iter().map(|flow| schema.flow(flow_to(flow))).collect(),
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
        let capabilities = Some(self.schema().capabilities(capabilities_to(&self.backend.capabilities())));
        Ok(Response::new(pb::GetCapabilitiesResponse { capabilities }))
    }

    async fn get_stats(
        &self,
        _: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        let stats = self.backend.stats().await?;
        Ok(Response::new(self.schema().stats(stats_to(&stats))))
    }
}

fn in_port(bits: Option<u32>) -> Result<Option<PortId>, Status> {
    let port = bits.map(|bits| u16::try_from(bits).map(PortId::from_bits)).transpose();
    port.map_err(|_| Status::invalid_argument("in_port: out of range"))
}
