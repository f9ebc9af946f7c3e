//! The disk: a GPT with the ESP, two root partitions and the data partition. No loop device, no root.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::ImageError;
use crate::tool::{self, ToolError};

pub(crate) const MIB: u64 = 1 << 20;
/// Room for two UKIs with Debian's kernel, and a third while it is written.
pub(crate) const ESP_SIZE: u64 = 256 * MIB;
/// Room for a root file system with its hashes.
pub(crate) const ROOT_SIZE: u64 = 192 * MIB;
const DATA_SIZE: u64 = 512 * MIB;
/// Before the first partition, and behind the last: the two tables.
const MARGIN: u64 = MIB;

/// Where each partition begins.
const ESP: u64 = MARGIN;
const ROOT_A: u64 = ESP + ESP_SIZE;
const ROOT_B: u64 = ROOT_A + ROOT_SIZE;
const DATA: u64 = ROOT_B + ROOT_SIZE;
/// The disk's size.
pub(crate) const DISK_SIZE: u64 = DATA + DATA_SIZE + MARGIN;

const SECTOR: u64 = 512;
const TYPE_ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// "Linux file system": no type that systemd would mount by itself.
const TYPE_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// Of the disk, of its partitions and of the data file system: the same in each image.
const IDS: [&str; 6] = [
    "6E69632D-6167-4E74-A000-000000000000",
    "6E69632D-6167-4E74-A000-000000000001",
    "6E69632D-6167-4E74-A000-000000000002",
    "6E69632D-6167-4E74-A000-000000000003",
    "6E69632D-6167-4E74-A000-000000000004",
    "6e69632d-6167-4e74-a000-000000000005",
];
const FAT_SERIAL: &str = "6E696361";

/// A file of the ESP: where it comes from, where it goes.
pub(crate) type OnEsp = (PathBuf, String);

/// What is put on the disk.
pub(crate) struct Disk<'a> {
    pub(crate) esp: &'a [OnEsp],
    pub(crate) root: &'a Path,
    /// All times on it, in seconds.
    pub(crate) epoch: u64,
}

impl Disk<'_> {
    /// Writes the disk; `work` is a folder for its parts.
    pub(crate) fn write(&self, path: &Path, work: &Path) -> Result<(), ImageError> {
        let failed = || ImageError::file("writing", path);
        let mut disk = File::create(path).map_err(failed())?;
        disk.set_len(DISK_SIZE).map_err(failed())?;
        partition(path)?;
        let esp = work.join("esp.img");
        self.make_esp(&esp)?;
        let data = work.join("data.img");
        self.make_data(&data)?;
        let parts =
            [("the ESP", &*esp, ESP, ESP_SIZE), ("the root file system", self.root, ROOT_A, ROOT_SIZE)];
        for (part, file, start, room) in parts.into_iter().chain([("data", &*data, DATA, DATA_SIZE)]) {
            let size = fs::metadata(file).map_err(ImageError::file("reading", file))?.len();
            if size > room {
                return Err(ImageError::TooLarge { part, size, room });
            }
            copy(file, &mut disk, start).map_err(failed())?;
        }
        for file in [esp, data] {
            fs::remove_file(&file).map_err(ImageError::file("removing", &file))?;
        }
        Ok(())
    }

    fn make_esp(&self, path: &Path) -> Result<(), ImageError> {
        blank(path, ESP_SIZE)?;
        let command = |program: &str| {
            let mut command = tool::tool(program);
            command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("MTOOLSRC", "/dev/null");
            command.arg("-i").arg(path);
            command
        };
        tool::run(command("mformat").args(["-F", "-N", FAT_SERIAL, "-v", "NIC-ESP", "::"]))?;
        let mut folders: Vec<&str> = Vec::new();
        for (source, target) in self.esp {
            for (at, _) in target.match_indices('/') {
                if !folders.contains(&&target[..at]) {
                    folders.push(&target[..at]);
                    tool::run(command("mmd").arg(format!("::{}", &target[..at])))?;
                }
            }
            tool::run(command("mcopy").arg(source).arg(format!("::{target}")))?;
        }
        Ok(())
    }

    fn make_data(&self, path: &Path) -> Result<(), ImageError> {
        blank(path, DATA_SIZE)?;
        let mut command = tool::tool("mke2fs");
        command.env("E2FSPROGS_FAKE_TIME", self.epoch.to_string()).env("MKE2FS_CONFIG", "/dev/null");
        command.args([
            "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1", "-L", "data", "-U", IDS[5],
        ]);
        command.args([
            "-O",
            "extent,filetype,dir_index,sparse_super,large_file,huge_file,flex_bg,metadata_csum",
        ]);
        command.args(["-O", "has_journal,64bit,dir_nlink,extra_isize"]);
        command.args(["-J", "size=8", "-E", &format!("hash_seed={},root_owner=0:0", IDS[5])]);
        Ok(tool::run(command.arg(path))?)
    }
}

fn blank(path: &Path, size: u64) -> Result<(), ImageError> {
    let file = File::create(path).map_err(ImageError::file("writing", path))?;
    file.set_len(size).map_err(ImageError::file("writing", path))
}

/// Writes the table of partitions.
fn partition(disk: &Path) -> Result<(), ImageError> {
    let start = |source| ToolError::Start { program: "sfdisk".into(), source };
    let mut command = tool::tool("sfdisk");
    command.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(disk);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(start)?;
    let mut input = child.stdin.take().ok_or_else(|| start(std::io::ErrorKind::BrokenPipe.into()))?;
    input.write_all(table().as_bytes()).map_err(start)?;
    drop(input);
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ToolError::Failed { command: "sfdisk".into(), status: output.status, errors }.into())
}

/// The table as sfdisk reads it.
fn table() -> String {
    let mut text = format!("label: gpt\nlabel-id: {}\nfirst-lba: 2048\n", IDS[0]);
    let partitions = [
        ("esp", TYPE_ESP, ESP, ESP_SIZE),
        ("root-a", TYPE_LINUX, ROOT_A, ROOT_SIZE),
        ("root-b", TYPE_LINUX, ROOT_B, ROOT_SIZE),
        ("data", TYPE_LINUX, DATA, DATA_SIZE),
    ];
    for ((name, kind, start, size), id) in partitions.into_iter().zip(&IDS[1..]) {
        let (start, size) = (start / SECTOR, size / SECTOR);
        text += &format!("start={start}, size={size}, type={kind}, uuid={id}, name=\"{name}\"\n");
    }
    text
}

/// Copies a file to a place in another, and leaves out what is zero there already.
fn copy(from: &Path, to: &mut File, start: u64) -> std::io::Result<()> {
    let mut from = File::open(from)?;
    let mut buffer = vec![0; 64 * 1024];
    let zeros = buffer.clone();
    let mut at = start;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count] != zeros[..count] {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&buffer[..count])?;
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_behind_each_other_on_whole_mebibytes() {
        for (start, end) in [(ESP, ROOT_A), (ROOT_A, ROOT_B), (ROOT_B, DATA), (DATA, DISK_SIZE)] {
            assert!(start < end && start % MIB == 0 && end % MIB == 0);
        }
        assert_eq!(table().lines().filter(|line| line.starts_with("start=")).count(), 4);
    }

    #[test]
    fn a_copy_is_the_same_and_holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut content = vec![0; 300_000];
        content[100_000] = 7;
        content[299_999] = 9;
        fs::write(&from, &content).unwrap();
        blank(&to, 1_000_000).unwrap();
        copy(&from, &mut File::options().write(true).open(&to).unwrap(), 5_000).unwrap();
        let found = fs::read(&to).unwrap();
        assert_eq!(&found[5_000..305_000], &content[..]);
        assert!(found[..5_000].iter().chain(&found[305_000..]).all(|octet| *octet == 0));
    }
}
