//! The name of one call of the API, which follows what the call does through the logs of both processes.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

/// Names one call of the API: 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, so that it can
/// stand in a log line or in a header as it is.
///
/// It is not the `request_id` of a mutation: that one makes a repetition harmless, and all repetitions
/// share it; this one tells one attempt from the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Arc<str>);

/// A text is no [`CallId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotACallId;

impl CallId {
    /// The most characters of one.
    pub const MAX: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CallId {
    type Err = NotACallId;

    fn from_str(text: &str) -> Result<CallId, NotACallId> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=CallId::MAX).contains(&text.len()) && text.bytes().all(fits) {
            Ok(CallId(text.into()))
        } else {
            Err(NotACallId)
        }
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> String {
        id.as_str().into()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotACallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it must have 1 to {} characters of A-Z, a-z, 0-9, '.', '_' and '-'", CallId::MAX)
    }
}

impl core::error::Error for NotACallId {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn what_could_break_a_log_line_or_a_header_is_no_id() {
        let longest = "x".repeat(CallId::MAX);
        for good in ["a", "0", "Ab-9_.z", longest.as_str()] {
            assert_eq!(good.parse::<CallId>().map(|id| id.to_string()).as_deref(), Ok(good));
        }
        let too_long = "x".repeat(CallId::MAX + 1);
        for bad in ["", " ", "a b", "a,b", "a\nb", "\u{e9}", "a\0", "\"", too_long.as_str()] {
            assert_eq!(bad.parse::<CallId>(), Err(NotACallId), "{bad:?}");
        }
    }
}
