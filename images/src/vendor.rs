//! What the cards' makers' boot loaders take: a boot stream for BlueField, a FIT for Stingray.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use nic_image_formats::bfb::{self, ImageId, Overlay, PrivateKey};
use nic_image_formats::fit::{self, Compression, Fit, Part};

use crate::error::ImageError;
use crate::initramfs::read;
use crate::kernel::Kernel;
use crate::parts::{self, Made, Root};
use crate::step::{Inputs, Workshop, remove};
use crate::{Request, tool};

/// The kernel in the stream, as the card's UEFI calls it.
const BOOT_PATH: &str = "VenHw(F019E406-8C9C-11E5-8797-001ACA00BFC4)/Image";
/// For how many seconds its menu waits.
const BOOT_TIMEOUT: &str = "0";

/// Where Stingray's U-Boot puts a FIT, and this what is in it. The kernel may lie at any multiple of 2 MiB.
const FIT_AT: u32 = 0x9000_0000;
const KERNEL_AT: u32 = 0x8400_0000;
const DEVICE_TREE_AT: u32 = 0x8200_0000;
const RAMDISK_AT: u32 = 0x9200_0000;
/// The card's device tree, as the kernel's source names it.
const DEVICE_TREE: &str = "bcm958802a802x.dtb";

/// A key that signs boot streams: Ed25519, in PEM.
#[derive(Debug, Clone)]
pub struct StreamKey(pub PathBuf);

impl StreamKey {
    /// The key that everybody has, and beside it the public one: made when it is first needed, in the cache.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn for_tests(cache: &Path) -> Result<StreamKey, ImageError> {
        let folder = cache.join("test-key");
        let (key, public) = (folder.join("bfb.pem"), folder.join("bfb.pub.pem"));
        if !key.exists() || !public.exists() {
            fs::create_dir_all(&folder).map_err(ImageError::file("making", &folder))?;
            let new = folder.join("bfb.new");
            tool::run(tool::tool("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&new))?;
            tool::run(
                tool::tool("openssl").args(["pkey", "-pubout", "-in"]).arg(&new).arg("-out").arg(&public),
            )?;
            fs::rename(&new, &key).map_err(ImageError::file("writing", &key))?;
        }
        Ok(StreamKey(key))
    }

    fn read(&self) -> Result<PrivateKey, ImageError> {
        let text = crate::recipe::read(&self.0)?;
        PrivateKey::from_pem(&text).map_err(|source| ImageError::StreamKey { path: self.0.clone(), source })
    }
}

/// Makes the boot stream that installs: an overlay, to be put over the maker's own stages.
pub(crate) fn stream(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    installer: &Made,
) -> Result<PathBuf, ImageError> {
    let Request { board, version, stream_key, .. } = request;
    let generation = bfb::Board::from_name(&board.name);
    let generation = generation.ok_or_else(|| ImageError::NoStream(board.name.clone()))?;
    let line = parts::install_line(board, &["initrd=initramfs"]);
    let inputs = Inputs::new("stream", 1).made("kernel", &kernel.made.key).made("installer", &installer.key);
    let inputs = inputs.text("line", &line).text("board", &board.name).text("version", version);
    let inputs = inputs.text("epoch", &request.epoch.to_string()).file(&stream_key.0)?;
    let key = inputs.file(&request.signer.key)?.file(&request.signer.certificate)?.key();
    let name = format!("nic-{}-{version}.bfb", board.name);
    shop.step("boot stream", &name, &key, |path| {
        // UEFI may want to know who made it.
        let signed = path.with_extension("Image");
        request.signer.sign(&kernel.plain(), &signed, request.epoch)?;
        let open = |path: &Path| File::open(path).map_err(ImageError::file("reading", path));
        let overlay = Overlay::new(generation, *version)
            .image(ImageId::IMAGE, open(&signed)?)
            .image(ImageId::INITRAMFS, open(&installer.path)?)
            .text(ImageId::BOOT_DESC, format!("nic-agent {version}: installs itself"))
            .text(ImageId::BOOT_PATH, BOOT_PATH)
            .text(ImageId::BOOT_ARGS, &*line)
            .text(ImageId::BOOT_TIMEOUT, BOOT_TIMEOUT);
        let images = overlay.seal(Some(&stream_key.read()?))?;
        let file = File::create(path).map_err(ImageError::file("writing", path))?;
        let mut out = BufWriter::new(file);
        bfb::write(images, &[], &mut out)?;
        out.flush().map_err(ImageError::file("writing", path))?;
        remove(&signed)
    })
}

/// Makes the FIT. What the kernel's command line is on other boards stands in its device tree.
pub(crate) fn flat(
    request: &Request<'_>,
    shop: &Workshop,
    kernel: &Kernel,
    root: &Root,
    first: &Made,
) -> Result<PathBuf, ImageError> {
    let Request { board, version, .. } = request;
    let line = parts::command_line(request, root);
    let inputs = Inputs::new("fit", 1).made("kernel", &kernel.made.key).made("initramfs", &first.key);
    let inputs =
        inputs.text("line", &line).text("version", version).text("epoch", &request.epoch.to_string());
    let key = inputs.tool("gzip", "--version")?.tool("fdtput", "--version")?.key();
    let name = format!("nic-{}-{version}.itb", board.name);
    shop.step("FIT", &name, &key, |path| {
        let tree = path.with_extension("dtb");
        fs::copy(kernel.made.path.join(DEVICE_TREE), &tree).map_err(ImageError::file("writing", &tree))?;
        let mut command = tool::tool("fdtput");
        command.args(["-p", "-t", "s"]).arg(&tree).args(["/chosen", "bootargs", &line]);
        tool::run(&mut command)?;
        let image = read(&kernel.plain())?;
        let packed = tool::output(tool::tool("gzip").args(["-9nc"]).arg(kernel.plain()))?;
        let (dtb, ramdisk) = (read(&tree)?, read(&first.path)?);
        let description = format!("nic-agent {version} for {}", board.title);
        let flat = Fit {
            description: &description,
            timestamp: u32::try_from(request.epoch).unwrap_or(u32::MAX),
            kernel: fit::Kernel {
                bytes: &packed,
                compression: Compression::Gzip,
                unpacked: memory(&image).unwrap_or(image.len() as u64),
                load: KERNEL_AT,
                entry: KERNEL_AT,
            },
            dtb: Part { bytes: &dtb, load: DEVICE_TREE_AT },
            ramdisk: Part { bytes: &ramdisk, load: RAMDISK_AT },
            load: FIT_AT,
            limit: fit::STINGRAY_SLOT,
            key_name: None,
        };
        let mut out = Vec::new();
        fit::write(&flat, &mut out)?;
        fs::write(path, out).map_err(ImageError::file("writing", path))?;
        remove(&tree)
    })
}

/// The memory that a kernel takes, of which its file has not all: `image_size` of its header.
fn memory(image: &[u8]) -> Option<u64> {
    let field = image.get(16..24)?.try_into().ok()?;
    Some(u64::from_le_bytes(field)).filter(|size| *size >= image.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_how_much_memory_it_takes() {
        let mut image = vec![0; 64];
        image[16..24].copy_from_slice(&100_u64.to_le_bytes());
        assert_eq!(memory(&image), Some(100));
        image[16..24].copy_from_slice(&10_u64.to_le_bytes());
        assert_eq!(memory(&image), None, "less than its file has");
        assert_eq!(memory(&image[..20]), None);
    }
}
