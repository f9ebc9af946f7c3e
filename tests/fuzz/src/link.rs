//! nic.datapath.v1: whatever one process sends, the other refuses or understands, and what it understood it
//! would say in the same way.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, BytesMut};
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use nic_flow::PortId;
use nic_flow::extract::extract;
use nic_link::convert::{
    alarm_from, alarm_to, audit_from, audit_to, capabilities_from, capabilities_to, change_from, change_to,
    device_from, device_to, fdb_from, fdb_to, flow_from, flow_to, neighbor_from, neighbor_to, stats_from,
    stats_to, trace_from, trace_to,
};
use nic_link::server::{Backend, InForce, service};
use nic_link::{Rejection, Uuid};
use nic_pipeline::{Snapshot, State, trace};
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    Alarm, AuditReport, BridgeId, CapabilityTable, Delta, Device, FdbView, FlowView, NeighborView, Network,
    Offload, Revision, Stats,
};
use nic_proto::datapath::v1 as pb;
use prost::Message;
use tokio::sync::watch;
use tonic::codegen::{Service, http};

/// What an agent is told, and the changes that it tells: the first byte chooses the message.
pub fn datapath_message(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind % 10 {
        0 => same(bytes, change_of, |change| pb::SyncRequest { message: Some(change_to(change)) }),
        1 => same(bytes, |m: &pb::Device| device_from(m).ok(), device_to),
        2 => same(bytes, |m: &pb::CapabilityTable| capabilities_from(m).ok(), capabilities_to),
        3 => same(bytes, |m: &pb::Flow| flow_from(m).ok(), flow_to),
        4 => same(bytes, |m: &pb::FdbEntry| fdb_from(m).ok(), fdb_to),
        5 => same(bytes, |m: &pb::Neighbor| neighbor_from(m).ok(), neighbor_to),
        6 => same(bytes, |m: &pb::TraceResponse| trace_from(m).ok(), trace_to),
        7 => same(bytes, |m: &pb::GetStatsResponse| stats_from(m).ok(), stats_to),
        8 => same(bytes, |m: &pb::Alarm| alarm_from(m).ok(), alarm_to),
        _ => same(bytes, |m: &pb::AuditRulesResponse| audit_from(m).ok(), audit_to),
    }
}

fn change_of(request: &pb::SyncRequest) -> Option<nic_policy::Change> {
    change_from(request.message.as_ref()?).ok().flatten()
}

/// A message that is understood says the same once it was said again and carried over.
fn same<M: Message + Default, T: PartialEq + Debug>(
    bytes: &[u8],
    from: impl Fn(&M) -> Option<T>,
    to: impl Fn(&T) -> M,
) {
    let Ok(message) = M::decode(bytes) else { return };
    let Some(value) = from(&message) else { return };
    let carried = M::decode(to(&value).encode_to_vec().as_slice()).expect("what was encoded");
    assert_eq!(from(&carried), Some(value));
}

/// The calls, by the byte that chooses one.
const CALLS: [&str; 12] = [
    "Handshake",
    "Sync",
    "Events",
    "Trace",
    "ListFlows",
    "FlushFlows",
    "ListFdb",
    "ListNeighbors",
    "FlushFdb",
    "GetCapabilities",
    "GetStats",
    "AuditRules",
];

/// nic-datapath's end as a whole, over a policy that is really applied: a list of calls, each a byte for
/// the method, one for the number of messages, and messages with their length in two bytes before them.
pub fn datapath_service(bytes: &[u8]) {
    let backend = Arc::new(Datapath::new());
    let mut service = service(Arc::clone(&backend));
    // A Sync is put in force by a task of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let _within = runtime.enter();
    let mut bytes = bytes;
    for _ in 0..16 {
        let Some(([method, count], rest)) = bytes.split_first_chunk() else { break };
        bytes = rest;
        let mut body = BytesMut::new();
        for _ in 0..count % 32 {
            let message = take_message(&mut bytes);
            body.put_u8(0);
            body.put_u32(message.len() as u32);
            body.put_slice(message);
        }
        let method = CALLS[usize::from(*method) % CALLS.len()];
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("/nic.datapath.v1.Datapath/{method}"))
            .header("content-type", "application/grpc")
            .body(Full::new(body.freeze()))
            .expect("a request");
        let before = backend.in_force();
        let answer = runtime.block_on(service.call(request)).expect("an answer");
        let status = read(answer);
        if method == "Sync" && status != Some(0) {
            assert_eq!(backend.in_force(), before, "a Sync that was refused changed the policy");
        }
    }
}

fn take_message<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = bytes.split_first_chunk() else { return &[] };
    let (message, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    *bytes = rest;
    message
}

/// Reads an answer as far as it has come, and gives its status if it has.
fn read(answer: http::Response<tonic::body::Body>) -> Option<u32> {
    let status = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
    let (parts, mut body) = answer.into_parts();
    let mut found = status(&parts.headers);
    while let Some(Some(frame)) = body.frame().now_or_never() {
        let frame = frame.expect("an answer is whole");
        found = frame.trailers_ref().and_then(status).or(found);
    }
    found
}

/// A datapath whose policy is all it has.
struct Datapath {
    snapshot: Mutex<Snapshot>,
    in_force: Mutex<InForce>,
    applied: watch::Sender<Revision>,
    devices: watch::Sender<Vec<Device>>,
    alarms: watch::Sender<Vec<Alarm>>,
}

impl Datapath {
    fn new() -> Datapath {
        Datapath {
            snapshot: Mutex::new(Snapshot::empty()),
            in_force: Mutex::default(),
            applied: watch::Sender::new(Revision(0)),
            devices: watch::Sender::new(Vec::new()),
            alarms: watch::Sender::new(Vec::new()),
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().expect("no thread panicked").clone()
    }
}

#[tonic::async_trait]
impl Backend for Datapath {
    fn instance(&self) -> Uuid {
        Uuid::from_u128(1)
    }

    fn version(&self) -> String {
        "fuzz".to_owned()
    }

    fn devices(&self) -> watch::Receiver<Vec<Device>> {
        self.devices.subscribe()
    }

    fn capabilities(&self) -> CapabilityTable {
        CapabilityTable::default()
    }

    fn in_force(&self) -> InForce {
        *self.in_force.lock().expect("no thread panicked")
    }

    fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    fn alarms(&self) -> watch::Receiver<Vec<Alarm>> {
        self.alarms.subscribe()
    }

    fn attended(&self, _: bool) {}

    fn confirmed(&self) {}

    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection> {
        for change in &delta.changes {
            assert_eq!(change_from(&change_to(change)).ok().flatten().as_ref(), Some(change));
        }
        let (snapshot, touched) =
            self.snapshot().apply(&delta).map_err(|error| Rejection::Apply(error.to_string()))?;
        assert_eq!(snapshot.ids().count(), snapshot.len());
        *self.snapshot.lock().expect("no thread panicked") = snapshot;
        *self.in_force.lock().expect("no thread panicked") =
            InForce { store: Some(store), revision: delta.revision };
        self.applied.send_replace(delta.revision);
        Ok(touched.len() as u64)
    }

    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, Rejection> {
        let key = match packet {
            TracePacket::Frame(port, frame) => extract(&frame, port),
            TracePacket::Key(key) => key,
        };
        let snapshot = self.snapshot();
        let trace = trace(&key, &snapshot, &State::default()).with_offload(Offload::Pending);
        Ok(TraceReport { revision: snapshot.revision(), trace })
    }

    async fn flows(&self, _: Option<PortId>) -> Result<Vec<FlowView>, Rejection> {
        Ok(Vec::new())
    }

    async fn flush(&self, _: Option<PortId>) -> Result<u64, Rejection> {
        Ok(0)
    }

    async fn audit(&self, _: bool) -> Result<AuditReport, Rejection> {
        Ok(AuditReport::default())
    }

    async fn fdb(&self, _: Option<BridgeId>) -> Result<Vec<FdbView>, Rejection> {
        Ok(Vec::new())
    }

    async fn neighbors(&self, _: Option<Network>) -> Result<Vec<NeighborView>, Rejection> {
        Ok(Vec::new())
    }

    async fn flush_fdb(&self, _: Option<BridgeId>) -> Result<u64, Rejection> {
        Ok(0)
    }

    async fn stats(&self) -> Result<Stats, Rejection> {
        Ok(Stats::default())
    }
}
