//! What a worker and the offload thread say to each other.

use nic_flow::seam::{Errno, Refusal};
use nic_flow::{Counters, Rule, RuleId};

/// What a worker asks of the offload thread. Requests about one id are to be carried out in order;
/// every id is installed once at most and removed once at most.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request is made when the offload thread takes it, and boxing the rule would allocate on the worker"
)]
pub enum Request {
    /// Puts a rule into the E-Switch. Answered by [`Completion::Installed`] or
    /// [`Completion::Refused`], unless the removal comes first.
    Install {
        /// The name of the rule.
        id: RuleId,
        /// The rule.
        rule: Rule,
    },
    /// Takes the rule out again, whatever became of its installation. Answered by exactly one
    /// [`Completion::Removed`], and that is the last word about this id.
    Remove {
        /// The name of the rule.
        id: RuleId,
    },
}

/// What the offload thread answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// The rule is in the E-Switch.
    Installed {
        /// The name of the rule.
        id: RuleId,
    },
    /// The rule is not in the E-Switch, and will not be tried again.
    Refused {
        /// The name of the rule.
        id: RuleId,
        /// Why.
        refusal: Refusal,
    },
    /// The rule is not in the E-Switch any more, or never was.
    Removed {
        /// The name of the rule.
        id: RuleId,
        /// All that it ever forwarded.
        counters: Counters,
    },
    /// The card did not destroy the rule. It is tried again; until then it forwards.
    RemoveFailed {
        /// The name of the rule.
        id: RuleId,
        /// The card's error.
        errno: Errno,
    },
    /// Counters of rules, each since the rule was created. Rules that forwarded nothing since the
    /// last time are left out.
    Counted(Vec<(RuleId, Counters)>),
}
