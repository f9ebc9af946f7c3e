//! The store of one card, and the client who remembers what it was told.

use std::sync::Arc;

use nic_compile::{full, incremental};
use nic_model::{Change, Resource, State, Transaction, plan};
use nic_policy::{Delta, Revision};
use sim::random::Random;

/// What the disk does with the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// It takes it.
    Well,
    /// It has no room.
    Full,
    /// The process dies before anybody knows whether it was taken.
    Torn,
}

/// Why a transaction was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// It is invalid.
    Rejected,
    /// The disk is full; nothing changed.
    Full,
    /// The process died; it may be done or not.
    Died,
}

/// Durable desired state, as nic-agent sees it.
pub(crate) trait Store {
    /// The state now.
    fn state(&self) -> Arc<State>;

    /// What leads from a revision to the newest one, if that is still known.
    fn since(&self, revision: Revision) -> Option<Delta>;

    /// Does a transaction; the revision is acknowledged.
    fn submit(&mut self, transaction: Transaction, disk: Disk) -> Result<Revision, NotDone>;

    /// The process died: the store is opened again from what is on the disk.
    fn reopen(&mut self, random: &mut Random);
}

/// A commit: the state before, the state afterwards, what leads from one to the other.
type Commit = (Arc<State>, Arc<State>, Vec<Change>);

/// A store of which only the meaning is simulated.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    current: Arc<State>,
    history: Vec<Commit>,
    durable: Arc<State>,
    /// Written, and perhaps not all of it on the disk.
    torn: Option<Arc<State>>,
    /// Commits are acknowledged before they are on the disk.
    ack_early: bool,
}

impl Plain {
    /// An empty store. `ack_early`: commits are acknowledged before they are on the disk.
    pub(crate) fn new(ack_early: bool) -> Plain {
        Plain { ack_early, ..Plain::default() }
    }
}

impl Store for Plain {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.current)
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        since(&self.history, self.current.revision(), revision)
    }

    fn submit(&mut self, transaction: Transaction, disk: Disk) -> Result<Revision, NotDone> {
        let outcome = plan(&self.current, &transaction).map_err(|_| NotDone::Rejected)?;
        if outcome.is_unchanged(&self.current) {
            return Ok(self.current.revision());
        }
        let after = Arc::new(outcome.state);
        match disk {
            Disk::Full => return Err(NotDone::Full),
            Disk::Torn => {
                self.torn = Some(after);
                return Err(NotDone::Died);
            }
            Disk::Well if self.ack_early => self.torn = Some(Arc::clone(&after)),
            Disk::Well => self.durable = Arc::clone(&after),
        }
        let before = std::mem::replace(&mut self.current, Arc::clone(&after));
        self.history.push((before, after, outcome.changes));
        Ok(self.current.revision())
    }

    fn reopen(&mut self, random: &mut Random) {
        // One revision is whole on the disk, or not there at all.
        if let Some(torn) = self.torn.take()
            && random.chance(50)
        {
            self.durable = torn;
        }
        self.current = Arc::clone(&self.durable);
        self.history.clear();
    }
}

/// What leads from one revision to the newest, from the commits since the store was opened.
fn since(history: &[Commit], newest: Revision, from: Revision) -> Option<Delta> {
    if from == newest {
        return Some(Delta { revision: newest, ..Delta::default() });
    }
    let first = history.iter().position(|(before, ..)| before.revision() == from)?;
    let changes: Vec<Change> =
        history[first..].iter().flat_map(|(_, _, changes)| changes.iter().cloned()).collect();
    let (before, ..) = &history[first];
    let (_, after, _) = history.last()?;
    Some(incremental(before, after, &changes))
}

/// The whole policy of a store.
pub(crate) fn everything(state: &State) -> Delta {
    full(state)
}

/// What a client was told.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The state of the last acknowledged revision.
    acknowledged: Arc<State>,
    /// What it would be if the transaction that was never answered was done.
    unanswered: Option<Arc<State>>,
}

impl Client {
    /// A transaction was acknowledged.
    pub(crate) fn told(&mut self, state: Arc<State>) {
        self.acknowledged = state;
        self.unanswered = None;
    }

    /// A transaction was sent, and the process died.
    pub(crate) fn untold(&mut self, transaction: &Transaction) {
        self.unanswered = plan(&self.acknowledged, transaction).ok().map(|outcome| Arc::new(outcome.state));
    }

    /// The store was opened again: it must have all that was acknowledged, and nothing else but what was
    /// not answered.
    pub(crate) fn compare(&mut self, found: &Arc<State>) {
        let same = |known: &State| {
            known.revision() == found.revision()
                && known.resources().collect::<Vec<&Resource>>() == found.resources().collect::<Vec<_>>()
        };
        let maybe = self.unanswered.take();
        assert!(
            same(&self.acknowledged) || maybe.is_some_and(|maybe| same(&maybe)),
            "acknowledged configuration was lost: {:?} was acknowledged, the store has {:?}",
            self.acknowledged.revision(),
            found.revision()
        );
        self.acknowledged = Arc::clone(found);
    }
}
