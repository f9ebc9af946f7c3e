//! One call: refused here, or sent to the card with its answer sent back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::http::{HeaderMap, Method, Request, Response, Uri, header, uri};
use tonic::body::Body;

use crate::card::{CardAddress, Link};
use crate::{allow, refuse};

/// Answers one request of a client. A call that the client cancels is dropped where it stands, which
/// resets its stream on the card's side too.
pub(crate) async fn call(
    link: Arc<Link>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if !is_grpc(&request) {
        return Ok(refuse::not_grpc());
    }
    let path = request.uri().path();
    if !allow::allows(path) {
        tracing::info!(path, "refused");
        return Ok(refuse::method(path).into_http());
    }
    let Some(uri) = card_uri(link.card(), path) else {
        return Ok(refuse::method(path).into_http());
    };
    *request.uri_mut() = uri;
    match link.send(request).await {
        Ok(response) => {
            Ok(response.map(|body| Body::new(Answer { body, card: link.card().clone(), over: false })))
        }
        Err(error) => {
            let status = refuse::card(link.card(), &error);
            tracing::info!(message = status.message(), "a call failed");
            Ok(status.into_http())
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = content_type.strip_prefix("application/grpc");
    request.method() == Method::POST
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

fn card_uri(card: &CardAddress, path: &str) -> Option<Uri> {
    uri::Builder::new().scheme("http").authority(card.authority()).path_and_query(path).build().ok()
}

/// The card's answer on its way to the client, untouched. Should the card go away in the middle, it
/// ends with a status that says so, where HTTP/2 alone would only have a reset.
struct Answer {
    body: Incoming,
    card: CardAddress,
    over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            None => None,
            Some(Err(error)) => {
                self.over = true;
                let status = refuse::card(&self.card, &error);
                let mut trailers = HeaderMap::new();
                // Fails for a message that no header can carry; then the client sees a call without
                // a status, which is an error as well.
                status.add_header(&mut trailers).ok().map(|()| Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What the card announced may not come: promise nothing.
        SizeHint::default()
    }
}
