//! Foreign DPDK programs drive the loadable `net_eswitch`: dpdk-testpmd on a terminal of its own, and
//! network namespaces for what is behind its ports.
//!
//! **May know:** the command line of testpmd, `ip`, the device arguments of `net_eswitch`. **May not
//! know:** the driver's code, or any other crate of the agent: a conformance test sees what a stranger
//! sees. Only the tests of `tests/it/offload` put the agent's encoder and the driver into one process.

#![forbid(unsafe_code)]

mod lab;
mod testpmd;

pub use lab::{Lab, LabError, Namespace};
pub use testpmd::{Testpmd, TestpmdError};
