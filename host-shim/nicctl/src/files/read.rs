//! From names on the command line to resources.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Entry, Fault, parse};

/// What a file in a directory must be called.
const EXTENSIONS: &[&str] = &["yaml", "yml", "json"];

/// Why files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory has nothing to apply, which is hardly what was meant.
    #[error("{} has no *.yaml, *.yml or *.json", .0.display())]
    EmptyDirectory(PathBuf),
    /// The files are faulty.
    #[error("invalid configuration")]
    Faults(Vec<Fault>),
}

/// Reads all resources in files, directories (not their subdirectories) and, for `-`, standard input.
///
/// # Errors
/// See [`ReadError`]. Faults are collected over all files.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Entry>, ReadError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut faults = Vec::new();
    for (name, text) in texts(paths)? {
        match parse(&name, &text) {
            Ok(more) => entries.extend(more),
            Err(more) => faults.extend(more),
        }
    }
    let mut first: HashMap<&str, &Entry> = HashMap::new();
    for entry in &entries {
        if let Some(earlier) = first.get(entry.name.as_str()) {
            faults.push(Fault {
                place: entry.place("name"),
                path: "name".into(),
                message: format!("{} stands at {} already", entry.name, earlier.place("name")),
            });
        } else {
            first.insert(&entry.name, entry);
        }
    }
    if faults.is_empty() { Ok(entries) } else { Err(ReadError::Faults(faults)) }
}

fn texts(paths: &[PathBuf]) -> Result<Vec<(Arc<str>, String)>, ReadError> {
    let mut texts = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(io_error(path))?;
            texts.push(("-".into(), text));
        } else if path.is_dir() {
            let files = files_in(path)?;
            if files.is_empty() {
                return Err(ReadError::EmptyDirectory(path.clone()));
            }
            for file in files {
                texts.push(text_of(&file)?);
            }
        } else {
            texts.push(text_of(path)?);
        }
    }
    Ok(texts)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io_error(directory))? {
        let path = entry.map_err(io_error(directory))?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text_of(path: &Path) -> Result<(Arc<str>, String), ReadError> {
    let text = std::fs::read_to_string(path).map_err(io_error(path))?;
    Ok((path.display().to_string().into(), text))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> ReadError {
    move |source| ReadError::Io { path: path.to_owned(), source }
}
