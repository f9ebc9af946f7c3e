//! Packages that are unpacked in the cache, once, in a folder that is named after their hashes.

use std::io;
use std::path::{Path, PathBuf};

use crate::packages::{self, Package, PackagesError, Policy, Set};
use crate::places::{Places, make_folder};

/// What is unpacked.
pub(crate) struct Wanted<'a> {
    /// What its folder's name begins with.
    pub(crate) name: &'static str,
    /// What it is to whoever waits for it.
    pub(crate) what: &'static str,
    /// Its packages.
    pub(crate) sets: &'a [Set<'static>],
}

/// The folder, and the packages that it was made of; `finish` comes after these, before anybody sees it.
pub(crate) fn provide<E: From<PackagesError> + From<io::Error>>(
    places: &Places,
    wanted: &Wanted<'_>,
    policy: Policy,
    finish: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(PathBuf, Vec<Package>), E> {
    let folder_of = |packages: &[Package]| {
        places.cache.join("cross").join(format!("{}-{}", wanted.name, packages::digest(packages)))
    };
    let of_all = |packages: &dyn Fn(&Set<'static>) -> Result<Vec<Package>, PackagesError>| {
        wanted.sets.iter().map(packages).collect::<Result<Vec<_>, _>>().map(|sets| sets.concat())
    };
    let named = of_all(&|set| packages::named(places, set))?;
    let folder = folder_of(&named);
    if folder.is_dir() {
        return Ok((folder, named));
    }
    // With other packages than those of the lock, if the policy is to take what there is.
    let fetched = of_all(&|set| packages::fetch(places, set, policy))?;
    let folder = folder_of(&fetched);
    let _alone = places.cache_alone()?;
    if !folder.is_dir() {
        println!("cross: unpacking {} into {}", wanted.what, folder.display());
        make_folder::<E>(&folder, |fresh| {
            packages::unpack(&fetched, fresh)?;
            finish(fresh)
        })?;
    }
    Ok((folder, fetched))
}
