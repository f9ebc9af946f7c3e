//! Versions N and N-1 understand each other: what was said between two ends of a version is said again to
//! either end of today's.
//!
//! A conversation is a whole session: the handshake, a policy with an object of every
//! kind, changes of it, and every question that there is. See `tests/recorded/README.md`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use nic_link::client::{Client, Config, PolicySource, run};
use nic_link::{SCHEMA_VERSIONS, Uuid};
use nic_policy::trace::TracePacket;
use nic_policy::{BridgeId, Delta, FdbView, Network, Revision, VtepId};
use nic_proto::datapath::v1 as pb;
use nic_proto::datapath::v1::datapath_client::DatapathClient;
use tokio::sync::watch;

use crate::tape::{EVENTS, Fake, From, Line, Player, Tape, Words, call, file};
use crate::{Memory, applied, channel, hops, serve, serve_with, socket, stations, until, world};

/// The versions that are recorded: all but the newest, which may still grow.
const RECORDED: &[u32] = &[2];

/// The store of [`world`].
struct World(watch::Sender<Revision>);

impl PolicySource for World {
    fn store(&self) -> Uuid {
        world::STORE
    }

    fn full(&self) -> Delta {
        world::full()
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        (revision == Revision(1)).then(world::changes)
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.0.subscribe()
    }
}

/// All that an agent says to a datapath, and what it understands of the answers.
async fn session(socket: &std::path::Path) -> Client {
    let source = Arc::new(World(watch::Sender::new(Revision(1))));
    let config = Config { socket: socket.to_owned(), adopt: false, version: "0.1.0".to_owned() };
    let (client, task) = run(config, Arc::clone(&source));
    tokio::spawn(task);
    let state = until(&client, applied(1)).await;
    assert_eq!(state.instance, Some(world::INSTANCE));
    assert_eq!(state.version, "test");
    source.0.send_replace(Revision(2));
    until(&client, |state| state.applied == Some(Revision(2)) && state.devices == world::later_devices())
        .await;

    let frame = TracePacket::Frame(world::vf(), world::frame());
    assert_eq!(client.trace(frame).await.unwrap(), world::report());
    assert_eq!(client.trace(TracePacket::Key(world::key())).await.unwrap(), world::report());
    assert_eq!(client.flows(Some(world::vf())).await.unwrap(), world::flows());
    assert_eq!(client.flush(Some(world::vf())).await.unwrap(), 7);
    let odd = |station: &FdbView| station.bridge == BridgeId(1);
    assert_eq!(
        client.fdb(Some(BridgeId(1))).await.unwrap(),
        stations().into_iter().filter(odd).collect::<Vec<_>>()
    );
    assert_eq!(client.neighbors(None).await.unwrap(), hops());
    assert_eq!(client.neighbors(Some(Network::Underlay(VtepId(4)))).await.unwrap(), hops()[..2]);
    assert_eq!(client.neighbors(Some(Network::Bridge(BridgeId(4)))).await.unwrap(), hops()[2..]);
    assert_eq!(client.flush_fdb(Some(BridgeId(1))).await.unwrap(), 750);
    assert_eq!(client.capabilities().await.unwrap(), world::capabilities());
    assert_eq!(client.stats().await.unwrap(), world::stats());
    client
}

/// One step of a conversation, as an agent sees it.
enum Step {
    /// It says this, and is answered that.
    Call(Vec<Line>, Vec<Line>),
    /// It hears of an event.
    Event(Line),
}

fn steps(tape: &Tape) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in tape.0.iter().cloned() {
        let mut calls = steps.iter_mut().rev().filter_map(|step| match step {
            Step::Call(said, answered) if said[0].method == line.method => Some((said, answered)),
            _ => None,
        });
        match (line.from, calls.next()) {
            (From::Datapath, _) if line.method == EVENTS => steps.push(Step::Event(line)),
            (From::Datapath, Some((_, answered))) => answered.push(line),
            (From::Datapath, None) => panic!("an answer to nothing: {}", line.method),
            (From::Agent, Some((said, answered))) if answered.is_empty() => said.push(line),
            (From::Agent, _) => steps.push(Step::Call(vec![line], Vec::new())),
        }
    }
    steps
}

fn read(words: &Words, lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| words.read(line)).collect()
}

/// Events of two kinds that happen at once have no order.
fn sorted(words: &Words, lines: &[Line]) -> Vec<String> {
    let mut texts = read(words, lines);
    texts.sort();
    texts
}

#[tokio::test]
async fn a_recorded_agent_is_told_by_todays_datapath_what_it_was_told() {
    for &version in RECORDED {
        let (tape, words) = (Tape::load(version), Words::load(version));
        let (_folder, socket) = socket();
        let datapath = Memory::of_world();
        let _server = serve(&datapath, &socket);
        let channel = channel(&socket).await;
        let mut events = None;
        let (mut due, mut told) = (Vec::new(), Vec::new());
        for step in steps(&tape) {
            match step {
                Step::Event(line) => {
                    let stream: &mut tonic::Streaming<Vec<u8>> =
                        events.as_mut().expect("events are asked for");
                    let message = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
                    let message =
                        message.expect("an event comes in time").unwrap().expect("events do not end");
                    told.push(Line { message, ..line.clone() });
                    due.push(line);
                }
                Step::Call(said, expected) => {
                    let method = said[0].method.clone();
                    let said = futures::stream::iter(said.into_iter().map(|line| line.message));
                    let stream = call(&channel, &method, said).await.unwrap();
                    if method == EVENTS {
                        events = Some(stream);
                        continue;
                    }
                    let answer =
                        |message: Result<_, _>| Line { message: message.unwrap(), ..expected[0].clone() };
                    let answers: Vec<Line> = stream.map(answer).collect().await;
                    assert_eq!(
                        read(&words, &answers),
                        read(&words, &expected),
                        "version {version}: {method}"
                    );
                }
            }
        }
        // A later agent ends the stream of this one once it uses its lease: what this one was told is all that it
        // was told.
        let store = world::STORE.as_bytes().to_vec();
        let hello = pb::HandshakeRequest {
            store_uuid: store,
            revision: 2,
            schema_versions: SCHEMA_VERSIONS.to_vec(),
            ..Default::default()
        };
        let mut later = DatapathClient::new(channel.clone());
        let lease = later.handshake(hello).await.unwrap().into_inner().lease;
        let _listens = later.events(pb::EventsRequest { lease }).await.unwrap();
        let mut rest = events.expect("events were asked for");
        let end = loop {
            match tokio::time::timeout(Duration::from_secs(20), rest.message())
                .await
                .expect("the stream ends")
            {
                Ok(Some(message)) => told.push(Line { message, ..due[0].clone() }),
                Ok(None) => panic!("the stream ends without a reason"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), tonic::Code::Aborted, "{end}");
        assert_eq!(sorted(&words, &told), sorted(&words, &due), "version {version}: events");
        let heard: Vec<Delta> = datapath.deltas().into_iter().map(|(_, delta)| delta).collect();
        assert_eq!(heard, [world::full(), world::changes()]);
    }
}

#[tokio::test]
async fn a_recorded_datapath_is_understood_by_todays_agent_and_understands_it() {
    for &version in RECORDED {
        let (tape, words) = (Tape::load(version), Words::load(version));
        let (_folder, socket) = socket();
        let player = Player::new(tape.clone());
        let _server = serve_with(Fake::Player(Arc::clone(&player)), &socket);
        let client = session(&socket).await;
        assert_eq!(client.state().borrow().schema_version, version);
        let heard = player.heard.lock().unwrap().clone();
        let mut said = tape.0;
        said.retain(|line| line.from == From::Agent);
        // What it says first names all versions that it speaks; in all else there is no difference.
        let differs = |line: &&Line| line.method != "Handshake";
        let (heard, said): (Vec<_>, Vec<_>) =
            (heard.iter().filter(differs).cloned().collect(), said.iter().filter(differs).cloned().collect());
        assert_eq!(read(&words, &heard), read(&words, &said), "version {version}");
    }
}

/// Writes down what is said between the two ends of this build, in the newest version that it speaks.
#[tokio::test]
#[ignore = "it writes the files that the other tests read; tests/recorded/README.md says when"]
async fn record_a_conversation() {
    let version = *SCHEMA_VERSIONS.last().unwrap();
    assert!(!file(version, "txt").exists(), "what was recorded stays as it is");
    let (_folder, behind) = socket();
    let datapath = Memory::of_world();
    let _server = serve(&datapath, &behind);
    let tape = Arc::new(Mutex::new(Tape::default()));
    let (_front, before) = socket();
    let _recorder = serve_with(Fake::Recorder(channel(&behind).await, Arc::clone(&tape)), &before);
    session(&before).await;
    std::fs::write(file(version, "txt"), tape.lock().unwrap().text()).unwrap();
    let schema =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/nic/datapath/v1/datapath.proto");
    std::fs::copy(schema, file(version, "proto")).unwrap();
}
