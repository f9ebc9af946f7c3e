//! What SystemService needs from the rest of nic-agent.

use std::io::Read;

/// The card's slots. What blocks is called where it may.
pub trait Slots: Send + Sync + 'static {
    /// The slots as they are. Blocks.
    ///
    /// # Errors
    /// Why they cannot be told.
    fn view(&self) -> Result<SlotsView, SlotsError>;

    /// Installs a bundle as it comes. Blocks until it is there, or the source ends or fails.
    ///
    /// # Errors
    /// Why it was refused.
    fn install(&self, source: &mut dyn Read) -> Result<InstalledView, SlotsError>;

    /// Has the next boot, or the next start of nic-agent, take a version, and says which. Blocks.
    ///
    /// # Errors
    /// Why not.
    fn activate(&self, version: &str) -> Result<Kind, SlotsError>;

    /// Has nic-agent end as soon as what it was asked is answered, to be started again.
    fn restart(&self);

    /// Has the next boot take the other slot, or only says what that would mean. Blocks.
    ///
    /// # Errors
    /// Why not.
    fn rollback(&self, dry_run: bool) -> Result<RollbackView, SlotsError>;

    /// Has the next start forget the configuration. Blocks.
    ///
    /// # Errors
    /// Why not.
    fn factory_reset(&self) -> Result<(), SlotsError>;

    /// Has the card reboot. Blocks.
    ///
    /// # Errors
    /// Why not.
    fn reboot(&self) -> Result<(), SlotsError>;
}

/// The slots as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotsView {
    /// The kind of card.
    pub board: String,
    /// The slot that runs.
    pub running: SlotView,
    /// The other one.
    pub other: SlotView,
    /// The version that the next boot takes.
    pub next: Option<String>,
    /// The nic-agents, of which the image's own is the last.
    pub agents: Vec<AgentView>,
    /// The install that is under way.
    pub progress: Option<ProgressView>,
    /// The revision that a rollback would bring back, if it would bring back one.
    pub restores: Option<u64>,
}

/// What a bundle replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A slot.
    Slot,
    /// nic-agent alone.
    Agent,
}

/// One nic-agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// Its version.
    pub version: String,
    /// Whether it is the image's own.
    pub own: bool,
    /// Whether it runs.
    pub running: bool,
    /// What it is to the next start.
    pub content: SlotContent,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotView {
    /// Its name.
    pub name: String,
    /// What is in it, if that can be booted or activated.
    pub content: Option<(String, SlotContent)>,
}

/// What a version is to the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotContent {
    /// It is not activated.
    Installed,
    /// It may prove itself.
    Trial {
        /// Boots that it has left.
        left: u32,
        /// Boots that it had.
        done: u32,
    },
    /// It has proven itself.
    Blessed,
    /// It is only taken if there is nothing else.
    GivenUp {
        /// Boots that it had.
        done: u32,
    },
}

/// How far an install is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressView {
    /// The version.
    pub version: String,
    /// Octets that are written.
    pub written: u64,
    /// As many as there are.
    pub total: u64,
}

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledView {
    /// What it replaces.
    pub kind: Kind,
    /// The version.
    pub version: String,
    /// Octets of its files.
    pub octets: u64,
}

/// What a rollback means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackView {
    /// What goes back.
    pub kind: Kind,
    /// The version that boots next, or that starts next.
    pub version: String,
    /// The revision of the configuration that comes back, if one does.
    pub restores: Option<u64>,
    /// The revision now.
    pub revision: u64,
}

/// Why something was not done with the slots; each says it for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    /// This card has none; why.
    #[error("this card has no slots: {0}")]
    Absent(String),
    /// An install is under way.
    #[error("{0}")]
    Busy(String),
    /// The other slot is needed.
    #[error("{0}")]
    Needed(String),
    /// What was sent is no bundle, or is corrupt.
    #[error("{0}")]
    Malformed(String),
    /// It is not signed as it must be.
    #[error("{0}")]
    Untrusted(String),
    /// It has expired.
    #[error("{0}")]
    Expired(String),
    /// It is older than one that was installed.
    #[error("{0}")]
    Older(String),
    /// It is for another board.
    #[error("{text}")]
    Board {
        /// The bundle's.
        board: String,
        /// For people.
        text: String,
    },
    /// It came too slowly.
    #[error("{0}")]
    TooSlow(String),
    /// It is no newer than what runs.
    #[error("{0}")]
    NotNewer(String),
    /// It does not go with the image that runs.
    #[error("{0}")]
    Image(String),
    /// A text is no version.
    #[error("{0}")]
    Version(String),
    /// It is not installed.
    #[error("{0}")]
    NotInstalled(String),
    /// There is nothing to go back to.
    #[error("{0}")]
    Nothing(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
    /// Something failed.
    #[error("{0}")]
    Failed(String),
}

/// Slots that are not there.
#[derive(Debug)]
pub struct NoSlots(
    /// Why not.
    pub String,
);

impl NoSlots {
    fn absent<T>(&self) -> Result<T, SlotsError> {
        Err(SlotsError::Absent(self.0.clone()))
    }
}

impl Slots for NoSlots {
    fn view(&self) -> Result<SlotsView, SlotsError> {
        self.absent()
    }

    fn install(&self, _: &mut dyn Read) -> Result<InstalledView, SlotsError> {
        self.absent()
    }

    fn activate(&self, _: &str) -> Result<Kind, SlotsError> {
        self.absent()
    }

    fn restart(&self) {}

    fn rollback(&self, _: bool) -> Result<RollbackView, SlotsError> {
        self.absent()
    }

    fn factory_reset(&self) -> Result<(), SlotsError> {
        self.absent()
    }

    fn reboot(&self) -> Result<(), SlotsError> {
        self.absent()
    }
}
