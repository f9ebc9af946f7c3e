//! The store as the rest of nic-agent sees it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nic_model::{Change, State, Transaction};
use nic_policy::{CallId, Revision};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::codec::{OLDEST_SCHEMA, SCHEMA};
use crate::disk::{self, Disk, FileMedium, Medium};
use crate::error::{OpenError, StoreId, SubmitError};
use crate::history::{Compacted, History};
use crate::requests::Request;
use crate::writer::{CopyTo, Submission, Task, Writer};

/// Transactions that may wait; who comes then, waits to wait.
const QUEUE: usize = 256;
/// Commits that a subscriber may be behind before it is told to start anew.
const BACKLOG: usize = 256;

/// An open store. Dropping it finishes the transactions that wait and closes the file.
pub struct Store {
    id: StoreId,
    current: watch::Receiver<Arc<State>>,
    events: broadcast::Sender<Event>,
    history: Arc<Mutex<History>>,
    failing: watch::Receiver<Option<String>>,
    queue: Option<mpsc::Sender<Task>>,
    writer: Option<JoinHandle<()>>,
}

/// A transaction that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The revision that it made, or the current one if it changed nothing.
    pub revision: Revision,
    /// What happened to each resource, as in [`nic_model::Outcome`].
    pub changes: Arc<[Change]>,
    /// True if this is the answer that an earlier request of the same id got.
    pub replayed: bool,
}

/// A revision and what led to it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The state before.
    pub before: Arc<State>,
    /// The state afterwards.
    pub after: Arc<State>,
    /// What leads from one to the other; some may be unchanged.
    pub changes: Arc<[Change]>,
    /// The call of the API that asked for it, if one did. Not on disk: it is for the logs of this run.
    pub call: Option<CallId>,
}

/// What a subscriber hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// The next revision; its state before is the one that the subscriber has.
    Commit(Arc<Commit>),
    /// Revisions were skipped: this is the state now.
    Reset(Arc<State>),
}

/// All changes since a state, in order.
#[derive(Debug)]
pub struct Subscription {
    state: Arc<State>,
    current: watch::Receiver<Arc<State>>,
    events: broadcast::Receiver<Event>,
}

impl Store {
    /// Opens the store in a file, or makes an empty one if there is no such file. Reads and checks all
    /// of it, so it blocks.
    ///
    /// # Errors
    /// Why not.
    pub fn open(path: &Path) -> Result<Store, OpenError> {
        Store::open_file(path, false)
    }

    /// The same for a version on trial: as long as an older version reads what is there, nothing is written.
    /// Where nothing is, an empty store is made that every version reads. [`Store::release`] ends that.
    ///
    /// # Errors
    /// Why not.
    pub fn open_held(path: &Path) -> Result<Store, OpenError> {
        Store::open_file(path, true)
    }

    fn open_file(path: &Path, held: bool) -> Result<Store, OpenError> {
        let exists =
            path.try_exists().map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
        if !exists {
            disk::create(path, if held { OLDEST_SCHEMA } else { SCHEMA })?;
        }
        Store::open_medium(Box::new(FileMedium(path.to_owned())), held)
    }

    pub(crate) fn open_medium(medium: Box<dyn Medium>, held: bool) -> Result<Store, OpenError> {
        let mut loaded = Disk::open(medium.as_ref())?;
        let id = loaded.disk.store();
        let (sender, current) = watch::channel(Arc::new(std::mem::take(&mut loaded.state)));
        let history = Arc::new(Mutex::new(History::new(current.borrow().revision())));
        let (events, _) = broadcast::channel(BACKLOG);
        let (queue, submissions) = mpsc::channel(QUEUE);
        let (told, failing) = watch::channel(None);
        let writer =
            Writer::new(medium, loaded, sender, events.clone(), Arc::clone(&history), told).held(held);
        let writer =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(submissions));
        let writer = writer.map_err(|error| OpenError::Unreadable(redb::Error::Io(error)))?;
        Ok(Store { id, current, events, history, failing, queue: Some(queue), writer: Some(writer) })
    }

    /// The store's name.
    pub const fn id(&self) -> StoreId {
        self.id
    }

    /// The state now.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.current.borrow())
    }

    /// Why the last transaction that changed something did not reach the disk; `None` if it did.
    pub fn failing(&self) -> Option<String> {
        self.failing.borrow().clone()
    }

    /// Does a transaction. When this returns it is on disk, or it is refused as a whole. With a
    /// request, a repetition gets the first answer and changes nothing, as long as it is remembered:
    /// at least until a thousand others came.
    ///
    /// Should this future be dropped, the transaction is done nevertheless once it is in the queue.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn submit(
        &self,
        transaction: Transaction,
        request: Option<Request>,
    ) -> Result<Committed, SubmitError> {
        self.submit_for(None, transaction, request).await
    }

    /// The same for a call of the API, which the log line of the revision and the [`Commit`] name.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn submit_for(
        &self,
        call: Option<CallId>,
        transaction: Transaction,
        request: Option<Request>,
    ) -> Result<Committed, SubmitError> {
        let (answer, committed) = oneshot::channel();
        let submission = Submission { call, transaction, request, answer };
        let queue = self.queue.as_ref().ok_or(SubmitError::Closed)?;
        queue.send(Task::Submit(submission)).await.map_err(|_| SubmitError::Closed)?;
        committed.await.unwrap_or(Err(SubmitError::Closed))
    }

    /// Writes the store as it is now into a new file, whole and durable, and says its revision. Blocks, so it
    /// must not be called where futures run.
    ///
    /// # Errors
    /// The file is there already, or cannot be written; or the store cannot be read.
    pub fn copy_to(&self, path: PathBuf) -> Result<Revision, SubmitError> {
        let (answer, copied) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(SubmitError::Closed)?;
        queue.blocking_send(Task::Copy(CopyTo { path, answer })).map_err(|_| SubmitError::Closed)?;
        copied.blocking_recv().unwrap_or(Err(SubmitError::Closed))
    }

    /// This version has proven itself: a store of an older schema becomes one of this version's. Blocks, as
    /// [`Store::copy_to`] does.
    ///
    /// # Errors
    /// It is as it was, and changes are taken all the same; the next one writes it anew.
    pub fn release(&self) -> Result<(), SubmitError> {
        let (answer, released) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(SubmitError::Closed)?;
        queue.blocking_send(Task::Release(answer)).map_err(|_| SubmitError::Closed)?;
        released.blocking_recv().unwrap_or(Err(SubmitError::Closed))
    }

    /// The state now, and from it all changes in order.
    pub fn subscribe(&self) -> Subscription {
        // In this order no change falls between the two; one that is in both is left out.
        let events = self.events.subscribe();
        Subscription { state: self.state(), current: self.current.clone(), events }
    }

    /// The commits behind a revision, in order; none for the current one. Kept are those of the recent
    /// past, since the store was opened at most. Whoever wants to go on from there subscribes first, and
    /// takes the commits up to the revision of [`Subscription::state`].
    ///
    /// # Errors
    /// They are not kept any more, or there is no such revision.
    pub fn changes_since(&self, revision: Revision) -> Result<Vec<Arc<Commit>>, Compacted> {
        // A history is whole after each of its own steps.
        self.history.lock().unwrap_or_else(PoisonError::into_inner).since(revision)
    }

    /// The calls that the revisions behind `after` and up to `to` came from, as far as their commits are
    /// kept, the newest first; a call that made several stands there once. No more than `limit` of them,
    /// and how many older ones there are.
    pub fn calls(&self, after: Revision, to: Revision, limit: usize) -> (Vec<CallId>, usize) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).calls(after, to, limit)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // The thread ends when the queue is empty; a panic in it was already reported.
            let _ = writer.join();
        }
    }
}

impl Subscription {
    /// The state that the subscriber has: the one at the start, then that of the last event.
    pub const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The next change; `None` when the store is closed. May be cancelled without a loss.
    pub async fn next(&mut self) -> Option<Event> {
        use broadcast::error::RecvError;
        loop {
            match self.events.recv().await {
                Ok(Event::Commit(commit)) if commit.after.revision() <= self.state.revision() => {}
                Ok(Event::Reset(state)) if state.revision() <= self.state.revision() => {}
                Ok(Event::Commit(commit)) => {
                    self.state = Arc::clone(&commit.after);
                    return Some(Event::Commit(commit));
                }
                Ok(Event::Reset(state)) => {
                    self.state = Arc::clone(&state);
                    return Some(Event::Reset(state));
                }
                Err(RecvError::Lagged(_)) => {
                    // From the end of the queue on: what is skipped is in the current state.
                    self.events = self.events.resubscribe();
                    self.state = Arc::clone(&self.current.borrow());
                    return Some(Event::Reset(Arc::clone(&self.state)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
