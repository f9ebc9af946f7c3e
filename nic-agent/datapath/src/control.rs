//! What nic-agent asks of this process: the binding of [`Backend`] to the worker.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nic_checkpoint::{Keeper, Policy};
use nic_flow::extract::extract;
use nic_flow::{MacAddr, PortId, Rule};
use nic_link::server::{Backend, InForce};
use nic_link::{Rejection, Uuid};
use nic_offload::Sink;
use nic_pipeline::Snapshot;
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    Alarm, AuditReport, BridgeId, CapabilityTable, Delta, Device, Discrepancy, DropReason, FdbView, FlowView,
    NeighborView, Network, Object, Offload, Revision, RuleStats, SoftwareReason, Stats, Trace, Verdict,
};
use nic_process::signals;
use nic_slowpath::Worker;
use tokio::sync::{Mutex, watch};

use crate::alarms::{Board, Sight};
use crate::auditor::Auditor;
use crate::io::Io;
use crate::management::Seen;
use crate::worker::Commands;

/// Flow slots that the worker looks at between two rounds, for a list; it traces what it finds.
const SLOTS_A_STEP: u32 = 128;
/// Learned addresses that the worker hands out between two rounds, for a list.
const LEARNED_A_STEP: usize = 4096;

/// A port as this module needs it.
pub(crate) struct ControlPort {
    /// The port.
    pub(crate) id: PortId,
    /// The DPDK port.
    pub(crate) port: dpdk::Port,
    /// Frames that came in several buffers and did not fit into one.
    pub(crate) segmented: Arc<AtomicU64>,
}

/// The control thread's view of everything.
pub(crate) struct Control {
    /// To the worker.
    pub(crate) commands: Commands,
    /// The policy in force, as the worker has it. Locked while it changes, so that changes come one after
    /// the other; no packet waits for it.
    pub(crate) snapshot: Mutex<Snapshot>,
    /// Its revision, and the store that it came from.
    pub(crate) in_force: watch::Sender<InForce>,
    /// Told by the worker: how many publications are applied.
    pub(crate) settled: watch::Receiver<u64>,
    /// Has the policy on disk, and so knows which revision may be called applied.
    pub(crate) keeper: Keeper,
    /// The devices.
    pub(crate) devices: watch::Sender<Vec<Device>>,
    /// The alarms.
    pub(crate) board: Board,
    /// What the card can do.
    pub(crate) capabilities: CapabilityTable,
    /// Asks the card whether it would take a rule.
    pub(crate) sink: Sink,
    /// The ports.
    pub(crate) ports: Vec<ControlPort>,
    /// The exception port, if there is one.
    pub(crate) exception: Option<Seen>,
    /// Holds flows against rules.
    pub(crate) auditor: Auditor,
    /// Names this run.
    pub(crate) instance: Uuid,
}

impl Control {
    /// Looks at the devices again and tells if something changed.
    pub(crate) fn refresh_devices(&self) {
        let ports = self.ports.iter().map(|port| crate::ports::device(port.id, &port.port));
        let now: Vec<Device> = ports.chain(self.exception.as_ref().map(Seen::device)).collect();
        self.devices.send_if_modified(|devices| {
            let changed = *devices != now;
            *devices = now;
            changed
        });
    }

    /// Passes on what the worker says of publications, so that it never waits for anybody. Ends when the
    /// worker does.
    pub(crate) async fn pass_on_settled(&self) {
        let mut settled = self.settled.clone();
        loop {
            let number = *settled.borrow_and_update();
            self.keeper.settled(number);
            if settled.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks at all that may be wrong.
    pub(crate) async fn look(&self) {
        // Without a worker the process is at its end.
        let Ok(worker) = self.ask(|worker| worker.counters()).await else { return };
        // A worker that no longer answers is what the watchdog is for.
        signals::alive();
        let absent = {
            let snapshot = self.snapshot.lock().await;
            let ports = snapshot.ports().map(|port| port.id);
            ports.filter(|&port| !snapshot.has_device(port)).collect()
        };
        self.board.look(&Sight {
            policy: self.keeper.status().borrow().clone(),
            absent,
            worker,
            installer: self.auditor.counted(),
        });
    }

    /// Where the flow of a traced packet would run if it is to be tried: the card is asked, nothing is
    /// created.
    fn prospect(&self, trace: &Trace) -> Offload {
        let matches = nic_flow::Match::new(trace.key, trace.shape.mask());
        match self.sink.validate(&Rule { matches, actions: trace.actions.clone() }) {
            Ok(()) => Offload::Hardware,
            Err(refusal) => Offload::Software(SoftwareReason::Refused(refusal)),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker<Io>) -> T + Send + 'static,
    ) -> Result<T, Rejection> {
        self.commands.call(|worker, _| ask(worker)).await.ok_or(Rejection::ShuttingDown)
    }
}

#[tonic::async_trait]
impl Backend for Control {
    fn instance(&self) -> Uuid {
        self.instance
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn devices(&self) -> watch::Receiver<Vec<Device>> {
        self.devices.subscribe()
    }

    fn capabilities(&self) -> CapabilityTable {
        self.capabilities.clone()
    }

    fn in_force(&self) -> InForce {
        *self.in_force.borrow()
    }

    fn applied(&self) -> watch::Receiver<Revision> {
        self.keeper.applied()
    }

    fn alarms(&self) -> watch::Receiver<Vec<Alarm>> {
        self.board.watch()
    }

    fn attended(&self, by_agent: bool) {
        self.board.attended(by_agent);
    }

    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection> {
        let mut in_force = self.snapshot.lock().await;
        let revision = delta.revision;
        let (snapshot, touched) =
            in_force.apply(&delta).map_err(|error| Rejection::Apply(error.to_string()))?;
        let changed = touched.len() as u64;
        let next = snapshot.clone();
        let published = self.commands.call(move |worker, now| worker.publish(next, &touched, now)).await;
        let number = published.ok_or(Rejection::ShuttingDown)?;
        // The worker has let go of the old snapshot: what nobody else holds is freed here, not there.
        *in_force = snapshot.clone();
        self.keeper.published(number, store, delta, Arc::new(WholePolicy(snapshot)));
        self.in_force.send_replace(InForce { store: Some(store), revision });
        Ok(changed)
    }

    fn confirmed(&self) {
        self.keeper.confirmed();
    }

    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, Rejection> {
        let key = match packet {
            TracePacket::Frame(port, frame) => extract(&frame, port),
            TracePacket::Key(key) => key,
        };
        let told = self.ask(move |worker| {
            (worker.snapshot().revision(), worker.trace(&key), worker.lookup(&key).is_some())
        });
        let (revision, mut trace, held) = told.await?;
        let flows = matches!(trace.verdict, Verdict::Pass | Verdict::Drop(_));
        if flows && !held && trace.offload == Offload::Pending {
            trace.offload = self.prospect(&trace);
        }
        Ok(TraceReport { revision, trace })
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, Rejection> {
        let mut views = Vec::new();
        let mut slot = Some(0);
        while let Some(from) = slot {
            let step = move |worker: &mut Worker<Io>| {
                let mut views = Vec::new();
                let next = worker.flows_from(from, SLOTS_A_STEP, |flow| {
                    if in_port.is_none_or(|port| flow.matches.key().in_port() == port) {
                        views.push(describe(flow, worker));
                    }
                });
                (views, next)
            };
            let (some, next) = self.ask(step).await?;
            views.extend(some);
            slot = next;
        }
        Ok(views)
    }

    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, Rejection> {
        self.ask(move |worker| worker.flush(in_port)).await
    }

    async fn audit(&self, repair: bool) -> Result<AuditReport, Rejection> {
        self.auditor.audit(repair).await.ok_or(Rejection::ShuttingDown)
    }

    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, Rejection> {
        let mut entries: Vec<FdbView> = Vec::new();
        // Entries come by bridge: one bridge's begin behind the last possible of the bridge before.
        let mut after =
            bridge.and_then(|BridgeId(id)| Some((BridgeId(id.checked_sub(1)?), MacAddr([0xff; 6]))));
        loop {
            let some = self.ask(move |worker| worker.fdb(after, LEARNED_A_STEP)).await?;
            after = some.last().map(|entry| (entry.bridge, entry.mac));
            let more = some.len() == LEARNED_A_STEP;
            let wanted = |entry: &FdbView| bridge.is_none_or(|bridge| entry.bridge == bridge);
            let before = entries.len();
            entries.extend(some.into_iter().filter(wanted));
            if !more || entries.len() - before < LEARNED_A_STEP {
                return Ok(entries);
            }
        }
    }

    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, Rejection> {
        let mut neighbors: Vec<NeighborView> = Vec::new();
        let mut after: Option<(Network, IpAddr)> = None;
        loop {
            let some = self.ask(move |worker| worker.neighbors(after, LEARNED_A_STEP)).await?;
            after = some.last().map(|neighbor| (neighbor.network, neighbor.address));
            let more = some.len() == LEARNED_A_STEP;
            let wanted = |neighbor: &NeighborView| network.is_none_or(|network| neighbor.network == network);
            neighbors.extend(some.into_iter().filter(wanted));
            if !more {
                return Ok(neighbors);
            }
        }
    }

    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, Rejection> {
        self.ask(move |worker| worker.flush_fdb(bridge, None)).await
    }

    async fn stats(&self) -> Result<Stats, Rejection> {
        let mut stats = self.ask(|worker| worker.stats()).await?;
        let (counted, found) = (self.auditor.counted(), self.auditor.found());
        stats.rules = RuleStats {
            postponed: counted.postponed,
            destroy_failures: counted.destroy_failures,
            query_failures: counted.query_failures,
            strays_removed: found.repaired[Discrepancy::Stray.index()],
            waiting: counted.waiting,
            stuck: counted.stuck,
            unreadable: counted.unreadable,
            ..stats.rules
        };
        let devices = self.devices.borrow().clone();
        for port in &self.ports {
            let Some(told) = stats.ports.iter_mut().find(|told| told.port == port.id) else { continue };
            told.present = devices.iter().any(|device| device.port == port.id);
            let lost = &mut told.drops;
            lost[DropReason::ReceiveMultiSegment.index()] += port.segmented.load(Ordering::Relaxed);
            if let Ok(card) = port.port.stats() {
                lost[DropReason::ReceiveMissed.index()] += card.rx_missed;
                lost[DropReason::ReceiveNoBuffer.index()] += card.rx_no_mbuf;
                lost[DropReason::ReceiveError.index()] += card.rx_errors;
                lost[DropReason::TransmitError.index()] += card.tx_errors;
            }
        }
        let exception = stats.ports.iter_mut().find(|told| told.port == PortId::MANAGEMENT);
        if let (Some(told), Some(seen)) = (exception, &self.exception) {
            told.drops[DropReason::ReceiveNoBuffer.index()] += seen.lost.load(Ordering::Relaxed);
        }
        Ok(stats)
    }
}

/// A snapshot, as the disk wants it.
struct WholePolicy(Snapshot);

impl Policy for WholePolicy {
    fn objects(&self) -> Box<dyn Iterator<Item = Object> + '_> {
        Box::new(self.0.ids().filter_map(|id| self.0.object(id)))
    }
}

/// A flow with the objects that a packet of it meets.
fn describe(view: nic_slowpath::FlowView, worker: &Worker<Io>) -> FlowView {
    let mut objects = Vec::new();
    for step in worker.trace(view.matches.key()).steps {
        for object in step.objects {
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
    }
    FlowView {
        matches: view.matches,
        actions: view.actions,
        dropped: view.dropped,
        shape: view.shape,
        offload: view.offload,
        software: view.software,
        hardware: view.hardware,
        age: view.age,
        idle: view.idle,
        objects,
    }
}
