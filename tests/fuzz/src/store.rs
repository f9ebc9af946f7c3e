//! The store's file: whatever is in it, it is refused, or is a state that a client could have made.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use futures::executor::block_on;
use nic_model::{Desired, Operation, PortFields, PortSpec, Spec, Time, Transaction, check_whole};
use nic_proto::storage::v1 as pb;
use nic_store::{Store, SubmitError};
use prost::Message;
use redb::{Builder, Database, ReadableTable, ReadableTableMetadata, TableDefinition};
use tempfile::TempDir;

const HEADER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("header");
const RESOURCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("resources");
const REQUESTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("requests");

/// Bit 0 of the first byte says what is edited: rows, which the database then writes with sound checksums,
/// or bytes of the file. Bit 1 says whether the header's numbers are made to fit the rows.
pub fn store_file(bytes: &[u8]) {
    let Some((&how, edits)) = bytes.split_first() else {
        return;
    };
    let folder = folder();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, base()).expect("there is room");
    if how & 1 == 0 {
        edit_rows(&path, edits, how & 2 != 0);
    } else {
        edit_bytes(&path, edits);
    }
    let Ok(store) = Store::open(&path) else { return };
    let state = store.state();
    check_whole(&state).expect("an open store is sound");
    let before = contents(&store);
    // It goes on from there, and what it writes it reads again.
    match block_on(store.submit(one_more(), None)) {
        Ok(committed) => assert!(committed.revision > state.revision()),
        Err(error) => assert!(matches!(error, SubmitError::Rejected(_)), "{error}"),
    }
    let after = contents(&store);
    drop(store);
    let again = Store::open(&path).unwrap_or_else(|error| panic!("{error}, after {before:?}"));
    assert_eq!(contents(&again), after);
}

/// Memory, where there is some to put files in: the disk is of no interest here.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder can be made")
}

fn contents(store: &Store) -> Vec<String> {
    let state = store.state();
    let resources = state.resources().map(|resource| format!("{resource:?}"));
    [format!("{:?}", state.revision())].into_iter().chain(resources).collect()
}

fn one_more() -> Transaction {
    let fields = PortFields { device: "pf15vf1023", mtu: 1500, ..PortFields::default() };
    let spec = Spec::Port(PortSpec::parse(&fields).expect("a valid port"));
    let desired = Desired { id: "one-more".parse().expect("a valid id"), spec, etag: None };
    Transaction { time: Time(7), operation: Operation::Create(desired) }
}

/// A sound store with a resource of every kind.
fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = folder();
        let path: PathBuf = folder.path().join("store.redb");
        drop(Store::open(&path).expect("a new store"));
        let database = open(&path);
        let transaction = database.begin_write().expect("a transaction");
        {
            let mut resources = transaction.open_table(RESOURCES).expect("the table");
            for (uid, (key, resource)) in rows().into_iter().enumerate() {
                let meta = pb::Meta { uid: uid as u64 + 1, generation: 1, ..pb::Meta::default() };
                let resource = pb::Resource { meta: Some(meta), ..resource };
                resources.insert(key, resource.encode_to_vec().as_slice()).expect("written");
            }
        }
        transaction.commit().expect("committed");
        edit(&database, |_| (), true);
        drop(database);
        drop(Store::open(&path).expect("a sound store"));
        std::fs::read(&path).expect("readable")
    })
}

fn open(path: &Path) -> Database {
    Builder::new().set_cache_size(1 << 20).open(path).expect("a database")
}

fn rows() -> Vec<(&'static str, pb::Resource)> {
    use pb::resource::Spec;
    let resource = |id: &str, spec| pb::Resource { id: id.to_owned(), meta: None, spec: Some(spec) };
    let port = |device: &str, bridge: &str| {
        Spec::Port(pb::PortSpec {
            device: device.to_owned(),
            enabled: true,
            mtu: if bridge.is_empty() { 9000 } else { 1500 },
            bridge: bridge.to_owned(),
            ..pb::PortSpec::default()
        })
    };
    let rule = pb::FlowRuleSpec { flow: "in_port=vm1,tcp,actions=output:pf0".to_owned(), priority: Some(7) };
    let vtep = pb::VtepSpec {
        port: "ports/pf0".to_owned(),
        address: "192.0.2.1/24".to_owned(),
        ttl: 64,
        ..pb::VtepSpec::default()
    };
    let bridge = pb::BridgeSpec { vtep: "vteps/v".to_owned(), vni: 16, ..pb::BridgeSpec::default() };
    let peer = pb::TunnelPeerSpec {
        vtep: "vteps/v".to_owned(),
        address: "192.0.2.2".to_owned(),
        bridges: vec!["bridges/a".to_owned()],
        ..pb::TunnelPeerSpec::default()
    };
    let entry = pb::FdbEntrySpec {
        bridge: "bridges/a".to_owned(),
        mac_address: "02:00:00:00:00:01".to_owned(),
        port: "ports/vm1".to_owned(),
        ..pb::FdbEntrySpec::default()
    };
    vec![
        ("ports/pf0", resource("pf0", port("p0", ""))),
        ("ports/vm1", resource("vm1", port("pf0vf0", "bridges/a"))),
        ("flowRules/out", resource("out", Spec::FlowRule(rule))),
        ("vteps/v", resource("v", Spec::Vtep(vtep))),
        ("bridges/a", resource("a", Spec::Bridge(bridge))),
        ("tunnelPeers/p", resource("p", Spec::TunnelPeer(peer))),
        ("fdbEntries/a.020000000001", resource("a.020000000001", Spec::FdbEntry(entry))),
    ]
}

/// Each edit: a table, its key with the length before it, its value with the length in two bytes before it.
/// An empty value takes the row out.
fn edit_rows(path: &Path, mut edits: &[u8], fit: bool) {
    let database = open(path);
    edit(
        &database,
        |transaction| {
            for _ in 0..64 {
                let Some((&table, rest)) = edits.split_first() else { break };
                edits = rest;
                let key = take(&mut edits, 1);
                let value = take(&mut edits, 2);
                match (table % 3, std::str::from_utf8(key)) {
                    (0, _) => {
                        let number = key.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
                        let mut table = transaction.open_table(REQUESTS).expect("the table");
                        table.insert(number, value).expect("written");
                    }
                    (1, _) => {
                        let mut table = transaction.open_table(HEADER).expect("the table");
                        table.insert("header", value).expect("written");
                    }
                    (_, Ok(key)) => {
                        let mut table = transaction.open_table(RESOURCES).expect("the table");
                        if value.is_empty() {
                            table.remove(key).expect("removed");
                        } else {
                            table.insert(key, value).expect("written");
                        }
                    }
                    (_, Err(_)) => {}
                }
            }
        },
        fit,
    );
}

/// Edits rows in one transaction; `fit` has the header say how many resources there are.
fn edit(database: &Database, rows: impl FnOnce(&redb::WriteTransaction), fit: bool) {
    let transaction = database.begin_write().expect("a transaction");
    rows(&transaction);
    if fit {
        let resources = transaction.open_table(RESOURCES).expect("the table").len().expect("read");
        let mut table = transaction.open_table(HEADER).expect("the table");
        let header = table.get("header").expect("read").map(|row| row.value().to_vec()).unwrap_or_default();
        let mut header = pb::Header::decode(header.as_slice()).unwrap_or_default();
        header.resources = resources;
        header.last_uid = header.last_uid.max(resources);
        table.insert("header", header.encode_to_vec().as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

/// Each edit: a place in three bytes, and what is put there. A place behind the end cuts the file there.
fn edit_bytes(path: &Path, edits: &[u8]) {
    let mut file = base().to_vec();
    for edit in edits.chunks_exact(4) {
        let place = edit[..3].iter().fold(0, |place, &byte| place << 8 | usize::from(byte));
        if place < file.len() {
            file[place] = edit[3];
        } else {
            file.truncate(place % base().len());
        }
    }
    std::fs::write(path, file).expect("there is room");
}

/// The next bytes, with their number in `width` bytes before them.
fn take<'a>(bytes: &mut &'a [u8], width: usize) -> &'a [u8] {
    let Some((length, rest)) = bytes.split_at_checked(width) else {
        return &[];
    };
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (part, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    part
}
