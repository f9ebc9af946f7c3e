//! The services, one file each; what those of resources have in common stands in [`collection`].

mod bridge;
mod capability;
mod collection;
mod config;
mod diff;
mod fdb_entry;
mod flow;
mod flow_rule;
mod learned;
mod mask;
mod port;
mod stats;
mod status;
mod system;
mod trace;
mod tunnel_peer;
mod vtep;
mod watch;

pub(crate) use bridge::Bridges;
pub(crate) use capability::Capabilities;
pub(crate) use config::Config;
pub(crate) use fdb_entry::FdbEntries;
pub(crate) use flow::Flows;
pub(crate) use flow_rule::FlowRules;
pub(crate) use learned::Learned;
pub(crate) use port::Ports;
pub(crate) use stats::Statistics;
pub(crate) use status::SystemState;
pub(crate) use system::System;
pub(crate) use trace::Traces;
pub(crate) use tunnel_peer::TunnelPeers;
pub(crate) use vtep::Vteps;
pub(crate) use watch::Watches;
