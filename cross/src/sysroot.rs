//! C headers and libraries for the cards, unpacked without running any of them: what programs are compiled
//! and linked against, and what they find when they run under an emulator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::packages::{Architecture, Package, PackagesError, Policy, Set};
use crate::places::Places;
use crate::unpacked::{self, Wanted};

/// DPDK and the C library, with headers.
pub const SYSROOT: Set<'static> = Set {
    name: "sysroot",
    architecture: Architecture::Arm64,
    wanted: &["libbsd-dev", "libc6-dev", "libdpdk-dev", "libgcc-12-dev"],
    keep: of_sysroot,
};

/// Where libraries are in it.
pub(crate) const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";

/// Libraries and headers, but not the programs that such packages ask for. Some libraries are named otherwise: those
/// that mlx5 needs, without which no DPDK program starts beside it.
fn of_sysroot(name: &str) -> bool {
    ["lib", "zlib", "linux-libc-dev", "ibverbs-providers"].iter().any(|start| name.starts_with(start))
        && !name.contains("-perl")
}

/// A tree of headers and libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysroot {
    /// The tree.
    pub folder: PathBuf,
    /// What it was made of.
    pub packages: Vec<Package>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SysrootError {
    /// Its packages.
    #[error("the sysroot")]
    Packages(#[from] PackagesError),
    /// Its folder.
    #[error("the sysroot, in the cache")]
    Files(#[from] io::Error),
    /// It holds no DPDK.
    #[error("the sysroot has no package libdpdk-dev; write the lock anew by --update-lock")]
    NoDpdk,
}

impl Sysroot {
    /// Where its libraries are.
    pub fn libraries(&self) -> PathBuf {
        self.folder.join(LIBRARIES)
    }

    /// Debian's version of its DPDK, such as `22.11.11-0+deb12u1`.
    pub fn dpdk(&self) -> Result<&str, SysrootError> {
        let dpdk = self.packages.iter().find(|package| package.name == "libdpdk-dev");
        dpdk.map(|package| package.version.as_str()).ok_or(SysrootError::NoDpdk)
    }
}

/// Unpacks it, if it is not there.
pub fn provide(places: &Places, policy: Policy) -> Result<Sysroot, SysrootError> {
    let wanted = Wanted { name: "sysroot", what: "headers and libraries", sets: &[SYSROOT] };
    let finish = |fresh: &Path| Ok(make_links_relative(fresh, fresh)?);
    let (folder, packages) = unpacked::provide::<SysrootError>(places, &wanted, policy, finish)?;
    Ok(Sysroot { folder, packages })
}

/// Links in packages may begin at the root of a system, which this tree is not.
fn make_links_relative(root: &Path, folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_symlink() {
            let to = fs::read_link(&path)?;
            if let Ok(below) = to.strip_prefix("/") {
                let depth = folder.strip_prefix(root).map_or(0, |inner| inner.components().count());
                let up: PathBuf = std::iter::repeat_n("..", depth).collect();
                fs::remove_file(&path)?;
                std::os::unix::fs::symlink(up.join(below), &path)?;
            }
        } else if path.is_dir() {
            make_links_relative(root, &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_begin_at_the_root_lead_to_the_same_file_of_the_tree() {
        let folder = tempfile::tempdir().expect("a folder of our own");
        let root = folder.path();
        fs::create_dir_all(root.join("usr/lib/deep")).expect("it is new");
        fs::write(root.join("usr/lib/libx.so.1"), "x").expect("it can be written");
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).expect("it is new");
        link("/usr/lib/libx.so.1", "usr/lib/deep/libx.so");
        link("/usr/lib/libx.so.1", "top.so");
        link("../libx.so.1", "usr/lib/deep/near.so");
        make_links_relative(root, root).expect("it is ours");
        for name in ["usr/lib/deep/libx.so", "top.so", "usr/lib/deep/near.so"] {
            assert_eq!(fs::read_to_string(root.join(name)).ok().as_deref(), Some("x"), "{name}");
        }
        let kept = fs::read_link(root.join("usr/lib/deep/near.so")).expect("it is a link");
        assert_eq!(kept, Path::new("../libx.so.1"));
    }

    #[test]
    fn programs_are_no_part_of_it() {
        for name in
            ["libdpdk-dev", "librte-eal23", "libc6", "zlib1g-dev", "linux-libc-dev", "ibverbs-providers"]
        {
            assert!(of_sysroot(name), "{name}");
        }
        for name in ["perl", "rdma-core", "udev", "gcc-12-base", "libtext-glob-perl", "init-system-helpers"] {
            assert!(!of_sysroot(name), "{name}");
        }
    }
}
