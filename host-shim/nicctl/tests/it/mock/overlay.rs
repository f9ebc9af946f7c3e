//! The services of the overlay: the same calls for each kind, and what was learned.

use std::pin::Pin;
use std::time::Duration;

use nic_proto::v1::*;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Api;

type Answer<T> = Result<Response<T>, Status>;

macro_rules! service {
    ($module:ident :: $service:ident, $kind:ident, $field:ident:
        $create:ident $create_request:ident $create_response:ident, $get:ident $get_request:ident,
        $list:ident $list_request:ident $list_response:ident, $update:ident $update_request:ident $update_response:ident,
        $delete:ident $delete_request:ident $delete_response:ident) => {
        #[tonic::async_trait]
        impl $module::$service for Api {
            async fn $create(&self, _: Request<$create_request>) -> Answer<$create_response> {
                Err(Status::unimplemented("nicctl applies"))
            }

            async fn $get(&self, request: Request<$get_request>) -> Answer<$kind> {
                match self.find(&request.get_ref().name)?.kind {
                    Some(resource::Kind::$kind(found)) => Ok(Response::new(found)),
                    _ => Err(Status::internal("of another kind")),
                }
            }

            async fn $list(&self, _: Request<$list_request>) -> Answer<$list_response> {
                let state = self.state();
                let found = state.resources.values().filter_map(|resource| match &resource.kind {
                    Some(resource::Kind::$kind(found)) => Some(found.clone()),
                    _ => None,
                });
                Ok(Response::new($list_response { $field: found.collect(), ..$list_response::default() }))
            }

            async fn $update(&self, _: Request<$update_request>) -> Answer<$update_response> {
                Err(Status::unimplemented("nicctl applies"))
            }

            async fn $delete(&self, request: Request<$delete_request>) -> Answer<$delete_response> {
                let $delete_request { name, etag, .. } = request.into_inner();
                Ok(Response::new($delete_response { revision: self.remove(&name, &etag)? }))
            }
        }
    };
}

service! {
    bridge_service_server::BridgeService, Bridge, bridges:
        create_bridge CreateBridgeRequest CreateBridgeResponse, get_bridge GetBridgeRequest,
        list_bridges ListBridgesRequest ListBridgesResponse,
        update_bridge UpdateBridgeRequest UpdateBridgeResponse,
        delete_bridge DeleteBridgeRequest DeleteBridgeResponse
}
service! {
    vtep_service_server::VtepService, Vtep, vteps:
        create_vtep CreateVtepRequest CreateVtepResponse, get_vtep GetVtepRequest,
        list_vteps ListVtepsRequest ListVtepsResponse, update_vtep UpdateVtepRequest UpdateVtepResponse,
        delete_vtep DeleteVtepRequest DeleteVtepResponse
}
service! {
    tunnel_peer_service_server::TunnelPeerService, TunnelPeer, tunnel_peers:
        create_tunnel_peer CreateTunnelPeerRequest CreateTunnelPeerResponse,
        get_tunnel_peer GetTunnelPeerRequest,
        list_tunnel_peers ListTunnelPeersRequest ListTunnelPeersResponse,
        update_tunnel_peer UpdateTunnelPeerRequest UpdateTunnelPeerResponse,
        delete_tunnel_peer DeleteTunnelPeerRequest DeleteTunnelPeerResponse
}
service! {
    fdb_entry_service_server::FdbEntryService, FdbEntry, fdb_entries:
        create_fdb_entry CreateFdbEntryRequest CreateFdbEntryResponse, get_fdb_entry GetFdbEntryRequest,
        list_fdb_entries ListFdbEntriesRequest ListFdbEntriesResponse,
        update_fdb_entry UpdateFdbEntryRequest UpdateFdbEntryResponse,
        delete_fdb_entry DeleteFdbEntryRequest DeleteFdbEntryResponse
}

#[tonic::async_trait]
impl learned_service_server::LearnedService for Api {
    /// One address a page.
    async fn list_fdb(&self, request: Request<ListFdbRequest>) -> Answer<ListFdbResponse> {
        let ListFdbRequest { bridge, page_token, .. } = request.into_inner();
        let entry = |mac: &str, place, fdb_entry: &str, idle| LearnedFdb {
            bridge: "bridges/blue".into(),
            mac_address: mac.into(),
            place: Some(place),
            fdb_entry: fdb_entry.into(),
            idle,
        };
        let all = [
            entry(
                "02:00:00:00:00:01",
                learned_fdb::Place::Port("ports/vm1".into()),
                "",
                Some(Duration::from_secs(75).into()),
            ),
            entry(
                "02:00:00:00:00:02",
                learned_fdb::Place::TunnelPeer("tunnelPeers/a".into()),
                "fdbEntries/a",
                None,
            ),
        ];
        if !bridge.is_empty() && bridge != "bridges/blue" {
            return Ok(Response::new(ListFdbResponse::default()));
        }
        let index: usize = page_token.parse().unwrap_or_default();
        let next_page_token = if index == 0 { "1".into() } else { String::new() };
        Ok(Response::new(ListFdbResponse { entries: vec![all[index].clone()], next_page_token }))
    }

    async fn list_neighbors(&self, request: Request<ListNeighborsRequest>) -> Answer<ListNeighborsResponse> {
        let vtep = learned_neighbor::Network::Vtep("vteps/card".into());
        let neighbor = LearnedNeighbor {
            network: Some(vtep),
            address: "192.0.2.56".into(),
            mac_address: "02:00:00:00:00:38".into(),
            state: learned_neighbor::State::Reachable.into(),
            age: Some(Duration::from_secs(3).into()),
        };
        let wanted = ["", "vteps/card"].contains(&request.get_ref().network.as_str());
        let neighbors = if wanted { vec![neighbor] } else { Vec::new() };
        Ok(Response::new(ListNeighborsResponse { neighbors, ..ListNeighborsResponse::default() }))
    }

    async fn flush_fdb(&self, request: Request<FlushFdbRequest>) -> Answer<FlushFdbResponse> {
        let flushed = if request.get_ref().bridge.is_empty() { 5 } else { 3 };
        Ok(Response::new(FlushFdbResponse { flushed }))
    }
}

#[tonic::async_trait]
impl watch_service_server::WatchService for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

    /// What there is, a bookmark, a deletion, another bookmark, the end. With a token the last two.
    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let WatchRequest { resume_token, kinds } = request.into_inner();
        if !resume_token.is_empty() && resume_token != b"first" {
            return Err(Status::out_of_range("compacted"));
        }
        let state = self.state();
        let event = |event, token: &[u8]| WatchEvent {
            event: Some(event),
            revision: state.revision,
            resume_token: token.to_vec(),
        };
        let mut events = Vec::new();
        if resume_token.is_empty() {
            let wanted = |name: &String| kinds.is_empty() || kinds.iter().any(|kind| name.starts_with(kind));
            let listed = state.resources.iter().filter(|(name, _)| wanted(name));
            events.extend(listed.map(|(_, resource)| event(watch_event::Event::Put(resource.clone()), b"")));
            events.push(event(watch_event::Event::Bookmark(Bookmark {}), b"first"));
        }
        events.push(event(watch_event::Event::Delete("ports/gone".into()), b"first"));
        events.push(event(watch_event::Event::Bookmark(Bookmark {}), b"second"));
        Ok(Response::new(Box::pin(tokio_stream::iter(events.into_iter().map(Ok)))))
    }
}
