//! Policy for the datapath: the binding of [`PolicySource`] to the store.

use std::sync::Arc;

use nic_compile::{full, incremental};
use nic_link::client::PolicySource;
use nic_link::{Calls, Uuid};
use nic_policy::{Delta, Revision};
use nic_store::Store;
use tokio::sync::watch;

/// What the store says, as policy.
pub(crate) struct Feed {
    store: Arc<Store>,
    newest: watch::Sender<Revision>,
}

impl Feed {
    /// A feed of the store, and the task that keeps it up to date.
    pub(crate) fn new(store: Arc<Store>) -> (Arc<Feed>, impl Future<Output = ()> + Send + use<>) {
        let mut subscription = store.subscribe();
        let newest = watch::Sender::new(subscription.state().revision());
        let feed = Arc::new(Feed { store, newest });
        let follower = Arc::clone(&feed);
        let follow = async move {
            while subscription.next().await.is_some() {
                follower.newest.send_replace(subscription.state().revision());
            }
        };
        (feed, follow)
    }
}

impl PolicySource for Feed {
    fn store(&self) -> Uuid {
        self.store.id().0
    }

    fn full(&self) -> Delta {
        full(&self.store.state())
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        let commits = self.store.changes_since(revision).ok()?;
        let changes: Vec<_> = commits.iter().flat_map(|commit| commit.changes.iter().cloned()).collect();
        match (commits.first(), commits.last()) {
            (Some(first), Some(last)) => Some(incremental(&first.before, &last.after, &changes)),
            // Nothing happened since.
            _ => Some(Delta { revision, ..Delta::default() }),
        }
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    fn calls(&self, after: Revision, to: Revision) -> Calls {
        let (newest, left_out) = self.store.calls(after, to, Calls::MAX);
        Calls { newest, left_out }
    }
}
