//! The OpenFlow text form of flow rules, as typed behind `ovs-ofctl add-flow BRIDGE`.
//!
//! What is accepted means exactly what OpenFlow and Open vSwitch mean by it; what this version cannot
//! do exactly is refused with its word. Ports are named by the id of a Port resource.
//!
//! Where this differs from Open vSwitch on purpose: a field whose prerequisite is missing (`nw_src`
//! without `ip`) is refused instead of ignored; `mod_vlan_vid` and `mod_vlan_pcp` are taken only where
//! the match or an action before them says whether the packet has a tag; `table` must be 0, for there
//! is one table; flows have no cookies or timeouts, for the resource is the flow's identity and life.

use std::fmt;

use nic_flow::{Action, ActionList, Field, FlowKey, Match, PortId};

use crate::name::{NameError, ResourceId};

mod action;
mod matches;
mod token;
mod value;

#[cfg(test)]
mod tests;

pub use token::MAX_TEXT;

/// The priority of a flow that names none (OpenFlow 1.3 section 7.3.4.1, as ovs-ofctl has it).
pub const DEFAULT_PRIORITY: u16 = 32_768;

/// A flow as written: ports are still references to resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    priority: Option<u16>,
    in_port: Option<ResourceId>,
    matches: Match,
    steps: Vec<Step>,
}

/// One action of a [`Flow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends the packet to a Port resource.
    Output(ResourceId),
    /// Changes the packet. Never an output.
    Modify(Action),
}

/// Why a text is not a flow: where, at which word, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Byte offset in the text.
    pub position: usize,
    /// The word at fault; empty at the end of the text.
    pub token: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a word of flow text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is too long.
    #[error("the text has more than {MAX_TEXT} bytes")]
    TooLong,
    /// There is no `actions=`.
    #[error("actions= is missing")]
    NoActions,
    /// There is nothing behind `actions=`.
    #[error("an action is missing; to drop the packet, write drop")]
    EmptyActions,
    /// Something stands before the delimiter's place.
    #[error("a name is missing before the value")]
    NoKey,
    /// The word needs a value.
    #[error("its value is missing")]
    NoValue,
    /// The word takes no value.
    #[error("it takes no value")]
    UnwantedValue,
    /// A parenthesis is not closed.
    #[error("its parenthesis is not closed")]
    Parenthesis,
    /// The value is not written as it should be.
    #[error("it must be {0}")]
    Expected(&'static str),
    /// The number is outside its range.
    #[error("it must be in {min}..={max}")]
    Range {
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// The name of a port is malformed.
    #[error("ports are named by the id of a Port resource: {0}")]
    Port(NameError),
    /// The same bits are matched, or the same word is written, twice.
    #[error("it was given before")]
    Repeated,
    /// It contradicts a word before it.
    #[error("it contradicts what stands before it")]
    Conflict,
    /// `drop` stands beside other actions.
    #[error("drop must be the only action")]
    DropBesides,
    /// There are too many actions.
    #[error("there are more than {0} actions")]
    TooManyActions(usize),
    /// This version does not know the field.
    #[error("this version cannot match it")]
    UnknownField,
    /// This version does not know the action.
    #[error("this version cannot do it")]
    UnknownAction,
    /// The word is known, and this version does not do it, for a reason.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It means something only together with another match.
    #[error("it needs {0}")]
    Prerequisite(&'static str),
}

/// The classes of [`Fault`]s, as clients tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// The text is not well formed.
    Syntax,
    /// The text is well formed and asks for what this version does not do.
    Unsupported,
    /// A match lacks what it depends on.
    Prerequisite,
    /// Two words contradict each other.
    Conflict,
}

impl Fault {
    /// The class that the fault is of.
    pub const fn class(self) -> FaultClass {
        match self {
            Fault::UnknownField | Fault::UnknownAction | Fault::Unsupported(_) => FaultClass::Unsupported,
            Fault::Prerequisite(_) => FaultClass::Prerequisite,
            Fault::Conflict => FaultClass::Conflict,
            _ => FaultClass::Syntax,
        }
    }
}

impl Error {
    /// The longest piece of the text that an error repeats, in characters.
    const MAX_TOKEN: usize = 64;

    fn new(position: usize, token: &str, fault: Fault) -> Error {
        Error { position, token: token.chars().take(Error::MAX_TOKEN).collect(), fault }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.token.is_empty() {
            write!(f, "at byte {}: {}", self.position, self.fault)
        } else {
            write!(f, "at byte {}, {:?}: {}", self.position, self.token, self.fault)
        }
    }
}

impl std::error::Error for Error {}

impl Flow {
    /// Reads a flow with its actions.
    ///
    /// # Errors
    /// The first fault in the text.
    pub fn parse(text: &str) -> Result<Flow, Error> {
        let words = token::split(text)?;
        let parsed = matches::parse(&words.matches)?;
        let actions = words.actions.ok_or_else(|| Error::new(words.end, "", Fault::NoActions))?;
        let steps = action::parse(&actions, &parsed, words.end)?;
        Ok(Flow { priority: parsed.priority, in_port: parsed.in_port, matches: parsed.matches, steps })
    }

    /// `priority=` in the text.
    pub const fn priority(&self) -> Option<u16> {
        self.priority
    }

    /// The port that `in_port=` names.
    pub const fn in_port(&self) -> Option<&ResourceId> {
        self.in_port.as_ref()
    }

    /// The match but for `in_port`.
    pub const fn matches(&self) -> &Match {
        &self.matches
    }

    /// The actions; empty for a drop.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The ports that the flow refers to, each once, in the order of the text.
    pub fn references(&self) -> Vec<&ResourceId> {
        let outputs = self.steps.iter().filter_map(|step| match step {
            Step::Output(port) => Some(port),
            Step::Modify(_) => None,
        });
        let mut references = Vec::new();
        for port in self.in_port.iter().chain(outputs) {
            if !references.contains(&port) {
                references.push(port);
            }
        }
        references
    }

    /// The match and the actions with devices in the place of ports. A tag that is pushed and then
    /// given its values is pushed with them.
    ///
    /// # Errors
    /// The first port that `device` does not know.
    pub fn resolve(
        &self,
        device: impl Fn(&ResourceId) -> Option<PortId>,
    ) -> Result<(Match, ActionList), &ResourceId> {
        let mut matches = self.matches;
        if let Some(port) = &self.in_port {
            matches = matches.is(Field::InPort, device(port).ok_or(port)?.bits().into());
        }
        let mut actions = ActionList::new();
        for step in &self.steps {
            let action = match step {
                Step::Output(port) => Action::Output(device(port).ok_or(port)?),
                Step::Modify(action) => *action,
            };
            if !action::fold(actions.last_mut(), action) {
                // The parser counted the steps, so there is room.
                let _ = actions.push(action);
            }
        }
        Ok((matches, actions))
    }

    /// The flow in canonical form, with a priority.
    pub fn display(&self, priority: u16) -> impl fmt::Display + '_ {
        Canonical { flow: self, priority: Some(priority) }
    }
}

/// The canonical form: what it prints reads back as the same flow.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Canonical { flow: self, priority: self.priority }.fmt(f)
    }
}

struct Canonical<'a> {
    flow: &'a Flow,
    priority: Option<u16>,
}

impl fmt::Display for Canonical<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.priority.map(|priority| format!("priority={priority}")));
        words.extend(self.flow.in_port.as_ref().map(|port| format!("in_port={port}")));
        matches::words(&self.flow.matches, &mut words);
        words.push(format!("actions={}", action::text(&self.flow.steps)));
        f.write_str(&words.join(","))
    }
}

/// Reads the fields of one packet, such as `tcp,nw_src=10.10.1.5,tp_dst=80`: what is not named is
/// zero, headers that are named are whole. A tag has the protocol identifier 0x8100.
///
/// # Errors
/// The first fault in the text; a packet has neither masks nor a priority, an ingress port or actions.
pub fn parse_packet(text: &str) -> Result<FlowKey, Error> {
    matches::parse_packet(&token::split(text)?)
}
