//! Lines as a shell splits them: words, quotes, comments, lines that go on behind a backslash.

use super::ImportError;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// Its words, the program first.
    pub(super) words: Vec<String>,
}

/// The commands of a text; empty lines and comments are none.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, ImportError> {
    let mut commands = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut whole = line.trim_end().to_owned();
        while let Some(front) = whole.strip_suffix('\\') {
            let next = lines.next().map_or("", |(_, line)| line.trim_end());
            whole = format!("{front} {next}");
        }
        let words = split(&whole, index + 1)?;
        // Nothing that is imported is named by other characters, and not all of them have a place in a file.
        let foreign = |word: &&String| !word.chars().all(|char| char.is_ascii_graphic() || char == ' ');
        if let Some(word) = words.iter().find(foreign) {
            return Err(ImportError::Word { line: index + 1, word: word.clone() });
        }
        if !words.is_empty() {
            commands.push(Command { line: index + 1, words: without_prompt(words) });
        }
    }
    Ok(commands)
}

/// Tutorials show the shell's prompt, and `sudo`.
fn without_prompt(mut words: Vec<String>) -> Vec<String> {
    while words.len() > 1 && matches!(words[0].as_str(), "#" | "$" | "sudo") {
        words.remove(0);
    }
    words
}

fn split(line: &str, number: usize) -> Result<Vec<String>, ImportError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(end), char) if char == end => quote = None,
            (Some(_), char) => word.get_or_insert_default().push(char),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(char);
            }
            // A comment, unless it is a prompt: then a command follows in the line.
            (None, '#') if word.is_none() && !(words.is_empty() && is_command(&mut chars.clone())) => break,
            (None, char) if char.is_whitespace() => words.extend(word.take()),
            (None, char) => word.get_or_insert_default().push(char),
        }
    }
    if quote.is_some() {
        return Err(ImportError::Quote { line: number });
    }
    words.extend(word);
    Ok(words)
}

/// Whether what stands behind a `#` is a command of those that are imported.
fn is_command(rest: &mut dyn Iterator<Item = char>) -> bool {
    let rest: String = rest.collect();
    let first = rest.split_whitespace().find(|word| *word != "sudo");
    matches!(first, Some("tc" | "ip" | "ovs-ofctl" | "ovs-vsctl" | "ethtool" | "devlink"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_comments_and_long_lines_are_as_in_a_shell() {
        let text =
            "# a comment\n\n# tc qdisc add\nset a:b=\"c d\",e=[0-1] # more\nsudo tc \\\n  x 'y z' \\\nw\n";
        let found: Vec<(usize, Vec<String>)> =
            commands(text).expect("whole quotes").into_iter().map(|c| (c.line, c.words)).collect();
        let expected = [
            (3, vec!["tc", "qdisc", "add"]),
            (4, vec!["set", "a:b=c d,e=[0-1]"]),
            (5, vec!["tc", "x", "y z", "w"]),
        ];
        assert_eq!(
            found,
            expected.map(|(line, words)| (line, words.into_iter().map(str::to_owned).collect()))
        );
        assert_eq!(commands("a\nb 'c"), Err(ImportError::Quote { line: 2 }));
        let foreign = ImportError::Word { line: 1, word: "b\u{5}".into() };
        assert_eq!(commands("a b\u{5} # \u{e9}"), Err(foreign));
    }
}
