//! What this crate writes, read by programs that share no code with it; and the scripts of the image, run.

#![forbid(unsafe_code)]

mod boards;
mod parameters;
mod recipes;
mod slots;
mod verity;
