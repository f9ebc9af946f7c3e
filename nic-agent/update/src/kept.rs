//! What lasts in the data folder, each thing a file that is there whole or not at all.
//!
//! * `update-trust`: the metadata that was trusted last.
//! * `store-of-1.2.0-before-1.3.0-at-77`: a copy of the store as it was when 1.3.0 was activated on 1.2.0.
//! * `restore-for-1.2.0`: when 1.2.0 runs, its copy takes the place of the store.
//! * `agent-store-of-...`, `agent-restore-for-...`: the same for an update of nic-agent alone; the versions are
//!   nic-agent's then.
//! * `factory-reset`: at the next start all configuration goes.

use std::fmt;
use std::io;

use crate::medium::{Folder, replace};
use crate::metadata::Trusted;
use crate::version::Version;

const TRUST: &str = "update-trust";
const RESET: &str = "factory-reset";
const COPY: &str = "store-of-";
const COPYING: &str = "store-copy.part";
const RESTORE: &str = "restore-for-";

/// The name of the store's file.
pub const STORE: &str = "store.redb";
/// The most octets of metadata that is trusted.
const TRUST_LIMIT: usize = 8 << 20;

/// What was updated when a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Slot,
    Agent,
}

impl Of {
    /// How names begin.
    const fn prefix(self) -> &'static str {
        match self {
            Of::Slot => "",
            Of::Agent => "agent-",
        }
    }

    fn name(self, copied: &Copied) -> String {
        format!("{}{copied}", self.prefix())
    }

    fn restore(self) -> String {
        format!("{}{RESTORE}", self.prefix())
    }
}

/// A copy of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The version that wrote it.
    pub of: Version,
    /// The version that was activated then.
    pub before: Version,
    /// Its revision.
    pub revision: u64,
}

impl Copied {
    fn parse(name: &str) -> Option<Copied> {
        let (of, rest) = name.strip_prefix(COPY)?.split_once("-before-")?;
        let (before, revision) = rest.split_once("-at-")?;
        let copied =
            Copied { of: of.parse().ok()?, before: before.parse().ok()?, revision: revision.parse().ok()? };
        (copied.to_string() == name).then_some(copied)
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { of, before, revision } = self;
        write!(f, "{COPY}{of}-before-{before}-at-{revision}")
    }
}

/// What is trusted; nothing, where that cannot be read: the image's own root of trust is left.
pub(crate) fn trusted(data: &dyn Folder) -> io::Result<Trusted> {
    let Some(bytes) = data.read(TRUST)?.filter(|bytes| bytes.len() <= TRUST_LIMIT) else {
        return Ok(Trusted::default());
    };
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "what was trusted last cannot be read; older bundles are not recognised");
        Trusted::default()
    }))
}

pub(crate) fn trust(data: &dyn Folder, trusted: &Trusted) -> io::Result<()> {
    replace(data, TRUST, &serde_json::to_vec(trusted)?)
}

/// The copies that there are.
pub(crate) fn copies(data: &dyn Folder, what: Of) -> io::Result<Vec<Copied>> {
    let copied = |name: &String| Copied::parse(name.strip_prefix(what.prefix())?);
    Ok(data.list()?.iter().filter_map(copied).collect())
}

/// Copies the store, and forgets all other copies.
pub(crate) fn copy_store(
    data: &dyn Folder,
    what: Of,
    copy: impl FnOnce(&str) -> io::Result<u64>,
    of: Version,
    before: Version,
) -> io::Result<Copied> {
    data.remove(COPYING)?;
    let copied = Copied { of, before, revision: copy(COPYING)? };
    data.rename(COPYING, &what.name(&copied))?;
    data.sync()?;
    for other in copies(data, what)?.into_iter().filter(|other| *other != copied) {
        data.remove(&what.name(&other))?;
    }
    data.sync()?;
    Ok(copied)
}

/// Has the store replaced when a version runs again.
pub(crate) fn mark_restore(data: &dyn Folder, what: Of, version: Version) -> io::Result<()> {
    replace(data, &format!("{}{version}", what.restore()), b"")
}

/// Forgets about that, for all versions.
pub(crate) fn unmark_restore(data: &dyn Folder, what: Of) -> io::Result<()> {
    let (mut any, mark) = (false, what.restore());
    for name in data.list()?.iter().filter(|name| name.starts_with(&mark)) {
        data.remove(name)?;
        any = true;
    }
    if any { data.sync() } else { Ok(()) }
}

/// The versions whose copy is to take the store's place.
pub(crate) fn restores(data: &dyn Folder, what: Of) -> io::Result<Vec<Version>> {
    let mark = what.restore();
    Ok(data.list()?.iter().filter_map(|name| name.strip_prefix(&mark)?.parse().ok()).collect())
}

/// Puts a copy in the store's place.
pub(crate) fn put_back(data: &dyn Folder, what: Of, copied: &Copied) -> io::Result<()> {
    data.rename(&what.name(copied), STORE)?;
    data.sync()
}

/// Has all configuration go at the next start.
pub(crate) fn mark_reset(data: &dyn Folder) -> io::Result<()> {
    replace(data, RESET, b"")
}

/// Does so, if that was asked for.
pub(crate) fn reset(data: &dyn Folder) -> io::Result<bool> {
    let names = data.list()?;
    if !names.iter().any(|name| name == RESET) {
        return Ok(false);
    }
    // What is trusted stays: who resets a card shall not make it take old bundles again.
    let gone = |name: &&String| {
        let rest = name.strip_prefix(Of::Agent.prefix()).unwrap_or(name);
        name.starts_with(STORE) || rest.starts_with(COPY) || rest.starts_with(RESTORE) || *name == COPYING
    };
    for name in names.iter().filter(gone) {
        data.remove(name)?;
    }
    data.sync()?;
    data.remove(RESET)?;
    data.sync()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_name_says_all_of_it() {
        let copied = Copied { of: Version::new(1, 2, 0), before: Version::new(1, 3, 0), revision: 77 };
        assert_eq!(copied.to_string(), "store-of-1.2.0-before-1.3.0-at-77");
        assert_eq!(Copied::parse(&copied.to_string()), Some(copied));
        for other in
            ["store.redb", "store-copy.part", "store-of-1.2.0-before-1.3.0-at-077", "store-of-1.2-at-1"]
        {
            assert_eq!(Copied::parse(other), None, "{other}");
        }
    }
}
