//! What the datapath learned from packets: the values that `nicctl fdb` and `nicctl neighbors` show.

use core::net::IpAddr;
use core::time::Duration;

use nic_flow::MacAddr;

use crate::object::{BridgeId, Place, VtepId};

/// A MAC address that a bridge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbView {
    /// The bridge.
    pub bridge: BridgeId,
    /// The address.
    pub mac: MacAddr,
    /// Where its station is.
    pub place: Place,
    /// `None` for an entry of the configuration; else how long ago a packet with it as its source was
    /// last seen.
    pub idle: Option<Duration>,
}

/// Who asked for a neighbour's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// The underlay of a VTEP: the datapath resolves it.
    Underlay(VtepId),
    /// A bridge: seen in the ARP and neighbour discovery of its stations, and used for suppression.
    Bridge(BridgeId),
}

/// What is known of a neighbour (RFC 4861 section 7.3.2, for ARP as well).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeighborState {
    /// Asked for, and no answer yet.
    Incomplete,
    /// Confirmed not long ago.
    Reachable,
    /// Being asked again; its address is used meanwhile.
    Probe,
    /// Nobody answered.
    Failed,
}

impl NeighborState {
    /// Every state.
    pub const ALL: &'static [NeighborState] =
        &[NeighborState::Incomplete, NeighborState::Reachable, NeighborState::Probe, NeighborState::Failed];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            NeighborState::Incomplete => "incomplete",
            NeighborState::Reachable => "reachable",
            NeighborState::Probe => "probe",
            NeighborState::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<NeighborState> {
        NeighborState::ALL.iter().copied().find(|state| state.name() == name)
    }
}

/// An IP address and the MAC address it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborView {
    /// Where.
    pub network: Network,
    /// The IP address.
    pub address: IpAddr,
    /// Its MAC address, if one is known.
    pub mac: Option<MacAddr>,
    /// What is known.
    pub state: NeighborState,
    /// Since it was last confirmed, or, if it never was, since it was first asked for.
    pub age: Duration,
}
