//! Why a driver refused a flow call: what is at fault, and the errno.

use core::fmt;

use crate::errno::Errno;
use crate::ethdev::DevId;

/// A refused flow call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowError {
    /// The port that was asked.
    pub port: DevId,
    /// What was asked of it.
    pub call: FlowCall,
    /// What is at fault, as far as the driver says.
    pub place: Place,
    /// The error number.
    pub errno: Errno,
    /// The driver's own words.
    pub message: Option<Box<str>>,
}

/// The flow calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowCall {
    /// Would this rule be taken?
    Validate,
    /// Make a rule.
    Create,
    /// Take a rule away.
    Destroy,
    /// Read a rule's counter.
    Query,
    /// Take all rules away.
    Flush,
    /// Which port takes transfer rules?
    TransferProxy,
}

/// The part of a rule that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The driver does not say.
    Unspecified,
    /// Not the rule: the state that the device is in.
    State,
    /// The rule's handle: the rule is gone.
    Handle,
    /// An attribute.
    Attr(AttrField),
    /// The number of items.
    PatternLength,
    /// An item.
    Item {
        /// Its place in the pattern, where the driver says.
        index: Option<usize>,
        /// Its name.
        name: Option<&'static str>,
        /// What of it.
        part: ItemPart,
    },
    /// The number of actions.
    ActionsLength,
    /// An action.
    Action {
        /// Its place in the list, where the driver says.
        index: Option<usize>,
        /// Its name.
        name: Option<&'static str>,
        /// Its configuration, rather than that it is there.
        conf: bool,
    },
}

/// The attributes of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrField {
    /// The group.
    Group,
    /// The priority.
    Priority,
    /// Ingress.
    Ingress,
    /// Egress.
    Egress,
    /// Transfer.
    Transfer,
    /// All of them together.
    Whole,
}

/// The parts of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemPart {
    /// That it is there.
    Whole,
    /// Its values.
    Spec,
    /// Its range's end.
    Last,
    /// Its mask.
    Mask,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unspecified => f.write_str("the rule"),
            Self::State => f.write_str("the device's state"),
            Self::Handle => f.write_str("the rule's handle"),
            Self::Attr(field) => f.write_str(match field {
                AttrField::Group => "attribute group",
                AttrField::Priority => "attribute priority",
                AttrField::Ingress => "attribute ingress",
                AttrField::Egress => "attribute egress",
                AttrField::Transfer => "attribute transfer",
                AttrField::Whole => "the attributes",
            }),
            Self::PatternLength => f.write_str("the number of items"),
            Self::ActionsLength => f.write_str("the number of actions"),
            Self::Item { index, name, part } => {
                match part {
                    ItemPart::Whole => {}
                    ItemPart::Spec => f.write_str("the values of ")?,
                    ItemPart::Last => f.write_str("the range of ")?,
                    ItemPart::Mask => f.write_str("the mask of ")?,
                }
                numbered(f, "item", *index, *name)
            }
            Self::Action { index, name, conf } => {
                if *conf {
                    f.write_str("the configuration of ")?;
                }
                numbered(f, "action", *index, *name)
            }
        }
    }
}

fn numbered(f: &mut fmt::Formatter<'_>, what: &str, index: Option<usize>, name: Option<&str>) -> fmt::Result {
    match (index, name) {
        (Some(index), Some(name)) => write!(f, "{what} {index} ({name})"),
        (Some(index), None) => write!(f, "{what} {index}"),
        (None, _) => write!(f, "an {what}"),
    }
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self.call {
            FlowCall::Validate => "validate",
            FlowCall::Create => "create",
            FlowCall::Destroy => "destroy",
            FlowCall::Query => "query",
            FlowCall::Flush => "flush",
            FlowCall::TransferProxy => "pick a transfer proxy",
        };
        write!(f, "{} refused to {call}: {} is at fault, {}", self.port, self.place, self.errno)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for FlowError {}
