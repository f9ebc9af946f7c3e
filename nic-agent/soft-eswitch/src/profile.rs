//! How much of the flow IR a switch takes.

use std::fmt;
use std::str::FromStr;

use nic_flow::PortId;

use crate::rule::{ActionFault, RuleFault, SwitchRule};
use crate::switch::Switch;

mod portable;

/// How much of the flow IR a switch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// All of it: any masks, any actions in any order, any number of outputs.
    Full,
    /// What every supported card does: the tables at the head of `profile/portable.rs`.
    Portable,
}

impl Profile {
    /// The name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Full => "full",
            Profile::Portable => "portable",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text names no profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownProfile;

impl fmt::Display for UnknownProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a profile is full or portable")
    }
}

impl std::error::Error for UnknownProfile {}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        let all = [Profile::Full, Profile::Portable];
        all.into_iter().find(|profile| profile.name() == text).ok_or(UnknownProfile)
    }
}

/// Says whether a switch can do what a rule says.
pub(crate) fn check(switch: &Switch, rule: &SwitchRule) -> Result<(), RuleFault> {
    let has_port = |port: PortId| switch.index(port).is_some();
    for (index, action) in rule.actions.iter().enumerate() {
        if let nic_flow::Action::Output(port) = *action
            && !has_port(port)
        {
            return Err(RuleFault::Action { index, kind: action.into(), fault: ActionFault::NoPort(port) });
        }
    }
    match switch.profile() {
        Profile::Full => Ok(()),
        Profile::Portable => portable::check(rule, has_port),
    }
}
