//! `import`: command lines that were typed for other switches, as resources.
//!
//! The lines are read as a shell would split them and never run. Each becomes resources, or is one that
//! the card needs no equivalent of, which is said in a note; a word without a meaning here is refused, and
//! nothing is changed. What comes out is a file in the form that `apply` reads, and goes the same way: the
//! plan, a question, the change.

mod ovs;
mod resources;
mod tc;
mod words;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use crate::apply;
use crate::arguments::{Import, Language, Output};
use crate::client::Client;
use crate::failure::Failure;
use crate::files;
use resources::Resources;

/// What is wrong with a line. The line is counted from 1, where the command begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A quote is not closed.
    #[error("line {line}: a quote is not closed")]
    Quote {
        /// The line.
        line: usize,
    },
    /// A word has no meaning here.
    #[error("line {line}: {word:?} has no equivalent here")]
    Word {
        /// The line.
        line: usize,
        /// The word.
        word: String,
    },
    /// A value is not one of its kind.
    #[error("line {line}: {word:?} is not {expected}")]
    Value {
        /// The line.
        line: usize,
        /// The value.
        word: String,
        /// What is wanted.
        expected: &'static str,
    },
    /// Something that the line must say is not there.
    #[error("line {line}: {what} is missing")]
    Missing {
        /// The line.
        line: usize,
        /// What.
        what: &'static str,
    },
    /// Nothing tells which device of the card a name means.
    #[error(
        "line {line}: which device is {name:?}? Say it with --device {name}=p0, {name}=pf0vf0 or the like"
    )]
    Device {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// Two lines contradict each other.
    #[error("line {line}: {what}")]
    Conflict {
        /// The line.
        line: usize,
        /// Why.
        what: String,
    },
}

/// What lines come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Resources in the form that `apply` reads.
    pub yaml: String,
    /// What is worth knowing about lines that became no resource, or became one that does more.
    pub notes: Vec<String>,
}

/// Turns command lines into resources. `devices` says which device a name means, for names that do not
/// say it themselves.
///
/// # Errors
/// The first fault.
pub fn translate(
    language: Language,
    text: &str,
    devices: &BTreeMap<String, String>,
) -> Result<Imported, ImportError> {
    let commands = words::commands(text)?;
    let mut resources = Resources::new(devices);
    match language {
        Language::OvsOfctl => ovs::translate(&commands, &mut resources)?,
        Language::Tc => tc::translate(&commands, &mut resources)?,
    }
    Ok(resources.finish())
}

/// Reads the lines and prints the resources.
pub(crate) fn print(command: &Import, out: &mut dyn Write) -> Result<(), Failure> {
    out.write_all(imported(command)?.yaml.as_bytes())?;
    Ok(())
}

/// Reads the lines, shows what would change, and changes it.
pub(crate) async fn apply(
    client: &Client,
    command: Import,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let imported = imported(&command)?;
    let parsed = files::parse(&"import".into(), &imported.yaml);
    let entries = parsed.map_err(|faults| Failure::Read(files::ReadError::Faults(faults)))?;
    let set = apply::Set { name: command.apply_set, take_over: false };
    apply::make_so(client, &set, &command.change, &entries, output, out).await
}

fn imported(command: &Import) -> Result<Imported, Failure> {
    let text = read(&command.file)?;
    let devices = command.devices.iter().map(|named| (named.name.clone(), named.device.clone())).collect();
    let imported = translate(command.language, &text, &devices).map_err(Failure::Import)?;
    for note in &imported.notes {
        // Notes are for people; where nobody reads them nothing is lost.
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    Ok(imported)
}

fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|source| unreadable(file, source))?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|source| unreadable(file, source))
}

fn unreadable(file: &Path, source: std::io::Error) -> Failure {
    Failure::Read(files::ReadError::Io { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests;
