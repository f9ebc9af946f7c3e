//! The policy in force on disk, so that nic-datapath forwards by it from its first moment.
//!
//! * [`open`] reads the policy that a state directory has. A file that is torn, foreign or of an unknown
//!   version is put aside and not used.
//! * [`Keeper`] keeps the file at the policy in force, in a thread of its own; nobody waits for the disk.
//!   It also says which revision is applied: one that the worker has applied and the disk has. A file that
//!   cannot be written is removed, so that no restart opens by an older policy than one called applied.
//!
//! **May know:** policy objects, their records (`nic_link::record`), the disk. **May not know:** snapshots,
//! the E-Switch, the socket, resources.

#![forbid(unsafe_code)]

mod error;
mod folder;
mod gate;
mod keeper;
mod medium;
mod queue;
mod tables;
mod writer;

pub use error::{DirectoryError, SaveError, StartError, Unusable};
pub use keeper::{Keeper, Loaded, Opened, open};
pub use queue::{NotSaved, Policy, Source, Status};

#[cfg(test)]
mod tests;
