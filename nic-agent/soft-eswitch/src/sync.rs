//! Locks and atomics of what readers read without waiting: the standard library's, or in models (`cfg(loom)`) those of
//! loom, which tries every order of what threads do.

#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{RwLock, RwLockReadGuard, atomic::AtomicUsize},
};

#[cfg(all(test, loom))]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{RwLock, RwLockReadGuard, atomic::AtomicUsize},
};
