//! What a start has to put right before the store is opened.

use std::io;

use crate::beside::Kept;
use crate::boot::Files;
use crate::error::{MediumError, medium};
use crate::kept::{self, Copied, Of};
use crate::medium::{Card, Folder};
use crate::version::Version;

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

/// Does what was left for the next start of this nic-agent, which is not the image's own if `launched` says
/// which: to be called before the store is opened. Whatever is behind the store must be adopted anew unless
/// it was kept.
///
/// # Errors
/// A medium failed.
pub fn settle(card: &dyn Card, launched: Option<Version>) -> Result<Settled, MediumError> {
    let data = card.data();
    if kept::reset(data).map_err(medium("resetting the configuration"))? {
        return Ok(Settled::Reset);
    }
    let running = card.running().version;
    let agent = launched.unwrap_or(running);
    if let Some(settled) = restore(data, Of::Agent, agent)? {
        return Ok(settled);
    }
    // One for another nic-agent is of a rollback that did not take effect before the power went.
    kept::unmark_restore(data, Of::Agent).map_err(medium("forgetting a rollback that was not"))?;
    if let Some(settled) = restore(data, Of::Slot, running)? {
        return Ok(settled);
    }
    let restores = kept::restores(data, Of::Slot).map_err(medium("looking for what was left to do"))?;
    if !restores.is_empty() {
        // The power went before the rollback took effect; else what runs would be given up.
        let files = Files::list(card.esp()).map_err(medium("reading the boot entries"))?;
        if files.best(running).is_some_and(|file| !file.entry.is_exhausted()) {
            kept::unmark_restore(data, Of::Slot).map_err(medium("forgetting a rollback that was not"))?;
        }
    }
    Ok(Settled::Kept)
}

/// Whether what runs has not proven itself yet: the slot, or the nic-agent beside it. Until then it must not
/// write the store in a way of its own.
///
/// # Errors
/// A medium cannot be read.
pub fn on_trial(card: &dyn Card, launched: Option<Version>) -> Result<bool, MediumError> {
    let running = card.running().version;
    let files = Files::list(card.esp()).map_err(medium("reading the boot entries"))?;
    let kept = Kept::list(card.data()).map_err(medium("looking for another nic-agent"))?;
    let slot = files.best(running).is_some_and(|file| file.entry.stage.is_tried());
    Ok(slot || kept.tried(running, launched).is_some())
}

/// Puts the copy of a version in the store's place, if a rollback to that asked for it.
fn restore(data: &dyn Folder, what: Of, version: Version) -> Result<Option<Settled>, MediumError> {
    let restores = kept::restores(data, what).map_err(medium("looking for what was left to do"))?;
    if !restores.contains(&version) {
        return Ok(None);
    }
    let copied = copy_of(data, what, version)?;
    if let Some(copied) = &copied {
        kept::put_back(data, what, copied).map_err(medium("restoring the configuration"))?;
    }
    kept::unmark_restore(data, what).map_err(medium("restoring the configuration"))?;
    // Without a copy the power went behind the first of these two steps, and it is in its place.
    Ok(Some(copied.map_or(Settled::Kept, Settled::Restored)))
}

/// Puts the copy that this version wrote in the store's place: for one that meets a store which a newer
/// version wrote before it failed. `None` if there is no copy.
///
/// # Errors
/// A medium failed.
pub fn go_back_to_copy(card: &dyn Card, launched: Option<Version>) -> Result<Option<Copied>, MediumError> {
    let (data, running) = (card.data(), card.running().version);
    for (what, version) in [(Of::Agent, launched.unwrap_or(running)), (Of::Slot, running)] {
        if let Some(copied) = copy_of(data, what, version)? {
            kept::put_back(data, what, &copied).map_err(medium("restoring the configuration"))?;
            return Ok(Some(copied));
        }
    }
    Ok(None)
}

fn copy_of(data: &dyn Folder, what: Of, version: Version) -> Result<Option<Copied>, MediumError> {
    let copies: io::Result<Vec<Copied>> = kept::copies(data, what);
    let copies = copies.map_err(medium("looking for a copy of the configuration"))?;
    Ok(copies.into_iter().find(|copied| copied.of == version))
}
