//! One call: its id, which goes with it through the logs and back to the caller, and how it ended.
//!
//! The id is the caller's, from the metadata `x-request-id`, or one made here. It is an attempt's own: the
//! `request_id` of a mutation, which repetitions share, is another thing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use nic_policy::CallId;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

/// Where an id stands in the metadata of a call and of its answer.
pub const REQUEST_ID: &str = "x-request-id";

tokio::task_local! {
    static CALL: CallId;
}

/// Hears how calls ended.
pub trait Observer: Send + Sync + 'static {
    /// A call of a method, such as `/nic.v1.PortService/GetPort`, is over. One that its caller gave up is
    /// [`Code::Cancelled`]. A stream is over when its last message was taken.
    fn called(&self, method: &str, code: Code, took: Duration);
}

/// The id of the call that is being served.
pub(crate) fn current() -> Option<CallId> {
    CALL.try_with(CallId::clone).ok()
}

/// The id that the caller gave. One that is none is not taken: it must not reach the log.
pub(crate) fn id_of(headers: &HeaderMap) -> CallId {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::parse);
    match given {
        Some(Ok(id)) => id,
        _ => made(),
    }
}

fn made() -> CallId {
    let id = Uuid::new_v4().to_string();
    id.parse().expect("a UUID has 36 characters, hexadecimal digits and dashes")
}

/// Serves what `future` serves under the id.
pub(crate) fn scope<F: Future>(id: CallId, future: F) -> impl Future<Output = F::Output> {
    CALL.scope(id, future)
}

/// Tells the observer once, whatever becomes of the call.
pub(crate) struct End {
    observer: Option<Arc<dyn Observer>>,
    method: String,
    start: Instant,
}

impl End {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>, method: &str) -> End {
        End { observer, method: method.to_owned(), start: Instant::now() }
    }

    fn tell(&mut self, code: Code) {
        if let Some(observer) = self.observer.take() {
            observer.called(&self.method, code, self.start.elapsed());
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(Code::Cancelled);
    }
}

/// Gives an answer the id, in its metadata and, if it is an error, in its details.
pub(crate) fn answered(mut response: Response<Body>, id: CallId, mut end: End) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(code) = name_request(response.headers_mut(), &id) {
        end.tell(code);
        return response;
    }
    response.map(|body| Body::new(Answer { body, id, end }))
}

/// Puts a RequestInfo into the details of an error; returns the status's code if there is a status.
fn name_request(headers: &mut HeaderMap, id: &CallId) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    if status.code() != Code::Ok {
        let mut details: ErrorDetails = status.get_error_details();
        details.set_request_info(id.as_str(), "");
        let told = Status::with_error_details(status.code(), status.message(), details);
        // A message that no header can carry would not have been in one.
        let _ = told.add_header(headers);
    }
    Some(status.code())
}

/// The body of an answer, up to the status at its end.
struct Answer {
    body: Body,
    id: CallId,
    end: End,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    let code = name_request(trailers, &self.id).unwrap_or(Code::Unknown);
                    self.end.tell(code);
                }
            }
            Some(Err(status)) => {
                let code = status.code();
                self.end.tell(code);
            }
            None => self.end.tell(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_is_replaced() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(value));
            id_of(&headers)
        };
        assert_eq!(with("mine.1").as_str(), "mine.1");
        for bad in ["", "a b", "a,b", "\"quoted\""] {
            let id = with(bad);
            assert!(Uuid::parse_str(id.as_str()).is_ok(), "{bad:?} became {id}");
        }
        assert_ne!(id_of(&HeaderMap::new()), id_of(&HeaderMap::new()));
    }

    /// An observer that remembers.
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<Code>>);

    impl Observer for Heard {
        fn called(&self, _: &str, code: Code, _: Duration) {
            self.0.lock().unwrap().push(code);
        }
    }

    #[tokio::test]
    async fn an_error_at_the_end_of_a_stream_names_its_call_too() {
        let heard = Arc::new(Heard::default());
        let end = End::new(Some(Arc::clone(&heard) as Arc<dyn Observer>), "/a/B");
        let mut trailers = HeaderMap::new();
        Status::aborted("too late").add_header(&mut trailers).unwrap();
        let frames = [Frame::data(Bytes::from_static(b"first")), Frame::trailers(trailers)];
        let body = http_body_util::StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Status>)));
        let answer = answered(Response::new(Body::new(body)), "mine".parse().unwrap(), end);
        assert_eq!(answer.headers()[REQUEST_ID], "mine");
        assert_eq!(*heard.0.lock().unwrap(), []);
        let mut body = answer.into_body();
        let mut last = None;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            last = Some(frame.unwrap());
        }
        let trailers = last.and_then(|frame| frame.into_trailers().ok()).expect("they come last");
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!((status.code(), status.message()), (Code::Aborted, "too late"));
        let details = status.get_error_details();
        assert_eq!(details.request_info().map(|info| info.request_id.as_str()), Some("mine"));
        assert_eq!(*heard.0.lock().unwrap(), [Code::Aborted]);
        drop(body);
        assert_eq!(heard.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_call_that_nobody_waited_for_was_cancelled() {
        let heard = Arc::new(Heard::default());
        drop(End::new(Some(Arc::clone(&heard) as Arc<dyn Observer>), "/a/B"));
        assert_eq!(*heard.0.lock().unwrap(), [Code::Cancelled]);
    }
}
