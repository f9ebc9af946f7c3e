//! The card's own management in band: set at start, and no policy.

use nic_flow::{MacAddr, PortId};

/// Where the card's own management is reached in band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Management {
    /// The uplink by which its frames come and go.
    pub uplink: PortId,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The VLAN that its frames are tagged with at the uplink and at the exception port; none for untagged
    /// ones.
    pub vlan: Option<u16>,
}
