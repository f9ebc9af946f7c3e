//! What a card can do: found out once at start, by asking it, and shown to whoever asks.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{MacAddr, PortId, Shape};

/// Where a flow's packets are forwarded, and why not by the E-Switch if they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offload {
    /// The flow was sent to the E-Switch and there is no answer yet.
    Pending,
    /// A rule of the E-Switch forwards it.
    Hardware,
    /// The slow path forwards it.
    Software(SoftwareReason),
}

/// Why a flow stays in software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SoftwareReason {
    /// The card cannot take it, or did not.
    Refused(Refusal),
    /// The rules of the flow table's quota are used up.
    Quota,
    /// Stale rules that overlap it are still on their way out.
    Overlap,
    /// Offload is switched off.
    Disabled,
}

impl SoftwareReason {
    /// The stable name, used in counters and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            SoftwareReason::Refused(Refusal::Field(_)) => "field",
            SoftwareReason::Refused(Refusal::Action(_)) => "action",
            SoftwareReason::Refused(Refusal::ManyOutputs) => "many_outputs",
            SoftwareReason::Refused(Refusal::NoPort(_)) => "no_port",
            SoftwareReason::Refused(Refusal::Shape(_)) => "shape",
            SoftwareReason::Refused(Refusal::Full) => "card_full",
            SoftwareReason::Refused(Refusal::Busy) => "card_busy",
            SoftwareReason::Refused(Refusal::Exists) => "exists",
            SoftwareReason::Refused(
                Refusal::DriverItem { .. } | Refusal::DriverAction { .. } | Refusal::Driver(_),
            ) => "driver",
            SoftwareReason::Quota => "quota",
            SoftwareReason::Overlap => "overlap",
            SoftwareReason::Disabled => "disabled",
        }
    }
}

impl fmt::Display for SoftwareReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SoftwareReason::Refused(refusal) => refusal.fmt(f),
            SoftwareReason::Quota => f.write_str("the quota of rules is used up"),
            SoftwareReason::Overlap => f.write_str("stale rules that overlap it are on their way out"),
            SoftwareReason::Disabled => f.write_str("offload is switched off"),
        }
    }
}

/// One line of the capability table: a shape with one kind of action, tried on the card at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The shape.
    pub shape: Shape,
    /// The action, besides the one output every rule has.
    pub action: ActionKind,
    /// True for packets of IPv6, false for IPv4.
    pub ipv6: bool,
    /// `None` if the card can; else why it cannot.
    pub refused: Option<Refusal>,
}

/// The capability table with what it was found on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapabilityTable {
    /// The DPDK driver of the ports.
    pub driver: String,
    /// DPDK's version as it reports itself.
    pub dpdk_version: String,
    /// One for each shape, kind of action and IP version.
    pub rows: Vec<Capability>,
}

/// A port of the E-Switch that the datapath drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The port.
    pub port: PortId,
    /// Whether it reports a link.
    pub link_up: bool,
    /// In octets.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: MacAddr,
}
