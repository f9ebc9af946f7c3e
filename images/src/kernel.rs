//! The kernel, as the other steps take it: Debian's with modules, or ours without any.

use std::fs;
use std::path::{Path, PathBuf};

use cross::packages::{Architecture, Package, Set};

use crate::error::ImageError;
use crate::modules::Modules;
use crate::parts::{Made, packages_of, write};
use crate::step::{Inputs, Workshop, remove};
use crate::{Request, recipe, recipes, tool};

/// Whose kernel an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Debian's: nothing to compile, but it lacks drivers that cards need.
    Debian,
    /// Ours: Debian's source with a configuration for cards, built once.
    Own,
}

impl Whose {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Whose::Debian => "debian",
            Whose::Own => "own",
        }
    }
}

/// A kernel of Debian's, of the line that is maintained for as long as Debian 12 is.
pub(crate) const DEBIAN: Set<'static> = Set {
    name: "image-kernel-debian",
    architecture: Architecture::Arm64,
    wanted: &["linux-image-6.12-arm64"],
    keep: |name| name.starts_with("linux-image-6.12."),
};

/// The source of ours.
pub(crate) const SOURCE: Set<'static> = Set {
    name: "image-kernel-source",
    architecture: Architecture::Arm64,
    wanted: &[nic_kernel::SOURCE_PACKAGE],
    keep: |name| name == nic_kernel::SOURCE_PACKAGE,
};

/// The date that ours says it was built at: the same for all, or each commit would make another kernel.
const DATE: u64 = 1_767_225_600;

/// What stands before the names of the compiler's programs.
const CROSS: &str = "aarch64-linux-gnu-";

/// A kernel: a folder with `vmlinuz` and `Image`, programs for the firmware, and `usr/lib/modules`.
pub(crate) struct Kernel {
    pub(crate) made: Made,
    /// Its version, as `uname -r` says it.
    pub(crate) release: String,
    /// What it was made of.
    pub(crate) packages: Vec<Package>,
}

impl Kernel {
    /// The one that the firmware loads: packed, if there is one that is.
    pub(crate) fn program(&self) -> PathBuf {
        self.made.path.join("vmlinuz")
    }

    /// The one that is not packed, for boot loaders that unpack nothing.
    pub(crate) fn plain(&self) -> PathBuf {
        self.made.path.join("Image")
    }
}

/// The list of modules.
const MODULES: &str = "kernel/modules.list";

/// Takes the kernel that was asked for.
pub(crate) fn take(request: &Request<'_>, shop: &Workshop) -> Result<Kernel, ImageError> {
    match request.kernel {
        Whose::Debian => debian(request, shop),
        Whose::Own => own(request, shop),
    }
}

/// Builds ours, or finds it in the cache.
fn own(request: &Request<'_>, shop: &Workshop) -> Result<Kernel, ImageError> {
    let packages = cross::packages::fetch(request.places, &SOURCE, request.policy)?;
    let cache = request.places.cache.join("kernel");
    let source = source(&packages, &cache)?;
    let inputs = nic_kernel::Inputs {
        source: &source,
        fragment: nic_kernel::FRAGMENT,
        device_trees: nic_kernel::DEVICE_TREES,
        cache: &cache,
        cross: CROSS,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        date: DATE,
    };
    let built = nic_kernel::provide(&inputs, &mut |step| println!("image: {step}"))?;
    let name = built.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let key = Inputs::new("own kernel", 1).text("built", &name).key();
    let path = shop.step("kernel", "kernel", &key, |path| {
        let modules = path.join("usr/lib/modules");
        fs::create_dir_all(&modules).map_err(ImageError::file("making", &modules))?;
        copy(&built.image, &path.join("Image"))?;
        copy(&built.packed, &path.join("vmlinuz"))?;
        for tree in &built.device_trees {
            copy(tree, &path.join(tree.file_name().unwrap_or_default()))?;
        }
        write(&path.join("early.list"), "")?;
        write(&path.join("release"), &built.release)
    })?;
    Ok(Kernel { made: Made { path, key }, release: built.release, packages })
}

/// The source as its package has it, unpacked once.
fn source(packages: &[Package], cache: &Path) -> Result<PathBuf, ImageError> {
    let package = packages.first().ok_or_else(|| ImageError::Missing(nic_kernel::SOURCE.into()))?;
    let folder = cache.join(format!("source-{}", &package.sha256[..16]));
    let file = folder.join(nic_kernel::SOURCE);
    if !file.is_file() {
        let part = folder.with_extension("part");
        remove(&part)?;
        cross::packages::unpack(packages, &part)?;
        remove(&folder)?;
        fs::rename(&part, &folder).map_err(ImageError::file("making", &folder))?;
    }
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> Result<(), ImageError> {
    fs::copy(from, to).map(|_| ()).map_err(ImageError::file("copying", from))
}

/// Unpacks Debian's, and of its modules those that are wanted, uncompressed: the kernel then need not
/// know how, and the file systems compress better.
fn debian(request: &Request<'_>, shop: &Workshop) -> Result<Kernel, ImageError> {
    let packages = cross::packages::fetch(request.places, &DEBIAN, request.policy)?;
    let list = recipes(request.places).join(MODULES);
    let key = packages_of(Inputs::new("kernel", 2), &packages).file(&list)?.key();
    let path = shop.step("kernel", "kernel", &key, |path| {
        let whole = path.with_extension("whole");
        remove(&whole)?;
        cross::packages::unpack(&packages, &whole)?;
        let release = release(&whole)?;
        tool::run(tool::tool("depmod").arg("-b").arg(&whole).arg(&release))?;
        let from = whole.join("usr/lib/modules").join(&release);
        let to = path.join("usr/lib/modules").join(&release);
        let modules = Modules::parse(&recipe::read(&from.join("modules.dep"))?);
        let text = recipe::read(&list)?;
        let early = modules.closure(recipe::section(MODULES, &text, "initramfs")?);
        let late = modules.closure(recipe::section(MODULES, &text, "root")?);
        for file in early.iter().chain(&late) {
            uncompress(&from.join(file), &to.join(plain(file)))?;
        }
        for file in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            copy(&from.join(file), &to.join(file))?;
        }
        fs::create_dir_all(path.join("usr/bin")).map_err(ImageError::file("making", path))?;
        std::os::unix::fs::symlink("usr/lib", path.join("lib")).map_err(ImageError::file("making", path))?;
        tool::run(tool::tool("depmod").arg("-b").arg(path).arg(&release))?;
        let order: String = early.iter().map(|file| format!("{}\n", plain(file))).collect();
        write(&path.join("early.list"), &order)?;
        write(&path.join("release"), &release)?;
        // Debian's is not packed.
        copy(&whole.join(format!("boot/vmlinuz-{release}")), &path.join("vmlinuz"))?;
        std::os::unix::fs::symlink("vmlinuz", path.join("Image"))
            .map_err(ImageError::file("making", path))?;
        remove(&whole)
    })?;
    let release = recipe::read(&path.join("release"))?;
    Ok(Kernel { made: Made { path, key }, release, packages })
}

/// The one version that there are modules for.
fn release(tree: &Path) -> Result<String, ImageError> {
    let folder = tree.join("usr/lib/modules");
    let mut found = crate::step::entries(&folder)?.into_iter().map(|(name, _)| name);
    found.next().ok_or_else(|| ImageError::Missing("a kernel's modules".into()))
}

fn plain(file: &str) -> &str {
    file.strip_suffix(".xz").unwrap_or(file)
}

fn uncompress(from: &Path, to: &Path) -> Result<(), ImageError> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(ImageError::file("making", folder))?;
    let content = if from.extension().is_some_and(|it| it == "xz") {
        tool::output(tool::tool("xz").arg("-dc").arg(from))?
    } else {
        fs::read(from).map_err(ImageError::file("reading", from))?
    };
    fs::write(to, content).map_err(ImageError::file("writing", to))
}
