//! The machine's disk while it is off: what somebody with a screwdriver, or a failing flash, does to it.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::number;
use crate::error::LabError;
use crate::lab::Lab;
use crate::run;

/// Where the ESP begins in the image, as mtools wants it.
const ESP: &str = "@@1M";
/// Octets of a sector.
const SECTOR: u64 = 512;
/// What is written at once.
const CHUNK: usize = 1 << 20;

impl Lab {
    /// Puts a file with parameters of the first boot on the ESP.
    pub fn put_parameters(&self, parameters: &str) -> Result<(), LabError> {
        let file = self.folder.join("bf.cfg");
        fs::write(&file, parameters).map_err(LabError::io("writing the parameters"))?;
        let mut copy = self.on_esp("mcopy");
        run::output(copy.arg("-o").arg(&file).arg("::bf.cfg")).map(|_| ())
    }

    /// Gives it an empty disk, as large as that one.
    pub(super) fn empty_disk(&self, like: &Path) -> Result<(), LabError> {
        let failed = || LabError::io("making an empty disk");
        let size = fs::metadata(like).map_err(failed())?.len();
        fs::File::create(self.disk()).and_then(|disk| disk.set_len(size)).map_err(failed())
    }

    /// Fills the ESP, but for that many octets.
    pub fn fill_esp(&self, left: u64) -> Result<(), LabError> {
        let listing = run::output(self.on_esp("mdir").arg("::"))?;
        let free = listing.lines().rev().find_map(|line| line.trim().strip_suffix("bytes free"));
        let free = free.map(|text| text.split_whitespace().collect::<String>());
        let free: u64 = free.and_then(|text| text.parse().ok()).ok_or_else(|| LabError::Output {
            command: "mdir".into(),
            output: listing.clone(),
            why: "it does not say what is free".into(),
        })?;
        let filler = self.folder.join("filler");
        let file = fs::File::create(&filler).map_err(LabError::io("making a large file"))?;
        file.set_len(free.saturating_sub(left)).map_err(LabError::io("making a large file"))?;
        run::output(self.on_esp("mcopy").arg(&filler).arg("::filler"))?;
        fs::remove_file(&filler).map_err(LabError::io("removing a large file"))
    }

    fn on_esp(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.arg("-i").arg(format!("{}{ESP}", self.disk().display()));
        command
    }

    /// Overwrites a partition from its beginning to its end with what is no file system.
    pub fn spoil_partition(&self, label: &str) -> Result<(), LabError> {
        let (start, length) = self.partition(label)?;
        let failed = || LabError::io(format!("overwriting the partition {label}"));
        let mut disk = OpenOptions::new().write(true).open(self.disk()).map_err(failed())?;
        disk.seek(SeekFrom::Start(start)).map_err(failed())?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(CHUNK)
        .collect();
        let mut left = length;
        while left > 0 {
            let part = left.min(CHUNK as u64);
            disk.write_all(&garbage[..usize::try_from(part).unwrap_or(CHUNK)]).map_err(failed())?;
            left -= part;
        }
        disk.sync_all().map_err(failed())
    }

    /// Where a partition begins, and how long it is, in octets.
    fn partition(&self, label: &str) -> Result<(u64, u64), LabError> {
        let text = run::output(Command::new("sfdisk").arg("--json").arg(self.disk()))?;
        let table: Value = serde_json::from_str(&text).unwrap_or_default();
        let partitions = table["partitiontable"]["partitions"].as_array().cloned().unwrap_or_default();
        let found = partitions.iter().find(|partition| partition["name"] == label);
        let found = found.ok_or_else(|| LabError::Output {
            command: "sfdisk --json".into(),
            output: text.clone(),
            why: format!("no partition has the name {label}"),
        })?;
        Ok((number(&found["start"]) * SECTOR, number(&found["size"]) * SECTOR))
    }
}
