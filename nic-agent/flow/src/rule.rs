//! A rule as the E-Switch takes it, and how its owners name it.

use crate::{ActionList, Match};

/// A match and what happens to its packets. The agent's rules have no priority: megaflows of one
/// state agree where they overlap, so the order in which hardware looks at them does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The packets.
    pub matches: Match,
    /// What happens to them.
    pub actions: ActionList,
}

/// The name by which the flow's owner (a worker) and the rule's owner (the offload thread) speak of
/// the same megaflow. A slot is used again, a generation is not: a late word about an old generation
/// finds nobody and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Index in the flow table of the worker.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// What was counted on a rule since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of those packets, Ethernet header included, frame check sequence not.
    pub bytes: u64,
}

impl Counters {
    /// Adds a packet.
    #[inline]
    pub const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// What came since `earlier`; zero where a counter went backwards.
    #[must_use]
    pub const fn since(self, earlier: Counters) -> Counters {
        Counters {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl core::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}
