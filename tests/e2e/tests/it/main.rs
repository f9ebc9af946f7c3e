//! A whole card, tested as its users have it: programs, sockets, network namespaces.
//!
//! Needs root. One lab at a time, whatever the number of test threads. A test that fails shows what an
//! operator would look at first.

#![forbid(unsafe_code)]

mod alarms;
mod bench;
mod change;
mod fairness;
mod faults;
mod figures;
mod kills;
mod malformed;
mod management;
mod metrics;
mod overlay;
mod refusal;
mod restart;
mod survival;
mod traces;
mod tutorial;
