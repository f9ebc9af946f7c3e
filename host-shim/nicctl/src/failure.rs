//! What can go wrong, how it is told, and with which exit code.

use std::fmt;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::bfb::BfbError;
use crate::client::RequestId;
use crate::files::{Entry, ReadError};
use crate::flash::FlashError;
use crate::import::ImportError;
use crate::table::printable;

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong in a way that its parser does not see.
    Usage(String),
    /// Files could not be read, or are faulty.
    Read(ReadError),
    /// A line that was to be imported has no equivalent.
    Import(ImportError),
    /// There is no connection to the API.
    Connect {
        /// The address.
        server: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The API answered with an error.
    Call(Box<CallFailure>),
    /// The answer to the question was no.
    Declined,
    /// The datapath did not apply a change in time.
    NotApplied {
        /// The change's revision.
        revision: u64,
        /// The revision that the datapath has applied.
        applied: u64,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Flows and rules of the E-Switch still differ in so many places.
    Discrepancies(u64),
    /// The card is not as it should be; the result says why.
    Unhealthy,
    /// The card was not flashed.
    Flash(Box<FlashFailure>),
    /// An image was not shown or made.
    Bfb(Box<BfbFailure>),
    /// A bundle cannot be read.
    Bundle {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The result could not be written.
    Output(io::Error),
    /// The result has no JSON or YAML form.
    Encode(Box<dyn std::error::Error + Send + Sync>),
}

/// An error of the API, with what belongs to the resources that were sent.
#[derive(Debug)]
pub struct CallFailure {
    code: Code,
    reason: String,
    message: String,
    lines: Vec<String>,
    /// What the call is called in the card's logs.
    request: String,
}

/// Why a card was not flashed.
#[derive(Debug)]
pub struct FlashFailure(FlashError);

/// Why an image was not shown or made.
#[derive(Debug)]
pub struct BfbFailure(BfbError);

impl From<BfbError> for Failure {
    fn from(error: BfbError) -> Failure {
        Failure::Bfb(Box::new(BfbFailure(error)))
    }
}

impl From<FlashError> for Failure {
    fn from(error: FlashError) -> Failure {
        Failure::Flash(Box::new(FlashFailure(error)))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::Read(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::call(&status, &[])
    }
}

impl Failure {
    /// An error of the API. Faults of `resources[N]` are told with the place of the N-th entry.
    pub(crate) fn call(status: &Status, entries: &[Entry]) -> Failure {
        let mut lines = Vec::new();
        let details = status.get_error_details();
        for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
            let reason =
                if violation.reason.is_empty() { String::new() } else { format!(" [{}]", violation.reason) };
            let field = placed(&violation.field, entries);
            lines.push(format!("{field}: {}{reason}", violation.description));
        }
        let mut reason = String::new();
        if let Some(info) = details.error_info() {
            reason.clone_from(&info.reason);
            let mut metadata: Vec<_> = info.metadata.iter().collect();
            metadata.sort();
            for (key, value) in metadata {
                let place = entries.iter().find(|entry| entry.name == *value);
                let place = place.map(|entry| format!(" ({})", entry.place("name"))).unwrap_or_default();
                lines.push(format!("{key}: {value}{place}"));
            }
        }
        let message = status.message().to_owned();
        // Empty if the answer does not come from the card.
        let request = details.request_info().map(|info| info.request_id.clone()).unwrap_or_default();
        Failure::Call(Box::new(CallFailure { code: status.code(), reason, message, lines, request }))
    }

    /// The same, of a command whose calls have this id unless the card says another.
    pub(crate) fn of_request(mut self, id: &RequestId) -> Failure {
        if let Failure::Call(call) = &mut self
            && call.request.is_empty()
        {
            id.as_str().clone_into(&mut call.request);
        }
        self
    }

    /// The process's exit code; `nicctl --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Output(_)
            | Failure::Encode(_)
            | Failure::Bundle { .. }
            | Failure::Read(ReadError::Io { .. }) => 1,
            Failure::Usage(_) => 2,
            Failure::Read(ReadError::Faults(_) | ReadError::EmptyDirectory(_)) | Failure::Import(_) => 3,
            Failure::Connect { .. } => 6,
            Failure::Declined => 8,
            Failure::NotApplied { .. } => 9,
            Failure::Unhealthy | Failure::Discrepancies(_) => 10,
            Failure::Flash(failure) => failure.0.exit_code(),
            Failure::Bfb(failure) => failure.0.exit_code(),
            Failure::Call(call) => match call.code {
                Code::InvalidArgument | Code::OutOfRange => 3,
                Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition | Code::ResourceExhausted => 4,
                Code::NotFound => 5,
                // A deadline that passes in the client's own transport comes as Cancelled.
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => 6,
                Code::PermissionDenied | Code::Unauthenticated => 7,
                Code::Ok | Code::Unknown | Code::Internal | Code::Unimplemented | Code::DataLoss => 1,
            },
        }
    }

    /// Whether there is nothing to tell beside the result, or nobody: the reader of our output went away.
    pub fn is_silent(&self) -> bool {
        match self {
            Failure::Unhealthy => true,
            Failure::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }
}

/// A field's path, with file, line and resource where it is of a resource that was sent.
fn placed(field: &str, entries: &[Entry]) -> String {
    let sent = || {
        let (index, path) = field.strip_prefix("resources[")?.split_once(']')?;
        let entry = entries.get(index.parse::<usize>().ok()?)?;
        let path = path.trim_start_matches('.');
        let separator = if path.is_empty() { "" } else { ": " };
        Some(format!("{}: {}{separator}{path}", entry.place(path), entry.name))
    };
    sent().unwrap_or_else(|| field.to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) => write!(f, "error: {message}\n\nFor more information, try '--help'."),
            Failure::Read(ReadError::Faults(faults)) => {
                f.write_str("error: invalid configuration")?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
            Failure::Import(error) => write!(f, "error: {error}; nothing was changed"),
            Failure::Read(error) => write!(f, "error: {}", Chain(error)),
            Failure::Connect { server, source } => write!(f, "error: no API at {server}: {}", Chain(source)),
            Failure::Call(call) => call.fmt(f),
            Failure::Declined => f.write_str("not confirmed: nothing was changed"),
            Failure::NotApplied { revision, applied, waited } => write!(
                f,
                "error: revision {revision} is stored, but after {waited:?} the datapath has applied only {applied}"
            ),
            Failure::Discrepancies(rules) => write!(f, "error: {rules} rules differ from their flows"),
            Failure::Unhealthy => f.write_str("the card is not healthy"),
            Failure::Flash(failure) => failure.fmt(f),
            Failure::Bfb(failure) => write!(f, "error: {}", printable(&Chain(&failure.0).to_string())),
            Failure::Bundle { path, source } => write!(f, "error: {path}: {source}"),
            Failure::Output(error) => write!(f, "error: cannot write the result: {error}"),
            Failure::Encode(error) => write!(f, "error: cannot write the result: {error}"),
        }
    }
}

impl fmt::Display for FlashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlashFailure(error) = self;
        let state = if error.is_untouched() {
            "the card was not touched"
        } else {
            "the card was reset; docs/flashing.md#recovery says what to do"
        };
        write!(f, "error: {}\n{state}", printable(&Chain(error).to_string()))
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = code_name(self.code);
        let separator = if self.reason.is_empty() { "" } else { ", " };
        write!(f, "error: {} ({code}{separator}{})", self.message, self.reason)?;
        self.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        if self.request.is_empty() { Ok(()) } else { write!(f, "\n  request id: {}", self.request) }
    }
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let more = error.to_string();
            if !told.ends_with(&more) {
                write!(f, ": {more}")?;
                told = more;
            }
            source = error.source();
        }
        Ok(())
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
