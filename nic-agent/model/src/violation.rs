//! Why a change is refused: every fault with the resource, the field and a typed reason.

use std::fmt;

use crate::name::{ApplySet, Name, NameError};
use crate::openflow;

/// A fault in a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The resource at fault.
    pub subject: Subject,
    /// The part of it.
    pub part: Part,
    /// What is wrong.
    pub reason: Reason,
}

/// The resource that a [`Violation`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The one resource of the request.
    Only,
    /// The resource of an Apply at this place, from 0.
    Sent(usize),
    /// A resource that the request did not send.
    Stored(Name),
}

/// The part of a resource that a [`Violation`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The resource as a whole.
    Whole,
    /// Its name.
    Name,
    /// Its etag.
    Etag,
    /// `spec`.
    Spec,
    /// `spec.device` of a Port.
    Device,
    /// `spec.adminState` of a Port.
    AdminState,
    /// `spec.mtu` of a Port.
    Mtu,
    /// `spec.macAddresses` of a Port.
    MacAddresses,
    /// One element there.
    MacAddress(usize),
    /// `spec.flow` of a FlowRule.
    Flow,
    /// `spec.priority` of a FlowRule.
    Priority,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A required field is missing.
    #[error("it is required")]
    Required,
    /// A number or a length is outside its range.
    #[error("it must be in {min}..={max}")]
    OutOfRange {
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A value is not written as it should be.
    #[error("it must be {0}")]
    Malformed(&'static str),
    /// It contradicts another field, or another element of the list.
    #[error("{0}")]
    Conflict(&'static str),
    /// A resource's name or id is malformed.
    #[error("{0}")]
    Name(NameError),
    /// The flow text is at fault.
    #[error("{0}")]
    Flow(openflow::Error),
    /// It names a resource that does not exist.
    #[error("there is no {0}")]
    NoReference(Name),
    /// Another Port has this device.
    #[error("{0} has this device")]
    DeviceInUse(Name),
    /// The same name was sent twice.
    #[error("this name was sent before, as resources[{first}]")]
    Repeated {
        /// Where it was sent first.
        first: usize,
    },
    /// There is no such resource.
    #[error("there is no {0}")]
    NotFound(Name),
    /// There is such a resource already.
    #[error("{0} exists")]
    Exists(Name),
    /// The etag is not the current one.
    #[error("{0} was changed since: the etag does not match")]
    EtagMismatch(Name),
    /// The resource belongs to another apply set.
    #[error("{name} belongs to the apply set {set}")]
    OtherSet {
        /// The resource.
        name: Name,
        /// The set it belongs to.
        set: ApplySet,
    },
    /// Others refer to the resource that would go.
    #[error("{by} refers to {name}")]
    Referenced {
        /// The resource that would go.
        name: Name,
        /// One that refers to it.
        by: Name,
    },
    /// There are as many resources of this kind as the card takes.
    #[error("there are at most {limit} of this kind")]
    Limit {
        /// How many.
        limit: usize,
    },
}

/// A change was refused; nothing was done. There is at least one violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// All that were found.
    pub violations: Vec<Violation>,
}

impl Violation {
    /// A fault of the request's one resource.
    pub const fn new(part: Part, reason: Reason) -> Violation {
        Violation { subject: Subject::Only, part, reason }
    }

    /// The same fault of another resource.
    #[must_use]
    pub fn of(mut self, subject: Subject) -> Violation {
        self.subject = subject;
        self
    }

    /// The path of the field in the names of proto-JSON, such as `resources[2].spec.flow`; empty for
    /// the request's one resource as a whole.
    pub fn field(&self) -> String {
        let subject = match &self.subject {
            Subject::Only => String::new(),
            Subject::Sent(index) => format!("resources[{index}]"),
            Subject::Stored(name) => name.to_string(),
        };
        let part = self.part.to_string();
        let dot = if subject.is_empty() || part.is_empty() { "" } else { "." };
        format!("{subject}{dot}{part}")
    }
}

impl From<Violation> for Rejection {
    fn from(violation: Violation) -> Rejection {
        Rejection { violations: vec![violation] }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Whole => "",
            Part::Name => "name",
            Part::Etag => "etag",
            Part::Spec => "spec",
            Part::Device => "spec.device",
            Part::AdminState => "spec.adminState",
            Part::Mtu => "spec.mtu",
            Part::MacAddresses => "spec.macAddresses",
            Part::MacAddress(index) => return write!(f, "spec.macAddresses[{index}]"),
            Part::Flow => "spec.flow",
            Part::Priority => "spec.priority",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        if field.is_empty() { self.reason.fmt(f) } else { write!(f, "{field}: {}", self.reason) }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
