//! Stores that earlier versions wrote.

use super::*;

/// A store of schema 1 with the [`lab`], as the first version wrote it: header, resources, requests.
const HEADER: &str = "08011210e3ac20a4f0fa44ba9770e5187d1035c5180120032803";
const RESOURCES: &[(&str, &str)] = &[
    (
        "flowRules/out",
        "0a036f7574121108031001180120012a036c616230033803221b0a17696e5f706f72743d766d312c61637469\
     6f6e733d7066301007",
    ),
    (
        "ports/pf0",
        "0a03706630121108011001180120012a036c6162300338031a1e0a027030100118a846221130323a30303a30\
     303a30303a30303a30312801",
    ),
    (
        "ports/vm1",
        "0a03766d31121108021001180120012a036c6162300338031a220a06706630766630100118a846221130323a\
     30303a30303a30303a30303a30312801",
    ),
];
const REQUEST: &str = "0a10000000000000000000000000000000011210b55fc09821a84529d84338fcc7cd69e21801223a12380a03\
     706630121108011001180120012a036c6162300338031a1e0a027030100118a846221130323a30303a30303a\
     30303a30303a30312801223e123c0a03766d31121108021001180120012a036c6162300338031a220a067066\
     30766630100118a846221130323a30303a30303a30303a30303a30312801223712350a036f75741211080310\
     01180120012a036c616230033803221b0a17696e5f706f72743d766d312c616374696f6e733d7066301007";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn write(path: &std::path::Path) {
    let text = |name| redb::TableDefinition::<'_, &str, &[u8]>::new(name);
    let requests: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("requests");
    let database = Database::create(path).expect("a new database");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(text("header")).expect("a table");
        table.insert("header", bytes(HEADER).as_slice()).expect("written");
        let mut table = transaction.open_table(text("resources")).expect("a table");
        for (key, record) in RESOURCES {
            table.insert(*key, bytes(record).as_slice()).expect("written");
        }
        let mut table = transaction.open_table(requests).expect("a table");
        table.insert(0, bytes(REQUEST).as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[tokio::test]
async fn a_store_of_the_first_schema_opens_with_all_that_it_meant_and_goes_on_as_one_of_this() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    write(&path);
    let store = Store::open(&path).expect("an old store");
    let state = store.state();
    assert_eq!((state.revision(), state.last_uid(), state.resources().count()), (Revision(1), 3, 3));
    let port = state.port(&"vm1".parse().expect("an id")).expect("exists");
    assert_eq!((port.spec.mtu(), port.spec.anti_spoof()), (9000, true));
    assert_eq!((port.spec.bridge(), port.spec.trunks().len()), (None, 0));
    assert_eq!((port.spec.mac_limit(), port.spec.flood_budget()), (1024, 10_000));
    // The request is remembered, and what it sent is still so.
    let again = store.submit(lab(), request(1, "lab")).await.expect("repeated");
    assert!(again.replayed);
    let again = store.submit(lab(), None).await.expect("valid");
    assert_eq!(again.revision, Revision(1));
    store.submit(overlay(), None).await.expect("valid");
    let expected = contents(&store.state());
    drop(store);
    with_header(&path, |header| assert_eq!(header.schema, SCHEMA));
    assert_eq!(contents(&Store::open(&path).expect("opens again").state()), expected);
}

#[test]
fn a_resource_of_the_first_schema_is_written_again_with_its_defaults_spelt_out() {
    for (key, record) in RESOURCES {
        let resource = codec::decode_resource(key, &bytes(record)).expect("valid");
        let written = codec::encode_resource(&resource);
        assert_eq!(codec::decode_resource(key, &written).expect("valid"), resource);
        assert_eq!(written == bytes(record), !key.starts_with("ports/"), "{key}");
    }
}

#[tokio::test]
async fn a_version_on_trial_writes_nothing_that_an_older_one_does_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    write(&path);
    let store = Store::open_held(&path).expect("an old store");
    assert!(matches!(store.submit(overlay(), None).await, Err(SubmitError::Held)));
    assert!(matches!(store.submit(create(port("x", "pf0vf7")), None).await, Err(SubmitError::Held)));
    assert_eq!((store.state().revision(), store.failing()), (Revision(1), None), "and that is no fault");
    let (held, copy) = (directory.path().join("held"), Arc::new(store));
    let copied = Arc::clone(&copy);
    let (to, done) = (held.clone(), tokio::task::spawn_blocking(move || copied.copy_to(held)));
    done.await.expect("no panic").expect("copied");
    with_header(&to, |header| assert_eq!(header.schema, 1));
    drop(copy);
    with_header(&path, |header| assert_eq!(header.schema, 1));

    let store = Arc::new(Store::open_held(&path).expect("as it was"));
    let released = Arc::clone(&store);
    tokio::task::spawn_blocking(move || released.release()).await.expect("no panic").expect("released");
    let expected = contents(&store.state());
    let again = Arc::clone(&store);
    again.submit(overlay(), None).await.expect("valid");
    assert_ne!(contents(&store.state()), expected);
    drop((store, again));
    with_header(&path, |header| assert_eq!(header.schema, SCHEMA));
    Store::open_held(&path).expect("its own").submit(create(port("x", "pf0vf7")), None).await.expect("taken");
}

#[tokio::test]
async fn a_release_migrates_a_store_that_nobody_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    write(&path);
    let store = Store::open_held(&path).expect("an old store");
    let expected = contents(&store.state());
    let released = tokio::task::spawn_blocking(move || store.release()).await.expect("no panic");
    released.expect("released");
    with_header(&path, |header| assert_eq!((header.schema, header.revision), (SCHEMA, Revision(1))));
    assert_eq!(contents(&Store::open(&path).expect("opens again").state()), expected);
}

#[tokio::test]
async fn a_version_on_trial_makes_a_store_that_every_version_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = Store::open_held(&path).expect("a new store");
    assert!(matches!(store.submit(lab(), None).await, Err(SubmitError::Held)));
    drop(store);
    with_header(&path, |header| assert_eq!(header.schema, 1));
}
