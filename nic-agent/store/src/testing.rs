//! A store on whatever can be read and written, for simulations of disks.

use redb::{Builder, Database, DatabaseError};
use uuid::Uuid;

pub use redb::StorageBackend;

use crate::codec::SCHEMA;
use crate::disk::{self, Medium};
use crate::error::{OpenError, StoreId};
use crate::store::Store;

#[derive(Debug)]
struct Backend<B>(B);

impl<B: StorageBackend + Clone> Medium for Backend<B> {
    fn open(&self) -> Result<Database, DatabaseError> {
        Builder::new().create_with_backend(self.0.clone())
    }
}

/// Makes an empty store of that name on an empty backend.
///
/// # Errors
/// Why not.
pub fn create(backend: impl StorageBackend, id: u128) -> Result<(), OpenError> {
    let failed = |error: DatabaseError| OpenError::Unreadable(error.into());
    let database = Builder::new().create_with_backend(backend).map_err(failed)?;
    disk::initialise(&database, StoreId(Uuid::from_u128(id)), SCHEMA).map_err(OpenError::Unreadable)
}

/// Opens the store on a backend. Clones of the backend are the same bytes.
///
/// # Errors
/// Why not.
pub fn open(backend: impl StorageBackend + Clone) -> Result<Store, OpenError> {
    Store::open_medium(Box::new(Backend(backend)), false)
}
