//! How calls ended and how long they took.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::histogram::Histogram;

use crate::metric::{CALL_SECONDS, CALLS};

/// The names of gRPC's codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// The number of UNKNOWN, which also stands for codes that gRPC does not have.
const UNKNOWN: usize = 2;
/// What calls of methods that there are not have in common, so that a caller cannot make series.
const OTHER: &str = "other";
/// Upper bounds of the histogram's buckets, in seconds: from an answer out of memory to one that waited for a
/// disk, for a datapath, for its deadline.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// A method that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// As in a request's path, without the first `/`: `nic.v1.PortService/GetPort`.
    pub name: String,
    /// Whether its answer is a stream, which is as long as its reader wants.
    pub streams: bool,
}

/// Counts the calls of every method.
#[derive(Debug)]
pub struct Calls {
    methods: BTreeMap<String, Counted>,
    other: Counted,
}

/// The calls of one method.
#[derive(Debug)]
struct Counted {
    codes: Mutex<[u64; CODES.len()]>,
    /// `None` for a stream.
    seconds: Option<Histogram>,
}

impl Counted {
    fn new(streams: bool) -> Counted {
        let seconds = (!streams).then(|| Histogram::new(BUCKETS));
        Counted { codes: Mutex::new([0; CODES.len()]), seconds }
    }

    fn codes(&self) -> [u64; CODES.len()] {
        *self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// No call yet of these methods.
    pub fn new(methods: impl IntoIterator<Item = Method>) -> Calls {
        let methods = methods.into_iter().map(|method| (method.name, Counted::new(method.streams)));
        // Nobody's answer: how long it took says nothing.
        Calls { methods: methods.collect(), other: Counted::new(true) }
    }

    /// A call of a method ended with a gRPC code after some time.
    pub fn count(&self, method: &str, code: i32, took: Duration) {
        let counted = self.methods.get(method).unwrap_or(&self.other);
        let code = usize::try_from(code).ok().filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN);
        counted.codes.lock().unwrap_or_else(PoisonError::into_inner)[code] += 1;
        if let Some(seconds) = &counted.seconds {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// Every method that was called, then all that there are not, with its counts.
    fn called(&self) -> impl Iterator<Item = (&str, &Counted, [u64; CODES.len()])> {
        let methods = self.methods.iter().map(|(name, counted)| (name.as_str(), counted));
        let all = methods.chain(std::iter::once((OTHER, &self.other)));
        all.map(|(name, counted)| (name, counted, counted.codes()))
            .filter(|(_, _, codes)| codes.iter().any(|count| *count > 0))
    }

    pub(crate) fn encode(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = CALLS.describe(page)?;
        for (method, _, codes) in self.called() {
            for (code, count) in CODES.iter().zip(codes).filter(|(_, count)| *count > 0) {
                let labels = [("method", method), ("code", *code)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let mut family = CALL_SECONDS.describe(page)?;
        for (method, counted, _) in self.called() {
            if let Some(seconds) = &counted.seconds {
                seconds.encode(family.encode_family(&[("method", method)])?)?;
            }
        }
        Ok(())
    }
}
