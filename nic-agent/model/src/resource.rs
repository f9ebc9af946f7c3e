//! What is kept about a resource beside its spec.

use std::sync::Arc;

use nic_policy::{FlowRuleId, Revision};

use crate::flow_rule::FlowRuleSpec;
use crate::name::{ApplySet, Kind, Name, ResourceId};
use crate::port::PortSpec;

/// A point in time, in microseconds since the Unix epoch. Whoever has a clock passes it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// What the server keeps about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Handed out once and never again; later resources have greater ones. For a FlowRule it is the
    /// rule's id in policy.
    pub uid: u64,
    /// Counts the changes of the spec, from 1.
    pub generation: u64,
    /// The revision that created the resource.
    pub created_at: Revision,
    /// The revision that last changed it.
    pub changed_at: Revision,
    /// The apply set that owns it.
    pub apply_set: Option<ApplySet>,
    /// When it was created.
    pub create_time: Time,
    /// When its spec last changed.
    pub update_time: Time,
}

impl Meta {
    /// What a client sends back to say which spec it has seen.
    pub fn etag(&self) -> String {
        format!("{:x}.{:x}", self.uid, self.generation)
    }
}

/// A resource in a [`State`](crate::State).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<S> {
    /// The id.
    pub id: ResourceId,
    /// What the server keeps.
    pub meta: Meta,
    /// What the client wants.
    pub spec: S,
}

impl Stored<FlowRuleSpec> {
    /// The rule's id in policy.
    pub const fn policy_id(&self) -> FlowRuleId {
        FlowRuleId(self.meta.uid)
    }
}

/// A spec of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Of a Port.
    Port(PortSpec),
    /// Of a FlowRule.
    FlowRule(FlowRuleSpec),
}

impl Spec {
    /// The kind of resource.
    pub const fn kind(&self) -> Kind {
        match self {
            Spec::Port(_) => Kind::Port,
            Spec::FlowRule(_) => Kind::FlowRule,
        }
    }
}

/// A stored resource of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A Port.
    Port(Arc<Stored<PortSpec>>),
    /// A FlowRule.
    FlowRule(Arc<Stored<FlowRuleSpec>>),
}

impl Resource {
    /// A resource from its parts.
    pub fn new(id: ResourceId, meta: Meta, spec: Spec) -> Resource {
        match spec {
            Spec::Port(spec) => Resource::Port(Arc::new(Stored { id, meta, spec })),
            Spec::FlowRule(spec) => Resource::FlowRule(Arc::new(Stored { id, meta, spec })),
        }
    }

    /// The name.
    pub fn name(&self) -> Name {
        match self {
            Resource::Port(port) => Kind::Port.name(port.id.clone()),
            Resource::FlowRule(rule) => Kind::FlowRule.name(rule.id.clone()),
        }
    }

    /// What the server keeps.
    pub fn meta(&self) -> &Meta {
        match self {
            Resource::Port(port) => &port.meta,
            Resource::FlowRule(rule) => &rule.meta,
        }
    }

    /// True if the client wants the same.
    pub fn has_spec(&self, spec: &Spec) -> bool {
        match (self, spec) {
            (Resource::Port(port), Spec::Port(spec)) => port.spec == *spec,
            (Resource::FlowRule(rule), Spec::FlowRule(spec)) => rule.spec == *spec,
            _ => false,
        }
    }
}
