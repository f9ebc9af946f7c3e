use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nic_model::{
    Action, Apply, BridgeFields, BridgeSpec, Desired, FdbEntryFields, FdbEntrySpec, FlowRuleSpec, Kind,
    Operation, PortFields, PortSpec, Spec, State, Time, Transaction, TrunkFields, TunnelPeerFields,
    TunnelPeerSpec, VtepFields, VtepSpec,
};
use nic_policy::Revision;
use redb::{Builder, Database, DatabaseError, ReadableTable, StorageBackend};
use uuid::Uuid;

use crate::codec::{self, Header, SCHEMA};
use crate::disk::{self, Medium};
use crate::*;

mod history;
mod old;

fn port(id: &str, device: &str) -> Desired {
    let macs = ["02:00:00:00:00:01".to_owned()];
    let fields =
        PortFields { device, mtu: 9000, mac_addresses: &macs, anti_spoof: true, ..PortFields::default() };
    let spec = Spec::Port(PortSpec::parse(&fields).expect("a valid port"));
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
}

fn rule(id: &str, flow: &str) -> Desired {
    let spec = Spec::FlowRule(FlowRuleSpec::parse(flow, Some(7)).expect("a valid flow"));
    Desired { id: id.parse().expect("a valid id"), spec, etag: None }
}

fn at(time: u64, operation: Operation) -> Transaction {
    Transaction { time: Time(time), operation }
}

fn create(desired: Desired) -> Transaction {
    at(5, Operation::Create(desired))
}

fn lab() -> Transaction {
    let set = "lab".parse().expect("a valid set");
    let resources = vec![port("pf0", "p0"), port("vm1", "pf0vf0"), rule("out", "in_port=vm1,actions=pf0")];
    at(3, Operation::Apply(Apply { set, resources, prune: true, take_over: false }))
}

/// One of every kind, with every field set to something else than its default.
fn overlay() -> Transaction {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let desired = |id: &str, spec| Desired { id: id.parse().expect("a valid id"), spec, etag: None };
    let trunks =
        [TrunkFields { vlan: 20, bridge: "bridges/b" }, TrunkFields { vlan: 10, bridge: "bridges/c" }];
    let port = PortFields {
        device: "pf0vf9",
        enabled: false,
        mtu: 1400,
        bridge: "bridges/a",
        trunks: &trunks,
        disable_learning: true,
        mac_limit: 7,
        flood_budget: 8,
        ..PortFields::default()
    };
    let bridge =
        BridgeFields { vtep: "vteps/v", vni: 16, flood_unknown: false, ageing_time: 60, suppression: true };
    let vtep = VtepFields {
        port: "ports/u",
        vlan: 5,
        address: "2001:db8::1/64",
        gateway: "2001:db8::ff",
        mac_address: "02:00:00:00:00:05",
        ttl: 9,
        dscp: 46,
    };
    let bridges = texts(&["bridges/a"]);
    let peer = TunnelPeerFields {
        vtep: "vteps/v",
        address: "2001:db8:1::2",
        bridges: &bridges,
        disable_learning: true,
        mac_limit: 9,
    };
    let addresses = texts(&["192.0.2.1", "fe80::1"]);
    let local = FdbEntryFields {
        bridge: "bridges/a",
        mac_address: "02:00:00:00:00:01",
        port: "ports/v",
        tunnel_peer: "",
        addresses: &addresses,
    };
    let remote =
        FdbEntryFields { mac_address: "02:00:00:00:00:02", port: "", tunnel_peer: "tunnelPeers/f", ..local };
    let uplink = PortFields { device: "p1", mtu: 1600, ..PortFields::default() };
    let resources = vec![
        desired("u", Spec::Port(PortSpec::parse(&uplink).expect("valid"))),
        desired("v", Spec::Port(PortSpec::parse(&port).expect("valid"))),
        desired("a", Spec::Bridge(BridgeSpec::parse(&bridge).expect("valid"))),
        desired("b", Spec::Bridge(BridgeSpec::parse(&BridgeFields::default()).expect("valid"))),
        desired("c", Spec::Bridge(BridgeSpec::parse(&BridgeFields::default()).expect("valid"))),
        desired("v", Spec::Vtep(VtepSpec::parse(&vtep).expect("valid"))),
        desired("f", Spec::TunnelPeer(TunnelPeerSpec::parse(&peer).expect("valid"))),
        desired("l", Spec::FdbEntry(FdbEntrySpec::parse(&local).expect("valid"))),
        desired("r", Spec::FdbEntry(FdbEntrySpec::parse(&remote).expect("valid"))),
    ];
    let set = "overlay".parse().expect("a valid set");
    at(9, Operation::Apply(Apply { set, resources, prune: false, take_over: false }))
}

fn request(id: u128, content: &str) -> Option<Request> {
    let id = Uuid::from_u128(id).to_string().parse().expect("a UUID");
    Some(Request { id, fingerprint: Fingerprint::new().with(content.as_bytes()) })
}

/// Everything that a state says.
fn contents(state: &State) -> String {
    let resources: Vec<_> = state.resources().collect();
    format!("{:?} {} {resources:?}", state.revision(), state.last_uid())
}

#[tokio::test]
async fn what_was_committed_is_there_after_the_store_is_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open(&path).expect("a new store");
    let id = store.id();
    assert_eq!(store.state().revision(), Revision(0));
    let committed = store.submit(lab(), None).await.expect("valid");
    assert_eq!((committed.revision, committed.changes.len(), committed.replayed), (Revision(1), 3, false));
    let delete = Operation::Delete { name: Kind::FlowRule.name("out".parse().expect("an id")), etag: None };
    store.submit(at(4, delete), None).await.expect("valid");
    store.submit(create(rule("in", "in_port=pf0,ip,actions=vm1")), None).await.expect("valid");
    let before = contents(&store.state());
    assert!(matches!(Store::open(&path), Err(OpenError::InUse)));
    drop(store);
    let store = Store::open(&path).expect("the store is there");
    assert_eq!(store.id(), id);
    assert_eq!(contents(&store.state()), before);
    let next = store.submit(create(rule("next", "actions=drop")), None).await.expect("valid");
    let uid = next.changes[0].after.as_ref().map(|resource| resource.meta().uid);
    assert_eq!((next.revision, uid), (Revision(4), Some(5)));
}

#[tokio::test]
async fn every_kind_of_resource_reads_back_with_every_field() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open(&path).expect("a new store");
    let committed = store.submit(overlay(), request(1, "overlay")).await.expect("valid");
    let before = contents(&store.state());
    drop(store);
    let store = Store::open(&path).expect("the store is there");
    assert_eq!(contents(&store.state()), before);
    let again = store.submit(overlay(), request(1, "overlay")).await.expect("repeated");
    assert_eq!((again.replayed, &again.changes), (true, &committed.changes));
}

#[tokio::test]
async fn a_refused_transaction_leaves_no_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
    let before = contents(&store.state());
    let refused = store.submit(create(rule("out", "in_port=vm1,actions=pf0")), None).await;
    assert!(matches!(refused, Err(SubmitError::Rejected(rejection)) if rejection.violations.len() == 2));
    assert_eq!(contents(&store.state()), before);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_also_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open(&path).expect("a new store");
    let first = store.submit(create(port("a", "p0")), request(1, "a")).await.expect("valid");
    store.submit(create(port("b", "p1")), request(2, "b")).await.expect("valid");
    for store in [Some(store), None] {
        let store = store.unwrap_or_else(|| Store::open(&path).expect("the store is there"));
        let again = store.submit(create(port("a", "p0")), request(1, "a")).await.expect("repeated");
        assert!(again.replayed);
        assert_eq!((again.revision, &again.changes), (first.revision, &first.changes));
        let other = store.submit(create(port("c", "p2")), request(1, "c")).await;
        assert!(matches!(other, Err(SubmitError::RequestIdReused)));
        assert_eq!(store.state().revision(), Revision(2));
        drop(store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_wait_together_are_revisions_of_their_own_heard_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Arc::new(Store::open(&directory.path().join("store.redb")).expect("a new store"));
    let mut subscription = store.subscribe();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.submit(create(port(&format!("v{n}"), &format!("pf0vf{n}"))), None).await
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.expect("no panic").expect("valid").revision.0);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=100).collect::<Vec<_>>());
    for expected in 1..=100 {
        let Some(Event::Commit(commit)) = subscription.next().await else { panic!("a commit") };
        assert_eq!((commit.before.revision().0, commit.after.revision().0), (expected - 1, expected));
        assert_eq!(commit.changes[0].action(), Action::Create);
    }
}

#[tokio::test]
async fn a_subscriber_that_is_too_slow_is_told_the_state_and_goes_on_from_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
    store.submit(create(port("a", "p0")), None).await.expect("valid");
    let mut subscription = store.subscribe();
    assert_eq!(subscription.state().revision(), Revision(1));
    for n in 0..300 {
        let device = format!("pf0vf{n}");
        store.submit(at(n, Operation::Update(port("a", &device))), None).await.expect("valid");
    }
    let Some(Event::Reset(state)) = subscription.next().await else { panic!("a reset") };
    assert_eq!(state.revision(), Revision(301));
    store.submit(create(port("b", "p0")), None).await.expect("valid");
    let Some(Event::Commit(commit)) = subscription.next().await else { panic!("a commit") };
    assert_eq!(commit.before.revision(), Revision(301));
    drop(store);
    assert!(subscription.next().await.is_none());
}

#[test]
fn a_file_that_is_no_store_or_was_torn_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    drop(Store::open(&path).expect("a new store"));
    let whole = std::fs::read(&path).expect("readable");
    for bytes in [&b""[..], b"not a store at all", &whole[..whole.len() / 2], &[0; 65_536]] {
        std::fs::write(&path, bytes).expect("writable");
        assert!(Store::open(&path).is_err(), "{} bytes", bytes.len());
        assert_eq!(std::fs::read(&path).expect("readable"), bytes);
    }
    let missing = directory.path().join("nowhere").join("store.redb");
    assert!(Store::open(&missing).is_err());
}

#[tokio::test]
async fn a_byte_changed_anywhere_never_goes_unnoticed_as_another_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open(&path).expect("a new store");
    store.submit(lab(), request(1, "lab")).await.expect("valid");
    let expected = contents(&store.state());
    drop(store);
    let whole = std::fs::read(&path).expect("readable");
    let interesting: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut refused = 0;
    for &at in interesting.iter().step_by(interesting.len() / 80) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).expect("writable");
        match Store::open(&path) {
            Ok(store) => assert_eq!(contents(&store.state()), expected, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}

fn with_header(path: &std::path::Path, change: impl FnOnce(&mut Header)) {
    let database = Database::open(path).expect("a store");
    let table: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("header");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(table).expect("the table");
        let mut header =
            Header::decode(table.get("header").expect("read").expect("there").value()).expect("valid");
        change(&mut header);
        table.insert("header", header.encode().as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_newer_schema_and_a_missing_resource_are_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    drop(Store::open(&path).expect("a new store"));
    with_header(&path, |header| header.resources = 3);
    let found = Store::open(&path).expect_err("refused");
    assert!(matches!(found, OpenError::Corrupt(Corruption::Count { expected: 3, found: 0 })), "{found}");
    with_header(&path, |header| header.schema = SCHEMA + 1);
    let found = Store::open(&path).expect_err("refused");
    assert!(matches!(found, OpenError::Newer { found: 3, known: 2 }), "{found}");
}

/// A disk in memory that fails when told to.
#[derive(Debug, Clone, Default)]
struct Faulty {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Writes until the disk is full; 0 for never.
    full_after: Arc<AtomicUsize>,
    /// Syncs that fail although everything was written.
    bad_syncs: Arc<AtomicUsize>,
}

impl Faulty {
    fn new() -> Faulty {
        let faulty = Faulty::default();
        let database = faulty.open().expect("an empty database");
        disk::initialise(&database, StoreId(Uuid::from_u128(7)), SCHEMA).expect("an empty store");
        faulty
    }

    fn write_allowed(&self) -> Result<(), io::Error> {
        match self.full_after.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(io::ErrorKind::StorageFull.into()),
            n => {
                self.full_after.store(n - 1, Ordering::SeqCst);
                Ok(())
            }
        }
    }
}

impl Medium for Faulty {
    fn open(&self) -> Result<Database, DatabaseError> {
        Builder::new().create_with_backend(self.clone())
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.bytes.lock().expect("not poisoned").len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let bytes = self.bytes.lock().expect("not poisoned");
        let end = offset as usize + out.len();
        out.copy_from_slice(bytes.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write_allowed()?;
        self.bytes.lock().expect("not poisoned").resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let bad = self.bad_syncs.load(Ordering::SeqCst);
        if bad > 0 {
            self.bad_syncs.store(bad - 1, Ordering::SeqCst);
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write_allowed()?;
        let offset = offset as usize;
        self.bytes.lock().expect("not poisoned")[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_to_the_client_and_the_state_is_kept_and_goes_on_later() {
    for writes in 1..12 {
        let faulty = Faulty::new();
        let store = Store::open_medium(Box::new(faulty.clone()), false).expect("opens");
        store.submit(lab(), None).await.expect("valid");
        let mut subscription = store.subscribe();
        let before = contents(&store.state());
        faulty.full_after.store(writes, Ordering::SeqCst);
        let mut failed = false;
        for n in 0..40 {
            let long = format!("{}actions=drop", "ip ".repeat(1000));
            match store.submit(create(rule(&format!("r{n}"), &long)), None).await {
                Ok(_) => assert!(!failed, "succeeded while the disk is full"),
                Err(SubmitError::Full) => failed = true,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(store.failing().is_some(), failed);
        }
        assert!(failed, "the disk never was full");
        faulty.full_after.store(0, Ordering::SeqCst);
        let known = store.state().revision().0;
        assert!(known > 1 || contents(&store.state()) == before);
        let revision =
            store.submit(create(rule("later", "actions=drop")), None).await.expect("there is room").revision;
        assert!(revision.0 > known);
        assert_eq!(store.failing(), None);
        let mut heard = subscription.state().revision();
        while heard < revision {
            subscription.next().await.expect("open");
            heard = subscription.state().revision();
        }
        drop(store);
        let store = Store::open_medium(Box::new(faulty), false).expect("opens again");
        assert_eq!(contents(&store.state()), contents(subscription.state()));
    }
}

#[tokio::test]
async fn a_failed_sync_is_told_and_what_reached_the_disk_is_found_out() {
    for bad in 1..4 {
        let faulty = Faulty::new();
        let store = Store::open_medium(Box::new(faulty.clone()), false).expect("opens");
        let mut subscription = store.subscribe();
        faulty.bad_syncs.store(bad, Ordering::SeqCst);
        let first = store.submit(lab(), request(1, "lab")).await;
        assert!(matches!(first, Err(SubmitError::Unavailable(_))), "{first:?}");
        assert!(store.failing().is_some());
        let again = loop {
            match store.submit(lab(), request(1, "lab")).await {
                Err(SubmitError::Unavailable(_)) => {}
                other => break other.expect("the disk is well again"),
            }
        };
        // Done once, whether or not the first try reached the disk.
        assert_eq!(again.revision, Revision(1));
        assert_eq!(store.state().revision(), Revision(1));
        assert_eq!(store.failing(), None);
        subscription.next().await.expect("told of the change");
        assert_eq!(subscription.state().revision(), Revision(1));
    }
}

#[test]
fn a_copy_opens_as_the_store_was_then_and_the_store_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("store.redb"), folder.path().join("copy"));
    let store = Store::open(&path).expect("a new store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(store.submit(lab(), None)).expect("done");
    runtime.block_on(store.submit(overlay(), None)).expect("done");
    let then = store.state();
    assert_eq!(store.copy_to(copy.clone()).expect("copied"), then.revision());
    runtime.block_on(store.submit(create(port("late", "pf0vf8")), None)).expect("done");
    assert!(store.copy_to(copy.clone()).is_err(), "a copy is not overwritten");
    let copied = Store::open(&copy).expect("sound");
    assert_eq!((copied.id(), copied.state().revision()), (store.id(), then.revision()));
    let all = |state: &State| state.resources().map(|resource| format!("{resource:?}")).collect::<Vec<_>>();
    assert_eq!(all(&copied.state()), all(&then));
}
