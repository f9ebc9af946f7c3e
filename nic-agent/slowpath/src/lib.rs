//! The slow path: what happens to packets that no rule of the E-Switch forwards, and how rules come
//! to be.
//!
//! A [`Worker`] receives packets, looks up their megaflow in its cache, translates those that have
//! none, and sends them. It offers each megaflow to the card, and takes it back when the policy
//! changes or nobody uses it. An [`Installer`] runs on the offload thread, which may block: it puts
//! the rules into the E-Switch and reads their counters. The worker owns the flow, the installer owns
//! the rule's handle; they send each other [`Request`]s and [`Completion`]s that name a
//! [`nic_flow::RuleId`].
//!
//! **May know:** the flow IR and its seams (`nic-flow`), policy (`nic-policy`), translation
//! (`nic-pipeline`), classifiers (`nic-table`). **May not know:** DPDK, threads, resources. Layer 1: no
//! `unsafe`, no I/O of its own; the time, a random seed and both seams are handed in.

#![forbid(unsafe_code)]

mod ageing;
mod config;
mod dependents;
mod flows;
mod installer;
mod leaving;
mod megaflows;
mod message;
mod ports;
mod publications;
mod revalidate;
mod rules;
mod transmit;
mod view;
mod worker;

pub use config::{Config, InstallerConfig};
pub use installer::{Installer, InstallerCounters};
pub use message::{Completion, Request};
pub use view::{FlowView, WorkerCounters};
pub use worker::{Polled, Worker};
