//! CapabilityService.

use std::sync::Arc;

use nic_proto::v1 as pb;
use nic_proto::v1::capability_service_server::CapabilityService;
use tonic::{Request, Response, Status};

use crate::core::Core;
use crate::failure::Failure;

pub(crate) struct Capabilities(pub(crate) Arc<Core>);

impl Capabilities {
    async fn get(&self) -> Result<pb::Capabilities, Failure> {
        let table = self.0.datapath.capabilities().await?;
        let rows = table.rows.iter().map(|row| pb::Capability {
            shape: row.shape.name().to_owned(),
            action: row.action.name().to_owned(),
            ip_version: if row.ipv6 { 6 } else { 4 },
            supported: row.refused.is_none(),
            reason: row.refused.map(|refusal| refusal.to_string()).unwrap_or_default(),
        });
        Ok(pb::Capabilities { driver: table.driver, dpdk_version: table.dpdk_version, rows: rows.collect() })
    }
}

#[tonic::async_trait]
impl CapabilityService for Capabilities {
    async fn get_capabilities(
        &self,
        _request: Request<pb::GetCapabilitiesRequest>,
    ) -> Result<Response<pb::Capabilities>, Status> {
        Ok(Response::new(self.get().await?))
    }
}
