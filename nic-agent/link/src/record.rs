//! Policy objects as records of a file: key and value are the messages that a Sync carries, so that what
//! is kept on disk and what is sent are read by one conversion.
//!
//! A record says nothing of its schema version. Whoever keeps records keeps beside them the newest of
//! [`SCHEMA_VERSIONS`](crate::SCHEMA_VERSIONS), and reads them back only if theirs is among them.

use nic_policy::{Object, ObjectId};
use nic_proto::datapath::v1 as pb;
use prost::Message;

use crate::convert::{ObjectError, object_from, object_ref_to, object_to};

/// Why a record is no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The value is no message.
    #[error("it is no message: {0}")]
    Message(#[from] prost::DecodeError),
    /// The message is no object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The object stands under the key of another.
    #[error("{0:?} stands under another's key")]
    Key(ObjectId),
}

/// The key of an object: its encoded ObjectRef.
pub fn key(id: ObjectId) -> Vec<u8> {
    object_ref_to(id).encode_to_vec()
}

/// The value of an object: its encoded PolicyObject.
pub fn value(object: &Object) -> Vec<u8> {
    object_to(object).encode_to_vec()
}

/// Reads an object.
///
/// # Errors
/// See [`RecordError`]; nothing is guessed.
pub fn object(key: &[u8], value: &[u8]) -> Result<Object, RecordError> {
    let object = object_from(&pb::PolicyObject::decode(value)?)?;
    if self::key(object.id()) == key { Ok(object) } else { Err(RecordError::Key(object.id())) }
}
