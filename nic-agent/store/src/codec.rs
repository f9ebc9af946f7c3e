//! Resources and requests as storage messages. Reading parses as if a client had sent it.

use std::sync::Arc;

use nic_model::{Change, Meta, Resource, Time};
use nic_policy::Revision;
use nic_proto::storage::v1 as pb;
use prost::Message;
use uuid::Uuid;

use crate::error::{Corruption, StoreId};
use crate::requests::{Fingerprint, Request, RequestId};
use crate::store::Committed;

mod spec;

/// The schema that this version writes, and the newest that it reads. 1 had only Ports without bridges,
/// and FlowRules; what it wrote reads as it was meant.
pub(crate) const SCHEMA: u32 = 2;
/// The oldest schema that this version reads.
pub(crate) const OLDEST_SCHEMA: u32 = 1;

/// The record that says what the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) schema: u32,
    pub(crate) store: StoreId,
    pub(crate) revision: Revision,
    pub(crate) last_uid: u64,
    pub(crate) resources: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let header = pb::Header {
            schema_version: self.schema,
            store_uuid: self.store.0.as_bytes().to_vec(),
            revision: self.revision.0,
            last_uid: self.last_uid,
            resources: self.resources,
        };
        header.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Corruption> {
        let header: pb::Header = message("header", bytes)?;
        Ok(Header {
            schema: header.schema_version,
            store: StoreId(uuid("header", &header.store_uuid)?),
            revision: Revision(header.revision),
            last_uid: header.last_uid,
            resources: header.resources,
        })
    }
}

pub(crate) fn encode_resource(resource: &Resource) -> Vec<u8> {
    resource_message(resource).encode_to_vec()
}

/// Reads the resource of a key.
pub(crate) fn decode_resource(key: &str, bytes: &[u8]) -> Result<Resource, Corruption> {
    let resource = resource(key, message(key, bytes)?)?;
    if resource.name().to_string() != key {
        return Err(Corruption::Field { key: key.to_owned(), field: "id" });
    }
    Ok(resource)
}

pub(crate) fn encode_request(request: &Request, answer: &Committed) -> Vec<u8> {
    let changes = answer.changes.iter().map(|change| pb::Change {
        before: change.before.as_ref().map(resource_message),
        after: change.after.as_ref().map(resource_message),
    });
    let message = pb::Request {
        id: request.id.0.as_bytes().to_vec(),
        fingerprint: request.fingerprint.0.to_le_bytes().to_vec(),
        revision: answer.revision.0,
        changes: changes.collect(),
    };
    message.encode_to_vec()
}

pub(crate) fn decode_request(age: u64, bytes: &[u8]) -> Result<(Request, Committed), Corruption> {
    let key = format!("request {age}");
    let message: pb::Request = message(&key, bytes)?;
    let id = RequestId(uuid(&key, &message.id)?);
    let fingerprint = <[u8; 16]>::try_from(message.fingerprint.as_slice())
        .map_err(|_| Corruption::Field { key: key.clone(), field: "fingerprint" })?;
    let mut changes = Vec::with_capacity(message.changes.len());
    for change in message.changes {
        let before = change.before.map(|before| resource(&key, before)).transpose()?;
        let after = change.after.map(|after| resource(&key, after)).transpose()?;
        changes.push(Change { before, after });
    }
    let fingerprint = Fingerprint(u128::from_le_bytes(fingerprint));
    let answer =
        Committed { revision: Revision(message.revision), changes: Arc::from(changes), replayed: true };
    Ok((Request { id, fingerprint }, answer))
}

fn resource_message(resource: &Resource) -> pb::Resource {
    let meta = resource.meta();
    let meta = pb::Meta {
        uid: meta.uid,
        generation: meta.generation,
        created_at: meta.created_at.0,
        changed_at: meta.changed_at.0,
        apply_set: meta.apply_set.as_ref().map(ToString::to_string).unwrap_or_default(),
        create_time: meta.create_time.0,
        update_time: meta.update_time.0,
    };
    let id = resource.id().to_string();
    pb::Resource { id, meta: Some(meta), spec: Some(spec::message(resource)) }
}

fn resource(key: &str, message: pb::Resource) -> Result<Resource, Corruption> {
    let missing = |field| Corruption::Field { key: key.to_owned(), field };
    let spec = spec::parse(&message.spec.ok_or_else(|| missing("spec"))?);
    let spec = match spec {
        Ok(spec) => spec,
        Err(violations) => {
            let violation = violations.into_iter().next().ok_or_else(|| missing("spec"))?;
            return Err(Corruption::Resource { key: key.to_owned(), violation });
        }
    };
    let name = |source| Corruption::Name { key: key.to_owned(), source };
    let id = spec.kind().id(&message.id).map_err(name)?;
    let meta = message.meta.ok_or_else(|| missing("meta"))?;
    let apply_set = match meta.apply_set.as_str() {
        "" => None,
        set => Some(set.parse().map_err(name)?),
    };
    let meta = Meta {
        uid: meta.uid,
        generation: meta.generation,
        created_at: Revision(meta.created_at),
        changed_at: Revision(meta.changed_at),
        apply_set,
        create_time: Time(meta.create_time),
        update_time: Time(meta.update_time),
    };
    Ok(Resource::new(id, meta, spec))
}

fn message<M: Message + Default>(key: &str, bytes: &[u8]) -> Result<M, Corruption> {
    M::decode(bytes).map_err(|source| Corruption::Record { key: key.to_owned(), source })
}

fn uuid(key: &str, bytes: &[u8]) -> Result<Uuid, Corruption> {
    Uuid::from_slice(bytes).map_err(|_| Corruption::Field { key: key.to_owned(), field: "uuid" })
}

/// The key of a resource of that kind and id.
pub(crate) fn key(resource: &Resource) -> String {
    resource.name().to_string()
}
