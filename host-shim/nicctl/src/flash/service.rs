//! Asking the card itself: whether it is in service before it is touched, and whether it is what it should be
//! afterwards.

use std::time::{Duration, Instant};

use nic_proto::v1::status_service_client::StatusServiceClient;
use nic_proto::v1::{GetStatusRequest, SystemStatus};

use super::FlashError;
use super::card::Activity;
use crate::client::{Client, RequestId};
use crate::failure::Failure;

/// Time between two tries to reach a card that starts.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Where the card is asked, and how.
pub(super) struct Asked<'a> {
    /// Its API.
    pub(super) server: &'a str,
    /// How long a call may take.
    pub(super) timeout: Duration,
    /// What the calls are called.
    pub(super) id: &'a RequestId,
}

impl Asked<'_> {
    async fn status(&self) -> Result<SystemStatus, Failure> {
        let client = Client::connect(self.server, self.timeout, self.id.clone()).await?;
        let request = client.request(GetStatusRequest {});
        Ok(StatusServiceClient::new(client.channel()).get_status(request).await?.into_inner())
    }

    /// Whether the card forwards for anyone.
    pub(super) async fn must_be_idle(&self, activity: Activity) -> Result<(), Failure> {
        let refusal = match (self.status().await, activity) {
            (Ok(status), _) => in_service(&status),
            // Nobody could answer yet.
            (Err(Failure::Connect { .. } | Failure::Call(_)), Activity::Starting) => None,
            (Err(Failure::Connect { .. } | Failure::Call(_)), Activity::Up | Activity::Silent) => {
                Some(FlashError::Unknown { server: Some(self.server.to_owned()), activity })
            }
            (Err(failure), _) => return Err(failure),
        };
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Returns when the card answers with a version, the one that is wanted if there is one.
    pub(super) async fn must_answer(
        &self,
        wanted: Option<&str>,
        limit: Duration,
    ) -> Result<String, FlashError> {
        let start = Instant::now();
        loop {
            let last = match self.status().await {
                Ok(status) if wanted.is_none_or(|wanted| wanted == status.version) => {
                    return Ok(status.version);
                }
                Ok(status) => format!("it answers with version {}", status.version),
                Err(failure) => failure.to_string(),
            };
            if start.elapsed() >= limit {
                let (server, wanted) = (self.server.to_owned(), wanted.map(str::to_owned));
                return Err(FlashError::NoAnswer { server, wanted, waited: limit, last });
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }
}

/// Why this card must not be reset, if it must not.
fn in_service(status: &SystemStatus) -> Option<FlashError> {
    let connected = status.datapath.as_ref().is_some_and(|datapath| datapath.connected);
    if !connected {
        // It goes on without nic-agent.
        return Some(FlashError::DatapathAway);
    }
    let open = status.devices.iter().filter(|device| device.present && !device.port.is_empty());
    match open.count() {
        0 => None,
        ports => Some(FlashError::InService { ports }),
    }
}
