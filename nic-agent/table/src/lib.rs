//! Classifiers over matches: which of many flows, or which of many rules, is a packet's?
//!
//! * [`ShapeTable`] for megaflows: the masks are those of the catalogue ([`nic_flow::Shape`]), and
//!   flows that overlap agree, so the first hit is the answer. A lookup costs at most one hash per
//!   shape in use, whatever the traffic.
//! * [`TernaryTable`] for rules: any masks, and each rule has a rank; the best-ranked rule that
//!   matches is the answer. A lookup costs at most one hash per distinct mask, and stops at the first
//!   mask that cannot hold anything better.
//! * [`naive::NaiveTable`] for tests: what both of them mean, as a linear scan.
//!
//! Tables hash with a seed, because whoever sends the packets chooses the keys: without it, a sender
//! could aim all its flows at one bucket. The caller brings the seed; this crate has no randomness.
//!
//! **May know:** the flow IR (`nic-flow`). **May not know:** policy, actions, packets, threads.
//! Layer 0: `no_std` and `alloc`, no `unsafe`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod hash;
pub mod naive;
pub mod shapes;
pub mod ternary;

#[cfg(test)]
mod testing;

pub use shapes::ShapeTable;
pub use ternary::TernaryTable;
