//! Sending a bundle: its octets as they are read, no more of them at a time than the card takes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nic_proto::v1::{InstallRequest, InstallResponse};
use tokio_stream::Stream;

use super::progress::Progress;
use crate::client::Client;
use crate::failure::Failure;

/// Octets in one message.
const CHUNK: usize = 64 << 10;

/// A bundle that is read.
struct Bundle {
    source: Box<dyn Read + Send>,
    sent: u64,
    progress: Progress,
    /// Why it could not be read to its end.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Bundle {
    fn open(path: &Path) -> io::Result<Bundle> {
        let (source, total): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        Ok(Bundle { source, sent: 0, progress: Progress::new(total), failed: Arc::default() })
    }

    /// The next octets; `None` at the end, or if they cannot be read: what the card has then is cut off, and
    /// it refuses that.
    fn next(&mut self) -> Option<InstallRequest> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = self.source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        if let Err(error) = read {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            return None;
        }
        if chunk.is_empty() {
            self.progress.end(self.sent);
            return None;
        }
        // It is asked for when there is room, so what came before is on its way.
        self.progress.sent(self.sent);
        self.sent += chunk.len() as u64;
        Some(InstallRequest { chunk })
    }

    fn requests(mut self) -> impl Stream<Item = InstallRequest> + Send + 'static {
        tokio_stream::iter(std::iter::from_fn(move || self.next()))
    }
}

/// Sends a bundle and waits until the card has installed it.
pub(super) async fn bundle(client: &Client, path: &Path) -> Result<InstallResponse, Failure> {
    let unreadable = |error: io::Error| Failure::Bundle { path: path.display().to_string(), source: error };
    let bundle = Bundle::open(path).map_err(unreadable)?;
    let failed = Arc::clone(&bundle.failed);
    let request = client.endless(bundle.requests());
    let answer = super::service(client).install(request).await;
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(unreadable(error));
    }
    Ok(answer?.into_inner())
}
