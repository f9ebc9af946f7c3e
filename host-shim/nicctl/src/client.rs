//! The connection, and the calls that several commands make.

use std::time::{Duration, Instant};

use nic_proto::v1::GetStatusRequest;
use nic_proto::v1::status_service_client::StatusServiceClient;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// How often to ask whether a revision is applied.
const POLL: Duration = Duration::from_millis(20);

/// A connection to the API.
pub(crate) struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    pub(crate) async fn connect(server: &str, timeout: Duration) -> Result<Client, Failure> {
        if !server.starts_with("unix:") && !server.starts_with("http://") {
            return Err(Failure::Usage(format!("--server is unix:PATH or http://HOST:PORT, not {server}")));
        }
        let failure = |source| Failure::Connect { server: server.to_owned(), source };
        let endpoint = Endpoint::from_shared(server.to_owned()).map_err(failure)?.connect_timeout(timeout);
        Ok(Client { channel: endpoint.connect().await.map_err(failure)?, timeout })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message with the deadline that the command line gave.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
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

/// A new request id.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
