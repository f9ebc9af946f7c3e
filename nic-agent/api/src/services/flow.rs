//! FlowService.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use nic_flow::text;
use nic_model::State;
use nic_policy::{AuditCount, AuditReport, Discrepancy, FlowView};
use nic_proto::v1 as pb;
use nic_proto::v1::flow_service_server::FlowService;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::auth::{Peer, Role};
use crate::convert;
use crate::core::{Core, object_name, port_name};
use crate::failure::{Failure, Fault};

/// Flows in one message of a list.
const FLOWS_A_MESSAGE: usize = 256;

pub(crate) struct Flows(pub(crate) Arc<Core>);

impl Flows {
    async fn list(&self, request: &pb::ListFlowsRequest) -> Result<Vec<FlowView>, Failure> {
        let port = self.0.device("inPort", &request.in_port)?;
        let tier = request.tier();
        let mut flows = self.0.datapath.flows(port).await?;
        flows.retain(|flow| tier == pb::FlowTier::Unspecified || convert::offload(flow.offload).0 == tier);
        Ok(flows)
    }

    async fn flush(&self, request: &pb::FlushFlowsRequest) -> Result<u64, Failure> {
        let port = self.0.device("inPort", &request.in_port)?;
        Ok(self.0.datapath.flush(port).await?)
    }
}

/// An audit changes something only if it repairs, which the name of the call does not say.
fn may_repair(request: &Request<pb::AuditFlowsRequest>) -> Result<(), Failure> {
    let peer = request.extensions().get::<Peer>();
    let allowed = peer.is_some_and(|peer| peer.role == Role::Owner);
    if let Some(peer) = peer {
        tracing::info!(target: "audit", peer = %peer.identity, role = %peer.role, allowed, "audit with repair");
    }
    if allowed {
        return Ok(());
    }
    let text = "repair: the role may not change anything";
    Err(Fault::new(Code::PermissionDenied, pb::ErrorReason::RoleNotPermitted, text).into())
}

fn audit(report: &AuditReport, now: SystemTime) -> pb::AuditFlowsResponse {
    let count = |(kind, count): (&Discrepancy, &AuditCount)| pb::AuditCount {
        discrepancy: kind.name().to_owned(),
        description: kind.describe().to_owned(),
        found: count.found,
        repaired: count.repaired,
    };
    let findings = report.findings.iter().map(|finding| pb::AuditFinding {
        discrepancy: finding.discrepancy.name().to_owned(),
        r#match: finding.matches.map(|matches| matches.to_string()).unwrap_or_default(),
        repaired: finding.repaired,
    });
    let counts = Discrepancy::ALL.iter().zip(&report.counts).filter(|(_, count)| count.found > 0);
    let last_reinstalled = report.last_reinstalled.and_then(|ago| now.checked_sub(ago));
    pb::AuditFlowsResponse {
        flows: report.flows,
        rules: report.rules,
        counts: counts.map(count).collect(),
        findings: findings.collect(),
        remaining: report.remaining(),
        lost_rule_hits: report.lost_rule_hits,
        rules_reinstalled: report.rules_reinstalled,
        last_reinstalled: last_reinstalled.map(convert::system_time),
    }
}

fn flow(state: &State, flow: &FlowView) -> pb::Flow {
    let (tier, software_reason, software_detail) = convert::offload(flow.offload);
    let actions =
        if flow.dropped.is_some() { String::new() } else { text::actions(&flow.actions).to_string() };
    let port = flow.matches.key().in_port();
    let in_port = match port_name(state, port) {
        name if name.is_empty() => port.to_string(),
        name => name,
    };
    pb::Flow {
        r#match: flow.matches.to_string(),
        actions,
        tier: tier.into(),
        packets: flow.software.packets + flow.hardware.packets,
        bytes: flow.software.bytes + flow.hardware.bytes,
        hardware_packets: flow.hardware.packets,
        hardware_bytes: flow.hardware.bytes,
        age: Some(convert::duration(flow.age)),
        idle: Some(convert::duration(flow.idle)),
        software_reason,
        software_detail,
        shape: flow.shape.name().to_owned(),
        resources: flow.objects.iter().filter_map(|object| object_name(state, *object)).collect(),
        in_port,
        drop_reason: flow.dropped.map(|reason| reason.name().to_owned()).unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl FlowService for Flows {
    type ListFlowsStream = Pin<Box<dyn Stream<Item = Result<pb::ListFlowsResponse, Status>> + Send>>;

    async fn list_flows(
        &self,
        request: Request<pb::ListFlowsRequest>,
    ) -> Result<Response<Self::ListFlowsStream>, Status> {
        let flows = self.list(request.get_ref()).await?;
        let state = self.0.state();
        let messages: Vec<_> = flows
            .chunks(FLOWS_A_MESSAGE)
            .map(|flows| {
                Ok(pb::ListFlowsResponse { flows: flows.iter().map(|view| flow(&state, view)).collect() })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn flush_flows(
        &self,
        request: Request<pb::FlushFlowsRequest>,
    ) -> Result<Response<pb::FlushFlowsResponse>, Status> {
        let flushed = self.flush(request.get_ref()).await?;
        Ok(Response::new(pb::FlushFlowsResponse { flushed }))
    }

    async fn audit_flows(
        &self,
        request: Request<pb::AuditFlowsRequest>,
    ) -> Result<Response<pb::AuditFlowsResponse>, Status> {
        let repair = request.get_ref().repair;
        if repair {
            may_repair(&request)?;
        }
        let report = self.0.datapath.audit(repair).await.map_err(Failure::from)?;
        Ok(Response::new(audit(&report, SystemTime::now())))
    }
}
