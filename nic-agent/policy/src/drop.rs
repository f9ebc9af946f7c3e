//! Why packets are dropped: one registry, each reason with a stable name that counters, traces and
//! the documentation share. A packet that is not forwarded is counted under exactly one of these.

use core::fmt;

macro_rules! reasons {
    ($( $reason:ident: $name:literal, $text:literal; )*) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $( #[doc = $text] $reason, )* }

        impl DropReason {
            /// Every reason, in the order of the registry.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$reason),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $( DropReason::$reason => $name, )* }
            }

            /// One line for people.
            pub const fn describe(self) -> &'static str {
                match self { $( DropReason::$reason => $text, )* }
            }
        }
    };
}

reasons! {
    PortUnconfigured: "port.unconfigured", "The packet entered by a port that no Port resource opens.";
    PortDisabled: "port.disabled", "The packet entered by a port that is administratively down.";
    SourceMac: "port.source_mac", "The source MAC address is not one that the port may use.";
    ArpSender: "port.arp_sender", "The sender hardware address of an ARP packet is not one that the port may use.";
    NoRule: "flow_rules.no_match", "No FlowRule matches the packet, and its port is attached to no bridge.";
    RuleDrop: "flow_rules.drop", "The FlowRule that matches the packet drops it.";
    TunnelPeerUnknown: "tunnel.unknown_peer", "A VXLAN packet to a VTEP comes from an address that is none of its TunnelPeers.";
    TunnelVniUnknown: "tunnel.unknown_vni", "A VXLAN packet to a VTEP has a VNI that no bridge has, or one whose bridge its TunnelPeer is not a member of.";
    TunnelMalformed: "tunnel.malformed", "A packet to a VTEP's UDP port 4789 has no whole VXLAN header with a valid VNI and an Ethernet header behind it.";
    TunnelCongestion: "tunnel.congestion", "The outer header is marked as congested, and the frame in the tunnel cannot be (RFC 6040 section 4.2).";
    TunnelNotOurs: "tunnel.not_tunnel", "A packet to a VTEP is neither VXLAN nor ARP or neighbour discovery.";
    TunnelNoRoute: "tunnel.no_route", "The tunnel peer is outside the VTEP's network, and the VTEP has no gateway.";
    NeighborUnresolved: "neighbor.unresolved", "Nobody answered for the next hop's address.";
    NeighborQueueFull: "neighbor.queue_full", "Too many packets wait for the address of a next hop, or this one gave its place to a port of which fewer wait.";
    BridgeVlan: "bridge.vlan", "The frame's VLAN tag is none of the port's bridges, or a second tag would leave by a port without one.";
    BridgeSource: "bridge.source_mac", "The source MAC address is a group address or zero.";
    BridgeReserved: "bridge.reserved", "The destination is one that bridges do not forward (IEEE 802.1Q clause 8.6.3).";
    BridgeStaticMoved: "bridge.static_moved", "The source MAC address is at another place by a FdbEntry.";
    BridgeSamePlace: "bridge.same_place", "The destination is behind the port by which the frame entered.";
    BridgeSplitHorizon: "bridge.split_horizon", "The frame came out of a tunnel and would go into one.";
    BridgeUnknown: "bridge.unknown_unicast", "The destination is not known, and the bridge does not flood such frames.";
    BridgeNoMember: "bridge.no_member", "The bridge has no other member to flood the frame to.";
    FloodBudget: "bridge.flood_budget", "The port has used up its budget of flooded copies.";
    MalformedVlan: "malformed.vlan", "A stage reads behind the VLAN tags, and they are truncated or nested too deep.";
    MalformedL3: "malformed.l3", "A stage reads the IPv4, IPv6 or ARP header, and it is truncated or contradicts itself.";
    MalformedL4: "malformed.l4", "A stage reads the TCP, UDP or ICMP header, and it is truncated or contradicts itself.";
    TtlExpired: "ttl.expired", "An action takes one from a time to live or hop limit that is at most 1.";
    OutputUnconfigured: "output.unconfigured", "The packet would leave by a port that no Port resource opens.";
    OutputDisabled: "output.disabled", "The packet would leave by a port that is administratively down.";
    OutputAbsent: "output.absent", "The packet would leave by a port whose device is not there.";
    OutputIngress: "output.ingress", "The packet would leave by the port it entered (OpenFlow 1.3 section 4.5).";
    TransmitFull: "transmit.full", "The transmit queue of the output port is full.";
    NoBuffer: "transmit.no_buffer", "No packet buffer is left for the copy that a second output needs.";
    NoHeadroom: "transmit.no_headroom", "The packet buffer has no room for the header that an action adds.";
    TransmitError: "transmit.error", "The output port refused the frame, for example because it is longer than the port's MTU allows.";
    Undersized: "receive.undersized", "The frame is shorter than an Ethernet header.";
    ReceiveMissed: "receive.missed", "The slow path did not fetch the packet in time, and the port's receive queue was full.";
    ReceiveNoBuffer: "receive.no_buffer", "No packet buffer was left to receive into.";
    ReceiveError: "receive.error", "The port refused the frame: it was damaged, or longer than a packet buffer.";
    ReceiveMultiSegment: "receive.segments", "The frame came in several buffers and does not fit into one.";
    ManagementSource: "management.source", "The packet has the source MAC address of the card's own management and is not from there, or is from there and has another, or another VLAN.";
    ManagementFull: "management.full", "The card's management interface takes no more frames: their rate is above its limit, its queue is full, or it is down.";
}

impl DropReason {
    /// How many reasons there are: the length of a table indexed by [`DropReason::index`].
    pub const COUNT: usize = DropReason::ALL.len();

    /// Index in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<DropReason> {
        DropReason::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(DropReason::from_name(reason.name()), Some(reason));
            assert_eq!(reason.index(), index);
        }
    }
}
