//! Where packets leave the switch.

use nic_flow::PortId;
use nic_flow::seam::PacketBuf;

/// Takes the packets that leave. Whoever binds the switch to devices implements it.
///
/// Both ways out should queue and return, for a change of rules is complete only once the bursts that
/// began before it have ended. For the same reason they must change no rules themselves: such a change
/// would wait for its own burst.
pub trait Egress<B: PacketBuf> {
    /// Takes a packet that leaves by a port.
    ///
    /// # Errors
    /// Why it did not leave; the packet is gone, and the switch counts it.
    fn transmit(&mut self, port: PortId, packet: B) -> Result<(), Unsent>;

    /// Takes a packet that no rule matched, for whoever reads the representor of the port it entered.
    ///
    /// # Errors
    /// Why it was not taken; the packet is gone, and the switch counts it.
    fn to_representor(&mut self, port: PortId, packet: B) -> Result<(), Unsent>;

    /// A copy in a buffer of its own, for a rule with several outputs; `None` if there is no buffer.
    fn copy(&mut self, packet: &B) -> Option<B>;
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// The queue is full.
    Full,
    /// No packet buffer is left for the copy that the way out needs.
    NoBuffer,
    /// The port or the representor is down, stopped or gone.
    Down,
}
