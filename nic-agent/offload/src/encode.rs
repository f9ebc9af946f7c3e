//! A rule of the flow IR as items and actions.
//!
//! Only what every supported card takes is used: an explicit source port, Ethernet, one VLAN tag,
//! IPv4, IPv6, ARP, TCP, UDP, ICMP, VXLAN and the same chain once more behind it, a counter and one fate.
//! An item in the pattern means that its header is there and whole, which is what the status fields of
//! the key say.

mod actions;
mod pattern;
mod rest;

use dpdk::DevId;
use dpdk::flow::{Action, Item};
use nic_flow::seam::Refusal;
use nic_flow::{PortId, Rule};

/// A rule as `rte_flow` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The pattern, without its end.
    pub pattern: Vec<Item>,
    /// The actions, without their end; the first one counts.
    pub actions: Vec<Action>,
}

/// Encodes a rule. `device` says which DPDK port stands for a port of the E-Switch.
///
/// # Errors
/// The field or the action that has no exact encoding, or the port that is not there.
pub fn encode(rule: &Rule, device: impl Fn(PortId) -> Option<DevId>) -> Result<Encoded, Refusal> {
    let find = |port| device(port).ok_or(Refusal::NoPort(port));
    Ok(Encoded { pattern: pattern::encode(&rule.matches, &find)?, actions: actions::encode(rule, &find)? })
}

#[cfg(test)]
mod tests;
