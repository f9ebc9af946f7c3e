//! nic-agent alone, beside the read-only root file system: bundles that are kept whole in the data folder,
//! whose names are all the state there is.
//!
//! `agent-1.2.7-on-1.2.5` has proven itself. `agent-1.2.7-on-1.2.5+3` has three starts to do so; each start is
//! written into the name before it begins, as `+2-1`. One with none left, `+0-3`, is not started any more.
//! `.part` is being written, `.new` is whole and not activated.
//!
//! A bundle is used with the image that it was installed on and with no other, and only if it is newer than
//! that and of the same series, which are the first two numbers of a version: within a series images bring
//! the same libraries and the same nic.datapath.v1. So a card whose slot changes has that image's own
//! nic-agent, and one that goes back has the one of before.

use std::cmp::Reverse;
use std::fmt;
use std::io;

use crate::entry::{Stage, TRIES, Tries, read_tries};
use crate::medium::Folder;
use crate::version::Version;

const PREFIX: &str = "agent-";
const ON: &str = "-on-";
const STAGED: &str = ".new";
const PARTIAL: &str = ".part";

/// A file of the data folder with a bundle of kind agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// The version of nic-agent.
    pub version: Version,
    /// The version of the image that it was installed on.
    pub on: Version,
    /// What it is at the next start of nic-agent.
    pub stage: Stage,
}

impl Beside {
    /// What a file name stands for; `None` if the file is no such bundle.
    pub fn parse(name: &str) -> Option<Beside> {
        let rest = name.strip_prefix(PREFIX)?;
        let suffixed = |suffix, stage| rest.strip_suffix(suffix).map(|rest| (rest, stage));
        let (versions, stage) =
            match suffixed(STAGED, Stage::Staged).or_else(|| suffixed(PARTIAL, Stage::Partial)) {
                Some(found) => found,
                None => match rest.split_once('+') {
                    Some((versions, count)) => (versions, Stage::Bootable(Some(read_tries(count)?))),
                    None => (rest, Stage::Bootable(None)),
                },
            };
        let (version, on) = versions.split_once(ON)?;
        Some(Beside { version: version.parse().ok()?, on: on.parse().ok()?, stage })
    }

    /// Whether a start may take it with this image.
    pub(crate) fn is_for(&self, image: Version) -> bool {
        self.on == image && fits(self.version, image).is_ok()
    }

    /// Whether a start may take it.
    pub(crate) const fn may_start(&self) -> bool {
        matches!(self.stage, Stage::Bootable(None | Some(Tries { left: 1.., .. })))
    }

    /// Whether it may still prove itself, or is doing so.
    pub(crate) const fn is_on_trial(&self) -> bool {
        self.stage.is_tried() || matches!(self.stage, Stage::Bootable(Some(Tries { left: 1.., .. })))
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}{ON}{}", self.version, self.on)?;
        match self.stage {
            Stage::Partial => f.write_str(PARTIAL),
            Stage::Staged => f.write_str(STAGED),
            Stage::Bootable(None) => Ok(()),
            Stage::Bootable(Some(tries)) => tries.fmt(f),
        }
    }
}

/// Why a nic-agent does not go with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no newer than the image's own.
    Older,
    /// Its series is another.
    Series,
}

/// Whether a nic-agent goes with an image.
pub(crate) fn fits(agent: Version, image: Version) -> Result<(), Unfit> {
    if agent.series() != image.series() {
        return Err(Unfit::Series);
    }
    if agent > image { Ok(()) } else { Err(Unfit::Older) }
}

/// All that are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Vec<Beside>);

impl Kept {
    pub(crate) fn list(data: &dyn Folder) -> io::Result<Kept> {
        Ok(Kept(data.list()?.iter().filter_map(|name| Beside::parse(name)).collect()))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Beside> {
        self.0.iter()
    }

    /// Those of an image, the newest first.
    pub(crate) fn on(&self, image: Version) -> Vec<Beside> {
        let mut found: Vec<Beside> = self.all().filter(|beside| beside.is_for(image)).copied().collect();
        found.sort_by_key(|beside| Reverse(beside.version));
        found
    }

    /// The one of a version that is proving itself with an image.
    pub(crate) fn tried(&self, image: Version, agent: Option<Version>) -> Option<Beside> {
        self.on(image).into_iter().find(|beside| Some(beside.version) == agent && beside.stage.is_tried())
    }

    /// What a start takes with an image, the best first; the image's own, if there is none.
    pub(crate) fn to_start(&self, image: Version) -> Vec<Beside> {
        self.on(image).into_iter().filter(Beside::may_start).collect()
    }
}

/// Gives a bundle another stage, durably.
pub(crate) fn rename(data: &dyn Folder, beside: &Beside, stage: Stage) -> io::Result<Beside> {
    let to = Beside { stage, ..*beside };
    if to != *beside {
        data.rename(&beside.to_string(), &to.to_string())?;
    }
    data.sync()?;
    Ok(to)
}

/// Has the next start take one, which must prove itself then.
pub(crate) fn activate(data: &dyn Folder, beside: &Beside) -> io::Result<Beside> {
    rename(data, beside, Stage::Bootable(Some(Tries { left: TRIES, done: 0 })))
}

/// Has no start take one any more.
pub(crate) fn give_up(data: &dyn Folder, beside: &Beside) -> io::Result<Beside> {
    rename(data, beside, Stage::Bootable(Some(Tries { left: 0, done: 0 })))
}

/// Writes down that a start begins.
pub(crate) fn count(data: &dyn Folder, beside: &Beside) -> io::Result<Beside> {
    match beside.stage {
        Stage::Bootable(Some(Tries { left, done })) => {
            let tries = Tries { left: left.saturating_sub(1), done: done.saturating_add(1) };
            rename(data, beside, Stage::Bootable(Some(tries)))
        }
        _ => Ok(*beside),
    }
}

/// Removes bundles, durably.
pub(crate) fn remove<'a>(data: &dyn Folder, which: impl Iterator<Item = &'a Beside>) -> io::Result<()> {
    let mut any = false;
    for beside in which {
        data.remove(&beside.to_string())?;
        any = true;
    }
    if any { data.sync() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERSION: Version = Version::new(1, 2, 7);
    const ON_IMAGE: Version = Version::new(1, 2, 5);

    #[test]
    fn names_say_what_a_start_does_with_a_bundle() {
        let count = |left, done| Stage::Bootable(Some(Tries { left, done }));
        for (name, stage) in [
            ("agent-1.2.7-on-1.2.5", Stage::Bootable(None)),
            ("agent-1.2.7-on-1.2.5+3", count(3, 0)),
            ("agent-1.2.7-on-1.2.5+2-1", count(2, 1)),
            ("agent-1.2.7-on-1.2.5+0-3", count(0, 3)),
            ("agent-1.2.7-on-1.2.5.new", Stage::Staged),
            ("agent-1.2.7-on-1.2.5.part", Stage::Partial),
        ] {
            let beside = Beside { version: VERSION, on: ON_IMAGE, stage };
            assert_eq!(Beside::parse(name), Some(beside), "{name}");
            assert_eq!(beside.to_string(), name);
        }
    }

    #[test]
    fn other_files_are_no_bundles() {
        for name in [
            "",
            "agent-",
            "agent-1.2.7",
            "agent-1.2.7-on-1.2",
            "agent-1.2.7-on-1.2.5+",
            "agent-1.2.7-on-1.2.5+x",
            "agent-1.2.7-on-1.2.5+3.new",
            "agent-store-of-1.2.5-before-1.2.7-at-5",
            "store.redb",
        ] {
            assert_eq!(Beside::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_agent_goes_with_an_older_image_of_its_series() {
        assert_eq!(fits(VERSION, ON_IMAGE), Ok(()));
        assert_eq!(fits(ON_IMAGE, ON_IMAGE), Err(Unfit::Older));
        assert_eq!(fits(ON_IMAGE, VERSION), Err(Unfit::Older));
        assert_eq!(fits(Version::new(1, 3, 0), ON_IMAGE), Err(Unfit::Series));
        assert_eq!(fits(Version::new(2, 2, 7), ON_IMAGE), Err(Unfit::Series));
    }

    proptest! {
        #[test]
        fn a_name_is_written_as_it_was_read(name in "agent-[0-9]\\.[0-9]\\.[0-9]-on-[0-9]\\.[0-9]\\.[0-9](\\+[0-9]-?[0-9]?|\\.new|\\.part)?") {
            if let Some(beside) = Beside::parse(&name) {
                // `+3-0` and `+3` are the same count.
                prop_assert_eq!(Beside::parse(&beside.to_string()), Some(beside));
            }
        }
    }
}
