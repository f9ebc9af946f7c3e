//! How resources are named: `{collection}/{id}`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::violation::Reason;

/// The longest id, in characters.
pub const MAX_ID: usize = 63;

/// Words that stand for a port in OpenFlow text and so cannot be the id of a Port.
pub const RESERVED_PORTS: &[&str] =
    &["all", "any", "controller", "drop", "flood", "in_port", "local", "none", "normal", "table", "unset"];

/// The last part of a resource's name: 1 to 63 characters of `a-z`, `0-9`, `-`, `_` and `.`, the
/// first a letter. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Arc<str>);

/// A named group of resources that one Apply owns; written like a [`ResourceId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplySet(ResourceId);

/// The kinds of resources, in the order of their collections' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Bridge.
    Bridge,
    /// An FdbEntry.
    FdbEntry,
    /// A FlowRule.
    FlowRule,
    /// A Port.
    Port,
    /// A TunnelPeer.
    TunnelPeer,
    /// A Vtep.
    Vtep,
}

/// The name of a resource, which is its kind and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The kind.
    pub kind: Kind,
    /// The id, unique within the kind.
    pub id: ResourceId,
}

/// Why a text is no id or no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it has more than {MAX_ID} characters")]
    TooLong,
    /// It does not begin with a letter.
    #[error("it must begin with a letter from a to z")]
    Start,
    /// It has a character that no id may have.
    #[error("it may only have a-z, 0-9, '-', '_' and '.'")]
    Character,
    /// It is a word of OpenFlow that stands for something else.
    #[error("OpenFlow text uses this word for something else")]
    Reserved,
    /// The name is not of the collection that was asked for.
    #[error("a name here is written {}/ID", .0.collection())]
    Collection(Kind),
}

impl ResourceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A value that no id is less than: where a range of ids begins.
    pub(crate) fn least() -> ResourceId {
        ResourceId("".into())
    }
}

impl FromStr for ResourceId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ResourceId, NameError> {
        let first = text.bytes().next().ok_or(NameError::Empty)?;
        if !first.is_ascii_lowercase() {
            return Err(NameError::Start);
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if !text.bytes().all(fits) {
            return Err(NameError::Character);
        }
        if text.len() > MAX_ID {
            return Err(NameError::TooLong);
        }
        Ok(ResourceId(text.into()))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ApplySet {
    /// The set's name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ApplySet {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ApplySet, NameError> {
        text.parse().map(ApplySet)
    }
}

impl fmt::Display for ApplySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] =
        &[Kind::Bridge, Kind::FdbEntry, Kind::FlowRule, Kind::Port, Kind::TunnelPeer, Kind::Vtep];
    /// How many kinds there are.
    pub const COUNT: usize = Kind::ALL.len();

    /// The first part of the names of this kind.
    pub const fn collection(self) -> &'static str {
        match self {
            Kind::Bridge => "bridges",
            Kind::FdbEntry => "fdbEntries",
            Kind::FlowRule => "flowRules",
            Kind::Port => "ports",
            Kind::TunnelPeer => "tunnelPeers",
            Kind::Vtep => "vteps",
        }
    }

    /// The most resources of this kind that a card takes; `None` if only its devices limit them.
    pub const fn limit(self) -> Option<usize> {
        match self {
            Kind::Bridge | Kind::TunnelPeer => Some(1 << 12),
            Kind::FdbEntry | Kind::FlowRule => Some(1 << 16),
            Kind::Port => None,
            Kind::Vtep => Some(1 << 6),
        }
    }

    /// An id of this kind. Words that OpenFlow text uses for other things name no Port.
    ///
    /// # Errors
    /// Why the text is no such id.
    pub fn id(self, text: &str) -> Result<ResourceId, NameError> {
        let id: ResourceId = text.parse()?;
        if self == Kind::Port && RESERVED_PORTS.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(id)
    }

    /// The id in a name of this kind, `{collection}/{id}`.
    ///
    /// # Errors
    /// Why the text is no such name.
    pub fn parse(self, name: &str) -> Result<ResourceId, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let id = name.strip_prefix(self.collection()).and_then(|rest| rest.strip_prefix('/'));
        self.id(id.ok_or(NameError::Collection(self))?)
    }

    /// The id in a reference to a resource of this kind, which is its name; `None` for an empty one.
    ///
    /// # Errors
    /// Why the text is no such name.
    pub(crate) fn reference(self, name: &str) -> Result<Option<ResourceId>, Reason> {
        if name.is_empty() { Ok(None) } else { self.parse(name).map(Some).map_err(Reason::Name) }
    }

    /// The id in a reference that must be there.
    ///
    /// # Errors
    /// It is not there, or the text is no name of this kind.
    pub(crate) fn required(self, name: &str) -> Result<ResourceId, Reason> {
        self.reference(name)?.ok_or(Reason::Required)
    }

    /// The name of a resource of this kind.
    pub const fn name(self, id: ResourceId) -> Name {
        Name { kind: self, id }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.collection(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_tutorials_use_are_ids() {
        for text in ["pf0", "vm1", "p0", "allow-web", "a", "enp6s0f1_0", "eth0.16"] {
            assert_eq!(Kind::Port.id(text).map(|id| id.to_string()), Ok(text.to_owned()));
        }
        let long = "a".repeat(MAX_ID);
        assert!(long.parse::<ResourceId>().is_ok());
        assert_eq!(format!("{long}a").parse::<ResourceId>(), Err(NameError::TooLong));
    }

    #[test]
    fn what_is_no_id_or_name_is_refused_with_the_reason() {
        for (text, error) in [
            ("", NameError::Empty),
            ("1", NameError::Start),
            ("-a", NameError::Start),
            ("Vm1", NameError::Start),
            ("vM1", NameError::Character),
            ("vm 1", NameError::Character),
            ("vm,1", NameError::Character),
            ("vm\u{e9}", NameError::Character),
            ("normal", NameError::Reserved),
        ] {
            assert_eq!(Kind::Port.id(text), Err(error), "{text:?}");
        }
        assert_eq!(Kind::Port.parse("flowRules/a"), Err(NameError::Collection(Kind::Port)));
        assert_eq!(Kind::Port.parse("ports"), Err(NameError::Collection(Kind::Port)));
        assert_eq!(Kind::Port.parse("ports/a/b"), Err(NameError::Character));
        assert_eq!(
            Kind::FlowRule.parse("flowRules/normal").map(|id| id.to_string()),
            Ok("normal".to_owned())
        );
    }
}
