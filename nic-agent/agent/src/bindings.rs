//! What the API needs, bound to the store and to the link.

use std::sync::Arc;

use nic_api::{
    CommitError, Committed, Configuration, Datapath, DatapathError, DatapathView, Packet, RequestKey,
    TraceResult,
};
use nic_flow::PortId;
use nic_link::LinkError;
use nic_link::client::{Client, Connection};
use nic_link::server::TracePacket;
use nic_model::{State, Transaction};
use nic_policy::{CapabilityTable, FlowView, Revision, Stats};
use nic_store::{Fingerprint, Request, RequestId, Store, SubmitError};

/// The store, for the API.
pub(crate) struct Configured(pub(crate) Arc<Store>);

#[tonic::async_trait]
impl Configuration for Configured {
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
        let committed = self.0.submit(transaction, request).await.map_err(|error| match error {
            SubmitError::Rejected(rejection) => CommitError::Rejected(rejection),
            SubmitError::RequestIdReused => CommitError::RequestIdReused,
            SubmitError::Full => CommitError::Full,
            other => CommitError::Unavailable(other.to_string()),
        })?;
        Ok(Committed { revision: committed.revision, changes: committed.changes })
    }
}

/// The datapath, for the API.
pub(crate) struct Linked(pub(crate) Client);

fn failed(error: LinkError) -> DatapathError {
    match error {
        LinkError::Disconnected(why) => DatapathError::Away(why),
        other => DatapathError::Fault(other.to_string()),
    }
}

#[tonic::async_trait]
impl Datapath for Linked {
    fn view(&self) -> DatapathView {
        let state = self.0.state().borrow().clone();
        let down = match &state.connection {
            Connection::Up => None,
            Connection::Down(why) => Some(why.clone()),
        };
        DatapathView {
            connected: down.is_none(),
            since: state.since,
            version: state.version,
            schema_version: state.schema_version,
            accepted: state.sent.unwrap_or(Revision(0)),
            applied: state.applied.unwrap_or(Revision(0)),
            error: down.or(state.refused),
            devices: state.devices,
        }
    }

    async fn trace(&self, packet: Packet) -> Result<TraceResult, DatapathError> {
        let packet = match packet {
            Packet::Frame(port, frame) => TracePacket::Frame(port, frame),
            Packet::Key(key) => TracePacket::Key(key),
        };
        let report = self.0.trace(packet).await.map_err(failed)?;
        Ok(TraceResult { revision: report.revision, trace: report.trace })
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, DatapathError> {
        self.0.flows(in_port).await.map_err(failed)
    }

    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, DatapathError> {
        self.0.flush(in_port).await.map_err(failed)
    }

    async fn stats(&self) -> Result<Stats, DatapathError> {
        self.0.stats().await.map_err(failed)
    }

    async fn capabilities(&self) -> Result<CapabilityTable, DatapathError> {
        self.0.capabilities().await.map_err(failed)
    }
}
