//! `rte_flow` rules to rules of the switch.
//!
//! The decoder reads the language of DPDK's rte_flow.h and nothing of any encoder. What it does not
//! understand, down to one bit of a mask, it refuses: [`Fault`] says what is at fault.

mod actions;
mod encap;
mod fault;
mod fragment;
mod items;
pub(crate) mod raw;
#[cfg(test)]
mod tests;

use nic_flow::PortId;
use soft_eswitch::{CreateError, Profile, RuleFault, SwitchRule};

pub(crate) use fault::{At, Fault, Part, lasting};
use items::Pattern;
use raw::{Item, RawAction};

/// The attributes of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) group: u32,
    pub(crate) priority: u32,
    pub(crate) ingress: bool,
    pub(crate) egress: bool,
    pub(crate) transfer: bool,
    pub(crate) reserved: bool,
}

/// A rule that was read, with what leads from the switch's faults back to items and actions.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) rule: SwitchRule,
    pattern: Pattern,
    origins: Vec<usize>,
}

/// Reads a rule. `port` is the one by which it is created.
pub(crate) fn decode(
    attributes: Attributes,
    items: &[Item],
    raw: &[RawAction],
    profile: Profile,
    port: PortId,
    port_of: &dyn Fn(u32) -> Option<PortId>,
) -> Result<Decoded, Fault> {
    check_attributes(attributes)?;
    let pattern = items::decode(items, port, port_of)?;
    if profile == Profile::Portable {
        check_portable(items, raw)?;
    }
    let actions = actions::decode(raw, &pattern, port_of)?;
    let rule = SwitchRule {
        priority: attributes.priority,
        matches: pattern.matches,
        actions: actions.list,
        count: actions.count,
    };
    Ok(Decoded { rule, pattern, origins: actions.origins })
}

fn check_attributes(attributes: Attributes) -> Result<(), Fault> {
    let Attributes { group, ingress, egress, transfer, reserved, .. } = attributes;
    if reserved {
        return Err(Fault::invalid(At::Attr, "a reserved bit"));
    }
    // First of all: foreign programs try ingress rules next, and their authors look for the reason.
    if !transfer {
        return Err(Fault::unsupported(At::Transfer, "only transfer rules are supported"));
    }
    if ingress {
        return Err(Fault::unsupported(At::Ingress, "a transfer rule is not an ingress rule"));
    }
    if egress {
        return Err(Fault::unsupported(At::Egress, "a transfer rule is not an egress rule"));
    }
    if group != 0 {
        return Err(Fault::unsupported(At::Group, "only group 0 is supported"));
    }
    Ok(())
}

/// The source port must be named, and ports by the item and action that all cards take: what the
/// switch cannot see in its own language.
fn check_portable(items: &[Item], raw: &[RawAction]) -> Result<(), Fault> {
    for (index, item) in items.iter().enumerate() {
        if matches!(item, Item::PortId(_)) {
            let at = At::Item { index, part: Part::Type };
            return Err(Fault::unsupported(at, "profile portable: use represented_port"));
        }
    }
    if !items.iter().any(|item| matches!(item, Item::RepresentedPort(_))) {
        return Err(Fault::unsupported(At::Pattern, "profile portable: a represented_port item is needed"));
    }
    let port_id = raw.iter().position(|action| matches!(action, RawAction::PortId { .. }));
    match port_id {
        Some(index) => {
            Err(Fault::unsupported(At::Action { index }, "profile portable: use represented_port"))
        }
        None => Ok(()),
    }
}

impl Decoded {
    /// The switch's refusal, in terms of items and actions.
    pub(crate) fn refusal(&self, profile: Profile, error: CreateError) -> Fault {
        let fault = match error {
            CreateError::Exists(_) => {
                let message = error.to_string().into();
                return Fault { at: At::Rule, errno: libc::EEXIST, message };
            }
            CreateError::Full { .. } | CreateError::NoCounter { .. } => {
                let message = error.to_string().into();
                return Fault { at: At::Rule, errno: libc::ENOSPC, message };
            }
            CreateError::Failed(failure) => return Fault::of_card(failure),
            CreateError::Unsupported(fault) => fault,
        };
        match fault {
            RuleFault::Priority { max } => {
                let message = format!("profile {profile}: the greatest priority is {max}");
                Fault::unsupported(At::Priority, message)
            }
            RuleFault::Field { field, fault } => {
                let at = At::Item { index: self.pattern.origin(field), part: Part::Type };
                Fault::unsupported(at, format!("profile {profile}: {field} {fault}"))
            }
            RuleFault::Action { index, kind, fault } => {
                let index = self.origins.get(index).copied().unwrap_or(0);
                Fault::unsupported(
                    At::Action { index },
                    format!("profile {profile}: {}: {fault}", kind.name()),
                )
            }
        }
    }
}
