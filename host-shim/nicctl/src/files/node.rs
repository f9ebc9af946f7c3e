//! YAML as a tree that knows its lines.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// A YAML node and the line it begins on.
#[derive(Debug, Clone)]
pub struct Node {
    line: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Scalar(Value),
    Sequence(Vec<Node>),
    /// Key, its line, value; in the order of the text.
    Mapping(Vec<(String, u64, Node)>),
}

/// Text that is no YAML.
pub(super) struct SyntaxError {
    pub(super) line: u64,
    pub(super) message: String,
}

/// Documents in a file, at most: as many as a card takes of any two kinds together.
const MAX_RESOURCES: usize = 1 << 17;

/// Reads all documents of a text; empty ones are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    // Only `true` and `false` are booleans, as in JSON.
    let budget = serde_saphyr::budget! {
        max_documents: MAX_RESOURCES,
        // Aliases can make much of little; nodes and events that stand in the text cannot.
        max_nodes: MAX_RESOURCES * 64,
        max_events: MAX_RESOURCES * 128,
    };
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false, budget: budget };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| SyntaxError {
        line: error.location().map_or(1, |location| location.line()),
        message: error.without_snippet().to_string(),
    })
}

impl Node {
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.content, Content::Mapping(_))
    }

    /// The items of a sequence; anything else is the one item of itself.
    pub(super) fn items(self) -> Vec<Node> {
        match self.content {
            Content::Sequence(items) => items,
            content => vec![Node { content, ..self }],
        }
    }

    /// The text of a field of this mapping; `Some(None)` for a field that is something else.
    pub(super) fn text(&self, key: &str) -> Option<Option<&str>> {
        let (_, node) = self.field(key)?;
        Some(match &node.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        })
    }

    /// The line of the field that a path such as `spec.macAddresses[1]` leads to, or as far as it
    /// leads; then the line of the last key that was found.
    pub fn nearest(&self, path: &str) -> u64 {
        let mut node = self;
        let mut line = self.line;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (&node.content, step.strip_suffix(']')) {
                (Content::Sequence(items), Some(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index)).map(|node| (node.line, node))
                }
                (Content::Mapping(_), None) => node.field(step),
                _ => None,
            };
            let Some((found, below)) = next else { break };
            (line, node) = (found, below);
        }
        line
    }

    /// The node as JSON, without some fields of the outermost mapping.
    pub(super) fn to_json(&self, without: &[&str]) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::Sequence(items) => items.iter().map(|item| item.to_json(&[])).collect(),
            Content::Mapping(fields) => {
                let kept = fields.iter().filter(|(key, ..)| !without.contains(&key.as_str()));
                Value::Object(kept.map(|(key, _, node)| (key.clone(), node.to_json(&[]))).collect())
            }
        }
    }

    /// A field of this mapping, by its name in proto-JSON or in the proto file: both may be written.
    fn field(&self, key: &str) -> Option<(u64, &Node)> {
        let Content::Mapping(fields) = &self.content else { return None };
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let same = |name: &str| name == key || plain(name) == plain(key);
        fields.iter().find(|(name, ..)| same(name)).map(|(_, line, node)| (*line, node))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Node { line: spanned.referenced.line(), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON can say")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
        let number = serde_json::Number::from_f64(value);
        number.map(|number| Content::Scalar(number.into())).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Content, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Content::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let line = key.referenced.line();
            fields.push((key.value, line, entries.next_value()?));
        }
        Ok(Content::Mapping(fields))
    }
}
