//! The steps of an image, each from what went before.

use std::fs;
use std::path::{Path, PathBuf};

use cross::Board;
use cross::packages::Package;
use serde_json::Value;

use crate::disk::{Disk, ESP_SIZE, OnEsp, ROOT_SIZE};
use crate::error::ImageError;
use crate::initramfs::Initramfs;
use crate::installer::Installer;
use crate::kernel::Kernel;
use crate::recipe;
use crate::step::{Inputs, Key, Workshop, remove};
use crate::tree::{self, Erofs, Finish};
use crate::uki::Uki;
use crate::verity::{self, Verity};
use crate::{BOOT_SET, Profile, Request, recipes, root_packages, root_set};

/// Something that a step made.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) key: Key,
}

/// Packages that a step unpacked.
pub(crate) struct Unpacked {
    pub(crate) made: Made,
    pub(crate) packages: Vec<Package>,
}

/// The root file system.
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) key: Key,
    pub(crate) verity: Verity,
}

pub(crate) fn packages_of(inputs: Inputs, packages: &[Package]) -> Inputs {
    packages.iter().fold(inputs, |inputs, package| inputs.text(&package.name, &package.sha256))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), ImageError> {
    fs::write(path, text).map_err(ImageError::file("writing", path))
}

/// Unpacks the packages of the root file system.
pub(crate) fn base(request: &Request<'_>, shop: &Workshop) -> Result<Unpacked, ImageError> {
    let names = root_packages(request.places, request.board)?;
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let name = format!("image-root-{}", request.board.name);
    let packages = cross::packages::fetch(request.places, &root_set(&name, &wanted), request.policy)?;
    let removed = recipes(request.places).join("rootfs/removed.list");
    let key = packages_of(Inputs::new("base", 1), &packages).file(&removed)?.key();
    let removed = recipe::read(&removed)?;
    let path =
        shop.step("packages of the root", "base", &key, |path| tree::unpack(&packages, &removed, path))?;
    Ok(Unpacked { made: Made { path, key }, packages })
}

/// Lays our files over the packages, and our programs and the kernel's modules beside them.
pub(crate) fn tree(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    base: &Made,
) -> Result<Made, ImageError> {
    let rootfs = recipes(request.places).join("rootfs");
    let board = rootfs.join("boards").join(&request.board.name);
    let mut layers = vec![rootfs.join("tree"), board.join("tree")];
    let mut links = vec![rootfs.join("links.list")];
    links.extend(Some(board.join("links.list")).filter(|list| list.exists()));
    if request.profile == Profile::Test {
        layers.push(rootfs.join("profiles/test/tree"));
        links.push(rootfs.join("profiles/test/links.list"));
    }
    let management = management(&board.join("tree/usr/lib/nic-agent/board.conf"))?;
    let programs = request.programs;
    let programs = [&*programs.datapath, &*programs.agent, &*programs.nicctl];
    let files = [
        ("usr/lib/os-release", os_release(request)),
        ("usr/lib/clock-epoch", String::new()),
        ("usr/lib/nic-agent/datapath.conf", datapath(request, &board)?),
        ("usr/lib/nic-agent/root.json", recipe::read(&request.release.root()?)?),
    ];
    let mut inputs = Inputs::new("tree", 2).made("kernel", &kernel.made.key).made("base", &base.key);
    for layer in layers.iter().filter(|layer| layer.is_dir()) {
        inputs = inputs.folder(layer)?;
    }
    for file in links.iter().map(PathBuf::as_path).chain(programs) {
        inputs = inputs.file(file)?;
    }
    if let Some(overlay) = request.overlay {
        inputs = inputs.text("overlay", "").folder(overlay)?;
    }
    let key = files.iter().fold(inputs, |inputs, (name, text)| inputs.text(name, text)).key();
    let path = shop.step("root tree", "tree", &key, |path| {
        tree::copy(&base.path, path)?;
        tree::copy(&kernel.made.path.join("usr/lib/modules"), &path.join("usr/lib/modules"))?;
        let finish = Finish {
            layers: &layers,
            links: &links,
            programs: &programs,
            files: &files,
            overlay: request.overlay,
            management: &management,
        };
        finish.lay_over(path)
    })?;
    Ok(Made { path, key })
}

/// The management interface's name, as the board's file has it.
fn management(file: &Path) -> Result<String, ImageError> {
    let text = recipe::read(file)?;
    let name = recipe::lines(&text).find_map(|line| line.text.strip_prefix("MANAGEMENT_INTERFACE="));
    name.map(str::to_owned).ok_or_else(|| ImageError::Recipe {
        file: file.display().to_string(),
        line: 1,
        why: "there is no MANAGEMENT_INTERFACE",
    })
}

/// Who this is, for programs and people.
fn os_release(request: &Request<'_>) -> String {
    let Request { version, board, profile, .. } = request;
    format!(
        "NAME=nic-agent\nID=nic-agent\nID_LIKE=debian\nPRETTY_NAME=\"nic-agent {version} for {}\"\n\
         VERSION_ID={version}\nIMAGE_ID=nic-agent\nIMAGE_VERSION={version}\nNIC_BOARD={}\nNIC_PROFILE={}\n",
        board.title,
        board.name,
        profile.name()
    )
}

/// nic-datapath's arguments: devices and cores of the board; for a board whose devices only its image
/// knows, those of the file `devices.list`.
fn datapath(request: &Request<'_>, board: &Path) -> Result<String, ImageError> {
    let devices = &request.board.devices;
    let mut words: Vec<String> = Vec::new();
    words.extend(devices.pci.iter().flat_map(|device| ["--pci".to_owned(), device.clone()]));
    words.extend(devices.vdev.iter().flat_map(|device| ["--vdev".to_owned(), device.clone()]));
    let list = board.join("devices.list");
    if list.exists() {
        let text = recipe::read(&list)?;
        words.extend(recipe::lines(&text).flat_map(|line| ["--vdev".to_owned(), line.text.to_owned()]));
    }
    if devices.pci.is_empty() {
        // Else DPDK takes hold of whatever it has a driver for.
        words.extend(["--eal-arg".to_owned(), "--no-pci".to_owned()]);
    }
    if let Some(core) = request.board.cores.datapath.first() {
        words.extend(["--worker-cpu".to_owned(), core.to_string()]);
    }
    Ok(format!("NIC_DATAPATH_ARGUMENTS=\"{}\"\n", words.join(" ")))
}

/// Makes the root file system, and the tree of hashes behind it.
pub(crate) fn root(request: &Request<'_>, shop: &Workshop, tree: &Made) -> Result<Root, ImageError> {
    let inputs = Inputs::new("root", 1).made("tree", &tree.key).text("epoch", &request.epoch.to_string());
    let key = inputs.tool("mkfs.erofs", "--version")?.tool("veritysetup", "--version")?.key();
    let uuid = uuid(&key);
    let beside = shop.path("root.json");
    let path = shop.step("root file system", "root.img", &key, |path| {
        Erofs { epoch: request.epoch, uuid: &uuid }.write(&tree.path, path)?;
        let verity = verity::append(path, key.hex(), &uuid)?;
        let size = fs::metadata(path).map_err(ImageError::file("reading", path))?.len();
        if size > ROOT_SIZE {
            return Err(ImageError::TooLarge { part: "the root file system", size, room: ROOT_SIZE });
        }
        write(&beside, &verity.to_json().to_string())
    })?;
    let text = recipe::read(&beside)?;
    let verity = serde_json::from_str::<Value>(&text).ok().as_ref().and_then(Verity::from_json);
    let verity = verity.ok_or(ImageError::Printed { program: "veritysetup", printed: text })?;
    Ok(Root { path, key, verity })
}

/// An id that is the same for the same key.
pub(crate) fn uuid(key: &Key) -> String {
    let hex = key.hex();
    // Version 8 and the usual variant: an id of one's own making.
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// Unpacks what boots a UKI.
pub(crate) fn boot(request: &Request<'_>, shop: &Workshop) -> Result<Unpacked, ImageError> {
    let packages = cross::packages::fetch(request.places, &BOOT_SET, request.policy)?;
    let key = packages_of(Inputs::new("boot", 1), &packages).key();
    let path =
        shop.step("boot loader", "boot", &key, |path| Ok(cross::packages::unpack(&packages, path)?))?;
    Ok(Unpacked { made: Made { path, key }, packages })
}

/// Makes the first file system.
pub(crate) fn initramfs(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    base: &Made,
    boot: &Made,
) -> Result<Made, ImageError> {
    let init = recipes(request.places).join("initramfs/init");
    let inputs = Inputs::new("initramfs", 1).made("kernel", &kernel.made.key).made("base", &base.key);
    let key = inputs.made("boot", &boot.key).file(&init)?.tool("zstd", "--version")?.key();
    let path = shop.step("initramfs", "initramfs.zst", &key, |path| {
        let list = recipe::read(&kernel.made.path.join("early.list"))?;
        let order: Vec<String> = list.lines().map(str::to_owned).collect();
        let first = Initramfs {
            init: &init,
            busybox: &boot.path.join("usr/bin/busybox"),
            tree: &base.path,
            modules: &kernel.made.path.join("usr/lib/modules").join(&kernel.release),
            order: &order,
        };
        first.write(path)
    })?;
    Ok(Made { path, key })
}

/// Where Debian has systemd's programs for the firmware.
const EFI: &str = "usr/lib/systemd/boot/efi";

/// The kernel's command line.
pub(crate) fn command_line(request: &Request<'_>, root: &Root) -> String {
    let mut words = request.board.command_line();
    words.extend(["panic=10".to_owned(), "loglevel=5".to_owned(), root.verity.argument()]);
    words.join(" ")
}

/// Makes and signs the UKI.
pub(crate) fn uki(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    root: &Root,
    boot: &Made,
    first: &Made,
) -> Result<Made, ImageError> {
    let name = format!("nic-{}.efi", request.version);
    let line = command_line(request, root);
    let program = Program { step: "UKI", name: &name, line: &line, first, most: Some(ESP_SIZE / 3) };
    program.make(request, shop, kernel, boot)
}

/// Makes and signs the program that writes the disk to a machine which has none: for the network, or a stick.
pub(crate) fn installing(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    boot: &Made,
    installer: &Made,
) -> Result<PathBuf, ImageError> {
    let name = format!("nic-{}-{}-install.efi", request.board.name, request.version);
    let line = install_line(request.board, &[]);
    let program = Program { step: "installing UKI", name: &name, line: &line, first: installer, most: None };
    Ok(program.make(request, shop, kernel, boot)?.path)
}

/// The kernel's command line for the installer, with more words for a boot loader that wants some.
pub(crate) fn install_line(board: &Board, more: &[&str]) -> String {
    let mut words = board.consoles();
    words.extend(more.iter().map(|&word| word.to_owned()));
    words.push(format!("nic.install={}", board.install.join(",")));
    words.join(" ")
}

/// A kernel, its command line and its first file system in one program for the firmware.
struct Program<'a> {
    step: &'static str,
    name: &'a str,
    line: &'a str,
    first: &'a Made,
    /// It has to have room somewhere.
    most: Option<u64>,
}

impl Program<'_> {
    fn make(
        &self,
        request: &Request<'_>,
        shop: &Workshop,
        kernel: &Kernel,
        boot: &Made,
    ) -> Result<Made, ImageError> {
        let Self { step, name, line, first, most } = *self;
        let release = os_release(request);
        let inputs = Inputs::new("uki", 2).made("kernel", &kernel.made.key).made("boot", &boot.key);
        let inputs = inputs.made("initramfs", &first.key).text("line", line).text("release", &release);
        let inputs = inputs.text("epoch", &request.epoch.to_string());
        let key = inputs.file(&request.signer.key)?.file(&request.signer.certificate)?.key();
        let path = shop.step(step, name, &key, |path| {
            let uki = Uki {
                stub: &boot.path.join(EFI).join("linuxaa64.efi.stub"),
                kernel: &kernel.program(),
                initramfs: &first.path,
                os_release: &release,
                command_line: line,
                epoch: request.epoch,
            };
            let unsigned = path.with_extension("unsigned");
            uki.write(&unsigned)?;
            request.signer.sign(&unsigned, path, request.epoch)?;
            let size = fs::metadata(path).map_err(ImageError::file("reading", path))?.len();
            if let Some(room) = most.filter(|&most| size > most) {
                return Err(ImageError::TooLarge { part: step, size, room });
            }
            remove(&unsigned)
        })?;
        Ok(Made { path, key })
    }
}

/// Makes the first file system that writes the disk to a card.
pub(crate) fn installer(
    request: &Request<'_>,
    shop: &Workshop,
    disk: &Made,
    boot: &Made,
) -> Result<Made, ImageError> {
    let init = recipes(request.places).join("installer/init");
    let inputs = Inputs::new("installer", 1).made("disk", &disk.key).made("boot", &boot.key);
    let inputs = inputs.text("version", request.version).file(&init)?;
    let key = inputs.tool("zstd", "--version")?.key();
    let path = shop.step("installer", "installer.zst", &key, |path| {
        let busybox = boot.path.join("usr/bin/busybox");
        Installer { init: &init, busybox: &busybox, disk: &disk.path, version: request.version }.write(path)
    })?;
    Ok(Made { path, key })
}

/// Makes the disk.
pub(crate) fn disk(
    request: &Request<'_>,
    shop: &Workshop,
    root: &Root,
    uki: &Made,
    boot: &Made,
) -> Result<Made, ImageError> {
    let loader = recipes(request.places).join("rootfs/loader.conf");
    let inputs = Inputs::new("disk", 1).made("root", &root.key).made("uki", &uki.key).file(&loader)?;
    let mut inputs =
        inputs.tool("mke2fs", "-V")?.tool("mformat", "--version")?.tool("sfdisk", "--version")?;
    if let Some(parameters) = request.parameters {
        inputs = inputs.file(parameters)?;
    }
    let key = inputs.key();
    let path = shop.step("disk", "disk.img", &key, |path| {
        let signed = shop.path("BOOTAA64.EFI");
        request.signer.sign(&boot.path.join(EFI).join("systemd-bootaa64.efi"), &signed, request.epoch)?;
        let name = uki.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut esp: Vec<OnEsp> = vec![
            (signed.clone(), "EFI/BOOT/BOOTAA64.EFI".into()),
            (uki.path.clone(), format!("EFI/Linux/{name}")),
            (loader.clone(), "loader/loader.conf".into()),
        ];
        esp.extend(request.parameters.map(|file| (file.to_owned(), "bf.cfg".to_owned())));
        Disk { esp: &esp, root: &root.path, epoch: request.epoch }.write(path, &shop.folder)
    })?;
    Ok(Made { path, key })
}
