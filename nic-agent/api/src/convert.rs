//! Resources and reports as messages of nic.v1, and specs from them.

use std::time::{SystemTime, UNIX_EPOCH};

use nic_model::{FlowRuleSpec, Kind, Meta, PortFields, PortSpec, State, Stored, Time, Violation};
use nic_policy::Offload;
use nic_proto::v1 as pb;
use pbjson_types::Timestamp;

use crate::condition::Observed;

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: (time.0 % 1_000_000) as i32 * 1000 }
}

pub(crate) fn system_time(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos() as i32,
    }
}

fn metadata(meta: &Meta) -> pb::Metadata {
    pb::Metadata {
        generation: meta.generation,
        revision: meta.changed_at.0,
        apply_set: meta.apply_set.as_ref().map(ToString::to_string).unwrap_or_default(),
        create_time: Some(timestamp(meta.create_time)),
        update_time: Some(timestamp(meta.update_time)),
    }
}

pub(crate) fn port_spec(spec: &PortSpec) -> pb::PortSpec {
    let admin_state =
        if spec.enabled() { pb::port_spec::AdminState::Enabled } else { pb::port_spec::AdminState::Disabled };
    pb::PortSpec {
        device: spec.device().to_string(),
        admin_state: admin_state.into(),
        mtu: spec.mtu().into(),
        mac_addresses: spec.mac_addresses().iter().map(ToString::to_string).collect(),
        anti_spoof: spec.anti_spoof(),
    }
}

/// Checks a port's spec.
pub(crate) fn parse_port(spec: &pb::PortSpec) -> Result<PortSpec, Vec<Violation>> {
    use pb::port_spec::AdminState;
    let admin_state = AdminState::try_from(spec.admin_state);
    let fields = PortFields {
        device: &spec.device,
        enabled: !matches!(admin_state, Ok(AdminState::Disabled)),
        mtu: spec.mtu,
        mac_addresses: &spec.mac_addresses,
        anti_spoof: spec.anti_spoof,
    };
    let mut parsed = PortSpec::parse(&fields);
    if admin_state.is_err() {
        let reason = nic_model::Reason::Malformed("ENABLED or DISABLED");
        let fault = Violation::new(nic_model::Part::AdminState, reason);
        match &mut parsed {
            Ok(_) => parsed = Err(vec![fault]),
            Err(faults) => faults.push(fault),
        }
    }
    parsed
}

pub(crate) fn flow_rule_spec(spec: &FlowRuleSpec) -> pb::FlowRuleSpec {
    pb::FlowRuleSpec { flow: spec.text().to_owned(), priority: spec.set_priority().map(u32::from) }
}

/// Checks a flow rule's spec.
pub(crate) fn parse_flow_rule(spec: &pb::FlowRuleSpec) -> Result<FlowRuleSpec, Vec<Violation>> {
    FlowRuleSpec::parse(&spec.flow, spec.priority)
}

pub(crate) fn port(port: &Stored<PortSpec>, observed: &Observed) -> pb::Port {
    let device = observed.device(port.spec.device());
    let status = pb::PortStatus {
        conditions: observed.of_port(port),
        device_mtu: device.map_or(0, |device| device.mtu),
        device_mac_address: device.map(|device| device.mac.to_string()).unwrap_or_default(),
        link_up: device.is_some_and(|device| device.link_up),
    };
    pb::Port {
        name: Kind::Port.name(port.id.clone()).to_string(),
        spec: Some(port_spec(&port.spec)),
        status: Some(status),
        etag: port.meta.etag(),
        metadata: Some(metadata(&port.meta)),
    }
}

pub(crate) fn flow_rule(rule: &Stored<FlowRuleSpec>, state: &State, observed: &Observed) -> pb::FlowRule {
    let references = rule.spec.flow().references();
    let status = pb::FlowRuleStatus {
        conditions: observed.of_flow_rule(state, rule),
        effective: rule.spec.effective().to_string(),
        references: references.into_iter().map(|id| Kind::Port.name(id.clone()).to_string()).collect(),
    };
    pb::FlowRule {
        name: Kind::FlowRule.name(rule.id.clone()).to_string(),
        spec: Some(flow_rule_spec(&rule.spec)),
        status: Some(status),
        etag: rule.meta.etag(),
        metadata: Some(metadata(&rule.meta)),
    }
}

/// Where a flow runs: the tier, the reason's stable name and what there is to say.
pub(crate) fn offload(offload: Offload) -> (pb::FlowTier, String, String) {
    match offload {
        Offload::Hardware => (pb::FlowTier::Hardware, String::new(), String::new()),
        Offload::Pending => {
            (pb::FlowTier::Software, "pending".to_owned(), "the E-Switch has not answered yet".to_owned())
        }
        Offload::Software(reason) => (pb::FlowTier::Software, reason.name().to_owned(), reason.to_string()),
    }
}
