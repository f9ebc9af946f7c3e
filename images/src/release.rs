//! Bundles, the updates of cards: written and signed by a program of their own, `nic-bundle`.

use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::parts::{Made, Root};
use crate::step::{Inputs, Workshop, entries, remove};
use crate::{Request, tool};

/// For how long cards take a bundle, in seconds: a year from the commit on.
const GOOD_FOR: u64 = 366 * 86400;
/// Until when the root of trust for tests is good: 2100.
const TEST_ROOT_EXPIRES: &str = "4102444800";

/// What makes and signs bundles.
#[derive(Debug, Clone)]
pub struct Release {
    /// The program `nic-bundle`.
    pub program: PathBuf,
    /// The folder with keys and roots of trust.
    pub keys: PathBuf,
}

impl Release {
    /// By the keys that everybody has: made when they are first needed, in the cache.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn for_tests(program: PathBuf, cache: &Path) -> Result<Release, ImageError> {
        let keys = cache.join("test-key/bundle");
        if !keys.join("1.root.json").exists() {
            remove(&keys)?;
            let mut command = tool::tool(&program.to_string_lossy());
            tool::run(command.arg("keys").arg(&keys).args(["--expires", TEST_ROOT_EXPIRES]))?;
        }
        Ok(Release { program, keys })
    }

    /// The newest root of trust: what cards with the image believe.
    pub(crate) fn root(&self) -> Result<PathBuf, ImageError> {
        let number = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
        let found = entries(&self.keys)?.into_iter();
        let roots = found.filter_map(|(name, path)| Some((number(&name)?, path)));
        let newest = roots.max_by_key(|(number, _)| *number).map(|(_, path)| path);
        newest.ok_or_else(|| ImageError::NoRoot(self.keys.clone()))
    }
}

/// Makes the update of a whole slot.
pub(crate) fn slot(
    request: &Request<'_>,
    shop: &Workshop,
    root: &Root,
    uki: &Made,
) -> Result<PathBuf, ImageError> {
    let Request { board, version, .. } = request;
    let name = format!("nic-{}-{version}.nicbundle", board.name);
    let inputs = Inputs::new("bundle", 1).made("root", &root.key).made("uki", &uki.key);
    bundle(request, shop, inputs, &name, "slot", &[&root.path, &uki.path])
}

/// Makes the update of nic-agent alone.
pub(crate) fn agent(request: &Request<'_>, shop: &Workshop) -> Result<PathBuf, ImageError> {
    let Request { board, version, programs, .. } = request;
    let name = format!("nic-agent-{}-{version}.nicbundle", board.name);
    let inputs = Inputs::new("bundle", 1).file(&programs.agent)?;
    bundle(request, shop, inputs, &name, "agent", &[&programs.agent])
}

fn bundle(
    request: &Request<'_>,
    shop: &Workshop,
    inputs: Inputs,
    name: &str,
    kind: &str,
    targets: &[&Path],
) -> Result<PathBuf, ImageError> {
    let Request { board, version, epoch, release, .. } = request;
    let expires = epoch.saturating_add(GOOD_FOR);
    let inputs = inputs.text("board", &board.name).text("version", version).text("epoch", &epoch.to_string());
    let key = inputs.file(&release.program)?.text("keys", "").folder(&release.keys)?.key();
    shop.step(&format!("update bundle ({kind})"), name, &key, |path| {
        let mut command = tool::tool(&release.program.to_string_lossy());
        command.arg("write").arg("--keys").arg(&release.keys);
        command.args(["--board", &board.name, "--version", version, "--kind", kind]);
        command.args(["--release", &epoch.max(&1).to_string(), "--expires", &expires.to_string()]);
        command.arg("--to").arg(path).args(targets);
        Ok(tool::run(&mut command)?)
    })
}

/// Removes what other versions left in the folder: everything that is named by a version, but these.
pub(crate) fn remove_others(shop: &Workshop, kept: &[&Path]) -> Result<(), ImageError> {
    for (name, path) in entries(&shop.folder)? {
        let is_ours = name.starts_with("nic-") || name.starts_with(".nic-");
        let product = name.trim_start_matches('.').trim_end_matches(".key");
        let keeps = |kept: &&Path| kept.file_name().is_some_and(|kept| kept.to_string_lossy() == product);
        if is_ours && !kept.iter().any(keeps) {
            remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn of_the_versions_in_a_folder_only_the_one_just_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Workshop::new(folder.path().to_owned()).unwrap();
        let names = [
            "nic-1.0.0.efi",
            ".nic-1.0.0.efi.key",
            "nic-1.0.1.efi",
            ".nic-1.0.1.efi.key",
            "disk.img",
            ".disk.img.key",
            "nic-generic-1.0.0.nicbundle",
        ];
        names.iter().for_each(|name| fs::write(shop.path(name), "").unwrap());
        remove_others(&shop, &[&shop.path("nic-1.0.1.efi")]).unwrap();
        let left: Vec<String> = entries(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, [".disk.img.key", ".nic-1.0.1.efi.key", "disk.img", "nic-1.0.1.efi"]);
    }

    #[test]
    fn the_newest_root_of_trust_goes_into_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let release = Release { program: "none".into(), keys: folder.path().to_owned() };
        assert!(matches!(release.root(), Err(ImageError::NoRoot(_))));
        for name in ["1.root.json", "2.root.json", "10.root.json", "x.root.json", "release.pk8"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(release.root().unwrap(), folder.path().join("10.root.json"));
    }
}
