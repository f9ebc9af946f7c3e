//! Counters of the datapath, as a plain value that crosses threads and processes.

use alloc::vec::Vec;
use core::time::Duration;

use nic_flow::{Counters, PortId};

use crate::drop::DropReason;
use crate::trace::Stage;

/// What the slow path counted for one port since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStats {
    /// The port.
    pub port: PortId,
    /// True if its device is there.
    pub present: bool,
    /// Packets that came to the slow path from this port.
    pub slow_path: Counters,
    /// Packets that the slow path sent to this port.
    pub sent: Counters,
    /// Packets from this port that were translated: upcalls.
    pub upcalls: u64,
    /// Packets from this port that hit the software flow cache.
    pub cache_hits: u64,
    /// Packets from this port that E-Switch rules forwarded, as far as counters were read.
    pub hardware: Counters,
    /// Drops of packets from this port, by [`DropReason::index`].
    pub drops: [u64; DropReason::COUNT],
    /// Megaflows in the software cache that enter by this port, now.
    pub flows: u64,
    /// Of those, flows that a rule of the E-Switch forwards.
    pub rules: u64,
    /// Flows of this port that were taken out of the cache because another port had less than its share.
    pub evicted: u64,
    /// Rules of this port that were taken out of the E-Switch because another port had less than its
    /// share; their flows went on in software.
    pub rules_evicted: u64,
    /// The slow path's time that went into packets from this port.
    pub busy: Duration,
    /// Copies that floods made of packets from this port: what was used of its budget.
    pub flooded: u64,
}

impl PortStats {
    /// No packet yet.
    pub const fn new(port: PortId) -> PortStats {
        PortStats {
            port,
            present: false,
            slow_path: Counters { packets: 0, bytes: 0 },
            sent: Counters { packets: 0, bytes: 0 },
            upcalls: 0,
            cache_hits: 0,
            hardware: Counters { packets: 0, bytes: 0 },
            drops: [0; DropReason::COUNT],
            flows: 0,
            rules: 0,
            evicted: 0,
            rules_evicted: 0,
            busy: Duration::ZERO,
            flooded: 0,
        }
    }
}

/// What one stage of the pipeline said of the packets that were translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageStats {
    /// Packets that passed.
    pub passed: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Packets that the agent took for itself, or that had to wait for a neighbour.
    pub held: u64,
}

/// How the E-Switch kept its rules, beyond how many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleStats {
    /// Packets that came to the slow path though their flow's rule should have taken them: each is the
    /// sign of a rule that is lost or lags behind.
    pub lost_hits: u64,
    /// Rules that were removed and installed again because they seemed lost.
    pub reinstalled: u64,
    /// Creations that the card refused for a while.
    pub postponed: u64,
    /// Destructions that the card did not take.
    pub destroy_failures: u64,
    /// Counters that could not be read.
    pub query_failures: u64,
    /// Rules that no flow owned and audits took out.
    pub strays_removed: u64,
    /// Rules that wait for another try to create them, now.
    pub waiting: u64,
    /// Rules that the card does not destroy, however often it is asked, now.
    pub stuck: u64,
    /// Rules whose counters could not be read the last time, now.
    pub unreadable: u64,
}

/// A snapshot of all counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// By port, in the order of the ports.
    pub ports: Vec<PortStats>,
    /// By [`Stage::index`].
    pub stages: [StageStats; Stage::COUNT],
    /// Megaflows in the software cache.
    pub flows: u64,
    /// Of those, flows that a rule of the E-Switch forwards.
    pub flows_in_hardware: u64,
    /// Rules created in the E-Switch.
    pub rules_created: u64,
    /// Rules destroyed in the E-Switch.
    pub rules_destroyed: u64,
    /// Rules that the E-Switch or the encoder refused.
    pub rules_refused: u64,
    /// Flows that were translated again after a change of policy.
    pub revalidated: u64,
    /// Flows that were forwarded without being cached, because the cache was full.
    pub cache_full: u64,
    /// MAC addresses that bridges have learned and not forgotten.
    pub fdb_entries: u64,
    /// Addresses learned, since the start.
    pub fdb_learned: u64,
    /// Addresses that were learned at one place and then at another.
    pub fdb_moved: u64,
    /// Addresses forgotten because nobody sent from them.
    pub fdb_aged: u64,
    /// Addresses that were not learned because a limit was reached.
    pub fdb_refused: u64,
    /// Copies that floods made.
    pub flooded: u64,
    /// ARP and neighbour discovery packets that the agent answered, for itself and for bridges.
    pub answered: u64,
    /// Requests for the MAC addresses of next hops that the agent sent.
    pub solicited: u64,
    /// How the E-Switch kept its rules.
    pub rules: RuleStats,
}
