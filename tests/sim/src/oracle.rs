//! A naive translator: every object in turn, every field directly. Slow, obvious, and written from the
//! meaning of the policy, not from the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nic_flow::field::{Field, L3};
use nic_flow::{Action, FlowKey, MacAddr, PortId};
use nic_policy::{
    Bridge, BridgeId, Change, Delta, DropReason, FdbEntry, FlowRule, Management, Network, Object, ObjectId,
    Place, Port, TunnelPeer, Vtep, VtepId,
};

mod bridge;
mod management;
mod rules;
mod tunnel;

pub(crate) use tunnel::inner;

use management::Concern;

/// What packets taught, as plain collections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Learned stations.
    pub stations: BTreeMap<(BridgeId, MacAddr), Place>,
    /// Next hops that were asked for; `None` for those that nobody answered for.
    pub next_hops: BTreeMap<(VtepId, IpAddr), Option<MacAddr>>,
}

/// What becomes of a packet, and what else it is the cause of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What becomes of it.
    pub fate: Fate,
    /// Its source is to be learned there.
    pub learn: Option<(BridgeId, MacAddr, Place)>,
    /// A next hop is to be asked for.
    pub resolve: Option<(VtepId, IpAddr)>,
    /// Somebody has to look into it: for whom, where it came from, and whether it is about the frame in
    /// the tunnel.
    pub inspect: Vec<(Network, Place, bool)>,
    /// The learned address that it keeps alive.
    pub source: Option<(BridgeId, MacAddr, Place)>,
    /// The card's own management gets a copy.
    pub management: bool,
}

/// How a packet ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// This is done to it.
    Forward(Vec<Action>),
    /// It is dropped.
    Drop(DropReason),
    /// It is the agent's.
    Local,
    /// It waits for a next hop.
    Wait,
}

impl Default for Fate {
    fn default() -> Fate {
        Fate::Forward(Vec::new())
    }
}

/// A frame on its way into a bridge.
pub(crate) struct Arrival<'p> {
    frame: FlowKey,
    bridge: &'p Bridge,
    place: Place,
    learning: bool,
    plan: Vec<Action>,
}

/// A policy and the devices that are there, as plain collections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The objects.
    pub objects: BTreeMap<ObjectId, Object>,
    /// The devices that are there.
    pub devices: BTreeSet<PortId>,
    /// Where the card's own management is in band.
    pub management: Option<Management>,
}

impl Policy {
    /// Does what the delta says.
    pub fn apply(&mut self, delta: &Delta) {
        if delta.replace_all {
            self.objects.clear();
        }
        for change in &delta.changes {
            match change {
                Change::Put(object) => {
                    self.objects.insert(object.id(), object.clone());
                }
                Change::Remove(id) => {
                    self.objects.remove(id);
                }
            }
        }
    }

    /// The flow rules, in no particular order.
    pub fn rules(&self) -> impl Iterator<Item = &FlowRule> {
        self.objects.values().filter_map(|object| match object {
            Object::FlowRule(rule) => Some(rule),
            _ => None,
        })
    }

    /// The bridges, in the order of their ids.
    pub fn bridges(&self) -> impl Iterator<Item = &Bridge> {
        self.objects.values().filter_map(|object| match object {
            Object::Bridge(bridge) => Some(bridge),
            _ => None,
        })
    }

    /// The VTEPs, in the order of their ids.
    pub fn vteps(&self) -> impl Iterator<Item = &Vtep> {
        self.objects.values().filter_map(|object| match object {
            Object::Vtep(vtep) => Some(vtep),
            _ => None,
        })
    }

    /// The tunnel peers, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = &TunnelPeer> {
        self.objects.values().filter_map(|object| match object {
            Object::TunnelPeer(peer) => Some(peer),
            _ => None,
        })
    }

    /// The ports that have a policy, in their order.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.objects.values().filter_map(|object| match object {
            Object::Port(port) => Some(port),
            _ => None,
        })
    }

    fn fdb_entry(&self, bridge: BridgeId, mac: MacAddr) -> Option<&FdbEntry> {
        match self.objects.get(&ObjectId::FdbEntry(bridge, mac)) {
            Some(Object::FdbEntry(entry)) => Some(entry),
            _ => None,
        }
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        match self.objects.get(&ObjectId::Port(id)) {
            Some(Object::Port(port)) => Some(port),
            _ => None,
        }
    }

    /// What becomes of a packet.
    pub fn translate(&self, packet: &FlowKey, memory: &Memory) -> Outcome {
        let mut outcome = Outcome::default();
        match self.management_of(packet) {
            Concern::Whole(fate) => return Outcome { fate, ..outcome },
            Concern::Copy => outcome.management = true,
            Concern::None => {}
        }
        let fate = self.fate(packet, memory, &mut outcome);
        outcome.fate = match fate {
            Ok(plan) if self.forges(packet, &plan) => Fate::Drop(DropReason::ManagementSource),
            Ok(plan) => match self.may_leave(packet.in_port(), plan) {
                Ok(plan) => Fate::Forward(plan),
                Err(reason) => Fate::Drop(reason),
            },
            Err(fate) => fate,
        };
        outcome
    }

    /// What is done to it, before anybody looks at the ports it leaves by; or how else it ends.
    fn fate(&self, packet: &FlowKey, memory: &Memory, outcome: &mut Outcome) -> Result<Vec<Action>, Fate> {
        self.may_enter(packet).map_err(Fate::Drop)?;
        if let Some(arrival) = self.tunnel(packet, outcome)? {
            return self.bridge(arrival, memory, outcome);
        }
        if let Some(rule) = self.deciding_rule(packet).map_err(Fate::Drop)? {
            return rules::run(&rule.actions, packet).map_err(Fate::Drop);
        }
        let arrival = self.attachment(packet).map_err(Fate::Drop)?;
        self.bridge(arrival, memory, outcome)
    }

    fn may_enter(&self, packet: &FlowKey) -> Result<(), DropReason> {
        let Some(port) = self.port(packet.in_port()) else {
            return Err(DropReason::PortUnconfigured);
        };
        if !port.enabled {
            return Err(DropReason::PortDisabled);
        }
        let Some(allowed) = &port.source_macs else {
            return Ok(());
        };
        if !allowed.iter().any(|&mac| mac == packet.mac(Field::EthSrc)) {
            return Err(DropReason::SourceMac);
        }
        if packet.get(Field::VlanCount) == 3 {
            return Err(DropReason::MalformedVlan);
        }
        if packet.eth_type() == 0x0806 {
            if packet.l3() != L3::Ok {
                return Err(DropReason::MalformedL3);
            }
            if !allowed.iter().any(|&mac| mac == packet.mac(Field::ArpSha)) {
                return Err(DropReason::ArpSender);
            }
        }
        Ok(())
    }

    fn may_leave(&self, ingress: PortId, plan: Vec<Action>) -> Result<Vec<Action>, DropReason> {
        let refusal = |egress: PortId| match self.port(egress) {
            _ if egress == ingress => Some(DropReason::OutputIngress),
            None => Some(DropReason::OutputUnconfigured),
            Some(port) if !port.enabled => Some(DropReason::OutputDisabled),
            Some(_) if !self.devices.contains(&egress) => Some(DropReason::OutputAbsent),
            Some(_) => None,
        };
        let mut left = Vec::new();
        let mut sure = 0;
        let mut first = None;
        for action in plan {
            if let Action::Output(egress) = action {
                if let Some(reason) = refusal(egress) {
                    first = first.or(Some(reason));
                    continue;
                }
                left.push(action);
                sure = left.len();
            } else {
                left.push(action);
                if let Action::Flood(_) = action {
                    sure = left.len();
                }
            }
        }
        left.truncate(sure);
        match first {
            Some(reason) if left.is_empty() => Err(reason),
            _ => Ok(left),
        }
    }
}
