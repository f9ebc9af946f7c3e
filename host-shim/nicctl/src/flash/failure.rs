//! Why a card was not flashed: before it was touched, and after.

use std::path::PathBuf;
use std::time::Duration;

use nic_image_formats::bfb::{KeyError, MAX_TRAILER, ReadError, TrustError};

use super::card::Activity;
use super::push::PushError;

/// Why a card was not flashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlashError {
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no sound BFB.
    #[error("{}: no image to flash", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// The card must not be given it.
    #[error("{}: not for this card", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// It is no key.
    #[error("{}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// There is too much of it.
    #[error("the image has {bytes} bytes with its bf.cfg, more than {limit}; --max-mib says how much may be")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// Its bf.cfg is none.
    #[error("{}: bf.cfg is text of at most {MAX_TRAILER} bytes without zero bytes", path.display())]
    BfCfg {
        /// The file.
        path: PathBuf,
    },
    /// There is no rshim.
    #[error(
        "{}: the card's rshim does not answer; is its driver running, and does this host have the card?",
        path.display()
    )]
    NoRshim {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A card that is none of those.
    #[error("rshim says DEV_INFO {info:?}, which is no card that this project has an image for")]
    UnknownCard {
        /// What it says.
        info: String,
    },
    /// Another driver has it.
    #[error(
        "the card belongs to another rshim driver, of the host or the BMC (DROP_MODE is 1); stop that one"
    )]
    Dropped,
    /// Its firmware does not let it be reached.
    #[error(
        "the card is in secure NIC mode: its firmware takes no image from this host; flash it from its BMC"
    )]
    Locked,
    /// Its cores are off.
    #[error(
        "the card is in NIC mode: its Arm cores start no image; switch it to DPU mode with mlxconfig first"
    )]
    Plain,
    /// It forwards.
    #[error(
        "the card is in service: {ports} of its devices have Ports; a reset stops their traffic. \
         --force resets it all the same"
    )]
    InService {
        /// How many of its devices.
        ports: usize,
    },
    /// Half of it is there.
    #[error(
        "nic-agent answers, and has no nic-datapath, which forwards without it if it runs. --force resets \
         the card all the same"
    )]
    DatapathAway,
    /// Nobody knows.
    #[error(
        "{}; nobody knows whether it forwards. {}--force resets it all the same",
        activity.told(),
        hint(server)
    )]
    Unknown {
        /// Who was asked.
        server: Option<String>,
        /// What its log says.
        activity: Activity,
    },
    /// Once it was reset.
    #[error(transparent)]
    Push(#[from] PushError),
    /// It does not answer.
    #[error(
        "the card says that it is ready, but {server} does not answer{} within {} s: {last}",
        version(wanted),
        waited.as_secs_f32()
    )]
    NoAnswer {
        /// Who was asked.
        server: String,
        /// What it was to answer with.
        wanted: Option<String>,
        /// How long it was asked.
        waited: Duration,
        /// What came of the last try.
        last: String,
    },
}

impl Activity {
    fn told(self) -> &'static str {
        match self {
            Activity::Up => "the card is up, as its log says",
            Activity::Starting => "the card is starting",
            Activity::Silent => "nothing is in the card's log",
        }
    }
}

fn hint(server: &Option<String>) -> String {
    match server {
        Some(server) => format!("{server} does not answer. "),
        None => "--check ADDRESS asks it. ".into(),
    }
}

fn version(wanted: &Option<String>) -> String {
    wanted.as_ref().map(|version| format!(" with version {version}")).unwrap_or_default()
}

impl FlashError {
    /// Whether the card is as it was.
    pub(crate) fn is_untouched(&self) -> bool {
        !matches!(
            self,
            FlashError::NoAnswer { .. }
                | FlashError::Push(
                    PushError::Write { .. }
                        | PushError::Read { .. }
                        | PushError::Changed
                        | PushError::Stalled { .. }
                        | PushError::GaveUp { .. }
                        | PushError::Reported { .. }
                        | PushError::NeverReady { .. }
                )
        )
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            FlashError::File { .. } => 1,
            FlashError::Image { .. }
            | FlashError::Trust { .. }
            | FlashError::Key { .. }
            | FlashError::BfCfg { .. }
            | FlashError::TooLarge { .. } => 3,
            FlashError::UnknownCard { .. }
            | FlashError::Plain
            | FlashError::InService { .. }
            | FlashError::DatapathAway
            | FlashError::Unknown { .. } => 4,
            FlashError::NoRshim { .. } | FlashError::Dropped | FlashError::Push(PushError::Open(_)) => 6,
            FlashError::Locked => 7,
            FlashError::NoAnswer { .. } | FlashError::Push(_) => 11,
        }
    }
}
