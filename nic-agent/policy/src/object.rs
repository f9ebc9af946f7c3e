//! Policy objects: what the datapath translates packets by.

use alloc::vec::Vec;
use core::net::IpAddr;

use nic_flow::{ActionList, MacAddr, Match, PortId};

/// Source MAC addresses that a port may be restricted to, at most.
pub const MAX_PORT_MACS: usize = 16;

/// The policy of one port. A device without this object is closed: nothing enters, nothing leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The port; also the object's id.
    pub id: PortId,
    /// False closes the port in both directions.
    pub enabled: bool,
    /// If set, packets that enter must carry one of these source MAC addresses, and ARP packets the
    /// same as their sender hardware address. An empty list lets nothing enter.
    pub source_macs: Option<heapless::Vec<MacAddr, MAX_PORT_MACS>>,
    /// The bridges that frames from this port may enter, and that reach it.
    pub bridges: Attachment,
    /// Whether source MAC addresses that enter here are learned by the bridges.
    pub learning: bool,
    /// MAC addresses that the bridges learn from this port, at most, all bridges together.
    pub mac_limit: u32,
    /// Copies a second of broadcast, unknown and multicast frames that entered by this port, at most.
    pub flood_budget: u32,
}

/// How a port takes part in bridges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attachment {
    /// The bridge of untagged frames.
    pub access: Option<BridgeId>,
    /// Bridges of tagged frames, each by its VLAN. Sorted by VLAN, no VLAN twice.
    pub trunk: Vec<Trunk>,
}

/// One VLAN of a trunk port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trunk {
    /// 1 to 4094 (IEEE 802.1Q clause 9.6).
    pub vid: u16,
    /// The bridge of frames with that tag.
    pub bridge: BridgeId,
}

/// The stable id of a bridge, handed out once by nic-agent's store and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BridgeId(pub u64);

/// The stable id of a VTEP, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VtepId(pub u64);

/// A bridge: one broadcast domain. Its ports name it ([`Port::bridges`]), its tunnel peers too
/// ([`TunnelPeer::bridges`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge's id.
    pub id: BridgeId,
    /// The overlay network that it is a part of, if it is one.
    pub overlay: Option<Overlay>,
    /// Whether a frame to an unknown unicast address goes to every member; else it is dropped.
    pub flood_unknown: bool,
    /// Seconds after which a learned address that nobody sends from is forgotten.
    pub ageing_time: u32,
    /// Whether ARP requests and neighbour solicitations for addresses that are known are answered
    /// instead of flooded.
    pub suppression: bool,
}

/// Where a bridge's frames go into tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Overlay {
    /// The tunnel endpoint of this card.
    pub vtep: VtepId,
    /// VXLAN network identifier, 1 to 16777215. One bridge for each VNI of a VTEP.
    pub vni: u32,
}

/// A tunnel endpoint of this card: an address in the underlay network. The datapath answers ARP and
/// neighbour discovery for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vtep {
    /// The VTEP's id.
    pub id: VtepId,
    /// The uplink to the underlay network.
    pub uplink: PortId,
    /// The VLAN of the underlay network, 1 to 4094; `None` for untagged.
    pub vlan: Option<u16>,
    /// The MAC address that the VTEP has there. No other VTEP of the uplink has it.
    pub mac: MacAddr,
    /// The VTEP's address: the outer source of what it sends.
    pub address: IpAddr,
    /// Bits of `address` that the network on the link shares.
    pub prefix_length: u8,
    /// The next hop towards peers outside that network; of the family of `address`, and inside it.
    pub gateway: Option<IpAddr>,
    /// Outer time to live or hop limit, 1 to 255.
    pub ttl: u8,
    /// Outer DSCP, 0 to 63.
    pub dscp: u8,
}

/// A tunnel endpoint elsewhere. What comes from any other address is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPeer {
    /// The VTEP that speaks with it; with the address the object's id.
    pub vtep: VtepId,
    /// Its address: the outer source of what it sends.
    pub address: IpAddr,
    /// The bridges that it is a member of: it gets what is flooded there. Sorted, none twice.
    pub bridges: Vec<BridgeId>,
    /// Whether source MAC addresses that come from it are learned.
    pub learning: bool,
    /// MAC addresses that are learned from it, at most, all bridges together.
    pub mac_limit: u32,
}

/// A MAC address at a fixed place of a bridge. It is not learned elsewhere, and frames from elsewhere
/// with it as their source are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbEntry {
    /// The bridge; with the address the object's id.
    pub bridge: BridgeId,
    /// The address of one station.
    pub mac: MacAddr,
    /// Where the station is.
    pub place: Place,
    /// IP addresses of the station: what suppression answers with.
    pub addresses: Vec<IpAddr>,
}

/// Where a station of a bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Behind a port that is attached to the bridge.
    Port(PortId),
    /// Behind a tunnel peer of the bridge's VTEP, by the peer's address.
    Peer(IpAddr),
}

/// The stable id of a flow rule, handed out once by nic-agent's store and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowRuleId(pub u64);

/// A flow rule: of all that match a packet, the one of the highest [`Rank`] says what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRule {
    /// The rule's id.
    pub id: FlowRuleId,
    /// 0 to 65535, higher wins (OpenFlow 1.3 section 5.3).
    pub priority: u16,
    /// The packets. A match on a field comes with its prerequisites.
    pub matches: Match,
    /// What happens to them; a list without output drops.
    pub actions: ActionList,
}

/// The total order of flow rules, the winner greatest. OpenFlow leaves rules of equal priority that
/// overlap undefined; here the rule that matches more bits wins, then the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: u16,
    bits: u32,
    older: core::cmp::Reverse<FlowRuleId>,
}

impl FlowRule {
    /// The rule's place in the total order.
    pub fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            bits: self.matches.mask().count(),
            older: core::cmp::Reverse(self.id),
        }
    }
}

/// A policy object.
#[expect(clippy::large_enum_variant, reason = "most objects are flow rules; a box would be one more to each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The policy of one port.
    Port(Port),
    /// A flow rule.
    FlowRule(FlowRule),
    /// A bridge.
    Bridge(Bridge),
    /// A tunnel endpoint of this card.
    Vtep(Vtep),
    /// A tunnel endpoint elsewhere.
    TunnelPeer(TunnelPeer),
    /// A MAC address at a fixed place.
    FdbEntry(FdbEntry),
}

/// The id of a policy object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectId {
    /// The policy of one port.
    Port(PortId),
    /// A flow rule.
    FlowRule(FlowRuleId),
    /// A bridge.
    Bridge(BridgeId),
    /// A tunnel endpoint of this card.
    Vtep(VtepId),
    /// A tunnel endpoint elsewhere.
    TunnelPeer(VtepId, IpAddr),
    /// A MAC address at a fixed place.
    FdbEntry(BridgeId, MacAddr),
}

impl Object {
    /// The object's id.
    pub const fn id(&self) -> ObjectId {
        match self {
            Object::Port(port) => ObjectId::Port(port.id),
            Object::FlowRule(rule) => ObjectId::FlowRule(rule.id),
            Object::Bridge(bridge) => ObjectId::Bridge(bridge.id),
            Object::Vtep(vtep) => ObjectId::Vtep(vtep.id),
            Object::TunnelPeer(peer) => ObjectId::TunnelPeer(peer.vtep, peer.address),
            Object::FdbEntry(entry) => ObjectId::FdbEntry(entry.bridge, entry.mac),
        }
    }
}
