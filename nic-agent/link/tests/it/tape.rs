//! Conversations of nic.datapath.v1 as octets: written down as they pass, and played again to either end.
//!
//! Nothing here knows a message. What a version of the schema makes of the octets, the description of that
//! version says, which stands beside the conversation.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{NamedService, StreamingService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// The protocol's service.
const SERVICE: &str = "nic.datapath.v1.Datapath";
/// The call that lasts as long as the session.
pub(crate) const EVENTS: &str = "Events";

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Agent,
    Datapath,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The call that it belongs to.
    pub(crate) method: String,
    pub(crate) from: From,
    /// As it is encoded.
    pub(crate) message: Vec<u8>,
}

/// Everything that was said, in the order in which it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape(pub(crate) Vec<Line>);

/// Where the conversation of a version, or its description, is kept.
pub(crate) fn file(version: u32, ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recorded/v{version}.{ending}"))
}

impl Tape {
    /// One line a message: the call, who says it, its octets.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Line { method, from, message } in &self.0 {
            text += method;
            text += if *from == From::Agent { " >" } else { " <" };
            text += if message.is_empty() { "" } else { " " };
            for octet in message {
                write!(text, "{octet:02x}").expect("a String takes everything");
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn read(text: &str) -> Tape {
        let line = |line: &str| {
            let mut words = line.split(' ');
            let method = words.next().expect("a method").to_owned();
            let from = if words.next().expect("a direction") == ">" { From::Agent } else { From::Datapath };
            let digits = words.next().unwrap_or_default();
            let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
            Line { method, from, message: (0..digits.len()).step_by(2).map(octet).collect() }
        };
        Tape(text.lines().map(line).collect())
    }

    /// The tape of a version.
    pub(crate) fn load(version: u32) -> Tape {
        Tape::read(&std::fs::read_to_string(file(version, "txt")).expect("the recorded conversation"))
    }
}

/// What a version of the schema reads in octets. It passes over what it does not know, as its programs do.
pub(crate) struct Words(DescriptorPool);

impl Words {
    pub(crate) fn load(version: u32) -> Words {
        let path = file(version, "proto");
        let folder = path.parent().expect("a folder");
        let set = protox::compile([&path], [folder]).expect("the description of a version compiles");
        Words(DescriptorPool::from_file_descriptor_set(set).expect("the description is whole"))
    }

    fn method(&self, name: &str) -> MethodDescriptor {
        let service = self.0.get_service_by_name(SERVICE).expect("the service");
        service.methods().find(|method| method.name() == name).expect("the call is in that version")
    }

    /// A message as text, field by field.
    pub(crate) fn read(&self, line: &Line) -> String {
        let method = self.method(&line.method);
        let kind = if line.from == From::Agent { method.input() } else { method.output() };
        let message = DynamicMessage::decode(kind, line.message.as_slice()).expect("a message");
        message.to_text_format_with_options(&FormatOptions::new().pretty(true))
    }
}

/// Messages as octets.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// Calls a method with these messages.
pub(crate) async fn call(
    channel: &Channel,
    method: &str,
    messages: impl Stream<Item = Vec<u8>> + Send + 'static,
) -> Result<Streaming<Vec<u8>>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path: PathAndQuery = format!("/{SERVICE}/{method}").parse().expect("a path");
    Ok(client.streaming(Request::new(messages), path, Raw).await?.into_inner())
}

/// A service that does the same with every call.
#[derive(Clone)]
pub(crate) enum Fake {
    /// Passes everything on, and writes it down.
    Recorder(Channel, Arc<Mutex<Tape>>),
    /// Answers as the tape says.
    Player(Arc<Player>),
}

/// A tape, and what of it was said already.
pub(crate) struct Player {
    pub(crate) tape: Tape,
    said: watch::Sender<Vec<bool>>,
    /// What was heard.
    pub(crate) heard: Mutex<Vec<Line>>,
}

impl Player {
    pub(crate) fn new(tape: Tape) -> Arc<Player> {
        let said = watch::Sender::new(vec![false; tape.0.len()]);
        Arc::new(Player { tape, said, heard: Mutex::default() })
    }

    /// The next call of that method: what is heard of it is passed over, what is answered is returned.
    fn answers(&self, method: &str) -> Result<Vec<(usize, Vec<u8>)>, Status> {
        let mut answers = Vec::new();
        let found = self.said.send_if_modified(|said| {
            let mine = |at: &usize| self.tape.0[*at].method == method && !said[*at];
            let all: Vec<usize> = (0..said.len()).filter(mine).collect();
            let mut lines = all.into_iter().peekable();
            while let Some(at) = lines.next_if(|&at| self.tape.0[at].from == From::Agent) {
                said[at] = true;
                answers.clear();
            }
            while let Some(at) = lines.next_if(|&at| self.tape.0[at].from == From::Datapath) {
                said[at] = method != EVENTS;
                answers.push((at, self.tape.0[at].message.clone()));
            }
            !answers.is_empty()
        });
        if found {
            Ok(answers)
        } else {
            Err(Status::internal(format!("{method} is not on the tape any more")))
        }
    }

    /// Ends when all was said that stands before the line, but for events.
    async fn turn(&self, line: usize) {
        let before = |said: &Vec<bool>| (0..line).all(|at| said[at] || self.tape.0[at].method == EVENTS);
        let mut said = self.said.subscribe();
        said.wait_for(before).await.expect("the sender is ours");
    }
}

/// One call of a [`Fake`].
struct Handler {
    fake: Fake,
    method: String,
}

type Messages = BoxStream<'static, Result<Vec<u8>, Status>>;

impl StreamingService<Vec<u8>> for Handler {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = futures::future::BoxFuture<'static, Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (fake, method) = (self.fake.clone(), self.method.clone());
        Box::pin(async move {
            let messages = request.into_inner();
            let answer = match fake {
                Fake::Recorder(channel, tape) => record(&channel, tape, method, messages).await?,
                Fake::Player(player) => play(player, method, messages).await?,
            };
            Ok(Response::new(answer))
        })
    }
}

async fn record(
    channel: &Channel,
    tape: Arc<Mutex<Tape>>,
    method: String,
    messages: Streaming<Vec<u8>>,
) -> Result<Messages, Status> {
    let write = |from| {
        let (tape, method) = (Arc::clone(&tape), method.clone());
        move |message: &Vec<u8>| {
            let line = Line { method: method.clone(), from, message: message.clone() };
            tape.lock().expect("nobody panics").0.push(line);
        }
    };
    let (heard, told) = (write(From::Agent), write(From::Datapath));
    let said = messages.filter_map(|message| futures::future::ready(message.ok())).inspect(heard);
    let answers = call(channel, &method, said).await?;
    Ok(answers.inspect(move |answer| answer.iter().for_each(&told)).boxed())
}

async fn play(
    player: Arc<Player>,
    method: String,
    mut messages: Streaming<Vec<u8>>,
) -> Result<Messages, Status> {
    while let Some(message) = messages.message().await? {
        let line = Line { method: method.clone(), from: From::Agent, message };
        player.heard.lock().expect("nobody panics").push(line);
    }
    let answers = player.answers(&method)?;
    if method != EVENTS {
        return Ok(futures::stream::iter(answers.into_iter().map(|(_, message)| Ok(message))).boxed());
    }
    let told = futures::stream::iter(answers).then(move |(at, message)| {
        let player = Arc::clone(&player);
        async move {
            player.turn(at).await;
            Ok(message)
        }
    });
    // Events last as long as their reader.
    Ok(told.chain(futures::stream::pending()).boxed())
}

impl tower::Service<HttpRequest<Body>> for Fake {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let handler = Handler { fake: self.clone(), method };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).streaming(handler, request).await) })
    }
}

impl NamedService for Fake {
    const NAME: &'static str = SERVICE;
}
