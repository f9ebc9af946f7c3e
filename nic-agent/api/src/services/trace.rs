//! TraceService.

use std::sync::Arc;

use nic_flow::{Field, Match, PortId, text};
use nic_model::{State, openflow};
use nic_policy::{Step, Verdict};
use nic_proto::v1::trace_service_server::TraceService;
use nic_proto::v1::{self as pb, ErrorReason, trace_request, trace_response};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::core::{Core, object_name};
use crate::failure::{Failure, Fault};
use crate::seam::{Packet, TraceResult};

pub(crate) struct Traces(pub(crate) Arc<Core>);

impl Traces {
    async fn run(&self, request: pb::TraceRequest) -> Result<pb::TraceResponse, Failure> {
        let required = |field| Fault::argument(ErrorReason::FieldRequired, field, "it is required");
        let port = self.0.device("inPort", &request.in_port)?.ok_or_else(|| required("inPort"))?;
        let packet = packet(port, request.packet.ok_or_else(|| required("packet"))?)?;
        let result = self.0.datapath.trace(packet).await?;
        Ok(response(&self.0.state(), &result))
    }
}

fn packet(port: PortId, packet: trace_request::Packet) -> Result<Packet, Failure> {
    match packet {
        trace_request::Packet::Frame(frame) => Ok(Packet::Frame(port, frame.to_vec())),
        trace_request::Packet::Key(key) => {
            let key = openflow::parse_packet(&key);
            let key =
                key.map_err(|error| Fault::argument(ErrorReason::PacketInvalid, "key", error.to_string()))?;
            Ok(Packet::Key(key.with(Field::InPort, port.bits().into())))
        }
    }
}

fn response(state: &State, result: &TraceResult) -> pb::TraceResponse {
    let trace = &result.trace;
    let (tier, software_reason, software_detail) = convert::offload(trace.offload);
    let verdict = match trace.dropped {
        None => trace_response::Verdict::Forward,
        Some(_) => trace_response::Verdict::Drop,
    };
    let actions = match trace.dropped {
        None => text::actions(&trace.actions).to_string(),
        Some(_) => String::new(),
    };
    pb::TraceResponse {
        revision: result.revision.0,
        key: trace.key.to_string(),
        steps: trace.steps.iter().map(|step| self::step(state, result, step)).collect(),
        verdict: verdict.into(),
        drop_reason: trace.dropped.map(|reason| reason.name().to_owned()).unwrap_or_default(),
        actions,
        mask: Match::new(trace.key, trace.read).to_string(),
        megaflow: Match::new(trace.key, trace.shape.mask()).to_string(),
        shape: trace.shape.name().to_owned(),
        tier: tier.into(),
        software_reason,
        software_detail,
    }
}

fn step(state: &State, result: &TraceResult, step: &Step) -> pb::TraceStep {
    let drop_reason = match step.verdict {
        Verdict::Pass => String::new(),
        Verdict::Drop(reason) => reason.name().to_owned(),
    };
    pb::TraceStep {
        stage: step.stage.name().to_owned(),
        resources: step.objects.iter().filter_map(|object| object_name(state, *object)).collect(),
        read: Match::new(result.trace.key, step.read).to_string(),
        drop_reason,
    }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn trace(&self, request: Request<pb::TraceRequest>) -> Result<Response<pb::TraceResponse>, Status> {
        Ok(Response::new(self.run(request.into_inner()).await?))
    }
}
