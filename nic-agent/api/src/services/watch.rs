//! WatchService.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nic_model::{Action, Change, Kind, Name, Resource, State};
use nic_policy::Revision;
use nic_proto::v1::watch_service_server::WatchService;
use nic_proto::v1::{self as pb, ErrorReason, resource, watch_event};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::collection::Collection;
use super::{Bridges, FdbEntries, FlowRules, Ports, TunnelPeers, Vteps};
use crate::core::Core;
use crate::failure::{Failure, Fault};
use crate::seam::{FollowError, News};

pub(crate) struct Watches(pub(crate) Arc<Core>);

/// A place between two revisions of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    store: u128,
    revision: Revision,
}

impl Token {
    /// The first octet says how the rest is to be read.
    const FORM: u8 = 1;

    fn encode(self) -> Vec<u8> {
        let mut bytes = vec![Token::FORM];
        bytes.extend(self.store.to_be_bytes());
        bytes.extend(self.revision.0.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Token> {
        let (form, rest) = bytes.split_first()?;
        let (store, revision) = rest.split_first_chunk()?;
        let revision = u64::from_be_bytes(revision.try_into().ok()?);
        let token = Token { store: u128::from_be_bytes(*store), revision: Revision(revision) };
        (*form == Token::FORM).then_some(token)
    }
}

impl Watches {
    fn run(&self, request: &pb::WatchRequest) -> Result<Events, Failure> {
        let store = self.0.configuration.store_uuid();
        let scope = Scope { store, kinds: kinds(&request.kinds)? };
        let from = scope.from(&request.resume_token)?;
        let followed = self.0.configuration.follow(from).map_err(refused)?;
        let ready = match from {
            None => scope.list(&followed.state),
            Some(_) => Box::new(std::iter::empty()),
        };
        Ok(Events { scope, state: followed.state, ready, news: followed.news })
    }
}

/// The kinds of the collections that a client names; all if it names none.
fn kinds(collections: &[String]) -> Result<BTreeSet<Kind>, Failure> {
    if collections.is_empty() {
        return Ok(Kind::ALL.iter().copied().collect());
    }
    let (mut kinds, mut faults) = (BTreeSet::new(), Vec::new());
    for (index, collection) in collections.iter().enumerate() {
        match Kind::ALL.iter().find(|kind| kind.collection() == collection) {
            Some(kind) => {
                kinds.insert(*kind);
            }
            None => {
                let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.collection()).collect();
                let text = format!("{collection:?} is no collection; there are {}", names.join(", "));
                let field = format!("kinds[{index}]");
                faults.push(Fault::argument(ErrorReason::FieldMalformed, field, text));
            }
        }
    }
    if faults.is_empty() { Ok(kinds) } else { Err(Failure::many(faults)) }
}

fn refused(error: FollowError) -> Failure {
    let reason = match error {
        FollowError::Compacted => ErrorReason::WatchCompacted,
        FollowError::Ahead => ErrorReason::WatchOtherStore,
    };
    Fault::new(Code::OutOfRange, reason, format!("{error}: watch again without a token")).into()
}

/// What one client watches.
#[derive(Debug, Clone)]
struct Scope {
    store: u128,
    kinds: BTreeSet<Kind>,
}

impl Scope {
    /// The revision that a client goes on from; `None` if it begins with a list.
    fn from(&self, token: &[u8]) -> Result<Option<Revision>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let invalid = || {
            let text = "it is not a token of a Watch";
            Fault::argument(ErrorReason::ResumeTokenInvalid, "resumeToken", text)
        };
        let token = Token::decode(token).ok_or_else(invalid)?;
        if token.store != self.store {
            let text = "the resume token is of another store: watch again without a token";
            return Err(Fault::new(Code::OutOfRange, ErrorReason::WatchOtherStore, text).into());
        }
        Ok(Some(token.revision))
    }

    /// Everything there is.
    fn list(&self, state: &State) -> Ready {
        let all = state.resources().filter(|resource| self.kinds.contains(&resource.kind()));
        let puts: Vec<Step> = all.cloned().map(Step::Put).collect();
        self.events(puts, None, state.revision())
    }

    /// What led from one state to the next.
    fn changes(&self, before: &State, news: &News) -> Ready {
        let mut steps = match &news.changes {
            Some(changes) => changes.iter().filter_map(step).collect(),
            None => difference(before, &news.after),
        };
        steps.retain(|step| self.kinds.contains(&step.kind()));
        self.events(steps, Some(before.revision()), news.after.revision())
    }

    /// Steps as events, each made when the client comes to read it, and a bookmark behind them.
    fn events(&self, steps: Vec<Step>, before: Option<Revision>, revision: Revision) -> Ready {
        let token = |revision| Token { store: self.store, revision }.encode();
        let begun = before.map(token).unwrap_or_default();
        let steps = steps.into_iter().map(move |step| pb::WatchEvent {
            event: Some(step.event()),
            revision: revision.0,
            resume_token: begun.clone(),
        });
        let bookmark = pb::WatchEvent {
            event: Some(watch_event::Event::Bookmark(pb::Bookmark {})),
            revision: revision.0,
            resume_token: token(revision),
        };
        Box::new(steps.chain(std::iter::once(bookmark)))
    }
}

/// A change of one resource.
enum Step {
    Put(Resource),
    Delete(Name),
}

impl Step {
    const fn kind(&self) -> Kind {
        match self {
            Step::Put(resource) => resource.kind(),
            Step::Delete(name) => name.kind,
        }
    }

    fn event(self) -> watch_event::Event {
        match self {
            Step::Put(resource) => watch_event::Event::Put(pb::Resource { kind: Some(message(&resource)) }),
            Step::Delete(name) => watch_event::Event::Delete(name.to_string()),
        }
    }
}

fn step(change: &Change) -> Option<Step> {
    match (change.action(), &change.before, &change.after) {
        (Action::Unchanged, _, _) | (_, None, None) => None,
        (_, _, Some(after)) => Some(Step::Put(after.clone())),
        (_, Some(before), None) => Some(Step::Delete(before.name())),
    }
}

/// What leads from one state to a later one when nobody knows how it came about.
fn difference(before: &State, after: &State) -> Vec<Step> {
    let same = |resource: &Resource| {
        before.get(&resource.name()).is_some_and(|known| known.meta() == resource.meta())
    };
    let gone = before.resources().map(Resource::name).filter(|name| after.get(name).is_none());
    let put = after.resources().filter(|resource| !same(resource)).cloned();
    gone.map(Step::Delete).chain(put.map(Step::Put)).collect()
}

/// A resource without its status.
fn message(resource: &Resource) -> resource::Kind {
    match resource {
        Resource::Bridge(bridge) => resource::Kind::Bridge(Bridges::message(bridge, None)),
        Resource::FdbEntry(entry) => resource::Kind::FdbEntry(FdbEntries::message(entry, None)),
        Resource::FlowRule(rule) => resource::Kind::FlowRule(FlowRules::message(rule, None)),
        Resource::Port(port) => resource::Kind::Port(Ports::message(port, None)),
        Resource::TunnelPeer(peer) => resource::Kind::TunnelPeer(TunnelPeers::message(peer, None)),
        Resource::Vtep(vtep) => resource::Kind::Vtep(Vteps::message(vtep, None)),
    }
}

/// Events that are at hand.
type Ready = Box<dyn Iterator<Item = pb::WatchEvent> + Send>;

/// The events of one watch, made only as fast as the client reads: for one that reads slowly, what is
/// kept is the state that it has come to and the steps to the next.
pub(crate) struct Events {
    scope: Scope,
    state: Arc<State>,
    ready: Ready,
    news: Pin<Box<dyn Stream<Item = News> + Send>>,
}

impl Stream for Events {
    type Item = Result<pb::WatchEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.next() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(news) = ready!(self.news.as_mut().poll_next(context)) else {
                return Poll::Ready(None);
            };
            let before = std::mem::replace(&mut self.state, Arc::clone(&news.after));
            self.ready = self.scope.changes(&before, &news);
        }
    }
}

#[tonic::async_trait]
impl WatchService for Watches {
    type WatchStream = Events;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Events>, Status> {
        Ok(Response::new(self.run(request.get_ref())?))
    }
}
