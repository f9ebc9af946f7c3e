//! Resources as validated values, and what they refer to: the desired state of a card.
//!
//! A value of this crate is valid because there is no other way to make one: [`PortSpec::parse`] and
//! its like turn what a client sent into it, or into [`Violation`]s that name the field and the reason.
//! Whether resources fit together is checked where they meet ([`check`]). A [`State`] is an immutable map of resources that shares structure with the states
//! before it; [`plan()`] leads from one to the next by a [`Transaction`], whole or not at all, and costs
//! what the transaction touches. [`openflow`] reads and writes the text form of flow rules.
//!
//! **May know:** the flow IR (`nic-flow`), the policy that rules become (`nic-policy`). **May not
//! know:** protobuf, the store, the sockets, the clock (time is passed in). Layer 1: no `unsafe`, no
//! I/O.

#![forbid(unsafe_code)]

pub mod address;
pub mod bridge;
pub mod check;
pub mod claim;
pub mod fdb_entry;
pub mod flow_rule;
pub mod name;
pub mod openflow;
pub mod plan;
pub mod port;
pub mod resource;
pub mod state;
pub mod transaction;
pub mod tunnel_peer;
pub mod violation;
pub mod vtep;

pub use address::Cidr;
pub use bridge::{BridgeFields, BridgeSpec};
pub use check::check_whole;
pub use claim::Claim;
pub use fdb_entry::{FdbEntryFields, FdbEntrySpec, StationPlace};
pub use flow_rule::FlowRuleSpec;
pub use name::{ApplySet, Kind, Name, NameError, ResourceId};
pub use plan::{Outcome, plan};
pub use port::{PortFields, PortSpec, Trunk, TrunkFields};
pub use resource::{Meta, OneSpec, Resource, Spec, Stored, Time};
pub use state::{Overlap, State};
pub use transaction::{Action, Apply, Change, Desired, Operation, Transaction};
pub use tunnel_peer::{TunnelPeerFields, TunnelPeerSpec};
pub use violation::{Part, Reason, Rejection, Subject, Violation};
pub use vtep::{VtepFields, VtepSpec};
