//! The first file system: a shell, `dmsetup`, the modules that the disk takes, and our `init`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::error::ImageError;
use crate::tool;

/// Busybox's words that `init` uses.
const WORDS: [&str; 19] = [
    "cat",
    "chroot",
    "date",
    "dd",
    "echo",
    "grep",
    "insmod",
    "mkdir",
    "mount",
    "readlink",
    "reboot",
    "sed",
    "sh",
    "sleep",
    "stat",
    "switch_root",
    "tr",
    "true",
    "umount",
];
/// Folders that something is mounted on.
const FOLDERS: [&str; 5] = ["dev", "proc", "root", "run", "sys"];
/// Where the root tree has the one program that busybox is not.
const DMSETUP: &str = "usr/sbin/dmsetup";
/// Where arm64's libraries are, in the root tree.
const LIBRARIES: [&str; 2] = ["usr/lib/aarch64-linux-gnu", "usr/lib"];
/// What all dynamic programs name as the one that loads them.
const LOADER: &str = "usr/lib/ld-linux-aarch64.so.1";

/// What goes into the first file system.
pub(crate) struct Initramfs<'a> {
    /// Our `init`.
    pub(crate) init: &'a Path,
    /// A static busybox.
    pub(crate) busybox: &'a Path,
    /// The root tree: `dmsetup` with its libraries.
    pub(crate) tree: &'a Path,
    /// The folder below which modules are, as `lib/modules/VERSION`.
    pub(crate) modules: &'a Path,
    /// Its modules, in the order in which they are loaded.
    pub(crate) order: &'a [String],
}

impl Initramfs<'_> {
    /// Writes it, compressed.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ImageError> {
        let mut archive = shell(self.init, self.busybox, &FOLDERS, &WORDS)?;
        archive.file("sbin/dmsetup", read(&self.tree.join(DMSETUP))?, true);
        archive.file("lib/ld-linux-aarch64.so.1", read(&self.tree.join(LOADER))?, true);
        for library in libraries(self.tree, Path::new(DMSETUP))? {
            let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archive.file(&format!("lib/aarch64-linux-gnu/{name}"), read(&library)?, false);
        }
        let mut list = String::new();
        for file in self.order {
            let path = format!("lib/modules/{}", file.rsplit('/').next().unwrap_or(file));
            archive.file(&path, read(&self.modules.join(file))?, false);
            list += &format!("/{path}\n");
        }
        archive.file("modules", list.into_bytes(), false);
        pack(&archive, "-19", path)
    }
}

/// What every first file system begins with: an `init`, the shell that it is for, and the words that it uses.
pub(crate) fn shell(
    init: &Path,
    busybox: &Path,
    folders: &[&str],
    words: &[&str],
) -> Result<Archive, ImageError> {
    let mut archive = Archive::default();
    folders.iter().for_each(|folder| archive.folder(folder));
    archive.file("init", read(init)?, true);
    archive.file("bin/busybox", read(busybox)?, true);
    words.iter().for_each(|word| archive.link(&format!("bin/{word}"), "busybox"));
    Ok(archive)
}

/// Writes an archive, compressed with that much effort.
pub(crate) fn pack(archive: &Archive, effort: &str, path: &Path) -> Result<(), ImageError> {
    let plain = path.with_extension("cpio");
    fs::write(&plain, archive.octets()).map_err(ImageError::file("writing", &plain))?;
    // One thread: how the work is shared out would show in the result.
    tool::run(tool::tool("zstd").args(["-q", "-f", effort, "-T1", "-o"]).arg(path).arg(&plain))?;
    fs::remove_file(&plain).map_err(ImageError::file("removing", &plain))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(ImageError::file("reading", path))
}

/// The libraries that a program of the tree needs, and those that they need.
fn libraries(tree: &Path, program: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let mut found = BTreeSet::new();
    let mut open = vec![tree.join(program)];
    while let Some(file) = open.pop() {
        let text = tool::text(tool::tool("readelf").args(["-d", "-W"]).arg(&file))?;
        for name in needed(&text).filter(|name| !name.starts_with("ld-linux")) {
            let mut paths = LIBRARIES.iter().map(|folder| tree.join(folder).join(name));
            let path =
                paths.find(|path| path.exists()).ok_or_else(|| ImageError::Missing(name.to_owned()))?;
            if found.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    Ok(found)
}

/// The names in readelf's lines `(NEEDED) Shared library: [NAME]`.
fn needed(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| line.split_once('[')?.1.split_once(']').map(|(name, _)| name))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_off_readelf() {
        let text = "Dynamic section at offset 0x1f0 contains 2 entries:\n \
            0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n \
            0x000000000000000e (SONAME)             Library soname: [libx.so.1]\n";
        assert_eq!(needed(text).collect::<Vec<_>>(), ["libc.so.6"]);
    }

    /// Looks at the first word of each line.
    pub(crate) fn check_words(init: &str, words: &[&str], own: &[&str]) {
        let shell = [
            "if", "then", "else", "fi", "for", "do", "done", "while", "case", "esac", "exec", "export",
            "read", "return", "exit", "continue", "local", "[", "]", "in", ":", "set",
        ];
        for line in init.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some(word) = line.split_whitespace().next() else { continue };
            let is_word = word.chars().all(|it| it.is_ascii_lowercase() || it == '_');
            let known = words.contains(&word) || own.contains(&word) || shell.contains(&word);
            assert!(!is_word || known, "{line:?}");
        }
    }

    #[test]
    fn init_uses_no_word_that_busybox_is_not_linked_by() {
        let init = include_str!("../initramfs/init");
        let own =
            ["say", "warn", "fail", "note", "partitions", "open_root", "within", "mount_data", "dmsetup"];
        check_words(init, &WORDS, &own);
    }
}
