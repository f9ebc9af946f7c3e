//! What the tests look at: the workspace as cargo describes it, and its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Only of this platform has cargo fetched every crate.
const PLATFORM: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/style lies two folders below the root").to_owned()
}

/// A crate of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) license: String,
    /// The first files of its libraries and programs.
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What a crate says it depends on.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Only its tests do.
    pub(crate) dev: bool,
}

/// `cargo metadata`.
pub(crate) struct Workspace {
    /// By name.
    pub(crate) packages: BTreeMap<String, Package>,
    /// For each package id, the names and ids of what it is linked with.
    linked: BTreeMap<String, Vec<(String, String)>>,
}

impl Workspace {
    /// What cargo says, asked once for all tests.
    pub(crate) fn read() -> &'static Workspace {
        static WORKSPACE: OnceLock<Workspace> = OnceLock::new();
        WORKSPACE.get_or_init(Workspace::ask)
    }

    /// Asks cargo, without the network: whoever runs this test has built the workspace.
    fn ask() -> Workspace {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", PLATFORM])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
        let members: BTreeSet<&str> = list(&metadata["workspace_members"]).map(text).collect();
        let names: BTreeMap<&str, &str> = list(&metadata["packages"])
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let packages = list(&metadata["packages"])
            .filter(|package| members.contains(text(&package["id"])))
            .map(|value| (text(&value["name"]).to_owned(), package(value)))
            .collect();
        let linked = list(&metadata["resolve"]["nodes"])
            .map(|node| {
                let deps = list(&node["deps"])
                    .filter(|dep| list(&dep["dep_kinds"]).any(|kind| kind["kind"].is_null()))
                    .map(|dep| text(&dep["pkg"]))
                    .map(|id| (names[id].to_owned(), id.to_owned()));
                (text(&node["id"]).to_owned(), deps.collect())
            })
            .collect();
        Workspace { packages, linked }
    }

    /// Names of all that a crate is linked with, near or far.
    pub(crate) fn linked(&self, package: &Package) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut open = vec![package.id.as_str()];
        while let Some(id) = open.pop() {
            for (name, id) in &self.linked[id] {
                names.insert(name.as_str());
                if found.insert(id.as_str()) {
                    open.push(id);
                }
            }
        }
        names
    }
}

fn package(value: &Value) -> Package {
    let is_root =
        |target: &&Value| list(&target["kind"]).map(text).any(|kind| kind.contains("lib") || kind == "bin");
    Package {
        id: text(&value["id"]).to_owned(),
        license: value["license"].as_str().unwrap_or_default().to_owned(),
        roots: list(&value["targets"])
            .filter(is_root)
            .map(|target| PathBuf::from(text(&target["src_path"])))
            .collect(),
        dependencies: list(&value["dependencies"])
            .map(|dep| Dependency { name: text(&dep["name"]).to_owned(), dev: dep["kind"] == "dev" })
            .collect(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The repository's files whose names end so, by their path from the root; what is built is left out.
pub(crate) fn files(ending: &str) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && !matches!(&*name, "target" | "corpus" | "artifacts") {
                    open.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("a text");
                found.push((path.strip_prefix(&root).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no file ends with {ending}: the test looks in the wrong place");
    found
}

/// Fails with all faults at once.
pub(crate) fn none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}
