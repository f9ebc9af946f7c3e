//! StatusService.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use nic_model::{Kind, State};
use nic_policy::{Alarm, Severity};
use nic_proto::v1 as pb;
use nic_proto::v1::status_service_server::StatusService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::convert::system_time;
use crate::core::{Core, port_name};
use crate::health::is_healthy;
use crate::seam::DatapathView;

pub(crate) struct SystemState(pub(crate) Arc<Core>);

impl SystemState {
    fn get(&self) -> pb::SystemStatus {
        let (state, view) = (self.0.state(), self.0.datapath.view());
        let alarms = self.0.health.look_at(&state, &view);
        let datapath = pb::DatapathStatus {
            connected: view.connected,
            last_transition_time: view.since.map(system_time),
            version: view.version.clone(),
            schema_version: view.schema_version,
            policy_revision: view.accepted.0,
            last_error: view.error.clone().unwrap_or_default(),
        };
        pb::SystemStatus {
            version: self.0.version.clone(),
            store_uuid: Uuid::from_u128(self.0.configuration.store_uuid()).to_string(),
            revision: state.revision().0,
            applied_revision: view.applied.0,
            datapath: Some(datapath),
            devices: devices(&state, &view),
            start_time: Some(system_time(self.0.started)),
            healthy: is_healthy(&alarms),
            alarms: alarms.iter().map(|alarm| told(&state, alarm)).collect(),
        }
    }
}

/// An alarm, about a resource where there is one.
fn told(state: &State, alarm: &Alarm) -> pb::Alarm {
    let object = alarm.port.map(|device| {
        let name = port_name(state, device);
        if name.is_empty() { device.to_string() } else { name }
    });
    let severity = match alarm.reason.severity() {
        Severity::Info => pb::alarm::Severity::Info,
        Severity::Warning => pb::alarm::Severity::Warning,
        Severity::Critical => pb::alarm::Severity::Critical,
    };
    pb::Alarm {
        reason: alarm.reason.name().to_owned(),
        severity: severity.into(),
        object: object.unwrap_or_default(),
        since: Some(system_time(UNIX_EPOCH + alarm.since)),
        text: alarm.text.clone(),
    }
}

/// One for each device that is present or that a Port names, by device name.
fn devices(state: &State, view: &DatapathView) -> Vec<pb::DeviceStatus> {
    let mut devices = BTreeMap::new();
    for device in &view.devices {
        let status = pb::DeviceStatus {
            device: device.port.to_string(),
            present: true,
            port: String::new(),
            link_up: device.link_up,
        };
        devices.insert(status.device.clone(), status);
    }
    for port in state.ports_after(None) {
        let device = port.spec.device().to_string();
        let absent = || pb::DeviceStatus { device: device.clone(), ..pb::DeviceStatus::default() };
        let status = devices.entry(device.clone()).or_insert_with(absent);
        status.port = Kind::Port.name(port.id.clone()).to_string();
    }
    devices.into_values().collect()
}

#[tonic::async_trait]
impl StatusService for SystemState {
    async fn get_status(
        &self,
        _request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::SystemStatus>, Status> {
        Ok(Response::new(self.get()))
    }
}
