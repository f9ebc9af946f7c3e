//! What nic-agent and the datapath count, as a page of OpenMetrics text that Prometheus reads.
//!
//! * [`METRICS`]: every metric there is, with its labels and what it means; `docs/ops/metrics.md` is the same
//!   table for operators, and a test compares them.
//! * [`Page`]: what is told of one moment, and how it is written.
//! * [`Calls`]: how the calls of nic.v1 ended and how long they took, counted here because nobody else does.
//! * [`serve`]: the page over HTTP, made anew for each reader from a [`Source`].
//!
//! How many series there are is bounded by what the card and the programs are: ports, drop reasons, alarms,
//! stages, kinds of resources, methods. Nothing that a packet or a caller can choose becomes a label.
//!
//! A further group of figures is a field of [`Page`], a function in `page.rs`, and its rows
//! in `metric.rs` and on the operators' page.
//!
//! **May know:** counters and names of policy (`nic-policy`), HTTP, the process's own figures. **May not
//! know:** resources, the store, the link, gRPC: what it tells of them it is given.

#![forbid(unsafe_code)]

mod calls;
mod http;
mod metric;
mod page;
mod process;

pub use calls::{Calls, Method};
pub use http::{CONTENT_TYPE, PATH, PATIENCE, Source, serve};
pub use metric::{Kind, METRICS, Metric};
pub use page::{Agent, Datapath, Page};
pub use process::Process;
