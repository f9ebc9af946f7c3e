//! The pipeline: what is done to a packet, by policy.
//!
//! A [`Snapshot`] is one immutable state of the policy and of the devices that are there; a [`State`] is
//! what packets taught. [`translate`] leads one packet through the stages (their order is in [`stages`],
//! on one screen) and says what is done to it, which of its bits that depends on, and on which parts of
//! the policy and of the state. What a packet teaches it only says, as an [`Effect`]: whoever owns the
//! state changes it. [`trace`] says the same in words. A stage never sees the packet: it sees a
//! [`probe`] that records every bit it reads and every table it consults.
//!
//! The property that carries all else: *any packet that agrees with `p` in the bits that were read is
//! translated as `p` is*, and a [`Translation`] stays true until a [`Touched`] of a later snapshot or
//! state touches one of its dependencies. `tests/sim` checks both against a naive translator.
//!
//! **May know:** the flow IR (`nic-flow`), policy objects (`nic-policy`). **May not know:** caches,
//! rules in hardware, packets' bytes, resources, DPDK, the clock. Layer 1: no `unsafe`, no I/O, no
//! randomness; the same key, snapshot and state always give the same translation.

#![forbid(unsafe_code)]

pub mod dependency;
pub mod effect;
pub mod plan;
pub mod probe;
pub mod snapshot;
pub mod stages;
pub mod state;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

mod bridge;
mod egress;
#[cfg(test)]
mod fixture;
mod flow_rules;
mod ingress;
mod management;
mod origin;
mod rules;
mod tunnel;

pub use dependency::{Dependency, Touched};
pub use effect::{Effect, Inspection};
pub use snapshot::{ApplyError, Member, Snapshot};
pub use stages::{TraceWithoutOffload, Translation, trace, translate};
pub use state::State;
pub use tunnel::{encapsulation, next_hop};
