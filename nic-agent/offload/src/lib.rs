//! The flow IR as `rte_flow` transfer rules: what a card can do, and doing it.
//!
//! * [`mod@encode`]: a rule becomes items and actions. The encoder consumes the mask; a bit that is left
//!   over is a refusal that names its field, so nothing is ever widened or approximated.
//! * [`capability`]: at start every shape with every kind of action is tried on the card, so anyone may
//!   ask what this card can do and why not.
//! * [`sink`]: creates, destroys and counts rules through `dpdk`, for the offload thread.
//!
//! **May know:** `rte_flow` through `dpdk`, the flow IR, the capability types. **May not know:** that a
//! card may be emulated, flows, policy, who asks. Layer 3.

#![forbid(unsafe_code)]

pub mod capability;
pub mod encode;
pub mod sink;

pub use encode::{Encoded, encode};
pub use sink::{Ports, Sink};
