//! What an audit of the E-Switch's rules found: the values that `nicctl flows --audit` shows.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use nic_flow::Match;

macro_rules! discrepancies {
    ($( $kind:ident: $name:literal, $text:literal; )*) => {
        /// How a flow and its rule may differ.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Discrepancy { $( #[doc = $text] $kind, )* }

        impl Discrepancy {
            /// Every kind.
            pub const ALL: &'static [Discrepancy] = &[$(Discrepancy::$kind),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $( Discrepancy::$kind => $name, )* }
            }

            /// One line for people.
            pub const fn describe(self) -> &'static str {
                match self { $( Discrepancy::$kind => $text, )* }
            }
        }
    };
}

discrepancies! {
    Missing: "missing", "A flow counts on a rule of which no handle is held.";
    Stray: "stray", "A rule's handle is held, and no flow counts on the rule.";
    Unanswered: "unanswered", "A rule is in the E-Switch, and its flow was not told.";
    Stuck: "stuck", "The card does not destroy a rule, however often it is asked.";
    Unreadable: "unreadable", "The card does not tell a rule's counters.";
}

impl Discrepancy {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in arrays.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Discrepancy> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// True if the datapath can put it right by itself. The others are the card's.
    pub const fn is_repairable(self) -> bool {
        matches!(self, Discrepancy::Missing | Discrepancy::Stray | Discrepancy::Unanswered)
    }
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many rules differ in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditCount {
    /// Rules that did when the audit began.
    pub found: u64,
    /// Of those, rules that did not any more when it ended.
    pub repaired: u64,
}

/// One rule that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFinding {
    /// How.
    pub discrepancy: Discrepancy,
    /// The packets of its flow; `None` if no flow is known.
    pub matches: Option<Match>,
    /// True if it did not differ any more when the audit ended.
    pub repaired: bool,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// Flows with a rule, or with one on its way in or out.
    pub flows: u64,
    /// Rules whose handle is held, or that wait to be created.
    pub rules: u64,
    /// By [`Discrepancy::index`].
    pub counts: [AuditCount; Discrepancy::COUNT],
    /// Some of what was found.
    pub findings: Vec<AuditFinding>,
    /// Packets that came to the slow path though their flow's rule should have taken them, since
    /// nic-datapath started.
    pub lost_rule_hits: u64,
    /// Rules that were installed again because of that or because they were missing.
    pub rules_reinstalled: u64,
    /// How long ago the last of those was; `None` if there was none.
    pub last_reinstalled: Option<Duration>,
}

impl AuditReport {
    /// Discrepancies that were there when the audit ended.
    pub fn remaining(&self) -> u64 {
        self.counts.iter().map(|count| count.found.saturating_sub(count.repaired)).sum()
    }
}
