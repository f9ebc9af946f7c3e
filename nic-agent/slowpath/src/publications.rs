//! Which revision is applied: every flow that a change touched is translated again, and no rule that
//! was translated before it is left.

use std::collections::VecDeque;

use nic_policy::Revision;

/// The revisions that are published and not yet applied, in order.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    /// The number of the first one that is pending.
    first: u64,
    pending: VecDeque<Publication>,
    applied: Revision,
}

#[derive(Debug)]
struct Publication {
    revision: Revision,
    /// Flows to translate and rules to remove.
    outstanding: u64,
}

impl Publications {
    pub(crate) const fn applied(&self) -> Revision {
        self.applied
    }

    /// All publications before this number are applied.
    pub(crate) const fn settled(&self) -> u64 {
        self.first
    }

    /// A revision is published. Returns the number of the publication; [`Publications::settle`] must
    /// follow once all that it waits for holds it.
    pub(crate) fn open(&mut self, revision: Revision) -> u64 {
        self.pending.push_back(Publication { revision, outstanding: 0 });
        self.first + self.pending.len() as u64 - 1
    }

    /// One more thing has to happen before the publication is applied.
    pub(crate) fn hold(&mut self, number: u64) {
        if let Some(publication) = self.get(number) {
            publication.outstanding += 1;
        }
    }

    /// One of these things happened.
    pub(crate) fn release(&mut self, number: u64) {
        if let Some(publication) = self.get(number) {
            publication.outstanding = publication.outstanding.saturating_sub(1);
        }
        self.settle();
    }

    /// A publication is applied when nothing holds it, nor any before it: what is stale for an older
    /// one is stale for it too.
    pub(crate) fn settle(&mut self) {
        while self.pending.front().is_some_and(|publication| publication.outstanding == 0) {
            if let Some(publication) = self.pending.pop_front() {
                self.applied = publication.revision;
                self.first += 1;
            }
        }
    }

    fn get(&mut self, number: u64) -> Option<&mut Publication> {
        let at = number.checked_sub(self.first)?;
        self.pending.get_mut(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_applied_once_nothing_holds_it_or_an_older_one() {
        let mut publications = Publications::default();
        let one = publications.open(Revision(1));
        publications.hold(one);
        publications.hold(one);
        publications.settle();
        assert_eq!(publications.settled(), one);
        let two = publications.open(Revision(2));
        publications.settle();
        assert_eq!(publications.applied(), Revision(0));
        publications.release(one);
        assert_eq!(publications.applied(), Revision(0));
        publications.release(one);
        assert_eq!((publications.applied(), publications.settled()), (Revision(2), two + 1));
        publications.release(two);
        publications.open(Revision(3));
        publications.settle();
        assert_eq!(publications.applied(), Revision(3));
    }
}
