//! What the API needs, bound to the store and to the link.

use std::sync::Arc;

use futures::{StreamExt, stream};
use nic_api::{
    CommitError, Committed, Configuration, Datapath, DatapathError, DatapathView, FollowError, Followed,
    News, RequestKey,
};
use nic_flow::PortId;
use nic_link::LinkError;
use nic_link::client::{Client, Connection};
use nic_model::{State, Transaction};
use nic_policy::{
    AuditReport, BridgeId, CallId, CapabilityTable, FdbView, FlowView, NeighborView, Network, Revision,
    Stats, TracePacket, TraceReport,
};
use nic_store::{Commit, Event, Fingerprint, Request, RequestId, Store, SubmitError};
use tokio::sync::watch;

/// The store, for the API.
pub(crate) struct Configured {
    pub(crate) store: Arc<Store>,
    /// Becomes true when nobody shall follow the store any longer.
    pub(crate) stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Configuration for Configured {
    fn store_uuid(&self) -> u128 {
        self.store.id().0.as_u128()
    }

    fn state(&self) -> Arc<State> {
        self.store.state()
    }

    fn failing(&self) -> Option<String> {
        self.store.failing()
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
        let committed =
            self.store.submit_for(call, transaction, request).await.map_err(|error| match error {
                SubmitError::Rejected(rejection) => CommitError::Rejected(rejection),
                SubmitError::RequestIdReused => CommitError::RequestIdReused,
                SubmitError::Full => CommitError::Full,
                other => CommitError::Unavailable(other.to_string()),
            })?;
        Ok(Committed { revision: committed.revision, changes: committed.changes })
    }

    fn follow(&self, from: Option<Revision>) -> Result<Followed, FollowError> {
        let subscription = self.store.subscribe();
        let now = Arc::clone(subscription.state());
        let mut missed = match from {
            None => Vec::new(),
            Some(from) => self.store.changes_since(from).map_err(|compacted| {
                if compacted.asked < compacted.oldest { FollowError::Compacted } else { FollowError::Ahead }
            })?,
        };
        // What came after the subscription began, comes by it.
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
        let mut stopped = self.stopped.clone();
        let until = async move {
            // An error says that the process is at its end as well.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let missed: Vec<News> = missed.iter().map(|commit| news(commit)).collect();
        Ok(Followed { state, news: stream::iter(missed).chain(later).take_until(until).boxed() })
    }
}

fn news(commit: &Commit) -> News {
    News { after: Arc::clone(&commit.after), changes: Some(Arc::clone(&commit.changes)) }
}

/// The datapath, for the API.
pub(crate) struct Linked(pub(crate) Client);

fn failed(error: LinkError) -> DatapathError {
    match error {
        LinkError::Disconnected(why) => DatapathError::Away(why),
        old @ LinkError::TooOld(_) => DatapathError::TooOld(old.to_string()),
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
            error: down.or_else(|| state.refused.clone()),
            refused: state.refused,
            devices: state.devices,
            alarms: state.alarms,
        }
    }

    async fn trace(&self, packet: TracePacket) -> Result<TraceReport, DatapathError> {
        self.0.trace(packet).await.map_err(failed)
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, DatapathError> {
        self.0.flows(in_port).await.map_err(failed)
    }

    async fn flush(&self, in_port: Option<PortId>) -> Result<u64, DatapathError> {
        self.0.flush(in_port).await.map_err(failed)
    }

    async fn audit(&self, repair: bool) -> Result<AuditReport, DatapathError> {
        self.0.audit(repair).await.map_err(failed)
    }

    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, DatapathError> {
        self.0.fdb(bridge).await.map_err(failed)
    }

    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, DatapathError> {
        self.0.neighbors(network).await.map_err(failed)
    }

    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, DatapathError> {
        self.0.flush_fdb(bridge).await.map_err(failed)
    }

    async fn stats(&self) -> Result<Stats, DatapathError> {
        self.0.stats().await.map_err(failed)
    }

    async fn capabilities(&self) -> Result<CapabilityTable, DatapathError> {
        self.0.capabilities().await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datapath_that_is_too_old_is_no_fault_and_says_what_it_lacks() {
        let DatapathError::TooOld(text) = failed(LinkError::TooOld("this call".to_owned())) else {
            panic!("another error");
        };
        assert!(text.contains("does not know this call"), "{text}");
    }
}
