//! What is done with the slots of a card, one thing at a time.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::beside::{self, Beside, Kept};
use crate::boot::{self, Files};
use crate::bundle::Kind;
use crate::entry::{Stage, Tries};
use crate::error::{ActivateError, Busy, InstallError, MediumError, RollbackError, is_full, medium};
use crate::install::{self, Installed};
use crate::kept::{self, Copied, Of};
use crate::medium::{Card, Running, Slot};
use crate::version::Version;

/// The slots of a card.
pub struct Updater {
    card: Arc<dyn Card>,
    /// The nic-agent that runs, if it is not the image's own.
    agent: Option<Version>,
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
    /// The nic-agents beside the image that runs, the newest first.
    pub beside: Vec<Beside>,
    /// The one of them that runs.
    pub agent: Option<Version>,
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
    /// What goes back.
    pub kind: Kind,
    /// The version that boots next, or that nic-agent has at its next start.
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
        Updater { card, agent: None, work: Mutex::default(), progress: Mutex::default() }
    }

    /// The same, for a nic-agent that is not the image's own: [`crate::launch()`] chose it.
    #[must_use]
    pub fn launched(self, agent: Option<Version>) -> Updater {
        Updater { agent, ..self }
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
            beside: self.kept()?.on(running.version),
            agent: self.agent,
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

    /// Has the next boot take an installed version, or the next start of nic-agent one of it alone, whichever
    /// was installed last. It must prove itself then. The configuration is copied first.
    ///
    /// # Errors
    /// Why not; nothing changed.
    pub fn activate(&self, version: Version) -> Result<Kind, ActivateError> {
        let _work = self.begin()?;
        if self.activate_agent(version)? {
            return Ok(Kind::Agent);
        }
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
            return Ok(Kind::Slot);
        }
        self.copy_store(Of::Slot, running, version)?;
        boot::activate(self.card.esp(), file).map_err(medium("renaming the boot entry"))?;
        tracing::info!(%version, "activated: the next boot takes it");
        Ok(Kind::Slot)
    }

    /// False if there is no nic-agent of that version beside the image that could be activated.
    fn activate_agent(&self, version: Version) -> Result<bool, ActivateError> {
        let kept = self.kept()?.on(self.card.running().version);
        let of = |wanted: Stage| kept.iter().find(|it| it.version == version && it.stage == wanted);
        let given_up = || {
            // Of one that stands in the other slot too, that is meant.
            let slot = self.files().is_ok_and(|files| files.best(version).is_some());
            kept.iter().find(|it| it.version == version && !it.may_start()).filter(|_| !slot)
        };
        let Some(file) = of(Stage::Staged).or_else(given_up) else {
            let slot = self.files()?.best(version).is_some();
            return Ok(!slot && kept.iter().any(|it| it.version == version && it.may_start()));
        };
        if file.stage == Stage::Partial {
            return Ok(false);
        }
        self.copy_store(Of::Agent, self.agent(), version)?;
        beside::activate(self.card.data(), file).map_err(medium("renaming nic-agent"))?;
        tracing::info!(%version, "activated: the next start of nic-agent takes it");
        Ok(true)
    }

    fn copy_store(&self, what: Of, of: Version, before: Version) -> Result<(), ActivateError> {
        let data = self.card.data();
        kept::unmark_restore(data, what).map_err(medium("forgetting an earlier rollback"))?;
        let copied = kept::copy_store(data, what, |name| self.card.copy_store(name), of, before);
        copied.map(drop).map_err(|error| match is_full(&error) {
            true => ActivateError::DataFull,
            false => medium("copying the configuration")(error).into(),
        })
    }

    /// The version of the nic-agent that runs.
    fn agent(&self) -> Version {
        self.agent.unwrap_or(self.card.running().version)
    }

    /// Says of the nic-agent that runs beside the image that it has proven itself; older ones go. False if
    /// that had been said, if it was given up, or if the image's own runs.
    ///
    /// # Errors
    /// It does not count then.
    pub fn bless_agent(&self) -> Result<bool, MediumError> {
        let (image, data, kept) = (self.card.running().version, self.card.data(), self.kept()?);
        let Some(file) = kept.tried(image, self.agent) else { return Ok(false) };
        beside::rename(data, &file, Stage::Bootable(None)).map_err(medium("renaming nic-agent"))?;
        let kept = kept.on(image);
        let older = kept.iter().filter(|it| it.version < file.version);
        beside::remove(data, older).map_err(medium("removing an older nic-agent"))?;
        tracing::info!(version = %file.version, "this nic-agent has proven itself");
        Ok(true)
    }

    /// Whether the nic-agent that runs has not proven itself yet.
    ///
    /// # Errors
    /// A medium cannot be read.
    pub fn agent_on_trial(&self) -> Result<Option<Beside>, MediumError> {
        Ok(self.kept()?.tried(self.card.running().version, self.agent))
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
        self.agent_goes_back(&files)?.map_or_else(|| self.goes_back(&files), |(back, _)| Ok(back))
    }

    /// Takes back a nic-agent beside the image, if one is activated or runs, from the next start of nic-agent
    /// on. Else has the next boot take the other slot, or what runs if the other slot was activated and not booted
    /// yet. If what runs had proven itself, the configuration is then as it was when that was activated.
    ///
    /// # Errors
    /// Why not; nothing changed.
    pub fn rollback(&self) -> Result<GoneBack, RollbackError> {
        let _work = self.begin()?;
        let files = self.files()?;
        if let Some((back, gone)) = self.agent_goes_back(&files)? {
            let data = self.card.data();
            if back.restored.is_some() {
                kept::mark_restore(data, Of::Agent, back.to).map_err(medium("marking the copy"))?;
            }
            beside::give_up(data, &gone).map_err(medium("renaming nic-agent"))?;
            tracing::info!(from = %gone.version, to = %back.to, "the next start of nic-agent goes back");
            return Ok(back);
        }
        let back = self.goes_back(&files)?;
        let (esp, running) = (self.card.esp(), self.card.running().version);
        if back.to == running {
            boot::deactivate(esp, &files, running).map_err(medium("renaming the boot entry"))?;
            tracing::info!("the activation was taken back");
            return Ok(back);
        }
        if back.restored.is_some() {
            kept::mark_restore(self.card.data(), Of::Slot, back.to).map_err(medium("marking the copy"))?;
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

    /// What going back to another nic-agent means, and the one that is given up; `None` if the image's own is
    /// next anyway, or if a slot was activated, which is then what is taken back.
    fn agent_goes_back(&self, files: &Files) -> Result<Option<(GoneBack, Beside)>, MediumError> {
        let image = self.card.running().version;
        let kept = self.kept()?.to_start(image);
        let Some((&gone, older)) = kept.split_first().filter(|_| files.next() == Some(image)) else {
            return Ok(None);
        };
        let to = older.first().map_or(image, |beside| beside.version);
        // Before it has proven itself it changed nothing of how the store is written.
        let copies = if gone.is_on_trial() { Vec::new() } else { self.copies(Of::Agent)? };
        let restored = copies.into_iter().find(|copied| copied.of == to && copied.before == gone.version);
        let back = GoneBack { kind: Kind::Agent, to, restored, revision: self.card.revision() };
        Ok(Some((back, gone)))
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
        Ok(GoneBack { kind: Kind::Slot, to, restored, revision: self.card.revision() })
    }

    /// The copy that a version finds if the card goes back to it: before what runs has proven itself, it
    /// changed nothing of how the store is written.
    fn copy_for(&self, files: &Files, to: Version) -> Result<Option<Copied>, MediumError> {
        let running = self.card.running().version;
        let proven = files.of(running).any(|file| file.entry.stage == Stage::Bootable(None));
        if !proven {
            return Ok(None);
        }
        let copies = self.copies(Of::Slot)?;
        Ok(copies.into_iter().find(|copied| copied.of == to && copied.before == running))
    }

    fn copies(&self, what: Of) -> Result<Vec<Copied>, MediumError> {
        kept::copies(self.card.data(), what).map_err(medium("looking for a copy of the configuration"))
    }

    fn kept(&self) -> Result<Kept, MediumError> {
        Kept::list(self.card.data()).map_err(medium("looking for another nic-agent"))
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
