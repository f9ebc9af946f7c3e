//! A/B slots, and nic-agent beside them: how a card gets from one version to the next, and back if that does
//! not do its work.
//!
//! * A [`bundle`] is one stream with a version's root image and boot entry, or with nic-agent alone, and the
//!   TUF metadata that says what they are. It is written here too, by [`bundle::write`].
//! * [`Updater`] installs one into the slot that does not run, activates it, blesses it and goes back. The
//!   file names of the ESP are the whole state of the boot ([`Entry`]).
//! * [`launch`] chooses which nic-agent a start runs: the image's own, or a bundle that is kept in the data
//!   folder ([`Beside`]), which it verifies again each time.
//! * [`Trial`] says when a version has proven itself.
//! * [`settle`] does at a start what a rollback or a reset left to do.
//!
//! All of it works on the traits of [`medium`], of which [`Folders`] are those of a real card. Whatever is
//! done, at every write the power may go: either the old version boots then or the new one.
//!
//! **May know:** partitions, files, TUF. **May not know:** what a store or an image holds, the API, the
//! network.

#![forbid(unsafe_code)]

mod beside;
mod boot;
pub mod bundle;
mod disk;
mod entry;
mod error;
mod install;
mod kept;
mod launch;
pub mod medium;
mod metadata;
mod pace;
mod settle;
mod trial;
mod updater;
mod version;

pub use beside::Beside;
pub use disk::{CopyStore, Folders, OpenError};
pub use entry::{Entry, Stage, TRIES, Tries};
pub use error::{ActivateError, Busy, InstallError, LaunchError, MediumError, RollbackError};
pub use install::Installed;
pub use kept::{Copied, STORE};
pub use launch::{Launch, launch};
pub use medium::{Running, Slot};
pub use metadata::MetadataError;
pub use pace::{GRACE, SLOWEST, TooSlow};
pub use settle::{Settled, go_back_to_copy, on_trial, settle};
pub use trial::{DEADLINE, Health, STEADY, Trial, Verdict};
pub use updater::{Content, GoneBack, Progress, Status, Updater};
pub use version::{Version, VersionError};

#[cfg(test)]
mod tests;
