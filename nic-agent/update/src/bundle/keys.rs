//! The keys of a release, in a folder: `*.pk8`, and the roots of trust `1.root.json`, `2.root.json`, ...

use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Key, KeyError, WriteError, make_root};

/// How the names of keys end.
const KEY: &str = "pk8";
/// How those of roots of trust end.
const ROOT: &str = ".root.json";
/// The first key of a new folder.
const FIRST_KEY: &str = "release.pk8";

/// All that signs bundles, and what says that it may.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<Key>,
    /// The roots of trust, from the first on.
    pub roots: Vec<Vec<u8>>,
}

/// A folder has no keys, or should not have had any.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is something already.
    #[error("{path} has keys already", path = .0.display())]
    NotEmpty(PathBuf),
    /// There is no key.
    #[error("{path} has no key NAME.{KEY}", path = .0.display())]
    NoKey(PathBuf),
    /// There is no root of trust.
    #[error("{path} has no 1{ROOT}", path = .0.display())]
    NoRoot(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The root of trust cannot be made.
    #[error(transparent)]
    Root(#[from] WriteError),
}

impl Keys {
    /// One new key, and the root of trust that names it. Only its owner may read the key.
    ///
    /// # Errors
    /// The folder has keys already, or cannot be written.
    pub fn make(folder: &Path, expires: SystemTime) -> Result<Keys, KeysError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KeysError::File { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let taken = Keys::names(folder)?.iter().any(|name| is_key(name) || root_number(name).is_some());
        if taken {
            return Err(KeysError::NotEmpty(folder.to_owned()));
        }
        let key = Key::generate()?;
        let keys = [key];
        let root = make_root(NonZeroU64::MIN, expires, &keys, NonZeroU64::MIN, &keys)?;
        let path = folder.join(FIRST_KEY);
        write_secret(&path, keys[0].as_bytes()).map_err(failed(&path))?;
        let path = folder.join(format!("1{ROOT}"));
        std::fs::write(&path, &root).map_err(failed(&path))?;
        Ok(Keys { keys: keys.to_vec(), roots: vec![root] })
    }

    /// Those of a folder.
    ///
    /// # Errors
    /// There are none, or one is of no use.
    pub fn read(folder: &Path) -> Result<Keys, KeysError> {
        let names = Keys::names(folder)?;
        let mut keys = Vec::new();
        for name in names.iter().filter(|name| is_key(name)) {
            keys.push(Key::read(&folder.join(name))?);
        }
        let mut numbered: Vec<(u64, &String)> =
            names.iter().filter_map(|name| Some((root_number(name)?, name))).collect();
        numbered.sort_unstable();
        let mut roots = Vec::new();
        for (_, name) in numbered {
            let path = folder.join(name);
            roots.push(std::fs::read(&path).map_err(|source| KeysError::File { path, source })?);
        }
        match (keys.is_empty(), roots.is_empty()) {
            (true, _) => Err(KeysError::NoKey(folder.to_owned())),
            (_, true) => Err(KeysError::NoRoot(folder.to_owned())),
            _ => Ok(Keys { keys, roots }),
        }
    }

    fn names(folder: &Path) -> Result<Vec<String>, KeysError> {
        let failed = |source| KeysError::File { path: folder.to_owned(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn is_key(name: &str) -> bool {
    name.strip_suffix(KEY).is_some_and(|stem| stem.ends_with('.'))
}

fn root_number(name: &str) -> Option<u64> {
    name.strip_suffix(ROOT)?.parse().ok()
}

fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}
