//! Bridges and tunnels: one card told step by step, and several cards joined by an underlay.

mod announcements;
mod floods;
pub(crate) mod frames;
mod learning;
mod moves;
mod neighbors;
mod node;
mod property;
pub(crate) mod suppression;
mod underlay;
