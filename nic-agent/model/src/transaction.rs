//! What may be asked of a state, and what became of it.

use crate::name::{ApplySet, Name, ResourceId};
use crate::resource::{Resource, Spec, Time};

/// A change of the state, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Now.
    pub time: Time,
    /// What is to be done.
    pub operation: Operation,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates a resource that does not exist.
    Create(Desired),
    /// Replaces the spec of a resource that exists. The apply set stays.
    Update(Desired),
    /// Deletes a resource that exists.
    Delete {
        /// The resource.
        name: Name,
        /// If set, the etag that it must have.
        etag: Option<String>,
    },
    /// Creates, updates and deletes members of an apply set.
    Apply(Apply),
}

/// A resource as a client wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The id.
    pub id: ResourceId,
    /// The spec.
    pub spec: Spec,
    /// If set, the etag that the resource must have now.
    pub etag: Option<String>,
}

impl Desired {
    /// The resource's name.
    pub fn name(&self) -> Name {
        self.spec.kind().name(self.id.clone())
    }
}

/// Many resources at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// The set that they belong to.
    pub set: ApplySet,
    /// The resources.
    pub resources: Vec<Desired>,
    /// Delete the members of the set that are not among them.
    pub prune: bool,
    /// Take resources of other sets instead of refusing them.
    pub take_over: bool,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The resource before; `None` if it did not exist.
    pub before: Option<Resource>,
    /// The resource afterwards; `None` if it is gone.
    pub after: Option<Resource>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It did not exist.
    Create,
    /// Its spec or its apply set differs.
    Update,
    /// It is gone.
    Delete,
    /// Nothing.
    Unchanged,
}

impl Change {
    /// What is done.
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (None, Some(_)) => Action::Create,
            (Some(_), None) => Action::Delete,
            (Some(before), Some(after)) if before.meta().changed_at != after.meta().changed_at => {
                Action::Update
            }
            _ => Action::Unchanged,
        }
    }

    /// The resource's name; `None` only for a change from nothing to nothing, which nobody makes.
    pub fn name(&self) -> Option<Name> {
        self.after.as_ref().or(self.before.as_ref()).map(Resource::name)
    }
}
