//! What is kept about a resource beside its spec.

use std::sync::Arc;

use nic_policy::{BridgeId, FlowRuleId, Revision, VtepId};

use crate::bridge::BridgeSpec;
use crate::fdb_entry::FdbEntrySpec;
use crate::flow_rule::FlowRuleSpec;
use crate::name::{ApplySet, Kind, Name, ResourceId};
use crate::port::PortSpec;
use crate::tunnel_peer::TunnelPeerSpec;
use crate::violation::Part;
use crate::vtep::VtepSpec;

/// A point in time, in microseconds since the Unix epoch. Whoever has a clock passes it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

/// What the server keeps about a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Handed out once and never again; later resources have greater ones. For a Bridge, FlowRule or
    /// Vtep it is the id in policy.
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

impl Stored<BridgeSpec> {
    /// The bridge's id in policy.
    pub const fn policy_id(&self) -> BridgeId {
        BridgeId(self.meta.uid)
    }
}

impl Stored<FlowRuleSpec> {
    /// The rule's id in policy.
    pub const fn policy_id(&self) -> FlowRuleId {
        FlowRuleId(self.meta.uid)
    }
}

impl Stored<VtepSpec> {
    /// The VTEP's id in policy.
    pub const fn policy_id(&self) -> VtepId {
        VtepId(self.meta.uid)
    }
}

/// A spec of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Of a Bridge.
    Bridge(BridgeSpec),
    /// Of an FdbEntry.
    FdbEntry(FdbEntrySpec),
    /// Of a FlowRule.
    FlowRule(FlowRuleSpec),
    /// Of a Port.
    Port(PortSpec),
    /// Of a TunnelPeer.
    TunnelPeer(TunnelPeerSpec),
    /// Of a Vtep.
    Vtep(VtepSpec),
}

/// A stored resource of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A Bridge.
    Bridge(Arc<Stored<BridgeSpec>>),
    /// An FdbEntry.
    FdbEntry(Arc<Stored<FdbEntrySpec>>),
    /// A FlowRule.
    FlowRule(Arc<Stored<FlowRuleSpec>>),
    /// A Port.
    Port(Arc<Stored<PortSpec>>),
    /// A TunnelPeer.
    TunnelPeer(Arc<Stored<TunnelPeerSpec>>),
    /// A Vtep.
    Vtep(Arc<Stored<VtepSpec>>),
}

/// The spec of one kind of resource, for code that is the same for all of them.
pub trait OneSpec: Sized {
    /// The kind.
    const KIND: Kind;

    /// The resource, if it is of this kind.
    fn of(resource: &Resource) -> Option<&Arc<Stored<Self>>>;
}

/// The same expression for a resource of whatever kind.
macro_rules! whatever {
    ($resource:expr, $stored:ident => $value:expr) => {
        match $resource {
            Resource::Bridge($stored) => $value,
            Resource::FdbEntry($stored) => $value,
            Resource::FlowRule($stored) => $value,
            Resource::Port($stored) => $value,
            Resource::TunnelPeer($stored) => $value,
            Resource::Vtep($stored) => $value,
        }
    };
}

macro_rules! kinds {
    ($($kind:ident $spec:ty),* $(,)?) => {
        impl Spec {
            /// The kind of resource.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Spec::$kind(_) => Kind::$kind,)*
                }
            }
        }

        impl Resource {
            /// A resource from its parts.
            pub fn new(id: ResourceId, meta: Meta, spec: Spec) -> Resource {
                match spec {
                    $(Spec::$kind(spec) => Resource::$kind(Arc::new(Stored { id, meta, spec })),)*
                }
            }

            /// The kind of resource.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Resource::$kind(_) => Kind::$kind,)*
                }
            }

            /// True if the client wants the same.
            pub fn has_spec(&self, spec: &Spec) -> bool {
                match (self, spec) {
                    $((Resource::$kind(stored), Spec::$kind(spec)) => stored.spec == *spec,)*
                    _ => false,
                }
            }
        }

        $(impl OneSpec for $spec {
            const KIND: Kind = Kind::$kind;

            fn of(resource: &Resource) -> Option<&Arc<Stored<Self>>> {
                match resource {
                    Resource::$kind(stored) => Some(stored),
                    _ => None,
                }
            }
        })*
    };
}

kinds! {
    Bridge BridgeSpec,
    FdbEntry FdbEntrySpec,
    FlowRule FlowRuleSpec,
    Port PortSpec,
    TunnelPeer TunnelPeerSpec,
    Vtep VtepSpec,
}

impl Resource {
    /// The id.
    pub fn id(&self) -> &ResourceId {
        whatever!(self, stored => &stored.id)
    }

    /// The name.
    pub fn name(&self) -> Name {
        self.kind().name(self.id().clone())
    }

    /// What the server keeps.
    pub fn meta(&self) -> &Meta {
        whatever!(self, stored => &stored.meta)
    }

    /// The resources that this one refers to, each with the field that does.
    pub fn references(&self) -> Vec<(Part, Name)> {
        match self {
            Resource::Bridge(bridge) => {
                let vtep = bridge.spec.vtep().into_iter();
                vtep.map(|vtep| (Part::Vtep, Kind::Vtep.name(vtep.clone()))).collect()
            }
            Resource::FdbEntry(entry) => {
                let bridge = Kind::Bridge.name(entry.spec.bridge().clone());
                let place = entry.spec.place();
                vec![(Part::Bridge, bridge), (place.part(), place.name())]
            }
            Resource::FlowRule(rule) => {
                let ports = rule.spec.flow().references().into_iter();
                ports.map(|port| (Part::Flow, Kind::Port.name(port.clone()))).collect()
            }
            Resource::Port(port) => {
                let bridges = port.spec.bridges();
                bridges.map(|(part, bridge)| (part, Kind::Bridge.name(bridge.clone()))).collect()
            }
            Resource::TunnelPeer(peer) => {
                let vtep = (Part::Vtep, Kind::Vtep.name(peer.spec.vtep().clone()));
                let bridges = peer.spec.bridges().iter().enumerate();
                let bridges = bridges.map(|(at, id)| (Part::Member(at), Kind::Bridge.name(id.clone())));
                std::iter::once(vtep).chain(bridges).collect()
            }
            Resource::Vtep(vtep) => vec![(Part::Port, Kind::Port.name(vtep.spec.port().clone()))],
        }
    }
}
