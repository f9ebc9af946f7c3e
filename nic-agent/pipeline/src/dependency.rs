//! What a translation depends on, and what a change touches.

use core::net::IpAddr;

use nic_flow::{MacAddr, Match, PortId};
use nic_policy::{BridgeId, VtepId};

/// One consultation of a table, hit or miss: the bits by which it was consulted, *as that stage saw
/// them*. After a rewrite or a decapsulation that is another key than the packet's at its arrival.
///
/// Equal consultations are equal values, so whoever keeps many flows interns them. A change names what
/// it touched in the same words.
#[expect(
    clippy::large_enum_variant,
    reason = "a translation has one of the large ones; a box would be an allocation to each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The policy of a port, whether the packet entered by it or would leave by it.
    Port(PortId),
    /// Whether a port's device is there.
    Device(PortId),
    /// Flow rules, looked up by the packet.
    FlowRules(Match),
    /// Which VTEPs are on an uplink, and all that makes them.
    Vteps(PortId),
    /// A VTEP, and all that makes it.
    Vtep(VtepId),
    /// Which bridge a VNI of a VTEP is.
    Vni(VtepId, u32),
    /// A tunnel peer.
    TunnelPeer(VtepId, IpAddr),
    /// A bridge, and who is a member of it.
    Bridge(BridgeId),
    /// Where a MAC address is, by configuration or learned.
    Fdb(BridgeId, MacAddr),
    /// A next hop's MAC address.
    Neighbor(VtepId, IpAddr),
}

/// A part of a table in which a later state may answer otherwise than an earlier one.
pub type Touched = Dependency;

impl Dependency {
    /// True if the consultation may come out otherwise after the change.
    pub fn is_touched_by(&self, touched: &Touched) -> bool {
        match (self, touched) {
            (Dependency::FlowRules(read), Dependency::FlowRules(changed)) => read.overlaps(changed),
            _ => self == touched,
        }
    }

    /// True if only an equal consultation is touched by this change: it is found by its value.
    pub const fn is_exact(&self) -> bool {
        !matches!(self, Dependency::FlowRules(_))
    }
}
