//! Every order in which threads may do what they do, up to a bound on how often one is interrupted:
//! `RUSTFLAGS="--cfg loom" cargo test -p soft-eswitch --lib models`, as `cargo xtask test models` does.

use loom::cell::UnsafeCell;
use loom::model;
use loom::sync::Arc;
use loom::thread;

use super::*;

/// A value in two halves, which are the same, and changes that have returned.
fn two_halves() -> (Arc<(Published<(u64, u64)>, AtomicUsize)>, Turn) {
    let (published, turn) = Published::new(|| (0, 0));
    (Arc::new((published, AtomicUsize::new(0))), turn)
}

fn read_twice(shared: &(Published<(u64, u64)>, AtomicUsize)) {
    let mut last = 0;
    for _ in 0..2 {
        let returned = shared.1.load(SeqCst) as u64;
        let guard = shared.0.read();
        assert_eq!(guard.0, guard.1);
        assert!(guard.0 >= last && guard.0 >= returned);
        last = guard.0;
    }
}

fn change(shared: &(Published<(u64, u64)>, AtomicUsize), turn: &mut Turn, number: usize) {
    shared.0.change(turn, |pair| {
        pair.0 += 1;
        pair.1 += 1;
    });
    shared.1.store(number, SeqCst);
}

#[test]
fn a_reader_sees_whole_changes_in_their_order_and_every_one_that_has_returned() {
    model(|| {
        let (shared, mut turn) = two_halves();
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_twice(&shared)
        });
        change(&shared, &mut turn, 1);
        change(&shared, &mut turn, 2);
        reader.join().unwrap();
        assert_eq!(*shared.0.read(), (2, 2));
    });
}

#[test]
fn two_readers_and_a_change_keep_nobody_waiting_for_ever() {
    model(|| {
        let (shared, mut turn) = two_halves();
        let readers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let returned = shared.1.load(SeqCst) as u64;
                assert!(shared.0.read().0 >= returned);
            })
        });
        change(&shared, &mut turn, 1);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// What a reader finds by the value is not taken away under it: loom refuses an access during another.
#[test]
fn when_a_change_returns_nobody_uses_what_it_took_out() {
    model(|| {
        let (published, mut turn) = Published::new(|| 0);
        let things = [UnsafeCell::new(()), UnsafeCell::new(())];
        let shared = Arc::new((published, things));
        let reader = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let guard = shared.0.read();
                shared.1[*guard].with(|_| ());
            }
        });
        shared.0.change(&mut turn, |value| *value = 1);
        shared.1[0].with_mut(|_| ());
        reader.join().unwrap();
    });
}
