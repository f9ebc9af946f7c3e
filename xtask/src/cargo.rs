//! Running cargo, and reading what it says about what it built.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{self, ProcessError};

/// The profile of everything that is run.
pub(crate) const PROFILE: &str = "ci";

/// What tests want of crates beside what is built without being asked for: the fuzz targets that need DPDK.
pub(crate) const FEATURES: &str = "nic-fuzz/dpdk";

/// A program that cargo built.
#[derive(Debug)]
pub(crate) struct Program {
    /// The crate's name.
    pub(crate) package: String,
    /// The crate's folder.
    pub(crate) folder: PathBuf,
    /// The target's name, such as `it`.
    pub(crate) target: String,
    /// It is a test harness.
    pub(crate) test: bool,
    /// Plain `cargo test` runs it: it needs neither DPDK nor root.
    pub(crate) default: bool,
    pub(crate) path: PathBuf,
}

/// Why cargo gave no programs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("cargo's output cannot be read")]
    Read(#[from] std::io::Error),
    #[error("cargo printed what is no message")]
    Message(#[from] serde_json::Error),
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// `cargo VERB`, at the root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(root());
    command
}

/// The cargo that runs this.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Builds by [`PROFILE`]; cargo shows its progress.
pub(crate) fn build(selection: &[&str]) -> Result<Vec<Program>, BuildError> {
    built(cargo(&["build"]), selection)
}

/// Builds test programs in a target directory of their own, as other flags for the compiler want it.
pub(crate) fn build_apart(
    name: &str,
    flags: &[(&str, &str)],
    selection: &[&str],
) -> Result<Vec<Program>, BuildError> {
    let mut command = cargo(&["build"]);
    command.envs(flags.iter().copied()).env("CARGO_TARGET_DIR", target_folder()?.join(name));
    built(command, selection)
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> Result<PathBuf, BuildError> {
    let text = process::output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    Ok(metadata["target_directory"].as_str().map_or_else(|| root().join("target"), PathBuf::from))
}

fn built(mut command: Command, selection: &[&str]) -> Result<Vec<Program>, BuildError> {
    let members = members()?;
    command.args(["--profile", PROFILE, "--message-format", "json-render-diagnostics"]);
    command.args(selection).stdin(Stdio::null()).stdout(Stdio::piped());
    let start = |source| ProcessError::Start { program: "cargo".into(), source };
    let mut child = command.spawn().map_err(start)?;
    let mut programs = Vec::new();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let message: Value = serde_json::from_str(&line?)?;
            programs.extend(executable(&message, &members));
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(programs);
    }
    Err(ProcessError::Failed { command: process::describe(&command), status, errors: String::new() }.into())
}

fn executable(message: &Value, members: &[Member]) -> Option<Program> {
    let path = PathBuf::from(message["executable"].as_str()?);
    let member = members.iter().find(|member| message["package_id"] == member.id.as_str())?;
    Some(Program {
        package: member.name.clone(),
        folder: member.folder.clone(),
        target: message["target"]["name"].as_str()?.to_owned(),
        test: message["profile"]["test"].as_bool()?,
        default: member.default,
        path,
    })
}

/// A crate of the workspace.
struct Member {
    id: String,
    name: String,
    folder: PathBuf,
    default: bool,
}

fn members() -> Result<Vec<Member>, BuildError> {
    let text = process::output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let defaults = metadata["workspace_default_members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let member = |package: &Value| {
        let id = package["id"].as_str()?.to_owned();
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some(Member {
            name: package["name"].as_str()?.to_owned(),
            folder: manifest.parent()?.to_owned(),
            default: defaults.iter().any(|other| *other == id.as_str()),
            id,
        })
    };
    Ok(packages.iter().filter_map(member).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_are_told_from_libraries_and_from_strangers() {
        let member = Member { id: "a#1".into(), name: "a".into(), folder: "/a".into(), default: true };
        let message = |id: &str, path: Value| json!({"package_id": id, "executable": path, "target": {"name": "it"}, "profile": {"test": true}});
        let members = [member];
        assert!(
            executable(&message("a#1", json!("/x/it")), &members).is_some_and(|it| it.test && it.default)
        );
        assert!(executable(&message("a#1", Value::Null), &members).is_none());
        assert!(executable(&message("b#1", json!("/x/it")), &members).is_none());
        assert!(executable(&json!({"reason": "build-finished"}), &members).is_none());
    }
}
