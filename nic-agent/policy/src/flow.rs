//! What a megaflow looks like from outside: the value that `nicctl flows` shows.

use alloc::vec::Vec;
use core::time::Duration;

use nic_flow::{ActionList, Counters, Match, Shape};

use crate::capability::Offload;
use crate::drop::DropReason;
use crate::object::ObjectId;

/// One megaflow of the flow table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowView {
    /// Its packets.
    pub matches: Match,
    /// What is done to them; empty if they are dropped.
    pub actions: ActionList,
    /// Why they are dropped, if they are.
    pub dropped: Option<DropReason>,
    /// The shape of its mask.
    pub shape: Shape,
    /// Where it is forwarded, and why not by the E-Switch if it is not.
    pub offload: Offload,
    /// What the slow path forwarded.
    pub software: Counters,
    /// What its rule in the E-Switch forwarded, as last polled.
    pub hardware: Counters,
    /// Since it was made.
    pub age: Duration,
    /// Since a packet was last seen.
    pub idle: Duration,
    /// The policy objects that it was translated by.
    pub objects: Vec<ObjectId>,
}
