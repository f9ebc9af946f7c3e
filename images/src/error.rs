//! What can go wrong with an image.

use std::io;
use std::path::{Path, PathBuf};

use crate::tool::ToolError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file cannot be read or written.
    #[error("{what} {}", path.display())]
    File {
        /// What was done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A line of a recipe is not understood.
    #[error("{file}, line {line}: {why}")]
    Recipe {
        /// The recipe.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A package that the image is made of is not among those that were fetched.
    #[error("no package has {0}")]
    Missing(String),
    /// A program printed something else than was expected.
    #[error("{program} printed something that is not understood: {printed:?}")]
    Printed {
        /// The program.
        program: &'static str,
        /// What it printed.
        printed: String,
    },
    /// A part is larger than the room that it has.
    #[error("{part} has {size} octets, and there is room for {room}")]
    TooLarge {
        /// The part.
        part: &'static str,
        /// Its size.
        size: u64,
        /// The room.
        room: u64,
    },
    /// The version is none that a boot entry can be named by.
    #[error("{0:?} is no version: three numbers without leading zeros, as 1.20.3")]
    Version(String),
    /// The folder of keys says of none that cards trust it.
    #[error("{} has no root of trust 1.root.json; `nic-bundle keys` makes one", .0.display())]
    NoRoot(PathBuf),
    /// No card of that name starts from a stream.
    #[error("no boot stream is made for {0}")]
    NoStream(String),
    /// A key that should sign boot streams is none.
    #[error("{}", path.display())]
    StreamKey {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: nic_image_formats::bfb::KeyError,
    },
    /// The boot stream could not be written.
    #[error("the boot stream")]
    Stream(#[from] nic_image_formats::bfb::WriteError),
    /// The FIT could not be written.
    #[error("the FIT")]
    Fit(#[from] nic_image_formats::fit::FitError),
    /// Our kernel could not be built.
    #[error("our own kernel")]
    Kernel(#[from] nic_kernel::BuildError),
    /// A package could not be fetched or unpacked.
    #[error("packages")]
    Packages(#[from] cross::packages::PackagesError),
}

impl ImageError {
    /// For `map_err` of something that is done to a file.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.to_owned();
        move |source| ImageError::File { what, path, source }
    }
}
