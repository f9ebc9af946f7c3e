//! Step three: the four headers that a DPDK driver needs and Debian's package
//! leaves out, of exactly the DPDK that is installed, or of one for the cards.
//!
//! They are looked for in this order: with the installed DPDK (one built with
//! `enable_driver_sdk` has them), in the cache, in Debian's source package of the
//! installed version, in the upstream release of that version. They are DPDK's
//! and change between releases, so the repository never holds them.

mod release;
mod source_package;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::process::{self, Privilege, ProcessError};

/// The headers, and where they are in DPDK's source.
const HEADERS: [(&str, &str); 4] = [
    ("ethdev_driver.h", "lib/ethdev"),
    ("ethdev_vdev.h", "lib/ethdev"),
    ("bus_vdev_driver.h", "drivers/bus/vdev"),
    ("dev_driver.h", "lib/eal/include"),
];

/// Why the headers could not be provided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadersError {
    /// pkg-config does not know DPDK.
    #[error("pkg-config finds no libdpdk")]
    NoDpdk(#[source] ProcessError),
    /// The cache cannot be written.
    #[error("the cache {path} cannot be written")]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Neither source gave them.
    #[error(
        "DPDK {version} is installed without them; its Debian source package could not be used ({package}), \
         nor could the upstream release ({release}); a DPDK built with -Denable_driver_sdk=true has them too"
    )]
    Nowhere {
        version: String,
        package: Box<source_package::PackageError>,
        release: Box<release::ReleaseError>,
    },
    /// A source lacks one of them.
    #[error("the source of DPDK {version} lacks {header}")]
    Lacking {
        version: String,
        header: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Sees to it that the headers are where the build looks for them.
pub(super) fn provide(privilege: Privilege) -> Result<(), HeadersError> {
    let version = pkg_config(&["--modversion", "libdpdk"]).map_err(HeadersError::NoDpdk)?;
    let cflags = pkg_config(&["--cflags-only-I", "libdpdk"]).map_err(HeadersError::NoDpdk)?;
    if let Some(folder) = include_folders(&cflags).find(|folder| complete(folder)) {
        println!("setup: driver headers: DPDK {version} brings them, in {}", folder.display());
        return Ok(());
    }
    let kept = cache_root().join("dpdk-headers").join(&version);
    if complete(&kept) {
        println!("setup: driver headers: those of DPDK {version} are in {}", kept.display());
        return Ok(());
    }
    fetch(&version, None, privilege)
}

/// The same for Debian's package of a DPDK that is not installed.
pub(super) fn provide_of_package(package: &str, privilege: Privilege) -> Result<(), HeadersError> {
    let version = source_package::upstream_version(package);
    if complete(&cache_root().join("dpdk-headers").join(version)) {
        return Ok(());
    }
    fetch(version, Some(package), privilege)
}

/// Takes the headers of a version from a source, into the cache.
fn fetch(version: &str, package: Option<&str>, privilege: Privilege) -> Result<(), HeadersError> {
    let cache = cache_root().join("dpdk-headers");
    let kept = cache.join(version);
    let failed = |source| HeadersError::Cache { path: cache.clone(), source };
    let scratch = Scratch::new(&cache).map_err(failed)?;
    println!("setup: driver headers: taking those of DPDK {version} from Debian's source package");
    let tree = match source_package::unpack(version, package, &scratch.0, privilege) {
        Ok(tree) => tree,
        Err(package) => {
            println!("setup: driver headers: {package}; trying the upstream release");
            release::unpack(version, &scratch.0).map_err(|release| HeadersError::Nowhere {
                version: version.to_owned(),
                package: Box::new(package),
                release: Box::new(release),
            })?
        }
    };
    let fresh = scratch.0.join("headers");
    fs::create_dir(&fresh).map_err(failed)?;
    for (header, folder) in HEADERS {
        let version = version.to_owned();
        fs::copy(tree.join(folder).join(header), fresh.join(header))
            .map_err(|source| HeadersError::Lacking { version, header, source })?;
    }
    put_in_place(&fresh, &kept).map_err(failed)?;
    println!("setup: driver headers: now in {}", kept.display());
    Ok(())
}

/// The repository's cache, or the one that the environment names: where the
/// build looks, too.
fn cache_root() -> PathBuf {
    if let Some(named) = env::var_os("NIC_AGENT_CACHE") {
        return PathBuf::from(named);
    }
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).join(".cache")
}

fn complete(folder: &Path) -> bool {
    HEADERS.iter().all(|(header, _)| folder.join(header).is_file())
}

/// Moves a finished folder to where it belongs, over an unfinished one.
fn put_in_place(fresh: &Path, kept: &Path) -> io::Result<()> {
    if kept.exists() && !complete(kept) {
        fs::remove_dir_all(kept)?;
    }
    match fs::rename(fresh, kept) {
        // Another set-up was faster, with the same files.
        Err(_) if complete(kept) => Ok(()),
        result => result,
    }
}

fn pkg_config(args: &[&str]) -> Result<String, ProcessError> {
    let tool = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    Ok(process::output(Command::new(tool).args(args))?.trim().to_owned())
}

/// The folders of `-I` flags.
fn include_folders(cflags: &str) -> impl Iterator<Item = PathBuf> {
    cflags.split_whitespace().filter_map(|flag| flag.strip_prefix("-I")).map(PathBuf::from)
}

/// A folder of this process's own that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> io::Result<Self> {
        let folder = parent.join(format!(".scratch-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        // Paths given to other programs must not depend on where they run.
        Ok(Self(folder.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the cache, which may be deleted at any time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_folders_are_read_from_flags() {
        let folders: Vec<PathBuf> = include_folders("-I/usr/include/dpdk -I/a/../b -pthread").collect();
        assert_eq!(folders, [PathBuf::from("/usr/include/dpdk"), PathBuf::from("/a/../b")]);
    }

    #[test]
    fn a_folder_is_complete_only_with_all_four_and_an_unfinished_one_is_replaced() {
        let scratch = Scratch::new(&env::temp_dir().join("xtask-headers")).expect("a folder of our own");
        let (fresh, kept) = (scratch.0.join("fresh"), scratch.0.join("kept"));
        for folder in [&fresh, &kept] {
            fs::create_dir(folder).expect("it is new");
        }
        for (header, _) in HEADERS {
            assert!(!complete(&fresh));
            fs::write(fresh.join(header), "").expect("it can be written");
        }
        assert!(complete(&fresh));
        fs::write(kept.join("dev_driver.h"), "").expect("it can be written");
        put_in_place(&fresh, &kept).expect("the unfinished one gives way");
        assert!(complete(&kept) && !fresh.exists());
        // A second set-up that comes too late is content with what is there.
        fs::create_dir(&fresh).expect("it was moved");
        put_in_place(&fresh, &kept).expect("the finished one stays");
        assert!(complete(&kept));
    }
}
