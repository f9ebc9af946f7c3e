//! What is wrong with the card: the datapath's alarms, and those that nic-agent finds itself.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nic_model::State;
use nic_policy::alarm::{Fault, News};
use nic_policy::{Alarm, AlarmReason, Alarms, Revision, Severity};

use crate::seam::{Configuration, Datapath, DatapathView};

/// Finds what is wrong in one respect.
type Source = fn(&Sight<'_>, &mut Vec<Fault>);

/// All of them: one line each.
const SOURCES: &[Source] = &[datapath_away, datapath_refused, store_failing, boot, port_absent];

/// What there is to see at one look.
struct Sight<'a> {
    state: &'a State,
    view: &'a DatapathView,
    failing: Option<String>,
    boot: &'a [Fault],
}

fn boot(sight: &Sight<'_>, faults: &mut Vec<Fault>) {
    // What is configured anew makes up for what was lost.
    let configured = sight.state.revision() != Revision(0);
    let made_up = |fault: &Fault| fault.reason == AlarmReason::DataRecreated && configured;
    faults.extend(sight.boot.iter().filter(|fault| !made_up(fault)).cloned());
}

fn datapath_away(sight: &Sight<'_>, faults: &mut Vec<Fault>) {
    // Whoever refuses a policy is there, though it is asked again on a new connection each time.
    if !sight.view.connected && sight.view.refused.is_none() {
        let why = sight.view.error.clone().unwrap_or_default();
        faults.push(Fault::of_card(AlarmReason::DatapathAway, why));
    }
}

fn datapath_refused(sight: &Sight<'_>, faults: &mut Vec<Fault>) {
    if let Some(why) = &sight.view.refused {
        faults.push(Fault::of_card(AlarmReason::DatapathRefused, why));
    }
}

fn store_failing(sight: &Sight<'_>, faults: &mut Vec<Fault>) {
    if let Some(why) = &sight.failing {
        faults.push(Fault::of_card(AlarmReason::StoreFailing, why));
    }
}

fn port_absent(sight: &Sight<'_>, faults: &mut Vec<Fault>) {
    // Of a datapath that is away nobody knows which devices it has.
    if !sight.view.connected {
        return;
    }
    for port in sight.state.ports_after(None) {
        let device = port.spec.device();
        let told = (AlarmReason::DeviceAbsent, Some(device));
        let there = sight.view.devices.iter().any(|there| there.port == device);
        if !there && !sight.view.alarms.iter().any(|alarm| alarm.id() == told) {
            let text = format!("nic-datapath has no device {device}");
            faults.push(Fault::of_port(AlarmReason::PortAbsent, device, text));
        }
    }
}

/// The health of the card, as nic-agent knows it.
pub struct Health {
    configuration: Arc<dyn Configuration>,
    datapath: Arc<dyn Datapath>,
    /// What the boot found.
    boot: Vec<Fault>,
    /// Those that nic-agent found itself.
    own: Mutex<Alarms>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Health {
    /// Nothing is wrong until the first look.
    pub fn new(configuration: Arc<dyn Configuration>, datapath: Arc<dyn Datapath>) -> Health {
        Health { configuration, datapath, boot: Vec::new(), own: Mutex::default() }
    }

    /// The same, where the boot found something wrong already.
    #[must_use]
    pub fn after(self, boot: Vec<Fault>) -> Health {
        Health { boot, ..self }
    }

    /// Looks at everything, and returns all alarms that stand: what matters most first. To be called every now
    /// and then, so that an alarm is as old as what it tells of.
    pub fn look(&self) -> Vec<Alarm> {
        self.look_at(&self.configuration.state(), &self.datapath.view())
    }

    pub(crate) fn look_at(&self, state: &State, view: &DatapathView) -> Vec<Alarm> {
        let sight = Sight { state, view, failing: self.configuration.failing(), boot: &self.boot };
        let mut faults = Vec::new();
        for source in SOURCES {
            source(&sight, &mut faults);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        log(&own.settle(faults, now), now);
        let mut all: Vec<Alarm> = own.as_slice().iter().chain(&view.alarms).cloned().collect();
        all.sort_by_key(|alarm| (Reverse(alarm.reason.severity()), alarm.id()));
        all
    }
}

/// True if nothing is wrong that keeps the card from its work, now or after the next fault.
pub fn is_healthy(alarms: &[Alarm]) -> bool {
    alarms.iter().all(|alarm| alarm.reason.severity() == Severity::Info)
}

fn log(news: &News, now: Duration) {
    for Alarm { reason, port, text, .. } in &news.raised {
        tracing::warn!(%reason, port = port.map(tracing::field::display), text, "alarm raised");
    }
    for Alarm { reason, port, since, .. } in &news.cleared {
        let stood_s = now.saturating_sub(*since).as_secs_f64();
        tracing::info!(%reason, port = port.map(tracing::field::display), stood_s, "alarm cleared");
    }
}
