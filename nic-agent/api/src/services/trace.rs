//! TraceService.

use std::sync::Arc;

use nic_flow::{Field, Match, PortId, text};
use nic_model::{State, openflow};
use nic_policy::{Step, Trace, TracePacket, TraceReport, Verdict};
use nic_proto::v1::trace_service_server::TraceService;
use nic_proto::v1::{self as pb, ErrorReason, trace_request, trace_response};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::core::{Core, object_name};
use crate::failure::{Failure, Fault};

pub(crate) struct Traces(pub(crate) Arc<Core>);

impl Traces {
    async fn run(&self, request: pb::TraceRequest) -> Result<pb::TraceResponse, Failure> {
        let required = |field| Fault::argument(ErrorReason::FieldRequired, field, "it is required");
        let port = self.0.device("inPort", &request.in_port)?.ok_or_else(|| required("inPort"))?;
        let packet = packet(port, request.packet.ok_or_else(|| required("packet"))?)?;
        let report = self.0.datapath.trace(packet).await?;
        Ok(response(&self.0.state(), &report))
    }
}

fn packet(port: PortId, packet: trace_request::Packet) -> Result<TracePacket, Failure> {
    match packet {
        trace_request::Packet::Frame(frame) => Ok(TracePacket::Frame(port, frame.to_vec())),
        trace_request::Packet::Key(key) => {
            let key = openflow::parse_packet(&key);
            let key =
                key.map_err(|error| Fault::argument(ErrorReason::PacketInvalid, "key", error.to_string()))?;
            Ok(TracePacket::Key(key.with(Field::InPort, port.bits().into())))
        }
    }
}

fn response(state: &State, report: &TraceReport) -> pb::TraceResponse {
    let trace = &report.trace;
    let response = pb::TraceResponse {
        revision: report.revision.0,
        key: trace.key.to_string(),
        steps: trace.steps.iter().map(|step| self::step(state, trace, step)).collect(),
        verdict: verdict(trace.verdict).into(),
        drop_reason: drop_reason(trace.verdict),
        mask: Match::new(trace.key, trace.read).to_string(),
        ..pb::TraceResponse::default()
    };
    match trace.verdict {
        Verdict::Pass => pb::TraceResponse {
            actions: text::actions(&trace.actions).to_string(),
            ..megaflow(trace, response)
        },
        Verdict::Drop(_) => megaflow(trace, response),
        // The packet is handled by itself: there is no flow that others like it would hit.
        Verdict::Local | Verdict::Wait => response,
    }
}

/// The response with the megaflow that would be installed.
fn megaflow(trace: &Trace, response: pb::TraceResponse) -> pb::TraceResponse {
    let (tier, software_reason, software_detail) = convert::offload(trace.offload);
    pb::TraceResponse {
        megaflow: Match::new(trace.key, trace.shape.mask()).to_string(),
        shape: trace.shape.name().to_owned(),
        tier: tier.into(),
        software_reason,
        software_detail,
        ..response
    }
}

const fn verdict(verdict: Verdict) -> trace_response::Verdict {
    match verdict {
        Verdict::Pass => trace_response::Verdict::Forward,
        Verdict::Drop(_) => trace_response::Verdict::Drop,
        Verdict::Local => trace_response::Verdict::Local,
        Verdict::Wait => trace_response::Verdict::Wait,
    }
}

fn drop_reason(verdict: Verdict) -> String {
    verdict.dropped().map(|reason| reason.name().to_owned()).unwrap_or_default()
}

fn step(state: &State, trace: &Trace, step: &Step) -> pb::TraceStep {
    pb::TraceStep {
        stage: step.stage.name().to_owned(),
        resources: step.objects.iter().filter_map(|object| object_name(state, *object)).collect(),
        read: Match::new(trace.key, step.read).to_string(),
        drop_reason: drop_reason(step.verdict),
    }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<pb::TraceResponse>, Status> {
        Ok(Response::new(self.run(request.into_inner()).await?))
    }
}
