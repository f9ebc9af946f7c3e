//! The kernel of our images: Debian's source with a configuration of ours, [`FRAGMENT`], built once.
//!
//! Debian's own kernel for arm64 lacks what the cards need: BlueField's platform, the functions of mlx5 that
//! are made on demand, Stingray's platform. [`provide`] configures and builds, and keeps what it made by a
//! hash of all that went into it, so that nobody waits for it twice. Nothing of it needs root.
//!
//! Kconfig drops a wish silently when something it depends on is missing. [`unmet`] finds those, and a kernel
//! is built only if there is none.
//!
//! **May know:** kernel configurations, `make`, and the cross compiler. **May not know:** boards, images,
//! where the source comes from.

#![forbid(unsafe_code)]

mod build;
mod config;

pub use build::{BuildError, Inputs, Kernel, configure, provide};
pub use config::{Config, Unmet, unmet};

/// Debian's packages with the programs that a build runs.
pub const HOST_PACKAGES: &[&str] = &[
    "bc",
    "binutils-aarch64-linux-gnu",
    "bison",
    "flex",
    "gcc",
    "gcc-aarch64-linux-gnu",
    "libc6-dev",
    "libssl-dev",
    "make",
    "perl",
    "python3",
    "rsync",
    "xz-utils",
];

/// Debian's package with the source; [`SOURCE`] is in it.
pub const SOURCE_PACKAGE: &str = "linux-source-6.12";

/// Where the source is in its package.
pub const SOURCE: &str = "usr/src/linux-source-6.12.tar.xz";

/// What we want of the kernel; everything else is its own default for arm64.
pub const FRAGMENT: &str = include_str!("../cards.config");

/// Device trees that come with the kernel, of cards that have no ACPI, below `arch/arm64/boot/dts`.
pub const DEVICE_TREES: &[&str] = &["broadcom/stingray/bcm958802a802x.dtb"];
