//! Where the file is: what the rest asks of a directory, so that tests can put a failing one in its place.

use std::io;

use redb::Database;

use crate::error::{SaveError, Unusable};

/// The directory with the file.
pub(crate) trait Medium: Send + 'static {
    /// Opens the database that is there; `None` if there is none.
    fn open(&mut self) -> Result<Option<Database>, Unusable>;

    /// Puts what is there aside, so that it is kept for people and never opened again.
    fn put_aside(&mut self) -> io::Result<()>;

    /// Makes an empty database beside the one that is there.
    fn create(&mut self) -> Result<Database, SaveError>;

    /// Puts the created database into its place, durably.
    fn install(&mut self) -> io::Result<()>;

    /// Sees to it that nothing is opened after a restart, durably.
    fn destroy(&mut self) -> io::Result<()>;
}
