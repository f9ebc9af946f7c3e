//! The services, one file each.

mod capability;
mod config;
mod flow;
mod flow_rule;
mod mask;
mod port;
mod stats;
mod status;
mod trace;

pub(crate) use capability::Capabilities;
pub(crate) use config::Config;
pub(crate) use flow::Flows;
pub(crate) use flow_rule::FlowRules;
pub(crate) use port::Ports;
pub(crate) use stats::Statistics;
pub(crate) use status::SystemState;
pub(crate) use trace::Traces;
