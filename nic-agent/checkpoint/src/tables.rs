//! What is in the file: two tables, read as a whole, written a transaction at a time.
//!
//! `objects` has a record for each object ([`nic_link::record`]). `meta` has these entries, numbers in
//! big-endian: `format` (4 octets), `schema` (4), `store` (16), `revision` (8), `objects` (8, how many),
//! `digest` (16, the sum of the records' hashes, so that it costs a change what the change holds).

use std::collections::HashMap;

use nic_link::{SCHEMA_VERSIONS, Uuid, record};
use nic_policy::{Change, Delta, Object, Revision};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition};

use crate::error::{SaveError, Unusable};

/// The format of `meta` and `objects`.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(crate) const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");

/// The schema version in which objects are written.
pub(crate) fn newest_schema() -> u32 {
    SCHEMA_VERSIONS.iter().copied().max().unwrap_or(0)
}

/// What is said of the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) schema: u32,
    pub(crate) store: Uuid,
    pub(crate) revision: Revision,
    pub(crate) objects: u64,
    pub(crate) digest: u128,
}

/// A policy that was read.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) meta: Meta,
    pub(crate) objects: Vec<Object>,
}

impl Meta {
    fn read(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Meta, Unusable> {
        let format = u32::from_be_bytes(entry(table, "format")?);
        if format != FORMAT {
            return Err(Unusable::Format { found: format, known: FORMAT });
        }
        Ok(Meta {
            schema: u32::from_be_bytes(entry(table, "schema")?),
            store: Uuid::from_bytes(entry(table, "store")?),
            revision: Revision(u64::from_be_bytes(entry(table, "revision")?)),
            objects: u64::from_be_bytes(entry(table, "objects")?),
            digest: u128::from_be_bytes(entry(table, "digest")?),
        })
    }

    fn write(&self, table: &mut Table<'_, &'static str, &'static [u8]>) -> Result<(), redb::Error> {
        let entries: [(&str, &[u8]); 6] = [
            ("format", &FORMAT.to_be_bytes()),
            ("schema", &self.schema.to_be_bytes()),
            ("store", self.store.as_bytes()),
            ("revision", &self.revision.0.to_be_bytes()),
            ("objects", &self.objects.to_be_bytes()),
            ("digest", &self.digest.to_be_bytes()),
        ];
        for (name, value) in entries {
            table.insert(name, value)?;
        }
        Ok(())
    }

    fn count_in(&mut self, key: &[u8], value: &[u8]) {
        self.objects += 1;
        self.digest = self.digest.wrapping_add(hash(key, value));
    }

    fn count_out(&mut self, key: &[u8], value: &[u8]) {
        // What was never counted in shows when the file is read.
        self.objects = self.objects.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(hash(key, value));
    }
}

fn entry<const N: usize>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<[u8; N], Unusable> {
    let value = table.get(name)?.ok_or(Unusable::Missing(name))?;
    value.value().try_into().map_err(|_| Unusable::Malformed(name))
}

/// FNV-1a with 128 bits (draft-eastlake-fnv). It need not withstand an adversary: whoever can write the
/// file can write all of it.
fn hash(key: &[u8], value: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let length = (key.len() as u64).to_be_bytes();
    let bytes = length.iter().chain(key).chain(value);
    bytes.fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// Reads a whole policy, and checks that it is one that was written.
pub(crate) fn read(database: &Database) -> Result<Contents, Unusable> {
    let transaction = database.begin_read()?;
    let meta = {
        let table = transaction.open_table(META).map_err(|error| Unusable::table(error, "the table meta"))?;
        Meta::read(&table)?
    };
    if !SCHEMA_VERSIONS.contains(&meta.schema) {
        return Err(Unusable::Schema { found: meta.schema, known: SCHEMA_VERSIONS });
    }
    let objects = read_objects(&transaction, &meta)?;
    Ok(Contents { meta, objects })
}

fn read_objects(transaction: &ReadTransaction, meta: &Meta) -> Result<Vec<Object>, Unusable> {
    let table =
        transaction.open_table(OBJECTS).map_err(|error| Unusable::table(error, "the table objects"))?;
    let mut found = Meta { objects: 0, digest: 0, ..*meta };
    let mut objects = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        found.count_in(key.value(), value.value());
        objects.push(record::object(key.value(), value.value())?);
    }
    if found == *meta { Ok(objects) } else { Err(Unusable::Contents) }
}

/// Writes a whole policy into a database that has none.
pub(crate) fn fill(
    database: &Database,
    store: Uuid,
    revision: Revision,
    objects: impl Iterator<Item = Object>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = Meta { schema: newest_schema(), store, revision, objects: 0, digest: 0 };
        let mut table = transaction.open_table(OBJECTS)?;
        for object in objects {
            put(&mut table, &mut meta, &record::key(object.id()), &record::value(&object))?;
        }
        meta.write(&mut transaction.open_table(META)?)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Writes deltas, one after the other, in one transaction. Nothing is written if nothing changes.
pub(crate) fn advance(database: &Database, deltas: &[(Uuid, Delta)]) -> Result<(), SaveError> {
    let storage = |error: redb::StorageError| SaveError::Database(error.into());
    let transaction = database.begin_write().map_err(|error| SaveError::Database(error.into()))?;
    let changed = {
        let mut metas = transaction.open_table(META).map_err(|error| SaveError::Database(error.into()))?;
        let before = Meta::read(&metas).map_err(|_| SaveError::Base)?;
        let mut objects =
            transaction.open_table(OBJECTS).map_err(|error| SaveError::Database(error.into()))?;
        let mut meta = before;
        for (store, delta) in deltas {
            // Objects of an older schema are not left among newer ones.
            if meta.schema != newest_schema() || !delta.replace_all && meta.store != *store {
                return Err(SaveError::Base);
            }
            meta = Meta { store: *store, revision: delta.revision, ..meta };
            if delta.replace_all {
                replace(&mut objects, &mut meta, &delta.changes).map_err(storage)?;
            } else {
                step(&mut objects, &mut meta, &delta.changes).map_err(storage)?;
            }
        }
        if meta != before {
            meta.write(&mut metas)?;
        }
        meta != before
    };
    if changed {
        transaction.commit().map_err(|error| SaveError::Database(error.into()))
    } else {
        transaction.abort().map_err(storage)
    }
}

type Objects<'t> = Table<'t, &'static [u8], &'static [u8]>;

fn step(objects: &mut Objects<'_>, meta: &mut Meta, changes: &[Change]) -> Result<(), redb::StorageError> {
    for change in changes {
        let key = record::key(change.id());
        match change {
            Change::Put(object) => put(objects, meta, &key, &record::value(object))?,
            Change::Remove(_) => {
                if let Some(old) = objects.remove(key.as_slice())? {
                    meta.count_out(&key, old.value());
                }
            }
        }
    }
    Ok(())
}

/// Writes no record that is there already: an agent that starts sends all, and mostly the same.
fn replace(objects: &mut Objects<'_>, meta: &mut Meta, changes: &[Change]) -> Result<(), redb::StorageError> {
    let mut wanted: HashMap<Vec<u8>, Vec<u8>> = HashMap::with_capacity(changes.len());
    for change in changes {
        if let Change::Put(object) = change {
            wanted.insert(record::key(object.id()), record::value(object));
        }
    }
    objects.retain(|key, value| {
        let kept = wanted.get(key).is_some_and(|wanted| wanted == value);
        if kept {
            wanted.remove(key);
        } else {
            meta.count_out(key, value);
        }
        kept
    })?;
    for (key, value) in &wanted {
        put(objects, meta, key, value)?;
    }
    Ok(())
}

fn put(
    objects: &mut Objects<'_>,
    meta: &mut Meta,
    key: &[u8],
    value: &[u8],
) -> Result<(), redb::StorageError> {
    if let Some(old) = objects.insert(key, value)? {
        meta.count_out(key, old.value());
    }
    meta.count_in(key, value);
    Ok(())
}
