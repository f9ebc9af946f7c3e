//! `nic-store` itself, on a disk that is simulated: full, or torn by the death of the process.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use nic_compile::incremental;
use nic_model::{Change, State, Transaction};
use nic_policy::{Delta, Revision};
use nic_store::testing::{self, StorageBackend};
use nic_store::{Store as NicStore, SubmitError};
use sim::random::Random;

use super::store::{Disk, NotDone, Store};

/// The bytes, as the process that has them open sees them.
#[derive(Debug, Clone, Default)]
struct Backend(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    /// Since then, in order.
    written: Vec<(usize, Vec<u8>)>,
    full: bool,
    /// Calls until the process dies; `None`: it lives.
    dies_after: Option<u64>,
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

impl Backend {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, Bytes>> {
        let mut bytes = self.lock();
        match &mut bytes.dies_after {
            Some(0) => return Err(io::Error::other("the process is dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(bytes)
    }

    /// What is on the disk after the process died: of what was not synced anything, and of the last of it
    /// a part.
    fn remains(&self, random: &mut Random) -> Backend {
        let bytes = self.lock();
        let mut left = bytes.durable.clone();
        let kept = random.pick(&[0, 50, 100]);
        for (offset, data) in &bytes.written {
            let whole = data.len().div_ceil(SECTOR) as u64;
            let length =
                if random.chance(80) { data.len() } else { random.below(whole + 1) as usize * SECTOR };
            let data = &data[..length.min(data.len())];
            if random.chance(kept) {
                left.resize(left.len().max(offset + data.len()), 0);
                left[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
        Backend::of(left)
    }

    fn of(bytes: Vec<u8>) -> Backend {
        Backend(Arc::new(Mutex::new(Bytes { seen: bytes.clone(), durable: bytes, ..Bytes::default() })))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.alive()?;
        let offset = offset as usize;
        out.copy_from_slice(bytes.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.alive()?;
        if bytes.full && len as usize > bytes.seen.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.seen.resize(len as usize, 0);
        bytes.durable.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.alive()?;
        for (offset, data) in std::mem::take(&mut bytes.written) {
            bytes.durable[offset..offset + data.len()].copy_from_slice(&data);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.alive()?;
        if bytes.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = offset as usize;
        bytes.seen[offset..offset + data.len()].copy_from_slice(data);
        bytes.written.push((offset, data.to_vec()));
        Ok(())
    }
}

/// The store and its disk.
#[derive(Debug)]
pub(crate) struct Real {
    /// `None` only while it is opened again.
    store: Option<NicStore>,
    disk: Backend,
    random: Random,
}

impl Real {
    /// An empty store.
    pub(crate) fn new(seed: u64) -> Real {
        static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
        let empty = EMPTY.get_or_init(|| {
            let backend = Backend::default();
            testing::create(backend.clone(), 1).expect("an empty disk takes a store");
            let bytes = backend.lock();
            bytes.seen.clone()
        });
        let disk = Backend::of(empty.clone());
        let store = testing::open(disk.clone()).expect("the store was just made");
        Real { store: Some(store), disk, random: Random::new(seed) }
    }

    fn store(&self) -> &NicStore {
        self.store.as_ref().expect("it is open between two calls")
    }
}

impl Store for Real {
    fn state(&self) -> Arc<State> {
        self.store().state()
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        let commits = self.store().changes_since(revision).ok()?;
        let (Some(first), Some(last)) = (commits.first(), commits.last()) else {
            return Some(Delta { revision, ..Delta::default() });
        };
        let changes: Vec<Change> = commits.iter().flat_map(|commit| commit.changes.iter().cloned()).collect();
        Some(incremental(&first.before, &last.after, &changes))
    }

    fn submit(&mut self, transaction: Transaction, disk: Disk) -> Result<Revision, NotDone> {
        {
            let mut bytes = self.disk.lock();
            bytes.full = disk == Disk::Full;
            bytes.dies_after = (disk == Disk::Torn).then(|| self.random.below(40));
        }
        let done = wait(self.store().submit(transaction, None));
        let mut bytes = self.disk.lock();
        bytes.full = false;
        let dead = bytes.dies_after == Some(0);
        if !dead {
            bytes.dies_after = None;
        }
        match done {
            Ok(committed) => Ok(committed.revision),
            Err(SubmitError::Rejected(_)) => Err(NotDone::Rejected),
            Err(_) if dead => Err(NotDone::Died),
            Err(SubmitError::Full) => Err(NotDone::Full),
            Err(error) => panic!("nothing was wrong with the disk: {error}"),
        }
    }

    fn reopen(&mut self, random: &mut Random) {
        self.disk.lock().dies_after = Some(0);
        // What a process does as it ends reaches the disk no more.
        self.store = None;
        self.disk = self.disk.remains(random);
        let opened = testing::open(self.disk.clone());
        self.store = Some(opened.unwrap_or_else(|error| panic!("the store is lost: {error}")));
    }
}

/// Wakes a thread.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the store's thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
