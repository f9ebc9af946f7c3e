//! What nic-agent asks of this process: the binding of [`Backend`] to the worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nic_flow::extract::extract;
use nic_flow::{PortId, Rule, Shape};
use nic_link::convert::TraceReport;
use nic_link::server::{Backend, InForce, TracePacket};
use nic_link::{Rejection, Uuid};
use nic_offload::Sink;
use nic_pipeline::Snapshot;
use nic_policy::{
    CapabilityTable, Delta, Device, DropReason, FlowView, Offload, Revision, SoftwareReason, Stats,
};
use tokio::sync::{Mutex, watch};

use crate::worker::Commands;

/// Flow slots that the worker looks at between two rounds, for a list.
const SLOTS_A_STEP: u32 = 512;

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
    /// Told by the worker.
    pub(crate) applied: watch::Receiver<Revision>,
    /// The devices.
    pub(crate) devices: watch::Sender<Vec<Device>>,
    /// What the card can do.
    pub(crate) capabilities: CapabilityTable,
    /// Asks the card whether it would take a rule.
    pub(crate) sink: Sink,
    /// The ports.
    pub(crate) ports: Vec<ControlPort>,
    /// Names this run.
    pub(crate) instance: Uuid,
    /// Whether flows go into the E-Switch at all.
    pub(crate) offload: bool,
}

impl Control {
    /// Looks at the devices again and tells if something changed.
    pub(crate) fn refresh_devices(&self) {
        let now: Vec<Device> =
            self.ports.iter().map(|port| crate::ports::device(port.id, &port.port)).collect();
        self.devices.send_if_modified(|devices| {
            let changed = *devices != now;
            *devices = now;
            changed
        });
    }

    /// Where the flow of a traced packet would run: the card is asked, nothing is created.
    fn prospect(&self, trace: &nic_policy::Trace) -> Offload {
        if !self.offload {
            return Offload::Software(SoftwareReason::Disabled);
        }
        if trace.shape == Shape::FullKey {
            let refusal = nic_flow::seam::Refusal::Shape(trace.shape);
            return Offload::Software(SoftwareReason::Refused(refusal));
        }
        let matches = nic_flow::Match::new(trace.key, trace.shape.mask());
        match self.sink.validate(&Rule { matches, actions: trace.actions.clone() }) {
            Ok(()) => Offload::Hardware,
            Err(refusal) => Offload::Software(SoftwareReason::Refused(refusal)),
        }
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
        self.applied.clone()
    }

    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection> {
        let mut in_force = self.snapshot.lock().await;
        let revision = delta.revision;
        let (snapshot, touched) =
            in_force.apply(&delta).map_err(|error| Rejection::Apply(error.to_string()))?;
        let changed = touched.len() as u64;
        let next = snapshot.clone();
        let published = self.commands.call(move |worker, now| worker.publish(next, &touched, now)).await;
        published.ok_or(Rejection::ShuttingDown)?;
        // The worker has let go of the old snapshot: what it alone held is freed here, not there.
        *in_force = snapshot;
        self.in_force.send_replace(InForce { store: Some(store), revision });
        Ok(changed)
    }

    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, Rejection> {
        let key = match packet {
            TracePacket::Frame(port, frame) => extract(&frame, port),
            TracePacket::Key(key) => key,
        };
        let snapshot = self.snapshot.lock().await.clone();
        let trace = nic_pipeline::trace(&key, &snapshot).with_offload(Offload::Pending);
        let held = self.commands.call(move |worker, _| worker.lookup(&key).map(|flow| flow.offload)).await;
        let offload = held.ok_or(Rejection::ShuttingDown)?.unwrap_or_else(|| self.prospect(&trace));
        let trace = nic_policy::Trace { offload, ..trace };
        Ok(TraceReport { revision: snapshot.revision(), trace })
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, Rejection> {
        let mut views = Vec::new();
        let mut slot = Some(0);
        while let Some(from) = slot {
            let step = move |worker: &mut nic_slowpath::Worker<_>, _| {
                let mut views = Vec::new();
                let next = worker.flows_from(from, SLOTS_A_STEP, |flow| {
                    if in_port.is_none_or(|port| flow.matches.key().in_port() == port) {
                        views.push(flow);
                    }
                });
                (views, next)
            };
            let (some, next) = self.commands.call(step).await.ok_or(Rejection::ShuttingDown)?;
            views.extend(some);
            slot = next;
        }
        let snapshot = self.snapshot.lock().await.clone();
        Ok(views.into_iter().map(|view| describe(view, &snapshot)).collect())
    }

    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, Rejection> {
        let flushed = self.commands.call(move |worker, _| worker.flush(in_port)).await;
        flushed.ok_or(Rejection::ShuttingDown)
    }

    async fn stats(&self) -> Result<Stats, Rejection> {
        let stats = self.commands.call(|worker, _| worker.stats()).await;
        let mut stats = stats.ok_or(Rejection::ShuttingDown)?;
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
            }
        }
        Ok(stats)
    }
}

/// A flow with the objects that a packet of it meets.
fn describe(view: nic_slowpath::FlowView, snapshot: &Snapshot) -> FlowView {
    let mut objects = Vec::new();
    for step in nic_pipeline::trace(view.matches.key(), snapshot).steps {
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
