//! DPDK's source as its project released it, where the checksum is known.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::process::{self, ProcessError};

/// Releases and the SHA-256 of their `dpdk-VERSION.tar.xz`.
///
/// 22.11.11: as in the signed description of Debian's source package, whose
/// original tarball is the project's own.
const RELEASES: &[(&str, &str)] =
    &[("22.11.11", "27a3bb1f57e02eb68c7c0a6f8bbf9fb74ec198c5aab74ed602da5b71c492a476")];

/// Where the project keeps its releases.
const SITE: &str = "https://fast.dpdk.org/rel";

/// apt's own downloader: on every Debian, and it verifies what it fetched.
const DOWNLOADER: &str = "/usr/lib/apt/apt-helper";

/// Why the release could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// No checksum is known.
    #[error("no checksum of the release {0} is known here")]
    Unknown(String),
    /// It could not be fetched, or is not what it should be.
    #[error("the release was not fetched: {0}")]
    Download(#[source] ProcessError),
    /// There is no place for it.
    #[error("no folder could be made for the release: {0}")]
    Folder(#[source] io::Error),
    /// It could not be unpacked.
    #[error("the release was not unpacked: {0}")]
    Unpack(#[source] ProcessError),
}

/// Fetches, verifies and unpacks a release; gives its folder.
pub(super) fn unpack(version: &str, scratch: &Path) -> Result<PathBuf, ReleaseError> {
    let (_, sha256) = RELEASES
        .iter()
        .find(|(known, _)| *known == version)
        .ok_or_else(|| ReleaseError::Unknown(version.to_owned()))?;
    let archive = scratch.join("release.tar.xz");
    let mut download = Command::new(DOWNLOADER);
    download
        .args(["-o", "Acquire::Retries=1", "-o", "Acquire::https::Timeout=20", "download-file"])
        .arg(format!("{SITE}/dpdk-{version}.tar.xz"))
        .arg(&archive)
        .arg(format!("SHA256:{sha256}"));
    process::output(&mut download).map_err(ReleaseError::Download)?;
    extract(&archive, scratch)
}

/// Unpacks an archive, without the folder that all of it lies in.
fn extract(archive: &Path, scratch: &Path) -> Result<PathBuf, ReleaseError> {
    let tree = scratch.join("release");
    fs::create_dir_all(&tree).map_err(ReleaseError::Folder)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--no-same-owner", "--file"]).arg(archive);
    process::output(tar.arg("--directory").arg(&tree)).map_err(ReleaseError::Unpack)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_sha256_and_versions_are_named_once() {
        let mut versions: Vec<_> = RELEASES.iter().map(|(version, _)| version).collect();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), RELEASES.len());
        for (version, sha256) in RELEASES {
            let hex = sha256.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
            assert!(hex && sha256.len() == 64, "{version}");
        }
    }

    #[test]
    fn an_archive_is_unpacked_without_its_outer_folder() {
        let scratch = std::env::temp_dir().join(format!("xtask-release-{}", std::process::id()));
        let inner = scratch.join("dpdk-stable-1/lib/ethdev");
        fs::create_dir_all(&inner).expect("a folder of our own");
        fs::write(inner.join("ethdev_driver.h"), "text").expect("it can be written");
        let archive = scratch.join("release.tar.xz");
        let mut pack = Command::new("tar");
        pack.arg("--create").arg("--xz").arg("--file").arg(&archive).arg("--directory").arg(&scratch);
        process::output(pack.arg("dpdk-stable-1")).expect("tar packs");
        let tree = extract(&archive, &scratch).expect("it is an archive");
        let text = fs::read_to_string(tree.join("lib/ethdev/ethdev_driver.h"));
        fs::write(&archive, "no archive").expect("it can be written");
        let broken = extract(&archive, &scratch);
        fs::remove_dir_all(&scratch).expect("it is ours");
        assert_eq!(text.expect("it was unpacked"), "text");
        assert!(matches!(broken, Err(ReleaseError::Unpack(_))));
    }

    #[test]
    fn a_release_without_a_checksum_is_never_fetched() {
        let refused = unpack("22.11.0", Path::new("/nonexistent"));
        assert!(matches!(refused, Err(ReleaseError::Unknown(version)) if version == "22.11.0"));
    }
}
