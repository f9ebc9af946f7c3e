//! Transfer rules, and why one is refused.

use std::fmt;

use nic_flow::field::Field;
use nic_flow::seam::ActionKind;
use nic_flow::{ActionList, Match, PortId};

use crate::faults::Failure;

/// A transfer rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRule {
    /// 0 is looked at first, as in `rte_flow`.
    pub priority: u32,
    /// The packets.
    pub matches: Match,
    /// What happens to them; a list without output drops.
    pub actions: ActionList,
    /// True if the rule counts its packets.
    pub count: bool,
}

/// The name of a rule in the switch. It is never used again: after the rule is destroyed it names
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleHandle {
    owner: PortId,
    serial: u64,
}

const SERIAL_BITS: u32 = 48;

impl RuleHandle {
    pub(crate) const fn new(owner: PortId, serial: u64) -> RuleHandle {
        RuleHandle { owner, serial }
    }

    /// The first and the last handle that rules of a port can have.
    pub(crate) const fn range(owner: PortId) -> std::ops::RangeInclusive<RuleHandle> {
        RuleHandle::new(owner, 0)..=RuleHandle::new(owner, u64::MAX)
    }

    /// The port by which the rule was created: a flush of this port destroys it.
    pub const fn owner(self) -> PortId {
        self.owner
    }

    pub(crate) const fn serial(self) -> u64 {
        self.serial
    }

    /// The handle as a number that is never 0, for a caller whose handles are pointers.
    pub const fn to_bits(self) -> u64 {
        (self.owner.bits() as u64) << SERIAL_BITS | self.serial
    }

    /// The handle that such a number came from; any number is safe and at worst names no rule.
    pub const fn from_bits(bits: u64) -> RuleHandle {
        let owner = PortId::from_bits((bits >> SERIAL_BITS) as u16);
        RuleHandle { owner, serial: bits & ((1 << SERIAL_BITS) - 1) }
    }
}

/// Why a rule was not created. The switch is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateError {
    /// The switch cannot do what the rule says.
    Unsupported(RuleFault),
    /// A rule of the same priority and match is there.
    Exists(RuleHandle),
    /// The rules that the switch can hold are there.
    Full {
        /// How many that is.
        max_rules: usize,
    },
    /// The rules that count which the switch can hold are there. Only a [fault](crate::Faults) limits them.
    NoCounter {
        /// How many that is.
        max_counters: usize,
    },
    /// A [fault](crate::Faults).
    Failed(Failure),
}

/// What the switch cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFault {
    /// The priority is a number above the greatest that the profile has.
    Priority {
        /// The greatest.
        max: u32,
    },
    /// A field of the match.
    Field {
        /// The field at fault.
        field: Field,
        /// What is wrong.
        fault: FieldFault,
    },
    /// An action.
    Action {
        /// Its index in the list.
        index: usize,
        /// What it is.
        kind: ActionKind,
        /// What is wrong.
        fault: ActionFault,
    },
}

/// What is wrong with a field of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldFault {
    /// The field cannot be matched.
    Unsupported,
    /// The field must be matched by every rule, and is not.
    Missing,
    /// The field cannot be matched by these bits: all or none for most, a prefix for addresses.
    Mask,
    /// The field cannot be matched with this value.
    Value,
    /// The field can be matched only together with this other one, and a value of it that gives this
    /// field its meaning.
    Needs(Field),
}

/// What is wrong with an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionFault {
    /// The action cannot be done.
    Unsupported,
    /// The action cannot be done with this value.
    Value,
    /// The switch has no such port.
    NoPort(PortId),
    /// The rule has a destination already.
    SecondOutput,
    /// The action stands behind the destination.
    AfterOutput,
    /// The rule has no destination, so the packet that the action changes goes nowhere.
    NoOutput,
    /// The rule pushes or pops a tag already.
    SecondTag,
    /// A tag can be changed only right behind the push of it.
    NotPushed,
    /// The rule puts a tunnel on or takes one off already.
    SecondTunnel,
    /// The action stands behind the encapsulation, and only an output can.
    AfterTunnel,
    /// Another action stands in front of the decapsulation.
    NotFirst,
    /// A packet that was put into a tunnel can leave by an uplink only.
    NotUplink,
    /// The action can be done only if the rule matches this field, with a value that gives the action
    /// its meaning.
    Needs(Field),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Unsupported(fault) => fault.fmt(f),
            CreateError::Exists(_) => f.write_str("a rule of this priority and match exists"),
            CreateError::Full { max_rules } => write!(f, "the switch holds its {max_rules} rules"),
            CreateError::NoCounter { max_counters } => {
                write!(f, "the switch has its {max_counters} counters in use")
            }
            CreateError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for CreateError {}

impl From<RuleFault> for CreateError {
    fn from(fault: RuleFault) -> CreateError {
        CreateError::Unsupported(fault)
    }
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleFault::Priority { max } => write!(f, "the greatest priority is {max}"),
            RuleFault::Field { field, fault } => write!(f, "{field}: {fault}"),
            RuleFault::Action { index, kind, fault } => {
                write!(f, "action {index}, {}: {fault}", kind.name())
            }
        }
    }
}

impl std::error::Error for RuleFault {}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldFault::Unsupported => f.write_str("cannot be matched"),
            FieldFault::Missing => f.write_str("must be matched"),
            FieldFault::Mask => f.write_str("cannot be matched by this mask"),
            FieldFault::Value => f.write_str("cannot be matched with this value"),
            FieldFault::Needs(field) => write!(f, "needs a match on {field} that gives it a meaning"),
        }
    }
}

impl fmt::Display for ActionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActionFault::Unsupported => f.write_str("cannot be done"),
            ActionFault::Value => f.write_str("cannot be done with this value"),
            ActionFault::NoPort(port) => write!(f, "there is no port {port}"),
            ActionFault::SecondOutput => f.write_str("a rule has one destination"),
            ActionFault::AfterOutput => f.write_str("stands behind the destination"),
            ActionFault::NoOutput => f.write_str("the rule has no destination"),
            ActionFault::SecondTag => f.write_str("a rule pushes or pops one tag"),
            ActionFault::NotPushed => f.write_str("changes a tag that the rule has not just pushed"),
            ActionFault::SecondTunnel => f.write_str("a rule puts on or takes off one tunnel"),
            ActionFault::AfterTunnel => f.write_str("only a destination stands behind the tunnel"),
            ActionFault::NotFirst => f.write_str("stands in front of all other actions"),
            ActionFault::NotUplink => f.write_str("a tunnel leaves by an uplink"),
            ActionFault::Needs(field) => write!(f, "needs a match on {field} that gives it a meaning"),
        }
    }
}

/// Why a rule was not destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestroyError {
    /// The handle names no rule.
    NoRule,
    /// A [fault](crate::Faults): the rule is as it was.
    Failed(Failure),
}

impl fmt::Display for DestroyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestroyError::NoRule => f.write_str("there is no such rule"),
            DestroyError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for DestroyError {}

/// Why a rule's counters were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryError {
    /// The handle names no rule.
    NoRule,
    /// The rule does not count.
    NotCounted,
    /// A [fault](crate::Faults): nothing was read, and nothing set to zero.
    Failed(Failure),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::NoRule => f.write_str("there is no such rule"),
            QueryError::NotCounted => f.write_str("the rule does not count its packets"),
            QueryError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for QueryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_reads_back_from_its_bits_and_is_never_zero() {
        for owner in [PortId::from_bits(0), PortId::from_bits(0x8003), PortId::from_bits(u16::MAX)] {
            let handle = RuleHandle::new(owner, 1);
            assert_ne!(handle.to_bits(), 0);
            assert_eq!(RuleHandle::from_bits(handle.to_bits()), handle);
            assert!(RuleHandle::range(owner).contains(&handle));
        }
    }
}
