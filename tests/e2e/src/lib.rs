//! A whole card in network namespaces: what the demo and the tests share.
//!
//! ```text
//!  nic-P-N-host1        nic-P-N-host2            nic-P-N-card                      nic-P-N-wire
//!  nicctl, host-shim                   pf0vf0    nic-datapath
//!  eth0 -------------------------------/  pf0vf1  nic-agent        p0 ------------ eth0
//!                       eth0 ------------/
//! ```
//!
//! `nic-P-N-host3` has VF 2. For an overlay the peer gets tunnel endpoints: see [`overlay`].
//!
//! Or the card is a machine of its own in QEMU, which boots an image: `Lab::boot`.
//!
//! A [`Lab`] is named after its process (P) and its number there (N), so that several can run, and
//! nothing of it outlives its owner: not a failure, not a panic, not Ctrl-C ([`sweep`]). Programs are
//! looked for beside the one that runs.
//!
//! **May know:** the programs' command lines and what they print. **May not know:** any crate of this
//! repository; a user has only the programs, too.

#![forbid(unsafe_code)]

pub mod capture;
mod client;
mod daemon;
pub mod error;
mod lab;
pub mod netns;
pub mod overlay;
pub mod ovs_dpdk;
mod run;
pub mod story;
pub mod sweep;
mod traffic;

pub use client::{Answer, Console, Stats, number};
pub use daemon::Daemon;
pub use error::LabError;
pub use lab::twin::{Booted, Machine, PARAMETERS, POWER_ON, Uplink};
pub use lab::{Lab, Options};
pub use netns::{Node, Place};
pub use run::program;
pub use traffic::{Received, Receiver, Sender};
