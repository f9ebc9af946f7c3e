//! What waits for the disk, and what is told of it. Whoever publishes a policy leaves it here and goes on.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use nic_link::Uuid;
use nic_policy::{Delta, Object, Revision};
use tokio::sync::watch;

use crate::error::{SaveError, Unusable};
use crate::gate::Gate;

/// Changes that may wait for a slow disk. Beyond that the whole policy is written in their place.
const MAX_CHANGES: usize = 65_536;

/// A policy as a whole, for when it must be written afresh.
pub trait Policy: Send + Sync + 'static {
    /// All objects, each once, in any order.
    fn objects(&self) -> Box<dyn Iterator<Item = Object> + '_>;
}

/// Where the policy in force is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// There is none: everything is closed.
    #[default]
    None,
    /// The disk; no agent has said yet that it is its own.
    Disk,
    /// An agent.
    Agent,
}

/// What is to be told of the policy and the disk.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where the policy in force is from.
    pub source: Source,
    /// Why the file that was there at the start is not used; until another one is in its place.
    pub unreadable: Option<Arc<Unusable>>,
    /// Why the policy in force is not on disk; until it is.
    pub not_saved: Option<NotSaved>,
}

/// A policy that is not on disk.
#[derive(Debug, Clone)]
pub struct NotSaved {
    /// Why; of the latest attempt.
    pub error: Arc<SaveError>,
    /// Since when.
    pub since: SystemTime,
    /// Why the older policy that is on disk cannot be removed. While it is there no newer revision is
    /// called applied. `None`: a restart would find no policy.
    pub left: Option<Arc<io::Error>>,
}

/// A policy that was published.
#[derive(Clone)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) store: Uuid,
    pub(crate) revision: Revision,
    pub(crate) policy: Arc<dyn Policy>,
}

/// What is to be written next.
pub(crate) enum Job {
    /// Deltas in their order, up to a publication.
    Deltas(Vec<(Uuid, Delta)>, u64),
    /// All of a policy.
    Whole(Newest),
}

/// Between those who publish and the thread that writes.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    applied: watch::Sender<Revision>,
    status: watch::Sender<Status>,
}

struct Waiting {
    gate: Gate,
    deltas: Vec<(Uuid, Delta)>,
    changes: usize,
    newest: Option<Newest>,
    /// The newest policy is not on disk.
    behind: bool,
    /// Nothing on disk can be built upon.
    whole: bool,
    closed: bool,
}

/// What the thread is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is something to write.
    Work,
    /// Nobody publishes any more; this is the last chance to write.
    Closed,
}

impl Queue {
    /// A queue for a disk that has a policy of that publication, or none that can be built upon.
    pub(crate) fn new(restored: Option<(u64, Uuid, Revision)>, whole: bool, status: Status) -> Queue {
        let mut gate = Gate::default();
        if let Some((number, store, revision)) = restored {
            gate.publish(number, store, revision);
            gate.keep(number);
        }
        let waiting = Waiting {
            gate,
            deltas: Vec::new(),
            changes: 0,
            newest: None,
            behind: false,
            whole,
            closed: false,
        };
        Queue {
            waiting: Mutex::new(waiting),
            wake: Condvar::new(),
            applied: watch::Sender::default(),
            status: watch::Sender::new(status),
        }
    }

    pub(crate) const fn applied(&self) -> &watch::Sender<Revision> {
        &self.applied
    }

    pub(crate) const fn status(&self) -> &watch::Sender<Status> {
        &self.status
    }

    /// Nothing of what waits is left half done by a panic.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that no older word comes after a newer one.
    fn tell_applied(&self, waiting: &mut Waiting) {
        let applied = waiting.gate.applied();
        self.applied.send_if_modified(|told| std::mem::replace(told, applied) != applied);
    }

    pub(crate) fn publish(&self, newest: Newest, delta: Delta) {
        let replaced;
        {
            let mut waiting = self.lock();
            waiting.gate.publish(newest.number, newest.store, newest.revision);
            waiting.behind = true;
            if delta.replace_all {
                waiting.forget();
            }
            let changes = waiting.changes + delta.changes.len();
            waiting.whole |= !waiting.deltas.is_empty() && changes > MAX_CHANGES;
            if waiting.whole {
                waiting.forget();
            } else {
                waiting.changes = changes;
                waiting.deltas.push((newest.store, delta));
            }
            replaced = waiting.newest.replace(newest);
            self.tell_applied(&mut waiting);
        }
        self.wake.notify_one();
        drop(replaced);
    }

    pub(crate) fn settle(&self, number: u64) {
        let mut waiting = self.lock();
        waiting.gate.settle(number);
        self.tell_applied(&mut waiting);
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until there is something to write, and not before `earliest`.
    pub(crate) fn wait(&self, earliest: Option<Instant>) -> Woken {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return Woken::Closed;
            }
            let pause = earliest.map(|earliest| earliest.saturating_duration_since(Instant::now()));
            waiting = match pause {
                Some(pause) if !pause.is_zero() => {
                    self.wake.wait_timeout(waiting, pause).unwrap_or_else(PoisonError::into_inner).0
                }
                _ if waiting.behind => return Woken::Work,
                _ => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Hands out what is to be written; `None` if all is on disk.
    pub(crate) fn take(&self) -> Option<Job> {
        let mut waiting = self.lock();
        let newest = waiting.newest.clone().filter(|_| waiting.behind)?;
        waiting.behind = false;
        if waiting.whole {
            // What is published from here on is not in what is written, and must wait for it.
            waiting.gate.shut();
            waiting.whole = false;
            return Some(Job::Whole(newest));
        }
        waiting.changes = 0;
        Some(Job::Deltas(std::mem::take(&mut waiting.deltas), newest.number))
    }

    /// A job is done.
    pub(crate) fn saved(&self, number: u64) {
        let mut waiting = self.lock();
        waiting.gate.keep(number);
        self.tell_applied(&mut waiting);
        self.status.send_if_modified(|status| {
            let news = status.not_saved.is_some() || status.unreadable.is_some();
            status.not_saved = None;
            status.unreadable = None;
            news
        });
    }

    /// A job failed. `destroyed`: no policy is on disk now, or why the old one still is.
    pub(crate) fn failed(&self, error: SaveError, destroyed: io::Result<()>) {
        let mut waiting = self.lock();
        waiting.behind = true;
        waiting.whole = true;
        waiting.forget();
        if destroyed.is_ok() {
            waiting.gate.open();
        }
        let left = destroyed.err().map(Arc::new);
        // The alarm stands before anything is called applied that a restart would not find.
        self.status.send_modify(|status| {
            let since = status.not_saved.as_ref().map_or_else(SystemTime::now, |before| before.since);
            status.not_saved = Some(NotSaved { error: Arc::new(error), since, left });
        });
        self.tell_applied(&mut waiting);
    }
}

impl Waiting {
    /// Forgets the deltas: what comes after them holds them.
    fn forget(&mut self) {
        self.deltas.clear();
        self.changes = 0;
    }
}
