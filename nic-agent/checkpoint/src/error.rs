//! What goes wrong with the file.

use std::io;
use std::path::PathBuf;

use nic_link::record::RecordError;
use redb::{DatabaseError, TableError};

/// Why nothing can be started with a directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process keeps its policy there.
    #[error("another process keeps its policy in {}", .0.display())]
    InUse(PathBuf),
    /// The thread cannot be started.
    #[error("the thread policy-disk cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// Why the directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made or opened.
    #[error("the state directory cannot be used: {0}")]
    Io(#[from] io::Error),
    /// It belongs to another user.
    #[error("the state directory belongs to user {0}")]
    Owner(u32),
    /// Others may write there.
    #[error("others may write to the state directory: its mode is {0:04o}")]
    Mode(u32),
    /// Another process has it.
    #[error("another process keeps its policy in the state directory")]
    InUse,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its directory is not used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no ordinary file.
    #[error("it is no ordinary file")]
    NoFile,
    /// It has no contents: a policy that could not be removed was wiped out so.
    #[error("it is empty")]
    Empty,
    /// It belongs to another user.
    #[error("it belongs to user {0}")]
    Owner(u32),
    /// Others may write to it.
    #[error("others may write to it: its mode is {0:04o}")]
    Mode(u32),
    /// Another process has it open.
    #[error("another process has it open")]
    InUse,
    /// It is no database, or one of another version.
    #[error("it cannot be read: {0}")]
    Database(#[source] redb::Error),
    /// Its checksums do not hold.
    #[error("its checksums do not hold")]
    Checksum,
    /// The database's own structures do not fit together.
    #[error("its structures do not fit together")]
    Structure,
    /// A table or an entry is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An entry is malformed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// Its format is unknown here.
    #[error("it has format {found}; this version knows format {known}")]
    Format {
        /// Its format.
        found: u32,
        /// The one that is known here.
        known: u32,
    },
    /// Its objects have a schema version that is unknown here.
    #[error("its objects have schema version {found}; this version knows {known:?}")]
    Schema {
        /// Their schema version.
        found: u32,
        /// Those that are known here.
        known: &'static [u32],
    },
    /// An object cannot be understood.
    #[error("a record cannot be understood: {0}")]
    Record(#[from] RecordError),
    /// The objects are not those that were written together.
    #[error("its objects are not those that were written together")]
    Contents,
}

impl From<redb::Error> for Unusable {
    fn from(error: redb::Error) -> Unusable {
        match error {
            redb::Error::DatabaseAlreadyOpen => Unusable::InUse,
            redb::Error::Io(error) => Unusable::Io(error),
            error => Unusable::Database(error),
        }
    }
}

impl From<DatabaseError> for Unusable {
    fn from(error: DatabaseError) -> Unusable {
        redb::Error::from(error).into()
    }
}

impl From<redb::StorageError> for Unusable {
    fn from(error: redb::StorageError) -> Unusable {
        redb::Error::from(error).into()
    }
}

impl From<redb::TransactionError> for Unusable {
    fn from(error: redb::TransactionError) -> Unusable {
        redb::Error::from(error).into()
    }
}

impl Unusable {
    pub(crate) fn table(error: TableError, what: &'static str) -> Unusable {
        match error {
            TableError::TableDoesNotExist(_) => Unusable::Missing(what),
            error => redb::Error::from(error).into(),
        }
    }
}

/// Why a policy is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The directory is not used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file cannot be made, put into its place, or removed.
    #[error("{what}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be written.
    #[error("it cannot be written: {0}")]
    Database(#[from] redb::Error),
    /// The database's own structures do not fit together.
    #[error("its structures do not fit together")]
    Structure,
    /// What is on disk is not what the change starts from.
    #[error("what is on disk is not what the change starts from")]
    Base,
}

impl SaveError {
    pub(crate) const fn file(what: &'static str) -> impl FnOnce(io::Error) -> SaveError {
        move |source| SaveError::File { what, source }
    }
}
