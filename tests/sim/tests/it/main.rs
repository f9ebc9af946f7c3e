//! The pure crates together, against naive oracles.

mod cards;
mod slowpath;
mod translation;
mod whole;
