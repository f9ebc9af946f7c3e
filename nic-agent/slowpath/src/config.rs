//! What a worker and an installer may be told.

use core::time::Duration;

/// The bounds and times of a [`Worker`](crate::Worker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// A random number: whoever sends packets must not be able to guess it (see
    /// [`nic_table::hash::Seed`]).
    pub seed: u64,
    /// False keeps every flow in software.
    pub offload: bool,
    /// Megaflows in the cache, at most. Packets of further flows are forwarded and not cached.
    pub flows: u32,
    /// Megaflows that one port may hold of those, so that one tenant cannot fill the cache.
    pub flows_per_port: u32,
    /// Megaflows of the full-key shape, at most.
    pub full_key_flows: u32,
    /// Rules in the E-Switch, at most, those on their way in or out counted.
    pub rules: u32,
    /// A flow that no packet used for so long is taken out. Never shorter in effect than twice
    /// [`Config::counter_staleness`]: a flow in hardware is known to be used by its counter only.
    pub idle_timeout: Duration,
    /// How old a hardware counter may be when it arrives.
    pub counter_staleness: Duration,
    /// How long packets of a flow may still reach the slow path after its rule was created: they were
    /// on their way. Later ones are the sign of a lost rule.
    pub rule_grace: Duration,
    /// After so many of those its rule is removed and installed again.
    pub lost_rule_hits: u32,
    /// A flow that the card refused for a while, or that found the quota used up, is offered again
    /// after so long.
    pub retry_after: Duration,
    /// The whole flow table is looked over for idle flows once in this time.
    pub sweep_interval: Duration,
    /// What a port may use up in one round: a packet that hits the cache costs 1.
    pub port_quantum: u32,
    /// What a packet that has to be translated costs.
    pub upcall_cost: u32,
    /// Flows that are translated again in one round after a change of policy. Others wait for the
    /// next round, or for a packet of theirs: that is translated by the new policy in any case.
    pub revalidations: u32,
    /// MAC addresses that are learned, at most, in all bridges together.
    pub fdb_entries: u32,
    /// Moves of one learned MAC address in one [`Config::fdb_move_window`], at most. Beyond them it stays
    /// where it is until the window is over: frames from elsewhere are forwarded and not learned. With 0
    /// an address stays until it is forgotten.
    pub fdb_moves: u32,
    /// The time in which moves are counted: it begins when the address is learned, and again with the
    /// first move after it is over.
    pub fdb_move_window: Duration,
    /// Next hops of one VTEP that are known or asked for, at most.
    pub neighbors_per_vtep: u32,
    /// The wait for an answer before a next hop's address is asked for again.
    pub neighbor_interval: Duration,
    /// Questions without an answer after which a next hop is given up; at least 1.
    pub neighbor_tries: u32,
    /// How long an answer holds. A next hop in use is asked again so early that all tries fit before.
    pub neighbor_reachable: Duration,
    /// How long packets to a next hop that was given up are dropped before one of them makes it asked
    /// for again.
    pub neighbor_failed: Duration,
    /// Packets that wait for one next hop's address, at most.
    pub waiting_per_neighbor: u32,
    /// Packets that wait for addresses, at most, for all next hops together.
    pub waiting: u32,
    /// How often a VTEP that is new is announced.
    pub announcements: u32,
    /// The time between two announcements.
    pub announcement_interval: Duration,
    /// Stations of one bridge whose IP addresses are kept for suppression, at most.
    pub stations_per_bridge: u32,
    /// How long a station's IP address is kept after it was last told.
    pub station_lifetime: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 0,
            offload: true,
            flows: 65_536,
            flows_per_port: 32_768,
            full_key_flows: 4_096,
            rules: 65_536,
            idle_timeout: Duration::from_secs(10),
            counter_staleness: Duration::from_secs(2),
            rule_grace: Duration::from_millis(100),
            lost_rule_hits: 16,
            retry_after: Duration::from_secs(5),
            sweep_interval: Duration::from_secs(1),
            port_quantum: 64,
            upcall_cost: 16,
            revalidations: 256,
            fdb_entries: 65_536,
            fdb_moves: 8,
            fdb_move_window: Duration::from_secs(10),
            neighbors_per_vtep: 1_024,
            neighbor_interval: Duration::from_secs(1),
            neighbor_tries: 3,
            neighbor_reachable: Duration::from_secs(30),
            neighbor_failed: Duration::from_secs(5),
            waiting_per_neighbor: 32,
            waiting: 512,
            announcements: 2,
            announcement_interval: Duration::from_secs(2),
            stations_per_bridge: 1_024,
            station_lifetime: Duration::from_secs(120),
        }
    }
}

impl Config {
    pub(crate) fn idle_nanos(&self) -> u64 {
        nanos(self.idle_timeout.max(self.counter_staleness * 2))
    }
}

/// The times and bounds of an [`Installer`](crate::Installer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstallerConfig {
    /// Calls to the card in one [`poll`](crate::Installer::poll), at most: creations, destructions
    /// and queries together.
    pub calls_per_poll: u32,
    /// Every rule's counter is read once in this time.
    pub counter_interval: Duration,
    /// The wait after the first transient refusal; it doubles with each further one.
    pub retry_first: Duration,
    /// The longest wait between two tries.
    pub retry_longest: Duration,
    /// Tries to create a rule, at most; then the last refusal is the answer. Destruction is tried for ever.
    pub create_tries: u32,
}

impl Default for InstallerConfig {
    fn default() -> InstallerConfig {
        InstallerConfig {
            calls_per_poll: 128,
            counter_interval: Duration::from_secs(1),
            retry_first: Duration::from_millis(1),
            retry_longest: Duration::from_secs(1),
            create_tries: 6,
        }
    }
}

/// A time as nanoseconds since the caller's epoch: 584 years are enough.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
