//! How unreliable the switch is to be: the faults of real cards, as a value and as text.
//!
//! The text is words joined by `+`, the parts of a word by `:`, for DPDK's parser of device arguments keeps
//! `,` and `=` to itself: `create:enospc:0.05+create:eagain:0.1+lag:20+lose:0.01+stall:pf0vf0+seed:7`.
//! `none` is the text of a reliable switch.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use nic_flow::PortId;

/// The longest lag of rules and of counters, in milliseconds.
pub const MAX_LAG_MS: u32 = 60_000;
/// The longest time within which a rule is lost, in milliseconds.
pub const MAX_LIFE_MS: u32 = 3_600_000;
/// That time if the text gives none.
const DEFAULT_LIFE_MS: u32 = 1000;

/// The faults of a switch. The default has none.
///
/// Whatever is random is drawn from generators that begin with `seed`, one for each kind of fault: the
/// same calls at the same times meet the same faults, and the calls of one kind do not change what
/// those of another kind meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// How a creation fails. The switch is as it was.
    pub create: Failures,
    /// How a destruction fails. The rule stays, and goes on matching.
    pub destroy: Failures,
    /// How a reading of counters fails.
    pub query: Failures,
    /// A created rule begins to match after a random time up to this, in milliseconds; 0: at once.
    pub lag: u32,
    /// A destroyed rule goes on matching for a random time up to this, in milliseconds; 0: not at all.
    pub destroy_lag: u32,
    /// How likely a created rule is to be lost: it silently stops matching, while its handle and its
    /// counters stay.
    pub lose: Probability,
    /// Such a rule is lost at a random time up to this after it began to match, in milliseconds.
    pub lose_within: u32,
    /// What a reading of counters shows.
    pub counters: CounterFault,
    /// How many rules the switch holds, if that is less than it was made for.
    pub max_rules: Option<u32>,
    /// How many rules that count it holds.
    pub max_counters: Option<u32>,
    /// The representors whose receive queue hands nothing out. It is up to whoever reads packets for them.
    pub stall: BTreeSet<PortId>,
    /// What the random numbers begin with.
    pub seed: u64,
}

impl Faults {
    /// True if the switch is reliable.
    pub fn is_none(&self) -> bool {
        *self == Faults { seed: self.seed, lose_within: self.lose_within, ..Faults::default() }
    }
}

/// What a reading of counters shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CounterFault {
    /// What was counted.
    #[default]
    None,
    /// What was counted when the fault began.
    Frozen,
    /// What was counted when the card last read all its counters, which it does every so many milliseconds.
    Late(u32),
}

/// How a call fails that could have done what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// No room.
    NoSpace,
    /// Busy.
    Again,
    /// The card did not answer.
    Io,
    /// No memory.
    NoMemory,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 4] = [Failure::NoSpace, Failure::Again, Failure::Io, Failure::NoMemory];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Failure::NoSpace => "enospc",
            Failure::Again => "eagain",
            Failure::Io => "eio",
            Failure::NoMemory => "enomem",
        }
    }

    /// The errno, as Linux numbers them.
    pub const fn errno(self) -> i32 {
        match self {
            Failure::NoSpace => 28,
            Failure::Again => 11,
            Failure::Io => 5,
            Failure::NoMemory => 12,
        }
    }

    fn of(name: &str) -> Option<Failure> {
        Failure::ALL.into_iter().find(|failure| failure.name() == name)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NoSpace => "no room in the card",
            Failure::Again => "the card is busy",
            Failure::Io => "the card does not answer",
            Failure::NoMemory => "no memory in the card",
        })
    }
}

/// A probability in steps of a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Probability(u32);

impl Probability {
    /// Always.
    pub const ONE: Probability = Probability(1_000_000);

    /// So many millionths; `None` beyond 1.
    pub const fn from_millionths(millionths: u32) -> Option<Probability> {
        if millionths <= Probability::ONE.0 { Some(Probability(millionths)) } else { None }
    }

    /// In millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// `0`, `1`, or a decimal fraction of up to six places.
    fn parse(text: &str) -> Option<Probability> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || whole.len() > 1 || !digits(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let fraction: u32 = format!("{fraction:0<6}").parse().ok()?;
        Probability::from_millionths(whole * 1_000_000 + fraction)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
    }
}

/// How likely a call is to fail in each way; together at most 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures([Probability; Failure::ALL.len()]);

impl Failures {
    /// The same, and this failure is so likely; `None` if they are more than 1 together.
    pub fn with(mut self, failure: Failure, probability: Probability) -> Option<Failures> {
        self.0[failure as usize] = probability;
        let sum: u32 = self.0.iter().map(|probability| probability.0).sum();
        (sum <= Probability::ONE.0).then_some(self)
    }

    /// How likely a failure is.
    pub const fn get(self, failure: Failure) -> Probability {
        self.0[failure as usize]
    }

    /// True if no call fails.
    pub fn is_none(self) -> bool {
        self == Failures::default()
    }

    /// What a number below a million stands for, when all are equally likely.
    pub(crate) fn drawn(self, mut number: u32) -> Option<Failure> {
        for failure in Failure::ALL {
            let share = self.get(failure).0;
            if number < share {
                return Some(failure);
            }
            number -= share;
        }
        None
    }
}

/// Why a text names no faults. Each has the word at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultsError {
    /// There is no such fault.
    Unknown(String),
    /// The word has not the form of its fault.
    Form {
        /// The word.
        word: String,
        /// What the fault needs.
        needs: &'static str,
    },
    /// The word contradicts or repeats another.
    Twice(String),
    /// With this word, the failures of one kind of call are more likely than 1.
    MoreThanOne(String),
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultsError::Unknown(word) => write!(
                f,
                "{word:?} is no fault; known are create, destroy, query, lag, destroy_lag, lose, counters, \
                 max_rules, max_counters, stall, seed, and none alone"
            ),
            FaultsError::Form { word, needs } => write!(f, "{word:?}: {needs} is needed"),
            FaultsError::Twice(word) => write!(f, "{word:?}: that was said before"),
            FaultsError::MoreThanOne(word) => {
                write!(f, "{word:?}: the probabilities are more than 1 together")
            }
        }
    }
}

impl std::error::Error for FaultsError {}

const FAILURE_FORM: &str = "<enospc, eagain, eio or enomem>:<probability 0 to 1, at most six decimal places>";

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Faults, FaultsError> {
        let mut faults = Faults::default();
        if text == "none" {
            return Ok(faults);
        }
        // Each may be said once; of failures each kind, of stalls each port.
        let mut said = BTreeSet::new();
        for word in text.split('+') {
            let about = faults.word(word)?;
            if !said.insert(about) {
                return Err(FaultsError::Twice(word.into()));
            }
        }
        Ok(faults)
    }
}

impl Faults {
    /// Reads a word; gives what it is about, which may be said once.
    fn word<'a>(&mut self, word: &'a str) -> Result<&'a str, FaultsError> {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let form = |needs| FaultsError::Form { word: word.into(), needs };
        let lag = || number(value, 1, MAX_LAG_MS).ok_or_else(|| form("a number of ms from 1 to 60000"));
        let limit = || number(value, 0, u32::MAX).ok_or_else(|| form("a number from 0 to 4294967295"));
        match name {
            "create" => return fail(&mut self.create, word, value),
            "destroy" => return fail(&mut self.destroy, word, value),
            "query" => return fail(&mut self.query, word, value),
            "lag" => self.lag = lag()?,
            "destroy_lag" => self.destroy_lag = lag()?,
            "lose" => {
                let (probability, within) = value.split_once(':').unwrap_or((value, ""));
                let within =
                    if within.is_empty() { Some(DEFAULT_LIFE_MS) } else { number(within, 1, MAX_LIFE_MS) };
                let (Some(probability), Some(within)) = (Probability::parse(probability), within) else {
                    return Err(form("<probability 0 to 1>, or <probability>:<ms from 1 to 3600000>,"));
                };
                (self.lose, self.lose_within) = (probability, within);
            }
            "counters" => {
                let late = |text| number(text, 1, MAX_LAG_MS).map(CounterFault::Late);
                self.counters = match value.split_once(':') {
                    None if value == "frozen" => Some(CounterFault::Frozen),
                    Some(("late", ms)) => late(ms),
                    _ => None,
                }
                .ok_or_else(|| form("frozen, or late:<ms from 1 to 60000>,"))?;
            }
            "max_rules" => self.max_rules = Some(limit()?),
            "max_counters" => self.max_counters = Some(limit()?),
            "stall" => {
                let port = value.parse().map_err(|_| form("the name of a port, such as pf0vf0,"))?;
                // Another spelling of the same port is a repetition too.
                if !self.stall.insert(port) {
                    return Err(FaultsError::Twice(word.into()));
                }
                return Ok(word);
            }
            "seed" => self.seed = value.parse().map_err(|_| form("a number from 0 to 2^64-1"))?,
            _ => return Err(FaultsError::Unknown(word.into())),
        }
        Ok(name)
    }
}

fn number(text: &str, min: u32, max: u32) -> Option<u32> {
    text.parse().ok().filter(|n| (min..=max).contains(n))
}

/// Reads `<failure>:<probability>`; what it is about is the word up to the failure.
fn fail<'a>(failures: &mut Failures, word: &'a str, value: &str) -> Result<&'a str, FaultsError> {
    let read = value.split_once(':').and_then(|(name, p)| Some((Failure::of(name)?, Probability::parse(p)?)));
    let (failure, probability) =
        read.ok_or_else(|| FaultsError::Form { word: word.into(), needs: FAILURE_FORM })?;
    *failures = failures.with(failure, probability).ok_or_else(|| FaultsError::MoreThanOne(word.into()))?;
    Ok(word.rsplit_once(':').map_or(word, |(about, _)| about))
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for (name, failures) in [("create", self.create), ("destroy", self.destroy), ("query", self.query)] {
            for failure in Failure::ALL {
                let probability = failures.get(failure);
                if probability != Probability::default() {
                    words.push(format!("{name}:{}:{probability}", failure.name()));
                }
            }
        }
        for (name, ms) in [("lag", self.lag), ("destroy_lag", self.destroy_lag)] {
            words.extend((ms != 0).then(|| format!("{name}:{ms}")));
        }
        if self.lose != Probability::default() {
            words.push(format!("lose:{}:{}", self.lose, self.lose_within));
        }
        match self.counters {
            CounterFault::None => {}
            CounterFault::Frozen => words.push("counters:frozen".into()),
            CounterFault::Late(ms) => words.push(format!("counters:late:{ms}")),
        }
        for (name, limit) in [("max_rules", self.max_rules), ("max_counters", self.max_counters)] {
            words.extend(limit.map(|limit| format!("{name}:{limit}")));
        }
        words.extend(self.stall.iter().map(|port| format!("stall:{port}")));
        words.extend((self.seed != 0).then(|| format!("seed:{}", self.seed)));
        if words.is_empty() { f.write_str("none") } else { f.write_str(&words.join("+")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failures() -> impl Strategy<Value = Failures> {
        prop::collection::vec(0u32..250_000, 4).prop_map(|parts| {
            Failure::ALL.into_iter().zip(parts).fold(Failures::default(), |failures, (failure, part)| {
                failures.with(failure, Probability::from_millionths(part).unwrap()).unwrap()
            })
        })
    }

    fn counter_fault() -> impl Strategy<Value = CounterFault> {
        prop_oneof![
            Just(CounterFault::None),
            Just(CounterFault::Frozen),
            (1..=MAX_LAG_MS).prop_map(CounterFault::Late)
        ]
    }

    prop_compose! {
        fn faults()(
            calls in (failures(), failures(), failures()),
            lags in (0..=MAX_LAG_MS, 0..=MAX_LAG_MS),
            lose in prop::option::of((1u32..=1_000_000, 1..=MAX_LIFE_MS)),
            counters in counter_fault(),
            limits in (any::<Option<u32>>(), any::<Option<u32>>()),
            stall in prop::collection::btree_set(0u16..4, 0..3),
            seed in any::<u64>(),
        ) -> Faults {
            let (lose, lose_within) = lose.unwrap_or_default();
            Faults {
                create: calls.0,
                destroy: calls.1,
                query: calls.2,
                lag: lags.0,
                destroy_lag: lags.1,
                lose: Probability::from_millionths(lose).unwrap(),
                lose_within,
                counters,
                max_rules: limits.0,
                max_counters: limits.1,
                stall: stall.into_iter().map(|n| PortId::vf(0, n).unwrap()).collect(),
                seed,
            }
        }
    }

    proptest! {
        #[test]
        fn the_text_of_faults_reads_back(faults in faults()) {
            prop_assert_eq!(faults.to_string().parse(), Ok(faults));
        }

        #[test]
        fn any_text_is_read_or_refused_with_a_word_of_it(text in "[a-z_:+0-9.]{0,40}") {
            if let Err(error) = text.parse::<Faults>() {
                let (FaultsError::Unknown(word)
                | FaultsError::Form { word, .. }
                | FaultsError::Twice(word)
                | FaultsError::MoreThanOne(word)) = error;
                prop_assert!(text.split('+').any(|part| part == word));
            }
        }
    }

    #[test]
    fn a_reliable_switch_has_no_faults_whatever_its_seed() {
        assert_eq!("none".parse(), Ok(Faults::default()));
        assert_eq!(Faults::default().to_string(), "none");
        assert!("seed:9".parse::<Faults>().unwrap().is_none());
        assert!("create:eio:0+lose:0.0".parse::<Faults>().unwrap().is_none());
        for text in ["lag:1", "create:eio:0.000001", "stall:p0", "counters:frozen", "max_rules:0", "lose:1"] {
            assert!(!text.parse::<Faults>().unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word, what) in [
            ("", "", "known are"),
            ("lag:5+none", "none", "known are"),
            ("colour:red", "colour:red", "known are"),
            ("lag:5+lag:6", "lag:6", "before"),
            ("create:eio:0.1+create:eio:0.2", "create:eio:0.2", "before"),
            ("stall:p0+stall:p0", "stall:p0", "before"),
            ("counters:frozen+counters:late:5", "counters:late:5", "before"),
            ("create:eio:0.6+create:enospc:0.41", "create:enospc:0.41", "more than 1"),
            ("create:eperm:0.1", "create:eperm:0.1", "enospc"),
            ("query:eio", "query:eio", "probability"),
            ("destroy:eio:1.1", "destroy:eio:1.1", "probability 0 to 1"),
            ("lag:0", "lag:0", "60000"),
            ("lag:60001", "lag:60001", "60000"),
            ("lose:0.0000001", "lose:0.0000001", "probability"),
            ("lose:-1", "lose:-1", "probability"),
            ("lose:.5", "lose:.5", "probability"),
            ("lose:0.5:0", "lose:0.5:0", "3600000"),
            ("counters:late", "counters:late", "frozen"),
            ("max_rules:-1", "max_rules:-1", "4294967295"),
            ("stall:eth0", "stall:eth0", "port"),
            ("seed:x", "seed:x", "2^64"),
        ] {
            let error = text.parse::<Faults>().unwrap_err().to_string();
            assert!(error.contains(&format!("{word:?}")) && error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn probabilities_are_exact() {
        for text in ["0", "1", "0.5", "0.05", "0.000001", "0.999999"] {
            assert_eq!(Probability::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Probability::parse("1.000000"), Some(Probability::ONE));
        assert_eq!(Probability::parse("1.000001"), None);
    }

    #[test]
    fn a_drawn_number_stands_for_each_failure_as_often_as_it_is_likely() {
        let half = Probability::from_millionths(500_000).unwrap();
        let tenth = Probability::from_millionths(100_000).unwrap();
        let failures = Failures::default().with(Failure::Io, half).unwrap();
        let failures = failures.with(Failure::NoSpace, tenth).unwrap();
        let drawn = |number| failures.drawn(number);
        assert_eq!((drawn(0), drawn(99_999)), (Some(Failure::NoSpace), Some(Failure::NoSpace)));
        assert_eq!((drawn(100_000), drawn(599_999)), (Some(Failure::Io), Some(Failure::Io)));
        assert_eq!((drawn(600_000), drawn(999_999)), (None, None));
    }
}
