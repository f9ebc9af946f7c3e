//! What the faults of a switch keep: random numbers, what is due when, and how often each fault was met.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use nic_flow::Match;

use crate::faults::{CounterFault, Failure, Failures, Faults};
use crate::rule::RuleHandle;

/// How often each fault was met since the faults were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultHits {
    /// Creations that failed, in the order of [`Failure::ALL`].
    pub create: [u64; Failure::ALL.len()],
    /// Destructions that failed, likewise.
    pub destroy: [u64; Failure::ALL.len()],
    /// Readings of counters that failed, likewise.
    pub query: [u64; Failure::ALL.len()],
    /// Rules that began to match later than they were created.
    pub lag: u64,
    /// Rules that matched for longer than they existed.
    pub destroy_lag: u64,
    /// Rules that were lost, also by [`Switch::lose`](crate::Switch::lose).
    pub lose: u64,
    /// Readings that showed something else than what was counted.
    pub counters: u64,
    /// Creations that met the limit of rules.
    pub max_rules: u64,
    /// Creations that met the limit of counters.
    pub max_counters: u64,
}

impl fmt::Display for FaultHits {
    /// In the words of [`Faults`], with numbers in the place of probabilities.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for (name, counts) in [("create", self.create), ("destroy", self.destroy), ("query", self.query)] {
            for (failure, count) in Failure::ALL.into_iter().zip(counts) {
                words.push((format!("{name}:{}", failure.name()), count));
            }
        }
        for (name, count) in [
            ("lag", self.lag),
            ("destroy_lag", self.destroy_lag),
            ("lose", self.lose),
            ("counters", self.counters),
            ("max_rules", self.max_rules),
            ("max_counters", self.max_counters),
        ] {
            words.push((name.into(), count));
        }
        let met = words.into_iter().filter(|(_, count)| *count > 0);
        let met: Vec<String> = met.map(|(name, count)| format!("{name}:{count}")).collect();
        if met.is_empty() { f.write_str("none") } else { f.write_str(&met.join("+")) }
    }
}

/// What happens at a time that was drawn before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A rule begins to match.
    Enter(RuleHandle),
    /// A rule is lost.
    Lose(RuleHandle),
    /// A rule that was destroyed stops matching.
    Leave(RuleHandle),
    /// The card reads its counters.
    Read,
}

/// Microseconds since whatever moment the caller counts from.
pub(crate) type Micros = u64;

/// The faults in force, and what they have begun.
#[derive(Debug, Default)]
pub(crate) struct Unreliable {
    pub(crate) faults: Faults,
    pub(crate) hits: FaultHits,
    /// The rules that exist and that no packet meets: they wait or are lost.
    pub(crate) hidden: HashMap<(u32, Match), RuleHandle>,
    /// The slots of the rules that are destroyed and still match.
    pub(crate) leaving: BTreeMap<RuleHandle, u32>,
    dice: [Dice; Die::COUNT],
    /// What is due, by time and then in the order in which it was drawn.
    agenda: BTreeMap<(Micros, u64), Due>,
    drawn: u64,
    now: Micros,
}

/// What a generator of random numbers is for.
#[derive(Debug, Clone, Copy)]
enum Die {
    Create,
    Destroy,
    Query,
    Lag,
    DestroyLag,
    Lose,
    Pick,
}

impl Die {
    const COUNT: usize = Die::Pick as usize + 1;
}

/// A generator of numbers that look random (SplitMix64).
#[derive(Debug, Clone, Copy, Default)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Unreliable {
    /// Other faults from now on. What the ones before had begun is the caller's to settle.
    pub(crate) fn replace(&mut self, faults: Faults) {
        let mut seeds = Dice(faults.seed);
        self.dice = std::array::from_fn(|_| Dice(seeds.next()));
        self.hits = FaultHits::default();
        self.agenda.clear();
        self.faults = faults;
        self.read_again();
    }

    /// Time goes on, never back.
    pub(crate) fn reach(&mut self, now: Duration) {
        self.now = self.now.max(now.as_micros().try_into().unwrap_or(Micros::MAX - 1));
    }

    /// What is due by now, the first first.
    pub(crate) fn next(&mut self) -> Option<Due> {
        let first = self.agenda.first_entry()?;
        (first.key().0 <= self.now).then(|| first.remove())
    }

    /// When something is due next.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn create_fails(&mut self) -> Option<Failure> {
        let failure = self.fails(Die::Create, self.faults.create)?;
        self.hits.create[failure as usize] += 1;
        Some(failure)
    }

    pub(crate) fn destroy_fails(&mut self) -> Option<Failure> {
        let failure = self.fails(Die::Destroy, self.faults.destroy)?;
        self.hits.destroy[failure as usize] += 1;
        Some(failure)
    }

    pub(crate) fn query_fails(&mut self) -> Option<Failure> {
        let failure = self.fails(Die::Query, self.faults.query)?;
        self.hits.query[failure as usize] += 1;
        Some(failure)
    }

    /// A rule was created: whether it waits before it begins to match, and whether it will be lost.
    pub(crate) fn created(&mut self, handle: RuleHandle) -> bool {
        let lag = self.faults.lag;
        let enters = if lag == 0 { self.now } else { self.now + self.within(Die::Lag, lag) };
        if lag != 0 {
            self.hits.lag += 1;
            self.plan(enters, Due::Enter(handle));
        }
        // A number is drawn for each rule, so that one rule's fate does not change the others'.
        if self.faults.lose.millionths() > 0 {
            let lost = self.roll(Die::Lose, 1_000_000) < u64::from(self.faults.lose.millionths());
            let after = self.within(Die::Lose, self.faults.lose_within);
            if lost {
                self.plan(enters + after, Due::Lose(handle));
            }
        }
        lag != 0
    }

    /// A rule that packets meet was destroyed: true if it goes on matching, in a slot of its own.
    pub(crate) fn destroyed(&mut self, handle: RuleHandle, slot: u32) -> bool {
        let lag = self.faults.destroy_lag;
        if lag == 0 {
            return false;
        }
        self.hits.destroy_lag += 1;
        let leaves = self.now + self.within(Die::DestroyLag, lag);
        self.plan(leaves, Due::Leave(handle));
        self.leaving.insert(handle, slot);
        true
    }

    /// The card reads its counters again later, if it is late.
    pub(crate) fn read_again(&mut self) {
        if let CounterFault::Late(ms) = self.faults.counters {
            self.plan(self.now + micros(ms), Due::Read);
        }
    }

    /// `count` of these, each as likely as any other, in any order at the end.
    pub(crate) fn pick<T>(&mut self, from: &mut Vec<T>, count: usize) -> Vec<T> {
        let kept = from.len().saturating_sub(count);
        for end in (kept..from.len()).rev() {
            let place = self.roll(Die::Pick, end as u64 + 1) as usize;
            from.swap(place, end);
        }
        from.split_off(kept)
    }

    fn plan(&mut self, at: Micros, due: Due) {
        self.drawn += 1;
        self.agenda.insert((at, self.drawn), due);
    }

    fn fails(&mut self, die: Die, failures: Failures) -> Option<Failure> {
        if failures.is_none() {
            return None;
        }
        failures.drawn(self.roll(die, 1_000_000) as u32)
    }

    /// A time up to so many milliseconds, and never none: what happens later is never due already.
    fn within(&mut self, die: Die, ms: u32) -> Micros {
        1 + self.roll(die, micros(ms).max(1))
    }

    /// A number below `end`. That small ones are more likely by `end` in 2^64 nobody will see.
    fn roll(&mut self, die: Die, end: u64) -> u64 {
        self.dice[die as usize].next() % end
    }
}

fn micros(ms: u32) -> Micros {
    u64::from(ms) * 1000
}
