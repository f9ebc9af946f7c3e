//! Policy for the datapath: the binding of [`PolicySource`] to the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use nic_compile::{full, incremental};
use nic_link::Uuid;
use nic_link::client::PolicySource;
use nic_model::State;
use nic_policy::{Delta, Revision};
use nic_store::{Commit, Event, Store, Subscription};
use tokio::sync::watch;

/// Commits that are remembered. A datapath that is further behind gets the whole policy.
const REMEMBERED: usize = 1024;

/// What the store says, as policy.
pub(crate) struct Feed {
    store: Uuid,
    known: Mutex<Known>,
    newest: watch::Sender<Revision>,
}

struct Known {
    state: Arc<State>,
    /// The last commits without a gap, the newest last.
    commits: VecDeque<Arc<Commit>>,
}

impl Feed {
    /// A feed that begins at the store's state now, and the task that keeps it up to date.
    pub(crate) fn new(store: &Store) -> (Arc<Feed>, impl Future<Output = ()> + Send + use<>) {
        let subscription = store.subscribe();
        let state = Arc::clone(subscription.state());
        let newest = watch::Sender::new(state.revision());
        let known = Mutex::new(Known { state, commits: VecDeque::new() });
        let feed = Arc::new(Feed { store: store.id().0, known, newest });
        (Arc::clone(&feed), follow(feed, subscription))
    }

    fn take(&self, event: Event) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Commit(commit) => {
                known.state = Arc::clone(&commit.after);
                known.commits.push_back(commit);
                if known.commits.len() > REMEMBERED {
                    known.commits.pop_front();
                }
            }
            Event::Reset(state) => *known = Known { state, commits: VecDeque::new() },
        }
        let revision = known.state.revision();
        drop(known);
        self.newest.send_replace(revision);
    }
}

async fn follow(feed: Arc<Feed>, mut subscription: Subscription) {
    while let Some(event) = subscription.next().await {
        feed.take(event);
    }
}

impl PolicySource for Feed {
    fn store(&self) -> Uuid {
        self.store
    }

    fn full(&self) -> Delta {
        let state = Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner).state);
        full(&state)
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, commits) = (Arc::clone(&known.state), &known.commits);
        if revision == state.revision() {
            return Some(incremental(&state, &state, &[]));
        }
        let first = commits.partition_point(|commit| commit.before.revision() < revision);
        let missed: Vec<_> = commits.range(first..).cloned().collect();
        drop(known);
        let before = &missed.first().filter(|commit| commit.before.revision() == revision)?.before;
        let changes: Vec<_> = missed.iter().flat_map(|commit| commit.changes.iter().cloned()).collect();
        Some(incremental(before, &state, &changes))
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }
}
