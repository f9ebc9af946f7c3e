//! The slow path: what happens to packets that no rule of the E-Switch forwards, and how rules come
//! to be.
//!
//! A [`Worker`] receives packets, looks up their megaflow in its cache, translates those that have
//! none, and sends them. It offers each megaflow to the card, and takes it back when the policy
//! changes or nobody uses it. Beside that it is the writer of all that packets teach: MAC addresses of
//! bridges, next hops of VTEPs, IP addresses of stations. What that changes touches flows as a change of
//! policy does. Floods, and ARP and neighbour discovery for its VTEPs and bridges, it does itself. An
//! [`Installer`] runs on the offload thread, which may block: it puts
//! the rules into the E-Switch and reads their counters. The worker owns the flow, the installer owns
//! the rule's handle; they send each other [`Request`]s and [`Completion`]s that name a
//! [`nic_flow::RuleId`].
//!
//! **May know:** the flow IR and its seams (`nic-flow`), policy (`nic-policy`), translation
//! (`nic-pipeline`), classifiers (`nic-table`), headers (`nic-wire`). **May not know:** DPDK, threads, resources. Layer 1: no
//! `unsafe`, no I/O of its own; the time, a random seed and both seams are handed in.

#![forbid(unsafe_code)]

mod ageing;
mod arp;
mod audit;
mod config;
mod dependents;
mod discovery;
mod effects;
mod evict;
mod fdb;
mod flood;
mod flows;
mod installer;
mod installs;
mod intake;
mod inventory;
mod leaving;
mod megaflows;
mod message;
mod nd;
mod neighbors;
mod ports;
mod publications;
mod revalidate;
mod rules;
mod shares;
mod suppression;
mod transmit;
mod underlay;
mod view;
mod worker;

pub use audit::{Audit, Belief, Believed, Finding, Held, Holding, Inventory, Remedy};
pub use config::{Config, InstallerConfig};
pub use installer::{Installer, InstallerCounters};
pub use message::{Completion, Request};
pub use view::{FlowView, WorkerCounters};
pub use worker::{Polled, Worker};
