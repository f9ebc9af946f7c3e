//! Rules in the card: the binding of [`RuleSink`] to `dpdk`.

use std::collections::BTreeMap;

use dpdk::flow::{Attr, FlowError, FlowRule, Place};
use dpdk::{DevId, Port};
use nic_flow::seam::{DestroyError, Errno, Refusal, RuleSink};
use nic_flow::{Counters, PortId, Rule};

use crate::encode::{Encoded, encode};

/// The DPDK ports that stand for the ports of one E-Switch.
#[derive(Debug, Clone, Default)]
pub struct Ports(BTreeMap<PortId, DevId>);

impl Ports {
    /// The DPDK port of a port.
    pub fn device(&self, port: PortId) -> Option<DevId> {
        self.0.get(&port).copied()
    }

    /// The ports, in order.
    pub fn iter(&self) -> impl Iterator<Item = PortId> + '_ {
        self.0.keys().copied()
    }
}

impl FromIterator<(PortId, DevId)> for Ports {
    fn from_iter<I: IntoIterator<Item = (PortId, DevId)>>(ports: I) -> Ports {
        Ports(ports.into_iter().collect())
    }
}

/// Puts rules into one E-Switch, through its transfer proxy. A clone asks the same card.
#[derive(Debug, Clone)]
pub struct Sink {
    proxy: Port,
    ports: Ports,
}

impl Sink {
    /// A sink that makes its rules on `proxy`.
    pub fn new(proxy: Port, ports: Ports) -> Sink {
        Sink { proxy, ports }
    }

    /// Asks whether the card would take a rule now.
    ///
    /// # Errors
    /// Why not.
    pub fn validate(&self, rule: &Rule) -> Result<(), Refusal> {
        let Encoded { pattern, actions } = encode(rule, |port| self.ports.device(port))?;
        let result = self.proxy.validate_flow(&Attr::TRANSFER, &pattern, &actions);
        result.map_err(|error| refusal(&error))
    }

    /// The ports that rules may name.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }
}

impl RuleSink for Sink {
    type Handle = FlowRule;

    fn create(&mut self, rule: &Rule) -> Result<FlowRule, Refusal> {
        let Encoded { pattern, actions } = encode(rule, |port| self.ports.device(port))?;
        let result = self.proxy.create_flow(&Attr::TRANSFER, &pattern, &actions);
        result.map_err(|error| {
            tracing::debug!(%rule, %error, "the card refused a rule");
            refusal(&error)
        })
    }

    fn destroy(&mut self, rule: FlowRule) -> Result<Counters, DestroyError<FlowRule>> {
        // What the rule counts between this and its end is lost; a card that tells its last packets
        // tells them to no one else.
        let last = self.query(&rule);
        match rule.destroy() {
            Ok(()) => Ok(last.unwrap_or_default()),
            Err(failed) => {
                tracing::warn!(error = %failed.error, "the card did not destroy a rule");
                let errno = Errno(failed.error.errno.get());
                Err(DestroyError { handle: failed.rule, errno })
            }
        }
    }

    fn query(&mut self, rule: &FlowRule) -> Result<Counters, Errno> {
        let count = rule.query_count().map_err(|error| Errno(error.errno.get()))?;
        Ok(Counters { packets: count.packets.unwrap_or(0), bytes: count.bytes.unwrap_or(0) })
    }
}

/// A driver's refusal in the words of the flow IR.
fn refusal(error: &FlowError) -> Refusal {
    let errno = Errno(error.errno.get());
    let narrow = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
    match (errno.0, error.place) {
        (libc::ENOSPC | libc::ENOMEM, _) => Refusal::Full,
        (libc::EAGAIN | libc::EBUSY, _) => Refusal::Busy,
        (libc::EEXIST, _) => Refusal::Exists,
        (_, Place::Item { index: Some(index), .. }) => Refusal::DriverItem { index: narrow(index), errno },
        (_, Place::Action { index: Some(index), .. }) => {
            Refusal::DriverAction { index: narrow(index), errno }
        }
        _ => Refusal::Driver(errno),
    }
}
