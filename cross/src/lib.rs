//! Builds all that runs on a card, for its processor, on another machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`board`] | the table of boards, `boards.toml`: what differs from card to card |
//! | [`packages`] | packages of Debian for another architecture, exactly those that `packages.lock` names |
//! | [`toolchain`] | a Rust compiler with the standard library for the cards |
//! | [`qemu`] | the emulator of a card, and its firmware |
//! | [`sysroot`] | C headers and libraries for the cards |
//! | [`binaries`] | the build itself |
//! | [`emulated`] | tests of pure crates, run as the cards would |
//!
//! **May know:** the repository's layout, cargo, apt and dpkg as programs. **May not know:** what is inside
//! the crates it builds, and how an image is made of what it builds. It changes nothing outside the
//! repository's cache and target directories, and needs no root.

#![forbid(unsafe_code)]

mod apt;
pub mod binaries;
pub mod board;
pub mod emulated;
mod lock;
pub mod packages;
mod places;
pub mod process;
pub mod qemu;
pub mod sysroot;
pub mod toolchain;
mod unpacked;

pub use binaries::{BuildError, Options, Products, Profile, build};
pub use board::{Board, Boards};
pub use places::{Places, PlacesError};

/// What is built for, as Rust names it.
pub const TARGET: &str = "aarch64-unknown-linux-gnu";
