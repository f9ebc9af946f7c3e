//! How the page is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use nic_metrics::{Agent, CONTENT_TYPE, Calls, Source, serve};
use nic_policy::Stats;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use crate::{openmetrics, page};

/// A datapath that answers, or never does; what it counts is how often it was asked.
#[derive(Default)]
struct Card {
    silent: AtomicBool,
    asked: AtomicU64,
}

impl Source for Card {
    fn agent(&self) -> Agent {
        page::agent()
    }

    async fn stats(&self) -> Option<Stats> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Some(Stats { flows: asked, ..page::stats() })
    }
}

fn calls() -> Arc<Calls> {
    Arc::new(page::calls())
}

/// Sends a request and reads until the other end closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin, method: &str, path: &str) -> (u16, String, String) {
    let answer = exchange(stream, &format!("{method} {path} HTTP/1.1\r\nHost: card\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn the_page_is_served_over_loopback_and_read_anew_each_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let card = Arc::new(Card::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async {
        let _ = stopped.await;
    };
    let incoming = TcpListenerStream::new(listener);
    let server = tokio::spawn(serve(Arc::clone(&card), calls(), SystemTime::now(), incoming, until));
    let connect = || async { TcpStream::connect(address).await.expect("connected") };
    for flows in 1..=2 {
        let (status, head, body) = get(connect().await, "GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
        openmetrics::read(&body).expect("OpenMetrics");
        assert!(body.contains(&format!("\nnic_flows {flows}\n")), "{body}");
    }
    // A query changes nothing; HEAD is GET without the page.
    assert_eq!(get(connect().await, "GET", "/metrics?name=x").await.0, 200);
    let (status, head, body) = get(connect().await, "HEAD", "/metrics").await;
    assert_eq!((status, body.as_str()), (200, ""), "{head}");
    let asked = card.asked.load(Ordering::Relaxed);
    for path in ["/", "/metrics/", "/metric", "/../metrics", "//metrics"] {
        assert_eq!(get(connect().await, "GET", path).await.0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let (status, head, _) = get(connect().await, method, "/metrics").await;
        assert!(status == 405 && head.contains("allow: get, head"), "{method}: {head}");
    }
    assert!(exchange(connect().await, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert_eq!(card.asked.load(Ordering::Relaxed), asked, "none of these asks the card");
    stop.send(()).expect("it serves");
    server.await.expect("it ends when it is told to");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_page_is_served_over_a_unix_socket_to_many_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let incoming = UnixListenerStream::new(listener);
    let card = Arc::new(Card::default());
    tokio::spawn(serve(card, calls(), SystemTime::now(), incoming, std::future::pending()));
    // Who connects and says nothing holds one place, and there are more who ask than places.
    let _silent = UnixStream::connect(&path).await.expect("connected");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let path = path.clone();
        readers.spawn(async move {
            let stream = UnixStream::connect(&path).await.expect("connected");
            get(stream, "GET", "/metrics").await
        });
    }
    while let Some(answer) = readers.join_next().await {
        let (status, _, body) = answer.expect("answered");
        assert_eq!(status, 200);
        openmetrics::read(&body).expect("OpenMetrics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_datapath_that_does_not_answer_is_not_waited_for_long() {
    let (client, server) = tokio::io::duplex(1 << 16);
    let card = Arc::new(Card::default());
    card.silent.store(true, Ordering::Relaxed);
    let incoming = futures_of(server);
    tokio::spawn(serve(card, calls(), SystemTime::now(), incoming, std::future::pending()));
    let start = tokio::time::Instant::now();
    let (status, _, body) = get(client, "GET", "/metrics").await;
    assert_eq!((status, start.elapsed()), (200, nic_metrics::PATIENCE));
    assert!(body.contains("\nnic_datapath_up 0\n") && !body.contains("nic_flows"), "{body}");
}

/// One connection, and never another.
fn futures_of<T>(connection: T) -> impl tokio_stream::Stream<Item = std::io::Result<T>> {
    use tokio_stream::StreamExt;
    tokio_stream::once(Ok(connection)).chain(tokio_stream::pending())
}
