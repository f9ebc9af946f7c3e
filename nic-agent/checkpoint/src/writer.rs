//! The thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::Database;

use crate::error::SaveError;
use crate::medium::Medium;
use crate::queue::{Job, Queue, Woken};
use crate::tables;

/// The first pause after a failure; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The only one that writes to the file.
pub(crate) struct Writer {
    medium: Box<dyn Medium>,
    /// The file; `None` if there is none that can be built upon.
    database: Option<Database>,
    queue: Arc<Queue>,
    /// The last pause; `None` while all is well.
    pause: Option<Duration>,
}

impl Writer {
    pub(crate) fn new(medium: Box<dyn Medium>, database: Option<Database>, queue: Arc<Queue>) -> Writer {
        Writer { medium, database, queue, pause: None }
    }

    /// Writes until nobody publishes any more, and then what is left.
    pub(crate) fn run(mut self) {
        let mut earliest = None;
        while self.queue.wait(earliest) == Woken::Work {
            earliest = self.work().map(|pause| Instant::now() + pause);
        }
        self.work();
    }

    /// Writes what waits. Returns how long to leave a disk alone that failed.
    pub(crate) fn work(&mut self) -> Option<Duration> {
        let job = self.queue.take()?;
        let number = match &job {
            Job::Deltas(_, number) => *number,
            Job::Whole(newest) => newest.number,
        };
        // redb panics where structures do not fit together. What it had open is given up then.
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&job)));
        match written.unwrap_or(Err(SaveError::Structure)) {
            Ok(()) => {
                if self.pause.take().is_some() {
                    tracing::info!("the policy is on disk again");
                }
                self.queue.saved(number);
                None
            }
            Err(error) => {
                let pause = self.pause.map_or(MIN_PAUSE, |pause| (pause * 2).min(MAX_PAUSE));
                self.give_up(error, pause);
                Some(pause)
            }
        }
    }

    fn write(&mut self, job: &Job) -> Result<(), SaveError> {
        match (job, &self.database) {
            (Job::Deltas(deltas, _), Some(database)) => tables::advance(database, deltas),
            (Job::Deltas(..), None) => Err(SaveError::Base),
            (Job::Whole(newest), _) => {
                // Closed, for two files need more room than one, and this one is about to go.
                self.database = None;
                let database = self.medium.create()?;
                tables::fill(&database, newest.store, newest.revision, newest.policy.objects())?;
                self.medium.install().map_err(SaveError::file("putting policy.redb into its place"))?;
                self.database = Some(database);
                Ok(())
            }
        }
    }

    /// Nobody knows what is on disk now. It must go, before anything newer is called applied.
    fn give_up(&mut self, error: SaveError, pause: Duration) {
        self.pause = Some(pause);
        let database = self.database.take();
        // A panic while it closes is one about a file that is given up.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
        let destroyed = self.medium.destroy();
        let left = destroyed.as_ref().err().map(tracing::field::display);
        tracing::error!(%error, left, ?pause, "the policy is not on disk; forwarding goes on by it");
        self.queue.failed(error, destroyed);
    }
}
