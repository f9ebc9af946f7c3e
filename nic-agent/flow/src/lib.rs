//! The flow IR: one flat [`FlowKey`], the [`FlowMask`] of the bits that count, a [`Match`] of both,
//! a bounded [`ActionList`], and the [`Shape`]s that every megaflow is rounded to.
//!
//! Everything that speaks about flows speaks this language: the pipeline produces it, the software
//! cache executes it, the offload encodes it for `rte_flow`, the software E-Switch decodes `rte_flow`
//! into it. The one table of fields in [`field`] drives display, parsing, encoding and the generators
//! of the tests.
//!
//! **May know:** header layouts (`nic-wire`). **May not know:** DPDK, policy, resources, the clock.
//! Layer 0: `no_std`, no `unsafe`, bounded storage only.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod action;
pub mod execute;
pub mod extract;
pub mod field;
pub mod key;
pub mod mask;
pub mod port;
pub mod rule;
pub mod seam;
pub mod shape;
pub mod text;

pub use action::{Action, ActionList, Destination, Flood, MAX_ACTIONS, VxlanEncap};
pub use field::Field;
pub use key::FlowKey;
pub use mask::{FlowMask, Match};
pub use port::PortId;
pub use rule::{Counters, Rule, RuleId};
pub use shape::Shape;

pub use nic_wire::MacAddr;
