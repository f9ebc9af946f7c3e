//! The software E-Switch's core: ports, transfer rules with priorities and any masks, and the
//! forwarding of packets by them, without a card and without DPDK.
//!
//! ```text
//!  control threads                         forwarding thread
//!  create, destroy, query, flush           receive -> Forwarder::forward
//!        |                                        | exact-match cache, then the rules
//!        v                                        v
//!     Switch  == two copies of the rules ==>  hit: actions, out of ports (zero-copy)
//!  (see `publish`: neither side waits         miss: the ingress port's representor
//!   for the other's memory)
//! ```
//!
//! What a packet meets:
//! * The rule of the lowest [`SwitchRule::priority`] number that matches it is executed. Among rules of
//!   equal priority the older one wins; a card leaves that open, a test wants it decided.
//! * A packet that no rule matches goes to the representor of the port it entered, to the slow path.
//! * A packet that the slow path sends on a representor leaves by the port that is represented, and
//!   meets no rule ([`Switch::send_by_representor`]).
//!
//! A switch is reliable until it is told otherwise: [`Faults`] make calls fail, rules late or lost and
//! counters wrong, reproducibly. Time is passed in ([`Switch::advance`]).
//!
//! [`Profile`] says how much of the flow IR the switch takes: all of it, or what every supported card
//! does. The rest is refused with the field or action at fault ([`RuleFault`]), never approximated.
//!
//! **May know:** headers (`nic-wire`), the flow IR and its packet seam (`nic-flow`), classifiers
//! (`nic-table`). **May not know:** DPDK, `rte_flow`, policy, the agent's encoder, clocks, sockets.
//! Layer 1: no `unsafe`.

#![forbid(unsafe_code)]

mod cache;
mod counters;
mod egress;
mod faults;
mod forward;
mod port;
mod profile;
mod publish;
mod rule;
mod switch;
mod sync;
mod tables;
mod unreliable;
mod upkeep;

pub use egress::{Egress, Unsent};
pub use faults::{
    CounterFault, Failure, Failures, Faults, FaultsError, MAX_LAG_MS, MAX_LIFE_MS, Probability,
};
pub use forward::Forwarder;
pub use port::{DropReason, PortStats};
pub use profile::{Profile, UnknownProfile};
pub use rule::{
    ActionFault, CreateError, DestroyError, FieldFault, QueryError, RuleFault, RuleHandle, SwitchRule,
};
pub use switch::{NoPort, Switch, SwitchConfig};
pub use unreliable::FaultHits;
pub use upkeep::{RuleCounts, RuleState};
