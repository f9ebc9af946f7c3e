//! `nic-bundle`: makes keys of a release, writes bundles that they sign, and looks at bundles as a card would.
//!
//! **May know:** the library's bundles, files. **May not know:** cards, what targets hold.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use nic_update::Version;
use nic_update::bundle::{self, Contents, Keys, Kind, Manifest, Source};

/// For how many days a new root of trust is good, unless something else is asked for: about twenty years.
const ROOT_DAYS: u64 = 7300;

/// Keys of a release, and bundles that they sign.
#[derive(Debug, Parser)]
#[command(name = "nic-bundle", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a key and the root of trust that names it: release.pk8, to be kept secret, and 1.root.json
    Keys {
        /// A folder that has none yet
        folder: PathBuf,
        /// From when on cards believe nothing that it signs: seconds since 1970; else in twenty years
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
    },
    /// Writes a bundle
    Write(Write),
    /// Reads a bundle to its end, verifies it as a card would, and says what it is
    Show {
        /// The bundle
        file: PathBuf,
        /// The root of trust of the card; else the bundle's own, which says nothing of who made it
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Write {
    /// The folder with keys (*.pk8) and roots of trust (N.root.json); the newest root's keys sign
    #[arg(long, value_name = "FOLDER")]
    keys: PathBuf,
    /// For which kind of card
    #[arg(long)]
    board: String,
    /// Three numbers
    #[arg(long)]
    version: Version,
    /// What it replaces
    #[arg(long, default_value = "slot", value_parser = kind)]
    kind: Kind,
    /// The number of the release: cards refuse smaller ones than they have seen
    #[arg(long)]
    release: NonZeroU64,
    /// From when on cards refuse it, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    expires: u64,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// What is in it, in the order of its kind: for a slot the root image and the UKI, for an agent its program
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::parse(name).ok_or_else(|| format!("there is no kind {name:?}"))
}

/// What is wrong with what was asked for.
#[derive(Debug, thiserror::Error)]
enum AskedError {
    #[error("{path}", path = .0.display())]
    File(PathBuf, #[source] std::io::Error),
    #[error("{0} is no time")]
    Time(u64),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Keys { folder, expires } => keys(&folder, expires),
        Verb::Write(write) => write.run(),
        Verb::Show { file, root } => show(&file, root.as_deref()),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some say their cause themselves.
        if !text.ends_with(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        cause = error.source();
    }
    eprintln!("nic-bundle: {text}");
    ExitCode::FAILURE
}

fn keys(folder: &Path, expires: Option<u64>) -> Result<(), Box<dyn Error>> {
    let expires = match expires {
        Some(seconds) => at(seconds)?,
        None => SystemTime::now() + Duration::from_secs(ROOT_DAYS * 86400),
    };
    Keys::make(folder, expires)?;
    println!(
        "{}: release.pk8 signs bundles, and 1.root.json says so: keep the first to yourself",
        folder.display()
    );
    Ok(())
}

impl Write {
    fn run(&self) -> Result<(), Box<dyn Error>> {
        let Keys { keys, roots } = Keys::read(&self.keys)?;
        let contents = Contents {
            manifest: Manifest { board: self.board.clone(), version: self.version, kind: self.kind },
            release: self.release,
            expires: at(self.expires)?,
            targets: self.targets.iter().map(|path| Source::File(path)).collect(),
        };
        // A bundle is there as a whole or not at all.
        let mut name = self.to.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let failed = |error| AskedError::File(part.clone(), error);
        let mut out = BufWriter::new(File::create(&part).map_err(failed)?);
        let written = bundle::write(&mut out, &roots, &keys, &contents);
        drop(out);
        match written {
            Ok(()) => Ok(fs::rename(&part, &self.to).map_err(failed)?),
            Err(error) => {
                fs::remove_file(&part).map_err(failed)?;
                Err(error.into())
            }
        }
    }
}

fn show(file: &Path, root: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let bundle = File::open(file).map_err(|error| AskedError::File(file.to_owned(), error))?;
    let anchor = match root {
        Some(path) => Some(fs::read(path).map_err(|error| AskedError::File(path.to_owned(), error))?),
        None => None,
    };
    let shown = bundle::show(BufReader::new(bundle), anchor.as_deref(), SystemTime::now())?;
    let expires = shown.expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Manifest { board, version, kind } = shown.manifest;
    println!("board    {board}\nversion  {version}\nkind     {}", kind.name());
    println!("release  {}\nexpires  {expires}", shown.release);
    for (name, length, sha256) in shown.targets {
        let hash: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("target   {name} {length} {hash}");
    }
    if anchor.is_none() {
        println!("verified by its own root of trust: whole, and made by anybody");
    }
    Ok(())
}

fn at(seconds: u64) -> Result<SystemTime, AskedError> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(AskedError::Time(seconds))
}
