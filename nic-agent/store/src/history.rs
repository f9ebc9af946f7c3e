//! The commits of the recent past, for those who ask what happened since a revision.

use std::collections::VecDeque;
use std::sync::Arc;

use nic_policy::{CallId, Revision};

use crate::store::Commit;

/// Commits that are kept, at most.
pub(crate) const MAX_COMMITS: usize = 4096;
/// Changes in them that are kept, at most, but for the last commit, which is always kept.
pub(crate) const MAX_CHANGES: usize = 1 << 17;

/// Changes since that revision are not kept, or it is no revision of this store: list anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the changes since revision {asked} are not kept; those since {oldest} are", asked = .asked.0, oldest = .oldest.0)]
pub struct Compacted {
    /// The revision that was asked for.
    pub asked: Revision,
    /// The oldest whose changes since are kept.
    pub oldest: Revision,
}

/// What leads from the revision `oldest` to the current one.
#[derive(Debug)]
pub(crate) struct History {
    oldest: Revision,
    commits: VecDeque<Arc<Commit>>,
    changes: usize,
}

impl History {
    /// Nothing is known of what led to a revision.
    pub(crate) const fn new(revision: Revision) -> History {
        History { oldest: revision, commits: VecDeque::new(), changes: 0 }
    }

    /// Keeps a commit that follows the last one, and forgets the oldest for it.
    pub(crate) fn keep(&mut self, commit: Arc<Commit>) {
        self.changes += commit.changes.len();
        self.commits.push_back(commit);
        while self.commits.len() > MAX_COMMITS || (self.changes > MAX_CHANGES && self.commits.len() > 1) {
            let Some(forgotten) = self.commits.pop_front() else { return };
            self.changes -= forgotten.changes.len();
            self.oldest = forgotten.after.revision();
        }
    }

    /// The commits behind a revision, in order.
    pub(crate) fn since(&self, revision: Revision) -> Result<Vec<Arc<Commit>>, Compacted> {
        let current = self.commits.back().map_or(self.oldest, |commit| commit.after.revision());
        if !(self.oldest..=current).contains(&revision) {
            return Err(Compacted { asked: revision, oldest: self.oldest });
        }
        let first = self.commits.partition_point(|commit| commit.after.revision() <= revision);
        Ok(self.commits.range(first..).cloned().collect())
    }

    /// The calls of the kept commits behind a revision and up to another, the newest first: at most
    /// `limit`, and how many more there are.
    pub(crate) fn calls(&self, after: Revision, to: Revision, limit: usize) -> (Vec<CallId>, usize) {
        let mut calls: Vec<CallId> = Vec::new();
        let mut more = 0;
        for commit in self.commits.iter().rev() {
            let revision = commit.after.revision();
            if revision > to {
                continue;
            }
            if revision <= after {
                break;
            }
            let Some(call) = &commit.call else { continue };
            if calls.contains(call) {
                continue;
            }
            if calls.len() < limit {
                calls.push(call.clone());
            } else {
                more += 1;
            }
        }
        (calls, more)
    }
}
