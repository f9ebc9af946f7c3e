//! Policy objects: what the datapath translates packets by.

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
}

/// The id of a policy object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectId {
    /// The policy of one port.
    Port(PortId),
    /// A flow rule.
    FlowRule(FlowRuleId),
}

impl Object {
    /// The object's id.
    pub const fn id(&self) -> ObjectId {
        match self {
            Object::Port(port) => ObjectId::Port(port.id),
            Object::FlowRule(rule) => ObjectId::FlowRule(rule.id),
        }
    }
}
