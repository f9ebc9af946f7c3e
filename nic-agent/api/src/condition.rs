//! Conditions: how far a resource has come.

use std::collections::HashMap;

use nic_flow::PortId;
use nic_model::{FlowRuleSpec, Kind, Meta, PortSpec, State, Stored};
use nic_policy::{Device, FlowRuleId, FlowView, ObjectId, Offload, Revision};
use nic_proto::v1::{Condition, condition};

use crate::convert::timestamp;
use crate::seam::DatapathView;

/// What is seen of the datapath at one moment.
pub(crate) struct Observed {
    pub(crate) view: DatapathView,
    devices: HashMap<PortId, Device>,
    /// What became of the flows of each rule; `None` if nobody could be asked.
    flows: Option<HashMap<FlowRuleId, Tally>>,
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
        Observed { view, devices, flows: None }
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

    pub(crate) fn device(&self, port: PortId) -> Option<&Device> {
        self.devices.get(&port)
    }

    pub(crate) fn of_port(&self, port: &Stored<PortSpec>) -> Vec<Condition> {
        vec![
            accepted(&port.meta, "Valid", "The spec is valid.".to_owned()),
            self.present(port),
            self.programmed(&port.meta, port.meta.changed_at),
        ]
    }

    pub(crate) fn of_flow_rule(&self, state: &State, rule: &Stored<FlowRuleSpec>) -> Vec<Condition> {
        let references = rule.spec.flow().references();
        let ports = references.into_iter().filter_map(|id| state.port(id)).map(|port| port.meta.changed_at);
        let needed = ports.fold(rule.meta.changed_at, Revision::max);
        vec![valid(state, rule), self.programmed(&rule.meta, needed), self.offloaded(rule)]
    }

    fn present(&self, port: &Stored<PortSpec>) -> Condition {
        let device = port.spec.device();
        let (status, reason, message) = if !self.view.connected {
            (condition::Status::Unknown, "DatapathUnavailable", self.away())
        } else if self.device(device).is_some() {
            (condition::Status::True, "Present", format!("The device {device} is on this card."))
        } else {
            (condition::Status::False, "Absent", format!("This card has no device {device} now."))
        };
        new("Present", status, reason, message, &port.meta)
    }

    /// Whether the datapath translates by a revision.
    fn programmed(&self, meta: &Meta, needed: Revision) -> Condition {
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
    let Some(overlap) = state.overlap(rule) else {
        return accepted(&rule.meta, "Valid", "The spec is valid and its references resolve.".to_owned());
    };
    let other = Kind::FlowRule.name(overlap.other);
    let winner = if overlap.other_wins { other.to_string() } else { "this one".to_owned() };
    let message = format!(
        "It overlaps {other} at equal priority, which OpenFlow leaves undefined. Here the rule that matches more \
         bits decides, then the older one: {winner}."
    );
    accepted(&rule.meta, "Overlaps", message)
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
