//! The table of boards: `cross/boards.toml`, read and checked.

mod check;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

pub use check::Fault;

/// The table that this was built with.
const TABLE: &str = include_str!("../boards.toml");

/// All boards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boards {
    boards: Vec<Board>,
}

/// A card, or a machine that stands for one: what differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// How it is asked for, such as `bluefield2`.
    pub name: String,
    /// How people call it.
    pub title: String,
    /// The processor whose instructions may be used, as LLVM and gcc name it.
    pub cpu: String,
    /// DPDK's drivers, such as `net_mlx5`.
    pub drivers: Vec<String>,
    /// Consoles of the kernel; the last is `/dev/console`.
    pub console: Vec<String>,
    /// Consoles before drivers are there.
    pub earlycon: Vec<String>,
    /// Further words of the kernel's command line.
    pub boot_arguments: Vec<String>,
    /// What nic-datapath opens.
    pub devices: Devices,
    /// Hugepages reserved at boot.
    pub hugepages: Hugepages,
    /// Its cores.
    pub cores: Cores,
    /// What is made for it.
    pub images: Vec<ImageKind>,
    /// Disks that an installer writes to, as the kernel names them: the first that is there. Without any no
    /// installer is made.
    pub install: Vec<String>,
    /// The version of DPDK's binary interface in Debian's package names.
    dpdk_abi: String,
}

/// What nic-datapath opens, in its own arguments `--pci` and `--vdev`: DPDK's device arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// Devices on PCI.
    #[serde(default)]
    pub pci: Vec<String>,
    /// Virtual devices.
    #[serde(default)]
    pub vdev: Vec<String>,
}

/// Hugepages reserved at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hugepages {
    /// Of this size.
    pub size: HugepageSize,
    /// So many.
    pub count: u32,
}

/// The sizes that a kernel with pages of 4 KiB has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum HugepageSize {
    /// 2 MiB.
    #[serde(rename = "2M")]
    M2,
    /// 32 MiB.
    #[serde(rename = "32M")]
    M32,
    /// 1 GiB.
    #[serde(rename = "1G")]
    G1,
}

/// The cores of a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cores {
    /// So many.
    pub count: u16,
    /// Those that are kept free for nic-datapath; the first is its worker's.
    pub datapath: Vec<u16>,
}

/// What is made for a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// A disk for UEFI.
    Disk,
    /// Updates: of a slot where there is a disk image, and of nic-agent alone.
    Bundle,
    /// A boot stream for BlueField's rshim.
    Bfb,
    /// An image for U-Boot.
    Fit,
}

/// Why there is no such board.
#[derive(Debug, thiserror::Error)]
pub enum BoardsError {
    /// The table cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The table.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no table of boards: the place, and what was expected there.
    #[error("the table of boards: {place}: {reason}")]
    Form {
        /// Board and field, as in `boards.generic.cores.count`.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// A field holds what cannot be.
    #[error("board {board}: {field}: {fault}")]
    Field {
        /// The board.
        board: String,
        /// The field, as it is written in the table.
        field: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There is no board of this name.
    #[error("there is no board {name:?}; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    dpdk_abi: String,
    boards: BTreeMap<String, Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Row {
    title: String,
    cpu: String,
    drivers: Vec<String>,
    console: Vec<String>,
    earlycon: Vec<String>,
    boot_arguments: Vec<String>,
    #[serde(default)]
    devices: Devices,
    hugepages: Hugepages,
    cores: Cores,
    images: Vec<ImageKind>,
    #[serde(default)]
    install: Vec<String>,
}

impl Boards {
    /// The table that this was built with.
    pub fn built_in() -> Result<Self, BoardsError> {
        Self::parse(TABLE)
    }

    /// Another table.
    pub fn read(path: &Path) -> Result<Self, BoardsError> {
        let failed = |source| BoardsError::Read { path: path.to_owned(), source };
        Self::parse(&fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads and checks a table.
    pub fn parse(text: &str) -> Result<Self, BoardsError> {
        let form = |place: &str, error: &toml::de::Error| BoardsError::Form {
            place: if place == "." { "the beginning".to_owned() } else { place.to_owned() },
            reason: error.message().to_owned(),
        };
        let table = toml::Deserializer::parse(text).map_err(|error| form(&place_of(text, &error), &error))?;
        let table: Table = serde_path_to_error::deserialize(table)
            .map_err(|error| form(&error.path().to_string(), error.inner()))?;
        let abi = table.dpdk_abi;
        let boards = table.boards.into_iter().map(|(name, row)| row.board(name, abi.clone()));
        let boards: Vec<Board> = boards.collect();
        boards.iter().try_for_each(check::board)?;
        Ok(Self { boards })
    }

    /// The board of this name.
    pub fn get(&self, name: &str) -> Result<&Board, BoardsError> {
        let known = || self.names().collect::<Vec<_>>().join(", ");
        let found = self.boards.iter().find(|board| board.name == name);
        found.ok_or_else(|| BoardsError::Unknown { name: name.to_owned(), known: known() })
    }

    /// All boards.
    pub fn iter(&self) -> impl Iterator<Item = &Board> {
        self.boards.iter()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.boards.iter().map(|board| board.name.as_str())
    }
}

/// The line where a text is no TOML.
fn place_of(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
    format!("line {}", before + 1)
}

impl Row {
    fn board(self, name: String, dpdk_abi: String) -> Board {
        let Self { title, cpu, drivers, console, earlycon, boot_arguments, .. } = self;
        let Self { devices, hugepages, cores, images, install, .. } = self;
        Board {
            name,
            title,
            cpu,
            drivers,
            console,
            earlycon,
            boot_arguments,
            devices,
            hugepages,
            cores,
            images,
            install,
            dpdk_abi,
        }
    }
}

impl Board {
    /// Debian's packages of the drivers.
    pub fn driver_packages(&self) -> Vec<String> {
        let package = |driver: &String| {
            // Debian separates its number from one that ends a name.
            let dash = if driver.ends_with(|c: char| c.is_ascii_digit()) { "-" } else { "" };
            format!("librte-{}{dash}{}", driver.replace('_', "-"), self.dpdk_abi)
        };
        self.drivers.iter().map(package).collect()
    }

    /// The words by which the kernel speaks on the board's consoles.
    pub fn consoles(&self) -> Vec<String> {
        let console = self.console.iter().map(|it| format!("console={it}"));
        console.chain(self.earlycon.iter().map(|it| format!("earlycon={it}"))).collect()
    }

    /// The board's words of the kernel's command line.
    pub fn command_line(&self) -> Vec<String> {
        let mut words = self.consoles();
        words.push(format!("hugepagesz={}", self.hugepages.size));
        words.push(format!("hugepages={}", self.hugepages.count));
        let cores = self.cores.datapath.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        words.extend(["isolcpus", "nohz_full", "rcu_nocbs"].map(|word| format!("{word}={cores}")));
        words.extend(self.boot_arguments.iter().cloned());
        words
    }

    /// What is made for it.
    pub fn makes(&self, kind: ImageKind) -> bool {
        self.images.contains(&kind)
    }
}

impl fmt::Display for HugepageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::M2 => "2M",
            Self::M32 => "32M",
            Self::G1 => "1G",
        })
    }
}

#[cfg(test)]
mod tests;
