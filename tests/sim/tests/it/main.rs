//! The pure crates together, against naive oracles.

mod slowpath;
mod translation;
