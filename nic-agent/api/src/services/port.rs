//! PortService.

use std::sync::Arc;

use nic_model::{Desired, Kind, Operation, Part, Reason, Resource, Spec, Violation};
use nic_proto::v1 as pb;
use nic_proto::v1::port_service_server::PortService;
use tonic::{Request, Response, Status};

use super::mask::each_field;
use crate::convert;
use crate::core::{Core, created, parse_id, parse_name, request_key};
use crate::failure::{Failure, Fault};
use crate::page::{Pages, take};
use crate::seam::Committed;

/// The fields of a port's spec.
const FIELDS: &[&str] = &["device", "admin_state", "mtu", "mac_addresses", "anti_spoof"];

pub(crate) struct Ports(pub(crate) Arc<Core>);

impl Ports {
    async fn create(&self, request: &pb::CreatePortRequest) -> Result<Committed, Failure> {
        let key = request_key("CreatePort", &request.request_id, &[request])?;
        let id = parse_id(Kind::Port, "portId", &request.port_id)?;
        let spec = Spec::Port(convert::parse_port(spec(request.port.as_ref())?)?);
        self.0.commit(Operation::Create(Desired { id, spec, etag: None }), key).await
    }

    async fn update(&self, request: &pb::UpdatePortRequest) -> Result<Committed, Failure> {
        let key = request_key("UpdatePort", &request.request_id, &[request])?;
        let port = request
            .port
            .as_ref()
            .ok_or_else(|| Violation::new(Part::Name, Reason::Required))
            .map_err(Fault::from)?;
        let id = parse_name(Kind::Port, "name", &port.name)?;
        let empty = pb::PortSpec::default();
        let wanted = port.spec.as_ref().unwrap_or(&empty);
        each_field(request.update_mask.as_ref(), FIELDS, |_| ())?;
        let merge = |current: &Resource| {
            let Resource::Port(current) = current else {
                return Err(Fault::not_found(&current.name()).into());
            };
            let mut merged = convert::port_spec(&current.spec);
            each_field(request.update_mask.as_ref(), FIELDS, |field| match field {
                "device" => merged.device.clone_from(&wanted.device),
                "admin_state" => merged.admin_state = wanted.admin_state,
                "mtu" => merged.mtu = wanted.mtu,
                "mac_addresses" => merged.mac_addresses.clone_from(&wanted.mac_addresses),
                _ => merged.anti_spoof = wanted.anti_spoof,
            })?;
            Ok(Spec::Port(convert::parse_port(&merged)?))
        };
        self.0.update(&Kind::Port.name(id), &port.etag, key, merge).await
    }

    async fn delete(&self, request: &pb::DeletePortRequest) -> Result<Committed, Failure> {
        let key = request_key("DeletePort", &request.request_id, &[request])?;
        let name = Kind::Port.name(parse_name(Kind::Port, "name", &request.name)?);
        let etag = Some(request.etag.clone()).filter(|etag| !etag.is_empty());
        self.0.commit(Operation::Delete { name, etag }, key).await
    }

    fn get(&self, request: &pb::GetPortRequest) -> Result<pb::Port, Failure> {
        let id = parse_name(Kind::Port, "name", &request.name)?;
        let state = self.0.state();
        let port = state.port(&id).ok_or_else(|| Fault::not_found(&Kind::Port.name(id.clone())))?;
        Ok(convert::port(port, &self.0.observe()))
    }

    fn list(&self, request: &pb::ListPortsRequest) -> Result<pb::ListPortsResponse, Failure> {
        let pages = Pages { kind: Kind::Port, store: self.0.configuration.store_uuid() };
        let after = pages.after(&request.page_token)?;
        let state = self.0.state();
        let (page, more) = take(state.ports_after(after.as_ref()), Pages::size(request.page_size));
        let next_page_token =
            page.last().filter(|_| more).map(|last| pages.token(&last.id)).unwrap_or_default();
        let observed = self.0.observe();
        let ports = page.into_iter().map(|port| convert::port(port, &observed)).collect();
        Ok(pb::ListPortsResponse { ports, next_page_token, revision: state.revision().0 })
    }

    fn answer(&self, committed: &Committed) -> Result<pb::Port, Failure> {
        match created(committed)? {
            Resource::Port(port) => Ok(convert::port(&port, &self.0.observe())),
            other @ Resource::FlowRule(_) => Err(Fault::not_found(&other.name()).into()),
        }
    }
}

/// The spec of a port in a request.
pub(super) fn spec(port: Option<&pb::Port>) -> Result<&pb::PortSpec, Fault> {
    let spec = port.and_then(|port| port.spec.as_ref());
    spec.ok_or_else(|| Violation::new(Part::Spec, Reason::Required).into())
}

#[tonic::async_trait]
impl PortService for Ports {
    async fn create_port(
        &self,
        request: Request<pb::CreatePortRequest>,
    ) -> Result<Response<pb::CreatePortResponse>, Status> {
        let committed = self.create(request.get_ref()).await?;
        let port = Some(self.answer(&committed)?);
        Ok(Response::new(pb::CreatePortResponse { port, revision: committed.revision.0 }))
    }

    async fn get_port(&self, request: Request<pb::GetPortRequest>) -> Result<Response<pb::Port>, Status> {
        Ok(Response::new(self.get(request.get_ref())?))
    }

    async fn list_ports(
        &self,
        request: Request<pb::ListPortsRequest>,
    ) -> Result<Response<pb::ListPortsResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref())?))
    }

    async fn update_port(
        &self,
        request: Request<pb::UpdatePortRequest>,
    ) -> Result<Response<pb::UpdatePortResponse>, Status> {
        let committed = self.update(request.get_ref()).await?;
        let port = Some(self.answer(&committed)?);
        Ok(Response::new(pb::UpdatePortResponse { port, revision: committed.revision.0 }))
    }

    async fn delete_port(
        &self,
        request: Request<pb::DeletePortRequest>,
    ) -> Result<Response<pb::DeletePortResponse>, Status> {
        let committed = self.delete(request.get_ref()).await?;
        Ok(Response::new(pb::DeletePortResponse { revision: committed.revision.0 }))
    }
}
