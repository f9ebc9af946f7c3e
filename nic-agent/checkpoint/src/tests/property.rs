//! Whatever happens to the disk: what a start finds was published as it is, and is no older than what was
//! called applied.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::faulty::{Dice, Fault};
use super::*;

/// What a test does next.
#[derive(Debug, Clone)]
enum Step {
    /// The agent sends some changes.
    Sync(Vec<(u16, Option<u16>)>),
    /// The agent sends all, and it is this; another store's, if one is adopted.
    Full { adopt: bool, numbers: Vec<u16>, content: u16 },
    /// The worker has applied all.
    Settle,
    /// The disk's turn. After some operations so many fail.
    Write { after: usize, failing: usize },
    /// The disk's turn, and after some operations the power is cut. What remains is a matter of luck.
    PowerCut { after: usize, luck: u64 },
    /// The process is restarted, and writes what waits before it ends.
    Restart,
}

const NUMBERS: std::ops::Range<u16> = 0..90;

fn any_step() -> impl Strategy<Value = Step> {
    let change = (NUMBERS, proptest::option::weighted(0.7, 0u16..4));
    let full = (any::<bool>(), proptest::collection::vec(NUMBERS, 0..60), 0u16..2);
    prop_oneof![
        4 => proptest::collection::vec(change, 0..12).prop_map(Step::Sync),
        1 => full.prop_map(|(adopt, numbers, content)| Step::Full { adopt, numbers, content }),
        3 => Just(Step::Settle),
        3 => Just(Step::Write { after: 0, failing: 0 }),
        2 => (0usize..40, 1usize..30).prop_map(|(after, failing)| Step::Write { after, failing }),
        1 => (0usize..40, any::<u64>()).prop_map(|(after, luck)| Step::PowerCut { after, luck }),
        1 => Just(Step::Restart),
    ]
}

struct World {
    disk: Disk,
    bench: Bench,
    revision: u64,
    store: Uuid,
}

impl World {
    fn new() -> World {
        let disk = Disk::default();
        World { bench: Bench::start(&disk), disk, revision: 0, store: Uuid::from_u128(1) }
    }

    fn publish(&mut self, replace_all: bool, changes: Vec<Change>) {
        self.revision += 1;
        let delta = Delta { revision: Revision(self.revision), replace_all, changes };
        self.bench.publish(self.store, delta);
    }

    fn do_step(&mut self, step: Step) {
        match step {
            Step::Sync(changes) => {
                let changes: BTreeMap<u16, Option<u16>> = changes.into_iter().collect();
                let change = |(number, content): (u16, Option<u16>)| match content {
                    Some(content) => Change::Put(object(number, content)),
                    None => Change::Remove(object(number, 0).id()),
                };
                // Changes start from what is in force.
                let first = self.bench.newest().store != self.store;
                self.publish(first, changes.into_iter().map(change).collect());
            }
            Step::Full { adopt, numbers, content } => {
                let numbers: BTreeSet<u16> = numbers.into_iter().collect();
                if adopt {
                    self.store = Uuid::from_u128(self.store.as_u128() + 1);
                    // Another store's revisions may be lower.
                    self.revision /= 2;
                }
                self.publish(true, puts(numbers, content));
            }
            Step::Settle => self.bench.settle(),
            Step::Write { after, failing } => {
                self.disk.fault(|now| Fault::Fails { from: now + after, count: failing });
                self.bench.writer.work();
                self.disk.fault(|_| Fault::None);
            }
            Step::PowerCut { after, luck } => {
                self.disk.fault(|now| Fault::PowerCut(now + after));
                self.bench.writer.work();
                self.restart(self.disk.after_power_cut(&mut Dice(luck)));
            }
            Step::Restart => {
                self.bench.writer.work();
                self.restart(self.disk.copy());
            }
        }
    }

    fn restart(&mut self, disk: Disk) {
        self.check(&disk.copy());
        self.disk = disk;
        self.bench = Bench::start(&self.disk);
    }

    /// What a start with this disk finds is sound, by what has been told so far.
    fn check(&self, disk: &Disk) {
        let history = &self.bench.history;
        let applied = self.bench.applied();
        let newest = self.bench.newest();
        let is_applied = |state: &State| state.store == newest.store && state.revision == applied;
        match found(disk) {
            None => assert!(!disk.has_aside(), "a file that no one meddled with is unusable"),
            Some(found) => {
                let at = history.iter().rposition(|state| *state == found);
                let at = at.unwrap_or_else(|| panic!("{found:?} was never published"));
                let least = history.iter().position(is_applied).unwrap_or(0);
                assert!(at >= least, "{applied} is called applied, {} is on disk", found.revision);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_start_finds_a_policy_as_it_was_published_and_none_older_than_one_called_applied(
        steps in proptest::collection::vec(any_step(), 1..40), luck: u64
    ) {
        let mut world = World::new();
        for (number, step) in steps.into_iter().enumerate() {
            world.do_step(step);
            world.check(&world.disk.after_power_cut(&mut Dice(luck ^ number as u64)));
        }
        // Once the disk is well, all comes right.
        world.publish(true, puts([1, 2, 3], 3));
        world.bench.settle();
        world.bench.writer.work();
        prop_assert_eq!(world.bench.applied(), world.revision);
        prop_assert_eq!(found(&world.disk.copy()), Some(world.bench.newest().clone()));
        prop_assert!(world.bench.queue.status().borrow().not_saved.is_none());
    }
}

/// Every operation of a save, for each way in which one is written.
#[test]
fn a_power_cut_at_any_operation_of_a_save_leaves_the_old_policy_or_the_new_one() {
    let removals = (0..80).map(|number| Change::Remove(object(number, 0).id())).collect();
    let saves = [
        (STORE, delta(2, puts(20..25, 1))),
        (STORE, delta(2, removals)),
        (STORE, full(2, puts(10..90, 2))),
        (OTHER, full(1, puts(85..99, 1))),
    ];
    for (store, change) in saves {
        let before = Disk::default();
        let mut bench = Bench::start(&before);
        bench.publish(STORE, full(1, puts(0..90, 0)));
        assert_eq!(bench.writer.work(), None);
        let old = bench.newest().clone();
        drop(bench);
        let (mut old_seen, mut new_seen) = (0, 0);
        for after in 0.. {
            let disk = before.copy();
            let mut bench = Bench::start(&disk);
            bench.publish(store, change.clone());
            disk.fault(|now| Fault::PowerCut(now + after));
            bench.writer.work();
            for luck in 0..4 {
                let found = found(&disk.after_power_cut(&mut Dice(luck))).expect("a policy");
                old_seen += usize::from(found == old);
                new_seen += usize::from(found == *bench.newest());
                assert!(found == old || found == *bench.newest(), "{after}: {found:?}");
            }
            if !disk.is_dark() {
                break;
            }
        }
        assert!(old_seen > 8 && new_seen > 0, "{old_seen} {new_seen}");
    }
}
