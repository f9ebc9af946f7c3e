//! The installer: puts rules into the E-Switch, takes them out, reads their counters.

use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;
use std::collections::{BinaryHeap, VecDeque};

use nic_flow::seam::{Errno, Refusal, RuleSink};
use nic_flow::{Counters, Rule, RuleId};
use rustc_hash::FxHashMap;

use crate::config::{InstallerConfig, nanos};
use crate::message::{Completion, Request};

/// Counters in one [`Completion::Counted`], at most.
pub(crate) const BATCH: usize = 64;

/// The offload thread's work. Calls to the card may block; each [`Installer::poll`] makes a bounded
/// number of them.
pub struct Installer<S: RuleSink> {
    pub(crate) sink: S,
    pub(crate) config: InstallerConfig,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) rules: FxHashMap<RuleId, State<S::Handle>>,
    /// What is tried again, and when. An id that is in no state to be tried is passed over.
    retries: BinaryHeap<Reverse<(u64, RuleId)>>,
    /// Installed rules by the time when their counters are due. Ids that are gone are passed over.
    ring: VecDeque<(u64, RuleId)>,
    pub(crate) counters: InstallerCounters,
}

/// What an [`Installer`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InstallerCounters {
    /// Rules created.
    pub created: u64,
    /// Rules destroyed.
    pub destroyed: u64,
    /// Rules refused for good.
    pub refused: u64,
    /// Creations that the card refused for a while.
    pub postponed: u64,
    /// Destructions that the card did not take.
    pub destroy_failures: u64,
    /// Counters that could not be read.
    pub query_failures: u64,
    /// Rules that wait for another try to create them, now.
    pub waiting: u64,
    /// Rules that the card did not destroy in [`InstallerConfig::stuck_tries`] tries, now.
    pub stuck: u64,
    /// Rules whose counters could not be read the last time, now.
    pub unreadable: u64,
}

pub(crate) enum State<H> {
    /// Not created yet.
    Waiting { rule: Box<Rule>, tries: u32 },
    /// In the E-Switch; the counters as last read, and whether that failed the last time.
    Installed { handle: H, last: Counters, failed: bool },
    /// To be destroyed.
    Leaving { handle: H, last: Counters, tries: u32 },
}

impl<S: RuleSink> Installer<S> {
    /// An installer for an E-Switch without rules of its own.
    pub fn new(sink: S, config: InstallerConfig) -> Installer<S> {
        Installer {
            sink,
            config,
            requests: VecDeque::new(),
            rules: FxHashMap::default(),
            retries: BinaryHeap::new(),
            ring: VecDeque::new(),
            counters: InstallerCounters::default(),
        }
    }

    /// The E-Switch's seam.
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    /// The E-Switch's seam, for its owner to drive.
    pub const fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// What was counted.
    pub const fn counters(&self) -> InstallerCounters {
        self.counters
    }

    /// Rules that are in the E-Switch or wait to be: all that would be left behind.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// True if no request waits to be carried out, neither for its turn nor for another try.
    pub fn is_idle(&self) -> bool {
        let installed = |state: &State<S::Handle>| matches!(state, State::Installed { .. });
        self.requests.is_empty() && (self.retries.is_empty() || self.rules.values().all(installed))
    }

    /// Takes a request. It is carried out by a later [`Installer::poll`].
    pub fn submit(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Carries out requests, tries again what is due, and reads counters, in a bounded number of calls
    /// to the card. Returns when to poll again if no request comes before; `None`: not before one comes.
    pub fn poll(&mut self, now: Duration, complete: &mut impl FnMut(Completion)) -> Option<Duration> {
        let now = nanos(now);
        let calls = self.config.calls_per_poll.max(4);
        // A storm of requests must not keep counters from being read: flows would seem idle.
        let for_counters = calls / 4;
        let mut left = calls - for_counters;
        while left > 0 && self.retry_due(now, complete) {
            left -= 1;
        }
        while left > 0 {
            match self.requests.pop_front() {
                Some(Request::Install { id, rule }) => {
                    // A name is given once; the handle behind it must not be lost.
                    if !self.rules.contains_key(&id) {
                        self.create(id, Box::new(rule), 0, now, complete);
                    }
                }
                Some(Request::Remove { id }) => self.remove(id, now, complete),
                None => break,
            }
            left -= 1;
        }
        self.count(left + for_counters, now, complete);
        self.next_wake(now)
    }

    fn next_wake(&mut self, now: u64) -> Option<Duration> {
        if !self.requests.is_empty() {
            return Some(Duration::from_nanos(now));
        }
        let retry = self.retries.peek().map(|Reverse((at, _))| *at);
        let counter = self.ring.front().map(|(at, _)| *at);
        let next = [retry, counter].into_iter().flatten().min()?;
        Some(Duration::from_nanos(next.max(now)))
    }

    /// Tries one thing again that is due. False if nothing is.
    fn retry_due(&mut self, now: u64, complete: &mut impl FnMut(Completion)) -> bool {
        while let Some(&Reverse((at, id))) = self.retries.peek() {
            if at > now {
                return false;
            }
            self.retries.pop();
            match self.rules.remove(&id) {
                Some(State::Waiting { rule, tries }) => self.create(id, rule, tries, now, complete),
                Some(State::Leaving { handle, last, tries }) => {
                    self.destroy(id, handle, last, tries, now, complete);
                }
                Some(installed @ State::Installed { .. }) => {
                    self.rules.insert(id, installed);
                    continue;
                }
                None => continue,
            }
            return true;
        }
        false
    }

    fn create(
        &mut self,
        id: RuleId,
        rule: Box<Rule>,
        tries: u32,
        now: u64,
        complete: &mut impl FnMut(Completion),
    ) {
        self.counters.waiting -= u64::from(tries > 0);
        match self.sink.create(&rule) {
            Ok(handle) => {
                self.counters.created += 1;
                let last = Counters::default();
                self.rules.insert(id, State::Installed { handle, last, failed: false });
                self.ring.push_back((now.saturating_add(nanos(self.config.counter_interval)), id));
                complete(Completion::Installed { id });
            }
            Err(refusal) if refusal.is_transient() && tries + 1 < self.config.create_tries => {
                self.counters.postponed += 1;
                self.counters.waiting += 1;
                self.rules.insert(id, State::Waiting { rule, tries: tries + 1 });
                self.retry_later(id, tries, now);
            }
            Err(refusal) => self.refuse(id, refusal, complete),
        }
    }

    fn refuse(&mut self, id: RuleId, refusal: Refusal, complete: &mut impl FnMut(Completion)) {
        self.counters.refused += 1;
        complete(Completion::Refused { id, refusal });
    }

    fn remove(&mut self, id: RuleId, now: u64, complete: &mut impl FnMut(Completion)) {
        match self.rules.remove(&id) {
            Some(State::Installed { handle, last, failed }) => {
                self.counters.unreadable -= u64::from(failed);
                self.destroy(id, handle, last, 0, now, complete);
            }
            // It was asked for before, and will be answered once.
            Some(leaving @ State::Leaving { .. }) => {
                self.rules.insert(id, leaving);
            }
            waiting @ (Some(State::Waiting { .. }) | None) => {
                self.counters.waiting -= u64::from(waiting.is_some());
                complete(Completion::Removed { id, counters: Counters::default() });
            }
        }
    }

    fn destroy(
        &mut self,
        id: RuleId,
        handle: S::Handle,
        last: Counters,
        tries: u32,
        now: u64,
        complete: &mut impl FnMut(Completion),
    ) {
        match self.sink.destroy(handle) {
            Ok(counters) => {
                self.counters.destroyed += 1;
                self.counters.stuck -= u64::from(tries >= self.config.stuck_tries.max(1));
                complete(Completion::Removed { id, counters: newer(last, counters) });
            }
            Err(error) => {
                self.counters.destroy_failures += 1;
                let tries = tries.saturating_add(1);
                self.counters.stuck += u64::from(tries == self.config.stuck_tries.max(1));
                self.rules.insert(id, State::Leaving { handle: error.handle, last, tries });
                self.retry_later(id, tries - 1, now);
                complete(Completion::RemoveFailed { id, errno: error.errno });
            }
        }
    }

    /// The wait doubles with each try.
    fn retry_later(&mut self, id: RuleId, tries: u32, now: u64) {
        let first = nanos(self.config.retry_first).max(1);
        let wait = first.saturating_mul(1 << tries.min(32)).min(nanos(self.config.retry_longest).max(first));
        self.retries.push(Reverse((now.saturating_add(wait), id)));
    }

    /// Reads counters that are due, at most so many.
    fn count(&mut self, calls: u32, now: u64, complete: &mut impl FnMut(Completion)) {
        let mut batch = Vec::new();
        let mut left = calls;
        while left > 0
            && let Some(&(due, id)) = self.ring.front()
            && due <= now
        {
            self.ring.pop_front();
            let Some(read) = self.read(id) else { continue };
            left -= 1;
            self.ring.push_back((now.saturating_add(nanos(self.config.counter_interval).max(1)), id));
            batch.extend(read.ok().flatten().map(|counters| (id, counters)));
            if batch.len() == BATCH {
                complete(Completion::Counted(core::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            complete(Completion::Counted(batch));
        }
    }

    /// Reads the counters of an installed rule: `None` if it is none; `Ok(None)` if they are as they were.
    pub(crate) fn read(&mut self, id: RuleId) -> Option<Result<Option<Counters>, Errno>> {
        let State::Installed { handle, last, failed } = self.rules.get_mut(&id)? else { return None };
        let read = self.sink.query(handle);
        self.counters.query_failures += u64::from(read.is_err());
        self.counters.unreadable -= u64::from(*failed);
        self.counters.unreadable += u64::from(read.is_err());
        *failed = read.is_err();
        Some(read.map(|counters| {
            let counters = newer(*last, counters);
            let news = counters != *last;
            *last = counters;
            news.then_some(counters)
        }))
    }
}

/// The later of two readings: a counter that seems to go backwards was read from an older cache.
fn newer(last: Counters, read: Counters) -> Counters {
    Counters { packets: read.packets.max(last.packets), bytes: read.bytes.max(last.bytes) }
}

impl<S: RuleSink> fmt::Debug for Installer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installer")
            .field("requests", &self.requests.len())
            .field("rules", &self.rules.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
