//! The host's side of the card's API: a unix socket, forwarded as gRPC over the management link.
//!
//! A call's headers, bodies and trailers pass as they are, both ways and as streams; nothing is
//! decoded. Each client connection gets a connection to the card of its own, made when its first call
//! comes and gone with the client, so an idle shim holds no connection and uses no CPU time. Only the
//! services on [`allow::SERVICES`] pass. When the card does not answer, the call fails with
//! UNAVAILABLE and says so; the next call tries again.
//!
//! **May know:** HTTP/2, gRPC's framing of a call, the names of services. **May not know:** messages,
//! resources, policy; it holds no state but open connections, and does no networking.

#![forbid(unsafe_code)]

pub mod allow;
pub mod card;
mod forward;
mod refuse;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::UnixListener;

pub use card::{CardAddress, CardAddressError};
pub use refuse::chain as describe;

/// Calls that one client may have open at once; more wait in the client.
const STREAMS_PER_CLIENT: u32 = 128;

/// How long to rest when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the shim reaches the card, and how long it waits.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where nic-agent listens.
    pub card: CardAddress,
    /// How long a connection to the card may take.
    pub connect_timeout: Duration,
    /// How often to ask a silent card, while a call is open, whether it is still there; it is given
    /// up when it has not answered after as long again.
    pub keepalive: Duration,
    /// How long calls may go on after the shim was told to stop.
    pub grace: Duration,
}

/// Serves clients until `stop` completes, then lets open calls finish for as long as the
/// configuration's grace.
pub async fn serve(listener: UnixListener, config: Config, stop: impl Future<Output = ()>) {
    let config = Arc::new(config);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Such as EMFILE: it does not go away by asking again at once.
                    tracing::warn!(%error, "cannot accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let link = Arc::new(card::Link::new(Arc::clone(&config)));
        let service = service_fn(move |request| forward::call(Arc::clone(&link), request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(STREAMS_PER_CLIENT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client's connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(config.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("calls were still open when the time to finish them was over");
    }
}
