//! How much of the flow IR a switch takes.

use std::fmt;
use std::str::FromStr;

use nic_flow::field::{Field, Tunnel};
use nic_flow::{Action, Match, PortId, VxlanEncap};
use nic_wire::vxlan;

use crate::rule::{ActionFault, RuleFault, SwitchRule};
use crate::switch::Switch;

mod portable;

/// How much of the flow IR a switch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// All of it but replication lists: any masks, any actions in any order, any number of outputs.
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
    let mut tunnels = tunnels_matched(&rule.matches);
    for (index, action) in rule.actions.iter().enumerate() {
        let fault = match action {
            Action::Output(port) if !has_port(*port) => ActionFault::NoPort(*port),
            // A replication list is the slow path's.
            Action::Flood(_) => ActionFault::Unsupported,
            Action::EncapVxlan(encap) if !is_encap(encap) => ActionFault::Value,
            // Of other packets it would take nothing away and send them on as they are.
            Action::DecapVxlan if tunnels == 0 => ActionFault::Needs(Field::Tunnel),
            Action::DecapVxlan => {
                tunnels -= 1;
                continue;
            }
            Action::EncapVxlan(_) => {
                tunnels += 1;
                continue;
            }
            // It may set another port than that of the tunnel.
            Action::SetL4Dst(_) => {
                tunnels = 0;
                continue;
            }
            _ => continue,
        };
        return Err(RuleFault::Action { index, kind: action.into(), fault });
    }
    match switch.profile() {
        Profile::Full => Ok(()),
        Profile::Portable => portable::check(rule, has_port),
    }
}

/// The tunnels that each packet of a match is known to be in: one or none.
fn tunnels_matched(matches: &Match) -> usize {
    let whole = matches.mask().get(Field::Tunnel) == Field::Tunnel.max();
    usize::from(whole && matches.key().tunnel() == Tunnel::Vxlan)
}

fn is_encap(encap: &VxlanEncap) -> bool {
    encap.src.is_ipv6() == encap.dst.is_ipv6() && encap.vni <= vxlan::MAX_VNI
}
