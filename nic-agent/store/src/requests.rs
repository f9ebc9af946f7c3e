//! Requests that are answered once: a repetition gets the first answer and changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use uuid::Uuid;

use crate::store::Committed;

/// The answers of so many requests are kept, the newest.
const MAX_REQUESTS: usize = 1024;
/// And of no more than take so many bytes on disk; the newest is kept whatever its size.
const MAX_BYTES: usize = 16 << 20;

/// The id of a request, a UUID that the client made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) Uuid);

impl RequestId {
    /// An id from the UUID's number.
    pub const fn from_u128(id: u128) -> RequestId {
        RequestId(Uuid::from_u128(id))
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<RequestId, uuid::Error> {
        text.parse().map(RequestId)
    }
}

/// Tells whether two requests have the same content: FNV-1a of 128 bits over what is added. It guards
/// a client against its own mistake, not against an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) u128);

impl Fingerprint {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    /// Of nothing.
    pub const fn new() -> Fingerprint {
        Fingerprint(Fingerprint::BASIS)
    }

    /// Adds a piece; where pieces begin and end counts too.
    #[must_use]
    pub fn with(self, piece: &[u8]) -> Fingerprint {
        let length = (piece.len() as u64).to_le_bytes();
        let bytes = length.iter().chain(piece);
        Fingerprint(
            bytes.fold(self.0, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(Fingerprint::PRIME)),
        )
    }
}

impl Default for Fingerprint {
    fn default() -> Fingerprint {
        Fingerprint::new()
    }
}

/// What makes a request the same as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Its content.
    pub fingerprint: Fingerprint,
}

/// The requests whose answers are kept.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// By age: a greater number is newer.
    by_age: BTreeMap<u64, Kept>,
    ages: HashMap<RequestId, u64>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    request: Request,
    answer: Committed,
    bytes: usize,
}

impl Requests {
    /// The answer that a request got.
    ///
    /// # Errors
    /// The id had other content.
    pub(crate) fn answer(&self, request: &Request) -> Result<Option<&Committed>, Reused> {
        match self.ages.get(&request.id).and_then(|age| self.by_age.get(age)) {
            Some(kept) if kept.request.fingerprint == request.fingerprint => Ok(Some(&kept.answer)),
            Some(_) => Err(Reused),
            None => Ok(None),
        }
    }

    /// The number of the next request.
    pub(crate) fn next_age(&self) -> u64 {
        self.by_age.last_key_value().map_or(0, |(age, _)| age + 1)
    }

    /// Keeps an answer of so many bytes.
    pub(crate) fn keep(&mut self, age: u64, request: Request, answer: Committed, bytes: usize) {
        self.ages.insert(request.id, age);
        self.by_age.insert(age, Kept { request, answer, bytes });
        self.bytes += bytes;
    }

    /// Forgets the oldest request if there are too many. Returns its number.
    pub(crate) fn forget(&mut self) -> Option<u64> {
        let count = self.by_age.len();
        if count <= 1 || (count <= MAX_REQUESTS && self.bytes <= MAX_BYTES) {
            return None;
        }
        let (age, kept) = self.by_age.pop_first()?;
        self.bytes -= kept.bytes;
        self.ages.remove(&kept.request.id);
        Some(age)
    }
}

/// A request id had other content before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reused;

#[cfg(test)]
mod tests {
    use nic_policy::Revision;

    use super::*;

    fn request(n: u128) -> Request {
        Request { id: RequestId(Uuid::from_u128(n)), fingerprint: Fingerprint::new().with(&n.to_le_bytes()) }
    }

    fn answer(n: u64) -> Committed {
        Committed { revision: Revision(n), changes: Vec::new().into(), replayed: false }
    }

    #[test]
    fn where_pieces_end_makes_a_difference() {
        let empty = Fingerprint::new();
        assert_ne!(empty.with(b"ab").with(b"c"), empty.with(b"a").with(b"bc"));
        assert_ne!(empty.with(b""), empty);
        assert_eq!(empty.with(b"ab"), empty.with(b"ab"));
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_the_newest_never() {
        let mut requests = Requests::default();
        for n in 0..=MAX_REQUESTS as u64 {
            requests.keep(requests.next_age(), request(n.into()), answer(n), 1);
        }
        assert_eq!((requests.forget(), requests.forget()), (Some(0), None));
        assert_eq!(requests.answer(&request(0)), Ok(None));
        assert_eq!(
            requests.answer(&request(1)).map(|found| found.map(|a| a.revision)),
            Ok(Some(Revision(1)))
        );
        requests.keep(requests.next_age(), request(9999), answer(9), MAX_BYTES + 1);
        while requests.forget().is_some() {}
        assert_eq!(requests.by_age.len(), 1);
        assert!(requests.answer(&request(9999)).is_ok_and(|found| found.is_some()));
    }

    #[test]
    fn an_id_with_other_content_is_found_out() {
        let mut requests = Requests::default();
        requests.keep(0, request(1), answer(1), 1);
        let other = Request { fingerprint: Fingerprint::new(), ..request(1) };
        assert_eq!(requests.answer(&other), Err(Reused));
    }
}
