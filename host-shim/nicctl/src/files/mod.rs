//! The file format: nic.v1's canonical proto-JSON with YAML as its surface.
//!
//! A file holds one or more documents, or lists of them. Each is a resource with two fields more than its message has:
//!
//! ```yaml
//! apiVersion: nic.v1
//! kind: FlowRule
//! name: flowRules/vm1-out
//! spec:
//!   flow: in_port=vm1,action=output:pf0
//! ```
//!
//! The name may be shortened to its id. An `etag` makes the change conditional. What else `get -o yaml`
//! shows (`status`, `metadata`) is the server's: it is read and left out. A field that the message does
//! not have is a fault, told with its line and path, as is everything else that is wrong.

mod node;
mod read;

use std::fmt;
use std::sync::Arc;

use nic_proto::v1::{Bridge, FdbEntry, FlowRule, Port, Resource, TunnelPeer, Vtep, resource};

pub use node::Node;
pub use read::{ReadError, read};

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as given, `-` for standard input.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A resource as it stands in a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The resource, ready to be sent.
    pub resource: Resource,
    /// Its full name.
    pub name: String,
    file: Arc<str>,
    node: Node,
}

impl Entry {
    /// The line of a field, given by its path in the resource; of the nearest thing around it when
    /// the field is not there.
    pub fn place(&self, path: &str) -> Place {
        Place { file: Arc::clone(&self.file), line: self.node.nearest(path) }
    }
}

/// Something wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// The field's path, empty for the document as a whole.
    pub path: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}: {}{separator}{}", self.place, self.path, self.message)
    }
}

/// Reads the documents of one file's text.
///
/// # Errors
/// Every fault found: one for text that is no YAML, else one for each document at most.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Vec<Entry>, Vec<Fault>> {
    let nodes = node::parse(text).map_err(|error| {
        vec![Fault {
            place: Place { file: Arc::clone(file), line: error.line },
            path: String::new(),
            message: error.message,
        }]
    })?;
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    for node in nodes.into_iter().flat_map(Node::items) {
        match entry(file, node) {
            Ok(entry) => entries.push(entry),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

/// The API version that a document must name.
pub(crate) const API_VERSION: &str = "nic.v1";

fn entry(file: &Arc<str>, mut node: Node) -> Result<Entry, Fault> {
    let fault = |node: &Node, path: &str, message: String| Fault {
        place: Place { file: Arc::clone(file), line: node.nearest(path) },
        path: path.to_owned(),
        message,
    };
    if !node.is_mapping() {
        return Err(fault(&node, "", "a document is a mapping: apiVersion, kind, name, spec".into()));
    }
    let version = required(&mut node, "apiVersion").map_err(|(path, message)| fault(&node, path, message))?;
    if version != API_VERSION {
        return Err(fault(&node, "apiVersion", format!("is {version}, not {API_VERSION}")));
    }
    let kind = required(&mut node, "kind").map_err(|(path, message)| fault(&node, path, message))?;
    let Some(kind) = Kind::named(&kind) else {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        return Err(fault(&node, "kind", format!("{kind} is none of {}", known.join(", "))));
    };
    let id = required(&mut node, "name").map_err(|(path, message)| fault(&node, path, message))?;
    let name = kind.full_name(&id).ok_or_else(|| {
        fault(&node, "name", format!("a {} is named {}/ID, or ID for short", kind.name(), kind.collection()))
    })?;
    let json = node.to_json(&["apiVersion", "kind"]);
    let resource = kind.resource(json, &name).map_err(|(path, message)| fault(&node, &path, message))?;
    Ok(Entry { resource, name, file: Arc::clone(file), node })
}

fn required<'a>(node: &mut Node, key: &'a str) -> Result<String, (&'a str, String)> {
    match node.text(key) {
        Some(Some(text)) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) => Err((key, "must be a text".into())),
        None => Err(("", format!("{key} is missing"))),
    }
}

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ports/*`
    Port,
    /// `flowRules/*`
    FlowRule,
    /// `bridges/*`
    Bridge,
    /// `vteps/*`
    Vtep,
    /// `tunnelPeers/*`
    TunnelPeer,
    /// `fdbEntries/*`
    FdbEntry,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Kind] =
        &[Kind::Port, Kind::FlowRule, Kind::Bridge, Kind::Vtep, Kind::TunnelPeer, Kind::FdbEntry];

    /// The message's name.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Port => "Port",
            Kind::FlowRule => "FlowRule",
            Kind::Bridge => "Bridge",
            Kind::Vtep => "Vtep",
            Kind::TunnelPeer => "TunnelPeer",
            Kind::FdbEntry => "FdbEntry",
        }
    }

    /// The first part of its names.
    pub const fn collection(self) -> &'static str {
        match self {
            Kind::Port => "ports",
            Kind::FlowRule => "flowRules",
            Kind::Bridge => "bridges",
            Kind::Vtep => "vteps",
            Kind::TunnelPeer => "tunnelPeers",
            Kind::FdbEntry => "fdbEntries",
        }
    }

    /// The kind whose message has that name.
    fn named(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The full name of an id or of a full name; `None` when it belongs to another collection.
    pub fn full_name(self, name: &str) -> Option<String> {
        match name.split_once('/') {
            None => Some(format!("{}/{name}", self.collection())),
            Some((collection, id)) if collection == self.collection() && !id.contains('/') => {
                Some(name.to_owned())
            }
            Some(_) => None,
        }
    }

    fn resource(self, json: serde_json::Value, name: &str) -> Result<Resource, (String, String)> {
        // The server's fields are read and left out.
        macro_rules! typed {
            ($kind:ident) => {{
                let resource: $kind = typed(json)?;
                resource::Kind::$kind($kind { name: name.into(), status: None, metadata: None, ..resource })
            }};
        }
        let kind = match self {
            Kind::Port => typed!(Port),
            Kind::FlowRule => typed!(FlowRule),
            Kind::Bridge => typed!(Bridge),
            Kind::Vtep => typed!(Vtep),
            Kind::TunnelPeer => typed!(TunnelPeer),
            Kind::FdbEntry => typed!(FdbEntry),
        };
        Ok(Resource { kind: Some(kind) })
    }
}

fn typed<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        (path, error.into_inner().to_string())
    })
}
