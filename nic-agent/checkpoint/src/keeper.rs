//! From the start to the end: what is read, and who keeps it up to date.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use nic_link::Uuid;
use nic_policy::{Change, Delta, Revision};
use redb::Database;
use tokio::sync::watch;

use crate::error::{DirectoryError, StartError, Unusable};
use crate::folder::Folder;
use crate::medium::Medium;
use crate::queue::{Newest, Policy, Queue, Source, Status};
use crate::tables;
use crate::writer::Writer;

/// The policy that was on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The store that it came from.
    pub store: Uuid,
    /// All of it, as a full sync.
    pub delta: Delta,
}

/// A directory that was read, and that nobody else can use from here on.
pub struct Opened {
    medium: Box<dyn Medium>,
    /// The file, if changes can be written to it.
    database: Option<Database>,
    loaded: Option<Loaded>,
    unreadable: Option<Arc<Unusable>>,
}

/// Reads the policy of a directory, which is made if it is not there. A file that is not used is renamed
/// to `policy.redb.unusable`, in the place of an earlier one; a directory that cannot be used is no
/// error, for the card must forward without one.
///
/// # Errors
/// Another process uses the directory.
pub fn open(directory: &Path) -> Result<Opened, StartError> {
    open_medium(Box::new(Folder::new(directory))).ok_or_else(|| StartError::InUse(directory.to_owned()))
}

/// `None` if another process uses it.
pub(crate) fn open_medium(mut medium: Box<dyn Medium>) -> Option<Opened> {
    match read(medium.as_mut()) {
        Ok(Some((database, loaded, current))) => {
            let (revision, objects) = (loaded.delta.revision.0, loaded.delta.changes.len());
            tracing::info!(store = %loaded.store, revision, objects, "the policy of the disk is used");
            let database = current.then_some(database);
            Some(Opened { medium, database, loaded: Some(loaded), unreadable: None })
        }
        Ok(None) => {
            tracing::info!("there is no policy on disk: closed until an agent brings one");
            Some(Opened { medium, database: None, loaded: None, unreadable: None })
        }
        Err(Unusable::InUse | Unusable::Directory(DirectoryError::InUse)) => None,
        Err(error) => {
            tracing::error!(%error, "the policy of the disk is not used: closed until an agent brings one");
            if !matches!(error, Unusable::Directory(_))
                && let Err(error) = medium.put_aside()
            {
                tracing::error!(%error, "the unusable policy cannot be put aside");
            }
            Some(Opened { medium, database: None, loaded: None, unreadable: Some(Arc::new(error)) })
        }
    }
}

/// Reads and checks all that is there, and whether changes can be written to it as it is.
fn read(medium: &mut dyn Medium) -> Result<Option<(Database, Loaded, bool)>, Unusable> {
    let read = || {
        let Some(mut database) = medium.open()? else { return Ok(None) };
        if !database.check_integrity()? {
            return Err(Unusable::Checksum);
        }
        let tables::Contents { meta, objects } = tables::read(&database)?;
        let changes = objects.into_iter().map(Change::Put).collect();
        let delta = Delta { revision: meta.revision, replace_all: true, changes };
        let current = meta.schema == tables::newest_schema();
        Ok(Some((database, Loaded { store: meta.store, delta }, current)))
    };
    // redb trusts lengths that it reads before it checks their checksums, and panics where they are
    // wrong; a torn file is no reason to end. Nothing of ours is seen half changed then.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(Unusable::Structure))
}

impl Opened {
    /// The policy that was there.
    pub const fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// Starts the thread that keeps the file up to date. If the policy that was there is in force, `number`
    /// is that of its publication; the numbers of all later ones are greater.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn keep(self, number: u64) -> Result<Keeper, StartError> {
        let (queue, writer) = self.into_parts(number);
        let thread = std::thread::Builder::new().name("policy-disk".to_owned()).spawn(move || writer.run());
        Ok(Keeper { queue, thread: Some(thread.map_err(StartError::Thread)?) })
    }

    pub(crate) fn into_parts(self, number: u64) -> (Arc<Queue>, Writer) {
        let source = if self.loaded.is_some() { Source::Disk } else { Source::None };
        let status = Status { source, unreadable: self.unreadable, not_saved: None };
        let restored = self.loaded.map(|loaded| (number, loaded.store, loaded.delta.revision));
        let queue = Arc::new(Queue::new(restored, self.database.is_none(), status));
        let writer = Writer::new(self.medium, self.database, Arc::clone(&queue));
        (queue, writer)
    }
}

/// Keeps the policy in force on disk. Dropped, it writes what still waits, and ends.
pub struct Keeper {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// A policy was published. Returns at once. To be called in the order of publications, whose numbers
    /// ascend.
    ///
    /// `delta` leads to it from the one before, `policy` is all of it.
    pub fn published(&self, number: u64, store: Uuid, delta: Delta, policy: Arc<dyn Policy>) {
        let newest = Newest { number, store, revision: delta.revision, policy };
        self.queue.publish(newest, delta);
        self.confirmed();
    }

    /// The worker has applied all publications before `number`: no flow and no rule of an older policy is
    /// left.
    pub fn settled(&self, number: u64) {
        self.queue.settle(number);
    }

    /// An agent says that the policy in force is its own.
    pub fn confirmed(&self) {
        self.queue
            .status()
            .send_if_modified(|status| std::mem::replace(&mut status.source, Source::Agent) != Source::Agent);
    }

    /// The newest revision that the worker has applied and the disk has. A disk that failed is not
    /// waited for, unless an older policy is left on it. 0 while the policy in force is of another store
    /// than the one applied, or older.
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.queue.applied().subscribe()
    }

    /// What is to be told of the policy and the disk.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.queue.status().subscribe()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic in it was already reported.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("unreadable", &self.unreadable).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
