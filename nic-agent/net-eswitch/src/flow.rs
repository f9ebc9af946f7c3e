//! The flow operations of a port, behind the C calling convention.

use dpdk_sys::rte_flow_attr;
use nic_flow::Counters;
use soft_eswitch::{DestroyError, QueryError, RuleHandle};

use crate::decode::raw::{Item, RawAction};
use crate::decode::{self, At, Attributes, Decoded, Fault};
use crate::ethdev::Ethdev;

impl Ethdev {
    fn decode(&self, attr: &rte_flow_attr, items: &[Item], actions: &[RawAction]) -> Result<Decoded, Fault> {
        let attributes = Attributes {
            group: attr.group,
            priority: attr.priority,
            ingress: attr.ingress() != 0,
            egress: attr.egress() != 0,
            transfer: attr.transfer() != 0,
            reserved: attr.reserved() != 0,
        };
        let port_of = |number| self.device.port_of_ethdev(number);
        decode::decode(attributes, items, actions, self.device.card.switch.profile(), self.port.id, &port_of)
    }

    pub(crate) fn validate(
        &self,
        attr: &rte_flow_attr,
        items: &[Item],
        actions: &[RawAction],
    ) -> Result<(), Fault> {
        let decoded = self.decode(attr, items, actions)?;
        let profile = self.device.card.switch.profile();
        self.device.card.switch.validate(&decoded.rule).map_err(|error| decoded.refusal(profile, error))
    }

    /// Creates a rule and gives its handle, never 0.
    pub(crate) fn create(
        &self,
        attr: &rte_flow_attr,
        items: &[Item],
        actions: &[RawAction],
    ) -> Result<u64, Fault> {
        let decoded = self.decode(attr, items, actions)?;
        if !self.port.representor.is_started() {
            // A stopped port has no rules: those it had were flushed.
            return Err(Fault {
                at: At::Rule,
                errno: libc::ENODEV,
                message: "the port is not started".into(),
            });
        }
        let profile = self.device.card.switch.profile();
        let created = self.device.card.call(|switch| switch.create(self.port.id, decoded.rule.clone()));
        created.map(RuleHandle::to_bits).map_err(|error| decoded.refusal(profile, error))
    }

    pub(crate) fn destroy(&self, handle: u64) -> Result<(), Fault> {
        let handle = self.handle(handle)?;
        match self.device.card.call(|switch| switch.destroy(handle)) {
            Ok(_) => Ok(()),
            Err(DestroyError::NoRule) => Err(no_rule()),
            Err(DestroyError::Failed(failure)) => Err(Fault::of_card(failure)),
        }
    }

    pub(crate) fn flush(&self) {
        self.device.card.switch.flush(self.port.id);
    }

    pub(crate) fn query(&self, handle: u64, reset: bool) -> Result<Counters, Fault> {
        let handle = self.handle(handle)?;
        let card = &self.device.card;
        let counters =
            card.call(|switch| if reset { switch.query_and_reset(handle) } else { switch.query(handle) });
        counters.map_err(|error| match error {
            QueryError::NoRule => no_rule(),
            QueryError::Failed(failure) => Fault::of_card(failure),
            QueryError::NotCounted => Fault::invalid(At::Action { index: 0 }, "the rule has no count action"),
        })
    }

    /// A handle is good on the port that created it, as rte_flow.h has it.
    fn handle(&self, bits: u64) -> Result<RuleHandle, Fault> {
        let handle = RuleHandle::from_bits(bits);
        if handle.owner() == self.port.id { Ok(handle) } else { Err(no_rule()) }
    }
}

fn no_rule() -> Fault {
    Fault { at: At::Handle, errno: libc::ENOENT, message: "the port has no such rule".into() }
}
