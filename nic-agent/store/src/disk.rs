//! The tables on disk: opened and checked as a whole, written a group at a time.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use nic_model::{Change, Kind, Resource, State};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use uuid::Uuid;

use crate::codec::{self, Header, OLDEST_SCHEMA, SCHEMA};
use crate::error::{Corruption, OpenError, StoreId};
use crate::requests::Requests;

const HEADER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("header");
const RESOURCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("resources");
const REQUESTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("requests");
const HEADER_KEY: &str = "header";

/// The state is kept in memory, so reading needs little cache.
const CACHE_BYTES: usize = 8 << 20;

/// Where a store is, so that it can be opened again.
pub(crate) trait Medium: Send + 'static {
    /// Opens the database that is there.
    fn open(&self) -> Result<Database, DatabaseError>;
}

/// A file.
#[derive(Debug)]
pub(crate) struct FileMedium(pub(crate) PathBuf);

impl Medium for FileMedium {
    fn open(&self) -> Result<Database, DatabaseError> {
        Builder::new().set_cache_size(CACHE_BYTES).open(&self.0)
    }
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Disk {
    database: Database,
    store: StoreId,
    /// The schema that it was written in last, before this process.
    schema: u32,
}

/// What was on it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) disk: Disk,
    pub(crate) state: State,
    pub(crate) requests: Requests,
}

/// What one transaction on disk writes.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) changes: Vec<Change>,
    /// Records by age.
    pub(crate) kept: Vec<(u64, Vec<u8>)>,
    /// Ages.
    pub(crate) forgotten: Vec<u64>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.kept.is_empty()
    }
}

/// Makes an empty store in a file that does not exist. It appears whole or not at all.
pub(crate) fn create(path: &Path, schema: u32) -> Result<(), OpenError> {
    let failed = |source| OpenError::Create { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let database = Builder::new().create(&new).map_err(unreadable)?;
    initialise(&database, StoreId(Uuid::new_v4()), schema).map_err(OpenError::Unreadable)?;
    drop(database);
    std::fs::rename(&new, path).map_err(failed)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Writes the tables of an empty store; empty ones are the same in all schemas.
pub(crate) fn initialise(database: &Database, store: StoreId, schema: u32) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let header = Header { schema, store, revision: State::default().revision(), last_uid: 0, resources: 0 };
    transaction.open_table(HEADER)?.insert(HEADER_KEY, header.encode().as_slice())?;
    transaction.open_table(RESOURCES)?;
    transaction.open_table(REQUESTS)?;
    transaction.commit()?;
    Ok(())
}

impl Disk {
    /// Opens a store, checks and reads all of it.
    pub(crate) fn open(medium: &dyn Medium) -> Result<Loaded, OpenError> {
        let database = open_checked(medium)?;
        let transaction = database.begin_read().map_err(|error| OpenError::Unreadable(error.into()))?;
        let header = read_header(&transaction)?;
        let resources = read_resources(&transaction)?;
        if resources.len() as u64 != header.resources {
            return Err(
                Corruption::Count { expected: header.resources, found: resources.len() as u64 }.into()
            );
        }
        check_uids(&resources, header.last_uid)?;
        let state = State::restore(header.revision, header.last_uid, resources);
        check_whole(&state)?;
        let requests = read_requests(&transaction)?;
        drop(transaction);
        let disk = Disk { database, store: header.store, schema: header.schema };
        Ok(Loaded { disk, state, requests })
    }

    /// Whether an earlier version, which knows only its own schema, still reads it.
    pub(crate) const fn is_of_an_older_schema(&self) -> bool {
        self.schema < SCHEMA
    }

    /// Writes all resources again, as this version does.
    pub(crate) fn migrate(&mut self, state: &State) -> Result<(), redb::Error> {
        let change = |resource: &Resource| Change { before: None, after: Some(resource.clone()) };
        let changes = state.resources().map(|resource| change(&resource)).collect();
        self.write(state, &Group { changes, ..Group::default() })?;
        self.schema = SCHEMA;
        Ok(())
    }

    /// The store's name.
    pub(crate) const fn store(&self) -> StoreId {
        self.store
    }

    /// Writes a group of changes that lead to a state, and syncs. After an error the store must be
    /// opened again, for nobody knows what reached the disk.
    pub(crate) fn write(&self, state: &State, group: &Group) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RESOURCES)?;
            for change in &group.changes {
                match (&change.before, &change.after) {
                    (_, Some(after)) => {
                        table.insert(codec::key(after).as_str(), codec::encode_resource(after).as_slice())?;
                    }
                    (Some(before), None) => {
                        table.remove(codec::key(before).as_str())?;
                    }
                    (None, None) => {}
                }
            }
            let mut table = transaction.open_table(REQUESTS)?;
            for (age, record) in &group.kept {
                table.insert(age, record.as_slice())?;
            }
            for age in &group.forgotten {
                table.remove(age)?;
            }
            let header = Header {
                schema: SCHEMA,
                store: self.store,
                revision: state.revision(),
                last_uid: state.last_uid(),
                resources: Kind::ALL.iter().map(|&kind| state.count(kind) as u64).sum(),
            };
            transaction.open_table(HEADER)?.insert(HEADER_KEY, header.encode().as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Writes all records, as they are now, into a database in a new file, durably.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), redb::Error> {
        let from = self.database.begin_read()?;
        let file =
            File::options().read(true).write(true).create_new(true).open(path).map_err(redb::Error::Io)?;
        let database = Builder::new().create_file(file)?;
        let to = database.begin_write()?;
        copy_table(&from, &to, HEADER)?;
        copy_table(&from, &to, RESOURCES)?;
        copy_table(&from, &to, REQUESTS)?;
        to.commit()?;
        drop(database);
        File::open(path).and_then(|file| file.sync_all()).map_err(redb::Error::Io)
    }
}

/// Copies a table record by record.
fn copy_table<K: redb::Key + 'static>(
    from: &redb::ReadTransaction,
    to: &redb::WriteTransaction,
    definition: TableDefinition<'_, K, &'static [u8]>,
) -> Result<(), redb::Error> {
    let (from, mut to) = (from.open_table(definition)?, to.open_table(definition)?);
    for entry in from.iter()? {
        let (key, record) = entry?;
        to.insert(key.value(), record.value())?;
    }
    Ok(())
}

/// Opens a database and checks all its checksums.
fn open_checked(medium: &dyn Medium) -> Result<Database, OpenError> {
    let open = || {
        let mut database = medium.open().map_err(unreadable)?;
        if database.check_integrity().map_err(unreadable)? {
            Ok(database)
        } else {
            Err(Corruption::Checksum.into())
        }
    };
    // redb trusts lengths that it reads before it checks their checksums, and panics where they are
    // wrong; a torn file must be an error like any other. Nothing of ours is seen half changed then.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)).unwrap_or(Err(Corruption::Structure.into()))
}

fn read_header(transaction: &redb::ReadTransaction) -> Result<Header, OpenError> {
    let table = transaction.open_table(HEADER).map_err(|error| missing(error, "the table of the header"))?;
    let record = table.get(HEADER_KEY).map_err(|error| OpenError::Unreadable(error.into()))?;
    let record = record.ok_or(Corruption::Missing("the header"))?;
    let header = Header::decode(record.value())?;
    match header.schema {
        OLDEST_SCHEMA..=SCHEMA => Ok(header),
        0 => Err(Corruption::Field { key: HEADER_KEY.to_owned(), field: "schema_version" }.into()),
        found => Err(OpenError::Newer { found, known: SCHEMA }),
    }
}

fn read_resources(transaction: &redb::ReadTransaction) -> Result<Vec<Resource>, OpenError> {
    let unreadable = |error: redb::StorageError| OpenError::Unreadable(error.into());
    let table =
        transaction.open_table(RESOURCES).map_err(|error| missing(error, "the table of resources"))?;
    let mut resources = Vec::new();
    for entry in table.iter().map_err(unreadable)? {
        let (key, record) = entry.map_err(unreadable)?;
        resources.push(codec::decode_resource(key.value(), record.value())?);
    }
    Ok(resources)
}

fn read_requests(transaction: &redb::ReadTransaction) -> Result<Requests, OpenError> {
    let unreadable = |error: redb::StorageError| OpenError::Unreadable(error.into());
    let table = transaction.open_table(REQUESTS).map_err(|error| missing(error, "the table of requests"))?;
    let mut requests = Requests::default();
    for entry in table.iter().map_err(unreadable)? {
        let (age, record) = entry.map_err(unreadable)?;
        let (request, answer) = codec::decode_request(age.value(), record.value())?;
        requests.keep(age.value(), request, answer, record.value().len());
    }
    Ok(requests)
}

/// No uid is there twice or was never handed out.
fn check_uids(resources: &[Resource], last_uid: u64) -> Result<(), Corruption> {
    let mut uids = BTreeSet::new();
    for resource in resources {
        let uid = resource.meta().uid;
        if uid > last_uid || !uids.insert(uid) {
            return Err(Corruption::Field { key: codec::key(resource), field: "uid" });
        }
    }
    Ok(())
}

/// The resources fit together.
fn check_whole(state: &State) -> Result<(), Corruption> {
    let rejection = nic_model::check_whole(state);
    rejection.map_err(|rejection| Corruption::Inconsistent(rejection.to_string()))
}

fn missing(error: TableError, what: &'static str) -> OpenError {
    match error {
        TableError::TableDoesNotExist(_) => Corruption::Missing(what).into(),
        error => OpenError::Unreadable(error.into()),
    }
}

fn unreadable(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        error => OpenError::Unreadable(error.into()),
    }
}
