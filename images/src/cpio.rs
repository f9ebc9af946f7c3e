//! Writes archives as the kernel unpacks them into its first file system: `newc`.
//!
//! Everything is root's, and nothing of an entry but its name, mode and content is written: the same
//! entries make the same octets.

use std::collections::BTreeMap;

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    File { content: Vec<u8>, program: bool },
    Link { target: String },
}

impl Archive {
    /// A folder, and those that it is in.
    pub(crate) fn folder(&mut self, path: &str) {
        let mut end = 0;
        for part in path.split('/') {
            end += part.len();
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Folder);
            end += 1;
        }
    }

    /// A file.
    pub(crate) fn file(&mut self, path: &str, content: Vec<u8>, program: bool) {
        self.parent(path);
        self.entries.insert(path.to_owned(), Entry::File { content, program });
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entries.insert(path.to_owned(), Entry::Link { target: target.to_owned() });
    }

    fn parent(&mut self, path: &str) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
    }

    /// The archive's octets. Sorted by name, so that a folder stands before what is in it.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            let (mode, content): (u32, &[u8]) = match entry {
                Entry::Folder => (0o040_755, &[]),
                Entry::File { content, program: true } => (0o100_755, content),
                Entry::File { content, program: false } => (0o100_644, content),
                Entry::Link { target } => (0o120_777, target.as_bytes()),
            };
            write(&mut out, number as u32 + 1, mode, path, content);
        }
        write(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }
}

fn write(out: &mut Vec<u8>, inode: u32, mode: u32, path: &str, content: &[u8]) {
    let name_size = path.len() as u32 + 1;
    let links = 1;
    // Magic; inode, mode, uid, gid, links, mtime, size, device (2), rdevice (2), name's size, checksum.
    let fields = [inode, mode, 0, 0, links, 0, content.len() as u32, 0, 0, 0, 0, name_size, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn python_reads_what_was_written() {
        let mut archive = Archive::default();
        archive.file("bin/sh", b"#!".to_vec(), true);
        archive.file("etc/a", Vec::new(), false);
        archive.link("bin/ls", "sh");
        archive.folder("proc");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cpio");
        std::fs::write(&file, archive.octets()).unwrap();
        let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cpio.py");
        let output = Command::new("python3").arg(reader).arg(&file).output().unwrap();
        let expected = "40755 bin 0 \n120777 bin/ls 2 sh\n100755 bin/sh 2 #!\n40755 etc 0 \n100644 etc/a 0 \n40755 proc 0 \n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}
