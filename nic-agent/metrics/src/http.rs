//! The page over HTTP/1: one path, one method, one answer a connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nic_policy::Stats;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::calls::Calls;
use crate::page::{Agent, Page};
use crate::process::Process;

/// Where the page is.
pub const PATH: &str = "/metrics";
/// What it is: OpenMetrics 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long the datapath may take to give its counters. Less than the 10 seconds that Prometheus waits for a page
/// unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Connections that are served at a time; one more waits.
const CONNECTIONS: usize = 8;
/// How long one connection may take in all: to ask, and to take the page.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long it may take to ask.
const HEAD: Duration = Duration::from_secs(5);

/// Where a page comes from.
pub trait Source: Send + Sync + 'static {
    /// What is known without asking anybody.
    fn agent(&self) -> Agent;

    /// The datapath's counters, read now; `None` if it is away.
    fn stats(&self) -> impl Future<Output = Option<Stats>> + Send;
}

/// Serves pages until `shutdown` is ready. `started` is when this process did.
pub async fn serve<S, I, IO>(
    source: Arc<S>,
    calls: Arc<Calls>,
    started: SystemTime,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) where
    S: Source,
    I: Stream<Item = io::Result<IO>>,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let (mut incoming, mut shutdown) = (pin!(incoming), pin!(shutdown));
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((permit, incoming.next().await?))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            accepted = next => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((permit, connection)) = accepted else { return };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a reader of metrics could not connect");
                // Out of descriptors, say: that does not pass at once.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (source, calls) = (Arc::clone(&source), Arc::clone(&calls));
        connections.spawn(async move {
            converse(source, calls, started, connection).await;
            drop(permit);
        });
    }
}

/// Serves one connection to its end.
async fn converse<S, IO>(source: Arc<S>, calls: Arc<Calls>, started: SystemTime, connection: IO)
where
    S: Source,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (source, calls) = (Arc::clone(&source), Arc::clone(&calls));
        async move { Ok::<_, Infallible>(answer(&*source, calls, started, &request).await) }
    });
    let served = http1::Builder::new()
        // A reader comes every few seconds: an open connection would only keep others out.
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(connection), service);
    match tokio::time::timeout(LIFETIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics went away"),
        Err(_) => tracing::debug!("a reader of metrics was too slow"),
    }
}

async fn answer<S: Source, B>(
    source: &S,
    calls: Arc<Calls>,
    started: SystemTime,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics can only be read\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let stats = tokio::time::timeout(PATIENCE, source.stats()).await.ok().flatten();
    let page = Page { agent: source.agent(), stats, calls, process: Process::read(started) };
    let mut response = Response::new(Full::new(Bytes::from(page.text())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
