//! Lists in text files: one entry a line, `#` begins a comment.

use std::fs;
use std::path::Path;

use crate::error::ImageError;

/// A line that says something, and its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) number: usize,
    pub(crate) text: &'a str,
}

/// The lines that say something.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let numbered =
        text.lines().enumerate().map(|(index, text)| Line { number: index + 1, text: text.trim() });
    numbered.filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
}

/// Reads a recipe.
pub(crate) fn read(path: &Path) -> Result<String, ImageError> {
    fs::read_to_string(path).map_err(ImageError::file("reading", path))
}

/// Lines of two words each.
pub(crate) fn pairs<'a>(file: &str, text: &'a str) -> Result<Vec<(&'a str, &'a str)>, ImageError> {
    let pair = |line: Line<'a>| match line.text.split_once(' ') {
        Some((first, second)) if !second.contains(' ') => Ok((first, second)),
        _ => Err(ImageError::Recipe { file: file.into(), line: line.number, why: "it must be two words" }),
    };
    lines(text).map(pair).collect()
}

/// The lines of the section `[name]`.
pub(crate) fn section<'a>(file: &str, text: &'a str, name: &str) -> Result<Vec<&'a str>, ImageError> {
    let mut found = None;
    let mut within = false;
    for line in lines(text) {
        if let Some(title) = line.text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = title == name;
            if within {
                found.get_or_insert_with(Vec::new);
            }
        } else if within {
            found.get_or_insert_with(Vec::new).push(line.text);
        }
    }
    found.ok_or(ImageError::Recipe {
        file: file.into(),
        line: 1,
        why: "a section that is needed is not there",
    })
}

/// Whether a path is what a pattern says, in which a `*` stands for any characters but `/`.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            let end = rest.find('/').unwrap_or(rest.len());
            (0..=end).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        let text = "# a\n\n b \n#c\nd\n";
        let found: Vec<_> = lines(text).collect();
        assert_eq!(found, [Line { number: 3, text: "b" }, Line { number: 5, text: "d" }]);
    }

    #[test]
    fn pairs_are_two_words_or_a_fault_of_their_line() {
        assert_eq!(pairs("f", "a b\n# x\nc d").unwrap(), [("a", "b"), ("c", "d")]);
        for text in ["a b\nc", "a b\nc d e"] {
            assert!(matches!(pairs("f", text), Err(ImageError::Recipe { line: 2, .. })), "{text:?}");
        }
    }

    #[test]
    fn a_section_has_its_own_lines_only() {
        let text = "[a]\n1\n[b]\n2\n3\n[a]\n4\n";
        assert_eq!(section("f", text, "a").unwrap(), ["1", "4"]);
        assert_eq!(section("f", text, "b").unwrap(), ["2", "3"]);
        assert!(section("f", text, "c").is_err());
    }

    #[test]
    fn a_star_stays_within_a_name() {
        assert!(matches("etc/rc*.d", "etc/rc2.d"));
        assert!(matches("etc/rc*.d", "etc/rc.d"));
        assert!(!matches("etc/rc*.d", "etc/rc/x.d"));
        assert!(matches("a/*/b", "a/xyz/b"));
        assert!(!matches("a/*", "a/b/c"));
        assert!(!matches("a", "ab"));
    }
}
