//! What a board may be.

use super::{Board, BoardsError, ImageKind};

/// Processors that both compilers know.
const CPUS: [&str; 3] = ["generic", "cortex-a72", "cortex-a78"];
/// Words of the kernel's command line that other fields of the table, or the image, set.
const TAKEN: [&str; 8] =
    ["console=", "earlycon=", "hugepages=", "hugepagesz=", "isolcpus=", "nohz_full=", "rcu_nocbs=", "nic."];
/// The kinds of DPDK's drivers that a card may need.
const DRIVERS: [&str; 4] = ["bus_", "common_", "mempool_", "net_"];
/// Further ones would not boot.
const MOST_CORES: u16 = 256;
/// More would be a slip of the pen.
const MOST_HUGEPAGES: u32 = 65_536;

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It says nothing.
    #[error("it is empty")]
    Empty,
    /// Something stands in it twice.
    #[error("{0:?} stands there twice")]
    Twice(String),
    /// A board's name is part of file names and is typed.
    #[error("a name has lower-case letters and digits only, and begins with a letter")]
    Name,
    /// It is a number of Debian's packages.
    #[error("it is a number, as in librte-eal23")]
    Abi,
    /// Not both compilers know it.
    #[error("{0:?} is none of {known}", known = CPUS.join(", "))]
    Cpu(String),
    /// It names no driver.
    #[error("{0:?} is no driver such as net_mlx5")]
    Driver(String),
    /// It names no console.
    #[error("{0:?} is no console such as ttyAMA0,115200")]
    Console(String),
    /// It would not be one word of the kernel's command line.
    #[error("{0:?} is not one word of a command line")]
    Word(String),
    /// The table has a field for it, or the image sets it.
    #[error("{0:?} is set elsewhere")]
    Taken(String),
    /// It names no device on PCI.
    #[error("{0:?} does not begin with a PCI address such as 0000:03:00.0")]
    Pci(String),
    /// It names no virtual device.
    #[error("{0:?} does not begin with a driver's name such as net_eswitch0")]
    Vdev(String),
    /// It names no disk.
    #[error("{0:?} is no disk such as mmcblk0 or nvme0n1")]
    Disk(String),
    /// It is out of range.
    #[error("{0} is not between 1 and {1}")]
    Range(u32, u32),
    /// The board has no such core.
    #[error("there is no core {0}, or it is not in order")]
    Core(u16),
    /// The kernel boots on it, and everything else runs there.
    #[error("core 0 cannot be kept free: the kernel boots on it")]
    FirstCore,
}

/// Checks every field of a board.
pub(super) fn board(board: &Board) -> Result<(), BoardsError> {
    let fields: [(&'static str, Result<(), Fault>); 14] = [
        ("name", name(&board.name)),
        ("dpdk-abi", abi(&board.dpdk_abi)),
        ("title", filled(&board.title)),
        ("cpu", cpu(&board.cpu)),
        ("drivers", all(&board.drivers, true, driver)),
        ("console", all(&board.console, true, console)),
        ("earlycon", all(&board.earlycon, false, word)),
        ("boot-arguments", all(&board.boot_arguments, false, argument)),
        ("devices.pci", all(&board.devices.pci, false, pci)),
        ("devices.vdev", all(&board.devices.vdev, false, vdev)),
        ("hugepages.count", range(board.hugepages.count, MOST_HUGEPAGES)),
        ("cores.count", range(board.cores.count.into(), MOST_CORES.into())),
        ("install", all(&board.install, board.makes(ImageKind::Bfb), disk)),
        ("cores.datapath", cores(board.cores.count, &board.cores.datapath)),
    ];
    let images = if board.images.is_empty() { Err(Fault::Empty) } else { unique(&board.images) };
    for (field, result) in fields.into_iter().chain([("images", images)]) {
        result.map_err(|fault| BoardsError::Field { board: board.name.clone(), field, fault })?;
    }
    Ok(())
}

fn name(text: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && text.chars().all(fits) { Ok(()) } else { Err(Fault::Name) }
}

fn abi(text: &str) -> Result<(), Fault> {
    text.parse::<u16>().map(drop).map_err(|_| Fault::Abi)
}

fn filled(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() { Err(Fault::Empty) } else { Ok(()) }
}

fn cpu(text: &str) -> Result<(), Fault> {
    if CPUS.contains(&text) { Ok(()) } else { Err(Fault::Cpu(text.to_owned())) }
}

fn all(items: &[String], some: bool, check: impl Fn(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    if some && items.is_empty() {
        return Err(Fault::Empty);
    }
    items.iter().try_for_each(|item| check(item))?;
    unique(items)
}

fn unique<T: PartialEq + std::fmt::Debug>(items: &[T]) -> Result<(), Fault> {
    let twice = items.iter().enumerate().find(|(at, item)| items[..*at].contains(item));
    twice.map_or(Ok(()), |(_, item)| Err(Fault::Twice(format!("{item:?}").trim_matches('"').to_owned())))
}

fn driver(text: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let rest = DRIVERS.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or_default();
    if !rest.is_empty() && rest.chars().all(fits) { Ok(()) } else { Err(Fault::Driver(text.to_owned())) }
}

fn console(text: &str) -> Result<(), Fault> {
    word(text)?;
    let device = text.split(',').next().unwrap_or_default();
    let known = ["tty", "hvc"].iter().any(|start| device.starts_with(start));
    let numbered = device.ends_with(|c: char| c.is_ascii_digit());
    if known && numbered { Ok(()) } else { Err(Fault::Console(text.to_owned())) }
}

/// A word of the kernel's command line, which goes through UEFI, U-Boot and device trees unquoted.
fn word(text: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '$');
    if !text.is_empty() && text.chars().all(fits) { Ok(()) } else { Err(Fault::Word(text.to_owned())) }
}

fn argument(text: &str) -> Result<(), Fault> {
    word(text)?;
    let taken = TAKEN.iter().any(|start| text.starts_with(start));
    if taken { Err(Fault::Taken(text.to_owned())) } else { Ok(()) }
}

fn pci(text: &str) -> Result<(), Fault> {
    word(text)?;
    // dddd:bb:ss.f, with digits of base 16.
    let address = text.split(',').next().unwrap_or_default();
    let form = |(at, c): (usize, char)| match at {
        4 | 7 => c == ':',
        10 => c == '.',
        _ => c.is_ascii_hexdigit(),
    };
    if address.len() == 12 && address.chars().enumerate().all(form) {
        Ok(())
    } else {
        Err(Fault::Pci(text.to_owned()))
    }
}

fn vdev(text: &str) -> Result<(), Fault> {
    word(text)?;
    let device = text.split(',').next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if device.starts_with("net_") && device.chars().all(fits) {
        Ok(())
    } else {
        Err(Fault::Vdev(text.to_owned()))
    }
}

/// A whole disk, as the kernel names it: no path, and no partition of one.
fn disk(text: &str) -> Result<(), Fault> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && text.chars().all(fits) { Ok(()) } else { Err(Fault::Disk(text.to_owned())) }
}

fn range(number: u32, most: u32) -> Result<(), Fault> {
    if (1..=most).contains(&number) { Ok(()) } else { Err(Fault::Range(number, most)) }
}

fn cores(count: u16, datapath: &[u16]) -> Result<(), Fault> {
    let mut least = 0;
    for core in datapath {
        if *core == 0 {
            return Err(Fault::FirstCore);
        }
        if *core >= count || *core < least {
            return Err(Fault::Core(*core));
        }
        least = *core + 1;
    }
    if datapath.is_empty() { Err(Fault::Empty) } else { Ok(()) }
}
