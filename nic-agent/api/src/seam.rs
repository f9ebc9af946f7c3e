//! What the services need from the rest of nic-agent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use nic_flow::PortId;
use nic_model::{Change, Rejection, State, Transaction};
use nic_policy::{
    Alarm, AuditReport, BridgeId, CallId, CapabilityTable, Device, FdbView, FlowView, NeighborView, Network,
    Revision, Stats, TracePacket, TraceReport,
};
use tokio_stream::Stream;

/// The durable configuration.
#[tonic::async_trait]
pub trait Configuration: Send + Sync + 'static {
    /// Names the store for good.
    fn store_uuid(&self) -> u128;

    /// The state now.
    fn state(&self) -> Arc<State>;

    /// Why it cannot be changed now, as far as is known; `None` if it can.
    fn failing(&self) -> Option<String>;

    /// Does a transaction durably, or nothing. With a key, a repeated request gets the first answer. The
    /// call that asks for it is named where the log tells of the revision.
    ///
    /// # Errors
    /// Why not.
    async fn submit(
        &self,
        transaction: Transaction,
        key: Option<RequestKey>,
        call: Option<CallId>,
    ) -> Result<Committed, CommitError>;

    /// All changes from a revision on; with `None` from now on.
    ///
    /// # Errors
    /// The changes since that revision are not known.
    fn follow(&self, from: Option<Revision>) -> Result<Followed, FollowError>;
}

/// The configuration from some revision on.
pub struct Followed {
    /// The state of that revision.
    pub state: Arc<State>,
    /// What led and leads on from it, in order, until the store is closed.
    pub news: Pin<Box<dyn Stream<Item = News> + Send>>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("revision", &self.state.revision()).finish_non_exhaustive()
    }
}

/// A later state of the configuration.
#[derive(Debug, Clone)]
pub struct News {
    /// The state.
    pub after: Arc<State>,
    /// What leads to it from the one before; some may be unchanged. `None` if revisions in between
    /// were skipped.
    pub changes: Option<Arc<[Change]>>,
}

/// Why the changes since a revision cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// They are not remembered any more.
    #[error("the changes since then are not remembered any more")]
    Compacted,
    /// There was no such revision yet.
    #[error("the store has not come to that revision")]
    Ahead,
}

/// What makes a request the same as an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The number of the UUID that the client sent.
    pub id: u128,
    /// All of the request.
    pub content: Vec<u8>,
}

/// A transaction that is durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The revision that it made, or the current one if it changed nothing.
    pub revision: Revision,
    /// What happened to each resource, as in [`nic_model::Outcome`].
    pub changes: Arc<[Change]>,
}

/// Why a transaction was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// It is invalid.
    #[error("{0}")]
    Rejected(Rejection),
    /// The request id was used with other content.
    #[error("the request id was used before, with other content")]
    RequestIdReused,
    /// The disk is full.
    #[error("the store's disk is full")]
    Full,
    /// The store cannot write now; why.
    #[error("{0}")]
    Unavailable(String),
}

/// The datapath.
#[tonic::async_trait]
pub trait Datapath: Send + Sync + 'static {
    /// What is known of it now.
    fn view(&self) -> DatapathView;

    /// Follows a packet through the policy in force.
    ///
    /// # Errors
    /// The datapath is away, or cannot read the packet.
    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, DatapathError>;

    /// The flow table, or what of it entered by one port.
    ///
    /// # Errors
    /// The datapath is away.
    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, DatapathError>;

    /// Removes those flows and returns how many there were.
    ///
    /// # Errors
    /// The datapath is away.
    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, DatapathError>;

    /// Holds flows against the rules of the E-Switch, and puts right what differs if that is asked for.
    ///
    /// # Errors
    /// The datapath is away, or too old.
    async fn audit(&self, repair: bool) -> Result<AuditReport, DatapathError>;

    /// The MAC addresses that bridges know, or one bridge.
    ///
    /// # Errors
    /// The datapath is away.
    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, DatapathError>;

    /// The IP addresses whose MAC addresses are known or asked for, in all networks or in one.
    ///
    /// # Errors
    /// The datapath is away.
    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, DatapathError>;

    /// Forgets the learned MAC addresses of bridges, or of one, and returns how many there were.
    ///
    /// # Errors
    /// The datapath is away.
    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, DatapathError>;

    /// All counters.
    ///
    /// # Errors
    /// The datapath is away.
    async fn stats(&self) -> Result<Stats, DatapathError>;

    /// What the card can do.
    ///
    /// # Errors
    /// The datapath is away.
    async fn capabilities(&self) -> Result<CapabilityTable, DatapathError>;
}

/// What is known of the datapath.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DatapathView {
    /// Whether it is connected.
    pub connected: bool,
    /// Since when it is, or is not.
    pub since: Option<SystemTime>,
    /// Its version, once known.
    pub version: String,
    /// The schema that both ends speak, once known.
    pub schema_version: u32,
    /// The newest revision that it accepted.
    pub accepted: Revision,
    /// The newest revision that is applied: no stale flow, no stale rule is left.
    pub applied: Revision,
    /// Why it is not connected, or why it refused the newest policy.
    pub error: Option<String>,
    /// Why it refused the newest policy, also while it is asked again.
    pub refused: Option<String>,
    /// The devices that it drives.
    pub devices: Vec<Device>,
    /// The alarms that it tells; none while it is not connected.
    pub alarms: Vec<Alarm>,
}

/// Why the datapath gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatapathError {
    /// It is not connected; why.
    #[error("nic-datapath is not connected: {0}")]
    Away(String),
    /// It is of a version that cannot do this; what it does not know.
    #[error("{0}")]
    TooOld(String),
    /// It cannot read the packet to trace; why.
    #[error("the packet cannot be read: {0}")]
    Packet(String),
    /// It refused, or its answer makes no sense; why.
    #[error("{0}")]
    Fault(String),
}
