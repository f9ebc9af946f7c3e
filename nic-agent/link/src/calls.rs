//! Which calls of the API a Sync comes from: told beside it, in its metadata, for the log of the other end.
//!
//! Each stands in an `x-request-id` of its own, the newest first. How many older ones were left out stands in
//! `x-request-ids-left-out`. An end that knows neither loses nothing but the log's words.

use std::fmt;

use nic_policy::CallId;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Where an id stands.
const REQUEST_ID: &str = "x-request-id";
/// Where it stands how many more there were.
const LEFT_OUT: &str = "x-request-ids-left-out";

/// The calls that revisions came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// The newest, the last one first.
    pub newest: Vec<CallId>,
    /// How many older ones there are.
    pub left_out: usize,
}

impl Calls {
    /// So many are named at most.
    pub const MAX: usize = 16;

    /// For a log line; `None` if no call is known.
    pub fn shown(&self) -> Option<tracing::field::DisplayValue<&Calls>> {
        (!self.newest.is_empty()).then(|| tracing::field::display(self))
    }

    /// The same with no more names than are told.
    pub(crate) fn bounded(mut self) -> Calls {
        self.left_out = self.left_out.saturating_add(self.newest.len().saturating_sub(Calls::MAX));
        self.newest.truncate(Calls::MAX);
        self
    }

    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        for call in &self.newest {
            if let Ok(value) = MetadataValue::try_from(call.as_str()) {
                metadata.append(REQUEST_ID, value);
            }
        }
        if self.left_out > 0 {
            metadata.insert(LEFT_OUT, MetadataValue::from(self.left_out));
        }
    }

    /// What another end wrote; what is no id is left out and counted.
    pub(crate) fn read(metadata: &MetadataMap) -> Calls {
        let given = metadata.get_all(REQUEST_ID).iter();
        let given = given.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
        let mut calls = Calls::default();
        for call in given {
            match call {
                Some(call) if calls.newest.len() < Calls::MAX => calls.newest.push(call),
                _ => calls.left_out += 1,
            }
        }
        let told = metadata.get(LEFT_OUT).and_then(|value| value.to_str().ok()?.parse().ok());
        calls.left_out = calls.left_out.saturating_add(told.unwrap_or(0));
        calls
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, call) in self.newest.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{call}")?;
        }
        if self.left_out > 0 { write!(f, " and {} older", self.left_out) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(count: usize) -> Calls {
        let newest = (0..count).map(|n| format!("call-{n}").parse().expect("an id")).collect();
        Calls { newest, left_out: 0 }
    }

    #[test]
    fn calls_arrive_as_they_were_told_and_never_more_than_a_few() {
        for count in [0, 1, Calls::MAX, Calls::MAX + 5] {
            let mut metadata = MetadataMap::new();
            calls(count).bounded().write(&mut metadata);
            let read = Calls::read(&metadata);
            assert_eq!(read.newest, calls(count.min(Calls::MAX)).newest);
            assert_eq!(read.left_out, count.saturating_sub(Calls::MAX));
        }
    }

    #[test]
    fn what_another_end_makes_up_does_not_reach_the_log() {
        let mut metadata = MetadataMap::new();
        for text in ["good", "b a d", "", "also.good"] {
            metadata.append(REQUEST_ID, text.parse().expect("ASCII"));
        }
        metadata.insert(LEFT_OUT, "many".parse().expect("ASCII"));
        let read = Calls::read(&metadata);
        assert_eq!(read.to_string(), "good,also.good and 2 older");
        metadata.insert(LEFT_OUT, "18446744073709551615".parse().expect("ASCII"));
        assert_eq!(Calls::read(&metadata).left_out, usize::MAX);
        for _ in 0..100 {
            metadata.append(REQUEST_ID, "more".parse().expect("ASCII"));
        }
        assert_eq!(Calls::read(&metadata).newest.len(), Calls::MAX);
        assert_eq!(Calls::default().shown().map(|calls| calls.to_string()), None);
    }
}
