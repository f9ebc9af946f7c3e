//! Both ends over a real unix socket: sync, deltas, fencing, adoption, loss of either end.

mod recorded;
mod tape;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nic_flow::{Action, ActionList, MacAddr, Match, PortId};
use nic_link::client::{Client, Config, Connection, PolicySource, State, run};
use nic_link::server::{Backend, InForce, service};
use nic_link::{Calls, Rejection, Uuid, new_uuid};
use nic_policy::trace::{TracePacket, TraceReport};
use nic_policy::{
    Alarm, AuditCount, AuditReport, BridgeId, CapabilityTable, Change, Delta, Device, Discrepancy, FdbView,
    FlowRule, FlowRuleId, FlowView, NeighborState, NeighborView, Network, Object, Place, Revision, Stats,
    VtepId,
};
use nic_proto::datapath::v1::datapath_client::DatapathClient;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;

/// A datapath that only remembers what it was told.
struct Memory {
    instance: Uuid,
    deltas: Mutex<Vec<(Uuid, Delta)>>,
    in_force: watch::Sender<InForce>,
    applied: watch::Sender<Revision>,
    /// While it is false, what is published is with the worker and not in force.
    worker: watch::Sender<bool>,
    devices: watch::Sender<Vec<Device>>,
    confirmed: AtomicBool,
    alarms: watch::Sender<Vec<Alarm>>,
    attended: watch::Sender<bool>,
    refuses: watch::Sender<bool>,
    capabilities: CapabilityTable,
    flows: Vec<FlowView>,
    stats: Stats,
}

impl Memory {
    fn new() -> Arc<Memory> {
        Arc::new(Memory::bare())
    }

    fn bare() -> Memory {
        Memory {
            instance: new_uuid(),
            deltas: Mutex::default(),
            in_force: watch::Sender::new(InForce::default()),
            applied: watch::Sender::new(Revision(0)),
            worker: watch::Sender::new(true),
            devices: watch::Sender::new(Vec::new()),
            confirmed: AtomicBool::new(false),
            alarms: watch::Sender::new(Vec::new()),
            attended: watch::Sender::new(false),
            refuses: watch::Sender::new(false),
            capabilities: CapabilityTable { driver: "memory".to_owned(), ..CapabilityTable::default() },
            flows: Vec::new(),
            stats: Stats { flows: 3, ..Stats::default() },
        }
    }

    /// With something to tell of everything.
    fn of_world() -> Arc<Memory> {
        Arc::new(Memory {
            instance: world::INSTANCE,
            devices: watch::Sender::new(world::devices()),
            alarms: watch::Sender::new(world::alarms()),
            capabilities: world::capabilities(),
            flows: world::flows(),
            stats: world::stats(),
            ..Memory::bare()
        })
    }

    fn deltas(&self) -> Vec<(Uuid, Delta)> {
        self.deltas.lock().unwrap().clone()
    }
}

/// More addresses than one message holds, in two bridges.
fn stations() -> Vec<FdbView> {
    let place = Place::Port(PortId::uplink(0).unwrap());
    let station = |n: u16| FdbView {
        bridge: BridgeId(u64::from(n % 2)),
        mac: MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8]),
        place,
        idle: (n > 0).then(|| Duration::from_secs(n.into())),
    };
    (0..1500).map(station).collect()
}

fn hops() -> Vec<NeighborView> {
    let hop = |network, last, state, mac| NeighborView {
        network,
        address: std::net::Ipv4Addr::new(192, 0, 2, last).into(),
        mac,
        state,
        age: Duration::from_secs(1),
    };
    let known = Some(MacAddr([2, 0, 0, 0, 0, 1]));
    vec![
        hop(Network::Underlay(VtepId(4)), 1, NeighborState::Reachable, known),
        hop(Network::Underlay(VtepId(4)), 2, NeighborState::Incomplete, None),
        hop(Network::Bridge(BridgeId(4)), 3, NeighborState::Reachable, known),
    ]
}

#[tonic::async_trait]
impl Backend for Memory {
    fn instance(&self) -> Uuid {
        self.instance
    }

    fn version(&self) -> String {
        "test".to_owned()
    }

    fn devices(&self) -> watch::Receiver<Vec<Device>> {
        self.devices.subscribe()
    }

    fn capabilities(&self) -> CapabilityTable {
        self.capabilities.clone()
    }

    fn in_force(&self) -> InForce {
        *self.in_force.borrow()
    }

    fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    fn alarms(&self) -> watch::Receiver<Vec<Alarm>> {
        self.alarms.subscribe()
    }

    fn attended(&self, by_agent: bool) {
        self.attended.send_replace(by_agent);
    }

    async fn publish(&self, store: Uuid, delta: Delta) -> Result<u64, Rejection> {
        if *self.refuses.borrow() {
            return Err(Rejection::Apply("the test says so".to_owned()));
        }
        let (changed, revision) = (delta.changes.len() as u64, delta.revision);
        if delta == world::changes() {
            self.devices.send_replace(world::later_devices());
            self.alarms.send_replace(Vec::new());
        }
        self.deltas.lock().unwrap().push((store, delta));
        self.worker.subscribe().wait_for(|done| *done).await.unwrap();
        self.in_force.send_replace(InForce { store: Some(store), revision });
        self.applied.send_replace(revision);
        Ok(changed)
    }

    fn confirmed(&self) {
        self.confirmed.store(true, Ordering::SeqCst);
    }

    async fn trace(&self, _: TracePacket) -> Result<TraceReport, Rejection> {
        Ok(world::report())
    }

    async fn flows(&self, in_port: Option<PortId>) -> Result<Vec<FlowView>, Rejection> {
        let mut flows = self.flows.clone();
        flows.retain(|flow| in_port.is_none_or(|port| flow.matches.key().in_port() == port));
        Ok(flows)
    }

    async fn flush(&self, _: Option<PortId>) -> Result<u64, Rejection> {
        Ok(7)
    }

    async fn audit(&self, repair: bool) -> Result<AuditReport, Rejection> {
        let mut report = AuditReport { rules: 3, ..AuditReport::default() };
        report.counts[Discrepancy::Stray.index()] = AuditCount { found: 2, repaired: 2 * u64::from(repair) };
        Ok(report)
    }

    async fn fdb(&self, bridge: Option<BridgeId>) -> Result<Vec<FdbView>, Rejection> {
        Ok(stations()
            .into_iter()
            .filter(|entry| bridge.is_none_or(|bridge| entry.bridge == bridge))
            .collect())
    }

    async fn neighbors(&self, network: Option<Network>) -> Result<Vec<NeighborView>, Rejection> {
        Ok(hops().into_iter().filter(|hop| network.is_none_or(|network| hop.network == network)).collect())
    }

    async fn flush_fdb(&self, bridge: Option<BridgeId>) -> Result<u64, Rejection> {
        Ok(self.fdb(bridge).await?.len() as u64)
    }

    async fn stats(&self) -> Result<Stats, Rejection> {
        Ok(self.stats.clone())
    }
}

/// A store that keeps every revision.
struct Revisions {
    store: Uuid,
    newest: watch::Sender<Revision>,
}

fn rule(id: u64) -> Object {
    let mut actions = ActionList::new();
    actions.push(Action::Output(PortId::uplink(0).unwrap())).unwrap();
    Object::FlowRule(FlowRule { id: FlowRuleId(id), priority: 1, matches: Match::ANY, actions })
}

/// Revision r has the rules 1 to r.
fn rules(revision: Revision, from: u64, replace_all: bool) -> Delta {
    let changes = (from + 1..=revision.0).map(|id| Change::Put(rule(id))).collect();
    Delta { revision, replace_all, changes }
}

impl PolicySource for Revisions {
    fn store(&self) -> Uuid {
        self.store
    }

    fn full(&self) -> Delta {
        rules(*self.newest.borrow(), 0, true)
    }

    fn since(&self, revision: Revision) -> Option<Delta> {
        let newest = *self.newest.borrow();
        (revision <= newest).then(|| rules(newest, revision.0, false))
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Revision r came from the call r.
    fn calls(&self, after: Revision, to: Revision) -> Calls {
        let newest = (after.0 + 1..=to.0).rev();
        let newest = newest.map(|revision| format!("call-{revision}").parse().expect("an id"));
        Calls { newest: newest.collect(), left_out: 0 }
    }
}

/// A datapath's process: when it ends, so do its connections.
struct Process(Option<tokio::runtime::Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

fn serve(backend: &Arc<Memory>, socket: &Path) -> Process {
    serve_with(service(Arc::clone(backend)), socket)
}

fn serve_with<S>(service: S, socket: &Path) -> Process
where
    S: tower::Service<
            tonic::codegen::http::Request<tonic::body::Body>,
            Response = tonic::codegen::http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let _ = std::fs::remove_file(socket);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = {
        let _inside = runtime.enter();
        UnixListener::bind(socket).unwrap()
    };
    let server = tonic::transport::Server::builder().add_service(service);
    runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    Process(Some(runtime))
}

struct Agent {
    client: Client,
    source: Arc<Revisions>,
    task: JoinHandle<()>,
}

fn agent(socket: &Path, store: Uuid, revision: u64, adopt: bool) -> Agent {
    let source = Arc::new(Revisions { store, newest: watch::Sender::new(Revision(revision)) });
    let config = Config { socket: socket.to_owned(), adopt, version: "test".to_owned() };
    let (client, task) = run(config, Arc::clone(&source));
    Agent { client, source, task: tokio::spawn(task) }
}

async fn until(client: &Client, what: impl FnMut(&State) -> bool) -> State {
    let mut state = client.state();
    let reached = tokio::time::timeout(Duration::from_secs(20), state.wait_for(what)).await;
    reached.expect("the state is reached in time").unwrap().clone()
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datapath.sock");
    (folder, path)
}

fn applied(revision: u64) -> impl FnMut(&State) -> bool {
    move |state| state.applied == Some(Revision(revision))
}

#[tokio::test]
async fn the_whole_policy_comes_first_and_then_only_changes() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 3, false);
    let state = until(&agent.client, applied(3)).await;
    assert_eq!((state.connection, state.sent), (Connection::Up, Some(Revision(3))));
    assert_eq!(state.instance, Some(datapath.instance));
    agent.source.newest.send_replace(Revision(5));
    until(&agent.client, applied(5)).await;
    let store = agent.source.store;
    let expected = vec![(store, rules(Revision(3), 0, true)), (store, rules(Revision(5), 3, false))];
    assert_eq!(datapath.deltas(), expected);
    assert_eq!(agent.client.flush(None).await.unwrap(), 7);
    assert_eq!(agent.client.stats().await.unwrap().flows, 3);
    assert_eq!(agent.client.capabilities().await.unwrap().driver, "memory");
}

/// Collects what is logged from here on, by all threads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Log {
        let log = Log::default();
        let writer = log.clone();
        let log_lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        // The only test that reads the log starts it.
        log_lines.try_init().expect("no other log");
        log
    }

    /// Lines with all of these words, when there is one.
    async fn lines(&self, words: &[&str]) -> Vec<String> {
        for _ in 0..2000 {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8");
            let fits = |line: &&str| words.iter().all(|word| line.contains(word));
            let lines: Vec<String> = text.lines().filter(fits).map(str::to_owned).collect();
            if !lines.is_empty() {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no line with {words:?}");
    }
}

#[tokio::test]
async fn both_ends_say_which_calls_a_policy_came_from() {
    let log = Log::start();
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    let agent = agent(&socket, store, 20, false);
    until(&agent.client, applied(20)).await;
    agent.source.newest.send_replace(Revision(22));
    until(&agent.client, applied(22)).await;
    // Other tests log to the same place, but have no call of this number.
    for what in ["policy sent", "policy in force", "policy applied"] {
        let lines = log.lines(&[what, "calls=call-22,call-21", "revision=22"]).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with("call-21") || lines[0].contains("call-21 "), "{lines:?}");
        // Of many, the newest.
        let lines = log.lines(&[what, "calls=call-20,call-19", "call-5 and 4 older"]).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains("call-4,"), "{lines:?}");
    }
}

#[tokio::test]
async fn what_was_learned_is_listed_whole_and_flushed() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 1, false);
    until(&agent.client, applied(1)).await;
    let client = &agent.client;
    assert_eq!(client.fdb(None).await.unwrap(), stations());
    assert_eq!(client.fdb(Some(BridgeId(1))).await.unwrap().len(), 750);
    assert_eq!(client.fdb(Some(BridgeId(7))).await.unwrap(), []);
    assert_eq!(client.neighbors(None).await.unwrap(), hops());
    assert_eq!(client.neighbors(Some(Network::Underlay(VtepId(4)))).await.unwrap(), hops()[..2]);
    assert_eq!(client.neighbors(Some(Network::Bridge(BridgeId(4)))).await.unwrap(), hops()[2..]);
    assert_eq!(client.flush_fdb(None).await.unwrap(), 1500);
    assert_eq!(client.flush_fdb(Some(BridgeId(0))).await.unwrap(), 750);
    // A later agent fences this one: it forgets nothing any more.
    let later = self::agent(&socket, agent.source.store, 1, false);
    until(&later.client, applied(1)).await;
    let refused = client.flush_fdb(None).await.unwrap_err();
    assert!(refused.is(nic_proto::datapath::v1::LinkErrorReason::LeaseFenced), "{refused}");
}

#[tokio::test]
async fn anybody_may_audit_and_only_the_writer_repairs() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 1, false);
    until(&agent.client, applied(1)).await;
    let client = &agent.client;
    assert_eq!(client.audit(false).await.unwrap().remaining(), 2);
    let report = client.audit(true).await.unwrap();
    assert_eq!((report.rules, report.remaining()), (3, 0));
    let later = self::agent(&socket, agent.source.store, 1, false);
    until(&later.client, applied(1)).await;
    assert_eq!(client.audit(false).await.unwrap().remaining(), 2);
    let refused = client.audit(true).await.unwrap_err();
    assert!(refused.is(nic_proto::datapath::v1::LinkErrorReason::LeaseFenced), "{refused}");
}

#[tokio::test]
async fn a_datapath_that_cannot_audit_is_too_old() {
    let (_folder, socket) = socket();
    let listener = UnixListener::bind(&socket).unwrap();
    let knows_nothing = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
    let _server = tokio::spawn(knows_nothing.serve_with_incoming(UnixListenerStream::new(listener)));
    let agent = agent(&socket, new_uuid(), 1, false);
    let error = agent.client.audit(false).await.unwrap_err();
    assert!(matches!(&error, nic_link::LinkError::TooOld(what) if what == "audits of rules"), "{error}");
}

#[tokio::test]
async fn alarms_are_told_as_long_as_they_stand_and_the_datapath_is_there() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    datapath.alarms.send_replace(world::alarms());
    let server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 1, false);
    let state = until(&agent.client, |state| !state.alarms.is_empty()).await;
    assert_eq!(state.alarms, world::alarms());
    datapath.alarms.send_replace(world::alarms()[1..].to_vec());
    until(&agent.client, |state| state.alarms == world::alarms()[1..]).await;
    datapath.alarms.send_replace(Vec::new());
    until(&agent.client, |state| state.alarms.is_empty()).await;
    datapath.alarms.send_replace(world::alarms());
    until(&agent.client, |state| state.alarms == world::alarms()).await;
    drop(server);
    let state = until(&agent.client, |state| state.connection != Connection::Up).await;
    assert_eq!(state.alarms, [], "what nobody knows is not told");
}

#[tokio::test]
async fn a_refusal_is_told_until_the_policy_is_taken_or_nobody_is_there_to_refuse() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    datapath.refuses.send_replace(true);
    let server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 1, false);
    let mut state = agent.client.state();
    until(&agent.client, |state| state.refused.is_some()).await;
    // It is tried again on a new connection each time, and stays refused from one to the next.
    for _ in 0..6 {
        tokio::time::timeout(Duration::from_secs(20), state.changed()).await.expect("it goes on").unwrap();
        assert!(
            state.borrow_and_update().refused.as_ref().is_some_and(|why| why.contains("the test says so"))
        );
    }
    datapath.refuses.send_replace(false);
    let taken = until(&agent.client, applied(1)).await;
    assert_eq!((taken.refused, taken.connection), (None, Connection::Up));
    datapath.refuses.send_replace(true);
    agent.source.newest.send_replace(Revision(2));
    until(&agent.client, |state| state.refused.is_some()).await;
    drop(server);
    until(&agent.client, |state| state.refused.is_none() && state.connection != Connection::Up).await;
}

#[tokio::test]
async fn the_datapath_knows_whether_an_agent_listens() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let mut attended = datapath.attended.subscribe();
    let mut becomes = async |by_agent: bool| {
        let told = attended.wait_for(|now| *now == by_agent);
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is told in time").unwrap();
    };
    let store = new_uuid();
    let first = agent(&socket, store, 1, false);
    becomes(true).await;
    // One that takes over takes its place, and then the first is not missed.
    let second = agent(&socket, store, 1, false);
    until(&first.client, |state| state.connection != Connection::Up).await;
    first.task.abort();
    until(&second.client, applied(1)).await;
    becomes(true).await;
    second.task.abort();
    becomes(false).await;
    let third = agent(&socket, store, 1, false);
    until(&third.client, applied(1)).await;
    becomes(true).await;
}

#[tokio::test]
async fn a_policy_that_was_there_before_any_agent_is_confirmed_or_brought_up_to_date() {
    let store = new_uuid();
    for (revision, confirmed) in [(2, true), (4, false)] {
        let (_folder, socket) = socket();
        let datapath = Memory::new();
        datapath.in_force.send_replace(InForce { store: Some(store), revision: Revision(2) });
        datapath.applied.send_replace(Revision(2));
        let _server = serve(&datapath, &socket);
        let agent = agent(&socket, store, revision, false);
        until(&agent.client, applied(revision)).await;
        let changes = if confirmed { vec![] } else { vec![(store, rules(Revision(4), 2, false))] };
        assert_eq!(datapath.deltas(), changes);
        assert_eq!(datapath.confirmed.load(Ordering::SeqCst), confirmed);
    }
    // An agent of another store, or with an older policy, confirms nothing.
    for (store, newest) in [(new_uuid(), 2), (store, 1)] {
        let (_folder, socket) = socket();
        let datapath = Memory::new();
        let uuid = if newest == 1 { store } else { new_uuid() };
        datapath.in_force.send_replace(InForce { store: Some(uuid), revision: Revision(2) });
        let _server = serve(&datapath, &socket);
        let agent = agent(&socket, store, newest, false);
        until(
            &agent.client,
            |state| matches!(&state.connection, Connection::Down(why) if why.contains("adopt")),
        )
        .await;
        assert!(!datapath.confirmed.load(Ordering::SeqCst));
    }
}

/// A client that says whatever it is made to say.
async fn raw(socket: &Path) -> DatapathClient<tonic::transport::Channel> {
    DatapathClient::new(channel(socket).await)
}

async fn channel(socket: &Path) -> tonic::transport::Channel {
    let path = socket.to_owned();
    tonic::transport::Endpoint::from_static("http://test")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await
        .unwrap()
}

#[tokio::test]
async fn an_agent_that_comes_back_sends_only_what_changed_meanwhile() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    let first = agent(&socket, store, 2, false);
    until(&first.client, applied(2)).await;
    first.task.abort();
    let second = agent(&socket, store, 4, false);
    until(&second.client, applied(4)).await;
    assert_eq!(datapath.deltas()[1].1, rules(Revision(4), 2, false));
    // A third one with nothing new sends nothing.
    second.task.abort();
    let third = agent(&socket, store, 4, false);
    until(&third.client, applied(4)).await;
    assert_eq!(datapath.deltas().len(), 2);
}

#[tokio::test]
async fn a_sync_whose_writer_is_gone_is_in_force_before_the_next_writer_hears_what_is() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    datapath.worker.send_replace(false);
    let first = agent(&socket, store, 2, false);
    tokio::time::timeout(Duration::from_secs(20), async {
        while datapath.deltas().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the worker gets the policy");
    // It dies in the middle of it, and its connection with it.
    first.task.abort();
    drop(first);
    let second = agent(&socket, store, 4, false);
    // Time for the datapath to notice: with less, the test passes all the same and proves less.
    tokio::time::sleep(Duration::from_millis(50)).await;
    datapath.worker.send_replace(true);
    until(&second.client, applied(4)).await;
    let deltas: Vec<Delta> = datapath.deltas().into_iter().map(|(_, delta)| delta).collect();
    assert_eq!(deltas, [rules(Revision(2), 0, true), rules(Revision(4), 2, false)]);
}

#[tokio::test]
async fn a_datapath_that_starts_anew_gets_everything() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let server = serve(&datapath, &socket);
    let agent = agent(&socket, new_uuid(), 2, false);
    until(&agent.client, applied(2)).await;
    drop(server);
    until(&agent.client, |state| state.connection != Connection::Up).await;
    let next = Memory::new();
    let _server = serve(&next, &socket);
    let state = until(&agent.client, |state| state.instance == Some(next.instance)).await;
    assert_ne!(state.instance, Some(datapath.instance));
    until(&agent.client, applied(2)).await;
    assert_eq!(next.deltas()[0].1, rules(Revision(2), 0, true));
}

#[tokio::test]
async fn without_a_datapath_the_state_holds_the_reason_alone() {
    let (_folder, socket) = socket();
    let agent = agent(&socket, new_uuid(), 1, false);
    let state = until(&agent.client, |state| state.since.is_some()).await;
    let Connection::Down(why) = state.connection else { unreachable!() };
    assert!(!why.is_empty() && !why.contains("not connected"), "{why}");
}

#[tokio::test]
async fn the_latest_writer_fences_the_older_one() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    let old = agent(&socket, store, 2, false);
    until(&old.client, applied(2)).await;
    let new = agent(&socket, store, 3, false);
    until(&new.client, applied(3)).await;
    let state = until(&old.client, |state| state.connection != Connection::Up).await;
    let Connection::Down(why) = state.connection else { unreachable!() };
    assert!(why.contains("LEASE_FENCED"), "{why}");
    // What the old one has to say is not heard any more.
    old.source.newest.send_replace(Revision(9));
    let refused = old.client.flush(None).await.unwrap_err();
    assert!(refused.is(nic_proto::datapath::v1::LinkErrorReason::LeaseFenced), "{refused}");
    new.source.newest.send_replace(Revision(4));
    until(&new.client, applied(4)).await;
    assert_eq!(datapath.deltas().last().unwrap().1, rules(Revision(4), 3, false));
}

#[tokio::test]
async fn a_lease_that_nobody_uses_fences_nobody() {
    use nic_proto::datapath::v1 as pb;
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    let living = agent(&socket, store, 2, false);
    until(&living.client, applied(2)).await;
    // The handshake of an agent that died is read only now.
    let hello = pb::HandshakeRequest {
        store_uuid: store.as_bytes().to_vec(),
        revision: 2,
        schema_versions: nic_link::SCHEMA_VERSIONS.to_vec(),
        ..pb::HandshakeRequest::default()
    };
    let mut raw = raw(&socket).await;
    let late = raw.handshake(hello).await.unwrap().get_ref().lease;
    living.source.newest.send_replace(Revision(3));
    until(&living.client, applied(3)).await;
    // Once it is used, it does.
    raw.events(pb::EventsRequest { lease: late }).await.unwrap();
    until(&living.client, |state| state.connection != Connection::Up).await;
}

#[tokio::test]
async fn another_store_or_an_older_revision_must_be_adopted_on_purpose() {
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let store = new_uuid();
    let first = agent(&socket, store, 5, false);
    until(&first.client, applied(5)).await;
    first.task.abort();
    let refused = |state: &State, reason: &str| matches!(&state.connection, Connection::Down(why) if why.contains(reason));
    let stranger = agent(&socket, new_uuid(), 7, false);
    until(&stranger.client, |state| refused(state, "STORE_MISMATCH")).await;
    stranger.task.abort();
    let restored = agent(&socket, store, 4, false);
    until(&restored.client, |state| refused(state, "REVISION_REGRESSION")).await;
    restored.task.abort();
    assert_eq!(datapath.deltas().len(), 1, "nothing changed meanwhile");
    let adopted = agent(&socket, new_uuid(), 1, true);
    until(&adopted.client, applied(1)).await;
    assert_eq!(datapath.deltas()[1], (adopted.source.store, rules(Revision(1), 0, true)));
}

#[tokio::test]
async fn a_sync_without_its_end_changes_nothing() {
    use nic_proto::datapath::v1::{self as pb, sync_request::Message};
    let (_folder, socket) = socket();
    let datapath = Memory::new();
    let _server = serve(&datapath, &socket);
    let mut raw = raw(&socket).await;
    let store = new_uuid();
    let hello = pb::HandshakeRequest {
        store_uuid: store.as_bytes().to_vec(),
        schema_versions: vec![2],
        ..pb::HandshakeRequest::default()
    };
    let lease = raw.handshake(hello.clone()).await.unwrap().get_ref().lease;
    let header = || pb::SyncHeader {
        lease,
        store_uuid: store.as_bytes().to_vec(),
        revision: 1,
        base: Some(pb::sync_header::Base::Full(pb::FullPolicy {})),
    };
    let remove = || Message::Remove(pb::ObjectRef { kind: Some(pb::object_ref::Kind::FlowRule(1)) });
    let unknown = Message::Upsert(pb::PolicyObject {
        kind: Some(pb::policy_object::Kind::FlowRule(pb::FlowRulePolicy {
            id: 7,
            r#match: vec![pb::FieldMatch { field: "flux".to_owned(), ..pb::FieldMatch::default() }],
            ..pb::FlowRulePolicy::default()
        })),
    });
    let end = || Message::End(pb::SyncEnd {});
    for (messages, reason) in [
        (vec![], "SYNC_STREAM_INVALID"),
        (vec![remove(), end()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(header()), remove()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(header()), remove(), remove(), end()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(header()), Message::Header(header()), end()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(header()), end(), end()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(pb::SyncHeader { base: None, ..header() }), end()], "SYNC_STREAM_INVALID"),
        (vec![Message::Header(header()), unknown, end()], "OBJECT_INVALID"),
        (vec![Message::Header(pb::SyncHeader { lease: lease + 1, ..header() }), end()], "LEASE_UNKNOWN"),
    ] {
        let wrapped: Vec<_> =
            messages.iter().cloned().map(|message| pb::SyncRequest { message: Some(message) }).collect();
        let status = raw.sync(futures::stream::iter(wrapped)).await.unwrap_err();
        let error = nic_link::LinkError::from(status);
        assert!(error.to_string().contains(reason), "{messages:?}: {error}");
    }
    let base = pb::sync_header::Base::FromRevision(9);
    let gap = [Message::Header(pb::SyncHeader { base: Some(base), ..header() }), end()];
    let wrapped: Vec<_> = gap.into_iter().map(|m| pb::SyncRequest { message: Some(m) }).collect();
    let error = nic_link::LinkError::from(raw.sync(futures::stream::iter(wrapped)).await.unwrap_err());
    assert!(error.is(pb::LinkErrorReason::RevisionGap), "{error}");
    assert!(datapath.deltas().is_empty(), "nothing was published");
    let no_version = pb::HandshakeRequest { schema_versions: vec![99], ..hello };
    let error = nic_link::LinkError::from(raw.handshake(no_version).await.unwrap_err());
    assert!(error.is(pb::LinkErrorReason::SchemaUnsupported), "{error}");
}
