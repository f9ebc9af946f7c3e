//! Both ends of nic.datapath.v1, the protocol between nic-agent and nic-datapath.
//!
//! * [`convert`]: policy, flows, traces and counters to protobuf and back; whatever is not understood
//!   is an error that names the object and the field, never a guess.
//! * [`record`]: policy objects as records of a file, by the same conversion.
//! * [`server`]: nic-datapath's end. It fences writers, checks every Sync whole before anything of it
//!   takes effect, and asks a [`server::Backend`] for the rest.
//! * [`client`]: nic-agent's end. It connects, shakes hands, brings the datapath to the store's
//!   revision and keeps it there: subscribe, full sync, deltas, and from the start again after any error.
//!
//! **May know:** protobuf, tonic, the types of `nic-flow` and `nic-policy`. **May not know:** resources,
//! the store, DPDK, stages.

#![forbid(unsafe_code)]

mod applied;
mod calls;
pub mod client;
pub mod convert;
mod error;
pub mod record;
pub mod server;

pub use calls::Calls;
pub use error::{LinkError, Rejection};
pub use uuid::Uuid;

/// A random UUID, for a new store or a new run of a process.
pub fn new_uuid() -> Uuid {
    Uuid::new_v4()
}

/// The schema versions that this build speaks, the newest last.
///
/// 3 added alarms. nic-datapath tells an agent of version 2 nothing that it does not know; an agent asks a
/// nic-datapath of version 2 for nothing that it does not know, or hears from it that it is too old.
pub const SCHEMA_VERSIONS: &[u32] = &[2, 3];

/// The domain of this protocol's errors in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "nic.datapath.v1";
