//! What our processes have in common: how they log, how they listen on a unix socket, how they are
//! told to stop.
//!
//! **May know:** the system, systemd. **May not know:** what any process is for.

#![forbid(unsafe_code)]

pub mod log;
pub mod signals;
pub mod socket;
