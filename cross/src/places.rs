//! Where everything is.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::{self, ProcessError};

/// The folders that are read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// What was fetched, and what is made of that: `.cache`, or what `NIC_AGENT_CACHE` names.
    pub cache: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

/// Why it is not known where things are.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// cargo does not say where it builds.
    #[error("cargo does not tell its target directory")]
    Cargo(#[from] ProcessError),
    /// cargo says something else.
    #[error("cargo's description of the workspace has no target directory")]
    Metadata,
    /// Compilers take lists of flags apart at spaces.
    #[error(
        "the path {0:?} has a space, where compilers take flags apart; move the repository, or its cache (NIC_AGENT_CACHE)"
    )]
    Space(PathBuf),
    /// The cache cannot be made.
    #[error("the cache {path} cannot be used")]
    Cache {
        /// The cache.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Places {
    /// Those of the repository that this crate is a part of.
    pub fn of_repository() -> Result<Self, PlacesError> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().unwrap_or(here).to_owned();
        let cache = env::var_os("NIC_AGENT_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
        fs::create_dir_all(&cache).map_err(|source| PlacesError::Cache { path: cache.clone(), source })?;
        // Paths that are given to other programs must not depend on where they run.
        let cache =
            cache.canonicalize().map_err(|source| PlacesError::Cache { path: cache.clone(), source })?;
        let mut query = Command::new(cargo());
        query.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(&root);
        let metadata: Value =
            serde_json::from_str(&process::output(&mut query)?).map_err(|_| PlacesError::Metadata)?;
        let target = metadata["target_directory"].as_str().ok_or(PlacesError::Metadata)?.into();
        Self { root, cache, target }.without_spaces()
    }

    fn without_spaces(self) -> Result<Self, PlacesError> {
        let spaced = |path: &&PathBuf| path.to_string_lossy().contains(char::is_whitespace);
        let found = [&self.root, &self.cache, &self.target].into_iter().find(spaced).cloned();
        found.map_or(Ok(self), |path| Err(PlacesError::Space(path)))
    }

    /// The lock of packages.
    pub fn packages_lock(&self) -> PathBuf {
        self.root.join("cross/packages.lock")
    }

    /// Waits until no other process fills the cache, and keeps others waiting until it is dropped.
    pub(crate) fn cache_alone(&self) -> io::Result<File> {
        alone(&self.cache.join("lock"))
    }
}

/// Waits until nobody else has that lock, and has it until what it gives is dropped.
pub(crate) fn alone(lock: &Path) -> io::Result<File> {
    let file = File::create(lock)?;
    file.lock()?;
    Ok(file)
}

/// The cargo that runs this, else the one on the path.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// A folder that is made whole or not at all, as others may look for it at any time: `fill` makes it
/// somewhere beside, and what failed half-way is removed.
pub(crate) fn make_folder<E: From<io::Error>>(
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let fresh = folder.with_file_name(format!(".{name}.{}", std::process::id()));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let result = fill(&fresh).and_then(|()| Ok(fs::rename(&fresh, folder)?));
    if result.is_err() {
        // What stays behind is in the cache, which may be deleted at any time.
        let _ = fs::remove_dir_all(&fresh);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let parent = tempfile::tempdir().expect("a folder of our own");
        let folder = parent.path().join("made");
        let failed: Result<(), io::Error> = make_folder(&folder, |fresh| {
            fs::write(fresh.join("half"), "")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(parent.path()).expect("it is there").count(), 0);
        make_folder::<io::Error>(&folder, |fresh| fs::write(fresh.join("whole"), "")).expect("it is made");
        assert!(folder.join("whole").is_file());
        assert_eq!(fs::read_dir(parent.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn a_path_with_a_space_is_refused_and_named() {
        let places = Places { root: "/a".into(), cache: "/b c".into(), target: "/d".into() };
        let error = places.without_spaces().expect_err("there is a space");
        assert!(error.to_string().contains("/b c"), "{error}");
    }
}
