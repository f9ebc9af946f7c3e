//! The policy that nic-datapath keeps for its next start.

use std::collections::VecDeque;
use std::time::Duration;

use nic_policy::{Delta, Revision};
use sim::random::Random;

/// A policy with where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The store.
    pub(crate) store: u64,
    /// The whole of it.
    pub(crate) full: Delta,
}

/// Where nic-datapath keeps the policy in force. A revision is reported applied only once it, or a later
/// one, is kept; or when nothing can be kept, and then nothing is: a start must never be from an older
/// policy than one that was reported applied.
pub(crate) trait Kept {
    /// Begins to keep a policy.
    fn keep(&mut self, policy: Policy, now: Duration, random: &mut Random);

    /// The newest revision that may be reported applied as far as keeping it is concerned.
    fn reportable(&mut self, now: Duration) -> Revision;

    /// The process died: what it starts from. `None`: it starts closed.
    fn restore(&mut self, random: &mut Random) -> Option<Policy>;

    /// Nothing can be written any more, or again.
    fn set_failed(&mut self, failed: bool);
}

/// In memory, as if on a disk that takes some time.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Option<Policy>,
    /// On their way to the disk, and when they are there.
    queue: VecDeque<(Duration, Policy)>,
    failed: bool,
    /// A revision may be reported before it is on the disk.
    late: bool,
}

/// The longest time that the disk takes, in microseconds.
const SLOWEST: u64 = 20_000;

impl Memory {
    /// Nothing is kept yet. `late`: a revision may be reported before it is on the disk.
    pub(crate) fn new(late: bool) -> Memory {
        Memory { late, ..Memory::default() }
    }

    fn arrive(&mut self, now: Duration) {
        while let Some((_, policy)) = self.queue.pop_front_if(|(due, _)| *due <= now) {
            self.kept = Some(policy);
        }
    }
}

impl Kept for Memory {
    fn keep(&mut self, policy: Policy, now: Duration, random: &mut Random) {
        if self.failed {
            return;
        }
        let slow = if self.late { 1000 } else { 1 };
        let due = now + Duration::from_micros(random.below(SLOWEST)) * slow;
        let due = self.queue.back().map_or(due, |(last, _)| due.max(*last));
        self.queue.push_back((due, policy));
    }

    fn reportable(&mut self, now: Duration) -> Revision {
        self.arrive(now);
        if self.failed || self.late {
            return Revision(u64::MAX);
        }
        // What was never kept, because the disk had failed, is not kept by now either.
        self.kept.as_ref().map_or(Revision(0), |policy| policy.full.revision)
    }

    fn restore(&mut self, random: &mut Random) -> Option<Policy> {
        // Any part of what was on its way may have arrived.
        while !self.late && !self.queue.is_empty() && random.chance(50) {
            self.kept = self.queue.pop_front().map(|(_, policy)| policy);
        }
        self.queue.clear();
        self.kept.clone()
    }

    fn set_failed(&mut self, failed: bool) {
        self.failed = failed;
        if failed {
            // An old policy is worse than none.
            self.kept = None;
            self.queue.clear();
        }
    }
}

/// Keeps nothing: every start is closed.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Kept for Nothing {
    fn keep(&mut self, _: Policy, _: Duration, _: &mut Random) {}

    fn reportable(&mut self, _: Duration) -> Revision {
        Revision(u64::MAX)
    }

    fn restore(&mut self, _: &mut Random) -> Option<Policy> {
        None
    }

    fn set_failed(&mut self, _: bool) {}
}
