//! Flow text cut into words: `key`, `key=value`, and for actions also `key:value` and `key(value)`.

use super::{Error, Fault};

/// The longest flow text that is read, in bytes.
pub const MAX_TEXT: usize = 4096;

/// A word of flow text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// What stands before the delimiter, or the whole word.
    pub(super) key: &'a str,
    /// What stands behind it.
    pub(super) value: Option<Value<'a>>,
}

/// The value of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// The value.
    pub(super) text: &'a str,
}

/// A text in its two halves.
#[derive(Debug)]
pub(super) struct Words<'a> {
    /// The words before `actions=`.
    pub(super) matches: Vec<Token<'a>>,
    /// The words behind it; `None` if there is no such word.
    pub(super) actions: Option<Vec<Token<'a>>>,
    /// The length of the text: where an error is that something is missing at the end.
    pub(super) end: usize,
}

impl<'a> Token<'a> {
    /// The value.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn value(&self) -> Result<Value<'a>, Error> {
        self.value.filter(|value| !value.text.is_empty()).ok_or_else(|| self.fault(Fault::NoValue))
    }

    /// Checks that the word stands alone.
    ///
    /// # Errors
    /// It has a value.
    pub(super) fn alone(&self) -> Result<(), Error> {
        match self.value {
            None => Ok(()),
            Some(value) => Err(value.fault(Fault::UnwantedValue)),
        }
    }

    /// A fault of this word.
    pub(super) fn fault(&self, fault: Fault) -> Error {
        Error::new(self.at, self.key, fault)
    }
}

impl Value<'_> {
    /// A fault of this value.
    pub(super) fn fault(&self, fault: Fault) -> Error {
        Error::new(self.at, self.text, fault)
    }
}

/// Cuts a text into words.
///
/// # Errors
/// The text is too long, or a word has no key or no closing parenthesis.
pub(super) fn split(text: &str) -> Result<Words<'_>, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::new(0, text, Fault::TooLong));
    }
    let mut reader = Reader { text, at: 0 };
    let mut words = Words { matches: Vec::new(), actions: None, end: text.len() };
    while reader.skip_separators() {
        let (at, key) = reader.until(|c| c == '=' || is_separator(c));
        let assigned = reader.take('=');
        if assigned && matches!(key, "actions" | "action") {
            words.actions = Some(actions(&mut reader)?);
            break;
        }
        let value = assigned.then(|| reader.until(is_separator)).map(|(at, text)| Value { at, text });
        words.matches.push(word(at, key, value)?);
    }
    Ok(words)
}

fn actions<'a>(reader: &mut Reader<'a>) -> Result<Vec<Token<'a>>, Error> {
    let mut words = Vec::new();
    while reader.skip_separators() {
        let (at, key) = reader.until(|c| matches!(c, '=' | ':' | '(') || is_separator(c));
        let value = if reader.take('(') {
            let (value_at, text) = reader.until_closed();
            if !reader.take(')') {
                return Err(Error::new(at, key, Fault::Parenthesis));
            }
            Some(Value { at: value_at, text })
        } else if reader.take(':') || reader.take('=') {
            let (at, text) = reader.until(is_separator);
            Some(Value { at, text })
        } else {
            None
        };
        words.push(word(at, key, value)?);
    }
    Ok(words)
}

fn word<'a>(at: usize, key: &'a str, value: Option<Value<'a>>) -> Result<Token<'a>, Error> {
    if key.is_empty() {
        return Err(Error::new(at, value.map_or("", |value| value.text), Fault::NoKey));
    }
    Ok(Token { at, key, value })
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_ascii_whitespace()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Goes to the next word; false at the end.
    fn skip_separators(&mut self) -> bool {
        self.until(|c| !is_separator(c));
        self.at < self.text.len()
    }

    /// Reads up to a character that ends the word, with its place.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> (usize, &'a str) {
        let (at, rest) = (self.at, self.rest());
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += text.len();
        (at, text)
    }

    /// Reads up to the parenthesis that closes the one before.
    fn until_closed(&mut self) -> (usize, &'a str) {
        let (at, rest) = (self.at, self.rest());
        let mut depth = 0usize;
        let end = rest.find(|c| match c {
            '(' => {
                depth += 1;
                false
            }
            ')' if depth == 0 => true,
            ')' => {
                depth -= 1;
                false
            }
            _ => false,
        });
        let text = &rest[..end.unwrap_or(rest.len())];
        self.at += text.len();
        (at, text)
    }

    /// Takes one character if it is next.
    fn take(&mut self, c: char) -> bool {
        let next = self.rest().starts_with(c);
        self.at += if next { c.len_utf8() } else { 0 };
        next
    }
}
