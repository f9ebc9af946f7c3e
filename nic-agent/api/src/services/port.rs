//! PortService.

use std::sync::Arc;

use nic_model::{Kind, Part, PortFields, PortSpec, Spec, Stored, Trunk, TrunkFields, Violation};
use nic_proto::v1::port_service_server::PortService;
use nic_proto::v1::{self as pb, port_spec::AdminState};
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, known, list, update};
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct Ports(pub(crate) Arc<Core>);

impl Collection for Ports {
    const NAME: &'static str = "Port";
    const ID_FIELD: &'static str = "portId";
    const FIELDS: &'static [Field<pb::PortSpec>] = &[
        ("device", |from, into| into.device.clone_from(&from.device)),
        ("admin_state", |from, into| into.admin_state = from.admin_state),
        ("mtu", |from, into| into.mtu = from.mtu),
        ("mac_addresses", |from, into| into.mac_addresses.clone_from(&from.mac_addresses)),
        ("anti_spoof", |from, into| into.anti_spoof = from.anti_spoof),
        ("bridge", |from, into| into.bridge.clone_from(&from.bridge)),
        ("trunks", |from, into| into.trunks.clone_from(&from.trunks)),
        ("disable_learning", |from, into| into.disable_learning = from.disable_learning),
        ("mac_limit", |from, into| into.mac_limit = from.mac_limit),
        ("flood_budget", |from, into| into.flood_budget = from.flood_budget),
    ];
    type Message = pb::Port;
    type Wire = pb::PortSpec;
    type Spec = PortSpec;

    fn sent(message: &pb::Port) -> Sent<'_, pb::PortSpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::PortSpec) -> Result<Spec, Vec<Violation>> {
        let admin_state = AdminState::try_from(spec.admin_state);
        let trunks = spec.trunks.iter();
        let trunks: Vec<_> =
            trunks.map(|trunk| TrunkFields { vlan: trunk.vlan, bridge: &trunk.bridge }).collect();
        let parsed = PortSpec::parse(&PortFields {
            device: &spec.device,
            enabled: !matches!(admin_state, Ok(AdminState::Disabled)),
            mtu: spec.mtu,
            mac_addresses: &spec.mac_addresses,
            anti_spoof: spec.anti_spoof,
            bridge: &spec.bridge,
            trunks: &trunks,
            disable_learning: spec.disable_learning,
            mac_limit: spec.mac_limit,
            flood_budget: spec.flood_budget,
        });
        known(admin_state.is_ok(), Part::AdminState, "ENABLED or DISABLED", parsed.map(Spec::Port))
    }

    fn wire(spec: &PortSpec) -> pb::PortSpec {
        let trunk =
            |trunk: &Trunk| pb::Trunk { vlan: trunk.vlan.into(), bridge: name(Kind::Bridge, &trunk.bridge) };
        let admin_state = if spec.enabled() { AdminState::Enabled } else { AdminState::Disabled };
        pb::PortSpec {
            device: spec.device().to_string(),
            admin_state: admin_state.into(),
            mtu: spec.mtu().into(),
            mac_addresses: spec.mac_addresses().iter().map(ToString::to_string).collect(),
            anti_spoof: spec.anti_spoof(),
            bridge: spec.bridge().map(|id| name(Kind::Bridge, id)).unwrap_or_default(),
            trunks: spec.trunks().iter().map(trunk).collect(),
            disable_learning: spec.disable_learning(),
            mac_limit: spec.mac_limit(),
            flood_budget: spec.flood_budget(),
        }
    }

    fn message(port: &Stored<PortSpec>, seen: Option<Seen<'_>>) -> pb::Port {
        pb::Port {
            name: name(Kind::Port, &port.id),
            spec: Some(Ports::wire(&port.spec)),
            status: seen.map(|seen| status(port, seen)),
            etag: port.meta.etag(),
            metadata: Some(metadata(&port.meta)),
        }
    }
}

fn status(port: &Stored<PortSpec>, seen: Seen<'_>) -> pb::PortStatus {
    let device = seen.observed.device(port.spec.device());
    pb::PortStatus {
        conditions: seen.observed.of_port(seen.state, port),
        device_mtu: device.map_or(0, |device| device.mtu),
        device_mac_address: device.map(|device| device.mac.to_string()).unwrap_or_default(),
        link_up: device.is_some_and(|device| device.link_up),
    }
}

#[tonic::async_trait]
impl PortService for Ports {
    async fn create_port(
        &self,
        request: Request<pb::CreatePortRequest>,
    ) -> Result<Response<pb::CreatePortResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (port, revision) =
            create::<Ports>(&self.0, mutation, &request.port_id, request.port.as_ref()).await?;
        Ok(Response::new(pb::CreatePortResponse { port: Some(port), revision }))
    }

    async fn get_port(&self, request: Request<pb::GetPortRequest>) -> Result<Response<pb::Port>, Status> {
        Ok(Response::new(get::<Ports>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_ports(
        &self,
        request: Request<pb::ListPortsRequest>,
    ) -> Result<Response<pb::ListPortsResponse>, Status> {
        let request = request.get_ref();
        let page = list::<Ports>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListPortsResponse {
            ports: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_port(
        &self,
        request: Request<pb::UpdatePortRequest>,
    ) -> Result<Response<pb::UpdatePortResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.port.as_ref(), request.update_mask.as_ref());
        let (port, revision) = update::<Ports>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdatePortResponse { port: Some(port), revision }))
    }

    async fn delete_port(
        &self,
        request: Request<pb::DeletePortRequest>,
    ) -> Result<Response<pb::DeletePortResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<Ports>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeletePortResponse { revision }))
    }
}
