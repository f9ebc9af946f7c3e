//! The way to the card: its address, and one connection that is made when it is needed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::{Request, Response, Uri, uri};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use crate::Config;

/// What one call may have under way unread. Small, so that a client that does not read its stream
/// holds up none of its other calls; the connection's share is room for many such.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;

/// Where nic-agent listens: `http://HOST:PORT` on the management link, or `unix:PATH` where both are
/// on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardAddress {
    /// A TCP address; the authority, `HOST:PORT`.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// Why a text is no address of a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardAddressError {
    /// It has neither form.
    #[error("a card's address is http://HOST:PORT or unix:PATH")]
    Form,
    /// There is no port.
    #[error("the address names no port, as in http://192.168.100.2:50051")]
    NoPort,
    /// There is something behind the port.
    #[error("the address must end with the port")]
    Path,
}

impl FromStr for CardAddress {
    type Err = CardAddressError;

    fn from_str(text: &str) -> Result<CardAddress, CardAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(CardAddressError::Form)
            } else {
                Ok(CardAddress::Unix(path.into()))
            };
        }
        let uri: Uri = text.parse().map_err(|_| CardAddressError::Form)?;
        let authority = uri.authority().ok_or(CardAddressError::Form)?;
        if uri.scheme() != Some(&uri::Scheme::HTTP) || authority.as_str().contains('@') {
            return Err(CardAddressError::Form);
        }
        if authority.port_u16().is_none() {
            return Err(CardAddressError::NoPort);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(CardAddressError::Path);
        }
        Ok(CardAddress::Tcp(authority.to_string()))
    }
}

impl fmt::Display for CardAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CardAddress::Tcp(authority) => write!(f, "http://{authority}"),
            CardAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl CardAddress {
    /// What stands in `:authority` of a call.
    pub(crate) fn authority(&self) -> &str {
        match self {
            CardAddress::Tcp(authority) => authority,
            CardAddress::Unix(_) => "localhost",
        }
    }
}

/// Why a call did not come back from the card.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the connection took longer than {0:?}")]
    ConnectTimeout(std::time::Duration),
    #[error("the card does not speak HTTP/2")]
    Handshake(#[source] hyper::Error),
    #[error("the connection broke during the call")]
    Call(#[source] hyper::Error),
}

/// One client's connection to the card, if there is one now.
pub(crate) struct Link {
    config: Arc<Config>,
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

impl Link {
    pub(crate) fn new(config: Arc<Config>) -> Link {
        Link { config, sender: Mutex::new(None) }
    }

    pub(crate) fn card(&self) -> &CardAddress {
        &self.config.card
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(&self, request: Request<Incoming>) -> Result<Response<Incoming>, LinkError> {
        let error = match self.sender().await?.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        // A connection that closed since the last call gives back what it never sent, so trying once
        // more repeats nothing.
        let mut error = error;
        match error.take_message() {
            Some(request) => {
                self.sender.lock().await.take();
                self.sender().await?.send_request(request).await.map_err(LinkError::Call)
            }
            None => Err(LinkError::Call(error.into_error())),
        }
    }

    /// The connection, made now if there is none; calls that come meanwhile wait for the same one.
    async fn sender(&self) -> Result<SendRequest<Incoming>, LinkError> {
        let mut slot = self.sender.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let timeout = self.config.connect_timeout;
        let sender = tokio::time::timeout(timeout, self.connect())
            .await
            .map_err(|_| LinkError::ConnectTimeout(timeout))??;
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, LinkError> {
        match &self.config.card {
            CardAddress::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(LinkError::Connect)?;
                stream.set_nodelay(true).map_err(LinkError::Connect)?;
                self.handshake(TokioIo::new(stream)).await
            }
            CardAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(LinkError::Connect)?;
                self.handshake(TokioIo::new(stream)).await
            }
        }
    }

    async fn handshake<T>(&self, io: T) -> Result<SendRequest<Incoming>, LinkError>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.config.keepalive)
            .keep_alive_timeout(self.config.keepalive)
            .keep_alive_while_idle(false)
            .handshake(io)
            .await
            .map_err(LinkError::Handshake)?;
        // Ends with its last sender, that is, with the client.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the card ended");
            }
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_from_their_text() {
        for text in
            ["http://192.168.100.2:50051", "http://[fe80::1]:50051", "http://card:1", "unix:/run/a.sock"]
        {
            assert_eq!(text.parse::<CardAddress>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_of_a_card_is_refused() {
        for (text, error) in [
            ("", CardAddressError::Form),
            ("unix:", CardAddressError::Form),
            ("192.168.100.2:50051", CardAddressError::Form),
            ("https://192.168.100.2:50051", CardAddressError::Form),
            ("http://user@192.168.100.2:50051", CardAddressError::Form),
            ("http://192.168.100.2", CardAddressError::NoPort),
            ("http://192.168.100.2:50051/api", CardAddressError::Path),
            ("http://192.168.100.2:50051/?a", CardAddressError::Path),
        ] {
            assert_eq!(text.parse::<CardAddress>(), Err(error), "{text:?}");
        }
    }
}
