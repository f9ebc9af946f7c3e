//! What is told of failures, how they end, and that nobody waits for the disk.

use std::time::Duration;

use super::faulty::Fault;
use super::*;
use crate::keeper::Keeper;
use crate::queue::{Source, Status};

fn status(bench: &Bench) -> Status {
    bench.queue.status().borrow().clone()
}

/// A bench whose disk has a policy.
fn saved() -> (Disk, Bench) {
    let disk = Disk::default();
    let mut bench = Bench::start(&disk);
    bench.publish(STORE, full(1, puts(0..9, 0)));
    bench.settle();
    assert_eq!(bench.applied(), 0, "it is not on disk");
    assert_eq!(bench.writer.work(), None);
    assert_eq!(bench.applied(), 1);
    (disk, bench)
}

#[test]
fn a_start_by_the_policy_of_the_disk_is_told_until_an_agent_comes() {
    let (disk, bench) = saved();
    drop(bench);
    let mut bench = Bench::start(&disk);
    assert_eq!(status(&bench).source, Source::Disk);
    assert_eq!(bench.applied(), 0, "the worker has not applied it");
    bench.settle();
    assert_eq!(bench.applied(), 1);
    assert_eq!(bench.writer.work(), None, "there is nothing to write");
    bench.publish(STORE, delta(2, puts([1], 1)));
    bench.settle();
    assert_eq!(bench.applied(), 1);
    bench.writer.work();
    assert_eq!(bench.applied(), 2);
    assert_eq!(Bench::start(&Disk::default()).queue.status().borrow().source, Source::None);
}

#[test]
fn a_policy_that_cannot_be_saved_is_removed_told_and_written_afresh_later() {
    let (disk, mut bench) = saved();
    for attempt in 0..8 {
        bench.publish(STORE, delta(2 + attempt, puts([1], attempt as u16)));
        bench.settle();
        disk.fault(|now| Fault::Fails { from: now, count: 1 });
        let pause = bench.writer.work().expect("it failed");
        assert_eq!(pause, Duration::from_secs(60.min(1 << attempt)));
        assert!(!disk.has_file());
        assert_eq!(bench.applied(), 2 + attempt, "the disk is not waited for");
        let told = status(&bench).not_saved.expect("an alarm");
        assert!(told.left.is_none(), "{told:?}");
    }
    let since = status(&bench).not_saved.expect("an alarm").since;
    assert!(since <= std::time::SystemTime::now());
    assert_eq!(bench.writer.work(), None);
    assert!(status(&bench).not_saved.is_none());
    assert_eq!(found(&disk.copy()).as_ref(), Some(bench.newest()));
    // The disk is waited for again, and pauses begin anew.
    bench.publish(STORE, delta(20, puts([2], 5)));
    bench.settle();
    assert_eq!(bench.applied(), 9);
    disk.fault(|now| Fault::Fails { from: now, count: 1 });
    assert_eq!(bench.writer.work(), Some(Duration::from_secs(1)));
}

#[test]
fn an_older_policy_that_cannot_be_removed_holds_back_what_is_called_applied() {
    let (disk, mut bench) = saved();
    bench.publish(STORE, delta(2, puts([1], 1)));
    bench.settle();
    disk.fault(|now| Fault::Fails { from: now, count: usize::MAX - now });
    assert!(bench.writer.work().is_some());
    assert!(disk.has_file());
    assert_eq!(bench.applied(), 1);
    assert!(status(&bench).not_saved.expect("an alarm").left.is_some());
    assert!(bench.writer.work().is_some());
    assert_eq!(bench.applied(), 1);
    // It can be removed now, but not written.
    disk.fault(|now| Fault::Fails { from: now, count: 1 });
    assert!(bench.writer.work().is_some());
    assert_eq!(bench.applied(), 2);
    assert!(status(&bench).not_saved.expect("an alarm").left.is_none());
    disk.fault(|_| Fault::None);
    assert_eq!(bench.writer.work(), None);
    assert_eq!(found(&disk.copy()).as_ref(), Some(bench.newest()));
}

#[test]
fn a_change_costs_the_disk_what_it_holds_and_the_same_policy_nothing() {
    let disk = Disk::default();
    let mut bench = Bench::start(&disk);
    bench.publish(STORE, full(1, puts(0..3000, 0)));
    bench.writer.work();
    let operations = |bench: &mut Bench, delta: Delta| {
        let before = disk.operations();
        bench.publish(STORE, delta);
        assert_eq!(bench.writer.work(), None);
        disk.operations() - before
    };
    operations(&mut bench, delta(2, puts([1500], 1)));
    let one = operations(&mut bench, delta(3, puts([1501], 1)));
    let many = operations(&mut bench, delta(4, puts(0..3000, 2)));
    assert!(one < 30 && many > 50, "{one} {many}");
    let same = operations(&mut bench, full(4, puts(0..3000, 2)));
    assert_eq!(same, 0);
}

#[test]
fn syncs_that_waited_are_one_transaction_and_too_many_changes_are_written_as_a_whole() {
    let (disk, mut bench) = saved();
    for revision in 2..40 {
        bench.publish(STORE, delta(revision, puts([(revision % 5) as u16], revision as u16)));
    }
    assert_eq!(bench.writer.work(), None);
    assert_eq!(found(&disk.copy()).as_ref(), Some(bench.newest()));
    for revision in 40..43 {
        bench.publish(STORE, delta(revision, puts(0..30_000, revision as u16)));
    }
    bench.publish(STORE, delta(43, puts([7], 7)));
    bench.settle();
    assert_eq!(bench.applied(), 39);
    assert_eq!(bench.writer.work(), None);
    assert_eq!(bench.applied(), 43);
    assert_eq!(found(&disk.copy()).as_ref(), Some(bench.newest()));
}

#[test]
fn what_waits_is_written_before_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = State::default().after(STORE, &full(1, puts(0..50, 0)));
    let keeper: Keeper = crate::open(folder.path()).expect("free").keep(0).expect("a thread");
    let mut applied = keeper.applied();
    keeper.published(1, STORE, full(1, puts(0..50, 0)), Arc::new(state.clone()));
    keeper.settled(2);
    drop(keeper);
    assert_eq!(*applied.borrow_and_update(), Revision(1));
    let opened = crate::open(folder.path()).expect("free");
    let loaded = opened.loaded().expect("a policy");
    assert_eq!(State::of(loaded.store, &loaded.delta), state);
}
