//! VtepService.

use std::sync::Arc;

use nic_model::{Kind, Spec, Stored, Violation, VtepFields, VtepSpec};
use nic_proto::v1 as pb;
use nic_proto::v1::vtep_service_server::VtepService;
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, list, update};
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct Vteps(pub(crate) Arc<Core>);

impl Collection for Vteps {
    const NAME: &'static str = "Vtep";
    const ID_FIELD: &'static str = "vtepId";
    const FIELDS: &'static [Field<pb::VtepSpec>] = &[
        ("port", |from, into| into.port.clone_from(&from.port)),
        ("vlan", |from, into| into.vlan = from.vlan),
        ("address", |from, into| into.address.clone_from(&from.address)),
        ("gateway", |from, into| into.gateway.clone_from(&from.gateway)),
        ("mac_address", |from, into| into.mac_address.clone_from(&from.mac_address)),
        ("ttl", |from, into| into.ttl = from.ttl),
        ("dscp", |from, into| into.dscp = from.dscp),
    ];
    type Message = pb::Vtep;
    type Wire = pb::VtepSpec;
    type Spec = VtepSpec;

    fn sent(message: &pb::Vtep) -> Sent<'_, pb::VtepSpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::VtepSpec) -> Result<Spec, Vec<Violation>> {
        let fields = VtepFields {
            port: &spec.port,
            vlan: spec.vlan,
            address: &spec.address,
            gateway: &spec.gateway,
            mac_address: &spec.mac_address,
            ttl: spec.ttl,
            dscp: spec.dscp,
        };
        VtepSpec::parse(&fields).map(Spec::Vtep)
    }

    fn wire(spec: &VtepSpec) -> pb::VtepSpec {
        pb::VtepSpec {
            port: name(Kind::Port, spec.port()),
            vlan: spec.vlan().unwrap_or_default().into(),
            address: spec.cidr().to_string(),
            gateway: spec.gateway().map(|gateway| gateway.to_string()).unwrap_or_default(),
            mac_address: spec.set_mac_address().map(|mac| mac.to_string()).unwrap_or_default(),
            ttl: spec.ttl().into(),
            dscp: spec.dscp().into(),
        }
    }

    fn message(vtep: &Stored<VtepSpec>, seen: Option<Seen<'_>>) -> pb::Vtep {
        pb::Vtep {
            name: name(Kind::Vtep, &vtep.id),
            spec: Some(Vteps::wire(&vtep.spec)),
            status: seen.map(|seen| status(vtep, seen)),
            etag: vtep.meta.etag(),
            metadata: Some(metadata(&vtep.meta)),
        }
    }
}

fn status(vtep: &Stored<VtepSpec>, seen: Seen<'_>) -> pb::VtepStatus {
    pb::VtepStatus {
        conditions: seen.observed.of_vtep(seen.state, vtep),
        mac_address: vtep.spec.mac_address().to_string(),
    }
}

#[tonic::async_trait]
impl VtepService for Vteps {
    async fn create_vtep(
        &self,
        request: Request<pb::CreateVtepRequest>,
    ) -> Result<Response<pb::CreateVtepResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (vtep, revision) =
            create::<Vteps>(&self.0, mutation, &request.vtep_id, request.vtep.as_ref()).await?;
        Ok(Response::new(pb::CreateVtepResponse { vtep: Some(vtep), revision }))
    }

    async fn get_vtep(&self, request: Request<pb::GetVtepRequest>) -> Result<Response<pb::Vtep>, Status> {
        Ok(Response::new(get::<Vteps>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_vteps(
        &self,
        request: Request<pb::ListVtepsRequest>,
    ) -> Result<Response<pb::ListVtepsResponse>, Status> {
        let request = request.get_ref();
        let page = list::<Vteps>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListVtepsResponse {
            vteps: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_vtep(
        &self,
        request: Request<pb::UpdateVtepRequest>,
    ) -> Result<Response<pb::UpdateVtepResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.vtep.as_ref(), request.update_mask.as_ref());
        let (vtep, revision) = update::<Vteps>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdateVtepResponse { vtep: Some(vtep), revision }))
    }

    async fn delete_vtep(
        &self,
        request: Request<pb::DeleteVtepRequest>,
    ) -> Result<Response<pb::DeleteVtepResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<Vteps>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeleteVtepResponse { revision }))
    }
}
