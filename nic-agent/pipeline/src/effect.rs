//! What is to happen beside forwarding: translation only says so, the slow path does it afterwards.

use core::net::IpAddr;

use nic_flow::MacAddr;
use nic_policy::{BridgeId, Network, Place, VtepId};

/// A change to what was learned, found necessary by a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The source of the packet is not known, or was known elsewhere.
    Learn {
        /// Where it was seen.
        bridge: BridgeId,
        /// The source.
        mac: MacAddr,
        /// The place it is at now.
        place: Place,
    },
    /// The MAC address of a next hop is needed.
    Resolve {
        /// Whose next hop.
        vtep: VtepId,
        /// Its address.
        address: IpAddr,
    },
}

/// ARP or neighbour discovery that the slow path has to look into, packet by packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inspection {
    /// For whom. The underlay of a VTEP is that of all VTEPs with its uplink and VLAN.
    pub network: Network,
    /// Where the packet came from; for the underlay, the uplink.
    pub place: Place,
    /// True if it is about the frame in the tunnel, not about the one around it.
    pub tunnelled: bool,
}
