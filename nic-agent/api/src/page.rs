//! Pages of lists: a token says where the next page begins, and whose it is.

use nic_model::{Kind, ResourceId};
use nic_proto::v1::ErrorReason;

use crate::failure::{Failure, Fault};

/// The size of a page when the client does not say.
const DEFAULT_SIZE: usize = 100;
/// The largest page.
const MAX_SIZE: usize = 1000;

/// A place in the list of one kind of resources in one store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) kind: Kind,
    pub(crate) store: u128,
}

impl Pages {
    /// How many resources a page has.
    pub(crate) fn size(asked: u32) -> usize {
        match asked as usize {
            0 => DEFAULT_SIZE,
            asked => asked.min(MAX_SIZE),
        }
    }

    /// The token of the page behind a resource.
    pub(crate) fn token(self, last: &ResourceId) -> String {
        format!("{:08x}.{last}", self.mark(last.as_str()))
    }

    /// The resource that a page begins behind; `None` for the first page.
    pub(crate) fn after(self, token: &str) -> Result<Option<ResourceId>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let id = token.split_once('.').and_then(|(_, id)| id.parse::<ResourceId>().ok());
        let id = id.filter(|id| self.token(id) == token);
        let foreign = || {
            let text = "it is not a token that this server gave for this list";
            Fault::argument(ErrorReason::PageTokenInvalid, "pageToken", text)
        };
        id.map(Some).ok_or_else(|| foreign().into())
    }

    /// Tells tokens of other lists and stores apart (FNV-1a, 32 bits).
    fn mark(self, id: &str) -> u32 {
        let store = self.store.to_le_bytes();
        let bytes = store.iter().chain(self.kind.collection().as_bytes()).chain(id.as_bytes());
        bytes.fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// The first page's worth of a list, and whether more follows.
pub(crate) fn take<T>(list: impl Iterator<Item = T>, size: usize) -> (Vec<T>, bool) {
    let mut page: Vec<T> = list.take(size + 1).collect();
    let more = page.len() > size;
    page.truncate(size);
    (page, more)
}
