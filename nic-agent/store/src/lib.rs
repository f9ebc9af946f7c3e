//! The durable state of nic-agent: every revision is one transaction on disk before anybody hears of
//! it.
//!
//! One thread writes. Transactions that wait together are planned one after the other, written as one
//! and synced once ([`Store::submit`]); each is a revision of its own. The current
//! [`State`](nic_model::State) is always at hand ([`Store::state`]), and whoever follows gets every
//! change in order ([`Store::subscribe`]), also from a revision of the recent past on
//! ([`Store::changes_since`]). What is on disk are the messages of `nic.storage.v1`, which
//! are parsed again like a client's; a store that is torn, corrupt or of a newer schema is refused as a
//! whole.
//!
//! **May know:** resources (`nic-model`), `nic.storage.v1`, the disk. **May not know:** the public API,
//! the datapath, the clock (time comes with the transaction).

#![forbid(unsafe_code)]

mod codec;
mod disk;
mod error;
mod history;
mod requests;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{Corruption, OpenError, StoreId, SubmitError};
pub use history::Compacted;
pub use requests::{Fingerprint, Request, RequestId};
pub use store::{Commit, Committed, Event, Store, Subscription};
