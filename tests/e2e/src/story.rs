//! How the story is told: chapters, sentences, claims that hold or do not, and figures.

use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::LabError;

/// Columns of what a program printed that are shown.
const WIDTH: usize = 150;

/// A story under way.
#[derive(Debug)]
pub struct Story {
    colour: bool,
    chapters: usize,
    claims: Vec<(String, bool)>,
    figures: Map<String, Value>,
}

impl Default for Story {
    fn default() -> Story {
        Story::new()
    }
}

impl Story {
    /// One of which nothing is told yet.
    pub fn new() -> Story {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Story { colour, chapters: 0, claims: Vec::new(), figures: Map::new() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.chapters)));
        // Whoever watches sees what is being done while it is.
        let _ = io::stdout().flush();
    }

    /// Says something.
    pub fn say(&self, text: impl Display) {
        println!("   {text}");
    }

    /// Shows what a program printed.
    pub fn show(&self, text: &str) {
        for line in text.trim_end().lines() {
            let cut: String = line.chars().take(WIDTH).collect();
            let more = if cut.len() < line.trim_end().len() { " ..." } else { "" };
            println!("   {} {}{more}", self.paint("2", "|"), cut.trim_end());
        }
    }

    /// Claims something, which holds or does not.
    pub fn claim(&mut self, holds: bool, text: impl Into<String>) {
        let text = text.into();
        let sign = if holds { self.paint("32", "ok") } else { self.paint("31", "NO") };
        println!("   {sign} {text}");
        self.claims.push((text, holds));
    }

    /// Keeps a figure for `--json`.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Whether all claims held; there must have been some.
    pub fn held(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|(_, holds)| *holds)
    }

    /// Tells the end of a story that began then, and writes what it came to. Gives whether it held.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, start: Instant, file: Option<&Path>) -> Result<bool, LabError> {
        self.figure("seconds", start.elapsed().as_secs_f64());
        self.end(start.elapsed().as_secs_f64());
        if let Some(file) = file {
            self.write(file).map_err(LabError::io(format!("writing {}", file.display())))?;
        }
        Ok(self.held())
    }

    fn end(&self, seconds: f64) {
        let good = self.claims.iter().filter(|(_, holds)| *holds).count();
        let all = self.claims.len();
        let verdict = if self.held() {
            self.paint("1;32", "the story held")
        } else {
            self.paint("1;31", "the story did NOT hold")
        };
        println!("\n{verdict}: {good} of {all} claims, {seconds:.0} s");
    }

    /// Writes the figures and the claims to a file.
    fn write(&self, file: &Path) -> io::Result<()> {
        let claims: Vec<Value> =
            self.claims.iter().map(|(text, holds)| json!({ "claim": text, "holds": holds })).collect();
        let mut all = self.figures.clone();
        all.insert("claims".into(), claims.into());
        all.insert("held".into(), self.held().into());
        fs::write(file, format!("{:#}\n", Value::Object(all)))
    }
}

/// The exit status of a program that tells a story: whether it held. An error is told with its causes.
pub fn exit_code(program: &str, told: Result<bool, LabError>) -> ExitCode {
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\n{program}: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// A count with a thin mark between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A share in percent, cut off: 100 % means all.
pub fn percent(part: u64, whole: u64) -> String {
    match (u128::from(part) * 100_000).checked_div(u128::from(whole)) {
        Some(thousandths) => format!("{}.{:03} %", thousandths / 1000, thousandths % 1000),
        None => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_read_well() {
        assert_eq!((count(0), count(999), count(100_000)), ("0".into(), "999".into(), "100 000".into()));
        assert_eq!((percent(99_999, 100_000), percent(1, 0)), ("99.999 %".into(), "none".into()));
    }

    #[test]
    fn a_story_holds_only_if_all_its_claims_do_and_there_is_one() {
        let mut story = Story::new();
        assert!(!story.held());
        story.claim(true, "this");
        assert!(story.held());
        story.claim(false, "that");
        assert!(!story.held());
    }
}
