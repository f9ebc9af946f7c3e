//! TunnelPeerService.

use std::sync::Arc;

use nic_model::{Kind, Spec, Stored, TunnelPeerFields, TunnelPeerSpec, Violation};
use nic_proto::v1 as pb;
use nic_proto::v1::tunnel_peer_service_server::TunnelPeerService;
use tonic::{Request, Response, Status};

use super::collection::{Collection, Field, Mutation, Seen, Sent, create, delete, get, list, update};
use crate::condition::Asked;
use crate::convert::{metadata, name};
use crate::core::Core;

pub(crate) struct TunnelPeers(pub(crate) Arc<Core>);

impl Collection for TunnelPeers {
    const NAME: &'static str = "TunnelPeer";
    const ID_FIELD: &'static str = "tunnelPeerId";
    const FIELDS: &'static [Field<pb::TunnelPeerSpec>] = &[
        ("vtep", |from, into| into.vtep.clone_from(&from.vtep)),
        ("address", |from, into| into.address.clone_from(&from.address)),
        ("bridges", |from, into| into.bridges.clone_from(&from.bridges)),
        ("disable_learning", |from, into| into.disable_learning = from.disable_learning),
        ("mac_limit", |from, into| into.mac_limit = from.mac_limit),
    ];
    const ASKED: Asked = Asked::Neighbors;
    type Message = pb::TunnelPeer;
    type Wire = pb::TunnelPeerSpec;
    type Spec = TunnelPeerSpec;

    fn sent(message: &pb::TunnelPeer) -> Sent<'_, pb::TunnelPeerSpec> {
        Sent { name: &message.name, etag: &message.etag, spec: message.spec.as_ref() }
    }

    fn parse(spec: &pb::TunnelPeerSpec) -> Result<Spec, Vec<Violation>> {
        let fields = TunnelPeerFields {
            vtep: &spec.vtep,
            address: &spec.address,
            bridges: &spec.bridges,
            disable_learning: spec.disable_learning,
            mac_limit: spec.mac_limit,
        };
        TunnelPeerSpec::parse(&fields).map(Spec::TunnelPeer)
    }

    fn wire(spec: &TunnelPeerSpec) -> pb::TunnelPeerSpec {
        pb::TunnelPeerSpec {
            vtep: name(Kind::Vtep, spec.vtep()),
            address: spec.address().to_string(),
            bridges: spec.bridges().iter().map(|id| name(Kind::Bridge, id)).collect(),
            disable_learning: spec.disable_learning(),
            mac_limit: spec.mac_limit(),
        }
    }

    fn message(tunnel_peer: &Stored<TunnelPeerSpec>, seen: Option<Seen<'_>>) -> pb::TunnelPeer {
        pb::TunnelPeer {
            name: name(Kind::TunnelPeer, &tunnel_peer.id),
            spec: Some(TunnelPeers::wire(&tunnel_peer.spec)),
            status: seen.map(|seen| status(tunnel_peer, seen)),
            etag: tunnel_peer.meta.etag(),
            metadata: Some(metadata(&tunnel_peer.meta)),
        }
    }
}

fn status(peer: &Stored<TunnelPeerSpec>, seen: Seen<'_>) -> pb::TunnelPeerStatus {
    pb::TunnelPeerStatus { conditions: seen.observed.of_tunnel_peer(seen.state, peer) }
}

#[tonic::async_trait]
impl TunnelPeerService for TunnelPeers {
    async fn create_tunnel_peer(
        &self,
        request: Request<pb::CreateTunnelPeerRequest>,
    ) -> Result<Response<pb::CreateTunnelPeerResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (tunnel_peer, revision) =
            create::<TunnelPeers>(&self.0, mutation, &request.tunnel_peer_id, request.tunnel_peer.as_ref())
                .await?;
        Ok(Response::new(pb::CreateTunnelPeerResponse { tunnel_peer: Some(tunnel_peer), revision }))
    }

    async fn get_tunnel_peer(
        &self,
        request: Request<pb::GetTunnelPeerRequest>,
    ) -> Result<Response<pb::TunnelPeer>, Status> {
        Ok(Response::new(get::<TunnelPeers>(&self.0, &request.get_ref().name).await?))
    }

    async fn list_tunnel_peers(
        &self,
        request: Request<pb::ListTunnelPeersRequest>,
    ) -> Result<Response<pb::ListTunnelPeersResponse>, Status> {
        let request = request.get_ref();
        let page = list::<TunnelPeers>(&self.0, request.page_size, &request.page_token).await?;
        Ok(Response::new(pb::ListTunnelPeersResponse {
            tunnel_peers: page.resources,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn update_tunnel_peer(
        &self,
        request: Request<pb::UpdateTunnelPeerRequest>,
    ) -> Result<Response<pb::UpdateTunnelPeerResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let (sent, mask) = (request.tunnel_peer.as_ref(), request.update_mask.as_ref());
        let (tunnel_peer, revision) = update::<TunnelPeers>(&self.0, mutation, sent, mask).await?;
        Ok(Response::new(pb::UpdateTunnelPeerResponse { tunnel_peer: Some(tunnel_peer), revision }))
    }

    async fn delete_tunnel_peer(
        &self,
        request: Request<pb::DeleteTunnelPeerRequest>,
    ) -> Result<Response<pb::DeleteTunnelPeerResponse>, Status> {
        let request = request.get_ref();
        let mutation = Mutation { request, request_id: &request.request_id };
        let revision = delete::<TunnelPeers>(&self.0, mutation, &request.name, &request.etag).await?;
        Ok(Response::new(pb::DeleteTunnelPeerResponse { revision }))
    }
}
