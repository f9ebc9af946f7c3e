//! nic.datapath.v1 to the types of `nic-flow` and `nic-policy`, and back.
//!
//! Header fields travel by name and value, so that two versions of the table of fields understand each
//! other; a name that this build does not know is an error, and the whole message is refused.

use std::net::IpAddr;
use std::ops::RangeInclusive;

mod alarm;
mod audit;
mod bridging;
mod flow;
mod learned;
mod object;
mod report;
mod schema;

pub use alarm::{alarm_from, alarm_to};
pub use audit::{audit_from, audit_to};
pub use flow::{actions_from, actions_to, key_from, key_to, match_from, match_to};
pub use learned::{fdb_from, fdb_to, neighbor_from, neighbor_to};
pub use object::{change_from, change_to, object_from, object_ref_from, object_ref_to, object_to};
pub use report::{
    capabilities_from, capabilities_to, device_from, device_to, flow_from, flow_to, stats_from, stats_to,
    trace_from, trace_to,
};
pub(crate) use schema::Schema;

/// A message that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {problem}")]
pub struct ObjectError {
    /// Which object or message.
    pub object: String,
    /// Which of its fields.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("not set")]
    Missing,
    /// A header field, action, stage, shape or reason of that name is unknown here.
    #[error("unknown name {0:?}")]
    Unknown(String),
    /// A number or address has the wrong size.
    #[error("out of range")]
    Range,
    /// A header field is named twice.
    #[error("{0} is named twice")]
    Twice(nic_flow::Field),
    /// A value has bits outside its mask.
    #[error("{0} has bits outside its mask")]
    OutsideMask(nic_flow::Field),
    /// There are more than fit.
    #[error("more than {0}")]
    TooMany(usize),
    /// A list is not in ascending order, or names something twice.
    #[error("not in ascending order, or not without repetition")]
    Order,
    /// An IP address is not of the family, or not in the network, that others of the object ask for.
    #[error("of another IP version or network than it must be")]
    Network,
    /// An action has no place in this object.
    #[error("{0} has no place here")]
    Misplaced(&'static str),
}

/// A problem of one field, before it is known in which object.
pub(crate) struct Bad {
    field: &'static str,
    problem: Problem,
}

impl Bad {
    const fn new(field: &'static str, problem: Problem) -> Bad {
        Bad { field, problem }
    }

    fn in_object(self, object: impl Into<String>) -> ObjectError {
        ObjectError { object: object.into(), field: self.field, problem: self.problem }
    }
}

fn mac(field: &'static str, bytes: &[u8]) -> Result<nic_flow::MacAddr, Bad> {
    bytes.try_into().map(nic_flow::MacAddr).map_err(|_| Bad::new(field, Problem::Range))
}

/// The address of one station: no group address, and not zero.
fn station(field: &'static str, bytes: &[u8]) -> Result<nic_flow::MacAddr, Bad> {
    let mac = mac(field, bytes)?;
    if mac.is_unicast() { Ok(mac) } else { Err(Bad::new(field, Problem::Range)) }
}

fn ip(field: &'static str, octets: &[u8]) -> Result<IpAddr, Bad> {
    let range = |_| Bad::new(field, Problem::Range);
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).map(IpAddr::from).map_err(range),
        _ => <[u8; 16]>::try_from(octets).map(IpAddr::from).map_err(range),
    }
}

fn ip_octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A number that must lie in a range.
fn within<T: TryFrom<u32>>(field: &'static str, value: u32, range: RangeInclusive<u32>) -> Result<T, Bad> {
    let bad = || Bad::new(field, Problem::Range);
    if range.contains(&value) { T::try_from(value).map_err(|_| bad()) } else { Err(bad()) }
}

fn port(field: &'static str, bits: u32) -> Result<nic_flow::PortId, Bad> {
    u16::try_from(bits).map(nic_flow::PortId::from_bits).map_err(|_| Bad::new(field, Problem::Range))
}

#[cfg(test)]
mod tests;
