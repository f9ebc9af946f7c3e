//! Says in the log when a publication is applied, and which calls it came from.

use std::collections::VecDeque;

use nic_policy::Revision;
use tokio::sync::{mpsc, watch};

use crate::calls::Calls;

/// Publications that wait to be applied and are remembered; the oldest is forgotten for a newer one.
const MAX_PENDING: usize = 64;

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) revision: Revision,
    pub(crate) calls: Calls,
    /// What was applied when it came. One that goes back is not applied by this.
    pub(crate) before: Revision,
}

impl Publication {
    fn is_applied(&self, applied: Revision) -> bool {
        let goes_back = self.revision < self.before;
        applied >= self.revision && !(goes_back && applied == self.before)
    }
}

/// Where publications are told to the task that waits for them.
#[derive(Debug)]
pub(crate) struct Applied(mpsc::Sender<Publication>);

impl Applied {
    /// Starts the task, which ends when nobody is left to tell it, or to say what is applied. `log` is told each
    /// publication that is applied.
    pub(crate) fn new(
        applied: watch::Receiver<Revision>,
        log: impl FnMut(Publication) + Send + 'static,
    ) -> Applied {
        let (sender, told) = mpsc::channel(MAX_PENDING);
        tokio::spawn(follow(applied, told, log));
        Applied(sender)
    }

    /// Something is in force.
    pub(crate) fn published(&self, publication: Publication) {
        // With so many on their way, a line of the log is the least; and the task ends with the worker.
        let _ = self.0.try_send(publication);
    }
}

async fn follow(
    mut applied: watch::Receiver<Revision>,
    mut told: mpsc::Receiver<Publication>,
    mut log: impl FnMut(Publication),
) {
    let mut pending: VecDeque<Publication> = VecDeque::new();
    loop {
        tokio::select! {
            publication = told.recv() => match publication {
                Some(publication) => note(&mut pending, publication),
                None => return,
            },
            changed = applied.changed() => if changed.is_err() { return },
        }
        let now = *applied.borrow_and_update();
        let waiting = std::mem::take(&mut pending);
        for publication in waiting {
            if publication.is_applied(now) { log(publication) } else { pending.push_back(publication) }
        }
    }
}

fn note(pending: &mut VecDeque<Publication>, publication: Publication) {
    // What a publication goes back behind is not applied any more.
    pending.retain(|earlier| earlier.revision < publication.revision);
    if pending.len() == MAX_PENDING {
        pending.pop_front();
    }
    pending.push_back(publication);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(revision: u64, before: u64) -> Publication {
        Publication { revision: Revision(revision), calls: Calls::default(), before: Revision(before) }
    }

    /// A follower, what it is fed by, and what it said.
    fn follower() -> (watch::Sender<Revision>, Applied, mpsc::UnboundedReceiver<u64>) {
        let applied = watch::Sender::new(Revision(0));
        let (log, said) = mpsc::unbounded_channel();
        let follower = Applied::new(applied.subscribe(), move |publication| {
            let _ = log.send(publication.revision.0);
        });
        (applied, follower, said)
    }

    #[tokio::test]
    async fn each_publication_is_told_once_when_it_is_applied() {
        let (applied, follower, mut said) = follower();
        follower.published(publication(3, 0));
        follower.published(publication(4, 0));
        tokio::task::yield_now().await;
        assert!(said.try_recv().is_err(), "neither is applied");
        applied.send_replace(Revision(4));
        assert_eq!((said.recv().await, said.recv().await), (Some(3), Some(4)));
        // One that was applied before it was told.
        applied.send_replace(Revision(7));
        follower.published(publication(7, 4));
        assert_eq!(said.recv().await, Some(7));
    }

    #[tokio::test]
    async fn a_policy_that_goes_back_is_not_applied_by_the_later_one() {
        let (applied, follower, mut said) = follower();
        applied.send_replace(Revision(9));
        follower.published(publication(12, 9));
        follower.published(publication(2, 9));
        tokio::task::yield_now().await;
        assert!(said.try_recv().is_err(), "9 says nothing of 2");
        applied.send_replace(Revision(2));
        assert_eq!(said.recv().await, Some(2));
        drop(applied);
        assert_eq!(said.recv().await, None, "12 was forgotten, and the task ends");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut pending = VecDeque::new();
        for revision in 0..200 {
            note(&mut pending, publication(revision, 0));
        }
        assert_eq!(
            (pending.len(), pending.front().map(|it| it.revision)),
            (MAX_PENDING, Some(Revision(136)))
        );
    }
}
