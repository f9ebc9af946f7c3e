//! Who calls, and what they may do: every call gets its id, is authorised and audited before it reaches a
//! service.
//!
//! A door gives everyone who comes through it a [`Role`]: so far doors are unix sockets and loopback
//! ports, and whoever may open one is trusted with its role. Identities from certificates take the
//! place of the door's role here, and nowhere else.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use nic_proto::v1::ErrorReason;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, UdsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::call::{self, End, Observer};
use crate::failure::{Failure, Fault};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Owner,
    /// Read.
    Viewer,
}

/// Who calls. Services find it among the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// What it may do.
    pub role: Role,
}

/// What is known of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A process on this machine, by its user.
    Local {
        /// The user's id.
        uid: u32,
    },
    /// A peer over TCP.
    Remote(std::net::SocketAddr),
    /// Nothing.
    Unknown,
}

/// How the names of methods begin that only read. Any other changes something. An audit reads unless it is
/// to repair, and then its service asks for the role.
const READS: &[&str] = &["Audit", "Get", "List", "Trace", "Verify", "Watch"];

/// Whether a method may change something. Health and reflection do not.
fn writes(method: &str) -> bool {
    let (service, verb) = method.rsplit_once('/').unwrap_or_default();
    !service.starts_with("/grpc.") && !READS.iter().any(|read| verb.starts_with(read))
}

impl Role {
    /// Whether this role may call a method.
    pub fn may(self, method: &str) -> bool {
        self == Role::Owner || !writes(method)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Local { uid } => write!(f, "uid:{uid}"),
            Identity::Remote(address) => write!(f, "tcp:{address}"),
            Identity::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Owner => "owner",
            Role::Viewer => "viewer",
        })
    }
}

/// Names, authorises and audits all calls that come through one door.
#[derive(Clone)]
pub struct Gate {
    role: Role,
    observer: Option<Arc<dyn Observer>>,
}

impl Gate {
    /// A door at which everyone has this role.
    pub const fn new(role: Role) -> Gate {
        Gate { role, observer: None }
    }

    /// The same door with somebody who hears how each call ended, also those that are not let in.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Gate {
        Gate { observer: Some(observer), ..self }
    }

    fn peer<B>(&self, request: &Request<B>) -> Peer {
        let extensions = request.extensions();
        let local = extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let remote = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let identity = match (local, remote) {
            (Some(credentials), _) => Identity::Local { uid: credentials.uid() },
            (None, Some(address)) => Identity::Remote(address),
            (None, None) => Identity::Unknown,
        };
        Peer { identity, role: self.role }
    }
}

impl From<Role> for Gate {
    fn from(role: Role) -> Gate {
        Gate::new(role)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("role", &self.role).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Gate {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { gate: self.clone(), inner }
    }
}

/// A service behind a [`Gate`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    gate: Gate,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = self.gate.peer(&request);
        let id = call::id_of(request.headers());
        let method = request.uri().path();
        let end = End::new(self.gate.observer.clone(), method);
        let allowed = peer.role.may(method);
        let span =
            tracing::info_span!("call", request = %id, method, peer = %peer.identity, role = %peer.role);
        if writes(method) || !allowed {
            // Whole by itself, for those who keep the audit alone.
            tracing::info!(target: "audit", parent: None, request = %id, method, peer = %peer.identity,
                role = %peer.role, allowed, "call");
        }
        if !allowed {
            let text = format!("the role {} may not call {method}", peer.role);
            let fault = Fault::new(Code::PermissionDenied, ErrorReason::RoleNotPermitted, text);
            let response = Status::from(Failure::from(fault)).into_http();
            return Box::pin(async move { Ok(call::answered(response, id, end)) });
        }
        request.extensions_mut().insert(peer);
        let answer = span.in_scope(|| self.inner.call(request));
        let served = call::scope(id.clone(), answer);
        Box::pin(async move { Ok(call::answered(served.await?, id, end)) }.instrument(span))
    }
}
