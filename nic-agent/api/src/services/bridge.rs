//! BridgeService.

use std::sync::Arc;

use nic_model::{BridgeFields, BridgeSpec, Kind, Part, Spec, Stored, Violation};
use nic_proto::v1::bridge_service_server::BridgeService;
use nic_proto::v1::{self as pb, bridge_spec::UnknownUnicast};
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, known, list, update};
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct Bridges(pub(crate) Arc<Core>);

impl Collection for Bridges {
    const NAME: &'static str = "Bridge";
    const ID_FIELD: &'static str = "bridgeId";
    const FIELDS: &'static [Field<pb::BridgeSpec>] = &[
        ("vtep", |from, into| into.vtep.clone_from(&from.vtep)),
        ("vni", |from, into| into.vni = from.vni),
        ("unknown_unicast", |from, into| into.unknown_unicast = from.unknown_unicast),
        ("ageing_time", |from, into| into.ageing_time = from.ageing_time),
        ("suppression", |from, into| into.suppression = from.suppression),
    ];
    type Message = pb::Bridge;
    type Wire = pb::BridgeSpec;
    type Spec = BridgeSpec;

    fn sent(message: &pb::Bridge) -> Sent<'_, pb::BridgeSpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::BridgeSpec) -> Result<Spec, Vec<Violation>> {
        let unknown_unicast = UnknownUnicast::try_from(spec.unknown_unicast);
        let parsed = BridgeSpec::parse(&BridgeFields {
            vtep: &spec.vtep,
            vni: spec.vni,
            flood_unknown: !matches!(unknown_unicast, Ok(UnknownUnicast::Drop)),
            ageing_time: spec.ageing_time,
            suppression: spec.suppression,
        });
        known(unknown_unicast.is_ok(), Part::UnknownUnicast, "FLOOD or DROP", parsed.map(Spec::Bridge))
    }

    fn wire(spec: &BridgeSpec) -> pb::BridgeSpec {
        let unknown_unicast = if spec.flood_unknown() { UnknownUnicast::Flood } else { UnknownUnicast::Drop };
        pb::BridgeSpec {
            vtep: spec.vtep().map(|id| name(Kind::Vtep, id)).unwrap_or_default(),
            vni: spec.vni().unwrap_or_default(),
            unknown_unicast: unknown_unicast.into(),
            ageing_time: spec.ageing_time(),
            suppression: spec.suppression(),
        }
    }

    fn message(bridge: &Stored<BridgeSpec>, seen: Option<Seen<'_>>) -> pb::Bridge {
        pb::Bridge {
            name: name(Kind::Bridge, &bridge.id),
            spec: Some(Bridges::wire(&bridge.spec)),
            status: seen.map(|seen| status(bridge, seen)),
            etag: bridge.meta.etag(),
            metadata: Some(metadata(&bridge.meta)),
        }
    }
}

fn status(bridge: &Stored<BridgeSpec>, seen: Seen<'_>) -> pb::BridgeStatus {
    pb::BridgeStatus { conditions: seen.observed.of_bridge(seen.state, bridge) }
}

#[tonic::async_trait]
impl BridgeService for Bridges {
    async fn create_bridge(
        &self,
        request: Request<pb::CreateBridgeRequest>,
    ) -> Result<Response<pb::CreateBridgeResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (bridge, revision) =
            create::<Bridges>(&self.0, mutation, &request.bridge_id, request.bridge.as_ref()).await?;
        Ok(Response::new(pb::CreateBridgeResponse { bridge: Some(bridge), revision }))
    }

    async fn get_bridge(
        &self,
        request: Request<pb::GetBridgeRequest>,
    ) -> Result<Response<pb::Bridge>, Status> {
        Ok(Response::new(get::<Bridges>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_bridges(
        &self,
        request: Request<pb::ListBridgesRequest>,
    ) -> Result<Response<pb::ListBridgesResponse>, Status> {
        let request = request.get_ref();
        let page = list::<Bridges>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListBridgesResponse {
            bridges: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_bridge(
        &self,
        request: Request<pb::UpdateBridgeRequest>,
    ) -> Result<Response<pb::UpdateBridgeResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.bridge.as_ref(), request.update_mask.as_ref());
        let (bridge, revision) = update::<Bridges>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdateBridgeResponse { bridge: Some(bridge), revision }))
    }

    async fn delete_bridge(
        &self,
        request: Request<pb::DeleteBridgeRequest>,
    ) -> Result<Response<pb::DeleteBridgeResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<Bridges>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeleteBridgeResponse { revision }))
    }
}
