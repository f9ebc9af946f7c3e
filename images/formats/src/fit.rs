//! FIT, the images of U-Boot: a flattened device tree of payloads, their hashes, and what belongs together.
//!
//! What U-Boot verifies is a signature over a configuration, by a key that its own device tree has. This
//! writer makes room for one ([`Fit::key_name`]); `mkimage -F -k DIR -r IMAGE` of U-Boot fills it in, with
//! the key that only the owner of the card has.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};
use vm_fdt::FdtWriter;

/// The most bytes of a FIT that a Stingray PS225 starts from its eMMC: the size of one of its three slots.
pub const STINGRAY_SLOT: u64 = 24 * 1024 * 1024;

/// How a kernel is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
    /// By LZ4, with the legacy frame that the kernel's own build makes.
    Lz4,
    /// By zstd.
    Zstd,
}

impl Compression {
    /// Its name in a FIT.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// The kernel.
#[derive(Debug, Clone, Copy)]
pub struct Kernel<'a> {
    /// `arch/arm64/boot/Image`, packed or not.
    pub bytes: &'a [u8],
    /// How it is packed.
    pub compression: Compression,
    /// Bytes of memory that it takes from [`Kernel::load`] on once it is unpacked.
    pub unpacked: u64,
    /// Where it goes.
    pub load: u32,
    /// Where it is entered.
    pub entry: u32,
}

/// A payload that is taken as it is.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where it goes.
    pub load: u32,
}

/// What goes into a FIT. It has no date of its own, so that the same input makes the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fit<'a> {
    /// What it is, in a few words.
    pub description: &'a str,
    /// When it was made, in seconds since 1970: the date of its sources.
    pub timestamp: u32,
    /// The kernel.
    pub kernel: Kernel<'a>,
    /// The device tree of the board.
    pub dtb: Part<'a>,
    /// The first root file system.
    pub ramdisk: Part<'a>,
    /// Where U-Boot puts the FIT itself.
    pub load: u32,
    /// The most bytes that it may have.
    pub limit: u64,
    /// The name of the RSA key that it will be signed with, if it is to be.
    pub key_name: Option<&'a str>,
}

/// Why there is no FIT.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A payload of no bytes.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// More than the card has room for.
    #[error(
        "the FIT has {bytes} bytes, and the card has room for {limit}: kernel {kernel}, device tree {dtb}, \
         ramdisk {ramdisk}"
    )]
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The most that it may have.
        limit: u64,
        /// Bytes of the kernel as it is packed.
        kernel: usize,
        /// Of the device tree.
        dtb: usize,
        /// Of the ramdisk.
        ramdisk: usize,
    },
    /// Two would lie over each other in memory.
    #[error("{first} at {first_at:#x} and {second} at {second_at:#x} overlap in the card's memory")]
    Overlap {
        /// The one.
        first: &'static str,
        /// Where it begins.
        first_at: u64,
        /// The other.
        second: &'static str,
        /// Where it begins.
        second_at: u64,
    },
    /// The kernel would be entered elsewhere.
    #[error("the kernel's entry {entry:#x} is not within it, which is at {load:#x}")]
    Entry {
        /// Where it would be entered.
        entry: u32,
        /// Where it goes.
        load: u32,
    },
    /// A text that a device tree cannot hold.
    #[error("{field}: a text with a zero byte")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// The tree cannot be made.
    #[error("the device tree of the FIT")]
    Tree(#[from] vm_fdt::Error),
    /// It cannot be written.
    #[error("the FIT cannot be written")]
    Output(#[source] io::Error),
}

/// Names of the nodes of payloads, by which the configuration refers to them.
const KERNEL: &str = "kernel-1";
const DTB: &str = "fdt-1";
const RAMDISK: &str = "ramdisk-1";
const CONFIGURATION: &str = "conf-1";

/// Writes a FIT, which is made in memory; says how many bytes it has.
///
/// # Errors
/// If it cannot be, does not fit, or would not start; nothing is written then.
pub fn write(fit: &Fit<'_>, out: &mut (impl Write + ?Sized)) -> Result<u64, FitError> {
    check(fit)?;
    let tree = tree(fit)?;
    let bytes = tree.len() as u64;
    if bytes > fit.limit {
        return Err(FitError::TooLarge {
            bytes,
            limit: fit.limit,
            kernel: fit.kernel.bytes.len(),
            dtb: fit.dtb.bytes.len(),
            ramdisk: fit.ramdisk.bytes.len(),
        });
    }
    apart(fit, bytes)?;
    out.write_all(&tree).map_err(FitError::Output)?;
    Ok(bytes)
}

fn check(fit: &Fit<'_>) -> Result<(), FitError> {
    let parts =
        [("kernel", fit.kernel.bytes), ("device tree", fit.dtb.bytes), ("ramdisk", fit.ramdisk.bytes)];
    if let Some((name, _)) = parts.into_iter().find(|(_, bytes)| bytes.is_empty()) {
        return Err(FitError::Empty(name));
    }
    let texts = [("description", Some(fit.description)), ("key_name", fit.key_name)];
    if let Some((field, _)) = texts.into_iter().find(|(_, text)| text.is_some_and(|text| text.contains('\0')))
    {
        return Err(FitError::Text { field });
    }
    let Kernel { load, entry, unpacked, .. } = fit.kernel;
    if !(u64::from(load)..u64::from(load).saturating_add(unpacked)).contains(&entry.into()) {
        return Err(FitError::Entry { entry, load });
    }
    Ok(())
}

/// Whether all that U-Boot has in memory at the same time has its own place.
fn apart(fit: &Fit<'_>, bytes: u64) -> Result<(), FitError> {
    let places = [
        ("the FIT", u64::from(fit.load), bytes),
        ("the kernel", fit.kernel.load.into(), fit.kernel.unpacked.max(fit.kernel.bytes.len() as u64)),
        ("the device tree", fit.dtb.load.into(), fit.dtb.bytes.len() as u64),
        ("the ramdisk", fit.ramdisk.load.into(), fit.ramdisk.bytes.len() as u64),
    ];
    for (index, &(first, first_at, first_size)) in places.iter().enumerate() {
        for &(second, second_at, second_size) in &places[index + 1..] {
            let (first_end, second_end) =
                (first_at.saturating_add(first_size), second_at.saturating_add(second_size));
            if first_at < second_end && second_at < first_end {
                return Err(FitError::Overlap { first, first_at, second, second_at });
            }
        }
    }
    Ok(())
}

fn tree(fit: &Fit<'_>) -> Result<Vec<u8>, vm_fdt::Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_u32("timestamp", fit.timestamp)?;
    tree.property_string("description", fit.description)?;
    tree.property_u32("#address-cells", 1)?;
    let images = tree.begin_node("images")?;
    let Kernel { bytes, compression, load, entry, .. } = fit.kernel;
    payload(&mut tree, KERNEL, "kernel", bytes, compression, load, Some(entry))?;
    payload(&mut tree, DTB, "flat_dt", fit.dtb.bytes, Compression::None, fit.dtb.load, None)?;
    payload(&mut tree, RAMDISK, "ramdisk", fit.ramdisk.bytes, Compression::None, fit.ramdisk.load, None)?;
    tree.end_node(images)?;
    let configurations = tree.begin_node("configurations")?;
    tree.property_string("default", CONFIGURATION)?;
    let configuration = tree.begin_node(CONFIGURATION)?;
    tree.property_string("description", fit.description)?;
    tree.property_string("kernel", KERNEL)?;
    tree.property_string("fdt", DTB)?;
    tree.property_string("ramdisk", RAMDISK)?;
    if let Some(key) = fit.key_name {
        let signature = tree.begin_node("signature-1")?;
        tree.property_string("algo", "sha256,rsa2048")?;
        tree.property_string("key-name-hint", key)?;
        let signed = ["kernel", "fdt", "ramdisk"].map(str::to_owned);
        tree.property_string_list("sign-images", signed.into())?;
        tree.end_node(signature)?;
    }
    tree.end_node(configuration)?;
    tree.end_node(configurations)?;
    tree.end_node(root)?;
    tree.finish()
}

fn payload(
    tree: &mut FdtWriter,
    node: &str,
    kind: &str,
    bytes: &[u8],
    compression: Compression,
    load: u32,
    entry: Option<u32>,
) -> Result<(), vm_fdt::Error> {
    let image = tree.begin_node(node)?;
    tree.property_string("description", kind)?;
    tree.property("data", bytes)?;
    tree.property_string("type", kind)?;
    tree.property_string("arch", "arm64")?;
    tree.property_string("os", "linux")?;
    tree.property_string("compression", compression.name())?;
    tree.property_u32("load", load)?;
    if let Some(entry) = entry {
        tree.property_u32("entry", entry)?;
    }
    let hash = tree.begin_node("hash-1")?;
    tree.property_string("algo", "sha256")?;
    tree.property("value", &Sha256::digest(bytes))?;
    tree.end_node(hash)?;
    tree.end_node(image)
}
