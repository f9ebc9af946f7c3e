//! Which revision may be called applied: one that the E-Switch has and the disk too.

use std::collections::VecDeque;

use nic_link::Uuid;
use nic_policy::Revision;

/// Publications between the one that is applied and the newest.
///
/// They are told apart by the worker's numbers: revisions go back when another store is adopted.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// By ascending number; none before the newest one that is applied.
    published: VecDeque<Publication>,
    /// All publications before this number are applied by the worker.
    settled: u64,
    /// The newest publication on disk; `None` for none.
    kept: Option<u64>,
    /// True while the disk is not waited for.
    open: bool,
}

#[derive(Debug, Clone, Copy)]
struct Publication {
    number: u64,
    store: Uuid,
    revision: Revision,
}

impl Gate {
    /// A policy is published.
    pub(crate) fn publish(&mut self, number: u64, store: Uuid, revision: Revision) {
        self.published.push_back(Publication { number, store, revision });
    }

    /// The worker has applied all publications before `number`.
    pub(crate) fn settle(&mut self, number: u64) {
        self.settled = number;
    }

    /// A publication is on disk, and with it all before.
    pub(crate) fn keep(&mut self, number: u64) {
        self.kept = Some(number);
        self.open = false;
    }

    /// There is no policy on disk, and none is waited for.
    pub(crate) fn open(&mut self) {
        self.kept = None;
        self.open = true;
    }

    /// From now on the disk is waited for again. What was published so far may have been reported.
    pub(crate) fn shut(&mut self) {
        if self.open {
            self.kept = self.published.back().map(|newest| newest.number);
            self.open = false;
        }
    }

    /// The newest revision that is applied; 0 for none, and while the one in force is older than it or
    /// of another store: what is reported never stands above what is in force.
    pub(crate) fn applied(&mut self) -> Revision {
        let (settled, kept, open) = (self.settled, self.kept, self.open);
        let applied = |publication: &Publication| {
            publication.number < settled && (open || kept.is_some_and(|kept| publication.number <= kept))
        };
        let count = self.published.iter().take_while(|publication| applied(publication)).count();
        self.published.drain(..count.saturating_sub(1));
        match (self.published.front(), self.published.back()) {
            (Some(front), Some(newest))
                if applied(front) && front.store == newest.store && front.revision <= newest.revision =>
            {
                front.revision
            }
            _ => Revision(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);

    fn gate(published: &[(u64, Uuid, u64)]) -> Gate {
        let mut gate = Gate::default();
        for &(number, store, revision) in published {
            gate.publish(number, store, Revision(revision));
        }
        gate
    }

    #[test]
    fn a_revision_is_applied_when_worker_and_disk_have_it_whoever_is_first() {
        let mut gate = gate(&[(1, ONE, 10), (2, ONE, 11), (5, ONE, 12)]);
        assert_eq!(gate.applied(), Revision(0));
        gate.settle(3);
        assert_eq!(gate.applied(), Revision(0));
        gate.keep(1);
        assert_eq!(gate.applied(), Revision(10));
        gate.keep(5);
        assert_eq!(gate.applied(), Revision(11));
        gate.settle(5);
        assert_eq!(gate.applied(), Revision(11));
        gate.settle(6);
        assert_eq!(gate.applied(), Revision(12));
    }

    #[test]
    fn a_disk_that_failed_is_not_waited_for_until_it_is_written_again() {
        let mut gate = gate(&[(1, ONE, 10)]);
        gate.settle(2);
        gate.open();
        assert_eq!(gate.applied(), Revision(10));
        gate.publish(2, ONE, Revision(11));
        gate.settle(3);
        assert_eq!(gate.applied(), Revision(11));
        gate.shut();
        gate.publish(3, ONE, Revision(12));
        gate.settle(4);
        assert_eq!(gate.applied(), Revision(11), "what was said is not taken back");
        gate.keep(2);
        assert_eq!(gate.applied(), Revision(11));
        gate.keep(3);
        assert_eq!(gate.applied(), Revision(12));
    }

    #[test]
    fn a_disk_that_never_failed_is_still_waited_for_when_it_is_shut() {
        let mut gate = gate(&[(1, ONE, 10)]);
        gate.settle(2);
        gate.shut();
        assert_eq!(gate.applied(), Revision(0));
    }

    #[test]
    fn another_stores_revision_is_not_taken_for_the_one_in_force() {
        for (store, revision) in [(TWO, 10), (TWO, 99), (ONE, 9)] {
            let mut gate = gate(&[(1, ONE, 10)]);
            gate.settle(2);
            gate.keep(1);
            assert_eq!(gate.applied(), Revision(10));
            gate.publish(2, store, Revision(revision));
            assert_eq!(gate.applied(), Revision(0));
            gate.keep(2);
            assert_eq!(gate.applied(), Revision(0));
            gate.settle(3);
            assert_eq!(gate.applied(), Revision(revision));
        }
    }
}
