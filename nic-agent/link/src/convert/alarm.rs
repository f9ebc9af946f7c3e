//! What is wrong with the card.

use std::time::Duration;

use nic_policy::{Alarm, AlarmReason};
use nic_proto::datapath::v1 as pb;

use super::learned::nanos;
use super::report::named;
use super::{Bad, ObjectError, port};

/// An alarm.
pub fn alarm_to(alarm: &Alarm) -> pb::Alarm {
    pb::Alarm {
        reason: alarm.reason.name().to_owned(),
        port: alarm.port.map(|port| port.bits().into()),
        since_unix_ns: nanos(alarm.since),
        text: alarm.text.clone(),
    }
}

/// An alarm from its message.
pub fn alarm_from(alarm: &pb::Alarm) -> Result<Alarm, ObjectError> {
    let read = || -> Result<Alarm, Bad> {
        Ok(Alarm {
            reason: named("reason", &alarm.reason, AlarmReason::from_name)?,
            port: alarm.port.map(|bits| port("port", bits)).transpose()?,
            since: Duration::from_nanos(alarm.since_unix_ns),
            text: alarm.text.clone(),
        })
    };
    read().map_err(|bad| bad.in_object("alarm"))
}
