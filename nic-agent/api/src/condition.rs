//! Conditions: how far a resource has come.

use std::collections::HashMap;
use std::net::IpAddr;

use nic_flow::PortId;
use nic_model::{
    BridgeSpec, FdbEntrySpec, FlowRuleSpec, Kind, Meta, OneSpec, PortSpec, Resource, State, Stored,
    TunnelPeerSpec, VtepSpec,
};
use nic_policy::{
    Device, FlowRuleId, FlowView, NeighborState, NeighborView, Network, ObjectId, Offload, Revision, VtepId,
};
use nic_proto::v1::{Condition, condition};

use crate::convert::timestamp;
use crate::seam::DatapathView;

/// What the datapath is asked for before a resource of a kind is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing: what it said by itself is enough.
    Nothing,
    /// Its flows.
    Flows,
    /// Its neighbours.
    Neighbors,
}

/// What is seen of the datapath at one moment.
pub(crate) struct Observed {
    pub(crate) view: DatapathView,
    devices: HashMap<PortId, Device>,
    /// What became of the flows of each rule; `None` if nobody could be asked.
    flows: Option<HashMap<FlowRuleId, Tally>>,
    /// What is known of the neighbours of tunnel endpoints, likewise.
    neighbors: Option<HashMap<(VtepId, IpAddr), NeighborState>>,
}

/// The flows of one rule.
#[derive(Debug, Default)]
struct Tally {
    hardware: usize,
    pending: usize,
    software: usize,
    /// Why the first of those in software is there.
    reason: Option<(&'static str, String)>,
}

impl Observed {
    pub(crate) fn new(view: DatapathView) -> Observed {
        let devices = view.devices.iter().map(|device| (device.port, *device)).collect();
        Observed { view, devices, flows: None, neighbors: None }
    }

    pub(crate) fn with_flows(mut self, flows: &[FlowView]) -> Observed {
        let mut tallies: HashMap<FlowRuleId, Tally> = HashMap::new();
        for flow in flows {
            for object in &flow.objects {
                if let ObjectId::FlowRule(id) = object {
                    tallies.entry(*id).or_default().add(flow.offload);
                }
            }
        }
        self.flows = Some(tallies);
        self
    }

    pub(crate) fn with_neighbors(mut self, neighbors: &[NeighborView]) -> Observed {
        let underlay = neighbors.iter().filter_map(|neighbor| match neighbor.network {
            Network::Underlay(vtep) => Some(((vtep, neighbor.address), neighbor.state)),
            Network::Bridge(_) => None,
        });
        self.neighbors = Some(underlay.collect());
        self
    }

    pub(crate) fn device(&self, port: PortId) -> Option<&Device> {
        self.devices.get(&port)
    }

    pub(crate) fn of_port(&self, state: &State, port: &Stored<PortSpec>) -> Vec<Condition> {
        let present = self.present(Some(port.spec.device()), &port.meta);
        vec![resolved(&port.meta), present, self.programmed(state, port)]
    }

    pub(crate) fn of_bridge(&self, state: &State, bridge: &Stored<BridgeSpec>) -> Vec<Condition> {
        vec![resolved(&bridge.meta), self.programmed(state, bridge)]
    }

    pub(crate) fn of_vtep(&self, state: &State, vtep: &Stored<VtepSpec>) -> Vec<Condition> {
        let present = self.present(state.device(vtep.spec.port()), &vtep.meta);
        vec![resolved(&vtep.meta), present, self.programmed(state, vtep)]
    }

    pub(crate) fn of_tunnel_peer(&self, state: &State, peer: &Stored<TunnelPeerSpec>) -> Vec<Condition> {
        vec![resolved(&peer.meta), self.programmed(state, peer), self.reachable(state, peer)]
    }

    pub(crate) fn of_fdb_entry(&self, state: &State, entry: &Stored<FdbEntrySpec>) -> Vec<Condition> {
        vec![resolved(&entry.meta), self.programmed(state, entry)]
    }

    pub(crate) fn of_flow_rule(&self, state: &State, rule: &Stored<FlowRuleSpec>) -> Vec<Condition> {
        vec![valid(state, rule), self.programmed(state, rule), self.offloaded(rule)]
    }

    /// Whether a device is there; `None` for that of a Port that is gone.
    fn present(&self, device: Option<PortId>, meta: &Meta) -> Condition {
        let (status, reason, message) = match device {
            _ if !self.view.connected => (condition::Status::Unknown, "DatapathUnavailable", self.away()),
            Some(device) if self.device(device).is_some() => {
                (condition::Status::True, "Present", format!("The device {device} is on this card."))
            }
            Some(device) => {
                (condition::Status::False, "Absent", format!("This card has no device {device} now."))
            }
            None => (condition::Status::False, "Absent", "The Port is gone.".to_owned()),
        };
        new("Present", status, reason, message, meta)
    }

    /// Whether the datapath translates by a resource, and by those that it refers to, as they are now.
    fn programmed<S: OneSpec>(&self, state: &State, stored: &Stored<S>) -> Condition {
        let meta = &stored.meta;
        let resource = state.get(&S::KIND.name(stored.id.clone()));
        let references = resource.iter().flat_map(Resource::references);
        let changes = references.filter_map(|(_, name)| Some(state.get(&name)?.meta().changed_at));
        let needed = changes.fold(meta.changed_at, Revision::max);
        let view = &self.view;
        let (status, reason, message) = if view.connected && view.applied >= needed {
            (condition::Status::True, "Applied", format!("Revision {} is applied.", view.applied.0))
        } else if !view.connected {
            (condition::Status::Unknown, "DatapathUnavailable", self.away())
        } else if let Some(error) = &view.error {
            (condition::Status::False, "Refused", error.clone())
        } else {
            let message = format!("Revision {} is applied, {} is needed.", view.applied.0, needed.0);
            (condition::Status::False, "Pending", message)
        };
        new("Programmed", status, reason, message, meta)
    }

    fn offloaded(&self, rule: &Stored<FlowRuleSpec>) -> Condition {
        use condition::Status::Unknown;
        let tally = self.flows.as_ref().map(|flows| flows.get(&rule.policy_id()));
        let (status, reason, message) = match tally {
            None if self.view.connected => (Unknown, "NotAsked", "Get the rule to see its flows.".to_owned()),
            None => (Unknown, "DatapathUnavailable", self.away()),
            Some(None) => (Unknown, "NoFlows", "No flow depends on this rule now.".to_owned()),
            Some(Some(tally)) => tally.condition(),
        };
        new("Offloaded", status, reason, message, &rule.meta)
    }

    /// Whether the next hop towards a peer answers.
    fn reachable(&self, state: &State, peer: &Stored<TunnelPeerSpec>) -> Condition {
        use condition::Status::{False, True, Unknown};
        let (status, reason, message) = match (self.next_hop(state, peer), &self.neighbors) {
            _ if !self.view.connected => (Unknown, "DatapathUnavailable", self.away()),
            (None, _) => {
                let message = "The peer is outside the Vtep's network, and the Vtep has no gateway.";
                (False, "NoRoute", message.to_owned())
            }
            (Some(_), None) => (Unknown, "NotAsked", "Get the peer to see its next hop.".to_owned()),
            (Some(hop), Some(neighbors)) => match neighbors.get(&hop) {
                None => (Unknown, "NotTried", format!("Nothing was sent to the next hop {} yet.", hop.1)),
                Some(NeighborState::Incomplete) => {
                    (Unknown, "Resolving", format!("The next hop {} was asked for.", hop.1))
                }
                Some(NeighborState::Reachable | NeighborState::Probe) => {
                    (True, "Resolved", format!("The next hop {} answered.", hop.1))
                }
                Some(NeighborState::Failed) => {
                    (False, "Unresolved", format!("The next hop {} does not answer.", hop.1))
                }
            },
        };
        new("Reachable", status, reason, message, &peer.meta)
    }

    fn next_hop(&self, state: &State, peer: &Stored<TunnelPeerSpec>) -> Option<(VtepId, IpAddr)> {
        let vtep = state.vtep(peer.spec.vtep())?;
        let address = peer.spec.address();
        let hop = if vtep.spec.cidr().contains(address) { Some(address) } else { vtep.spec.gateway() };
        hop.map(|hop| (vtep.policy_id(), hop))
    }

    fn away(&self) -> String {
        let error = self.view.error.as_deref().unwrap_or("no reason is known");
        format!("nic-datapath is not connected: {error}")
    }
}

impl Tally {
    fn add(&mut self, offload: Offload) {
        match offload {
            Offload::Hardware => self.hardware += 1,
            Offload::Pending => self.pending += 1,
            Offload::Software(reason) => {
                self.software += 1;
                self.reason.get_or_insert_with(|| (reason.name(), reason.to_string()));
            }
        }
    }

    fn condition(&self) -> (condition::Status, &'static str, String) {
        let all = self.hardware + self.pending + self.software;
        match &self.reason {
            Some((name, text)) => {
                let message =
                    format!("{} of {all} flows run in software; the first because {text}.", self.software);
                (condition::Status::False, camel_case(name), message)
            }
            None if self.pending > 0 => {
                let message = format!("The rules of {} of {all} flows are on their way.", self.pending);
                (condition::Status::False, "Pending", message)
            }
            None => (condition::Status::True, "InHardware", format!("All {all} flows run in the E-Switch.")),
        }
    }
}

/// The reason of a condition for a software reason's stable name.
fn camel_case(name: &str) -> &'static str {
    match name {
        "field" => "FieldUnsupported",
        "action" => "ActionUnsupported",
        "many_outputs" => "ManyOutputs",
        "no_port" => "NoPort",
        "shape" => "ShapeInSoftware",
        "card_full" => "CardFull",
        "card_busy" => "CardBusy",
        "exists" => "RuleExists",
        "driver" => "DriverRefused",
        "quota" => "QuotaUsedUp",
        "overlap" => "StaleRulesOverlap",
        "disabled" => "OffloadDisabled",
        _ => "InSoftware",
    }
}

/// Accepted, with a warning where the rule overlaps another.
fn valid(state: &State, rule: &Stored<FlowRuleSpec>) -> Condition {
    let Some(overlap) = state.overlap(rule) else { return resolved(&rule.meta) };
    let other = Kind::FlowRule.name(overlap.other);
    let winner = if overlap.other_wins { other.to_string() } else { "this one".to_owned() };
    let message = format!(
        "It overlaps {other} at equal priority, which OpenFlow leaves undefined. Here the rule that matches more \
         bits decides, then the older one: {winner}."
    );
    accepted(&rule.meta, "Overlaps", message)
}

/// Accepted, of a resource that is valid or not stored at all.
fn resolved(meta: &Meta) -> Condition {
    accepted(meta, "Valid", "The spec is valid and its references resolve.".to_owned())
}

fn accepted(meta: &Meta, reason: &str, message: String) -> Condition {
    let condition = new("Accepted", condition::Status::True, reason, message, meta);
    // A resource is valid from the moment its spec was taken.
    Condition { last_transition_time: Some(timestamp(meta.create_time)), ..condition }
}

fn new(kind: &str, status: condition::Status, reason: &str, message: String, meta: &Meta) -> Condition {
    Condition {
        r#type: kind.to_owned(),
        status: status.into(),
        reason: reason.to_owned(),
        message,
        observed_generation: meta.generation,
        last_transition_time: None,
    }
}
