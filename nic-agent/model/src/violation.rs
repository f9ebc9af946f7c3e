//! Why a change is refused: every fault with the resource, the field and a typed reason.

use std::fmt;
use std::ops::RangeInclusive;

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
    /// `spec.bridge` of a Port or FdbEntry.
    Bridge,
    /// `spec.trunks` of a Port.
    Trunks,
    /// The VLAN of one element there.
    TrunkVlan(usize),
    /// The bridge of one element there.
    TrunkBridge(usize),
    /// `spec.macLimit` of a Port or TunnelPeer.
    MacLimit,
    /// `spec.floodBudget` of a Port.
    FloodBudget,
    /// `spec.vtep` of a Bridge or TunnelPeer.
    Vtep,
    /// `spec.vni` of a Bridge.
    Vni,
    /// `spec.unknownUnicast` of a Bridge.
    UnknownUnicast,
    /// `spec.ageingTime` of a Bridge.
    AgeingTime,
    /// `spec.port` of a Vtep or FdbEntry.
    Port,
    /// `spec.vlan` of a Vtep.
    Vlan,
    /// `spec.address` of a Vtep or TunnelPeer.
    Address,
    /// `spec.gateway` of a Vtep.
    Gateway,
    /// `spec.macAddress` of a Vtep or FdbEntry.
    Mac,
    /// `spec.ttl` of a Vtep.
    Ttl,
    /// `spec.dscp` of a Vtep.
    Dscp,
    /// `spec.bridges` of a TunnelPeer.
    Bridges,
    /// One element there.
    Member(usize),
    /// `spec.tunnelPeer` of a FdbEntry.
    TunnelPeer,
    /// `spec.addresses` of a FdbEntry.
    Addresses,
    /// One element there.
    AddressAt(usize),
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
    /// Another resource has the value, which must be of one alone.
    #[error("{by} has this {what}")]
    InUse {
        /// What it is.
        what: &'static str,
        /// The other resource.
        by: Name,
    },
    /// The resource that it names does not fit.
    #[error("{name} {why}")]
    Unfit {
        /// The resource.
        name: Name,
        /// Why not, as a predicate.
        why: &'static str,
    },
    /// Packets of the port do not fit into those of the tunnel that they travel in.
    #[error("{mtu} and the tunnel's {overhead} octets are more than the mtu of {uplink}, which is {carries}")]
    Mtu {
        /// The port's MTU.
        mtu: u16,
        /// Octets that the tunnel adds.
        overhead: u16,
        /// The port that tunnel packets leave by.
        uplink: Name,
        /// Its MTU.
        carries: u16,
    },
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

/// The faults that a check of fields has found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Violation>);

impl Faults {
    pub(crate) fn push(&mut self, part: Part, reason: Reason) {
        self.0.push(Violation::new(part, reason));
    }

    /// The value of a field, or `None` and one fault more.
    pub(crate) fn check<T>(&mut self, part: Part, value: Result<T, Reason>) -> Option<T> {
        value.map_err(|reason| self.push(part, reason)).ok()
    }

    /// The spec, if no fault was found.
    pub(crate) fn finish<T>(self, spec: Option<T>) -> Result<T, Vec<Violation>> {
        spec.filter(|_| self.0.is_empty()).ok_or(self.0)
    }
}

/// A number in its range, or what stands for a default.
pub(crate) fn number<T: TryFrom<u32> + Into<u64> + Copy + PartialOrd>(
    value: u32,
    range: RangeInclusive<T>,
    default: T,
) -> Result<T, Reason> {
    if value == 0 {
        return Ok(default);
    }
    let fits = T::try_from(value).ok().filter(|value| range.contains(value));
    fits.ok_or(Reason::OutOfRange { min: (*range.start()).into(), max: (*range.end()).into() })
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
            Part::Bridge => "spec.bridge",
            Part::Trunks => "spec.trunks",
            Part::TrunkVlan(index) => return write!(f, "spec.trunks[{index}].vlan"),
            Part::TrunkBridge(index) => return write!(f, "spec.trunks[{index}].bridge"),
            Part::MacLimit => "spec.macLimit",
            Part::FloodBudget => "spec.floodBudget",
            Part::Vtep => "spec.vtep",
            Part::Vni => "spec.vni",
            Part::UnknownUnicast => "spec.unknownUnicast",
            Part::AgeingTime => "spec.ageingTime",
            Part::Port => "spec.port",
            Part::Vlan => "spec.vlan",
            Part::Address => "spec.address",
            Part::Gateway => "spec.gateway",
            Part::Mac => "spec.macAddress",
            Part::Ttl => "spec.ttl",
            Part::Dscp => "spec.dscp",
            Part::Bridges => "spec.bridges",
            Part::Member(index) => return write!(f, "spec.bridges[{index}]"),
            Part::TunnelPeer => "spec.tunnelPeer",
            Part::Addresses => "spec.addresses",
            Part::AddressAt(index) => return write!(f, "spec.addresses[{index}]"),
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
