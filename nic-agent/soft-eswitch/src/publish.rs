//! One value, changed by one thread at a time and read by others that never wait.
//!
//! There are two copies. Readers read the *shown* one; a change is made to the other one, that one is
//! shown, and the change is made to the first one too. Each copy has a lock of its own, which a reader
//! only ever tries:
//!
//! * A reader never waits for a writer, not even for one that the kernel has put to sleep halfway:
//!   the copy that is shown is not locked for writing. (It looks again only if another copy was shown
//!   between its look at `shown` and its lock.)
//! * A writer waits for the readers that were there before it, and for nobody else: its locks are the
//!   proof of quiescence. When a change returns, every reader sees it, and nobody holds anything
//!   that it took out. A reader that sleeps between two reads holds no lock and keeps nobody waiting.
//! * A change costs what it touches, twice. Publishing a fresh copy of the whole (`Arc` behind a
//!   swap) would cost O(rules) for each; a persistent map would make every lookup chase pointers; one lock
//!   around everything would let a preempted control thread stop the forwarding.
//! * All memory is freed by the writer, none on the forwarding path.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{PoisonError, TryLockError};

use crate::sync::{AtomicUsize, RwLock, RwLockReadGuard, spin_loop};

/// The value, in two copies.
#[derive(Debug)]
pub(crate) struct Published<T> {
    copies: [RwLock<T>; 2],
    /// Index of the copy that readers read.
    shown: AtomicUsize,
}

/// The right to change a [`Published`]; there is one, so changes come one after the other.
#[derive(Debug)]
pub(crate) struct Turn(());

impl<T> Published<T> {
    /// Publishes a value; `make` is called twice and makes the same each time.
    pub(crate) fn new(mut make: impl FnMut() -> T) -> (Published<T>, Turn) {
        let copies = [RwLock::new(make()), RwLock::new(make())];
        (Published { copies, shown: AtomicUsize::new(0) }, Turn(()))
    }

    /// The value as the last change left it. A change that begins now is complete only once the guard
    /// is gone.
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        loop {
            if let Some(guard) = self.enter(self.shown.load(SeqCst)) {
                return guard;
            }
            spin_loop();
        }
    }

    /// The copy that was seen to be shown, if it still is. It may have been hidden before the lock was
    /// taken, and then changed again: who read that would see a change now and not the next time.
    #[inline]
    fn enter(&self, shown: usize) -> Option<RwLockReadGuard<'_, T>> {
        let guard = match self.copies[shown & 1].try_read() {
            Ok(guard) => guard,
            // A reader that panicked has changed nothing.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        (self.shown.load(SeqCst) == shown).then_some(guard)
    }

    /// Changes the value. `change` is called twice, once for each copy, and must do the same to both.
    pub(crate) fn change(&self, _turn: &mut Turn, mut change: impl FnMut(&mut T)) {
        let shown = self.shown.load(SeqCst) & 1;
        let hidden = 1 - shown;
        change(&mut self.copies[hidden].write().unwrap_or_else(PoisonError::into_inner));
        self.shown.store(hidden, SeqCst);
        change(&mut self.copies[shown].write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn readers_see_whole_changes_and_every_change_that_has_returned() {
        let (published, mut turn) = Published::new(|| (0u64, 0u64));
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < 20_000 {
                        let returned = done.load(SeqCst) as u64;
                        let guard = published.read();
                        assert_eq!(guard.0, guard.1);
                        assert!(guard.0 >= last && guard.0 >= returned);
                        last = guard.0;
                    }
                });
            }
            for number in 1..=20_000 {
                published.change(&mut turn, |pair| {
                    pair.0 += 1;
                    pair.1 += 1;
                });
                done.store(number, SeqCst);
            }
        });
    }

    #[test]
    fn a_copy_that_is_hidden_is_not_read() {
        let (published, mut turn) = Published::new(|| 1);
        let seen = published.shown.load(SeqCst);
        assert!(published.enter(seen).is_some());
        published.change(&mut turn, |value| *value = 2);
        assert!(published.enter(seen).is_none());
        assert_eq!(*published.read(), 2);
    }

    #[test]
    fn a_change_waits_for_the_reader_before_it_and_holds_up_none_after_it() {
        let (published, mut turn) = Published::new(|| 1);
        let published = Arc::new(published);
        let before = published.read();
        let changed = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (published, changed) = (published.clone(), changed.clone());
            move || {
                published.change(&mut turn, |value| *value = 2);
                changed.store(true, SeqCst);
            }
        });
        // The writer shows the new value while it waits for `before`.
        while *published.read() == 1 {
            thread::yield_now();
        }
        assert!(!changed.load(SeqCst));
        assert_eq!(*before, 1);
        drop(before);
        writer.join().unwrap();
        assert_eq!(*published.read(), 2);
    }
}
