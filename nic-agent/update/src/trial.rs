//! Whether a version that was just installed does its work: what it must show, for how long, and how long it
//! may take.

use std::time::Duration;

/// For how long all must be well without a break.
pub const STEADY: Duration = Duration::from_secs(10);
/// After this time without that, the version is given up for this boot.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// What a card must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// nic-datapath is connected, has the newest policy in force, and forwards.
    pub forwarding: bool,
    /// nic-agent serves nic.v1.
    pub serving: bool,
    /// The store can be read, and written if that was tried.
    pub store: bool,
    /// There is a way to the card from outside.
    pub management: bool,
}

impl Health {
    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.missing().is_empty()
    }

    /// What is not, for people.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            (self.forwarding, "nic-datapath does not forward by the newest policy"),
            (self.serving, "nic-agent does not serve"),
            (self.store, "the store fails"),
            (self.management, "the management path is down"),
        ];
        all.into_iter().filter(|(well, _)| !well).map(|(_, text)| text).collect()
    }
}

/// What to do after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// It has proven itself.
    Bless,
    /// It has not: a boot gives it its next try, or the other slot its turn.
    Reboot,
}

/// One boot on trial.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    started: Duration,
    well_since: Option<Duration>,
}

impl Trial {
    /// It begins; times are by a clock that never goes back.
    pub const fn new(now: Duration) -> Trial {
        Trial { started: now, well_since: None }
    }

    /// Looks at the card.
    pub fn look(&mut self, now: Duration, health: &Health) -> Verdict {
        if !health.is_well() {
            self.well_since = None;
            let late = now.saturating_sub(self.started) >= DEADLINE;
            return if late { Verdict::Reboot } else { Verdict::Wait };
        }
        let since = *self.well_since.get_or_insert(now);
        if now.saturating_sub(since) >= STEADY { Verdict::Bless } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Health = Health { forwarding: true, serving: true, store: true, management: true };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_part_of_the_health_counts_by_itself() {
        assert!(WELL.is_well());
        for ill in [
            Health { forwarding: false, ..WELL },
            Health { serving: false, ..WELL },
            Health { store: false, ..WELL },
            Health { management: false, ..WELL },
        ] {
            assert_eq!((ill.is_well(), ill.missing().len()), (false, 1), "{ill:?}");
            let mut trial = Trial::new(at(0));
            assert_eq!(trial.look(DEADLINE - at(1), &ill), Verdict::Wait);
            assert_eq!(trial.look(DEADLINE, &ill), Verdict::Reboot, "{ill:?}");
        }
    }

    #[test]
    fn only_a_card_that_is_well_without_a_break_is_blessed() {
        let mut trial = Trial::new(at(100));
        assert_eq!(trial.look(at(101), &WELL), Verdict::Wait);
        assert_eq!(trial.look(at(110), &WELL), Verdict::Wait);
        assert_eq!(trial.look(at(110), &Health::default()), Verdict::Wait);
        assert_eq!(trial.look(at(111), &WELL), Verdict::Wait);
        assert_eq!(trial.look(at(120), &WELL), Verdict::Wait);
        assert_eq!(trial.look(at(121), &WELL), Verdict::Bless);
    }

    #[test]
    fn a_card_that_is_well_at_the_deadline_is_not_rebooted() {
        let mut trial = Trial::new(at(0));
        assert_eq!(trial.look(DEADLINE, &WELL), Verdict::Wait);
        assert_eq!(trial.look(DEADLINE + STEADY, &WELL), Verdict::Bless);
    }
}
