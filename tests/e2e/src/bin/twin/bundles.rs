//! The images of the stories, and the bundles that are made of them: good ones and bad ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::LabError;
use serde_json::Value;

/// A day in seconds.
const DAY: u64 = 86_400;

/// Folders of images: `base` that the machine boots first, and others by name. Each has `root.img`, `uki.efi`,
/// `slot.nicbundle`, `agent.nicbundle` and `image.json`; `base` has `disk.img`, too. Beside them are `keys`, that
/// sign bundles, and the program `nic-bundle`.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    folder: PathBuf,
}

/// A bundle that is made for a story.
#[derive(Debug, Clone)]
pub(crate) struct Recipe<'a> {
    pub(crate) keys: &'a Path,
    pub(crate) board: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) expires: u64,
    pub(crate) targets: &'a [PathBuf],
}

impl Images {
    pub(crate) fn new(folder: PathBuf) -> Images {
        Images { folder }
    }

    pub(crate) fn file(&self, image: &str, name: &str) -> PathBuf {
        self.folder.join(image).join(name)
    }

    /// The disk that the machine boots.
    pub(crate) fn disk(&self) -> PathBuf {
        self.file("base", "disk.img")
    }

    /// The bundle of an image's slot.
    pub(crate) fn bundle(&self, image: &str) -> PathBuf {
        self.file(image, "slot.nicbundle")
    }

    /// The keys that sign bundles.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// The version of an image.
    pub(crate) fn version(&self, image: &str) -> Result<String, LabError> {
        let path = self.file(image, "image.json");
        let text = fs::read_to_string(&path).map_err(LabError::io(format!("reading {}", path.display())))?;
        let description: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(description["version"].as_str().unwrap_or_default().to_owned())
    }

    /// The two targets of a slot's bundle.
    pub(crate) fn targets(&self, image: &str) -> [PathBuf; 2] {
        ["root.img", "uki.efi"].map(|name| self.file(image, name))
    }

    /// Makes keys that no card trusts.
    pub(crate) fn foreign_keys(&self, folder: &Path) -> Result<(), LabError> {
        self.run(Command::new(self.folder.join("nic-bundle")).arg("keys").arg(folder))
    }

    /// Writes a bundle.
    pub(crate) fn write(&self, recipe: &Recipe<'_>, to: &Path) -> Result<(), LabError> {
        let mut command = Command::new(self.folder.join("nic-bundle"));
        command.arg("write").arg("--keys").arg(recipe.keys).args(["--board", recipe.board]);
        command.args(["--version", recipe.version, "--kind", recipe.kind]);
        command.args(["--release", &now().to_string(), "--expires", &recipe.expires.to_string()]);
        command.arg("--to").arg(to).args(recipe.targets);
        self.run(&mut command)
    }

    fn run(&self, command: &mut Command) -> Result<(), LabError> {
        let output = command.output().map_err(LabError::io("starting nic-bundle"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(LabError::Failed {
            command: "nic-bundle".into(),
            status: output.status,
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// When bundles of the stories expire.
pub(crate) fn next_week() -> u64 {
    now() + 7 * DAY
}

/// The version with this in its last place added.
pub(crate) fn later(version: &str, by: i64) -> String {
    let (head, last) = version.rsplit_once('.').unwrap_or(("0.0", version));
    let last: i64 = last.parse().unwrap_or_default();
    format!("{head}.{}", last + by)
}

/// A program for aarch64 that ends at once, as a failure: a header, one segment, three instructions.
pub(crate) fn program_that_ends() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov x0, 1; mov x8, 93 (exit); svc 0
    const CODE: [u32; 3] = [0xd280_0020, 0xd280_0ba8, 0xd400_0001];
    let mut octets = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let length = HEADERS + 4 * CODE.len() as u64;
    let half = |octets: &mut Vec<u8>, words: &[u16]| {
        words.iter().for_each(|word| octets.extend(word.to_le_bytes()));
    };
    // An executable, for aarch64.
    half(&mut octets, &[2, 183]);
    octets.extend(1_u32.to_le_bytes());
    // Where it begins, and where its one program header is; there are no sections.
    [BASE + HEADERS, 64, 0].iter().for_each(|word: &u64| octets.extend(word.to_le_bytes()));
    octets.extend(0_u32.to_le_bytes());
    half(&mut octets, &[64, 56, 1, 64, 0, 0]);
    // A segment that is loaded, to be read and run: the whole file.
    [1_u32, 5].iter().for_each(|word| octets.extend(word.to_le_bytes()));
    let segment = [0, BASE, BASE, length, length, 0x1_0000];
    segment.iter().for_each(|word: &u64| octets.extend(word.to_le_bytes()));
    CODE.iter().for_each(|word| octets.extend(word.to_le_bytes()));
    octets
}
