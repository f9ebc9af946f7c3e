//! LearnedService.

use std::net::IpAddr;
use std::sync::Arc;

use nic_flow::MacAddr;
use nic_model::{Kind, State};
use nic_policy::{BridgeId, FdbView, NeighborState, NeighborView, Network, ObjectId, Place, VtepId};
use nic_proto::v1::learned_service_server::LearnedService;
use nic_proto::v1::{self as pb, ErrorReason, learned_fdb, learned_neighbor};
use tonic::{Request, Response, Status};

use crate::convert::{duration, name};
use crate::core::{Core, object_name, parse_name};
use crate::failure::{Failure, Fault};
use crate::page::Pages;

pub(crate) struct Learned(pub(crate) Arc<Core>);

impl Learned {
    async fn fdb(&self, request: &pb::ListFdbRequest) -> Result<pb::ListFdbResponse, Failure> {
        let bridge = self.bridge(&request.bridge)?;
        let list = format!("fdb/{}", request.bridge);
        let pages = Pages { list: &list, store: self.0.configuration.store_uuid() };
        let after = pages.after(&request.page_token, fdb_key)?;
        let mut entries = self.0.datapath.fdb(bridge).await?;
        entries.retain(|entry| after.is_none_or(|after| after < (entry.bridge, entry.mac)));
        entries.sort_unstable_by_key(|entry| (entry.bridge, entry.mac));
        let key = |last: &FdbView| format!("{}/{}", last.bridge.0, last.mac);
        let (page, next_page_token) = pages.take(entries.into_iter(), request.page_size, key);
        let state = self.0.state();
        let entries = page.iter().map(|entry| fdb(&state, entry)).collect();
        Ok(pb::ListFdbResponse { entries, next_page_token })
    }

    async fn neighbors(
        &self,
        request: &pb::ListNeighborsRequest,
    ) -> Result<pb::ListNeighborsResponse, Failure> {
        let network = self.network(&request.network)?;
        let list = format!("neighbors/{}", request.network);
        let pages = Pages { list: &list, store: self.0.configuration.store_uuid() };
        let after = pages.after(&request.page_token, neighbor_key)?;
        let mut neighbors = self.0.datapath.neighbors(network).await?;
        neighbors.retain(|neighbor| after.is_none_or(|after| after < (neighbor.network, neighbor.address)));
        neighbors.sort_unstable_by_key(|neighbor| (neighbor.network, neighbor.address));
        let key = |last: &NeighborView| match last.network {
            Network::Underlay(vtep) => format!("vteps/{}/{}", vtep.0, last.address),
            Network::Bridge(bridge) => format!("bridges/{}/{}", bridge.0, last.address),
        };
        let (page, next_page_token) = pages.take(neighbors.into_iter(), request.page_size, key);
        let state = self.0.state();
        let neighbors = page.iter().map(|view| neighbor(&state, view)).collect();
        Ok(pb::ListNeighborsResponse { neighbors, next_page_token })
    }

    async fn flush(&self, request: &pb::FlushFdbRequest) -> Result<u64, Failure> {
        let bridge = self.bridge(&request.bridge)?;
        Ok(self.0.datapath.flush_fdb(bridge).await?)
    }

    /// The bridge that a request names; `None` if it names none.
    fn bridge(&self, name: &str) -> Result<Option<BridgeId>, Failure> {
        if name.is_empty() {
            return Ok(None);
        }
        let id = parse_name(Kind::Bridge, "bridge", name)?;
        let bridge = self.0.state().bridge(&id).map(|bridge| bridge.policy_id());
        bridge.map(Some).ok_or_else(|| Fault::not_found(&Kind::Bridge.name(id)).into())
    }

    /// The network that a request names; `None` if it names none.
    fn network(&self, name: &str) -> Result<Option<Network>, Failure> {
        if name.is_empty() {
            return Ok(None);
        }
        let (state, parse) = (self.0.state(), |kind: Kind| Some(kind.name(kind.parse(name).ok()?)));
        let Some(name) = parse(Kind::Bridge).or_else(|| parse(Kind::Vtep)) else {
            let text = "it must be written bridges/ID or vteps/ID";
            return Err(Fault::argument(ErrorReason::NameInvalid, "network", text).into());
        };
        let network = match name.kind {
            Kind::Vtep => state.vtep(&name.id).map(|vtep| Network::Underlay(vtep.policy_id())),
            _ => state.bridge(&name.id).map(|bridge| Network::Bridge(bridge.policy_id())),
        };
        network.map(Some).ok_or_else(|| Fault::not_found(&name).into())
    }
}

/// The place of an entry in the list, as it stands in a page token.
fn fdb_key(key: &str) -> Option<(BridgeId, MacAddr)> {
    let (bridge, mac) = key.split_once('/')?;
    Some((BridgeId(bridge.parse().ok()?), mac.parse().ok()?))
}

/// The place of a neighbour in the list, likewise.
fn neighbor_key(key: &str) -> Option<(Network, IpAddr)> {
    let (network, address) = key.rsplit_once('/')?;
    let network = match network.split_once('/')? {
        ("vteps", id) => Network::Underlay(VtepId(id.parse().ok()?)),
        ("bridges", id) => Network::Bridge(BridgeId(id.parse().ok()?)),
        _ => return None,
    };
    Some((network, address.parse().ok()?))
}

/// The name of the resource of a policy object; empty if it is gone.
fn known_name(state: &State, object: ObjectId) -> String {
    object_name(state, object).unwrap_or_default()
}

fn fdb(state: &State, entry: &FdbView) -> pb::LearnedFdb {
    let fdb_entry = match entry.idle {
        None => known_name(state, ObjectId::FdbEntry(entry.bridge, entry.mac)),
        Some(_) => String::new(),
    };
    pb::LearnedFdb {
        bridge: known_name(state, ObjectId::Bridge(entry.bridge)),
        mac_address: entry.mac.to_string(),
        place: Some(place(state, entry)),
        fdb_entry,
        idle: entry.idle.map(duration),
    }
}

fn place(state: &State, entry: &FdbView) -> learned_fdb::Place {
    match entry.place {
        Place::Port(port) => learned_fdb::Place::Port(
            object_name(state, ObjectId::Port(port)).unwrap_or_else(|| port.to_string()),
        ),
        Place::Peer(address) => {
            let vtep = state.bridge_of_policy(entry.bridge).and_then(|bridge| bridge.spec.vtep());
            let peer = vtep.and_then(|vtep| state.tunnel_peer_of_address(vtep, address));
            let name = peer.map(|peer| name(Kind::TunnelPeer, &peer.id));
            learned_fdb::Place::TunnelPeer(name.unwrap_or_else(|| address.to_string()))
        }
    }
}

fn neighbor(state: &State, view: &NeighborView) -> pb::LearnedNeighbor {
    use pb::learned_neighbor::State as Shown;
    let network = match view.network {
        Network::Underlay(vtep) => learned_neighbor::Network::Vtep(known_name(state, ObjectId::Vtep(vtep))),
        Network::Bridge(bridge) => {
            learned_neighbor::Network::Bridge(known_name(state, ObjectId::Bridge(bridge)))
        }
    };
    let shown = match view.state {
        NeighborState::Incomplete => Shown::Incomplete,
        NeighborState::Reachable => Shown::Reachable,
        NeighborState::Probe => Shown::Probe,
        NeighborState::Failed => Shown::Failed,
    };
    pb::LearnedNeighbor {
        network: Some(network),
        address: view.address.to_string(),
        mac_address: view.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        state: shown.into(),
        age: Some(duration(view.age)),
    }
}

#[tonic::async_trait]
impl LearnedService for Learned {
    async fn list_fdb(
        &self,
        request: Request<pb::ListFdbRequest>,
    ) -> Result<Response<pb::ListFdbResponse>, Status> {
        Ok(Response::new(self.fdb(request.get_ref()).await?))
    }

    async fn list_neighbors(
        &self,
        request: Request<pb::ListNeighborsRequest>,
    ) -> Result<Response<pb::ListNeighborsResponse>, Status> {
        Ok(Response::new(self.neighbors(request.get_ref()).await?))
    }

    async fn flush_fdb(
        &self,
        request: Request<pb::FlushFdbRequest>,
    ) -> Result<Response<pb::FlushFdbResponse>, Status> {
        let flushed = self.flush(request.get_ref()).await?;
        Ok(Response::new(pb::FlushFdbResponse { flushed }))
    }
}
