//! All pure crates together, seeded, in virtual time.
//!
//! The library holds what the tests in `tests/it` share: [`random`] numbers from a seed, [`scenario`]s
//! (policies and packets in a small world, so that hits, near misses and misses are all common), and the
//! [`oracle`], a naive translator that shares no code with the pipeline; and a [`card`] in memory, with
//! [`frame`]s, behind the slow path's two seams.
//!
//! `tests/it/whole.rs` runs whole cards, from the client's transaction to the card's rules, with seeded
//! faults between all parts; `docs/reliability.md` tells of it.
//!
//! **May know:** every pure crate, and the store on a simulated disk. **May not know:** DPDK, protocols
//! between processes, the clock: time and chance come from the test.

#![forbid(unsafe_code)]

pub mod card;
pub mod frame;
pub mod oracle;
pub mod random;
pub mod scenario;
