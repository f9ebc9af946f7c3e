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
