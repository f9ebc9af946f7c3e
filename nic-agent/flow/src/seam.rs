//! The seams: what the slow path asks of packets and of the E-Switch's rules.
//!
//! The slow path is written against these traits and nothing else. `nic-datapath` binds them to DPDK;
//! tests and simulations bind them to memory. A binding adds no meaning of its own.

use core::fmt;

use crate::action::Action;
use crate::field::Field;
use crate::rule::{Counters, Rule};
use crate::{PortId, Shape};

/// Packets in one burst.
pub const BURST: usize = 32;

/// A bounded batch of packets.
pub type Burst<B> = heapless::Vec<B, BURST>;

/// What is known of a packet's layer-4 checksum: of the outer one, if the packet is a tunnel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumState {
    /// The checksum stands in the packet; a rewrite updates it.
    #[default]
    Complete,
    /// The sender left the checksum to the card: the field holds the pseudo-header's sum only
    /// (uncomplemented), and whoever sends the packet on a wire completes it.
    Partial,
}

/// One packet, contiguous.
pub trait PacketBuf {
    /// The frame, from the destination MAC address on, without frame check sequence.
    fn data(&self) -> &[u8];

    /// The frame, writable.
    fn data_mut(&mut self) -> &mut [u8];

    /// Makes the frame `n` bytes longer at its front; the new bytes hold anything.
    ///
    /// # Errors
    /// [`NoHeadroom`] if the buffer has no room; the frame is as it was.
    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom>;

    /// Takes `n` bytes off the front. `n` is at most the frame's length.
    fn trim_front(&mut self, n: usize);

    /// What is known of the layer-4 checksum.
    fn checksum(&self) -> ChecksumState;

    /// The layer-4 checksum stands in the packet from now on.
    fn set_checksum_complete(&mut self);
}

/// A buffer had no room in front of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHeadroom;

impl fmt::Display for NoHeadroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no headroom in the packet buffer")
    }
}

impl core::error::Error for NoHeadroom {}

/// Receives what the E-Switch did not forward and sends to its ports, by their representors. Sending
/// by a representor passes no rule.
pub trait PacketIo {
    /// A packet owned by whoever holds it.
    type Buf: PacketBuf;

    /// The ports, in a fixed order. A port that goes away stays in the list and is silent.
    fn ports(&self) -> &[PortId];

    /// Takes what a port has for the slow path, up to the room in `burst`. Returns how many came.
    fn receive(&mut self, port: PortId, burst: &mut Burst<Self::Buf>) -> usize;

    /// Sends the front of `burst` out of a port. What could not be sent stays in `burst`, in order.
    /// Returns how many went. A port that does not exist takes nothing.
    fn send(&mut self, port: PortId, burst: &mut Burst<Self::Buf>) -> usize;

    /// A copy of a packet in a buffer of its own; `None` if there is no buffer left.
    fn copy(&mut self, packet: &Self::Buf) -> Option<Self::Buf>;

    /// A packet of the agent's own; `None` if there is no buffer left or the frame does not fit.
    fn allocate(&mut self, frame: &[u8]) -> Option<Self::Buf>;
}

/// Puts rules into the E-Switch. Every call may block and may fail; only the offload thread calls.
pub trait RuleSink {
    /// A rule in the E-Switch. It is destroyed by [`RuleSink::destroy`] and by nothing else.
    type Handle;

    /// Creates a transfer rule that counts its packets.
    ///
    /// # Errors
    /// Why not; the E-Switch is as it was.
    fn create(&mut self, rule: &Rule) -> Result<Self::Handle, Refusal>;

    /// Destroys a rule. Its last packets are in the counters that come back.
    ///
    /// # Errors
    /// The handle comes back if the card did not take it: the rule may still forward.
    fn destroy(&mut self, handle: Self::Handle) -> Result<Counters, DestroyError<Self::Handle>>;

    /// The packets a rule has forwarded since its creation, as far as the card tells by now.
    ///
    /// # Errors
    /// The card's errno.
    fn query(&mut self, handle: &Self::Handle) -> Result<Counters, Errno>;
}

/// A rule that would not be destroyed, with its handle.
pub struct DestroyError<H> {
    /// The rule.
    pub handle: H,
    /// Why.
    pub errno: Errno,
}

impl<H> fmt::Debug for DestroyError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestroyError").field("errno", &self.errno).finish_non_exhaustive()
    }
}

/// A positive error number of the system, as a driver gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// An input or output error: the device itself failed.
    pub const EIO: Errno = Errno(5);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

/// Why a rule is not in the E-Switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No encoding exists for bits of this field.
    Field(Field),
    /// No encoding exists for this action, here or at its place in the list.
    Action(ActionKind),
    /// The rule sends to more than one port, and the card takes one destination.
    ManyOutputs,
    /// The rule sends to a port that the card does not have.
    NoPort(PortId),
    /// Rules of this shape stay in software by design.
    Shape(Shape),
    /// The card is full (ENOSPC, ENOMEM). Another try may pass once rules are gone.
    Full,
    /// The card is busy (EAGAIN, EBUSY). Another try may pass soon.
    Busy,
    /// The card has an identical match (EEXIST).
    Exists,
    /// The driver refused an item of the pattern.
    DriverItem {
        /// Index in the pattern.
        index: u16,
        /// The driver's error.
        errno: Errno,
    },
    /// The driver refused an action.
    DriverAction {
        /// Index in the action list.
        index: u16,
        /// The driver's error.
        errno: Errno,
    },
    /// The driver refused the rule as a whole.
    Driver(Errno),
}

impl Refusal {
    /// True if the same rule may pass later: the card has no room or no time, or failed (EIO), which says
    /// nothing of the rule.
    pub const fn is_transient(self) -> bool {
        matches!(self, Refusal::Full | Refusal::Busy | Refusal::Driver(Errno::EIO))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Field(field) => write!(f, "the card cannot match {field} as the flow needs it"),
            Refusal::Action(kind) => write!(f, "the card cannot do {} there", kind.name()),
            Refusal::ManyOutputs => f.write_str("the card takes one destination a rule"),
            Refusal::NoPort(port) => write!(f, "the card has no port {port}"),
            Refusal::Shape(shape) => write!(f, "flows of shape {shape} stay in software"),
            Refusal::Full => f.write_str("the card's rule table is full"),
            Refusal::Busy => f.write_str("the card was busy"),
            Refusal::Exists => f.write_str("the card holds an identical match"),
            Refusal::DriverItem { index, errno } => write!(f, "the driver refused item {index} ({errno})"),
            Refusal::DriverAction { index, errno } => {
                write!(f, "the driver refused action {index} ({errno})")
            }
            Refusal::Driver(errno) => write!(f, "the driver refused the rule ({errno})"),
        }
    }
}

impl core::error::Error for Refusal {}

/// An [`Action`] without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionKind {
    /// [`Action::Output`].
    Output,
    /// [`Action::PushVlan`].
    PushVlan,
    /// [`Action::PopVlan`].
    PopVlan,
    /// [`Action::SetVlanVid`].
    SetVlanVid,
    /// [`Action::SetVlanPcp`].
    SetVlanPcp,
    /// [`Action::SetEthSrc`].
    SetEthSrc,
    /// [`Action::SetEthDst`].
    SetEthDst,
    /// [`Action::SetIpSrc`].
    SetIpSrc,
    /// [`Action::SetIpDst`].
    SetIpDst,
    /// [`Action::SetIpDscp`].
    SetIpDscp,
    /// [`Action::SetIpTtl`].
    SetIpTtl,
    /// [`Action::DecIpTtl`].
    DecIpTtl,
    /// [`Action::SetL4Src`].
    SetL4Src,
    /// [`Action::SetL4Dst`].
    SetL4Dst,
    /// [`Action::SetIpEcn`].
    SetIpEcn,
    /// [`Action::EncapVxlan`].
    EncapVxlan,
    /// [`Action::DecapVxlan`].
    DecapVxlan,
    /// [`Action::Flood`].
    Flood,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: &'static [ActionKind] = &[
        ActionKind::Output,
        ActionKind::PushVlan,
        ActionKind::PopVlan,
        ActionKind::SetVlanVid,
        ActionKind::SetVlanPcp,
        ActionKind::SetEthSrc,
        ActionKind::SetEthDst,
        ActionKind::SetIpSrc,
        ActionKind::SetIpDst,
        ActionKind::SetIpDscp,
        ActionKind::SetIpTtl,
        ActionKind::DecIpTtl,
        ActionKind::SetL4Src,
        ActionKind::SetL4Dst,
        ActionKind::SetIpEcn,
        ActionKind::EncapVxlan,
        ActionKind::DecapVxlan,
        ActionKind::Flood,
    ];

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<ActionKind> {
        ActionKind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The name used in text.
    pub const fn name(self) -> &'static str {
        match self {
            ActionKind::Output => "output",
            ActionKind::PushVlan => "push_vlan",
            ActionKind::PopVlan => "pop_vlan",
            ActionKind::SetVlanVid => "set_vlan_vid",
            ActionKind::SetVlanPcp => "set_vlan_pcp",
            ActionKind::SetEthSrc => "set_eth_src",
            ActionKind::SetEthDst => "set_eth_dst",
            ActionKind::SetIpSrc => "set_ip_src",
            ActionKind::SetIpDst => "set_ip_dst",
            ActionKind::SetIpDscp => "set_ip_dscp",
            ActionKind::SetIpTtl => "set_ip_ttl",
            ActionKind::DecIpTtl => "dec_ip_ttl",
            ActionKind::SetL4Src => "set_l4_src",
            ActionKind::SetL4Dst => "set_l4_dst",
            ActionKind::SetIpEcn => "set_ip_ecn",
            ActionKind::EncapVxlan => "encap_vxlan",
            ActionKind::DecapVxlan => "decap_vxlan",
            ActionKind::Flood => "flood",
        }
    }
}

impl From<&Action> for ActionKind {
    fn from(action: &Action) -> ActionKind {
        match action {
            Action::Output(_) => ActionKind::Output,
            Action::PushVlan { .. } => ActionKind::PushVlan,
            Action::PopVlan => ActionKind::PopVlan,
            Action::SetVlanVid(_) => ActionKind::SetVlanVid,
            Action::SetVlanPcp(_) => ActionKind::SetVlanPcp,
            Action::SetEthSrc(_) => ActionKind::SetEthSrc,
            Action::SetEthDst(_) => ActionKind::SetEthDst,
            Action::SetIpSrc(_) => ActionKind::SetIpSrc,
            Action::SetIpDst(_) => ActionKind::SetIpDst,
            Action::SetIpDscp(_) => ActionKind::SetIpDscp,
            Action::SetIpTtl(_) => ActionKind::SetIpTtl,
            Action::DecIpTtl => ActionKind::DecIpTtl,
            Action::SetL4Src(_) => ActionKind::SetL4Src,
            Action::SetL4Dst(_) => ActionKind::SetL4Dst,
            Action::SetIpEcn(_) => ActionKind::SetIpEcn,
            Action::EncapVxlan(_) => ActionKind::EncapVxlan,
            Action::DecapVxlan => ActionKind::DecapVxlan,
            Action::Flood(_) => ActionKind::Flood,
        }
    }
}
