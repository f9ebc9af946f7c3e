//! The card's slots, bound to the API; and what they have to do with the store at a start.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nic_api::slots::{
    AgentView, InstalledView, Kind as Kinds, NoSlots, ProgressView, RollbackView, SlotContent, SlotView,
    Slots, SlotsError, SlotsView,
};
use nic_store::{OpenError, Store, SubmitError};
use nic_update::bundle::{BundleError, Kind};
use nic_update::medium::Card;
use nic_update::{
    ActivateError, Content, Folders, GoneBack, InstallError, MediumError, MetadataError, RollbackError,
    STORE, Settled, Stage, Status, Tries, Updater, Version, go_back_to_copy, on_trial, settle,
};

use tokio::sync::Notify;

use crate::options::Options;
use crate::trial::OnTrial;

/// The slots that the command line names, or why there are none.
pub(crate) fn open(options: &Options) -> Result<Folders, String> {
    let folder = options.slots.as_ref().ok_or("nic-agent was started without --slots")?;
    Folders::open(folder, &options.state_dir).map_err(|error| {
        tracing::error!(%error, "the slots cannot be used; the rest goes on");
        error.to_string()
    })
}

/// The version of this program: of a card with slots it is that of the image, or its own.
pub(crate) fn version(options: &Options, slots: Option<&Folders>) -> String {
    let of_image = || slots.map(|slots| slots.running().version);
    let version = options.launched.or_else(of_image);
    version.map_or_else(|| env!("CARGO_PKG_VERSION").to_owned(), |version| version.to_string())
}

/// Opens the store, after what a rollback or a reset left to do, and says whether it is the one that was
/// there. A store that a newer version wrote is replaced by the copy of before that version.
pub(crate) fn open_store(
    options: &Options,
    slots: Option<&Folders>,
) -> Result<(Store, bool), Box<dyn std::error::Error>> {
    let path = options.state_dir.join(STORE);
    let Some(slots) = slots else { return Ok((Store::open(&path)?, true)) };
    let kept = match settle(slots, options.launched)? {
        Settled::Kept => true,
        Settled::Reset => {
            tracing::warn!("the configuration was reset");
            false
        }
        Settled::Restored(copied) => {
            tracing::warn!(revision = copied.revision, after = %copied.before, "the configuration of then is back");
            false
        }
    };
    let held = on_trial(slots, options.launched).unwrap_or_else(|error| {
        tracing::error!(%error, "whether this version is on trial cannot be told");
        false
    });
    let open = |path: &Path| if held { Store::open_held(path) } else { Store::open(path) };
    match open(&path) {
        Err(OpenError::Newer { found, known }) => {
            let Some(copied) = go_back_to_copy(slots, options.launched)? else {
                return Err(OpenError::Newer { found, known }.into());
            };
            tracing::warn!(
                revision = copied.revision, after = %copied.before, found, known,
                "a newer version had written the configuration; that of before it is back"
            );
            Ok((open(&path)?, false))
        }
        other => Ok((other?, kept)),
    }
}

/// What the API is served with, and the slots if what runs is on trial.
pub(crate) fn serve(
    options: &Options,
    slots: Result<Folders, String>,
    store: &Arc<Store>,
    again: Arc<Notify>,
) -> (Arc<dyn Slots>, Option<OnTrial>) {
    let folders = match slots {
        Ok(folders) => folders,
        Err(why) => return (Arc::new(NoSlots(why)), None),
    };
    let (copied, asked) = (Arc::clone(store), Arc::clone(store));
    let folders = folders
        .with_store(Box::new(move |path| copy(&copied, path)), Box::new(move || asked.state().revision().0));
    let updater = Arc::new(Updater::new(Arc::new(folders)).launched(options.launched));
    let slot = match updater.status() {
        Ok(status) => status.stage.is_some_and(Stage::is_tried),
        Err(error) => {
            tracing::error!(%error, "whether this version is on trial cannot be told");
            false
        }
    };
    let agent = updater.agent_on_trial().is_ok_and(|beside| beside.is_some());
    let reboot = options.reboot_request.clone();
    let on_trial = OnTrial {
        updater: Arc::clone(&updater),
        store: Arc::clone(store),
        // A boot gives a slot its next try; without one on trial only nic-agent gets one.
        reboot: slot.then(|| reboot.clone()),
        again: Arc::clone(&again),
    };
    (Arc::new(Bound { updater, reboot, again }), (slot || agent).then_some(on_trial))
}

fn copy(store: &Store, path: &Path) -> io::Result<u64> {
    let copied = store.copy_to(path.to_owned());
    copied.map(|revision| revision.0).map_err(|error| match error {
        SubmitError::Full => ErrorKind::StorageFull.into(),
        other => io::Error::other(other),
    })
}

/// Asks for a reboot: whoever watches the file does it.
pub(crate) fn request_reboot(path: &Path) -> io::Result<()> {
    tracing::warn!(path = %path.display(), "asking for a reboot");
    std::fs::write(path, b"nic-agent\n")
}

/// The slots, for the API.
struct Bound {
    updater: Arc<Updater>,
    reboot: PathBuf,
    again: Arc<Notify>,
}

const fn kind(kind: Kind) -> Kinds {
    match kind {
        Kind::Slot => Kinds::Slot,
        Kind::Agent => Kinds::Agent,
    }
}

/// The nic-agents that there are, the image's own last.
fn agents(status: &Status) -> Vec<AgentView> {
    let beside = status.beside.iter().filter_map(|beside| {
        let (version, content) = content(Content { version: beside.version, stage: beside.stage })?;
        Some(AgentView { version, own: false, running: status.agent == Some(beside.version), content })
    });
    let own = AgentView {
        version: status.running.version.to_string(),
        own: true,
        running: status.agent.is_none(),
        content: SlotContent::Blessed,
    };
    beside.chain([own]).collect()
}

fn content(content: Content) -> Option<(String, SlotContent)> {
    let state = match content.stage {
        Stage::Partial => return None,
        Stage::Staged => SlotContent::Installed,
        Stage::Bootable(None) => SlotContent::Blessed,
        Stage::Bootable(Some(Tries { left: 0, done })) => SlotContent::GivenUp { done },
        Stage::Bootable(Some(Tries { left, done })) => SlotContent::Trial { left, done },
    };
    Some((content.version.to_string(), state))
}

fn back(back: GoneBack) -> RollbackView {
    RollbackView {
        kind: kind(back.kind),
        version: back.to.to_string(),
        restores: back.restored.map(|copied| copied.revision),
        revision: back.revision,
    }
}

fn failed(error: &MediumError) -> SlotsError {
    SlotsError::Failed(error.to_string())
}

impl Slots for Bound {
    fn view(&self) -> Result<SlotsView, SlotsError> {
        let status = self.updater.status().map_err(|error| failed(&error))?;
        let other = status.other_slot();
        let running = status.stage.map(|stage| Content { version: status.running.version, stage });
        // What runs without an entry of its own is there all the same.
        let unlisted = || Some((status.running.version.to_string(), SlotContent::Installed));
        Ok(SlotsView {
            running: SlotView {
                name: status.running.slot.to_string(),
                content: running.and_then(content).or_else(unlisted),
            },
            other: SlotView { name: other.to_string(), content: status.other.and_then(content) },
            next: status.next.map(|version| version.to_string()),
            progress: status.progress.map(|progress| ProgressView {
                version: progress.version.to_string(),
                written: progress.written,
                total: progress.total,
            }),
            agents: agents(&status),
            restores: status.copied.map(|copied| copied.revision),
            board: status.running.board,
        })
    }

    fn install(&self, source: &mut dyn Read) -> Result<InstalledView, SlotsError> {
        let installed = self.updater.install(source).map_err(refused)?;
        Ok(InstalledView {
            kind: kind(installed.kind),
            version: installed.version.to_string(),
            octets: installed.octets,
        })
    }

    fn restart(&self) {
        self.again.notify_one();
    }

    fn activate(&self, version: &str) -> Result<Kinds, SlotsError> {
        let version: Version = version
            .parse()
            .map_err(|error: nic_update::VersionError| SlotsError::Version(error.to_string()))?;
        self.updater.activate(version).map(kind).map_err(|error| {
            let text = error.to_string();
            match error {
                ActivateError::Busy(_) => SlotsError::Busy(text),
                ActivateError::NotInstalled(_) => SlotsError::NotInstalled(text),
                ActivateError::NotNewer { .. } => SlotsError::NotNewer(text),
                ActivateError::DataFull => SlotsError::Full(text),
                ActivateError::Medium(error) => failed(&error),
            }
        })
    }

    fn rollback(&self, dry_run: bool) -> Result<RollbackView, SlotsError> {
        let result = if dry_run { self.updater.can_go_back() } else { self.updater.rollback() };
        result.map(back).map_err(|error| match error {
            RollbackError::Busy(busy) => SlotsError::Busy(busy.to_string()),
            RollbackError::Nothing => SlotsError::Nothing(error.to_string()),
            RollbackError::Medium(error) => failed(&error),
        })
    }

    fn factory_reset(&self) -> Result<(), SlotsError> {
        self.updater.factory_reset().map_err(|error| failed(&error))
    }

    fn reboot(&self) -> Result<(), SlotsError> {
        request_reboot(&self.reboot)
            .map_err(|error| SlotsError::Failed(format!("{}: {error}", self.reboot.display())))
    }
}

/// Why a bundle was refused, by what a client may do about it.
fn refused(error: InstallError) -> SlotsError {
    let text = error.to_string();
    match error {
        InstallError::Busy(_) => SlotsError::Busy(text),
        InstallError::NotProven(_)
        | InstallError::AgentNotProven(_)
        | InstallError::RolledBack(_)
        | InstallError::NoEntry(_) => SlotsError::Needed(text),
        InstallError::Series { .. } => SlotsError::Image(text),
        InstallError::Bundle(BundleError::Source(ref source)) if source.kind() == ErrorKind::TimedOut => {
            SlotsError::TooSlow(text)
        }
        InstallError::TooSlow(_) => SlotsError::TooSlow(text),
        InstallError::Bundle(_) | InstallError::Corrupt(_) | InstallError::Order { .. } => {
            SlotsError::Malformed(text)
        }
        InstallError::Metadata(error) => match error {
            MetadataError::Signature { .. } | MetadataError::Mixed(_) => SlotsError::Untrusted(text),
            MetadataError::Expired { .. } => SlotsError::Expired(text),
            MetadataError::Older(_) => SlotsError::Older(text),
            MetadataError::Malformed(_) | MetadataError::Targets(_) => SlotsError::Malformed(text),
            MetadataError::Anchor(_) | MetadataError::Folder(_) => SlotsError::Failed(text),
        },
        InstallError::Board { bundle, .. } => SlotsError::Board { board: bundle, text },
        InstallError::NotNewer { .. } => SlotsError::NotNewer(text),
        InstallError::PartitionTooSmall { .. } | InstallError::EspFull { .. } | InstallError::DataFull => {
            SlotsError::Full(text)
        }
        InstallError::InUse | InstallError::Medium(_) => SlotsError::Failed(text),
    }
}
