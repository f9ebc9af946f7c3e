//! What is wrong with the card, as far as this process knows: looked at once a second, told to nic-agent and
//! to the log when it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nic_checkpoint::{self as policy, NotSaved, Status};
use nic_flow::PortId;
use nic_policy::alarm::{Fault, News};
use nic_policy::{Alarm, AlarmReason, Alarms, Severity};
use nic_slowpath::{InstallerCounters, WorkerCounters};
use tokio::sync::watch;

/// How long an alarm stands behind the last time that what it counts has grown.
const RECENT: Duration = Duration::from_secs(60);

/// What there is to see at one look. What another source needs is added here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// Where the policy in force is from, and how it is with its file.
    pub(crate) policy: Status,
    /// Ports that policy opens and that have no device.
    pub(crate) absent: Vec<PortId>,
    /// What the worker counted.
    pub(crate) worker: WorkerCounters,
    /// What the offload thread counted.
    pub(crate) installer: InstallerCounters,
}

/// Finds what is wrong in one respect.
type Source = fn(&mut Look<'_>);

/// All of them: one line each.
const SOURCES: &[Source] = &[
    policy_none,
    policy_from_disk,
    policy_not_saved,
    policy_unreadable,
    rules_lost,
    rules_refused,
    rules_stuck,
    counters_stalled,
    device_absent,
    agent_away,
];

fn policy_none(look: &mut Look<'_>) {
    if look.sight.policy.source == policy::Source::None {
        look.card(AlarmReason::PolicyNone, "no nic-agent has told a policy, and there was none on disk");
    }
}

fn policy_from_disk(look: &mut Look<'_>) {
    if look.sight.policy.source == policy::Source::Disk {
        look.card(AlarmReason::PolicyFromDisk, "no nic-agent has said yet that this policy is its own");
    }
}

fn policy_not_saved(look: &mut Look<'_>) {
    let Some(NotSaved { error, left, .. }) = &look.sight.policy.not_saved else { return };
    let older = left.as_ref().map_or_else(String::new, |why| {
        format!("; the older policy there cannot be removed ({why}), so no newer revision is called applied")
    });
    let text = format!("the policy in force is not on disk: {error}{older}");
    look.card(AlarmReason::PolicyNotSaved, text);
}

fn policy_unreadable(look: &mut Look<'_>) {
    if let Some(unusable) = &look.sight.policy.unreadable {
        let text = format!("the policy that was on disk at the start is not used: {unusable}");
        look.card(AlarmReason::PolicyUnreadable, text);
    }
}

fn rules_lost(look: &mut Look<'_>) {
    look.growing(AlarmReason::RulesLost, look.sight.worker.reinstalled, "rules were put back");
}

fn rules_refused(look: &mut Look<'_>) {
    look.growing(AlarmReason::RulesRefused, look.sight.worker.rules_full, "rules were refused");
}

fn rules_stuck(look: &mut Look<'_>) {
    look.growing(AlarmReason::RulesStuck, look.sight.worker.remove_failures, "tries to destroy rules failed");
}

fn counters_stalled(look: &mut Look<'_>) {
    look.growing(
        AlarmReason::CountersStalled,
        look.sight.installer.query_failures,
        "reads of counters failed",
    );
}

fn device_absent(look: &mut Look<'_>) {
    for &port in &look.sight.absent {
        let text = format!("policy opens {port}, and nic-datapath has no such device");
        look.faults.push(Fault::of_port(AlarmReason::DeviceAbsent, port, text));
    }
}

fn agent_away(look: &mut Look<'_>) {
    if !look.attended {
        look.card(AlarmReason::AgentAway, "no nic-agent is connected; the policy stays as it is");
    }
}

/// One look at all sources.
struct Look<'a> {
    sight: &'a Sight,
    attended: bool,
    /// Time since the first look.
    now: Duration,
    recent: &'a mut Recent,
    faults: Vec<Fault>,
}

impl Look<'_> {
    fn card(&mut self, reason: AlarmReason, text: impl Into<String>) {
        self.faults.push(Fault::of_card(reason, text));
    }

    /// Something is wrong as long as a counter grows.
    fn growing(&mut self, reason: AlarmReason, count: u64, what: &str) {
        if self.recent.grew(reason, count, self.now) {
            self.card(reason, format!("{count} {what} since nic-datapath started"));
        }
    }
}

/// When counters grew last, by the alarm that they raise.
#[derive(Debug, Default)]
struct Recent([(u64, Option<Duration>); AlarmReason::COUNT]);

impl Recent {
    fn grew(&mut self, reason: AlarmReason, count: u64, now: Duration) -> bool {
        let (last, at) = &mut self.0[reason.index()];
        if count > *last {
            (*last, *at) = (count, Some(now));
        }
        at.is_some_and(|at| now.saturating_sub(at) < RECENT)
    }
}

/// The alarms that stand.
pub(crate) struct Board {
    first_look: Instant,
    attended: AtomicBool,
    memory: Mutex<Memory>,
    told: watch::Sender<Vec<Alarm>>,
}

#[derive(Default)]
struct Memory {
    recent: Recent,
    faults: Vec<Fault>,
    alarms: Alarms,
}

impl Board {
    /// Without an alarm, until the first look.
    pub(crate) fn new() -> Board {
        Board {
            first_look: Instant::now(),
            attended: AtomicBool::new(false),
            memory: Mutex::default(),
            told: watch::Sender::new(Vec::new()),
        }
    }

    /// All that stand, and when they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<Alarm>> {
        self.told.subscribe()
    }

    /// An agent came or went. One that came is not told any more that it is away; of one that went the next look
    /// tells, if it is not back by then.
    pub(crate) fn attended(&self, by_agent: bool) {
        self.attended.store(by_agent, Ordering::Relaxed);
        if by_agent {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.faults.retain(|fault| fault.reason != AlarmReason::AgentAway);
            self.settle(&mut memory);
        }
    }

    /// Looks at everything.
    pub(crate) fn look(&self, sight: &Sight) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { recent, .. } = &mut *memory;
        let attended = self.attended.load(Ordering::Relaxed);
        let mut look = Look { sight, attended, now: self.first_look.elapsed(), recent, faults: Vec::new() };
        for source in SOURCES {
            source(&mut look);
        }
        memory.faults = look.faults;
        self.settle(&mut memory);
    }

    fn settle(&self, memory: &mut Memory) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let news = memory.alarms.settle(memory.faults.iter().cloned(), now);
        log(&news, now);
        if !news.is_empty() {
            self.told.send_replace(memory.alarms.as_slice().to_vec());
        }
    }
}

fn log(news: &News, now: Duration) {
    for Alarm { reason, port, text, .. } in &news.raised {
        let port = port.map(tracing::field::display);
        if reason.severity() == Severity::Info {
            tracing::info!(%reason, port, text, "alarm raised");
        } else {
            tracing::warn!(%reason, port, text, "alarm raised");
        }
    }
    for Alarm { reason, port, since, .. } in &news.cleared {
        let stood_s = now.saturating_sub(*since).as_secs_f64();
        tracing::info!(%reason, port = port.map(tracing::field::display), stood_s, "alarm cleared");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nic_checkpoint::Unusable;

    use super::*;

    fn standing(board: &Board) -> Vec<AlarmReason> {
        board.told.borrow().iter().map(|alarm| alarm.reason).collect()
    }

    #[test]
    fn a_counter_that_grew_counts_for_a_minute() {
        let mut recent = Recent::default();
        let mut grew = |count, now| recent.grew(AlarmReason::RulesLost, count, Duration::from_secs(now));
        assert!(!grew(0, 0));
        assert!(grew(1, 10));
        assert!(grew(1, 69));
        assert!(!grew(1, 70));
        assert!(grew(5, 71));
    }

    #[test]
    fn each_state_raises_its_own_alarm_and_clears_it_again() {
        let board = Board::new();
        board.look(&Sight::default());
        assert_eq!(standing(&board), [AlarmReason::PolicyNone, AlarmReason::AgentAway]);
        board.attended(true);
        assert_eq!(standing(&board), [AlarmReason::PolicyNone]);
        let of = |source| Status { source, ..Status::default() };
        board.look(&Sight { policy: of(policy::Source::Disk), ..Sight::default() });
        assert_eq!(standing(&board), [AlarmReason::PolicyFromDisk]);
        let well = Sight { policy: of(policy::Source::Agent), ..Sight::default() };
        board.look(&well);
        assert_eq!(standing(&board), []);
        let mut unread = well.clone();
        unread.policy.unreadable = Some(Arc::new(Unusable::Empty));
        board.look(&unread);
        assert_eq!(standing(&board), [AlarmReason::PolicyUnreadable]);
        let mut ill = well.clone();
        ill.absent = vec![PortId::from_bits(7)];
        (ill.worker.reinstalled, ill.worker.rules_full, ill.worker.remove_failures) = (1, 2, 3);
        ill.installer.query_failures = 4;
        board.look(&ill);
        let all = [
            AlarmReason::RulesLost,
            AlarmReason::RulesRefused,
            AlarmReason::RulesStuck,
            AlarmReason::CountersStalled,
            AlarmReason::DeviceAbsent,
        ];
        assert_eq!(standing(&board), all);
        assert!(board.told.borrow().iter().any(|alarm| alarm.text.starts_with("2 rules were refused")));
        board.attended(false);
        assert_eq!(standing(&board), all, "an agent may be back before the next look");
        board.look(&ill);
        assert_eq!(standing(&board).last(), Some(&AlarmReason::AgentAway));
    }
}
