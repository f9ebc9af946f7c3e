//! The answers that the shim gives in the card's place.

use std::collections::HashMap;

use hyper::http::{Response, StatusCode, header};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of `nic.v1.ErrorReason`.
const DOMAIN: &str = "nic.v1";

/// The method is not one that the shim forwards.
pub(crate) fn method(path: &str) -> Status {
    Status::with_error_details(
        Code::PermissionDenied,
        format!("host-shim does not forward {path}: it is no method of nic.v1, health or reflection"),
        details("METHOD_NOT_FORWARDED", "method", path),
    )
}

/// There is no connection to the card, or there is none any more.
pub(crate) fn card(card: &impl ToString, why: &dyn std::error::Error) -> Status {
    let card = card.to_string();
    Status::with_error_details(
        Code::Unavailable,
        format!("host-shim cannot reach the card at {card}: {}", chain(why)),
        details("CARD_UNREACHABLE", "card", &card),
    )
}

/// An error with all that it was caused by, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Some errors repeat their source in their own text.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

/// The request is HTTP/2 but not gRPC; as gRPC's protocol has it, that is answered in HTTP.
pub(crate) fn not_grpc() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/grpc"));
    response
}

fn details(reason: &str, key: &str, value: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::from([(key.to_owned(), value.to_owned())]))
}
