//! An install: check, forget what was in the other slot, write, and only then say that it is there.
//!
//! At each point what the boot loader sees is bootable: the entry of the other slot goes before its partition
//! is touched, and the new one gets the name under which it can be activated when all of it is durable.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

use crate::beside::{self, Beside, Kept, Unfit, fits};
use crate::boot::{self, Files};
use crate::bundle::{self, BundleError, Kind, Reader};
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
    /// What it replaces once it is activated.
    pub kind: Kind,
    /// The version, which can be activated now.
    pub version: Version,
    /// Octets that were written.
    pub octets: u64,
}

/// What comes, and who is told how much of it did.
type Incoming<'a> = (Reader<Paced<'a>>, &'a dyn Fn(Progress));

/// Installs what comes.
pub(crate) fn install<'a>(
    card: &'a dyn Card,
    source: &'a mut dyn Read,
    tell: &'a dyn Fn(Progress),
) -> Result<Installed, InstallError> {
    let running = card.running();
    let files = Files::list(card.esp()).map_err(medium("reading the boot entries"))?;
    check_running(&files, running.version)?;
    let (reader, metadata) = Reader::open(Paced::new(source, card)).map_err(received)?;
    let anchor = card.anchor().map_err(medium("reading the root of trust"))?;
    let trusted = kept::trusted(card.data()).map_err(medium("reading what is trusted"))?;
    let head = bundle::head(&metadata);
    let verified = metadata::verify(metadata, &anchor, &trusted, card.now())?;
    check_board(card, &verified)?;
    match verified.manifest.kind {
        Kind::Slot => install_slot(card, &files, &verified, (reader, tell)),
        Kind::Agent => {
            let head = head.ok_or(BundleError::MetadataLength(u32::MAX))?;
            install_agent(card, &files, &head, &verified, (reader, tell))
        }
    }
}

fn install_slot(
    card: &dyn Card,
    files: &Files,
    verified: &Verified,
    (reader, tell): Incoming<'_>,
) -> Result<Installed, InstallError> {
    let running = card.running();
    let [image, uki] = check(card, files, verified)?;
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
    forget_staged(card.data())?;
    let superseded = files.not_of(running.version).chain(leftovers(files, running.version));
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
    trust(card, verified)?;
    let staged = Entry { version, stage: Stage::Staged }.to_string();
    let renamed = card.esp().rename(&partial, &staged).and_then(|()| card.esp().sync());
    renamed.map_err(medium("renaming the boot entry"))?;
    tracing::info!(%version, octets = total, "installed; it can be activated");
    Ok(Installed { kind: Kind::Slot, version, octets: total })
}

/// Keeps a bundle with nic-agent alone, as it came: its metadata is verified again with each start.
fn install_agent(
    card: &dyn Card,
    files: &Files,
    head: &[u8],
    verified: &Verified,
    (reader, tell): Incoming<'_>,
) -> Result<Installed, InstallError> {
    let (on, version, data) = (card.running().version, verified.manifest.version, card.data());
    let kept = Kept::list(data).map_err(medium("looking for another nic-agent"))?;
    let known = check_agent(on, version, &kept, verified)?;
    let unwanted = unwanted(&kept, on, files.other(on).map(|file| file.entry.version));
    let mut free = data.free().map_err(medium("asking for the room on the data partition"))?;
    for beside in &unwanted {
        free += data.size(&beside.to_string()).map_err(medium("looking at an older nic-agent"))?;
    }
    if known.length.saturating_add(head.len() as u64 + SLACK) > free {
        return Err(InstallError::DataFull);
    }
    beside::remove(data, unwanted.iter()).map_err(medium("removing an older nic-agent"))?;
    let full = |error: io::Error| match is_full(&error) {
        true => InstallError::DataFull,
        false => medium("writing nic-agent")(error).into(),
    };
    tracing::info!(%version, octets = known.length, "installing nic-agent alone");
    let partial = Beside { version, on, stage: Stage::Partial };
    let mut transfer = Transfer { reader, written: 0, tell, version, total: known.length };
    let mut write = || {
        let mut file = data.create(&partial.to_string()).map_err(full)?;
        file.write(head).map_err(full)?;
        file.write(&bundle::part_head(known.name, known.length)).map_err(full)?;
        transfer.target(known, &mut |bytes| file.write(bytes).map_err(full))?;
        file.sync().map_err(full)?;
        data.sync().map_err(full)
    };
    let written = write();
    let written = written.and_then(|()| transfer.reader.finish().map_err(received));
    // Whoever can activate it has made older ones unwanted.
    if let Err(error) = written.and_then(|()| trust(card, verified)) {
        if beside::remove(data, std::iter::once(&partial)).is_err() {
            tracing::warn!(name = %partial, "what was written of nic-agent stays there");
        }
        return Err(error);
    }
    beside::rename(data, &partial, Stage::Staged).map_err(medium("renaming nic-agent"))?;
    tracing::info!(%version, octets = known.length, "nic-agent alone is installed; it can be activated");
    Ok(Installed { kind: Kind::Agent, version, octets: known.length })
}

/// Bundles that make room for another: all but the best of what runs, which stays until the new one has
/// proven itself, and those of the other slot, which would find them again.
fn unwanted(kept: &Kept, on: Version, other: Option<Version>) -> Vec<Beside> {
    let best = kept.to_start(on).first().copied();
    let wanted = |beside: &Beside| beside.may_start() && (Some(*beside) == best || Some(beside.on) == other);
    kept.all().filter(|beside| !wanted(beside)).copied().collect()
}

/// Whether a nic-agent goes with what runs, before anything is written.
fn check_agent<'a>(
    on: Version,
    version: Version,
    kept: &Kept,
    verified: &'a Verified,
) -> Result<&'a Known, InstallError> {
    fits(version, on).map_err(|unfit| match unfit {
        Unfit::Series => InstallError::Series { bundle: version, image: on },
        Unfit::Older => InstallError::NotNewer { bundle: version, running: on },
    })?;
    if let Some(best) = kept.to_start(on).first() {
        if best.is_on_trial() {
            return Err(InstallError::AgentNotProven(best.version));
        }
        if version <= best.version {
            return Err(InstallError::NotNewer { bundle: version, running: best.version });
        }
    }
    let one = metadata::MetadataError::Targets("a nic-agent is one program");
    verified.targets.first().ok_or(one.into())
}

/// What was installed last is what is activated.
fn forget_staged(data: &dyn Folder) -> Result<(), InstallError> {
    let failed = medium("removing an older nic-agent");
    let kept = Kept::list(data).map_err(medium("looking for another nic-agent"))?;
    let staged = kept.all().filter(|beside| !matches!(beside.stage, Stage::Bootable(_)));
    Ok(beside::remove(data, staged).map_err(failed)?)
}

fn trust(card: &dyn Card, verified: &Verified) -> Result<(), InstallError> {
    kept::trust(card.data(), &verified.trusted).map_err(|error| match is_full(&error) {
        true => InstallError::DataFull,
        false => medium("writing what is trusted")(error).into(),
    })
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

fn check_board(card: &dyn Card, verified: &Verified) -> Result<(), InstallError> {
    let (bundle, card) = (&verified.manifest.board, &card.running().board);
    if bundle == card {
        return Ok(());
    }
    Err(InstallError::Board { bundle: bundle.clone(), card: card.clone() })
}

/// What can be known before anything is written.
fn check<'a>(card: &dyn Card, files: &Files, verified: &'a Verified) -> Result<&'a [Known; 2], InstallError> {
    let running = card.running();
    let bundle = &verified.manifest;
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
