//! The one thread that writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nic_model::{Action, State, Transaction, plan};
use nic_policy::{CallId, Revision};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::codec;
use crate::disk::{Disk, Group, Loaded, Medium};
use crate::error::{Corruption, OpenError, StoreId, SubmitError};
use crate::history::History;
use crate::requests::{Request, RequestId, Requests};
use crate::store::{Commit, Committed, Event};

/// The most transactions that are written and synced as one.
const MAX_GROUP: usize = 64;

/// What the thread is asked for.
#[derive(Debug)]
pub(crate) enum Task {
    Submit(Submission),
    Copy(CopyTo),
    Release(oneshot::Sender<Result<(), SubmitError>>),
}

/// A copy of the store that is asked for, and who waits for it.
#[derive(Debug)]
pub(crate) struct CopyTo {
    pub(crate) path: PathBuf,
    pub(crate) answer: oneshot::Sender<Result<Revision, SubmitError>>,
}

/// A transaction that waits, and who waits for it.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) call: Option<CallId>,
    pub(crate) transaction: Transaction,
    pub(crate) request: Option<Request>,
    pub(crate) answer: oneshot::Sender<Result<Committed, SubmitError>>,
}

/// The thread's own.
pub(crate) struct Writer {
    medium: Box<dyn Medium>,
    store: StoreId,
    /// `None` after an error, until the store is opened again.
    disk: Option<Disk>,
    state: Arc<State>,
    requests: Requests,
    current: watch::Sender<Arc<State>>,
    events: broadcast::Sender<Event>,
    history: Arc<Mutex<History>>,
    /// Why the last write failed; `None` after one that did not.
    failing: watch::Sender<Option<String>>,
    /// Whether this version is on trial.
    held: bool,
}

/// A transaction of a group, planned but not yet on disk.
type Planned = (oneshot::Sender<Result<Committed, SubmitError>>, Result<Committed, SubmitError>);

/// A revision of a group, and the request id that its transaction came with.
struct Made {
    commit: Commit,
    request: Option<RequestId>,
}

impl Made {
    /// Says that it is on disk.
    fn log(&self) {
        let revision = self.commit.after.revision().0;
        let changes =
            self.commit.changes.iter().filter(|change| change.action() != Action::Unchanged).count();
        let call = self.commit.call.as_ref().map(tracing::field::display);
        let request_id = self.request.map(|id| tracing::field::display(id.0));
        tracing::info!(revision, changes, call, request_id, "committed");
    }
}

impl Writer {
    pub(crate) fn new(
        medium: Box<dyn Medium>,
        loaded: Loaded,
        current: watch::Sender<Arc<State>>,
        events: broadcast::Sender<Event>,
        history: Arc<Mutex<History>>,
        failing: watch::Sender<Option<String>>,
    ) -> Writer {
        let state = Arc::clone(&current.borrow());
        Writer {
            medium,
            store: loaded.disk.store(),
            disk: Some(loaded.disk),
            state,
            requests: loaded.requests,
            current,
            events,
            history,
            failing,
            held: false,
        }
    }

    /// The same, for a version on trial if `held`.
    pub(crate) fn held(self, held: bool) -> Writer {
        Writer { held, ..self }
    }

    /// Serves until nobody can submit any more.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Task>) {
        while let Some(first) = queue.blocking_recv() {
            let (mut group, mut beside, mut next) = (Vec::new(), None, Some(first));
            while let Some(task) = next.take() {
                match task {
                    Task::Submit(submission) => group.push(submission),
                    // It comes behind what was submitted before.
                    other => {
                        beside = Some(other);
                        break;
                    }
                }
                if group.len() < MAX_GROUP {
                    next = queue.try_recv().ok();
                }
            }
            if !group.is_empty() {
                self.serve(group);
            }
            // Whoever waited may be gone.
            match beside {
                Some(Task::Copy(CopyTo { path, answer })) => drop(answer.send(self.copy(&path))),
                Some(Task::Release(answer)) => drop(answer.send(self.release())),
                Some(Task::Submit(_)) | None => {}
            }
        }
    }

    fn copy(&mut self, path: &Path) -> Result<Revision, SubmitError> {
        self.open_again()?;
        let disk = self.disk.as_ref().ok_or(SubmitError::Closed)?;
        disk.copy_to(path)?;
        Ok(self.state.revision())
    }

    fn release(&mut self) -> Result<(), SubmitError> {
        self.held = false;
        self.open_again()?;
        let Some(disk) = self.disk.as_mut().filter(|disk| disk.is_of_an_older_schema()) else {
            return Ok(());
        };
        if let Err(error) = disk.migrate(&self.state) {
            // Nobody knows what reached the disk.
            self.disk = None;
            return Err(error.into());
        }
        tracing::info!("the store is written as this version does");
        Ok(())
    }

    /// Does a group of transactions. Their answers are sent when all is on disk: even a refusal may be
    /// due to one before it in the group.
    fn serve(&mut self, submissions: Vec<Submission>) {
        if let Err(error) = self.open_again() {
            self.failing.send_replace(Some(error.to_string()));
            for submission in submissions {
                answer(submission.answer, Err(error.clone()));
            }
            return;
        }
        if self.held && self.disk.as_ref().is_some_and(Disk::is_of_an_older_schema) {
            for submission in submissions {
                answer(submission.answer, Err(SubmitError::Held));
            }
            return;
        }
        let mut group = Group::default();
        let mut commits = Vec::new();
        let mut state = Arc::clone(&self.state);
        let mut planned: Vec<Planned> = Vec::new();
        for submission in submissions {
            let Submission { call, transaction, request, answer } = submission;
            let before = commits.len();
            let id = request.map(|request| request.id);
            let result = self.plan(&transaction, request, &mut state, &mut group, &mut commits);
            if let Some(made) = commits.get_mut(before) {
                made.commit.call = call;
                made.request = id;
            }
            planned.push((answer, result));
        }
        match self.write(&state, &mut group) {
            Ok(()) => {
                self.publish(state, commits);
                planned.into_iter().for_each(|(sender, result)| answer(sender, result));
            }
            Err(error) => planned.into_iter().for_each(|(sender, _)| answer(sender, Err(error.clone()))),
        }
    }

    fn plan(
        &mut self,
        transaction: &Transaction,
        request: Option<Request>,
        state: &mut Arc<State>,
        group: &mut Group,
        commits: &mut Vec<Made>,
    ) -> Result<Committed, SubmitError> {
        if let Some(request) = &request {
            let before = self.requests.answer(request).map_err(|_| SubmitError::RequestIdReused)?;
            if let Some(before) = before {
                return Ok(Committed { replayed: true, ..before.clone() });
            }
        }
        let outcome = plan(state, transaction).map_err(SubmitError::Rejected)?;
        let changed = !outcome.is_unchanged(state);
        let committed = Committed {
            revision: outcome.state.revision(),
            changes: outcome.changes.into(),
            replayed: false,
        };
        if changed {
            let after = Arc::new(outcome.state);
            let before = std::mem::replace(state, Arc::clone(&after));
            let touched = committed.changes.iter().filter(|change| change.action() != Action::Unchanged);
            group.changes.extend(touched.cloned());
            let changes = Arc::clone(&committed.changes);
            commits.push(Made { commit: Commit { before, after, changes, call: None }, request: None });
        }
        if let Some(request) = request {
            let record = codec::encode_request(&request, &committed);
            let age = self.requests.next_age();
            self.requests.keep(age, request, committed.clone(), record.len());
            group.kept.push((age, record));
        }
        Ok(committed)
    }

    fn write(&mut self, state: &State, group: &mut Group) -> Result<(), SubmitError> {
        if group.is_empty() {
            return Ok(());
        }
        group.forgotten.extend(std::iter::from_fn(|| self.requests.forget()));
        let Some(disk) = &self.disk else { return Err(SubmitError::Closed) };
        match disk.write(state, group) {
            Ok(()) => {
                self.failing.send_if_modified(|failing| failing.take().is_some());
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store could not write; it is opened again before the next transaction");
                self.failing.send_replace(Some(error.to_string()));
                self.disk = None;
                Err(error.into())
            }
        }
    }

    fn publish(&mut self, state: Arc<State>, commits: Vec<Made>) {
        self.state = state;
        for made in commits {
            made.log();
            let commit = Arc::new(made.commit);
            // Before anybody can know of the revision, so that nobody knows one that is not kept.
            self.history.lock().unwrap_or_else(PoisonError::into_inner).keep(Arc::clone(&commit));
            self.current.send_replace(Arc::clone(&commit.after));
            // Nobody may be listening.
            let _ = self.events.send(Event::Commit(commit));
        }
    }

    /// Opens the store after an error, and finds out what reached the disk.
    fn open_again(&mut self) -> Result<(), SubmitError> {
        if self.disk.is_some() {
            return Ok(());
        }
        let loaded = Disk::open(self.medium.as_ref())?;
        let (expected, found) = (self.state.revision().0, loaded.state.revision().0);
        if found < expected || loaded.disk.store() != self.store {
            return Err(OpenError::from(Corruption::Behind { expected, found }).into());
        }
        tracing::info!(revision = loaded.state.revision().0, "the store is open again");
        self.disk = Some(loaded.disk);
        self.requests = loaded.requests;
        if loaded.state.revision() != self.state.revision() {
            // What seemed to have failed had reached the disk.
            self.failing.send_replace(None);
            self.state = Arc::new(loaded.state);
            let forgotten = History::new(self.state.revision());
            *self.history.lock().unwrap_or_else(PoisonError::into_inner) = forgotten;
            self.current.send_replace(Arc::clone(&self.state));
            let _ = self.events.send(Event::Reset(Arc::clone(&self.state)));
        }
        Ok(())
    }
}

/// Whoever waited may be gone.
fn answer(sender: oneshot::Sender<Result<Committed, SubmitError>>, result: Result<Committed, SubmitError>) {
    let _ = sender.send(result);
}
