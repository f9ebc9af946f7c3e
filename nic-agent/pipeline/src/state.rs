//! What packets taught: the tables that translation reads beside the policy.
//!
//! Translation sees them unchanged; one writer, the slow path, changes them between translations. Every
//! change says what it touched, in the words of [`Dependency`](crate::Dependency).

mod fdb;
mod neighbors;
#[cfg(test)]
mod tests;

use nic_table::hash::Seed;

pub use fdb::{Damping, Fdb, LearnError, Learned, Limits};
pub use neighbors::{Neighbor, Neighbors};

/// All of it.
#[derive(Debug)]
pub struct State {
    /// Learned MAC addresses, by bridge.
    pub fdb: Fdb,
    /// Next hops of VTEPs.
    pub neighbors: Neighbors,
}

impl State {
    /// Nothing learned yet. Senders choose what is learned: the seed must be none that they can guess.
    pub fn new(seed: Seed) -> State {
        State { fdb: Fdb::new(seed), neighbors: Neighbors::new(seed) }
    }
}

/// Nothing learned, for whoever learns from nobody that could mean harm: traces, tests.
impl Default for State {
    fn default() -> State {
        State::new(Seed::new(0))
    }
}
