//! What is wrong with the card: one registry, each reason with a stable name that both processes, the API
//! and the documentation share. An alarm stands as long as what it tells of lasts.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::time::Duration;

use nic_flow::PortId;

/// How much an alarm matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know; the card is healthy.
    Info,
    /// The card does its work, but slower, or not for everyone, or not after the next fault.
    Warning,
    /// The card does not do its work, or nobody knows whether it does.
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: &'static [Severity] = &[Severity::Info, Severity::Warning, Severity::Critical];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! reasons {
    ($( $reason:ident: $name:literal, $severity:ident, $text:literal; )*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum AlarmReason { $( #[doc = $text] $reason, )* }

        impl AlarmReason {
            /// Every reason, in the order of the registry.
            pub const ALL: &'static [AlarmReason] = &[$(AlarmReason::$reason),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $( AlarmReason::$reason => $name, )* }
            }

            /// How much it matters.
            pub const fn severity(self) -> Severity {
                match self { $( AlarmReason::$reason => Severity::$severity, )* }
            }

            /// One line for people.
            pub const fn describe(self) -> &'static str {
                match self { $( AlarmReason::$reason => $text, )* }
            }
        }
    };
}

reasons! {
    PolicyFromDisk: "policy.from_disk", Info, "nic-datapath forwards by the policy that it found on its disk; no nic-agent has synced yet.";
    PolicyNotSaved: "policy.not_saved", Warning, "nic-datapath cannot write the policy in force to its disk: after a restart it is closed until nic-agent syncs.";
    PolicyUnreadable: "policy.unreadable", Warning, "The policy on nic-datapath's disk could not be read, and was not used.";
    PolicyNone: "policy.none", Critical, "nic-datapath has no policy: every port is closed.";
    RulesLost: "rules.lost", Warning, "The E-Switch lost rules, which were found missing and put back in the last minute.";
    RulesRefused: "rules.refused", Warning, "The E-Switch refused rules because it is full, busy or failing, in the last minute: their flows wait in software.";
    RulesStuck: "rules.stuck", Warning, "The E-Switch does not destroy rules that it was told to destroy.";
    CountersStalled: "counters.stalled", Warning, "The counters of rules cannot be read: flows may age out while they are in use.";
    DeviceAbsent: "device.absent", Warning, "A port that policy opens has no device, or the device went away.";
    AgentAway: "agent.away", Warning, "No nic-agent holds the lease of nic-datapath: it goes on by its last policy.";
    DatapathAway: "datapath.away", Critical, "nic-agent has no connection to nic-datapath.";
    DatapathRefused: "datapath.refused", Critical, "nic-datapath refused the newest policy: an older one is in force.";
    StoreFailing: "store.failing", Critical, "The store cannot write to its disk: no change of the configuration is taken.";
    DataRecreated: "data.recreated", Warning, "The data partition was damaged beyond repair and made anew: the configuration is gone, and forwarding starts closed.";
    DataAbsent: "data.absent", Warning, "There is no data partition: nothing that is configured outlives this boot.";
    ParametersRefused: "parameters.refused", Warning, "The parameters of the first boot are not as they should be, and none of them is used.";
    PortAbsent: "port.absent", Warning, "A Port names a device that nic-datapath does not have.";
}

impl AlarmReason {
    /// How many reasons there are.
    pub const COUNT: usize = AlarmReason::ALL.len();

    /// Index in [`AlarmReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<AlarmReason> {
        AlarmReason::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for AlarmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub reason: AlarmReason,
    /// The port that it is about; `None` for the card.
    pub port: Option<PortId>,
    /// What is known of it, in a sentence. It may change while the fault lasts.
    pub text: String,
}

impl Fault {
    /// A fault of the whole card.
    pub fn of_card(reason: AlarmReason, text: impl Into<String>) -> Fault {
        Fault { reason, port: None, text: text.into() }
    }

    /// A fault of one port.
    pub fn of_port(reason: AlarmReason, port: PortId, text: impl Into<String>) -> Fault {
        Fault { reason, port: Some(port), text: text.into() }
    }
}

/// A fault that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What is wrong.
    pub reason: AlarmReason,
    /// The port that it is about; `None` for the card.
    pub port: Option<PortId>,
    /// Since when, as time since 1970 by the card's clock. Both processes run on the card, so that it means
    /// the same to both, and an alarm that lasts stays equal to itself.
    pub since: Duration,
    /// What is known of it, in a sentence.
    pub text: String,
}

impl Alarm {
    /// Which alarm it is: one of each stands at most.
    pub const fn id(&self) -> (AlarmReason, Option<PortId>) {
        (self.reason, self.port)
    }
}

/// The alarms that stand: what matters most first, then in the order of the registry and of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alarms(Vec<Alarm>);

/// What is new about alarms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// They stand from now on.
    pub raised: Vec<Alarm>,
    /// They stood until now.
    pub cleared: Vec<Alarm>,
    /// They go on with another text.
    pub reworded: usize,
}

impl News {
    /// True if nothing is new.
    pub const fn is_empty(&self) -> bool {
        self.raised.is_empty() && self.cleared.is_empty() && self.reworded == 0
    }
}

impl Alarms {
    /// All that stand.
    pub fn as_slice(&self) -> &[Alarm] {
        &self.0
    }

    /// Takes in all that is wrong at `now` (time since 1970): what was wrong before keeps the time since when,
    /// what is not any more is cleared. Of two faults of one reason and port the first counts.
    pub fn settle(&mut self, faults: impl IntoIterator<Item = Fault>, now: Duration) -> News {
        let mut news = News::default();
        let mut before = core::mem::take(&mut self.0);
        for Fault { reason, port, text } in faults {
            if self.0.iter().any(|alarm| alarm.id() == (reason, port)) {
                continue;
            }
            match before.iter().position(|alarm| alarm.id() == (reason, port)) {
                Some(at) => {
                    let alarm = before.swap_remove(at);
                    news.reworded += usize::from(alarm.text != text);
                    self.0.push(Alarm { text, ..alarm });
                }
                None => {
                    let alarm = Alarm { reason, port, since: now, text };
                    news.raised.push(alarm.clone());
                    self.0.push(alarm);
                }
            }
        }
        let order = |alarm: &Alarm| (Reverse(alarm.reason.severity()), alarm.id());
        self.0.sort_by_key(order);
        news.raised.sort_by_key(order);
        before.sort_by_key(order);
        news.cleared = before;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for (index, &reason) in AlarmReason::ALL.iter().enumerate() {
            assert_eq!(AlarmReason::from_name(reason.name()), Some(reason));
            assert_eq!(reason.index(), index);
        }
    }

    fn fault(reason: AlarmReason, port: Option<u16>, text: &str) -> Fault {
        Fault { reason, port: port.map(PortId::from_bits), text: text.into() }
    }

    #[test]
    fn an_alarm_keeps_its_time_until_it_is_cleared() {
        let mut alarms = Alarms::default();
        let at = Duration::from_secs;
        let absent = || fault(AlarmReason::DeviceAbsent, Some(2), "gone");
        assert_eq!(alarms.settle([absent()], at(10)).raised.len(), 1);
        assert!(alarms.settle([absent()], at(11)).is_empty());
        let news = alarms.settle([fault(AlarmReason::DeviceAbsent, Some(2), "still gone")], at(12));
        assert_eq!((news.raised.len(), news.cleared.len(), news.reworded), (0, 0, 1));
        assert_eq!((alarms.as_slice()[0].since, alarms.as_slice()[0].text.as_str()), (at(10), "still gone"));
        let news = alarms.settle([], at(13));
        assert_eq!((news.raised.len(), news.cleared[0].since), (0, at(10)));
        alarms.settle([absent()], at(14));
        assert_eq!(alarms.as_slice()[0].since, at(14));
    }

    #[test]
    fn what_matters_most_comes_first_and_each_once() {
        let mut alarms = Alarms::default();
        let faults = [
            fault(AlarmReason::PolicyFromDisk, None, "a"),
            fault(AlarmReason::DeviceAbsent, Some(7), "b"),
            fault(AlarmReason::DeviceAbsent, Some(3), "c"),
            fault(AlarmReason::DeviceAbsent, Some(7), "not this one"),
            fault(AlarmReason::PolicyNone, None, "d"),
        ];
        let news = alarms.settle(faults, Duration::ZERO);
        let texts = |alarms: &[Alarm]| alarms.iter().map(|alarm| alarm.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(alarms.as_slice()), ["d", "c", "b", "a"]);
        assert_eq!(texts(&news.raised), ["d", "c", "b", "a"]);
    }
}
