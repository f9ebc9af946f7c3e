//! Pages of lists: a token says where the next page begins, and whose it is.

use nic_proto::v1::ErrorReason;

use crate::failure::{Failure, Fault};

/// The size of a page when the client does not say.
const DEFAULT_SIZE: usize = 100;
/// The largest page.
const MAX_SIZE: usize = 1000;

/// One list of one store, of which a token names a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages<'a> {
    /// Which list, with what it was filtered by.
    pub(crate) list: &'a str,
    pub(crate) store: u128,
}

impl Pages<'_> {
    /// How many elements a page has.
    fn size(asked: u32) -> usize {
        match asked as usize {
            0 => DEFAULT_SIZE,
            asked => asked.min(MAX_SIZE),
        }
    }

    /// A page of what is behind a token, and the token of the next one; empty if this is the last.
    pub(crate) fn take<T>(
        self,
        list: impl Iterator<Item = T>,
        size: u32,
        key: impl FnOnce(&T) -> String,
    ) -> (Vec<T>, String) {
        let size = Pages::size(size);
        let mut page: Vec<T> = list.take(size + 1).collect();
        let more = page.len() > size;
        page.truncate(size);
        let next = page.last().filter(|_| more).map(|last| self.token(&key(last)));
        (page, next.unwrap_or_default())
    }

    /// The token of the page behind an element of which this is the key.
    fn token(self, last: &str) -> String {
        format!("{:08x}.{last}", self.mark(last))
    }

    /// The key of the element that a page begins behind; `None` for the first page. `parse` reads a key.
    pub(crate) fn after<T>(
        self,
        token: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let key = token.split_once('.').map(|(_, key)| key).filter(|key| self.token(key) == token);
        let foreign = || {
            let text = "it is not a token that this server gave for this list";
            Fault::argument(ErrorReason::PageTokenInvalid, "pageToken", text)
        };
        key.and_then(parse).map(Some).ok_or_else(|| foreign().into())
    }

    /// Tells tokens of other lists and stores apart (FNV-1a, 32 bits).
    fn mark(self, key: &str) -> u32 {
        let store = self.store.to_le_bytes();
        let bytes = store.iter().chain(self.list.as_bytes()).chain(&[0]).chain(key.as_bytes());
        bytes.fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}
