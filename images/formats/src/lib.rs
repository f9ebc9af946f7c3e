//! The formats in which the makers of cards take images: BFB ([`bfb`], BlueField) and FIT ([`fit`],
//! Stingray).
//!
//! Writers and readers over `Read`, `Seek` and `Write`. A BFB of any size is written and read in bounded
//! memory; what is read is believed only as far as its checksums and signatures go.
//!
//! **May know:** the formats, and what a card must have of an image to start by it. **May not know:** files,
//! devices, where an image comes from and where it goes.

#![forbid(unsafe_code)]

pub mod bfb;
pub mod fit;
