//! The probe: all that a stage can see of a packet and of the policy.
//!
//! Its fields are private to this module, so a stage cannot look at a bit without the bit being in the
//! mask, nor at a table without the consultation being among the dependencies. Whoever reads a field
//! has read its prerequisites too.

use nic_flow::field::L3;
use nic_flow::field::L4;
use nic_flow::{Action, Field, FlowKey, FlowMask, Match, PortId};
use nic_policy::{DropReason, ObjectId, Port};

use crate::dependency::{Dependency, Table, by_port};
use crate::origin::Origins;
use crate::rules::{Found, Reader};
use crate::snapshot::Snapshot;

#[cfg(test)]
mod tests;

/// The parts of a key, in the order in which headers are read. A part can be malformed, and then so
/// is what lies behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The ingress port.
    Port,
    /// MAC addresses and VLAN tags.
    Ethernet,
    /// The EtherType behind the VLAN tags.
    EtherType,
    /// IPv4, IPv6, ARP.
    L3,
    /// TCP, UDP, ICMP.
    L4,
}

impl Layer {
    /// Every layer, in order.
    pub(crate) const ALL: [Layer; 5] = [Layer::Port, Layer::Ethernet, Layer::EtherType, Layer::L3, Layer::L4];

    /// The layer that a field belongs to.
    pub(crate) const fn of(field: Field) -> Layer {
        match field {
            Field::InPort => Layer::Port,
            Field::EthDst
            | Field::EthSrc
            | Field::VlanCount
            | Field::VlanTpid
            | Field::VlanTci
            | Field::InnerVlanTpid
            | Field::InnerVlanTci => Layer::Ethernet,
            Field::EthType => Layer::EtherType,
            Field::L3
            | Field::IpFrag
            | Field::IpProto
            | Field::IpTos
            | Field::IpTtl
            | Field::IpSrc
            | Field::IpDst
            | Field::ArpSha
            | Field::ArpTha => Layer::L3,
            Field::L4 | Field::TcpFlags | Field::L4Src | Field::L4Dst => Layer::L4,
        }
    }
}

/// [`Field::VlanCount`] of a packet whose tags are truncated or nested too deep.
pub(crate) const VLANS_MALFORMED: u128 = 3;

/// A packet on its way through the stages.
#[derive(Debug)]
pub struct Probe<'s> {
    key: FlowKey,
    origins: Origins,
    vlans_malformed: bool,
    read: FlowMask,
    policy: &'s Snapshot,
    dependencies: Vec<Dependency>,
    objects: Vec<ObjectId>,
}

/// What was recorded.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) read: FlowMask,
    pub(crate) dependencies: Vec<Dependency>,
}

impl<'s> Probe<'s> {
    pub(crate) fn new(key: &FlowKey, policy: &'s Snapshot) -> Probe<'s> {
        Probe {
            key: *key,
            origins: Origins::arrived(),
            vlans_malformed: key.get(Field::VlanCount) == VLANS_MALFORMED,
            read: FlowMask::EMPTY,
            policy,
            dependencies: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Ends the way. Every rule of the E-Switch names its ingress port, so it counts as read.
    pub(crate) fn finish(mut self) -> Record {
        self.record(Field::InPort, u128::MAX);
        Record { read: self.read.with_prerequisites(), dependencies: self.dependencies }
    }

    /// The bits of the arrived packet that were read so far.
    pub(crate) fn read_so_far(&self) -> FlowMask {
        self.read.with_prerequisites()
    }

    /// The objects found since the last call.
    pub(crate) fn take_objects(&mut self) -> Vec<ObjectId> {
        core::mem::take(&mut self.objects)
    }

    /// The port by which the packet entered.
    pub fn in_port(&mut self) -> PortId {
        PortId::from_bits(self.read(Field::InPort) as u16)
    }

    /// A field, as it is after the actions so far.
    pub fn read(&mut self, field: Field) -> u128 {
        self.record(field, u128::MAX);
        self.key.get(field)
    }

    /// True if one of these bits of a field is set. Reads one set bit, or all of them if none is.
    pub fn any_bit(&mut self, field: Field, bits: u128) -> bool {
        let set = self.key.get(field) & bits;
        let read = if set == 0 { bits } else { 1 << set.ilog2() };
        self.record(field, read);
        set != 0
    }

    /// The policy of a port.
    pub fn port(&mut self, port: PortId) -> Option<&'s Port> {
        self.depend(Table::Ports, by_port(port));
        let found = self.policy.port(port);
        if found.is_some() {
            self.objects.push(ObjectId::Port(port));
        }
        found
    }

    /// True if the port's device is there.
    pub fn device(&mut self, port: PortId) -> bool {
        self.depend(Table::Devices, by_port(port));
        self.policy.has_device(port)
    }

    /// The flow rule of the highest rank among those that match the packet.
    pub(crate) fn flow_rule(&mut self) -> Option<Found<'s>> {
        let policy = self.policy;
        let mut lookup = Lookup { probe: self, consulted: FlowMask::EMPTY };
        let found = policy.rules().lookup(&mut lookup);
        let consulted = Match::new(lookup.probe.key, lookup.consulted);
        self.depend(Table::FlowRules, consulted);
        if let Some(found) = &found {
            self.objects.push(ObjectId::FlowRule(found.rule.id));
        }
        found
    }

    /// Makes sure that a layer and all in front of it can be read: that parsing the packet that arrived
    /// got as far. (A tag pushed since then hides nothing.)
    pub(crate) fn whole(&mut self, layer: Layer) -> Result<(), DropReason> {
        if layer >= Layer::EtherType {
            self.read.add(Field::VlanCount, u128::MAX);
            if self.vlans_malformed {
                return Err(DropReason::MalformedVlan);
            }
        }
        if layer >= Layer::L3 && L3::from_bits(self.read(Field::L3)) == L3::Malformed {
            return Err(DropReason::MalformedL3);
        }
        if layer >= Layer::L4 && L4::from_bits(self.read(Field::L4)) == L4::Malformed {
            return Err(DropReason::MalformedL4);
        }
        Ok(())
    }

    /// Rewrites the key as an action rewrites the packet. The caller has read that the packet has a
    /// place for it.
    pub(crate) fn rewrite(&mut self, action: &Action) {
        action.rewrite(&mut self.key);
        self.origins.follow(action);
    }

    fn depend(&mut self, table: Table, matches: Match) {
        let dependency = Dependency { table, matches };
        if !self.dependencies.contains(&dependency) {
            self.dependencies.push(dependency);
        }
    }

    fn record(&mut self, field: Field, bits: u128) {
        let origin = self.origins.of(field);
        let own = bits & origin.own & field.max();
        if own == 0 {
            return;
        }
        self.read.add(origin.field, if origin.computed { u128::MAX } else { own });
        for &needed in field.prerequisites() {
            self.record(needed, u128::MAX);
        }
    }
}

#[cfg(feature = "testing")]
impl Probe<'_> {
    /// Reads a field and does not say so: what no stage may do.
    #[doc(hidden)]
    pub fn peek(&self, field: Field) -> u128 {
        self.key.get(field)
    }

    /// Forgets what was consulted last: what no stage may do.
    #[doc(hidden)]
    pub fn forget(&mut self, table: Table) {
        self.dependencies.retain(|dependency| dependency.table != table);
    }
}

/// One consultation of the flow rules.
struct Lookup<'p, 's> {
    probe: &'p mut Probe<'s>,
    consulted: FlowMask,
}

impl Reader for Lookup<'_, '_> {
    fn read(&mut self, mask: &FlowMask) -> FlowKey {
        for field in mask.fields() {
            self.probe.record(field, mask.get(field));
        }
        self.consulted |= *mask;
        self.probe.key & *mask
    }

    /// What is found malformed is not among the bits that were consulted: a rule asks for a whole
    /// header, and yet it is the one that decides over the packet (see [`crate::rules`]).
    fn whole(&mut self, layer: Layer) -> Result<(), DropReason> {
        self.probe.whole(layer)
    }
}
