//! For tests that put stages of their own into the pipeline, to see whether they are caught.

use nic_flow::FlowKey;
use nic_policy::Stage;

use crate::snapshot::Snapshot;
use crate::stages::{ORDER, Translation, translate_by};
use crate::state::State;

pub use crate::plan::Plan;
pub use crate::probe::Probe;
pub use crate::stages::StageFn;

/// The stages as they are.
pub const STAGES: [(Stage, StageFn); Stage::COUNT] = ORDER;

/// [`translate`](crate::translate) by other stages.
pub fn translate_with(
    stages: &[(Stage, StageFn)],
    key: &FlowKey,
    snapshot: &Snapshot,
    state: &State,
) -> Translation {
    translate_by(stages, key, snapshot, state, |_, _, _| {})
}
