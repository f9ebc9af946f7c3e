//! Failures as `google.rpc.Status`: every fault with its field and a reason from one enum.

use std::collections::HashMap;

use nic_model::openflow::FaultClass;
use nic_model::{Name, NameError, Reason, Rejection, Violation};
use nic_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::ERROR_DOMAIN;
use crate::seam::{CommitError, DatapathError};
use crate::slots::SlotsError;

/// Details travel in trailers, whose size clients limit: so many faults are told one by one.
const MAX_FAULTS: usize = 20;
/// And so many characters of each.
const MAX_TEXT: usize = 300;

/// What is wrong with a call.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    code: Code,
    reason: ErrorReason,
    field: String,
    text: String,
    metadata: Vec<(&'static str, String)>,
}

/// Why a call failed: at least one fault.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Vec<Fault>);

impl Fault {
    /// A fault of the request's field.
    pub(crate) fn argument(reason: ErrorReason, field: impl Into<String>, text: impl Into<String>) -> Fault {
        Fault { field: field.into(), ..Fault::new(Code::InvalidArgument, reason, text) }
    }

    pub(crate) fn new(code: Code, reason: ErrorReason, text: impl Into<String>) -> Fault {
        Fault { code, reason, field: String::new(), text: text.into(), metadata: Vec::new() }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Fault {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// There is no such resource.
    pub(crate) fn not_found(name: &Name) -> Fault {
        Reason::NotFound(name.clone()).into()
    }

    /// A name or an id in a field is malformed.
    pub(crate) fn name(field: &str, error: NameError) -> Fault {
        let reason =
            if error == NameError::Empty { ErrorReason::FieldRequired } else { ErrorReason::NameInvalid };
        Fault::argument(reason, field, error.to_string())
    }

    fn line(&self) -> String {
        if self.field.is_empty() { self.text.clone() } else { format!("{}: {}", self.field, self.text) }
    }
}

impl Failure {
    /// Several faults; there is at least one.
    pub(crate) const fn many(faults: Vec<Fault>) -> Failure {
        Failure(faults)
    }

    /// True if the only thing wrong is that the resource changed meanwhile.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.iter().all(|fault| fault.reason == ErrorReason::EtagMismatch)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure(vec![fault])
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        let text = reason.to_string();
        let argument = |which| Fault::new(Code::InvalidArgument, which, text.clone());
        let other = |code, which| Fault::new(code, which, text.clone());
        match reason {
            Reason::Required => argument(ErrorReason::FieldRequired),
            Reason::OutOfRange { .. } => argument(ErrorReason::FieldOutOfRange),
            Reason::Malformed(_) => argument(ErrorReason::FieldMalformed),
            Reason::Conflict(_) => argument(ErrorReason::FieldConflict),
            Reason::Name(_) => argument(ErrorReason::NameInvalid),
            Reason::Flow(error) => argument(match error.fault.class() {
                FaultClass::Syntax => ErrorReason::FlowSyntax,
                FaultClass::Unsupported => ErrorReason::FlowUnsupported,
                FaultClass::Prerequisite => ErrorReason::FlowPrerequisite,
                FaultClass::Conflict => ErrorReason::FieldConflict,
            }),
            Reason::NoReference(name) => argument(ErrorReason::ReferenceNotFound).with("reference", name),
            Reason::DeviceInUse(name) => argument(ErrorReason::DeviceInUse).with("resource", name),
            Reason::InUse { by, .. } => argument(ErrorReason::FieldInUse).with("resource", by),
            Reason::Unfit { name, .. } => argument(ErrorReason::ReferenceUnfit).with("reference", name),
            Reason::Mtu { uplink, .. } => argument(ErrorReason::TunnelMtu).with("resource", uplink),
            Reason::Repeated { .. } => argument(ErrorReason::ResourceRepeated),
            Reason::NotFound(name) => {
                other(Code::NotFound, ErrorReason::ResourceNotFound).with("resource", name)
            }
            Reason::Exists(name) => {
                other(Code::AlreadyExists, ErrorReason::ResourceExists).with("resource", name)
            }
            Reason::EtagMismatch(name) => {
                other(Code::Aborted, ErrorReason::EtagMismatch).with("resource", name)
            }
            Reason::OtherSet { name, set } => other(Code::Aborted, ErrorReason::ApplySetConflict)
                .with("resource", name)
                .with("apply_set", set),
            Reason::Referenced { name, by } => {
                other(Code::FailedPrecondition, ErrorReason::ResourceReferenced)
                    .with("resource", name)
                    .with("referrer", by)
            }
            Reason::Limit { limit } => {
                other(Code::ResourceExhausted, ErrorReason::ResourceLimit).with("limit", limit)
            }
        }
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Fault {
        let field = violation.field();
        Fault { field, ..violation.reason.into() }
    }
}

impl From<Vec<Violation>> for Failure {
    fn from(violations: Vec<Violation>) -> Failure {
        Failure(violations.into_iter().map(Fault::from).collect())
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Failure {
        rejection.violations.into()
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        let text = error.to_string();
        match error {
            CommitError::Rejected(rejection) => rejection.into(),
            CommitError::RequestIdReused => {
                Fault::argument(ErrorReason::RequestIdReused, "requestId", text).into()
            }
            CommitError::Full => Fault::new(Code::ResourceExhausted, ErrorReason::StoreFull, text).into(),
            CommitError::Unavailable(_) => {
                Fault::new(Code::Unavailable, ErrorReason::StoreUnavailable, text).into()
            }
        }
    }
}

impl From<DatapathError> for Failure {
    fn from(error: DatapathError) -> Failure {
        let text = error.to_string();
        match error {
            DatapathError::Away(_) | DatapathError::TooOld(_) => {
                Fault::new(Code::Unavailable, ErrorReason::DatapathUnavailable, text).into()
            }
            DatapathError::Packet(_) => Fault::argument(ErrorReason::PacketInvalid, "packet", text).into(),
            DatapathError::Fault(_) => Fault::new(Code::Internal, ErrorReason::InternalFault, text).into(),
        }
    }
}

impl From<SlotsError> for Failure {
    fn from(error: SlotsError) -> Failure {
        let text = error.to_string();
        let other = |code, reason| Fault::new(code, reason, text.clone());
        let bundle = |reason| Fault::argument(reason, "chunk", text.clone());
        let fault = match error {
            SlotsError::Absent(_) => other(Code::FailedPrecondition, ErrorReason::SlotsAbsent),
            SlotsError::Busy(_) => other(Code::Aborted, ErrorReason::InstallBusy),
            SlotsError::Needed(_) => other(Code::FailedPrecondition, ErrorReason::SlotNeeded),
            SlotsError::Malformed(_) => bundle(ErrorReason::BundleMalformed),
            SlotsError::Untrusted(_) => bundle(ErrorReason::BundleUntrusted),
            SlotsError::Expired(_) => bundle(ErrorReason::BundleExpired),
            SlotsError::Older(_) => bundle(ErrorReason::BundleOlder),
            SlotsError::Board { board, .. } => bundle(ErrorReason::BundleBoard).with("board", board),
            SlotsError::TooSlow(_) => other(Code::Aborted, ErrorReason::BundleTooSlow),
            SlotsError::NotNewer(_) => other(Code::FailedPrecondition, ErrorReason::VersionNotNewer),
            SlotsError::Image(_) => other(Code::FailedPrecondition, ErrorReason::BundleImage),
            SlotsError::Version(_) => Fault::argument(ErrorReason::FieldMalformed, "version", text),
            SlotsError::NotInstalled(_) => other(Code::NotFound, ErrorReason::VersionNotInstalled),
            SlotsError::Nothing(_) => other(Code::FailedPrecondition, ErrorReason::RollbackImpossible),
            SlotsError::Full(_) => other(Code::ResourceExhausted, ErrorReason::SlotsFull),
            SlotsError::Failed(_) => other(Code::Internal, ErrorReason::SlotsFailed),
        };
        fault.into()
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let faults = failure.0;
        // What the client can see in its request comes before what depends on the state.
        let first = faults.iter().find(|fault| fault.code == Code::InvalidArgument).or(faults.first());
        let Some(first) = first else { return Status::internal("a failure without a fault") };
        let metadata: HashMap<String, String> =
            first.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut details = ErrorDetails::with_error_info(first.reason.as_str_name(), ERROR_DOMAIN, metadata);
        if first.code == Code::InvalidArgument {
            let violation = |fault: &Fault| FieldViolation {
                field: fault.field.clone(),
                description: cut(&fault.text),
                reason: fault.reason.as_str_name().to_owned(),
                localized_message: None,
            };
            details.set_bad_request(faults.iter().take(MAX_FAULTS).map(violation).collect::<Vec<_>>());
        }
        let mut message = cut(&first.line());
        if faults.len() > 1 {
            message.push_str(&format!(" (and {} more)", faults.len() - 1));
        }
        Status::with_error_details(first.code, message, details)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datapath_that_is_too_old_is_unavailable_in_its_own_words() {
        let status: Status = Failure::from(DatapathError::TooOld("it does not know this call".into())).into();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "it does not know this call"));
    }
}
