//! The connection, and the calls that several commands make.

use std::str::FromStr;
use std::time::{Duration, Instant};

use nic_proto::v1::GetStatusRequest;
use nic_proto::v1::status_service_client::StatusServiceClient;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// How often to ask whether a revision is applied.
const POLL: Duration = Duration::from_millis(20);

/// Where the id of a call stands in its metadata.
const REQUEST_ID: &str = "x-request-id";
/// The most characters of one.
const MAX_REQUEST_ID: usize = 64;

/// What the calls of one command are called in the card's logs: 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `.`,
/// `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(AsciiMetadataValue);

impl RequestId {
    /// A new one.
    pub(crate) fn made() -> RequestId {
        let id = uuid::Uuid::new_v4().to_string();
        RequestId(id.parse().expect("a UUID is ASCII"))
    }

    pub(crate) fn as_str(&self) -> &str {
        // Whatever made one had text.
        self.0.to_str().unwrap_or_default()
    }
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<RequestId, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let valid = (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(fits);
        match text.parse() {
            Ok(value) if valid => Ok(RequestId(value)),
            _ => Err("it must have 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'".into()),
        }
    }
}

/// A connection to the API.
pub(crate) struct Client {
    channel: Channel,
    timeout: Duration,
    id: RequestId,
}

impl Client {
    pub(crate) async fn connect(server: &str, timeout: Duration, id: RequestId) -> Result<Client, Failure> {
        if !server.starts_with("unix:") && !server.starts_with("http://") {
            return Err(Failure::Usage(format!("--server is unix:PATH or http://HOST:PORT, not {server}")));
        }
        let failure = |source| Failure::Connect { server: server.to_owned(), source };
        let endpoint = Endpoint::from_shared(server.to_owned()).map_err(failure)?.connect_timeout(timeout);
        Ok(Client { channel: endpoint.connect().await.map_err(failure)?, timeout, id })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message with the deadline that the command line gave.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.endless(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A message whose answer may take any time.
    pub(crate) fn endless<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(REQUEST_ID, self.id.0.clone());
        request
    }

    /// Returns when the datapath has applied a revision.
    pub(crate) async fn wait_applied(&self, revision: u64, limit: Duration) -> Result<(), Failure> {
        let mut client = StatusServiceClient::new(self.channel());
        let start = Instant::now();
        loop {
            let status = client.get_status(self.request(GetStatusRequest {})).await?.into_inner();
            if status.applied_revision >= revision {
                return Ok(());
            }
            if start.elapsed() >= limit {
                let applied = status.applied_revision;
                return Err(Failure::NotApplied { revision, applied, waited: limit });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A new `request_id` of a mutation, which makes its repetition harmless.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_those_that_the_card_takes() {
        for good in ["a", "ticket-4711", &"x".repeat(MAX_REQUEST_ID)] {
            assert_eq!(good.parse::<RequestId>().map(|id| id.as_str().to_owned()).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "a\n", "\u{e9}", &"x".repeat(MAX_REQUEST_ID + 1)] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
        assert_ne!(RequestId::made(), RequestId::made());
        assert!(RequestId::made().as_str().parse::<RequestId>().is_ok());
    }
}
