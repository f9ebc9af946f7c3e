//! nic.datapath.v1 to the types of `nic-flow` and `nic-policy`, and back.
//!
//! Header fields travel by name and value, so that two versions of the table of fields understand each
//! other; a name that this build does not know is an error, and the whole message is refused.

mod flow;
mod object;
mod report;

pub use flow::{actions_from, actions_to, key_from, key_to, match_from, match_to};
pub use object::{change_from, change_to, object_ref_from, object_ref_to};
pub use report::{
    TraceReport, capabilities_from, capabilities_to, device_from, device_to, flow_from, flow_to, stats_from,
    stats_to, trace_from, trace_to,
};

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

fn port(field: &'static str, bits: u32) -> Result<nic_flow::PortId, Bad> {
    u16::try_from(bits).map(nic_flow::PortId::from_bits).map_err(|_| Bad::new(field, Problem::Range))
}

#[cfg(test)]
mod tests;
