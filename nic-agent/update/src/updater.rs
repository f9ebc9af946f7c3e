//! What is done with the slots of a card, one thing at a time.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::boot::{self, Files};
use crate::entry::{Stage, Tries};
use crate::error::{ActivateError, Busy, InstallError, MediumError, RollbackError, is_full, medium};
use crate::install::{self, Installed};
use crate::kept::{self, Copied};
use crate::medium::{Card, Running, Slot};
use crate::version::Version;

/// The slots of a card.
pub struct Updater {
    card: Arc<dyn Card>,
    work: Mutex<()>,
    progress: Mutex<Option<Progress>>,
}

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is installed.
    pub version: Version,
    /// Octets of its targets that are written.
    pub written: u64,
    /// As many as there are.
    pub total: u64,
}

/// What is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The version.
    pub version: Version,
    /// What it is to the boot loader.
    pub stage: Stage,
}

/// The slots as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What runs.
    pub running: Running,
    /// What that is to the boot loader; `None` if it has no entry.
    pub stage: Option<Stage>,
    /// What is in the other slot; `None` if that cannot be booted.
    pub other: Option<Content>,
    /// What the next boot takes.
    pub next: Option<Version>,
    /// The copy of the configuration that going back would put in its place; `None` if it would stay.
    pub copied: Option<Copied>,
    /// The install that is under way.
    pub progress: Option<Progress>,
}

impl Status {
    /// The slot that does not run.
    pub const fn other_slot(&self) -> Slot {
        self.running.slot.other()
    }
}

/// What going back means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoneBack {
    /// The version that boots next.
    pub to: Version,
    /// The copy that takes the place of the configuration.
    pub restored: Option<Copied>,
    /// The revision of the configuration now: those behind that of the copy are lost.
    pub revision: u64,
}

impl std::fmt::Debug for Updater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Updater").field("running", self.card.running()).finish_non_exhaustive()
    }
}

impl Updater {
    /// The slots of this card.
    pub fn new(card: Arc<dyn Card>) -> Updater {
        Updater { card, work: Mutex::default(), progress: Mutex::default() }
    }

    /// The slots as they are.
    ///
    /// # Errors
    /// A medium cannot be read.
    pub fn status(&self) -> Result<Status, MediumError> {
        let running = self.card.running().clone();
        let files = self.files()?;
        let other = files.other(running.version).map(|file| file.entry);
        let other = other.map(|entry| Content { version: entry.version, stage: entry.stage });
        Ok(Status {
            stage: files.best(running.version).map(|file| file.entry.stage),
            other,
            next: files.next(),
            copied: other.and_then(|other| self.copy_for(&files, other.version).transpose()).transpose()?,
            progress: *self.progress.lock().unwrap_or_else(PoisonError::into_inner),
            running,
        })
    }

    /// Writes a bundle into the slot that does not run, as it comes. Blocks until it is there.
    ///
    /// # Errors
    /// Why it was refused; what runs is untouched.
    pub fn install(&self, source: &mut dyn Read) -> Result<Installed, InstallError> {
        let _work = self.begin()?;
        let told = |progress| self.tell(Some(progress));
        let installed = install::install(self.card.as_ref(), source, &told);
        self.tell(None);
        installed
    }

    /// Has the next boot take an installed version, which must prove itself then. The configuration is copied
    /// first.
    ///
    /// # Errors
    /// Why not; nothing changed.
    pub fn activate(&self, version: Version) -> Result<(), ActivateError> {
        let _work = self.begin()?;
        let running = self.card.running().version;
        let files = self.files()?;
        let Some(file) = files.best(version).filter(|file| file.entry.stage != Stage::Partial) else {
            return Err(ActivateError::NotInstalled(version));
        };
        if version <= running {
            return Err(ActivateError::NotNewer { version, running });
        }
        if file.entry.is_bootable() && !file.entry.is_exhausted() {
            // The answer to an earlier call may have been lost.
            return Ok(());
        }
        let data = self.card.data();
        kept::unmark_restore(data).map_err(medium("forgetting an earlier rollback"))?;
        let copied = kept::copy_store(data, |name| self.card.copy_store(name), running, version);
        copied.map_err(|error| match is_full(&error) {
            true => ActivateError::DataFull,
            false => medium("copying the configuration")(error).into(),
        })?;
        boot::activate(self.card.esp(), file).map_err(medium("renaming the boot entry"))?;
        tracing::info!(%version, "activated: the next boot takes it");
        Ok(())
    }

    /// Says that what runs has proven itself. False if that had been said, or if it was given up.
    ///
    /// # Errors
    /// It does not count then.
    pub fn bless(&self) -> Result<bool, MediumError> {
        // Nothing is installed before, and activating does not touch what runs.
        let version = self.card.running().version;
        let files = self.files()?;
        let blessed =
            boot::bless(self.card.esp(), &files, version).map_err(medium("renaming the boot entry"))?;
        if blessed {
            tracing::info!(%version, "this version has proven itself");
        }
        Ok(blessed)
    }

    /// What going back would mean.
    ///
    /// # Errors
    /// There is nothing to go back to.
    pub fn can_go_back(&self) -> Result<GoneBack, RollbackError> {
        let files = self.files()?;
        self.goes_back(&files)
    }

    /// Has the next boot take the other slot, or what runs if the other slot was activated and not booted
    /// yet. If what runs had proven itself, the configuration is then as it was when that was activated.
    ///
    /// # Errors
    /// Why not; nothing changed.
    pub fn rollback(&self) -> Result<GoneBack, RollbackError> {
        let _work = self.begin()?;
        let files = self.files()?;
        let back = self.goes_back(&files)?;
        let (esp, running) = (self.card.esp(), self.card.running().version);
        if back.to == running {
            boot::deactivate(esp, &files, running).map_err(medium("renaming the boot entry"))?;
            tracing::info!("the activation was taken back");
            return Ok(back);
        }
        if back.restored.is_some() {
            kept::mark_restore(self.card.data(), back.to).map_err(medium("marking the copy"))?;
        }
        boot::give_up(esp, &files, running).map_err(medium("renaming the boot entry"))?;
        tracing::info!(to = %back.to, "rolled back: the next boot takes the other slot");
        Ok(back)
    }

    /// Has the next start forget all configuration.
    ///
    /// # Errors
    /// It will not.
    pub fn factory_reset(&self) -> Result<(), MediumError> {
        kept::mark_reset(self.card.data()).map_err(medium("marking the reset"))
    }

    fn goes_back(&self, files: &Files) -> Result<GoneBack, RollbackError> {
        let running = self.card.running().version;
        let other = files.other(running).map(|file| file.entry).ok_or(RollbackError::Nothing)?;
        let to = match other.stage {
            Stage::Bootable(None) => other.version,
            // To one that has shown nothing yet no proven one gives way.
            Stage::Bootable(Some(Tries { left: 1.., .. })) => running,
            _ => return Err(RollbackError::Nothing),
        };
        let restored = self.copy_for(files, to)?;
        Ok(GoneBack { to, restored, revision: self.card.revision() })
    }

    /// The copy that a version finds if the card goes back to it: before what runs has proven itself, it
    /// changed nothing of how the store is written.
    fn copy_for(&self, files: &Files, to: Version) -> Result<Option<Copied>, MediumError> {
        let running = self.card.running().version;
        let proven = files.of(running).any(|file| file.entry.stage == Stage::Bootable(None));
        if !proven {
            return Ok(None);
        }
        let copies =
            kept::copies(self.card.data()).map_err(medium("looking for a copy of the configuration"))?;
        Ok(copies.into_iter().find(|copied| copied.of == to && copied.before == running))
    }

    fn files(&self) -> Result<Files, MediumError> {
        Files::list(self.card.esp()).map_err(medium("reading the boot entries"))
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, Busy> {
        match self.work.try_lock() {
            Ok(guard) => Ok(guard),
            // Whoever panicked left what a power cut would.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Busy),
        }
    }

    fn tell(&self, progress: Option<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// What became of the configuration at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is as it was.
    Kept,
    /// All of it is gone, as asked for.
    Reset,
    /// It is the copy, because the card went back.
    Restored(Copied),
}

/// Does what was left for the next start: to be called before the store is opened. Whatever is behind the
/// store must be adopted anew unless it was kept.
///
/// # Errors
/// A medium failed.
pub fn settle(card: &dyn Card) -> Result<Settled, MediumError> {
    let data = card.data();
    if kept::reset(data).map_err(medium("resetting the configuration"))? {
        return Ok(Settled::Reset);
    }
    let running = card.running().version;
    let failed = medium("looking for what was left to do");
    let restores = kept::restores(data).map_err(failed)?;
    if restores.contains(&running) {
        let copied = copy_of(data, running)?;
        if let Some(copied) = &copied {
            kept::put_back(data, copied).map_err(medium("restoring the configuration"))?;
        }
        kept::unmark_restore(data).map_err(medium("restoring the configuration"))?;
        // Without a copy the power went behind the first of these two steps, and it is in its place.
        return Ok(copied.map_or(Settled::Kept, Settled::Restored));
    }
    if !restores.is_empty() {
        // The power went before the rollback took effect; else what runs would be given up.
        let files = Files::list(card.esp()).map_err(medium("reading the boot entries"))?;
        if files.best(running).is_some_and(|file| !file.entry.is_exhausted()) {
            kept::unmark_restore(data).map_err(medium("forgetting a rollback that was not"))?;
        }
    }
    Ok(Settled::Kept)
}

/// Puts the copy that the running version wrote in the store's place: for one that meets a store which a
/// newer version wrote before it failed. `None` if there is no copy.
///
/// # Errors
/// A medium failed.
pub fn go_back_to_copy(card: &dyn Card) -> Result<Option<Copied>, MediumError> {
    let Some(copied) = copy_of(card.data(), card.running().version)? else { return Ok(None) };
    kept::put_back(card.data(), &copied).map_err(medium("restoring the configuration"))?;
    Ok(Some(copied))
}

fn copy_of(data: &dyn crate::medium::Folder, version: Version) -> Result<Option<Copied>, MediumError> {
    let copies: io::Result<Vec<Copied>> = kept::copies(data);
    let copies = copies.map_err(medium("looking for a copy of the configuration"))?;
    Ok(copies.into_iter().find(|copied| copied.of == version))
}
