//! The probe: all that a stage can see of a packet, of the policy and of what was learned.
//!
//! Its fields are private to this module, so a stage cannot look at a bit without the bit being in the
//! mask, nor at a table without the consultation being among the dependencies. Whoever reads a field
//! has read its prerequisites too.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nic_flow::field::{L3, L4};
use nic_flow::key::mac_from_bits;
use nic_flow::{Action, Field, FlowKey, FlowMask, MacAddr, Match, PortId};
use nic_policy::{
    Bridge, BridgeId, DropReason, FdbEntry, Management, ObjectId, Place, Port, TunnelPeer, Vtep, VtepId,
};
use nic_wire::EtherType;

use crate::dependency::Dependency;
use crate::origin::Origins;
use crate::rules::{Found, Reader};
use crate::snapshot::{Member, Snapshot};
use crate::state::{Neighbor, State};

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
    /// VXLAN.
    Tunnel,
    /// MAC addresses and VLAN tags of the frame in the tunnel.
    TunEthernet,
    /// Its EtherType behind the VLAN tags.
    TunEtherType,
    /// IPv4, IPv6, ARP in it.
    TunL3,
    /// TCP, UDP, ICMP in it.
    TunL4,
}

impl Layer {
    /// Every layer, in order.
    pub(crate) const ALL: [Layer; 10] = [
        Layer::Port,
        Layer::Ethernet,
        Layer::EtherType,
        Layer::L3,
        Layer::L4,
        Layer::Tunnel,
        Layer::TunEthernet,
        Layer::TunEtherType,
        Layer::TunL3,
        Layer::TunL4,
    ];

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
            Field::Tunnel | Field::Vni => Layer::Tunnel,
            Field::TunEthDst
            | Field::TunEthSrc
            | Field::TunVlanCount
            | Field::TunVlanTpid
            | Field::TunVlanTci
            | Field::TunInnerVlanTpid
            | Field::TunInnerVlanTci => Layer::TunEthernet,
            Field::TunEthType => Layer::TunEtherType,
            Field::TunL3
            | Field::TunIpFrag
            | Field::TunIpProto
            | Field::TunIpTos
            | Field::TunIpTtl
            | Field::TunIpSrc
            | Field::TunIpDst
            | Field::TunArpSha
            | Field::TunArpTha => Layer::TunL3,
            Field::TunL4 | Field::TunTcpFlags | Field::TunL4Src | Field::TunL4Dst => Layer::TunL4,
        }
    }
}

/// [`Field::VlanCount`] of a packet whose tags are truncated or nested too deep.
pub(crate) const VLANS_MALFORMED: u128 = 3;

/// Whether parsing the packet that arrived got behind the VLAN tags of a frame. (Tags pushed and popped
/// since then change nothing about that.)
#[derive(Debug, Clone, Copy)]
struct Tags {
    /// The field that said so; `None` for a frame that did not arrive but was put around another.
    arrived: Option<Field>,
    malformed: bool,
}

impl Tags {
    const WHOLE: Tags = Tags { arrived: None, malformed: false };

    const fn arrived(key: &FlowKey, count: Field) -> Tags {
        Tags { arrived: Some(count), malformed: key.get(count) == VLANS_MALFORMED }
    }
}

/// Where a station is, as far as is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Station<'s> {
    /// By configuration.
    pub(crate) fixed: Option<&'s FdbEntry>,
    /// By what was learned.
    pub(crate) learned: Option<Place>,
}

/// A packet on its way through the stages.
#[derive(Debug)]
pub struct Probe<'s> {
    key: FlowKey,
    origins: Origins,
    tags: Tags,
    tunnelled_tags: Tags,
    read: FlowMask,
    policy: &'s Snapshot,
    state: &'s State,
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
    pub(crate) fn new(key: &FlowKey, policy: &'s Snapshot, state: &'s State) -> Probe<'s> {
        Probe {
            key: *key,
            origins: Origins::arrived(),
            tags: Tags::arrived(key, Field::VlanCount),
            tunnelled_tags: Tags::arrived(key, Field::TunVlanCount),
            read: FlowMask::EMPTY,
            policy,
            state,
            dependencies: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// Ends the way. Every rule of the E-Switch names its ingress port, so it counts as read.
    pub(crate) fn finish(mut self) -> Record {
        self.record(Field::InPort, u128::MAX);
        Record { read: self.read, dependencies: self.dependencies }
    }

    /// The bits of the arrived packet that were read so far.
    pub(crate) const fn read_so_far(&self) -> FlowMask {
        self.read
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

    /// Some bits of a field.
    pub(crate) fn read_bits(&mut self, field: Field, bits: u128) -> u128 {
        self.record(field, bits);
        self.key.get(field) & bits
    }

    /// A MAC address field.
    pub(crate) fn mac(&mut self, field: Field) -> MacAddr {
        mac_from_bits(self.read(field))
    }

    /// An address field of the IP or ARP header. The caller has read that there is one.
    pub(crate) fn ip(&mut self, field: Field) -> IpAddr {
        let v6 = self.eth_type() == EtherType::IPV6;
        let bits = self.read(field);
        if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() }
    }

    /// The EtherType behind the VLAN tags.
    pub(crate) fn eth_type(&mut self) -> EtherType {
        EtherType(self.read(Field::EthType) as u16)
    }

    /// Where the card's own management is. It never changes, so nothing depends on it.
    pub(crate) const fn management(&self) -> Option<&'s Management> {
        self.policy.management()
    }

    /// The policy of a port.
    pub fn port(&mut self, port: PortId) -> Option<&'s Port> {
        self.depend(Dependency::Port(port));
        let found = self.policy.port(port);
        self.found(found.is_some(), ObjectId::Port(port));
        found
    }

    /// True if the port's device is there.
    pub fn device(&mut self, port: PortId) -> bool {
        self.depend(Dependency::Device(port));
        self.policy.has_device(port)
    }

    /// The VTEPs of an uplink, in the order of their ids.
    pub(crate) fn vteps_on(&mut self, uplink: PortId) -> impl Iterator<Item = &'s Vtep> + use<'s> {
        self.depend(Dependency::Vteps(uplink));
        let policy = self.policy;
        self.objects.extend(policy.vteps_on(uplink).map(|vtep| ObjectId::Vtep(vtep.id)));
        policy.vteps_on(uplink)
    }

    /// A VTEP.
    pub(crate) fn vtep(&mut self, id: VtepId) -> Option<&'s Vtep> {
        self.depend(Dependency::Vtep(id));
        let found = self.policy.vtep(id);
        self.found(found.is_some(), ObjectId::Vtep(id));
        found
    }

    /// The bridge of a VNI of a VTEP.
    pub(crate) fn bridge_of(&mut self, vtep: VtepId, vni: u32) -> Option<BridgeId> {
        self.depend(Dependency::Vni(vtep, vni));
        self.policy.bridge_of(vtep, vni)
    }

    /// A tunnel peer.
    pub(crate) fn tunnel_peer(&mut self, vtep: VtepId, address: IpAddr) -> Option<&'s TunnelPeer> {
        self.depend(Dependency::TunnelPeer(vtep, address));
        let found = self.policy.peer(vtep, address);
        self.found(found.is_some(), ObjectId::TunnelPeer(vtep, address));
        found
    }

    /// A bridge.
    pub(crate) fn bridge(&mut self, id: BridgeId) -> Option<&'s Bridge> {
        self.depend(Dependency::Bridge(id));
        let found = self.policy.bridge(id);
        self.found(found.is_some(), ObjectId::Bridge(id));
        found
    }

    /// Who gets what is flooded in a bridge.
    pub(crate) fn members(&mut self, bridge: &Bridge) -> impl Iterator<Item = Member> + use<'s> {
        self.depend(Dependency::Bridge(bridge.id));
        if let Some(overlay) = bridge.overlay {
            self.depend(Dependency::Vtep(overlay.vtep));
        }
        self.policy.members(bridge.id)
    }

    /// Where a station is.
    pub(crate) fn station(&mut self, bridge: BridgeId, mac: MacAddr) -> Station<'s> {
        self.depend(Dependency::Fdb(bridge, mac));
        let fixed = self.policy.fdb_entry(bridge, mac);
        self.found(fixed.is_some(), ObjectId::FdbEntry(bridge, mac));
        Station { fixed, learned: self.state.fdb.get(bridge, mac).map(|learned| learned.place) }
    }

    /// A next hop's MAC address.
    pub(crate) fn neighbor(&mut self, vtep: VtepId, address: IpAddr) -> Option<Neighbor> {
        self.depend(Dependency::Neighbor(vtep, address));
        self.state.neighbors.get(vtep, address)
    }

    /// The flow rule of the highest rank among those that match the packet.
    pub(crate) fn flow_rule(&mut self) -> Option<Found<'s>> {
        let policy = self.policy;
        let mut lookup = Lookup { probe: self, consulted: FlowMask::EMPTY };
        let found = policy.rules().lookup(&mut lookup);
        let consulted = Match::new(lookup.probe.key, lookup.consulted);
        self.depend(Dependency::FlowRules(consulted));
        if let Some(found) = &found {
            self.objects.push(ObjectId::FlowRule(found.rule.id));
        }
        found
    }

    /// Makes sure that a layer and all in front of it can be read: that parsing the packet that arrived
    /// got as far. A tunnel header that is not whole is no tunnel, and hides nothing that anybody reads.
    pub(crate) fn whole(&mut self, layer: Layer) -> Result<(), DropReason> {
        if layer >= Layer::EtherType {
            self.whole_tags(self.tags)?;
        }
        if layer >= Layer::L3 && L3::from_bits(self.read(Field::L3)) == L3::Malformed {
            return Err(DropReason::MalformedL3);
        }
        if layer >= Layer::L4 && L4::from_bits(self.read(Field::L4)) == L4::Malformed {
            return Err(DropReason::MalformedL4);
        }
        if layer >= Layer::TunEtherType {
            self.whole_tags(self.tunnelled_tags)?;
        }
        if layer >= Layer::TunL3 && L3::from_bits(self.read(Field::TunL3)) == L3::Malformed {
            return Err(DropReason::MalformedL3);
        }
        if layer >= Layer::TunL4 && L4::from_bits(self.read(Field::TunL4)) == L4::Malformed {
            return Err(DropReason::MalformedL4);
        }
        Ok(())
    }

    fn whole_tags(&mut self, tags: Tags) -> Result<(), DropReason> {
        if let Some(count) = tags.arrived {
            self.add(count, u128::MAX);
        }
        if tags.malformed { Err(DropReason::MalformedVlan) } else { Ok(()) }
    }

    /// Rewrites the key as an action rewrites the packet. The caller has read that the packet has a
    /// place for it.
    pub(crate) fn rewrite(&mut self, action: &Action) {
        action.rewrite(&mut self.key);
        self.origins.follow(action);
        match action {
            Action::EncapVxlan(_) => {
                self.tunnelled_tags = core::mem::replace(&mut self.tags, Tags::WHOLE);
            }
            Action::DecapVxlan => {
                self.tags = core::mem::replace(&mut self.tunnelled_tags, Tags::WHOLE);
            }
            _ => {}
        }
    }

    fn found(&mut self, found: bool, id: ObjectId) {
        if found {
            self.objects.push(id);
        }
    }

    fn depend(&mut self, dependency: Dependency) {
        if !self.dependencies.contains(&dependency) {
            self.dependencies.push(dependency);
        }
    }

    /// Bits of a field of the current key were read.
    fn record(&mut self, field: Field, bits: u128) {
        let origin = self.origins.of(field);
        let own = bits & origin.own & field.max();
        if own == 0 {
            return;
        }
        self.add(origin.field, if origin.computed { u128::MAX } else { own });
        for &needed in field.prerequisites() {
            self.record(needed, u128::MAX);
        }
    }

    /// Bits of a field of the arrived key were read, and so was all that gives them a meaning.
    fn add(&mut self, field: Field, bits: u128) {
        self.read.add(field, bits);
        for &needed in field.prerequisites() {
            if self.read.get(needed) != needed.max() {
                self.add(needed, u128::MAX);
            }
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

    /// Forgets consultations: what no stage may do.
    #[doc(hidden)]
    pub fn forget(&mut self, gone: impl Fn(&Dependency) -> bool) {
        self.dependencies.retain(|dependency| !gone(dependency));
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
