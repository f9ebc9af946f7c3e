//! The root tree: Debian's packages without their scripts, less what a card has no use for, our files over
//! them, our programs.
//!
//! The file system that is made of it knows one owner, root, and two modes a kind; who makes it, with which
//! rights and which mask, leaves no trace.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cross::packages::Package;

use crate::error::ImageError;
use crate::recipe;
use crate::step::{entries, is_program, remove};
use crate::tool;

/// Folders that something is mounted on, or that a program looks for.
const FOLDERS: [&str; 8] = ["data", "dev", "proc", "run", "sys", "tmp", "usr/lib/modules", "var"];
/// Files that not everybody may read.
const SECRET: [&str; 1] = ["etc/shadow"];
/// Documentation, of which the licences stay.
const DOCUMENTATION: &str = "usr/share/doc";
const LICENCE: &str = "copyright";
/// What stands for the management interface's name in our files.
const MANAGEMENT: &str = "@MANAGEMENT_INTERFACE@";

/// Unpacks the packages, and removes what is not wanted of them.
pub(crate) fn unpack(packages: &[Package], removed: &str, tree: &Path) -> Result<(), ImageError> {
    fs::create_dir_all(tree).map_err(ImageError::file("making", tree))?;
    cross::packages::unpack(packages, tree)?;
    for line in recipe::lines(removed) {
        remove_matching(tree, line.text)?;
    }
    keep_licences(&tree.join(DOCUMENTATION))?;
    for folder in FOLDERS {
        let path = tree.join(folder);
        fs::create_dir_all(&path).map_err(ImageError::file("making", &path))?;
    }
    even_out(tree)
}

/// Removes what a pattern says, below the tree.
fn remove_matching(tree: &Path, pattern: &str) -> Result<(), ImageError> {
    let mut found = vec![tree.to_owned()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for folder in found.iter().filter(|folder| folder.is_dir()) {
            let all = entries(folder)?;
            next.extend(
                all.into_iter().filter(|(name, _)| recipe::matches(part, name)).map(|(_, path)| path),
            );
        }
        found = next;
    }
    found.iter().try_for_each(|path| remove(path))
}

/// Removes all but licences.
fn keep_licences(folder: &Path) -> Result<(), ImageError> {
    if !folder.is_dir() {
        return Ok(());
    }
    for (_, package) in entries(folder)? {
        // Some are links to another package's.
        if !package.is_dir() || package.is_symlink() {
            continue;
        }
        for (name, path) in entries(&package)? {
            if name != LICENCE {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// Gives each file one of two modes: nothing is anybody's but root's, and nothing lends its rights.
pub(crate) fn even_out(folder: &Path) -> Result<(), ImageError> {
    for (_, path) in entries(folder)? {
        let metadata = path.symlink_metadata().map_err(ImageError::file("reading", &path))?;
        if metadata.is_symlink() {
            continue;
        }
        let mode = if metadata.is_dir() || is_program(&metadata) { 0o755 } else { 0o644 };
        set_mode(&path, mode)?;
        if metadata.is_dir() {
            even_out(&path)?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(ImageError::file("changing", path))
}

/// What is laid over the packages.
pub(crate) struct Finish<'a> {
    /// The folders with our files, in their order.
    pub(crate) layers: &'a [PathBuf],
    /// Recipes of links.
    pub(crate) links: &'a [PathBuf],
    /// Our programs.
    pub(crate) programs: &'a [&'a Path],
    /// Files that are made for this image: path and content.
    pub(crate) files: &'a [(&'a str, String)],
    /// A folder whose files come over all of the above, as they are.
    pub(crate) overlay: Option<&'a Path>,
    /// The management interface's name.
    pub(crate) management: &'a str,
}

impl Finish<'_> {
    /// Finishes a tree of packages.
    pub(crate) fn lay_over(&self, tree: &Path) -> Result<(), ImageError> {
        for layer in self.layers {
            self.copy(layer, tree)?;
        }
        for recipe in self.links {
            let text = recipe::read(recipe)?;
            for (path, target) in recipe::pairs(&recipe.display().to_string(), &text)? {
                let path = tree.join(path);
                make_parent(&path)?;
                remove(&path)?;
                symlink(target, &path).map_err(ImageError::file("making", &path))?;
            }
        }
        for program in self.programs {
            let target = tree.join("usr/bin").join(program.file_name().unwrap_or_default());
            fs::copy(program, &target).map_err(ImageError::file("copying", program))?;
            set_mode(&target, 0o755)?;
        }
        for (path, content) in self.files {
            let path = tree.join(path);
            make_parent(&path)?;
            fs::write(&path, content).map_err(ImageError::file("writing", &path))?;
        }
        if let Some(overlay) = self.overlay {
            let mut command = tool::tool("cp");
            command.args(["-a", "--remove-destination", "-T"]).arg(overlay).arg(tree);
            tool::run(&mut command)?;
        }
        even_out(tree)?;
        for path in SECRET.map(|path| tree.join(path)) {
            if path.exists() {
                set_mode(&path, 0o600)?;
            }
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), ImageError> {
        if !from.is_dir() {
            return Ok(());
        }
        for (name, path) in entries(from)? {
            let target = to.join(name);
            if path.is_dir() {
                fs::create_dir_all(&target).map_err(ImageError::file("making", &target))?;
                self.copy(&path, &target)?;
            } else {
                let text = recipe::read(&path)?.replace(MANAGEMENT, self.management);
                remove(&target)?;
                fs::write(&target, text).map_err(ImageError::file("writing", &target))?;
                let metadata = path.metadata().map_err(ImageError::file("reading", &path))?;
                set_mode(&target, if is_program(&metadata) { 0o755 } else { 0o644 })?;
            }
        }
        Ok(())
    }
}

fn make_parent(path: &Path) -> Result<(), ImageError> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(ImageError::file("making", folder)),
        None => Ok(()),
    }
}

/// Copies a tree.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), ImageError> {
    Ok(tool::run(tool::tool("cp").args(["-a", "--reflink=auto", "-T"]).arg(from).arg(to))?)
}

/// What a root file system is made with.
pub(crate) struct Erofs<'a> {
    /// The time of all files, in seconds.
    pub(crate) epoch: u64,
    /// Its id.
    pub(crate) uuid: &'a str,
}

impl Erofs<'_> {
    /// Makes a file system of a tree.
    pub(crate) fn write(&self, tree: &Path, file: &Path) -> Result<(), ImageError> {
        let mut command = tool::tool("mkfs.erofs");
        command.args(["--quiet", "-zlz4hc,12", "-C65536", "-Eztailpacking", "-x-1", "--all-root"]);
        command.args([&format!("-T{}", self.epoch), &format!("-U{}", self.uuid)]);
        Ok(tool::run(command.arg(file).arg(tree))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            make_parent(&path).unwrap();
            fs::write(path, *file).unwrap();
        }
        folder
    }

    fn list(folder: &Path, files: &[&str]) -> Vec<bool> {
        files.iter().map(|file| folder.join(file).exists()).collect()
    }

    #[test]
    fn what_a_pattern_says_goes_and_licences_stay() {
        let files = ["a/rc1.d/x", "a/rcS.d/y", "a/rc", "b/a/rc1.d/z", "doc/p/copyright", "doc/p/README"];
        let tree = tree(&files);
        remove_matching(tree.path(), "a/rc*.d").unwrap();
        remove_matching(tree.path(), "nothing/here").unwrap();
        keep_licences(&tree.path().join("doc")).unwrap();
        assert_eq!(list(tree.path(), &files), [false, false, true, true, true, false]);
    }

    #[test]
    fn no_file_lends_its_rights_and_masks_leave_no_trace() {
        let tree = tree(&["bin/su", "etc/a"]);
        set_mode(&tree.path().join("bin/su"), 0o4_711).unwrap();
        set_mode(&tree.path().join("etc/a"), 0o600).unwrap();
        set_mode(&tree.path().join("etc"), 0o1_700).unwrap();
        even_out(tree.path()).unwrap();
        for (path, expected) in [("bin/su", 0o755), ("etc/a", 0o644), ("etc", 0o755)] {
            let mode = tree.path().join(path).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, expected, "{path}");
        }
    }

    #[test]
    fn our_files_come_over_the_packages_and_later_layers_over_earlier() {
        let packages = tree(&["etc/a", "etc/b", "etc/shadow"]);
        let (first, second) = (tree(&["etc/a", "etc/c"]), tree(&["etc/c"]));
        fs::write(second.path().join("etc/c"), "on @MANAGEMENT_INTERFACE@").unwrap();
        let recipes = tree(&[]);
        let links = recipes.path().join("links");
        fs::write(&links, "etc/b c\n").unwrap();
        let overlay = tree(&["usr/lib/made-too"]);
        fs::write(overlay.path().join("usr/lib/made-too"), [0xff, 0]).unwrap();
        let finish = Finish {
            layers: &[first.path().to_owned(), second.path().to_owned(), second.path().join("none")],
            links: &[links],
            programs: &[],
            files: &[("usr/lib/made", "made".to_owned()), ("usr/lib/made-too", "made".to_owned())],
            overlay: Some(overlay.path()),
            management: "eth7",
        };
        finish.lay_over(packages.path()).unwrap();
        let read = |path: &str| fs::read_to_string(packages.path().join(path)).unwrap();
        assert_eq!([read("etc/a"), read("etc/c"), read("usr/lib/made")], ["etc/a", "on eth7", "made"]);
        assert_eq!(fs::read_link(packages.path().join("etc/b")).unwrap(), Path::new("c"));
        assert_eq!(fs::read(packages.path().join("usr/lib/made-too")).unwrap(), [0xff, 0]);
        let secret = packages.path().join("etc/shadow").metadata().unwrap().permissions().mode();
        assert_eq!(secret & 0o777, 0o600);
    }
}
