//! What is the same in the messages of all kinds of resources and reports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nic_model::{Kind, Meta, ResourceId, Time};
use nic_policy::Offload;
use nic_proto::v1 as pb;
use pbjson_types::Timestamp;

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: (time.0 % 1_000_000) as i32 * 1000 }
}

pub(crate) fn system_time(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos() as i32,
    }
}

pub(crate) fn duration(duration: Duration) -> pbjson_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    pbjson_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

/// A resource's name.
pub(crate) fn name(kind: Kind, id: &ResourceId) -> String {
    kind.name(id.clone()).to_string()
}

pub(crate) fn metadata(meta: &Meta) -> pb::Metadata {
    pb::Metadata {
        generation: meta.generation,
        revision: meta.changed_at.0,
        apply_set: meta.apply_set.as_ref().map(ToString::to_string).unwrap_or_default(),
        create_time: Some(timestamp(meta.create_time)),
        update_time: Some(timestamp(meta.update_time)),
    }
}

/// Where a flow runs: the tier, the reason's stable name and what there is to say.
pub(crate) fn offload(offload: Offload) -> (pb::FlowTier, String, String) {
    match offload {
        Offload::Hardware => (pb::FlowTier::Hardware, String::new(), String::new()),
        Offload::Pending => {
            (pb::FlowTier::Software, "pending".to_owned(), "the E-Switch has not answered yet".to_owned())
        }
        Offload::Software(reason) => (pb::FlowTier::Software, reason.name().to_owned(), reason.to_string()),
    }
}
