//! Errors of the protocol, on both ends.

use std::collections::HashMap;

use nic_proto::datapath::v1::LinkErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::ERROR_DOMAIN;
use crate::convert::ObjectError;

/// Why nic-datapath refuses a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The policy in force came from another store.
    #[error("the policy in force came from store {in_force}; adopt this one on purpose to replace it")]
    StoreMismatch {
        /// That store.
        in_force: uuid::Uuid,
    },
    /// The revision is lower than the one in force.
    #[error("revision {offered} is older than {in_force}, which is in force; adopt it on purpose to go back")]
    RevisionRegression {
        /// The revision in force.
        in_force: u64,
        /// The revision that was offered.
        offered: u64,
    },
    /// The changes start from a revision that is not in force.
    #[error("the changes start from revision {from}, but {in_force} is in force; send the whole policy")]
    RevisionGap {
        /// The revision in force.
        in_force: u64,
        /// Where the changes start.
        from: u64,
    },
    /// A later writer has taken over.
    #[error("lease {lease} is fenced: a writer with lease {latest} has taken over")]
    LeaseFenced {
        /// The caller's lease.
        lease: u64,
        /// The greatest one seen.
        latest: u64,
    },
    /// There was no handshake with this lease.
    #[error("no handshake with lease {lease} was seen")]
    LeaseUnknown {
        /// The caller's lease.
        lease: u64,
    },
    /// No schema version in common.
    #[error("no schema version in common: this end speaks {ours:?}, the other {theirs:?}")]
    Schema {
        /// Ours.
        ours: &'static [u32],
        /// Theirs.
        theirs: Vec<u32>,
    },
    /// A store's UUID is not 16 octets.
    #[error("store_uuid must have 16 octets, not {0}")]
    StoreUuid(usize),
    /// The messages of a Sync came in the wrong order, or it ended without its end.
    #[error("the Sync is not header, changes, end: {0}")]
    SyncStream(&'static str),
    /// An object cannot be understood.
    #[error("{0}")]
    Object(#[from] ObjectError),
    /// The packet of a Trace cannot be read.
    #[error("the packet to trace: {0}")]
    Packet(ObjectError),
    /// The policy cannot be applied.
    #[error("the policy was not applied: {0}")]
    Apply(String),
    /// nic-datapath is going down.
    #[error("nic-datapath is shutting down")]
    ShuttingDown,
}

impl Rejection {
    const fn code(&self) -> (Code, LinkErrorReason) {
        use LinkErrorReason as Reason;
        match self {
            Rejection::StoreMismatch { .. } => (Code::FailedPrecondition, Reason::StoreMismatch),
            Rejection::RevisionRegression { .. } => (Code::FailedPrecondition, Reason::RevisionRegression),
            Rejection::RevisionGap { .. } => (Code::FailedPrecondition, Reason::RevisionGap),
            Rejection::LeaseFenced { .. } => (Code::Aborted, Reason::LeaseFenced),
            Rejection::LeaseUnknown { .. } => (Code::FailedPrecondition, Reason::LeaseUnknown),
            Rejection::Schema { .. } => (Code::FailedPrecondition, Reason::SchemaUnsupported),
            Rejection::StoreUuid(_) | Rejection::SyncStream(_) => {
                (Code::InvalidArgument, Reason::SyncStreamInvalid)
            }
            Rejection::Object(_) | Rejection::Apply(_) => (Code::InvalidArgument, Reason::ObjectInvalid),
            Rejection::Packet(_) => (Code::InvalidArgument, Reason::PacketInvalid),
            Rejection::ShuttingDown => (Code::Unavailable, Reason::Unspecified),
        }
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Status {
        let (code, reason) = rejection.code();
        let mut metadata = HashMap::new();
        if let Rejection::Object(error) = &rejection {
            metadata.insert("object".to_owned(), error.object.clone());
        }
        let details = ErrorDetails::with_error_info(reason.as_str_name(), ERROR_DOMAIN, metadata);
        Status::with_error_details(code, rejection.to_string(), details)
    }
}

/// Why nic-agent's call to nic-datapath failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// There is no connection; the text says since when and why.
    #[error("nic-datapath is not connected: {0}")]
    Disconnected(String),
    /// nic-datapath refused.
    #[error("nic-datapath refused ({reason}): {message}")]
    Refused {
        /// The name of the LinkErrorReason, or of the gRPC code where there is none.
        reason: String,
        /// In words.
        message: String,
    },
    /// nic-datapath is of a version that does not know something.
    #[error("nic-datapath is too old: it does not know {0}; upgrade it")]
    TooOld(String),
    /// nic-datapath answered something that cannot be understood.
    #[error("nic-datapath's answer cannot be understood: {0}")]
    Answer(#[from] ObjectError),
}

impl LinkError {
    /// True if nic-datapath refused for that reason.
    pub fn is(&self, wanted: LinkErrorReason) -> bool {
        matches!(self, LinkError::Refused { reason, .. } if reason == wanted.as_str_name())
    }
}

impl From<Status> for LinkError {
    fn from(status: Status) -> LinkError {
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        match (reason, status.code()) {
            (Some(reason), _) => LinkError::Refused { reason, message: status.message().to_owned() },
            (None, Code::Unavailable | Code::Unknown | Code::Cancelled) => {
                LinkError::Disconnected(status.message().to_owned())
            }
            (None, Code::Unimplemented) => LinkError::TooOld("this call".to_owned()),
            (None, code) => {
                LinkError::Refused { reason: format!("{code:?}"), message: status.message().to_owned() }
            }
        }
    }
}
