//! The root file system's hashes: a tree of them behind the file system, in the same file.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use crate::error::ImageError;
use crate::tool;

/// The unit of reading and hashing, of data and of hashes.
pub const BLOCK: u64 = 4096;

/// What it takes to open a root file system: it stands on the kernel's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// The hash of the tree's topmost block: 64 hexadecimal digits.
    pub root_hash: String,
    /// The file system's size in blocks; behind it are one block of description, and the tree.
    pub blocks: u64,
    /// What each block is hashed with, in hexadecimal digits.
    pub salt: String,
}

impl Verity {
    /// As the kernel's command line has it.
    pub fn argument(&self) -> String {
        format!("nic.verity={},{},{}", self.root_hash, self.blocks, self.salt)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({"root_hash": self.root_hash, "blocks": self.blocks, "salt": self.salt})
    }

    pub(crate) fn from_json(value: &Value) -> Option<Verity> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Verity { root_hash: text("root_hash")?, blocks: value["blocks"].as_u64()?, salt: text("salt")? })
    }
}

/// Fills a file up to whole blocks and writes the tree of their hashes behind them.
///
/// # Errors
/// The file cannot be used, or `veritysetup` fails.
pub fn append(file: &Path, salt: &str, uuid: &str) -> Result<Verity, ImageError> {
    let size = fs::metadata(file).map_err(ImageError::file("reading", file))?.len();
    let blocks = size.div_ceil(BLOCK);
    let open = File::options().write(true).open(file).map_err(ImageError::file("opening", file))?;
    open.set_len(blocks * BLOCK).map_err(ImageError::file("writing", file))?;
    drop(open);
    let mut command = tool::tool("veritysetup");
    command.args(["format", "--hash", "sha256", "--format", "1"]);
    command.args(["--data-block-size", "4096", "--hash-block-size", "4096"]);
    command.args(["--data-blocks", &blocks.to_string(), "--hash-offset", &(blocks * BLOCK).to_string()]);
    command.args(["--salt", salt, "--uuid", uuid]).arg(file).arg(file);
    let printed = tool::text(&mut command)?;
    let root_hash = root_hash(&printed)
        .ok_or_else(|| ImageError::Printed { program: "veritysetup", printed: printed.clone() })?;
    Ok(Verity { root_hash: root_hash.to_owned(), blocks, salt: salt.to_owned() })
}

fn root_hash(printed: &str) -> Option<&str> {
    let hash = printed.lines().find_map(|line| line.strip_prefix("Root hash:"))?.trim();
    let is_hash = hash.len() == 64 && hash.bytes().all(|octet| octet.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_is_read_off_veritysetup() {
        let hash = "0123456789abcdef".repeat(4);
        let text = format!("VERITY header information\nSalt:  \tff\nRoot hash:      \t{hash}\n");
        assert_eq!(root_hash(&text), Some(hash.as_str()));
        assert_eq!(root_hash("Root hash: 12"), None);
        assert_eq!(root_hash(""), None);
    }

    #[test]
    fn what_opens_a_root_is_kept_as_json() {
        let verity = Verity { root_hash: "ab".repeat(32), blocks: 7, salt: "00".into() };
        assert_eq!(Verity::from_json(&verity.to_json()), Some(verity));
        assert_eq!(Verity::from_json(&json!({"blocks": 1})), None);
    }
}
