//! An install: check, forget what was in the other slot, write, and only then say that it is there.
//!
//! At each point what the boot loader sees is bootable: the entry of the other slot goes before its partition
//! is touched, and the new one gets the name under which it can be activated when all of it is durable.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

use crate::boot::{self, Files};
use crate::bundle::{BundleError, Reader};
use crate::entry::{Entry, Stage};
use crate::error::{InstallError, is_full, medium};
use crate::kept;
use crate::medium::{Card, Folder, Output, Partition};
use crate::metadata::{self, Known, Verified};
use crate::pace::{Paced, TooSlow};
use crate::updater::Progress;
use crate::version::Version;

/// Octets that are written at a time.
const CHUNK: usize = 256 << 10;
/// Octets of a partition that may wait to be written, so that a card's memory does not fill with them.
const UNWRITTEN: u64 = 16 << 20;
/// What a file takes beyond its length, at most: the rest of its last cluster, and its name.
const SLACK: u64 = 64 << 10;

/// What was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// The version, which can be activated now.
    pub version: Version,
    /// Octets that were written.
    pub octets: u64,
}

/// Installs what comes.
pub(crate) fn install(
    card: &dyn Card,
    source: &mut dyn Read,
    tell: &dyn Fn(Progress),
) -> Result<Installed, InstallError> {
    let running = card.running();
    let files = Files::list(card.esp()).map_err(medium("reading the boot entries"))?;
    check_running(&files, running.version)?;
    let (reader, metadata) = Reader::open(Paced::new(source, card)).map_err(received)?;
    let anchor = card.anchor().map_err(medium("reading the root of trust"))?;
    let trusted = kept::trusted(card.data()).map_err(medium("reading what is trusted"))?;
    let verified = metadata::verify(metadata, &anchor, &trusted, card.now())?;
    let [image, uki] = check(card, &files, &verified)?;
    let mut partition = card.open(running.slot.other()).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => InstallError::InUse,
        _ => medium("opening the other partition")(error).into(),
    })?;
    let size = partition.size().map_err(medium("asking for the size of the other partition"))?;
    if image.length > size {
        return Err(InstallError::PartitionTooSmall { needed: image.length, size });
    }
    let version = verified.manifest.version;
    let total = image.length + uki.length;
    tracing::info!(%version, slot = %running.slot.other(), octets = total, "installing");
    let superseded = files.not_of(running.version).chain(leftovers(&files, running.version));
    boot::remove(card.esp(), superseded).map_err(medium("removing what was in the other slot"))?;
    let mut transfer = Transfer { reader, written: 0, tell, version, total };
    transfer.image(image, partition.as_mut())?;
    // Closed before anything says that it is there.
    drop(partition);
    let partial = Entry { version, stage: Stage::Partial }.to_string();
    let written = transfer.uki(uki, card.esp(), &partial);
    let written = written.and_then(|()| transfer.reader.finish().map_err(received));
    if let Err(error) = written {
        // Only to make room: it is no boot entry, and the next install removes it too.
        if card.esp().remove(&partial).and_then(|()| card.esp().sync()).is_err() {
            tracing::warn!(partial, "what was written of the boot entry stays there");
        }
        return Err(error);
    }
    // Whoever can activate it has made older ones unwanted.
    kept::trust(card.data(), &verified.trusted).map_err(|error| match is_full(&error) {
        true => InstallError::DataFull,
        false => medium("writing what is trusted")(error).into(),
    })?;
    let staged = Entry { version, stage: Stage::Staged }.to_string();
    let renamed = card.esp().rename(&partial, &staged).and_then(|()| card.esp().sync());
    renamed.map_err(medium("renaming the boot entry"))?;
    tracing::info!(%version, octets = total, "installed; it can be activated");
    Ok(Installed { version, octets: total })
}

/// What runs must not need the other slot.
fn check_running(files: &Files, running: Version) -> Result<(), InstallError> {
    match files.best(running).map(|file| file.entry) {
        Some(Entry { stage: Stage::Bootable(None), .. }) => Ok(()),
        Some(entry) if entry.is_exhausted() => {
            // Booted though its count is used up: there was nothing else, and there still is not.
            let alone =
                !files.not_of(running).any(|file| file.entry.is_bootable() && !file.entry.is_exhausted());
            if alone { Ok(()) } else { Err(InstallError::RolledBack(running)) }
        }
        Some(Entry { stage: Stage::Bootable(_), .. }) => Err(InstallError::NotProven(running)),
        _ => Err(InstallError::NoEntry(running)),
    }
}

/// Files of the running version that boot nothing.
fn leftovers(files: &Files, running: Version) -> impl Iterator<Item = &boot::File> {
    files.of(running).filter(|file| !file.entry.is_bootable())
}

/// What can be known before anything is written.
fn check<'a>(card: &dyn Card, files: &Files, verified: &'a Verified) -> Result<&'a [Known; 2], InstallError> {
    let running = card.running();
    let bundle = &verified.manifest;
    if bundle.board != running.board {
        return Err(InstallError::Board { bundle: bundle.board.clone(), card: running.board.clone() });
    }
    if bundle.version <= running.version {
        return Err(InstallError::NotNewer { bundle: bundle.version, running: running.version });
    }
    let targets = verified.targets.as_slice().try_into();
    let targets: &[Known; 2] =
        targets.map_err(|_| metadata::MetadataError::Targets("a slot has an image and a boot entry"))?;
    let [_, uki] = targets;
    let esp = card.esp();
    let mut free = esp.free().map_err(medium("asking for the room on the ESP"))?;
    for file in files.not_of(running.version).chain(leftovers(files, running.version)) {
        free += esp.size(&file.name).map_err(medium("reading the boot entries"))?;
    }
    let needed = uki.length;
    if needed.saturating_add(SLACK) > free {
        return Err(InstallError::EspFull { needed, free: free.saturating_sub(SLACK) });
    }
    Ok(targets)
}

/// Targets on their way.
struct Transfer<'a> {
    reader: Reader<Paced<'a>>,
    written: u64,
    tell: &'a dyn Fn(Progress),
    version: Version,
    total: u64,
}

impl Transfer<'_> {
    fn image(&mut self, known: &Known, partition: &mut dyn Partition) -> Result<(), InstallError> {
        let (mut offset, mut unwritten) = (0, 0);
        self.target(known, &mut |bytes| {
            partition.write_at(offset, bytes).map_err(medium("writing the other partition"))?;
            offset += bytes.len() as u64;
            unwritten += bytes.len() as u64;
            if unwritten >= UNWRITTEN {
                unwritten = 0;
                partition.sync().map_err(medium("writing the other partition"))?;
            }
            Ok(())
        })?;
        Ok(partition.sync().map_err(medium("writing the other partition"))?)
    }

    fn uki(&mut self, known: &Known, esp: &dyn Folder, name: &str) -> Result<(), InstallError> {
        let needed = known.length;
        let failed = |error: io::Error| match is_full(&error) {
            true => InstallError::EspFull { needed, free: esp.free().unwrap_or(0) },
            false => medium("writing the boot entry")(error).into(),
        };
        let mut file: Box<dyn Output> = esp.create(name).map_err(failed)?;
        self.target(known, &mut |bytes| file.write(bytes).map_err(failed))?;
        file.sync().map_err(failed)?;
        drop(file);
        esp.sync().map_err(failed)
    }

    /// Hands out one target, which is the one that the metadata knows, octet by octet.
    fn target(
        &mut self,
        known: &Known,
        put: &mut dyn FnMut(&[u8]) -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        let part = self.reader.next_part().map_err(received)?;
        let part = part.ok_or(BundleError::Truncated("its targets"))?;
        if part.name != known.name {
            return Err(InstallError::Order { expected: known.name, found: part.name });
        }
        if part.length != known.length {
            return Err(InstallError::Corrupt(known.name));
        }
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; CHUNK];
        loop {
            let filled = self.fill(&mut buffer)?;
            let Some(bytes) = buffer.get(..filled).filter(|bytes| !bytes.is_empty()) else { break };
            hash.update(bytes);
            put(bytes)?;
            self.written += filled as u64;
            (self.tell)(Progress { version: self.version, written: self.written, total: self.total });
        }
        if hash.finish().as_ref() == known.sha256 { Ok(()) } else { Err(InstallError::Corrupt(known.name)) }
    }

    /// Whole chunks, but for the last.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, InstallError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest).map_err(received)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }
}

/// Why nothing more came, in its own words.
fn received(error: BundleError) -> InstallError {
    if let BundleError::Source(source) = &error
        && let Some(slow) = source.get_ref().and_then(|inner| inner.downcast_ref::<TooSlow>())
    {
        return InstallError::TooSlow(*slow);
    }
    error.into()
}
