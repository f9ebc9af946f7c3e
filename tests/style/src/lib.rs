//! The house's style as tests: layers, sources, documents. All of it is in `tests/it`; the library is
//! empty.
//!
//! **May know:** where files are, what `cargo metadata` says, the registry of drop reasons. **May not
//! know:** what any crate does.

#![forbid(unsafe_code)]
