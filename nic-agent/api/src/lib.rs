//! The gRPC services of nic.v1: one file a service, and conversion only.
//!
//! What a service needs from the rest of nic-agent stands in the traits of [`seam`]: the
//! [`Configuration`] (the store), the [`Datapath`] (the link) and the [`Slots`]. [`routes`] makes the services,
//! health and reflection included; [`serve`] serves them behind a door, where every call gets an id, is
//! authorised and audited ([`auth`]).
//!
//! **May know:** nic.v1, resources (`nic-model`), policy (`nic-policy`). **May not know:** the store, the
//! link, where sockets are. It decides nothing: what is valid is `nic-model`'s word, what happens to
//! packets the datapath's.

#![forbid(unsafe_code)]

pub mod auth;
mod call;
mod condition;
mod convert;
mod core;
mod failure;
mod health;
mod page;
pub mod seam;
mod server;
mod services;
pub mod slots;

pub use auth::{Gate, Peer, Role};
pub use call::{Observer, REQUEST_ID};
pub use health::{Health, is_healthy};
pub use seam::{
    CommitError, Committed, Configuration, Datapath, DatapathError, DatapathView, FollowError, Followed,
    News, RequestKey,
};
pub use server::{Method, ServeError, methods, routes, serve};
pub use slots::{NoSlots, Slots, SlotsError};

/// The `domain` of nic.v1's errors in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "nic.v1";
