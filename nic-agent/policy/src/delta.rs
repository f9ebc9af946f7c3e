//! Deltas: how policy gets from one revision to the next.

use alloc::vec::Vec;

use crate::object::{Object, ObjectId};

/// The number of a durable state of the configuration; 0 is the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

/// One object put or removed.
#[expect(
    clippy::large_enum_variant,
    reason = "most changes put a flow rule; a box would be one more to each"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object is new or replaces the one of its id.
    Put(Object),
    /// The object is gone. Removing what is not there changes nothing.
    Remove(ObjectId),
}

/// What leads from one policy to another. Applied whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// The revision that the policy has afterwards.
    pub revision: Revision,
    /// True if the policy before is to be forgotten first: a full sync.
    pub replace_all: bool,
    /// The changes, at most one for each id.
    pub changes: Vec<Change>,
}

impl Change {
    /// The id of the object that changes.
    pub const fn id(&self) -> ObjectId {
        match self {
            Change::Put(object) => object.id(),
            Change::Remove(id) => *id,
        }
    }
}
