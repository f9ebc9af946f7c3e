//! See the library.

#![forbid(unsafe_code)]

mod documents;
mod layers;
mod sources;
mod workspace;
