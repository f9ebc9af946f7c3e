//! What goes wrong in a store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use nic_model::{NameError, Rejection, Violation};
use uuid::Uuid;

/// Names a store for good; a card that lost its store has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub Uuid);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made.
    #[error("cannot create the store {path}: {source}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("another process has the store open")]
    InUse,
    /// The file cannot be read, or is no store.
    #[error("the store cannot be read: {0}")]
    Unreadable(#[source] redb::Error),
    /// The store is of a newer version of this program.
    #[error("the store has schema {found}; this version knows schemas up to {known}")]
    Newer {
        /// The store's schema.
        found: u32,
        /// The newest that this version knows.
        known: u32,
    },
    /// What was read is not what was written.
    #[error("the store is corrupt: {0}")]
    Corrupt(#[from] Corruption),
}

/// What is wrong with what was read.
#[derive(Debug, thiserror::Error)]
pub enum Corruption {
    /// A table or record is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The checksums do not hold.
    #[error("its checksums do not hold")]
    Checksum,
    /// The database's own structures do not fit together.
    #[error("its structures do not fit together")]
    Structure,
    /// A record cannot be decoded.
    #[error("the record {key:?} cannot be decoded")]
    Record {
        /// Its key.
        key: String,
        /// Why not.
        source: prost::DecodeError,
    },
    /// A field of a record has a value that nobody wrote.
    #[error("{field} of the record {key:?} is malformed")]
    Field {
        /// The record's key.
        key: String,
        /// The field.
        field: &'static str,
    },
    /// A name in a record is malformed.
    #[error("the name in the record {key:?} is malformed: {source}")]
    Name {
        /// The record's key.
        key: String,
        /// Why.
        source: NameError,
    },
    /// A resource is invalid.
    #[error("{key} is invalid: {violation}")]
    Resource {
        /// The resource's name.
        key: String,
        /// The first fault.
        violation: Violation,
    },
    /// The resources contradict each other.
    #[error("the resources do not fit together: {0}")]
    Inconsistent(String),
    /// It is older than what was written to it.
    #[error("it is at revision {found} instead of {expected}, or it is another store")]
    Behind {
        /// The revision that it should at least have.
        expected: u64,
        /// The one that it has.
        found: u64,
    },
    /// There are more or fewer resources than there should be.
    #[error("it has {found} resources instead of {expected}")]
    Count {
        /// As many as there should be.
        expected: u64,
        /// As many as there are.
        found: u64,
    },
}

/// Why a transaction was not done. The state is as it was, unless noted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The transaction is invalid.
    #[error("{0}")]
    Rejected(Rejection),
    /// The request id was used with other content.
    #[error("the request id was used before, with other content")]
    RequestIdReused,
    /// The disk is full.
    #[error("the store's disk is full")]
    Full,
    /// The disk failed. Should the transaction have reached it nevertheless, the store finds out before
    /// the next one; a request id makes it safe to repeat.
    #[error("the store cannot write: {0}")]
    Unavailable(#[source] Arc<redb::Error>),
    /// The store was found corrupt when it was opened again after a failure.
    #[error("the store cannot be opened again: {0}")]
    Lost(#[source] Arc<OpenError>),
    /// This version is on trial, and what it wrote an older one would not read.
    #[error(
        "this version has not proven itself yet, and would write the configuration so that the one before \
         does not read it: no change is taken until then"
    )]
    Held,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl From<redb::Error> for SubmitError {
    fn from(error: redb::Error) -> SubmitError {
        match error {
            redb::Error::Io(io) if is_full(&io) => SubmitError::Full,
            error => SubmitError::Unavailable(Arc::new(error)),
        }
    }
}

impl From<OpenError> for SubmitError {
    fn from(error: OpenError) -> SubmitError {
        match error {
            OpenError::Unreadable(error) => error.into(),
            error => SubmitError::Lost(Arc::new(error)),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
