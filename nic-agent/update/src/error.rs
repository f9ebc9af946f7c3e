//! What goes wrong, by operation.

use std::io;

use crate::bundle::BundleError;
use crate::metadata::MetadataError;
use crate::pace::TooSlow;
use crate::version::Version;

/// A medium failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct MediumError {
    /// What was done.
    pub what: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// To be used with `map_err`.
pub(crate) const fn medium(what: &'static str) -> impl FnOnce(io::Error) -> MediumError {
    move |source| MediumError { what, source }
}

/// Another operation is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an install is under way; there is only one at a time")]
pub struct Busy;

/// Why a bundle was not installed. Unless noted the slots are as they were; what runs is so in any case.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another operation is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// What runs has not proven itself yet: the other slot is what it would go back to.
    #[error("version {0} has not proven itself yet; the other slot is kept for it to go back to")]
    NotProven(Version),
    /// What runs was given up: the other slot boots next.
    #[error("version {0} was rolled back; reboot first")]
    RolledBack(Version),
    /// The boot loader has no entry for what runs.
    #[error("there is no boot entry of version {0}, which runs")]
    NoEntry(Version),
    /// It is malformed, or breaks off. The other slot may be empty now.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It comes too slowly. The other slot may be empty now.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// Its metadata is not believed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// It is for another kind of card.
    #[error("the bundle is for board {bundle}; this card is a {card}")]
    Board {
        /// The bundle's.
        bundle: String,
        /// The card's.
        card: String,
    },
    /// It is no newer than what runs: the boot loader would not take it.
    #[error("the bundle has version {bundle}, and {running} runs; only a newer one can be installed")]
    NotNewer {
        /// The bundle's.
        bundle: Version,
        /// What runs.
        running: Version,
    },
    /// It is for images of another series.
    #[error("nic-agent {bundle} does not go with image {image}: the first two numbers must be the same")]
    Series {
        /// The bundle's.
        bundle: Version,
        /// The image that runs.
        image: Version,
    },
    /// Another nic-agent has not proven itself yet.
    #[error("nic-agent {0} has not proven itself yet")]
    AgentNotProven(Version),
    /// The partition is too small.
    #[error("the root image has {needed} octets, and the partition {size}")]
    PartitionTooSmall {
        /// The image's length.
        needed: u64,
        /// The partition's.
        size: u64,
    },
    /// The ESP is too small.
    #[error("the ESP is full: the boot entry has {needed} octets, and there is room for {free}")]
    EspFull {
        /// The boot entry's length.
        needed: u64,
        /// What is free, or becomes so.
        free: u64,
    },
    /// The data partition is full.
    #[error("the data partition is full")]
    DataFull,
    /// The other partition is in use, so it is not the other one.
    #[error("the partition of the other slot is in use")]
    InUse,
    /// A target is not what the metadata says. The other slot is empty now.
    #[error("{0} is not what the metadata says")]
    Corrupt(&'static str),
    /// The targets are not those that the metadata names. The other slot may be empty now.
    #[error("the bundle goes on with {found}, where {expected} should be")]
    Order {
        /// What is next in the metadata.
        expected: &'static str,
        /// What comes.
        found: String,
    },
    /// A medium failed. The other slot may be empty now.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

/// Why a version was not activated. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// Another operation is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// It is not there.
    #[error("version {0} is not installed")]
    NotInstalled(Version),
    /// The boot loader would not take it.
    #[error("version {version} is no newer than {running}, which runs; `rollback` goes back")]
    NotNewer {
        /// What was asked for.
        version: Version,
        /// What runs.
        running: Version,
    },
    /// The data partition is full.
    #[error("the data partition is full: there is no room for a copy of the configuration")]
    DataFull,
    /// A medium failed.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

/// Why the card does not go back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// Another operation is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// There is nothing that boots but what runs.
    #[error("there is no other version that boots")]
    Nothing,
    /// A medium failed.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

/// Why a kept bundle is not run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such file any more.
    #[error("it is gone")]
    Gone,
    /// It is malformed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its metadata is not believed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// It is not what its name says.
    #[error("it is version {0}, or no nic-agent")]
    Name(Version),
    /// It is for another kind of card.
    #[error("it is for board {0}")]
    Board(String),
    /// The program is not what the metadata says.
    #[error("the program is not what the metadata says")]
    Corrupt,
    /// A medium failed.
    #[error(transparent)]
    Medium(#[from] MediumError),
}

/// Whether there was no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
