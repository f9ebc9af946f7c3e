//! ConfigService.

use std::sync::Arc;

use nic_model::{
    Apply, Change, Desired, OneSpec, Operation, Part, Reason, ResourceId, Subject, Transaction, Violation,
    plan,
};
use nic_policy::Revision;
use nic_proto::v1::config_service_server::ConfigService;
use nic_proto::v1::{self as pb, ErrorReason, apply_request, resource};
use tonic::{Request, Response, Status, Streaming};

use super::collection::{self, Collection};
use super::{Bridges, FdbEntries, FlowRules, Ports, TunnelPeers, Vteps, diff};
use crate::core::{Core, EncodedLen, now, request_key};
use crate::failure::{Failure, Fault};

/// The most resources in one Apply.
const MAX_RESOURCES: usize = 100_000;
/// The most faults that are looked for before the rest of a stream is not read any more.
const MAX_FAULTS: usize = 100;

pub(crate) struct Config(pub(crate) Arc<Core>);

/// A stream that came to its commit.
struct Stream {
    header: pb::ApplyHeader,
    resources: Vec<pb::Resource>,
}

/// Reads a stream up to its commit. Whatever else its end is, nothing is done.
async fn read(mut stream: Streaming<pb::ApplyRequest>) -> Result<Stream, Status> {
    let wrong = |text: &str| Failure::from(Fault::argument(ErrorReason::ApplyStreamInvalid, "message", text));
    let header = match stream.message().await?.and_then(|request| request.message) {
        Some(apply_request::Message::Header(header)) => header,
        _ => return Err(wrong("the first message must be the header").into()),
    };
    let mut resources = Vec::new();
    loop {
        let Some(request) = stream.message().await? else {
            return Err(wrong("the stream ended without its commit: nothing was done").into());
        };
        match request.message {
            Some(apply_request::Message::Resource(resource)) => resources.push(resource),
            Some(apply_request::Message::Commit(_)) => break,
            Some(apply_request::Message::Header(_)) => {
                return Err(wrong("the header came a second time").into());
            }
            None => {
                return Err(wrong("a message is empty, or of a kind that this version does not know").into());
            }
        }
        if resources.len() > MAX_RESOURCES {
            let reason = Reason::Limit { limit: MAX_RESOURCES };
            return Err(Failure::from(Fault::from(reason)).into());
        }
    }
    if stream.message().await?.is_some() {
        return Err(wrong("a message came behind the commit").into());
    }
    Ok(Stream { header, resources })
}

/// Checks one resource of a stream.
fn desired(resource: &pb::Resource) -> Result<Desired, Vec<Violation>> {
    match &resource.kind {
        Some(resource::Kind::Port(sent)) => desired_of::<Ports>(sent),
        Some(resource::Kind::FlowRule(sent)) => desired_of::<FlowRules>(sent),
        Some(resource::Kind::Bridge(sent)) => desired_of::<Bridges>(sent),
        Some(resource::Kind::Vtep(sent)) => desired_of::<Vteps>(sent),
        Some(resource::Kind::TunnelPeer(sent)) => desired_of::<TunnelPeers>(sent),
        Some(resource::Kind::FdbEntry(sent)) => desired_of::<FdbEntries>(sent),
        None => Err(vec![Violation::new(Part::Whole, Reason::Required)]),
    }
}

fn desired_of<C: Collection>(message: &C::Message) -> Result<Desired, Vec<Violation>> {
    let sent = C::sent(message);
    let mut faults = Vec::new();
    let id: Option<ResourceId> = C::Spec::KIND
        .parse(sent.name)
        .map_err(|error| {
            let reason = if sent.name.is_empty() { Reason::Required } else { Reason::Name(error) };
            faults.push(Violation::new(Part::Name, reason));
        })
        .ok();
    let spec = collection::parse::<C>(Some(message));
    let spec = spec.map_err(|violations| faults.extend(violations)).ok();
    let etag = Some(sent.etag.to_owned()).filter(|etag| !etag.is_empty());
    match (id, spec) {
        (Some(id), Some(spec)) => Ok(Desired { id, spec, etag }),
        _ => Err(faults),
    }
}

fn operation(stream: &Stream) -> Result<Operation, Failure> {
    let mut faults: Vec<Fault> = Vec::new();
    let set = stream.header.apply_set.parse();
    let set = set.map_err(|error| faults.push(Fault::name("header.applySet", error))).ok();
    let mut resources = Vec::with_capacity(stream.resources.len());
    for (index, resource) in stream.resources.iter().enumerate() {
        match desired(resource) {
            Ok(desired) => resources.push(desired),
            Err(violations) => {
                faults.extend(
                    violations.into_iter().map(|violation| violation.of(Subject::Sent(index)).into()),
                );
            }
        }
        if faults.len() > MAX_FAULTS {
            break;
        }
    }
    match set {
        Some(set) if faults.is_empty() => {
            let (prune, take_over) = (stream.header.prune, stream.header.take_over);
            Ok(Operation::Apply(Apply { set, resources, prune, take_over }))
        }
        _ => Err(Failure::many(faults)),
    }
}

impl Config {
    async fn run(&self, stream: &Stream) -> Result<pb::ApplyResponse, Failure> {
        let messages: Vec<&(dyn EncodedLen + Sync)> =
            std::iter::once(&stream.header as &(dyn EncodedLen + Sync))
                .chain(stream.resources.iter().map(|resource| resource as &(dyn EncodedLen + Sync)))
                .collect();
        let key = request_key("Apply", &stream.header.request_id, &messages)?;
        let operation = operation(stream)?;
        if stream.header.dry_run {
            let state = self.0.state();
            let outcome = plan(&state, &Transaction { time: now(), operation })?;
            return Ok(response(state.revision(), &outcome.changes, true));
        }
        let committed = self.0.commit(operation, key).await?;
        Ok(response(committed.revision, &committed.changes, false))
    }
}

fn response(revision: Revision, changes: &[Change], dry_run: bool) -> pb::ApplyResponse {
    pb::ApplyResponse { revision: revision.0, changes: changes.iter().map(diff::change).collect(), dry_run }
}

#[tonic::async_trait]
impl ConfigService for Config {
    async fn apply(
        &self,
        request: Request<Streaming<pb::ApplyRequest>>,
    ) -> Result<Response<pb::ApplyResponse>, Status> {
        let stream = read(request.into_inner()).await?;
        Ok(Response::new(self.run(&stream).await?))
    }
}
