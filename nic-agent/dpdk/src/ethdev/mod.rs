//! Ports: finding them, and running them.

mod config;
mod info;
mod interrupt;
mod port;
mod queue;

pub use config::{PortConfig, RxOffloads, StartError, StartStep, TxOffloads};
pub use info::{
    Function, InfoError, PortInfo, RepresentorRange, Representors, SwitchPort, discover, representors,
};
pub use interrupt::InterruptError;
pub use port::{ControlError, Link, OpenError, Operation, Port, PortStats, Queues, StopError};
pub use queue::{RxQueue, TxQueue};

use core::fmt;

/// DPDK's own number of a port. Means something only within this process and
/// only while the port exists: find ports by what [`PortInfo`] says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevId(u16);

impl DevId {
    /// From DPDK's number. It need not be a port: every use is checked.
    pub const fn from_raw(number: u16) -> Self {
        Self(number)
    }

    /// DPDK's number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for DevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DPDK port {}", self.0)
    }
}
